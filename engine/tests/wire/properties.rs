//! Properties of the wire format and of addresses, on random input.
//!
//! Each test prints its seed; `PROPTEST_RNG_SEED=<seed>` runs it again on the same input, and
//! `PROPTEST_CASES=<number>` on more of it.

use std::collections::hash_map::RandomState;
use std::fmt::Debug;
use std::hash::{BuildHasher, Hasher};
use std::net::{SocketAddr, SocketAddrV6};

use ampe::address::{self, Address};
use ampe::wire::{
    Frame, Header, HeaderError, MAX_HELLO_LEN, OpCode, TextHeaders, append, encoded_len, fuzzing,
    missing, split, write_into,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestRunner};

fn check<S>(name: &str, strategy: &S, test: impl Fn(S::Value))
where
    S: Strategy,
    S::Value: Debug,
{
    let mut config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        // The seed must be known to be printed.
        RngSeed::Random => RandomState::new().build_hasher().finish(),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    println!("{name}: PROPTEST_RNG_SEED={seed}");
    let outcome = TestRunner::new(config).run(strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{name}: PROPTEST_RNG_SEED={seed}: {failure}");
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Message {
    header: Header,
    block: Vec<u8>,
    body: Vec<u8>,
}

impl Message {
    fn of(frame: &Frame<'_>) -> Message {
        let block = frame.text_headers.as_bytes().to_vec();
        Message {
            header: frame.header,
            block,
            body: frame.body.to_vec(),
        }
    }

    fn append_to(&self, stream: &mut Vec<u8>) {
        let text_headers = TextHeaders::new(&self.block);
        Frame {
            header: self.header,
            text_headers,
            body: &self.body,
        }
        .append_to(stream);
    }
}

fn content(max_len: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max_len)
}

/// Up to the longest that a frame can carry, made from little randomness: long random content takes
/// longer to make than to test.
fn long_content() -> impl Strategy<Value = Vec<u8>> {
    let pattern = (any::<u16>(), any::<u64>()).prop_map(|(len, step)| {
        (0..u64::from(len))
            .map(|index| (index.wrapping_mul(step) >> 32) as u8)
            .collect()
    });
    prop_oneof![1 => content(100), 3 => pattern, 1 => Just(vec![b'\n'; 65_535])]
}

/// Any message at all, also those that no peer may send.
fn any_message(max_len: usize) -> impl Strategy<Value = Message> {
    message_of(content(max_len), content(max_len))
}

fn message_of(
    block: impl Strategy<Value = Vec<u8>>,
    body: impl Strategy<Value = Vec<u8>>,
) -> impl Strategy<Value = Message> {
    let fields = (
        any::<u16>(),
        select(&OpCode::ALL[..]),
        any::<bool>(),
        any::<u8>(),
        any::<u64>(),
    );
    (fields, block, body).prop_map(|(fields, block, body)| {
        let (channel_number, op_code, more, status, message_id) = fields;
        let text_headers_len = block.len().try_into().unwrap();
        let body_len = body.len().try_into().unwrap();
        let header = Header {
            channel_number,
            op_code,
            more,
            status,
            message_id,
            text_headers_len,
            body_len,
        };
        Message {
            header,
            block,
            body,
        }
    })
}

fn inbound_message(max_len: usize) -> impl Strategy<Value = Message> {
    any_message(max_len).prop_map(made_sendable)
}

/// As it was, if a peer may send it, and otherwise with the least change.
fn made_sendable(mut message: Message) -> Message {
    let header = &mut message.header;
    if header.op_code.is_welcome() {
        header.op_code = OpCode::ByeSignal;
    }
    if header.op_code == OpCode::HelloRequest && header.content_len() > MAX_HELLO_LEN {
        header.op_code = OpCode::Request;
    }
    header.more &= header.op_code.is_regular();
    header.message_id = header.message_id.max(1);
    message
}

/// Bytes that look like a stream often enough to get past the first header.
fn hostile_stream() -> impl Strategy<Value = Vec<u8>> {
    let frame = (any::<[u8; 12]>(), 0..40u16, 0..40u16, content(80));
    let mangled = vec(frame, 0..6).prop_map(|frames| {
        let mut stream = Vec::new();
        for (front, text_headers_len, body_len, content) in frames {
            stream.extend_from_slice(&front);
            stream.extend_from_slice(&text_headers_len.to_be_bytes());
            stream.extend_from_slice(&body_len.to_be_bytes());
            stream.extend_from_slice(&content);
        }
        stream
    });
    let flipped = (vec(inbound_message(30), 1..5), any::<(u16, u8)>()).prop_map(
        |(messages, (position, flip))| {
            let mut stream = encode(&messages);
            let position = usize::from(position) % stream.len();
            stream[position] ^= flip;
            stream
        },
    );
    prop_oneof![content(200), mangled, flipped]
}

fn encode(messages: &[Message]) -> Vec<u8> {
    let mut stream = Vec::new();
    for message in messages {
        message.append_to(&mut stream);
    }
    stream
}

/// A receiver that keeps what is not yet a frame, as any reader of a stream must.
#[derive(Default)]
struct Receiver {
    pending: Vec<u8>,
    received: Vec<Message>,
}

impl Receiver {
    fn receive(&mut self, bytes: &[u8]) -> Result<(), HeaderError> {
        self.pending.extend_from_slice(bytes);
        while let Some((frame, used)) = split(&self.pending)? {
            self.received.push(Message::of(&frame));
            self.pending.drain(..used);
        }
        Ok(())
    }
}

#[test]
fn any_header_survives_encoding() {
    check(
        "any_header_survives_encoding",
        &any_message(300),
        |message| {
            let header = message.header;
            assert_eq!(Header::decode(&header.encode()), Ok(header));
            assert_eq!(header.frame_len(), encode(&[message]).len());
        },
    );
}

#[test]
fn any_message_that_a_peer_may_send_survives_the_wire() {
    let any_length = message_of(long_content(), long_content()).prop_map(made_sendable);
    check(
        "any_message_that_a_peer_may_send_survives_the_wire",
        &any_length,
        |message| {
            let stream = encode(std::slice::from_ref(&message));
            let (frame, used) = split(&stream).unwrap().unwrap();
            assert_eq!(used, stream.len());
            assert_eq!(Message::of(&frame), message);
        },
    );
}

#[test]
fn a_message_is_refused_exactly_if_no_peer_may_send_it() {
    check(
        "a_message_is_refused_exactly_if_no_peer_may_send_it",
        &any_message(10),
        |mut message| {
            message.header.message_id %= 2;
            let Header {
                op_code,
                more,
                message_id,
                ..
            } = message.header;
            let may_be_sent = match op_code {
                OpCode::Request | OpCode::Signal => true,
                OpCode::Response => message_id != 0,
                OpCode::HelloRequest | OpCode::ByeRequest | OpCode::ByeSignal => !more,
                OpCode::HelloResponse | OpCode::ByeResponse => !more && message_id != 0,
                OpCode::WelcomeRequest | OpCode::WelcomeResponse => false,
            };
            assert_eq!(split(&encode(&[message])).is_ok(), may_be_sent);
        },
    );
}

#[test]
fn a_stream_cut_at_any_byte_yields_the_same_messages() {
    let messages = vec(inbound_message(24), 1..5);
    check(
        "a_stream_cut_at_any_byte_yields_the_same_messages",
        &messages,
        |messages| {
            let stream = encode(&messages);
            for cut in 0..=stream.len() {
                let mut receiver = Receiver::default();
                receiver.receive(&stream[..cut]).unwrap();
                receiver.receive(&stream[cut..]).unwrap();
                assert_eq!(receiver.received, messages, "cut at {cut}");
                assert!(receiver.pending.is_empty());
            }
        },
    );
}

#[test]
fn a_stream_in_pieces_yields_the_same_messages() {
    let input = (vec(inbound_message(200), 1..8), vec(1..60usize, 1..10));
    check(
        "a_stream_in_pieces_yields_the_same_messages",
        &input,
        |(messages, sizes)| {
            let stream = encode(&messages);
            let mut receiver = Receiver::default();
            let mut rest = &stream[..];
            for size in sizes.iter().cycle() {
                let (piece, later) = rest.split_at((*size).min(rest.len()));
                receiver.receive(piece).unwrap();
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            assert_eq!(receiver.received, messages);
            // Byte by byte, and never more than what is missing.
            let mut exact = Receiver::default();
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let wanted = missing(&exact.pending).unwrap();
                let (piece, later) = rest.split_at(wanted);
                exact.receive(piece).unwrap();
                rest = later;
            }
            assert_eq!(exact.received, messages);
        },
    );
}

#[test]
fn any_bytes_yield_frames_or_an_error() {
    check(
        "any_bytes_yield_frames_or_an_error",
        &hostile_stream(),
        |stream| {
            let whole = fuzzing::frames(&stream);
            // However the bytes arrive, the outcome is the same.
            let mut receiver = Receiver::default();
            let outcome = stream
                .iter()
                .try_for_each(|&byte| receiver.receive(&[byte]));
            match whole {
                Ok(count) => assert_eq!((outcome, receiver.received.len()), (Ok(()), count)),
                Err(error) => assert_eq!(outcome, Err(error)),
            }
        },
    );
}

#[test]
fn any_bytes_are_a_block_of_text_headers() {
    let lines = select(vec![
        "a", "b ", ":", "::", " ", "\t", "\r\n", "\r", "\n", "é", "\u{0}",
    ]);
    let likely = vec(lines, 0..40).prop_map(|parts| parts.concat().into_bytes());
    let block = prop_oneof![content(200), likely];
    check("any_bytes_are_a_block_of_text_headers", &block, |block| {
        let count = fuzzing::text_headers(&block);
        assert_eq!(TextHeaders::new(&block).iter().count(), count);
        for (name, value) in TextHeaders::new(&block) {
            if let Ok(name) = str::from_utf8(name) {
                let first = TextHeaders::new(&block).get(name).unwrap();
                let same_name = TextHeaders::new(&block)
                    .iter()
                    .filter(|found| found.0 == name.as_bytes());
                assert!(first == value || same_name.count() > 1);
            }
        }
    });
}

#[test]
fn written_text_headers_are_read_back() {
    let name = "[a-zA-Z~.é-]([a-z é\t-]{0,8}[a-z])?";
    let value = "[a-z:|éA-Z]([a-z:| \t]{0,20}[a-z:])?";
    let headers = vec((name, value), 0..8);
    check("written_text_headers_are_read_back", &headers, |headers| {
        let mut block = Vec::new();
        for (name, value) in &headers {
            let len = encoded_len(name, value).unwrap();
            let mut line = vec![0; len];
            assert_eq!(write_into(&mut line, name, value), Ok(len));
            let start = block.len();
            append(&mut block, name, value).unwrap();
            assert_eq!(&block[start..], line);
        }
        let expected = headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        assert!(TextHeaders::new(&block).iter().eq(expected));
    });
}

#[test]
fn whatever_the_writer_accepts_is_one_line() {
    let part = vec(
        select(vec!["a", "é", ":", "\r\n", "\r", "\n", " ", "\t"]),
        0..5,
    );
    let header = (part.clone(), part).prop_map(|(name, value)| (name.concat(), value.concat()));
    check(
        "whatever_the_writer_accepts_is_one_line",
        &header,
        |(name, value)| {
            let mut block = b"before:1\r\n".to_vec();
            let before = block.clone();
            if append(&mut block, &name, &value).is_err() {
                assert_eq!(block, before);
                return;
            }
            append(&mut block, "after", "2").unwrap();
            let trimmed = (
                name.trim_matches([' ', '\t', '\r', '\n']),
                value.trim_matches([' ', '\t']),
            );
            let expected = [("before", "1"), trimmed, ("after", "2")];
            let expected = expected.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            assert!(
                TextHeaders::new(&block).iter().eq(expected),
                "{:?}",
                TextHeaders::new(&block)
            );
        },
    );
}

#[test]
fn any_text_is_an_address_or_an_error() {
    let parts = select(vec![
        "tcp",
        "uds",
        "://",
        "|",
        ":",
        "/",
        "[",
        "]",
        "::1",
        "127.0.0.1",
        "localhost",
        "h",
        "0",
        "80",
        "65536",
        ".",
        "%",
        "25",
        "eth0",
        "fe80::1",
        "@",
        "\\",
        " ",
        "\r\n",
        "\u{0}",
        "é",
        "~",
        "-",
    ]);
    let likely = vec(parts, 0..10).prop_map(|parts| parts.concat().into_bytes());
    let text = prop_oneof![
        content(300),
        likely,
        ".{0,300}".prop_map(String::into_bytes)
    ];
    check("any_text_is_an_address_or_an_error", &text, |text| {
        address::fuzzing::address(&text);
    });
}

/// Numbers, names, and what could be taken for the `%25` of URLs.
fn zone() -> impl Strategy<Value = String> {
    let parts = select(vec!["25", "2", "5", "%", "0", "eth0", "en"]);
    prop_oneof![
        vec(parts, 1..5).prop_map(|parts| parts.concat()),
        "[a-z0-9.%-]{1,5}"
    ]
}

#[test]
fn any_address_is_written_and_read_in_both_forms() {
    let host = prop_oneof![
        any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|ip| ip.to_string()),
        (any::<std::net::Ipv6Addr>(), zone()).prop_map(|(ip, zone)| format!("{ip}%{zone}")),
        "[a-z][a-z0-9.-]{0,254}",
        Just(String::new()),
    ];
    let tcp = (host, any::<u16>()).prop_map(|(host, port)| Address::tcp(&host, port).unwrap());
    let uds = "[a-z/.|: ]{0,102}[a-z/|:]".prop_map(|path| Address::uds(path).unwrap());
    let of_system = any::<SocketAddr>().prop_map(Address::from);
    check(
        "any_address_is_written_and_read_in_both_forms",
        &prop_oneof![tcp, of_system, uds],
        |address| {
            assert_eq!(
                address::fuzzing::address(address.to_string().as_bytes()),
                (true, false)
            );
            let wire = address.to_wire();
            assert!(address::fuzzing::address(wire.as_bytes()).1);
            assert_eq!(Address::from_wire(&wire).unwrap(), address);
        },
    );
}

#[test]
fn any_address_of_the_system_survives_its_text_with_its_zone() {
    let scope = prop_oneof![Just(0), 1..5_u32, Just(25), 250..260_u32, any::<u32>()];
    let v6 = (any::<std::net::Ipv6Addr>(), any::<u16>(), scope)
        .prop_map(|(ip, port, scope)| SocketAddr::from(SocketAddrV6::new(ip, port, 0, scope)));
    check(
        "any_address_of_the_system_survives_its_text_with_its_zone",
        &v6,
        |of_system| {
            let address = Address::from(of_system);
            assert_eq!(address.socket_addr(), Some(of_system));
            // The standard library's text, as in the display of an `Endpoint`, and our own.
            for text in [of_system.to_string(), address.to_string()] {
                let read: Address = text.parse().unwrap();
                assert_eq!(read.socket_addr(), Some(of_system), "{text}");
            }
        },
    );
}

//! Peers that break the protocol end their own channel, and nothing else.

use crate::event::{Closed, Event};
use crate::reason::{ProtocolViolation, Reason};
use crate::wire::test_frames::frame;
use crate::wire::{Header, HeaderError, OpCode};

use super::bench::Bench;

/// A frame whose third byte is `proto` and whose status is `status`.
fn raw(proto: u8, status: u8, id: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = frame(OpCode::Request, id, body);
    (bytes[2], bytes[3]) = (proto, status);
    bytes
}

/// What an accepted channel says when its peer sends these bytes behind its hello.
fn outcome(bytes: &[u8]) -> Closed {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let (key, _hello) = bench.greet(listener);
    let (bystander, _other) = bench.greet(listener);
    bench.feed(key, &frame(OpCode::Signal, 5, b"fine"));
    bench.feed(key, bytes);
    bench.rest();
    assert_eq!(bench.closing(key), Some(true), "the peer sees a reset");
    assert_eq!(bench.closing(bystander), None);
    assert!(matches!(bench.event(), Event::Signal(it) if it.body() == b"fine"));
    bench.closed()
}

#[test]
fn operations_that_do_not_exist() {
    for op_code in 10..=15 {
        let expected = HeaderError::InvalidOpCode { op_code };
        let closed = outcome(&raw(op_code, 0, 1, b"content"));
        assert_eq!(closed.reason(), Reason::Protocol(expected.into()));
        assert_eq!(
            closed.account().received,
            2,
            "what came before was delivered"
        );
    }
}

#[test]
fn operations_that_never_travel() {
    for op_code in [OpCode::WelcomeRequest, OpCode::WelcomeResponse] {
        let expected = HeaderError::NotAllowedFromPeer { op_code };
        let closed = outcome(&frame(op_code, 1, b""));
        assert_eq!(closed.reason(), Reason::Protocol(expected.into()));
    }
}

/// A stranger may not have much held for it.
#[test]
fn a_hello_is_no_longer_than_it_may_be() {
    for (len, is_taken) in [(8192, true), (8193, false)] {
        let mut bench = Bench::new();
        let (_, listener) = bench.listen();
        let key = bench.accept(listener);
        let hello = frame(OpCode::HelloRequest, 1, &vec![7; len]);
        // Judged by its header, before anything that it announces is here.
        bench.feed(key, &hello[..Header::LEN]);
        bench.rest();
        let expected = if is_taken { None } else { Some(true) };
        assert_eq!(bench.closing(key), expected);
        if is_taken {
            bench.feed(key, &hello[Header::LEN..]);
            bench.rest();
            assert!(matches!(bench.event(), Event::Hello(it) if it.body().len() == len));
        }
    }
}

/// Its text headers count as its body does.
#[test]
fn a_hello_whose_parts_are_too_long_together_is_refused() {
    for (body_len, is_taken) in [(4096, true), (4097, false)] {
        let mut bench = Bench::new();
        let (_, listener) = bench.listen();
        let key = bench.accept(listener);
        let header = Header {
            channel_number: 1,
            op_code: OpCode::HelloRequest,
            more: false,
            status: 0,
            message_id: 1,
            text_headers_len: 4096,
            body_len,
        };
        bench.feed(key, &header.encode());
        bench.rest();
        let expected = if is_taken { None } else { Some(true) };
        assert_eq!(bench.closing(key), expected);
    }
}

#[test]
fn answers_that_answer_nothing() {
    for op_code in [OpCode::Response, OpCode::ByeResponse] {
        let expected = HeaderError::InvalidMessageId { op_code };
        let closed = outcome(&frame(op_code, 0, b""));
        assert_eq!(closed.reason(), Reason::Protocol(expected.into()));
    }
}

#[test]
fn more_where_nothing_can_follow() {
    for op_code in [OpCode::ByeRequest, OpCode::ByeResponse, OpCode::ByeSignal] {
        let expected = HeaderError::InvalidMoreUsage { op_code };
        let closed = outcome(&raw(op_code as u8 | 0x20, 0, 1, b""));
        assert_eq!(closed.reason(), Reason::Protocol(expected.into()));
    }
}

#[test]
fn a_second_hello_and_an_answer_from_the_wrong_side() {
    for op_code in [OpCode::HelloRequest, OpCode::HelloResponse] {
        let closed = outcome(&frame(op_code, 1, b""));
        let expected = ProtocolViolation::UnexpectedHello;
        assert_eq!(closed.reason(), Reason::Protocol(expected));
    }
}

#[test]
fn a_hello_is_answered_once() {
    let mut bench = Bench::new();
    let (_, key) = bench.connect();
    bench.feed(key, &frame(OpCode::HelloResponse, 1, b""));
    bench.feed(key, &frame(OpCode::HelloResponse, 1, b""));
    bench.rest();
    assert!(matches!(bench.event(), Event::Accepted(_)));
    let expected = Reason::Protocol(ProtocolViolation::UnexpectedHello);
    assert_eq!(bench.closed().reason(), expected);
}

#[test]
fn a_listening_side_need_not_answer_a_hello_and_never_says_one() {
    let mut bench = Bench::new();
    let (_, key) = bench.connect();
    bench.feed(key, &frame(OpCode::Request, 9, b"at once"));
    bench.rest();
    assert!(matches!(bench.event(), Event::Request(it) if it.id() == 9));
    bench.feed(key, &frame(OpCode::HelloRequest, 9, b""));
    bench.rest();
    let expected = Reason::Protocol(ProtocolViolation::UnexpectedHello);
    assert_eq!(bench.closed().reason(), expected);
}

#[test]
fn a_violation_is_seen_with_the_header_before_any_content() {
    let closed = outcome(&raw(0x0B, 0, 1, &[0; 60_000])[..Header::LEN]);
    let expected = HeaderError::InvalidOpCode { op_code: 11 };
    assert_eq!(closed.reason(), Reason::Protocol(expected.into()));
}

#[test]
fn a_forged_origin_is_the_peer_s_word_and_no_more() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let (key, hello) = bench.greet(listener);
    // Says that the engine made it, that the channel is closed, and sets the internal bits.
    bench.feed(key, &raw(0xD0 | OpCode::Signal as u8, 22, 7, b"forged"));
    bench.rest();
    let Event::Signal(signal) = bench.event() else {
        panic!("delivered as what it is");
    };
    assert_eq!((signal.channel(), signal.status()), (hello.channel(), 22));
    assert_eq!(bench.closing(key), None);
    assert!(bench.events().is_empty());
}

#[test]
fn the_channel_number_of_a_frame_means_nothing() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let (key, one) = bench.greet(listener);
    let (_, other) = bench.greet(listener);
    let mut bytes = frame(OpCode::Signal, 5, b"mine");
    bytes[..2].copy_from_slice(&other.channel().number().to_be_bytes());
    bench.feed(key, &bytes);
    bench.rest();
    assert_eq!(bench.event().channel(), Some(one.channel()));
}

#[test]
fn bytes_behind_the_end_of_a_conversation_are_not_looked_at() {
    let mut bench = Bench::new();
    let (_, key) = bench.connect();
    let mut bytes = frame(OpCode::ByeSignal, 2, b"");
    bytes.extend(raw(0x0F, 0, 1, b"garbage"));
    bytes.extend(frame(OpCode::Signal, 3, b"ghost"));
    bench.feed(key, &bytes);
    bench.rest();
    assert!(matches!(bench.event(), Event::ByeSignal(_)));
    assert_eq!(bench.closed().reason(), Reason::PeerAborted);
    assert!(bench.events().is_empty());
}

//! The conformance vectors of `docs/wire.md`: bytes written down by hand, not made by this code.

use ampe::address::Address;
use ampe::wire::{
    Frame, Header, HeaderError, OpCode, RawProto, TextHeaders, append, fuzzing, split,
};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(nibble)
        .collect();
    assert_eq!(digits.len() % 2, 0, "whole bytes: {hex}");
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn nibble(digit: u8) -> u8 {
    char::from(digit).to_digit(16).unwrap().try_into().unwrap()
}

fn header(op_code: OpCode, channel_number: u16, message_id: u64) -> Header {
    Header {
        channel_number,
        op_code,
        more: false,
        status: 0,
        message_id,
        text_headers_len: 0,
        body_len: 0,
    }
}

/// The header with these lengths, in both directions against its bytes.
fn assert_frame(mut header: Header, block: &[u8], body: &[u8], hex: &str) {
    let mut expected = bytes(hex);
    expected.extend_from_slice(block);
    expected.extend_from_slice(body);
    header.text_headers_len = block.len().try_into().unwrap();
    header.body_len = body.len().try_into().unwrap();
    let frame = Frame {
        header,
        text_headers: TextHeaders::new(block),
        body,
    };
    let mut encoded = Vec::new();
    frame.append_to(&mut encoded);
    assert_eq!(encoded, expected);
    assert_eq!(split(&expected), Ok(Some((frame, expected.len()))));
}

#[test]
fn reference_header_with_every_byte_distinct() {
    let reference = Header {
        channel_number: 0x1234,
        op_code: OpCode::Request,
        more: false,
        status: 0xFF,
        message_id: 0xAABB_CCDD_EEFF_0011,
        text_headers_len: 0x5678,
        body_len: 0x9ABC,
    };
    let expected = bytes("12 34 00 FF AA BB CC DD EE FF 00 11 56 78 9A BC");
    assert_eq!(reference.encode().as_slice(), expected);
    assert_eq!(
        Header::decode(expected.first_chunk().unwrap()),
        Ok(reference)
    );
    assert_eq!(reference.frame_len(), 16 + 0x5678 + 0x9ABC);
}

#[test]
fn empty_request() {
    assert_frame(
        header(OpCode::Request, 1, 1),
        b"",
        b"",
        "0001 00 00 0000000000000001 0000 0000",
    );
}

#[test]
fn request_with_more_and_a_body() {
    let request = Header {
        more: true,
        ..header(OpCode::Request, 0x0102, 7)
    };
    assert_frame(request, b"", b"hi", "0102 20 00 0000000000000007 0000 0002");
}

#[test]
fn hello_request_with_its_address() {
    let mut block = Vec::new();
    append(&mut block, "~connect_to", "tcp|127.0.0.1|7099").unwrap();
    assert_eq!(block, b"~connect_to:tcp|127.0.0.1|7099\r\n");
    assert_eq!(block.len(), 32);
    assert_frame(
        header(OpCode::HelloRequest, 0xBEEF, 2),
        &block,
        b"",
        "BEEF 03 00 0000000000000002 0020 0000",
    );
}

#[test]
fn hello_response() {
    assert_frame(
        header(OpCode::HelloResponse, 0x0A0B, 2),
        b"",
        b"",
        "0A0B 04 00 0000000000000002 0000 0000",
    );
}

#[test]
fn bye_request_and_its_response() {
    assert_frame(
        header(OpCode::ByeRequest, 1, 9),
        b"",
        b"",
        "0001 05 00 0000000000000009 0000 0000",
    );
    assert_frame(
        header(OpCode::ByeResponse, 2, 9),
        b"",
        b"",
        "0002 06 00 0000000000000009 0000 0000",
    );
}

#[test]
fn every_operation_has_its_number() {
    for (number, op_code) in (0u8..).zip(OpCode::ALL) {
        assert_eq!(header(op_code, 1, 1).encode()[2], number);
        assert_eq!(OpCode::try_from(number), Ok(op_code));
    }
}

#[test]
fn longest_frame() {
    let block = vec![b'a'; 65_535];
    let body = vec![0xFF; 65_535];
    assert_frame(
        header(OpCode::Signal, 1, 1),
        &block,
        &body,
        "0001 02 00 0000000000000001 FFFF FFFF",
    );
    assert_eq!(ampe::wire::MAX_FRAME_LEN, 16 + block.len() + body.len());
}

#[test]
fn undefined_operations_are_refused_whatever_the_other_bits() {
    for high in 0..16u8 {
        for op_code in 10..16u8 {
            let mut frame = bytes("0001 00 00 0000000000000001 0000 0000");
            frame[2] = high << 4 | op_code;
            assert_eq!(split(&frame), Err(HeaderError::InvalidOpCode { op_code }));
            assert_eq!(
                fuzzing::frames(&frame),
                Err(HeaderError::InvalidOpCode { op_code })
            );
        }
    }
}

#[test]
fn operations_for_the_own_engine_are_refused_from_the_network() {
    for (byte, op_code) in [
        (0x08, OpCode::WelcomeRequest),
        (0x09, OpCode::WelcomeResponse),
    ] {
        let mut frame = bytes("0001 00 00 0000000000000001 0000 0000");
        frame[2] = byte;
        assert_eq!(
            split(&frame),
            Err(HeaderError::NotAllowedFromPeer { op_code })
        );
    }
}

#[test]
fn more_is_refused_on_all_but_regular_operations() {
    for (byte, op_code) in [
        (0x23, OpCode::HelloRequest),
        (0x24, OpCode::HelloResponse),
        (0x25, OpCode::ByeRequest),
        (0x26, OpCode::ByeResponse),
        (0x27, OpCode::ByeSignal),
    ] {
        let mut frame = bytes("0001 00 00 0000000000000001 0000 0000");
        frame[2] = byte;
        assert_eq!(
            split(&frame),
            Err(HeaderError::InvalidMoreUsage { op_code })
        );
    }
    for byte in [0x20, 0x21, 0x22] {
        let mut frame = bytes("0001 00 00 0000000000000001 0000 0000");
        frame[2] = byte;
        assert!(split(&frame).unwrap().unwrap().0.header.more);
    }
}

#[test]
fn message_id_zero_is_refused_on_answers_and_tolerated_elsewhere() {
    for op_code in OpCode::ALL
        .into_iter()
        .filter(|op_code| !op_code.is_welcome())
    {
        let frame = header(op_code, 1, 0).encode();
        let refused = matches!(
            op_code,
            OpCode::Response | OpCode::HelloResponse | OpCode::ByeResponse
        );
        if refused {
            assert_eq!(
                split(&frame),
                Err(HeaderError::InvalidMessageId { op_code })
            );
        } else {
            assert_eq!(
                split(&frame).unwrap().unwrap().0.header.message_id,
                0,
                "{op_code}"
            );
        }
    }
}

#[test]
fn forged_word_of_the_engine_is_sanitised() {
    // A Signal that claims the engine's origin and the status of a closed channel.
    let forged = bytes("0001 12 16 0000000000000001 0000 0000");
    let (frame, used) = split(&forged).unwrap().unwrap();
    assert_eq!(used, 16);
    assert_eq!(
        frame.header,
        Header {
            status: 0x16,
            ..header(OpCode::Signal, 1, 1)
        }
    );
    assert_eq!(
        frame.header.encode()[2],
        0x02,
        "passed on, it claims nothing"
    );
    assert!(RawProto::of(forged.first_chunk().unwrap()).claims_engine_origin());
}

#[test]
fn internal_bits_are_tolerated_and_dropped() {
    for bits in [0x40, 0x80, 0xC0, 0xD0] {
        // 0x47 is a ByeSignal as some implementations build it.
        let mut frame = bytes("0001 07 00 0000000000000001 0000 0000");
        frame[2] |= bits;
        let (read, _) = split(&frame).unwrap().unwrap();
        assert_eq!(read.header, header(OpCode::ByeSignal, 1, 1));
        assert_eq!(read.header.encode()[2], 0x07);
        assert_eq!(RawProto(frame[2]).internal_bits(), bits & 0xC0);
    }
}

#[test]
fn liberties_of_a_peer_are_accepted() {
    let more = Header {
        more: true,
        ..header(OpCode::Signal, 1, 1)
    };
    let no_id = header(OpCode::Signal, 0xFFFF, 0);
    for (hex, expected) in [
        ("0001 E2 00 0000000000000001 0000 0000", more),
        ("FFFF 02 00 0000000000000000 0000 0000", no_id),
    ] {
        let received = bytes(hex);
        assert_eq!(split(&received).unwrap().unwrap().0.header, expected);
    }
}

#[test]
fn text_header_blocks() {
    let read = |block: &'static [u8]| -> Vec<(&str, &str)> {
        TextHeaders::new(block)
            .iter()
            .map(|(name, value)| {
                (
                    str::from_utf8(name).unwrap(),
                    str::from_utf8(value).unwrap(),
                )
            })
            .collect()
    };
    assert_eq!(read(b"a: b"), [("a", "b")]);
    assert_eq!(
        read(b"a: b\r\nc:  \r\nd:e\r\n\r\nf: g\r\n\r\n"),
        [("a", "b"), ("c", ""), ("d", "e"), ("f", "g")]
    );
    assert_eq!(read(b""), []);
    // A line without a name hides nothing.
    assert_eq!(read(b"a:b\r\n:hidden\r\nc:d\r\n"), [("a", "b"), ("c", "d")]);
    assert_eq!(read(b"a:b:c\r\n"), [("a", "b:c")]);
    assert_eq!(read(b"a\r\nb:1"), [("a", ""), ("b", "1")]);
    assert_eq!(read(b" a:b\r\n"), [(" a", "b")]);
}

#[test]
fn text_headers_that_must_not_be_written() {
    let mut block = Vec::new();
    for name in ["", "a:b", "a\r\nb"] {
        assert!(append(&mut block, name, "value").is_err(), "{name:?}");
    }
    for value in ["", "x\r\nb:y", "x\r", "x\n"] {
        assert!(append(&mut block, "name", value).is_err(), "{value:?}");
    }
    assert!(block.is_empty());
}

#[test]
fn address_headers() {
    let tcp = |host, port| Address::tcp(host, port).unwrap();
    for (value, expected) in [
        ("tcp|127.0.0.1|7099", tcp("127.0.0.1", 7099)),
        ("tcp|::1|5", tcp("::1", 5)),
        ("tcp|fe80::1%eth0|5", tcp("fe80::1%eth0", 5)),
        ("tcp||7099", tcp("", 7099)),
        ("uds|/tmp/a|b", Address::uds("/tmp/a|b").unwrap()),
    ] {
        assert_eq!(Address::from_wire(value).as_ref(), Ok(&expected));
        assert_eq!(expected.to_wire(), value);
    }
    for value in [
        "tcp|h|1|x",
        "tcp|h",
        "tcp|h|70000",
        "tcp|h|+1",
        "xyz|h|1",
        "uds|",
        "uds|@a",
    ] {
        assert!(Address::from_wire(value).is_err(), "{value}");
    }
}

use super::*;
use crate::wire::{OpCode, fuzzing};

fn frame<'a>(op_code: OpCode, block: &'a [u8], body: &'a [u8]) -> Frame<'a> {
    let header = Header {
        channel_number: 3,
        op_code,
        more: false,
        status: 0,
        message_id: 11,
        text_headers_len: block.len().try_into().unwrap(),
        body_len: body.len().try_into().unwrap(),
    };
    Frame {
        header,
        text_headers: TextHeaders::new(block),
        body,
    }
}

fn stream(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        frame.append_to(&mut bytes);
    }
    bytes
}

#[test]
fn frames_are_taken_from_the_front_one_by_one() {
    let frames = [
        frame(OpCode::HelloRequest, b"~connect_to:uds|/tmp/a\r\n", b""),
        frame(OpCode::Request, b"", b"0123456789"),
        frame(OpCode::Signal, b"", b""),
        frame(OpCode::ByeRequest, b"why:done", b"bye"),
    ];
    let bytes = stream(&frames);
    let mut rest = &bytes[..];
    for expected in frames {
        let (found, used) = split(rest).unwrap().unwrap();
        assert_eq!(found, expected);
        assert_eq!(missing(rest), Ok(0));
        rest = &rest[used..];
    }
    assert_eq!(split(rest), Ok(None));
    assert_eq!(missing(rest), Ok(Header::LEN));
    assert_eq!(fuzzing::frames(&bytes), Ok(4));
}

#[test]
fn an_incomplete_frame_wants_its_header_and_then_what_the_header_announces() {
    let bytes = stream(&[frame(OpCode::Request, b"a:b\r\n", b"body")]);
    for cut in 0..bytes.len() {
        let front = &bytes[..cut];
        let wanted = if cut < Header::LEN {
            Header::LEN
        } else {
            bytes.len()
        };
        assert_eq!(split(front), Ok(None));
        assert_eq!(missing(front), Ok(wanted - cut));
    }
    assert_eq!(missing(&bytes), Ok(0));
}

#[test]
fn a_bad_header_is_refused_before_its_content_is_waited_for() {
    let mut bytes = stream(&[frame(OpCode::Request, b"", &[0; 1000])]);
    bytes[2] = 0x0B;
    let refused = HeaderError::InvalidOpCode { op_code: 11 };
    assert_eq!(split(&bytes[..Header::LEN]).err(), Some(refused));
    assert_eq!(missing(&bytes[..Header::LEN]), Err(refused));
    assert_eq!(split(&bytes[..Header::LEN - 1]), Ok(None));
    assert_eq!(fuzzing::frames(&bytes), Err(refused));
}

#[test]
fn frames_before_a_bad_header_are_still_yielded() {
    let mut bytes = stream(&[frame(OpCode::Request, b"", b"whole")]);
    let used = bytes.len();
    bytes.extend_from_slice(&stream(&[frame(OpCode::WelcomeRequest, b"", b"")]));
    assert_eq!(split(&bytes).unwrap().unwrap().1, used);
    let op_code = OpCode::WelcomeRequest;
    assert_eq!(
        split(&bytes[used..]),
        Err(HeaderError::NotAllowedFromPeer { op_code })
    );
}

#[test]
fn what_the_peer_forges_is_gone_from_a_frame() {
    let mut bytes = stream(&[frame(OpCode::Signal, b"", b"")]);
    bytes[2] = 0xD2;
    bytes[3] = 0x16;
    let (found, _) = split(&bytes).unwrap().unwrap();
    assert_eq!(found.header.op_code, OpCode::Signal);
    assert_eq!(found.header.status, 0x16);
    assert_eq!(stream(&[found])[2], 0x02);
    assert_eq!(fuzzing::frames(&bytes), Ok(1));
}

#[test]
#[should_panic(expected = "another length of the body")]
fn a_frame_that_would_shift_its_successors_is_our_mistake() {
    let mut wrong = frame(OpCode::Request, b"", b"four");
    wrong.header.body_len = 5;
    stream(&[wrong]);
}

#[test]
#[should_panic(expected = "another length of the text headers")]
fn text_headers_of_another_length_are_our_mistake() {
    let mut wrong = frame(OpCode::Request, b"a:b", b"");
    wrong.header.text_headers_len = 0;
    stream(&[wrong]);
}

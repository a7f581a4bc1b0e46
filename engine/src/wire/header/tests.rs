use super::*;

const HEADER: Header = Header {
    channel_number: 1,
    op_code: OpCode::Request,
    more: false,
    status: 0,
    message_id: 1,
    text_headers_len: 0,
    body_len: 0,
};

#[test]
fn operations_fall_into_their_roles() {
    let which = |is: fn(OpCode) -> bool| -> Vec<u8> {
        OpCode::ALL
            .into_iter()
            .filter(|&op_code| is(op_code))
            .map(|op_code| op_code as u8)
            .collect()
    };
    assert_eq!(which(OpCode::is_regular), [0, 1, 2]);
    assert_eq!(which(OpCode::is_response), [1, 4, 6, 9]);
    assert_eq!(which(OpCode::is_welcome), [8, 9]);
}

#[test]
fn operations_are_answered_by_their_echo() {
    let echoes: Vec<(u8, u8)> = OpCode::ALL
        .into_iter()
        .filter_map(|op_code| Some((op_code as u8, op_code.echo()? as u8)))
        .collect();
    assert_eq!(echoes, [(0, 1), (2, 2), (3, 4), (5, 6), (8, 9)]);
}

#[test]
fn names_are_those_of_the_variants() {
    for op_code in OpCode::ALL {
        assert_eq!(op_code.to_string(), format!("{op_code:?}"));
    }
    assert_eq!(format!("[{:>8}]", OpCode::Signal), "[  Signal]");
}

#[test]
fn every_byte_is_an_operation_or_an_error() {
    for number in 0..=u8::MAX {
        match OpCode::try_from(number) {
            Ok(op_code) => assert_eq!(op_code as u8, number),
            Err(error) => {
                assert!(number > 9);
                assert_eq!(error, HeaderError::InvalidOpCode { op_code: number });
            }
        }
    }
}

#[test]
fn each_field_has_its_bytes() {
    let all_ones = Header {
        channel_number: u16::MAX,
        op_code: OpCode::Request,
        more: true,
        status: u8::MAX,
        message_id: u64::MAX,
        text_headers_len: u16::MAX,
        body_len: u16::MAX,
    };
    let zero = Header {
        message_id: 0,
        channel_number: 0,
        ..HEADER
    };
    for (field, range) in [
        (
            Header {
                channel_number: u16::MAX,
                ..zero
            },
            0..2,
        ),
        (
            Header {
                status: u8::MAX,
                ..zero
            },
            3..4,
        ),
        (
            Header {
                message_id: u64::MAX,
                ..zero
            },
            4..12,
        ),
        (
            Header {
                text_headers_len: u16::MAX,
                ..zero
            },
            12..14,
        ),
        (
            Header {
                body_len: u16::MAX,
                ..zero
            },
            14..16,
        ),
    ] {
        let mut expected = [0; Header::LEN];
        expected[range].fill(0xFF);
        assert_eq!(field.encode(), expected);
        assert_eq!(Header::decode(&expected), Ok(field));
    }
    let mut expected = [0xFF; Header::LEN];
    expected[2] = 0x20;
    assert_eq!(all_ones.encode(), expected);
    assert_eq!(all_ones.frame_len(), crate::wire::MAX_FRAME_LEN);
}

#[test]
fn every_proto_byte_keeps_its_operation_and_more_and_loses_the_rest() {
    for proto in 0..=u8::MAX {
        let mut bytes = HEADER.encode();
        bytes[2] = proto;
        let raw = RawProto::of(&bytes);
        assert_eq!(raw.claims_engine_origin(), proto & 0x10 != 0);
        assert_eq!(raw.internal_bits(), proto & 0xC0);
        match Header::decode(&bytes) {
            Ok(header) => {
                assert_eq!(header.op_code as u8, proto & 0x0F);
                assert_eq!(header.more, proto & 0x20 != 0);
                assert_eq!(header.encode()[2], proto & 0x2F);
            }
            Err(error) => {
                assert_eq!(
                    error,
                    HeaderError::InvalidOpCode {
                        op_code: proto & 0x0F
                    }
                );
                assert!(proto & 0x0F > 9);
            }
        }
    }
}

#[test]
fn a_header_with_several_faults_is_refused_for_the_first() {
    let welcome = Header {
        op_code: OpCode::WelcomeResponse,
        more: true,
        message_id: 0,
        ..HEADER
    };
    let op_code = OpCode::WelcomeResponse;
    assert_eq!(
        welcome.check_inbound(),
        Err(HeaderError::NotAllowedFromPeer { op_code })
    );
    let bye = Header {
        op_code: OpCode::ByeResponse,
        more: true,
        message_id: 0,
        ..HEADER
    };
    let op_code = OpCode::ByeResponse;
    assert_eq!(
        bye.check_inbound(),
        Err(HeaderError::InvalidMessageId { op_code })
    );
}

#[test]
fn a_status_from_a_peer_is_kept_and_no_reason_to_refuse() {
    for status in 0..=u8::MAX {
        let header = Header { status, ..HEADER };
        assert_eq!(header.check_inbound(), Ok(()));
        assert_eq!(Header::decode(&header.encode()).unwrap().status, status);
    }
}

#[test]
fn any_channel_number_is_accepted() {
    for channel_number in [0, 1, 0xFFFE, 0xFFFF] {
        let header = Header {
            channel_number,
            ..HEADER
        };
        assert_eq!(header.check_inbound(), Ok(()));
    }
}

#[test]
fn errors_tell_what_is_wrong_and_what_to_do() {
    let op_code = OpCode::ByeRequest;
    for (error, expected) in [
        (
            HeaderError::InvalidOpCode { op_code: 12 },
            "operation 12 is not defined",
        ),
        (
            HeaderError::NotAllowedFromPeer { op_code },
            "ByeRequest is for the own engine only",
        ),
        (
            HeaderError::InvalidMoreUsage { op_code },
            "ByeRequest is marked `more`",
        ),
        (
            HeaderError::InvalidMessageId { op_code },
            "ByeRequest carries message id 0",
        ),
        (HeaderError::HelloTooLong, "the HelloRequest is too long"),
    ] {
        let text = error.to_string();
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with("close the connection"), "{text}");
    }
}

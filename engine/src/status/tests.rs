use super::Status;
use crate::reason::{ProtocolViolation, Reason};
use crate::wire::{HeaderError, OpCode};

#[test]
fn a_header_that_breaks_the_protocol_has_the_status_of_its_fault() {
    let op_code = OpCode::ByeRequest;
    for (error, status) in [
        (
            HeaderError::InvalidOpCode { op_code: 17 },
            Status::InvalidOpCode,
        ),
        (
            HeaderError::InvalidMoreUsage { op_code },
            Status::InvalidMoreUsage,
        ),
        (
            HeaderError::InvalidMessageId { op_code },
            Status::InvalidMessageId,
        ),
        (HeaderError::HelloTooLong, Status::InvalidMessage),
    ] {
        let reason = Reason::from(ProtocolViolation::from(error));
        assert_eq!(reason.status(), status);
    }
}

#[test]
fn a_code_is_what_travels() {
    assert_eq!(Status::Success.code(), 0);
    assert_eq!(Status::ConnectFailed.code(), 24);
    assert_eq!(Status::UnknownError.code(), 31);
}

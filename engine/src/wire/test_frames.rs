//! Frames for the unit tests of what reads them.

use super::{Frame, Header, OpCode, TextHeaders};

/// The header of a frame without text headers. Its channel number is one that no test here opens.
pub(crate) fn header(op_code: OpCode, id: u64, body_len: usize) -> Header {
    Header {
        channel_number: 0xBEEF,
        op_code,
        more: false,
        status: 0,
        message_id: id,
        text_headers_len: 0,
        body_len: body_len.try_into().unwrap(),
    }
}

/// A frame without text headers, as a peer sends it.
pub(crate) fn frame(op_code: OpCode, id: u64, body: &[u8]) -> Vec<u8> {
    let header = header(op_code, id, body.len());
    let mut bytes = Vec::new();
    let text_headers = TextHeaders::new(b"");
    Frame {
        header,
        text_headers,
        body,
    }
    .append_to(&mut bytes);
    bytes
}

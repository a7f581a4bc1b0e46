//! Frames for the unit tests of what reads them.

use super::{Frame, Header, OpCode, TextHeaders};

/// A frame without text headers, as a peer sends it. Its channel number is the peer's own, and one
/// that no test here opens.
pub(crate) fn frame(op_code: OpCode, id: u64, body: &[u8]) -> Vec<u8> {
    let header = Header {
        channel_number: 0xBEEF,
        op_code,
        more: false,
        status: 0,
        message_id: id,
        text_headers_len: 0,
        body_len: body.len().try_into().unwrap(),
    };
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

//! Frames: one header with the text headers and the body that it announces.

use super::{Header, HeaderError, TextHeaders};

/// One frame, borrowed from the bytes that it was read from or is about to be written from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame<'a> {
    /// The header; its lengths are those of the other two fields.
    pub header: Header,
    /// The block of text headers.
    pub text_headers: TextHeaders<'a>,
    /// The body.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// Appends the frame to `stream` as it goes onto the wire.
    ///
    /// # Panics
    ///
    /// If the header announces other lengths than the parts have: the frame would shift every frame
    /// after it.
    pub fn append_to(&self, stream: &mut Vec<u8>) {
        let block = self.text_headers.as_bytes();
        assert_eq!(
            usize::from(self.header.text_headers_len),
            block.len(),
            "the header announces another length of the text headers"
        );
        assert_eq!(
            usize::from(self.header.body_len),
            self.body.len(),
            "the header announces another length of the body"
        );
        stream.reserve(self.header.frame_len());
        stream.extend_from_slice(&self.header.encode());
        stream.extend_from_slice(block);
        stream.extend_from_slice(self.body);
    }
}

/// The first frame of what a peer has sent, and its length in bytes; `None` if it is not whole yet.
///
/// The header is judged as soon as it is whole, before anything that it announces is waited for,
/// and by [`Header::check_inbound`] as well as by [`Header::decode`].
///
/// # Errors
///
/// What [`Header::decode`] and [`Header::check_inbound`] refuse. More bytes change nothing about
/// it.
///
/// # Examples
///
/// ```
/// use ampe::wire::{HeaderError, split};
///
/// let stream = *b"\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x2A\x00\x00\x00\x02hi\x00";
/// let mut received = &stream[..];
/// let mut bodies = Vec::new();
/// while let Some((frame, used)) = split(received)? {
///     bodies.push(frame.body);
///     received = &received[used..];
/// }
/// assert_eq!(bodies, [b"hi"]);
/// assert_eq!(received, b"\x00"); // the start of the next frame
/// # Ok::<(), HeaderError>(())
/// ```
pub fn split(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, HeaderError> {
    let Some(header) = inbound_header(bytes)? else {
        return Ok(None);
    };
    let Some(content) = bytes.get(Header::LEN..header.frame_len()) else {
        return Ok(None);
    };
    let (block, body) = content.split_at(usize::from(header.text_headers_len));
    let frame = Frame {
        header,
        text_headers: TextHeaders::new(block),
        body,
    };
    Ok(Some((frame, header.frame_len())))
}

/// How many bytes must arrive before [`split`] can say more about the first frame: what its header
/// lacks, or else what the frame lacks; 0 if the frame is whole.
///
/// # Errors
///
/// As [`split`].
pub fn missing(bytes: &[u8]) -> Result<usize, HeaderError> {
    let wanted = match inbound_header(bytes)? {
        Some(header) => header.frame_len(),
        None => Header::LEN,
    };
    Ok(wanted.saturating_sub(bytes.len()))
}

fn inbound_header(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let Some(bytes) = bytes.first_chunk::<{ Header::LEN }>() else {
        return Ok(None);
    };
    let header = Header::decode(bytes)?;
    header.check_inbound()?;
    Ok(Some(header))
}

#[cfg(test)]
mod tests;

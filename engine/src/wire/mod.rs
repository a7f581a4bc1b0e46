//! The wire format: bytes in, frames out.
//!
//! A connection is a plain byte stream that carries frames back to back; there is no preamble, no
//! version and no negotiation. A frame is a [`Header`] of 16 bytes, a block of text headers, and a
//! body:
//!
//! ```text
//! offset  size  field             encoding
//! 0       2     channel_number    big-endian; the sender's own number
//! 2       1     proto             bits 0-3 operation, 4 origin, 5 more, 6-7 internal
//! 3       1     status            0 on the wire
//! 4       8     message_id        big-endian
//! 12      2     text_headers_len  big-endian, bytes
//! 14      2     body_len          big-endian, bytes
//! 16      ...   text headers      `name:value` CR LF, repeated
//! ...     ...   body              opaque bytes
//! ```
//!
//! The specification that is independent of this code is `docs/wire.md`.
//!
//! Nothing here reads a socket, looks at a clock or keeps state, and nothing here allocates except
//! where a `Vec` is passed in. Whatever a peer sends yields frames or an error, never a panic.
//!
//! # Examples
//!
//! ```
//! use ampe::wire::{self, Frame, Header, OpCode, TextHeaders};
//!
//! let mut block = Vec::new();
//! wire::append(&mut block, "Job-Ticket", "JDF")?;
//! let frame = Frame {
//!     header: Header {
//!         channel_number: 7,
//!         op_code: OpCode::Request,
//!         more: false,
//!         status: 0,
//!         message_id: 42,
//!         text_headers_len: block.len().try_into()?,
//!         body_len: 5,
//!     },
//!     text_headers: TextHeaders::new(&block),
//!     body: b"hello",
//! };
//! let mut stream = Vec::new();
//! frame.append_to(&mut stream);
//!
//! // One byte short, there is no frame yet.
//! assert_eq!(wire::split(&stream[..stream.len() - 1])?, None);
//! let (read, used) = wire::split(&stream)?.expect("the frame is whole");
//! assert_eq!(used, stream.len());
//! assert_eq!(read.text_headers.get("Job-Ticket"), Some(&b"JDF"[..]));
//! assert_eq!(read.body, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod header;
#[cfg(test)]
pub(crate) mod test_frames;
mod text_headers;

pub use frame::{Frame, missing, split};
pub use header::{Header, HeaderError, OpCode, RawProto};
pub use text_headers::{
    TextHeaderError, TextHeaders, TextHeadersIter, append, encoded_len, write_into,
};

/// The longest block of text headers that a frame can carry, in bytes.
pub const MAX_TEXT_HEADERS_LEN: usize = 65_535;

/// The longest body that a frame can carry, in bytes. Longer content is sent as several messages,
/// all but the last with [`Header::more`].
pub const MAX_BODY_LEN: usize = 65_535;

/// The longest content of a HelloRequest, text headers and body together, in bytes. So
/// much, and no more, is stored for a peer that has not said hello yet.
pub const MAX_HELLO_LEN: usize = 8192;

/// The longest content of a ByeSignal, text headers and body together, in bytes. Peers that send more
/// are understood all the same.
pub const MAX_ABORT_LEN: usize = 1024;

/// The longest frame, in bytes: 131,086.
pub const MAX_FRAME_LEN: usize = Header::LEN + MAX_TEXT_HEADERS_LEN + MAX_BODY_LEN;

// The lengths travel as u16: a limit that does not fit would be cut silently.
const _: () = assert!(MAX_TEXT_HEADERS_LEN == u16::MAX as usize);
const _: () = assert!(MAX_BODY_LEN == u16::MAX as usize);
const _: () = assert!(MAX_FRAME_LEN == 131_086);

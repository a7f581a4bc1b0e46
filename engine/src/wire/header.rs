//! The fixed part of a frame: 16 bytes, every field big-endian.

use std::fmt;

use super::MAX_HELLO_LEN;

const OP_CODE_MASK: u8 = 0x0F;
const ORIGIN_BIT: u8 = 0x10;
const MORE_BIT: u8 = 0x20;
const INTERNAL_BITS: u8 = 0xC0;

// The header as one big-endian number of 128 bits: how far each field is from its low end.
const CHANNEL_NUMBER_SHIFT: u32 = 112;
const PROTO_SHIFT: u32 = 104;
const STATUS_SHIFT: u32 = 96;
const MESSAGE_ID_SHIFT: u32 = 32;
const TEXT_HEADERS_LEN_SHIFT: u32 = 16;

/// What a message is for: the low four bits of the header's third byte.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpCode {
    /// Asks the peer for something; answered by [`OpCode::Response`].
    Request = 0,
    /// Answers a [`OpCode::Request`] with the same message id.
    Response = 1,
    /// Tells the peer something; no answer is expected.
    Signal = 2,
    /// The first frame that the connecting side sends.
    HelloRequest = 3,
    /// Answers a [`OpCode::HelloRequest`]. Optional: a peer may send data instead.
    HelloResponse = 4,
    /// Asks for the end of the conversation, after everything sent before.
    ByeRequest = 5,
    /// Ends the conversation: its sender sends nothing more.
    ByeResponse = 6,
    /// Abandons the channel at once. Addressed to the own engine; a peer that sends it nonetheless
    /// means to close.
    ByeSignal = 7,
    /// Asks the own engine to listen. Never travels.
    WelcomeRequest = 8,
    /// The own engine's answer to [`OpCode::WelcomeRequest`]. Never travels.
    WelcomeResponse = 9,
}

impl OpCode {
    /// Every operation, in the order of its number on the wire.
    pub const ALL: [OpCode; 10] = [
        OpCode::Request,
        OpCode::Response,
        OpCode::Signal,
        OpCode::HelloRequest,
        OpCode::HelloResponse,
        OpCode::ByeRequest,
        OpCode::ByeResponse,
        OpCode::ByeSignal,
        OpCode::WelcomeRequest,
        OpCode::WelcomeResponse,
    ];

    /// Whether this carries the application's content: Request, Response or Signal. Only these may
    /// be marked [`Header::more`].
    #[must_use]
    pub const fn is_regular(self) -> bool {
        matches!(self, OpCode::Request | OpCode::Response | OpCode::Signal)
    }

    /// Whether this answers something, and so must carry the message id of what it answers.
    #[must_use]
    pub const fn is_response(self) -> bool {
        matches!(
            self,
            OpCode::Response
                | OpCode::HelloResponse
                | OpCode::ByeResponse
                | OpCode::WelcomeResponse
        )
    }

    /// Whether this is meant for the own engine only, so that no peer may send it.
    ///
    /// [`OpCode::ByeSignal`] is not among these: it is meant to be local, yet peers exist that send
    /// it, and it must be understood.
    #[must_use]
    pub const fn is_welcome(self) -> bool {
        matches!(self, OpCode::WelcomeRequest | OpCode::WelcomeResponse)
    }

    /// The operation that answers this one: a Signal is answered by a Signal, a request by its
    /// response, and a response or a ByeSignal by nothing (`None`).
    #[must_use]
    pub const fn echo(self) -> Option<OpCode> {
        match self {
            OpCode::Request => Some(OpCode::Response),
            OpCode::Signal => Some(OpCode::Signal),
            OpCode::HelloRequest => Some(OpCode::HelloResponse),
            OpCode::ByeRequest => Some(OpCode::ByeResponse),
            OpCode::WelcomeRequest => Some(OpCode::WelcomeResponse),
            OpCode::Response
            | OpCode::HelloResponse
            | OpCode::ByeResponse
            | OpCode::ByeSignal
            | OpCode::WelcomeResponse => None,
        }
    }

    /// The name in the protocol, for example `HelloRequest`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            OpCode::Request => "Request",
            OpCode::Response => "Response",
            OpCode::Signal => "Signal",
            OpCode::HelloRequest => "HelloRequest",
            OpCode::HelloResponse => "HelloResponse",
            OpCode::ByeRequest => "ByeRequest",
            OpCode::ByeResponse => "ByeResponse",
            OpCode::ByeSignal => "ByeSignal",
            OpCode::WelcomeRequest => "WelcomeRequest",
            OpCode::WelcomeResponse => "WelcomeResponse",
        }
    }
}

impl fmt::Display for OpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl TryFrom<u8> for OpCode {
    type Error = HeaderError;

    /// # Errors
    ///
    /// [`HeaderError::InvalidOpCode`] for any number above 9.
    fn try_from(number: u8) -> Result<Self, Self::Error> {
        OpCode::ALL
            .get(usize::from(number))
            .copied()
            .ok_or(HeaderError::InvalidOpCode { op_code: number })
    }
}

/// The header of one frame.
///
/// The two bits of the wire that say "made by the engine" and "internal" have no field here. They
/// mean something inside one process only; [`Header::decode`] drops them, so that no peer can pass
/// its frame off as word from the own engine, and [`Header::encode`] never sets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// The sender's own number of the channel. A receiver ignores it: it knows the channel by the
    /// connection on which the frame came.
    pub channel_number: u16,
    /// What the message is for.
    pub op_code: OpCode,
    /// Whether further messages of the same logical message follow. Regular operations only.
    pub more: bool,
    /// 0 in what a conforming peer sends. Of a peer that sends another value it is the peer's word,
    /// delivered unchanged, and never the status of the own engine.
    pub status: u8,
    /// Chosen by whoever asks, repeated by whoever answers. 0 means "none", and is no valid id.
    pub message_id: u64,
    /// The length of the block of text headers, in bytes.
    pub text_headers_len: u16,
    /// The length of the body, in bytes.
    pub body_len: u16,
}

impl Header {
    /// The length of a header, in bytes.
    pub const LEN: usize = 16;

    /// The header as it goes onto the wire. The origin bit and the internal bits are 0, the status
    /// is written as given.
    #[inline]
    #[must_use]
    pub fn encode(&self) -> [u8; Header::LEN] {
        let proto = self.op_code as u8 | if self.more { MORE_BIT } else { 0 };
        let bits = u128::from(self.channel_number) << CHANNEL_NUMBER_SHIFT
            | u128::from(proto) << PROTO_SHIFT
            | u128::from(self.status) << STATUS_SHIFT
            | u128::from(self.message_id) << MESSAGE_ID_SHIFT
            | u128::from(self.text_headers_len) << TEXT_HEADERS_LEN_SHIFT
            | u128::from(self.body_len);
        bits.to_be_bytes()
    }

    /// Reads a header. The origin bit and the internal bits are dropped, whatever they are; see
    /// [`RawProto`] for a view that keeps them.
    ///
    /// This knows nothing of who sent the bytes: for those of a peer, [`Header::check_inbound`]
    /// must follow.
    ///
    /// # Errors
    ///
    /// [`HeaderError::InvalidOpCode`] if the operation is one of the six numbers, 10 to 15, that
    /// the protocol does not define. The stream cannot be followed beyond such a header.
    #[inline]
    pub fn decode(bytes: &[u8; Header::LEN]) -> Result<Header, HeaderError> {
        let bits = u128::from_be_bytes(*bytes);
        let proto = RawProto((bits >> PROTO_SHIFT) as u8);
        Ok(Header {
            channel_number: (bits >> CHANNEL_NUMBER_SHIFT) as u16,
            op_code: proto.op_code()?,
            more: proto.more(),
            status: (bits >> STATUS_SHIFT) as u8,
            message_id: (bits >> MESSAGE_ID_SHIFT) as u64,
            text_headers_len: (bits >> TEXT_HEADERS_LEN_SHIFT) as u16,
            body_len: bits as u16,
        })
    }

    /// Whether a peer may send this header at all, whatever the state of the conversation.
    ///
    /// Message id 0 is tolerated where nothing is answered: no conforming peer sends it, but it
    /// does no harm there.
    ///
    /// # Errors
    ///
    /// In this order, the first that applies:
    ///
    /// - [`HeaderError::NotAllowedFromPeer`]: WelcomeRequest or WelcomeResponse.
    /// - [`HeaderError::InvalidMessageId`]: an answer that names no message.
    /// - [`HeaderError::InvalidMoreUsage`]: `more` on something other than Request, Response or
    ///   Signal.
    /// - [`HeaderError::HelloTooLong`]: a HelloRequest with more than
    ///   [`MAX_HELLO_LEN`] bytes of content.
    #[inline]
    pub fn check_inbound(&self) -> Result<(), HeaderError> {
        let op_code = self.op_code;
        if op_code.is_welcome() {
            return Err(HeaderError::NotAllowedFromPeer { op_code });
        }
        if op_code.is_response() && self.message_id == 0 {
            return Err(HeaderError::InvalidMessageId { op_code });
        }
        if self.more && !op_code.is_regular() {
            return Err(HeaderError::InvalidMoreUsage { op_code });
        }
        if op_code == OpCode::HelloRequest && self.content_len() > MAX_HELLO_LEN {
            return Err(HeaderError::HelloTooLong);
        }
        Ok(())
    }

    /// The length of the frame that begins with these bytes, of which there are as many as a header has.
    #[inline]
    pub(crate) fn frame_len_of(bytes: &[u8]) -> usize {
        let len = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        Header::LEN + len(12) + len(14)
    }

    /// Writes a channel and an id into the header with which these bytes begin.
    #[inline]
    pub(crate) fn set_channel_and_id(bytes: &mut [u8], channel_number: u16, message_id: u64) {
        bytes[..2].copy_from_slice(&channel_number.to_be_bytes());
        bytes[4..12].copy_from_slice(&message_id.to_be_bytes());
    }

    /// The length of the whole frame in bytes, this header included: 16 to
    /// [`MAX_FRAME_LEN`](super::MAX_FRAME_LEN).
    #[must_use]
    pub fn frame_len(&self) -> usize {
        Header::LEN + self.content_len()
    }

    /// The length of what follows the header in bytes: text headers and body.
    #[must_use]
    pub fn content_len(&self) -> usize {
        usize::from(self.text_headers_len) + usize::from(self.body_len)
    }
}

/// The third byte of a header as it came, with the bits that [`Header::decode`] drops.
///
/// For counting and showing what a peer claims; nothing may be decided by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RawProto(
    /// The byte.
    pub u8,
);

impl RawProto {
    /// The byte of this header.
    #[must_use]
    pub const fn of(header: &[u8; Header::LEN]) -> RawProto {
        RawProto(header[2])
    }

    /// The operation.
    ///
    /// # Errors
    ///
    /// [`HeaderError::InvalidOpCode`] for the undefined numbers 10 to 15.
    pub fn op_code(self) -> Result<OpCode, HeaderError> {
        OpCode::try_from(self.0 & OP_CODE_MASK)
    }

    /// Whether more messages of the same logical message follow.
    #[must_use]
    pub const fn more(self) -> bool {
        self.0 & MORE_BIT != 0
    }

    /// Whether the frame claims to be made by an engine rather than by an application. From a peer
    /// this is a mistake or a forgery.
    #[must_use]
    pub const fn claims_engine_origin(self) -> bool {
        self.0 & ORIGIN_BIT != 0
    }

    /// The two internal bits, in place: 0x00, 0x40, 0x80 or 0xC0. 0 from a conforming peer.
    #[must_use]
    pub const fn internal_bits(self) -> u8 {
        self.0 & INTERNAL_BITS
    }
}

/// Why a header cannot be accepted. Each ends the conversation: the fault is the peer's, and the
/// stream is not to be followed further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeaderError {
    /// The number of the operation is not defined.
    #[error(
        "operation {op_code} is not defined (0 to 9 are): the peer speaks another protocol or is \
         broken; close the connection"
    )]
    InvalidOpCode {
        /// What stood in its place, 10 or above.
        op_code: u8,
    },
    /// The operation addresses an engine from within; no peer may send it.
    #[error("{op_code} is for the own engine only and came from a peer: close the connection")]
    NotAllowedFromPeer {
        /// What the peer sent.
        op_code: OpCode,
    },
    /// `more` stands on an operation that cannot be continued.
    #[error(
        "{op_code} is marked `more`, which only Request, Response and Signal may be: close the \
         connection"
    )]
    InvalidMoreUsage {
        /// What the peer sent.
        op_code: OpCode,
    },
    /// A HelloRequest announces more than a stranger may send.
    #[error(
        "the HelloRequest is too long: at most 8192 bytes of text headers and body; close the connection"
    )]
    HelloTooLong,
    /// An answer carries message id 0, so it answers nothing.
    #[error("{op_code} carries message id 0 and so answers nothing: close the connection")]
    InvalidMessageId {
        /// What the peer sent.
        op_code: OpCode,
    },
}

#[cfg(test)]
mod tests;

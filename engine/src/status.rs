//! The protocol's status codes.

/// A status code as the wire format lists it: the byte's value is the variant's.
///
/// On the wire the byte is 0 in practice. [`Reason::status`](crate::Reason::status) gives the code
/// for an end of a channel, for programs that compare with other implementations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
#[repr(u8)]
pub enum Status {
    /// Nothing went wrong.
    Success = 0,
    /// Not used by this engine.
    NotImplementedYet = 1,
    /// An address of the wrong kind, or none.
    WrongAddress = 2,
    /// Not allowed in this state.
    NotAllowed = 3,
    /// Not used by this engine.
    NullMessage = 4,
    /// The peer broke the protocol.
    InvalidMessage = 5,
    /// An opcode that may not be used here.
    InvalidOpCode = 6,
    /// Text headers over 65,535 bytes.
    InvalidHeadersLen = 7,
    /// A body over 65,535 bytes.
    InvalidBodyLen = 8,
    /// `more` on a message that cannot have it.
    InvalidMoreUsage = 9,
    /// No such channel, or no longer.
    InvalidChannelNumber = 10,
    /// A channel of another group.
    InvalidChannelGroup = 11,
    /// A response without the id of its request.
    InvalidMessageId = 12,
    /// The address cannot be used.
    InvalidAddress = 13,
    /// No Unix socket at the path.
    UdsPathNotFound = 14,
    /// Not used by this engine.
    NotificationDisabled = 15,
    /// Not used by this engine.
    NotificationFailed = 16,
    /// The peer closed the connection.
    PeerDisconnected = 17,
    /// The system does not let the socket be polled.
    CommunicationFailed = 18,
    /// Not used by this engine.
    PoolEmpty = 19,
    /// Not used by this engine.
    AllocationFailed = 20,
    /// Not used by this engine.
    ReceiverUpdate = 21,
    /// The channel was closed in an orderly way, or by the application.
    ChannelClosed = 22,
    /// The engine stops or has stopped.
    ShutdownStarted = 23,
    /// Nobody answers at the address, or its host's name has no address that we were told of.
    ConnectFailed = 24,
    /// The address cannot be listened on.
    ListenFailed = 25,
    /// Not used by this engine.
    AcceptFailed = 26,
    /// Writing to the connection failed.
    SendFailed = 27,
    /// Reading from the connection failed.
    RecvFailed = 28,
    /// Not used by this engine.
    SetsockoptFailed = 29,
    /// Not used by this engine.
    ProcessingFailed = 30,
    /// Any other value.
    UnknownError = 31,
}

impl Status {
    /// The code's value in the header's status byte.
    pub fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests;

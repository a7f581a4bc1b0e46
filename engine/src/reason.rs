//! Why a channel ended, and why a message came back.

use crate::status::Status;
use crate::wire::HeaderError;

/// Why a channel ended. The same on every system for the same cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Both sides said goodbye: ByeRequest was answered by ByeResponse.
    #[error("both sides said goodbye")]
    Bye,
    /// The peer sent a ByeResponse unasked: it wants no conversation, or no more of it.
    #[error("the peer refused to go on")]
    Refused,
    /// The peer sent a ByeSignal: it gave up, and said so. What it said of it came as
    /// [`Event::ByeSignal`](crate::Event::ByeSignal). One that gives up without a word breaks the
    /// connection.
    #[error("the peer aborted")]
    PeerAborted,
    /// The application withdrew the message: [`ChannelGroup::withdraw`](crate::ChannelGroup::withdraw), or a
    /// [`Call`](crate::Call) that was given up. The channel goes on.
    #[error("withdrawn")]
    Withdrawn,
    /// The application posted a ByeSignal.
    #[error("aborted here")]
    Aborted,
    /// The peer closed the connection without a goodbye: it ended, or closed its group.
    #[error("the peer disconnected")]
    PeerDisconnected,
    /// The connection broke, in reading or in writing: mostly a reset, as of a peer whose process ended
    /// or that aborted, or an end in the middle of a frame. What the system had still to yield was
    /// received. [`Closed::os_error`](crate::Closed::os_error) says what the system said, if it did.
    ///
    /// Where writing fails first, the channel takes no posts from then on and returns what was not sent;
    /// it ends once all that the peer had sent was received, and no later than
    /// [`Options::linger_timeout`](crate::Options::linger_timeout) after the application last let some of
    /// that be received, nor than twelve times as long in all. If reading then finds that the peer had
    /// closed in order, the reason is [`PeerDisconnected`](Reason::PeerDisconnected), as it would be
    /// had reading come first; what was returned before that was known says `ConnectionLost`. Windows does not
    /// tell such a write from one behind a reset: there the reason is `ConnectionLost` if writing finds it
    /// first.
    #[error("the connection broke")]
    ConnectionLost,
    /// The peer began a message and sent nothing more of it within
    /// [`Options::frame_timeout`](crate::Options).
    #[error("the peer stopped in the middle of a message")]
    ReceiveTimedOut,
    /// The system took nothing of what was queued for as long as
    /// [`Options::send_timeout`](crate::Options::send_timeout): the peer does not read, or is gone.
    #[error("the peer takes nothing of what is sent to it")]
    SendTimedOut,
    /// A goodbye was not answered within [`Options::bye_timeout`](crate::Options::bye_timeout): no
    /// ByeResponse to ours was received, or the application did not answer that of a peer which had closed
    /// its sending side behind it.
    #[error("the goodbye was not answered in time")]
    ByeTimedOut,
    /// The peer sent what the protocol does not allow.
    #[error("the peer broke the protocol: {0}")]
    Protocol(#[from] ProtocolViolation),
    /// Nobody accepts connections at the address, or it cannot be reached. Of a host with several
    /// addresses all have failed; [`Closed::os_error`](crate::Closed::os_error) is of the last that did.
    #[error("could not connect")]
    ConnectFailed,
    /// The connection was not established within [`Options::connect_timeout`](crate::Options). If
    /// attempts at other addresses of the host had failed, [`Closed::os_error`](crate::Closed::os_error)
    /// is of the last of these.
    #[error("could not connect in time")]
    ConnectTimedOut,
    /// A connection to a `tls://` address was refused, here or there, before anything was said over it: the
    /// peer's certificate is not accepted, or ours is not, or the peer has no TLS 1.3.
    /// [`Closed::os_error`](crate::Closed::os_error) says it in words. Of a host with several addresses it is of
    /// the last that was tried. A peer that does not accept our certificate may say so only when we take the
    /// connection for established: messages have been sent then, which it has not received.
    #[error("no secure connection came about")]
    HandshakeFailed,
    /// The address is `tls://`, and the group has nothing to secure a connection with: no TLS options, or none
    /// for this direction, or the crate was built without its feature `tls`.
    #[error("there is no TLS for this address")]
    NoTls,
    /// There is no Unix socket at the path.
    #[error("there is no socket at the path")]
    UdsPathNotFound,
    /// The address is a Unix socket's, and this system has none.
    #[error("this system has no Unix sockets")]
    NoUnixSockets,
    /// The host's name has no address that anybody told us of: it is misspelt, or whoever knows
    /// names does not answer, which may pass. Not every system says which it was. At most 32 names
    /// are looked up at once, each on a thread of its own, and at most 1,024 connections and
    /// listeners wait for a name: one more fails like this too. So does a listener whose name is not
    /// resolved within [`Options::connect_timeout`](crate::Options). `localhost` and names below it
    /// are `::1` and 127.0.0.1, without a look-up.
    #[error("the host name could not be resolved")]
    NameNotResolved,
    /// The address cannot be used on this system.
    #[error("the address cannot be used")]
    InvalidAddress,
    /// This system lets the socket be opened, and does not let it be polled, nor will it the next
    /// time: on Windows, some layered service providers, which security software and VPNs install,
    /// hide the socket that has to be polled. [`Closed::os_error`](crate::Closed::os_error) mostly
    /// names the provider and says what to do.
    #[error("this system does not let the socket be polled")]
    CannotPoll,
    /// The address could not be listened on: mostly it is in use. A listener on a name tries the
    /// name's addresses in turn, until one can be bound, which it listens on alone, or one is in use;
    /// [`Closed::os_error`](crate::Closed::os_error) is of the last that was tried.
    #[error("could not listen")]
    ListenFailed,
    /// The channel's group was closed.
    #[error("the group was closed")]
    GroupClosed,
    /// The engine was stopped.
    #[error("the engine was stopped")]
    EngineStopped,
}

/// What a peer did that the protocol does not allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolViolation {
    /// A frame header that a peer may not send.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The first frame of an accepted connection was no HelloRequest.
    #[error("the first frame is not a HelloRequest")]
    HelloExpected,
    /// A HelloRequest or HelloResponse where none may be.
    #[error("an unexpected Hello")]
    UnexpectedHello,
}

impl Reason {
    /// The protocol's status code for this reason, as listed in the wire format.
    pub fn status(self) -> Status {
        match self {
            Reason::Withdrawn => Status::Success,
            Reason::Bye
            | Reason::Refused
            | Reason::PeerAborted
            | Reason::Aborted
            | Reason::GroupClosed => Status::ChannelClosed,
            Reason::PeerDisconnected | Reason::ByeTimedOut => Status::PeerDisconnected,
            Reason::ReceiveTimedOut => Status::RecvFailed,
            Reason::SendTimedOut => Status::SendFailed,
            Reason::Protocol(ProtocolViolation::Header(error)) => status_of(error),
            Reason::Protocol(_) => Status::InvalidMessage,
            // Not "invalid address": who is told that will not try again.
            Reason::ConnectFailed
            | Reason::ConnectTimedOut
            | Reason::NameNotResolved
            | Reason::HandshakeFailed => Status::ConnectFailed,
            Reason::UdsPathNotFound => Status::UdsPathNotFound,
            Reason::InvalidAddress | Reason::NoUnixSockets | Reason::NoTls => {
                Status::InvalidAddress
            }
            Reason::ConnectionLost | Reason::CannotPoll => Status::CommunicationFailed,
            Reason::ListenFailed => Status::ListenFailed,
            Reason::EngineStopped => Status::ShutdownStarted,
        }
    }
}

fn status_of(error: HeaderError) -> Status {
    match error {
        HeaderError::InvalidOpCode { .. } => Status::InvalidOpCode,
        HeaderError::InvalidMoreUsage { .. } => Status::InvalidMoreUsage,
        HeaderError::InvalidMessageId { .. } => Status::InvalidMessageId,
        _ => Status::InvalidMessage,
    }
}

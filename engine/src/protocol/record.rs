//! What the core knows of one connection or listener.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use crate::address::Address;
use crate::between::key::RecordKey;
use crate::channel::Channel;
use crate::endpoint::Endpoint;
use crate::event::Account;
use crate::event::SystemError;
use crate::message::Message;
use crate::reason::Reason;
use crate::wire::Header;

use super::budget::Starved;
use super::outgoing::Fifo;

pub(super) enum Record {
    Listener(Listener),
    Connection(Box<Connection>),
}

pub(super) struct Listener {
    pub(super) common: Common,
    pub(super) address: Address,
    pub(super) phase: ListenerPhase,
    /// Accepted connections that exist now.
    pub(super) connections: usize,
    /// The last try's failure.
    pub(super) os_error: Option<SystemError>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ListenerPhase {
    Opening,
    /// Waits to try again: somebody else binds in the socket's directory.
    Deferred {
        give_up: Instant,
    },
    Listening,
    /// The system refused a connection its resources: accepting pauses until the deadline.
    Pausing,
    Ended,
}

impl Listener {
    pub(super) fn is_opening(&self) -> bool {
        matches!(
            self.phase,
            ListenerPhase::Opening | ListenerPhase::Deferred { .. }
        )
    }
}

/// What both kinds of record have.
pub(super) struct Common {
    /// Index of the group in the core's list.
    pub(super) group: usize,
    /// None for a connection that was accepted and has not said hello.
    pub(super) channel: Option<Channel>,
    pub(super) deadline: Option<Instant>,
    /// Whether the driver is to be told of the interest.
    pub(super) is_touched: bool,
    /// Why it ended, with the system's error.
    pub(super) end: Option<(Reason, Option<SystemError>)>,
}

impl Common {
    pub(super) fn new(group: usize, channel: Option<Channel>) -> Self {
        Common {
            group,
            channel,
            deadline: None,
            is_touched: false,
            end: None,
        }
    }
}

pub(super) struct Connection {
    pub(super) common: Common,
    pub(super) origin: Origin,
    pub(super) phase: Phase,
    pub(super) peer: Option<Box<Endpoint>>,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    pub(super) bye: Bye,
    pub(super) account: Account,
    /// Sent messages that ask for an answer, and answers received: their lesser is confirmed.
    pub(super) questions_sent: u64,
    pub(super) answers_received: u64,
    /// Is in the list of those whose account is to be reported.
    pub(super) is_to_report: bool,
}

pub(super) enum Origin {
    Accepted {
        listener: RecordKey,
        listener_channel: Channel,
    },
    Opened(Box<Opening>),
}

/// How a connection is being opened.
pub(super) struct Opening {
    pub(super) address: Address,
    /// Addresses of the host that have not been tried yet.
    pub(super) untried: VecDeque<SocketAddr>,
    /// When opening is given up; the record's deadline may be an earlier retry, or the end of this
    /// attempt's share of the time.
    pub(super) give_up: Instant,
    /// The id of our HelloRequest: a ByeResponse with it may refuse the hello.
    pub(super) hello_id: u64,
    pub(super) hello_answered: bool,
    /// The last attempt's failure.
    pub(super) os_error: Option<SystemError>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// The host's name is being resolved.
    Resolving,
    /// An attempt to connect is under way.
    Connecting,
    /// Waits to try again: the peer's backlog was full.
    Deferred,
    Open,
    /// What is queued is sent, then the sending side is closed, then the peer's end is awaited.
    Finishing(Reason),
    /// The socket is gone; the record waits for the last posts that were admitted to it.
    Ended,
}

#[derive(Default)]
pub(super) struct Inbound {
    pub(super) header: [u8; Header::LEN],
    pub(super) header_len: usize,
    /// The frame whose header is complete.
    pub(super) partial: Option<Partial>,
    /// Waits for budget for the frame whose header is in `header`.
    pub(super) starved: Option<(Starved, usize)>,
    /// What this connection's undropped messages are charged.
    pub(super) held: usize,
    /// When something was last received, as far as a frame is under way that is looked after.
    pub(super) heard: Option<Instant>,
    /// When it is to be seen whether the frame under way has come any further.
    pub(super) look: Option<Instant>,
}

impl Inbound {
    /// Whether a frame has arrived in part.
    pub(super) fn is_mid_frame(&self) -> bool {
        self.partial.is_some() || self.header_len > 0
    }
}

/// A frame that is arriving.
pub(super) struct Partial {
    pub(super) header: Header,
    pub(super) message: Message,
    /// How much of its text headers and body has arrived.
    pub(super) filled: usize,
}

pub(super) struct Outbound {
    pub(super) fifo: Fifo,
    /// The system took less than was offered: wait until it is writable.
    pub(super) is_blocked: bool,
    /// Is in the list of those that have something to write.
    pub(super) is_listed: bool,
    /// The sending side was closed.
    pub(super) is_finished: bool,
    /// Writing failed; what the peer has sent before is still received.
    pub(super) failure: Option<WriteFailure>,
    /// The registry admits no more posts.
    pub(super) is_closed_to_posts: bool,
}

/// A connection that cannot be written to any more, and may still have something to read.
pub(super) struct WriteFailure {
    pub(super) os_error: SystemError,
    /// How many times its end was put off because it went on receiving.
    pub(super) extensions: u32,
    /// How many frames had begun when that was last decided.
    pub(super) frames_started: u64,
}

/// How far the goodbyes have come.
#[derive(Default)]
pub(super) struct Bye {
    pub(super) request_sent: bool,
    pub(super) response_sent: bool,
    pub(super) request_received: bool,
    pub(super) response_received: bool,
    /// The id of our ByeRequest, once it was sent: its answer bears the same.
    pub(super) asked_id: u64,
    /// How many messages had been sent with our ByeRequest: what its answer confirms.
    pub(super) asked: u64,
    /// How many messages the goodbyes confirm.
    pub(super) confirmed: u64,
}

impl Connection {
    pub(super) fn new(common: Common, origin: Origin, phase: Phase) -> Self {
        Connection {
            common,
            origin,
            phase,
            peer: None,
            inbound: Inbound::default(),
            outbound: Outbound {
                fifo: Fifo::new(),
                is_blocked: false,
                is_listed: false,
                is_finished: false,
                failure: None,
                is_closed_to_posts: false,
            },
            bye: Bye::default(),
            account: Account::default(),
            questions_sent: 0,
            answers_received: 0,
            is_to_report: false,
        }
    }

    pub(super) fn is_opening(&self) -> bool {
        matches!(
            self.phase,
            Phase::Resolving | Phase::Connecting | Phase::Deferred
        )
    }

    /// Whether a socket is connected.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Finishing(_))
    }

    pub(super) fn may_send(&self) -> bool {
        self.is_live() && !self.outbound.is_finished && self.outbound.failure.is_none()
    }

    /// Why the connection ends for which `reason` and `os_error` are the occasion: a write that
    /// failed before is the cause of all that follows.
    pub(super) fn cause_of_end(
        &self,
        reason: Reason,
        os_error: Option<SystemError>,
    ) -> (Reason, Option<SystemError>) {
        match &self.outbound.failure {
            Some(failure) => (Reason::SendFailed, Some(failure.os_error.clone())),
            None => (reason, os_error),
        }
    }

    /// How many messages the peer is known to have received.
    pub(super) fn confirmed(&self) -> u64 {
        let answered = self.questions_sent.min(self.answers_received);
        answered.max(self.bye.confirmed)
    }

    /// Grows with every frame that was given its storage.
    pub(super) fn frames_started(&self) -> u64 {
        self.account.received + u64::from(self.inbound.partial.is_some())
    }
}

impl Record {
    pub(super) fn common(&self) -> &Common {
        match self {
            Record::Listener(listener) => &listener.common,
            Record::Connection(connection) => &connection.common,
        }
    }

    pub(super) fn common_mut(&mut self) -> &mut Common {
        match self {
            Record::Listener(listener) => &mut listener.common,
            Record::Connection(connection) => &mut connection.common,
        }
    }
}

//! The engine's logic without its input and output: no sockets, no clock, no threads.
//!
//! The driver tells what happened (`handle_*`, with the time where it matters) and asks what to do
//! (`poll_*`, `read_plan`, `transmit`). Buffers are lent both ways: bytes that were read are handed
//! in as a slice, or read straight into the message that they belong to; bytes to write are handed
//! out as slices of the messages themselves. A pass goes like this:
//!
//! 1. For what is readable: [`Core::read_plan`], then `handle_shared`, `handle_filled`,
//!    `handle_end_of_stream` or `handle_read_error`.
//! 2. [`Core::exchange`] and `handle_submission` for each of the batch.
//! 3. [`Core::poll_closing`] until there is none; [`Core::poll_opening`] as often as the pass allows.
//! 4. [`Core::take_transmit_list`], and for each `transmit`, then `handle_transmitted`,
//!    `handle_blocked` or `handle_write_error`.
//! 5. [`Core::poll_due`], and for each what the system has to say of it and [`Core::handle_due`]; then
//!    [`Core::settle`], [`Core::deliver`].
//! 6. Before it waits: [`Core::settle_dropped`]; [`Core::poll_resume`], and `handle_shared` again
//!    for whom it names; [`Core::poll_wanted`] until there is none; [`Core::poll_timeout`].
//!
//! The engine's own words:
//!
//! - *Core*: all of this, as the driver and the simulator hold it. *Hub*: the core without its
//!   connections, what they share.
//! - *Posted, sent, returned, confirmed*: admitted by `post`; its last byte accepted by the system;
//!   given back because the peer cannot have it; known to have been received by the peer.
//! - *Pass*: one turn of the driver's loop, as above.
//! - *Exchange*: take all submissions, and close ended channels to posts, under one lock. *Settle*: at
//!   the end of a pass give back the credit of what was sent, return what channels that are closed to
//!   posts still have queued, and say `Closed`.
//! - *Charge*: whose budget a message's memory counts against. *Hold*: the part of the outbound
//!   budget that a returned message keeps until it is dropped.
//! - *Room*: outbound credit enough for what was refused, and the event that says so. It is
//!   *promised* to whom it was told, for a while.
//! - *Starved*: a connection that cannot take its next frame for want of inbound budget, its own
//!   share or the engine's. For the engine's it *lines up*: first come, first served.
//! - *Holder*: the starved connection whose bytes lie in the one shared read buffer.
//! - *Attempt*: one of several addresses of a host that are tried side by side. It has a place in the
//!   table until its socket is closed, and its connection alone knows of it.
//! - *Touched*: a connection or listener to which something has happened since the last wait.
//! - *Look*: a timer that finds whether a frame in part still comes along. *Heard*: when a byte of
//!   that frame last came.
//! - *Asked*: of a connection that waits for the application to admit it. Nothing of it is read.
//! - *Unheard*: a connection from outside that ended before its HelloRequest: no channel, no events.

mod admission;
mod attempts;
#[cfg(test)]
pub(crate) mod audit;
mod budget;
mod calls;
mod connection;
pub(crate) mod decisions;
mod groups;
mod hub;
mod listeners;
mod outgoing;
mod promises;
mod record;
mod reports;
mod settling;
mod submissions;
mod table;
mod timers;
mod trace;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::between::key::RecordKey;
use crate::between::registry::GroupId;
use crate::channel::Channel;
use crate::endpoint::Endpoint;
use crate::handed_in::HandedIn;
use crate::handles::Shared;
use crate::message::Message;
use crate::options::ListenOptions;
use crate::reason::Reason;
use crate::storage::Cache;

use self::budget::Budget;
use self::calls::Calls;
use self::groups::Groups;
use self::outgoing::Nodes;
use self::promises::Promises;
use self::record::Record;
use self::reports::Clock;
use self::table::Table;
use self::timers::Timers;
use self::trace::Trace;

pub(crate) use self::outgoing::SCRATCH_BYTES;
#[cfg(test)]
pub(crate) use self::outgoing::{NODES_BYTES, UNUSED_BYTES};

/// What a connection takes on the heap.
#[cfg(test)]
pub(crate) const CONNECTION_BYTES: usize =
    size_of::<connection::Connection>() + size_of::<connection::Opening>();

/// What a connection takes in the table and in the lists, sets and indexes that it may be in.
#[cfg(test)]
pub(crate) const PLACE_BYTES: usize = size_of::<Option<Record>>() + 20 * size_of::<RecordKey>();

/// What attempts at a host with several addresses take while they are under way: a place each, which
/// is kept for others then, their keys, and what the driver is told of each.
#[cfg(test)]
pub(crate) const ATTEMPTS_BYTES: usize = connection::ATTEMPTS_MAX
    * (2 * size_of::<Option<Record>>() + 4 * size_of::<RecordKey>() + 4 * size_of::<Action>());

/// Something that the driver is to do with sockets.
#[derive(Debug)]
pub(crate) enum Action {
    /// Find the addresses of a host; the answer comes as a submission.
    Resolve {
        key: RecordKey,
        host: String,
        port: u16,
    },
    /// Start to connect.
    Connect { key: RecordKey, address: Endpoint },
    /// Start to listen.
    Listen {
        key: RecordKey,
        address: Endpoint,
        options: Arc<ListenOptions>,
    },
    /// Connect or listen on a socket that was handed in.
    Adopt {
        key: RecordKey,
        socket: Box<HandedIn>,
    },
    /// Close the sending side: everything was sent.
    FinishSending { key: RecordKey },
    /// Close the socket, if there is one.
    Close { key: RecordKey, how: Closing },
}

/// How a socket is closed.
#[derive(Debug)]
pub(crate) enum Closing {
    /// The peer sees an end of the stream.
    Orderly,
    /// The peer sees a reset.
    Abortive,
    /// This frame is the last, if the system takes it whole at once; else the peer sees a reset.
    Saying(Message),
}

impl Action {
    fn key(&self) -> RecordKey {
        match *self {
            Action::Resolve { key, .. }
            | Action::Connect { key, .. }
            | Action::Listen { key, .. }
            | Action::Adopt { key, .. }
            | Action::FinishSending { key }
            | Action::Close { key, .. } => key,
        }
    }
}

/// What the driver has still to do.
#[derive(Default)]
struct Actions {
    closing: VecDeque<Action>,
    opening: VecDeque<Action>,
}

impl Actions {
    fn push(&mut self, action: Action) {
        match action {
            Action::FinishSending { .. } | Action::Close { .. } => self.closing.push_back(action),
            Action::Resolve { .. }
            | Action::Connect { .. }
            | Action::Listen { .. }
            | Action::Adopt { .. } => {
                self.opening.push_back(action);
            }
        }
    }

    fn is_empty(&self) -> bool {
        let Actions { closing, opening } = self;
        closing.is_empty() && opening.is_empty()
    }
}

/// How to read from a connection.
pub(crate) enum ReadPlan<'a> {
    /// Not at all.
    Park,
    /// Into the shared buffer, for [`Core::handle_shared`].
    Shared,
    /// Into these bytes, for [`Core::handle_filled`].
    Into(&'a mut [u8]),
    /// Only what the handshake takes, for [`Core::handle_identified`].
    Handshake,
    /// Not at all, but whether something is there, for [`Core::handle_spoken`], or has ended.
    Peek,
}

/// What a connection or listener waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

impl Wanted {
    /// No more than that it is writable.
    pub(crate) const WRITABLE: Wanted = Wanted {
        readable: false,
        writable: true,
    };
}

/// The hub with its connections and listeners: it knows them all, and keeps what they share. The
/// conversations are the connections' own.
pub(crate) struct Core {
    shared: Arc<Shared>,
    cache: Cache,
    table: Table<Record>,
    /// Records by channel number.
    by_number: Vec<Option<RecordKey>>,
    groups: Groups,
    nodes: Nodes,
    calls: Calls,
    budget: Budget,
    timers: Timers,
    /// Whose unread bytes are in the shared buffer.
    holder: Option<RecordKey>,
    actions: Actions,
    /// Those to which something has happened since the last wait, each once.
    touched: Vec<RecordKey>,
    /// How many of them have told the driver what they want.
    asked: usize,
    /// Inbound charges that applications gave back, while they are worked off.
    released: Vec<(RecordKey, usize)>,
    /// Who is to be told of room.
    room: Vec<Channel>,
    /// Credit that was given back has made room for somebody, who is told with the next exchange.
    has_room: bool,
    /// Tasks waited for room, or for what they had posted to be sent, at the last exchange.
    tasks_wait: bool,
    promises: Promises,
    /// When it is looked again at what applications have dropped, without being woken.
    drops_at: Option<Instant>,
    clock: Clock,
    trace: Trace,
    /// The group that the thread receives for which makes the passes.
    receiver: Option<GroupId>,
    /// How many events came about since somebody asked.
    arrived: usize,
    /// Groups with events to deliver, or that may have ended.
    dirty_groups: Vec<usize>,
    /// Closing groups that posts may still be admitted to, until the next exchange.
    unsealed: Vec<usize>,
    /// Listeners that accept nobody while so many have not said hello.
    crowded: BTreeSet<RecordKey>,
    stopping: Option<Instant>,
    /// For tests: the channels that there are and were.
    #[cfg(test)]
    bound: std::collections::BTreeMap<RecordKey, Channel>,
}

/// The reason that a group's end gives its channels.
fn group_end(stopping: bool) -> Reason {
    if stopping {
        Reason::EngineStopped
    } else {
        Reason::GroupClosed
    }
}

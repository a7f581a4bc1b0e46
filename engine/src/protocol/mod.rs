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
//! 3. [`Core::poll_action`] until there is none.
//! 4. [`Core::take_transmit_list`], and for each `transmit`, then `handle_transmitted`,
//!    `handle_blocked` or `handle_write_error`.
//! 5. [`Core::handle_time`], [`Core::settle`], [`Core::deliver`].
//!
//! The engine's own words:
//!
//! - *Posted, sent, returned, confirmed*: admitted by `post`; its last byte accepted by the system;
//!   given back because the peer cannot have it; known to have been received by the peer.
//! - *Pass*: one turn of the driver's loop, as above.
//! - *Exchange*: take all submissions, give back the credit of what was sent, and close ended
//!   channels to posts, under one lock. *Settle*: then return what such a channel still has queued,
//!   and say `Closed`.
//! - *Charge*: whose budget a message's memory counts against. *Hold*: the part of the outbound
//!   budget that a returned message keeps until it is dropped.
//! - *Room*: outbound credit enough for what was refused, and the event that says so. It is
//!   *promised* to whom it was told, for a while.
//! - *Starved*: a connection that cannot take its next frame for want of inbound budget, its own
//!   share or the engine's. For the engine's it *lines up*: first come, first served.
//! - *Holder*: the starved connection whose bytes lie in the one shared read buffer.
//! - *Touched*: a connection or listener that may want other readiness than the driver was told.
//! - *Look*: a timer that finds whether a frame in part still comes along. *Heard*: when a byte of
//!   that frame last came.
//! - *Unheard*: a connection from outside that ended before its HelloRequest: no channel, no events.

#[cfg(test)]
pub(crate) mod audit;
mod budget;
pub(crate) mod flaws;
mod groups;
mod inbound;
mod lifecycle;
mod listeners;
mod opening;
mod outbound;
mod outgoing;
mod promises;
mod record;
mod reports;
mod stalls;
mod submissions;
mod table;
mod timers;
mod unpollable;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::endpoint::Endpoint;

use crate::between::key::RecordKey;
use crate::channel::Channel;
use crate::handles::Shared;
use crate::reason::Reason;
use crate::storage::Cache;

use self::budget::Budget;
use self::flaws::{Flaw, planted};
use self::groups::Groups;
use self::outgoing::Nodes;
use self::promises::Promises;
use self::record::{Connection, Listener, ListenerPhase, Phase, Record};
use self::reports::Reports;
use self::table::Table;
use self::timers::Timers;

pub(crate) use self::outgoing::SCRATCH_BYTES;

/// Something that the driver is to do with sockets.
#[derive(Debug)]
pub(crate) enum Action {
    /// Find the addresses of a host; the answer comes as a submission.
    Resolve {
        key: RecordKey,
        host: String,
        port: u16,
    },
    /// Start to connect, in place of any attempt before.
    Connect { key: RecordKey, address: Endpoint },
    /// Start to listen.
    Listen { key: RecordKey, address: Endpoint },
    /// Close the sending side: everything was sent.
    FinishSending { key: RecordKey },
    /// Close the socket, if there is one; abortively, the peer sees a reset.
    Close { key: RecordKey, abortive: bool },
    /// Offer again the bytes that [`Core::handle_shared`] left.
    Resume { key: RecordKey },
}

/// How to read from a connection.
pub(crate) enum ReadPlan<'a> {
    /// Not at all.
    Park,
    /// Into the shared buffer, for [`Core::handle_shared`].
    Shared,
    /// Into these bytes, for [`Core::handle_filled`].
    Into(&'a mut [u8]),
}

/// What a connection or listener waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

pub(crate) struct Core {
    shared: Arc<Shared>,
    cache: Cache,
    table: Table<Record>,
    /// Records by channel number.
    by_number: Vec<Option<RecordKey>>,
    groups: Groups,
    nodes: Nodes,
    budget: Budget,
    timers: Timers,
    /// When to look at frames that have arrived in part.
    looks: Timers,
    /// Whose unread bytes are in the shared buffer.
    holder: Option<RecordKey>,
    actions: VecDeque<Action>,
    /// Those whose interest may have changed.
    touched: Vec<RecordKey>,
    /// Those that have something to write.
    transmit: Vec<RecordKey>,
    /// Ended, and to be closed to posts with the next exchange.
    ended: Vec<RecordKey>,
    /// Ended before they said hello, and to be removed once their sockets are closed.
    unheard: Vec<RecordKey>,
    /// Closed to posts: everything admitted has arrived, and is returned.
    closed: Vec<RecordKey>,
    /// Their writing failed: they are closed to posts with the next exchange, and go on receiving.
    failed: Vec<RecordKey>,
    /// Of those, the ones that are closed to posts and have not returned what is queued.
    unsendable: Vec<RecordKey>,
    /// Credit of messages sent since the last exchange.
    releases: Vec<(Channel, usize)>,
    released: Vec<(RecordKey, usize)>,
    room: Vec<Channel>,
    promises: Promises,
    reports: Reports,
    /// Groups with events to deliver, or that may have ended.
    dirty_groups: Vec<usize>,
    /// Closing groups that posts may still be admitted to, until the next exchange.
    unsealed: Vec<usize>,
    stopping: Option<Instant>,
}

impl Core {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let options = &shared.options;
        let share = options.inbound_bytes_per_channel.min(options.inbound_bytes);
        Core {
            cache: Cache::new(Arc::clone(&shared.pool)),
            budget: Budget::new(options.inbound_bytes, share),
            shared,
            table: Table::new(),
            by_number: Vec::new(),
            groups: Groups::default(),
            nodes: Nodes::new(),
            timers: Timers::default(),
            looks: Timers::default(),
            holder: None,
            actions: VecDeque::new(),
            touched: Vec::new(),
            transmit: Vec::new(),
            ended: Vec::new(),
            unheard: Vec::new(),
            closed: Vec::new(),
            failed: Vec::new(),
            unsendable: Vec::new(),
            releases: Vec::new(),
            released: Vec::new(),
            room: Vec::new(),
            promises: Promises::default(),
            reports: Reports::default(),
            dirty_groups: Vec::new(),
            unsealed: Vec::new(),
            stopping: None,
        }
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next that may want something else than before, with what it wants now.
    pub(crate) fn poll_wanted(&mut self) -> Option<(RecordKey, Wanted)> {
        let limit = self.shared.options.connections_per_listener;
        while let Some(key) = self.touched.pop() {
            let Some(record) = self.table.get_mut(key) else {
                continue;
            };
            record.common_mut().is_touched = false;
            let wanted = match record {
                Record::Listener(listener) => wanted_by_listener(listener, limit),
                Record::Connection(connection) => {
                    wanted_by_connection(connection, self.holder == Some(key))
                }
            };
            return Some((key, wanted));
        }
        None
    }

    fn touch(&mut self, key: RecordKey) {
        let Some(record) = self.table.get_mut(key) else {
            return;
        };
        if !std::mem::replace(&mut record.common_mut().is_touched, true) {
            self.touched.push(key);
        }
    }

    /// When [`handle_time`](Core::handle_time) is due; at once if there is work left over.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let has_work = !self.transmit.is_empty()
            || !self.ended.is_empty()
            || !self.unheard.is_empty()
            || !self.closed.is_empty()
            || !self.failed.is_empty()
            || !self.unsendable.is_empty()
            || !self.releases.is_empty()
            || !self.unsealed.is_empty()
            || self.promises.are_over
            || (!self.dirty_groups.is_empty() && !planted(Flaw::ReceivedMayWait))
            || !self.actions.is_empty();
        if has_work {
            Some(now)
        } else {
            let times = self.timers.next().into_iter();
            let times = times.chain(self.looks.next());
            times.chain(self.promises.next()).min()
        }
    }

    /// Whether the reactor has nothing left to do for ever.
    pub(crate) fn is_finished(&self) -> bool {
        self.stopping.is_some() && self.table.len() == 0 && self.groups.is_empty()
    }

    fn connection(&mut self, key: RecordKey) -> Option<&mut Connection> {
        match self.table.get_mut(key) {
            Some(Record::Connection(connection)) => Some(connection),
            _ => None,
        }
    }

    fn listener(&mut self, key: RecordKey) -> Option<&mut Listener> {
        match self.table.get_mut(key) {
            Some(Record::Listener(listener)) => Some(listener),
            _ => None,
        }
    }

    fn set_deadline(&mut self, key: RecordKey, at: Option<Instant>) {
        if let Some(record) = self.table.get_mut(key) {
            self.timers.set(key, &mut record.common_mut().deadline, at);
        }
    }

    /// The record of a channel that is open to posts or was until the last exchange.
    fn key_of(&self, channel: Channel) -> Option<RecordKey> {
        let key = self
            .by_number
            .get(usize::from(channel.number()))
            .copied()
            .flatten()?;
        let record = self.table.get(key)?;
        (record.common().channel == Some(channel)).then_some(key)
    }

    fn bind_number(&mut self, channel: Channel, key: RecordKey) {
        let number = usize::from(channel.number());
        if self.by_number.len() <= number {
            self.by_number.resize(number + 1, None);
        }
        assert!(
            self.by_number[number].is_none(),
            "a number names one channel at a time"
        );
        self.by_number[number] = Some(key);
    }
}

fn wanted_by_listener(listener: &Listener, limit: usize) -> Wanted {
    let accepts = listener.phase == ListenerPhase::Listening && listener.connections < limit;
    Wanted {
        readable: accepts,
        writable: false,
    }
}

fn wanted_by_connection(connection: &Connection, is_holder: bool) -> Wanted {
    match connection.phase {
        Phase::Connecting => Wanted {
            readable: false,
            writable: true,
        },
        Phase::Open | Phase::Finishing(_) => Wanted {
            readable: connection.inbound.starved.is_none() && !is_holder,
            writable: connection.outbound.is_blocked
                && connection.may_send()
                && !planted(Flaw::BlockedStaysSo),
        },
        Phase::Resolving | Phase::Deferred | Phase::Ended => Wanted::default(),
    }
}

/// What an address means to the system, where no name has to be resolved.
fn socket_address(address: &crate::address::Address) -> Option<Endpoint> {
    if let Some(path) = address.path() {
        return Some(Endpoint::Uds(Some(PathBuf::from(path))));
    }
    address.socket_addr().map(Endpoint::Tcp)
}

/// The reason that a group's end gives its channels.
fn group_end(stopping: bool) -> Reason {
    if stopping {
        Reason::EngineStopped
    } else {
        Reason::GroupClosed
    }
}

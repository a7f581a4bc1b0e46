//! How connections and listeners end, and what is owed to the application then.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::Channel;
use crate::event::SystemError;
use crate::event::{Account, Closed, Event, Returned};
use crate::handles::{Counters, Shared};
use crate::reason::Reason;
use crate::storage::{Charge, Creditor, Hold};

use super::flaws::{Flaw, planted};
use super::outgoing::{Fifo, Outgoing};
use super::record::{Connection, ListenerPhase, Origin, Phase, Record};
use super::{Action, Core, RecordKey};

/// When a connection is looked at again whose time has come while it waits for budget.
const STARVED_AGAIN: Duration = Duration::from_secs(1);

impl Core {
    /// Ends a connection or listener: its socket goes now, its accounts are settled once everything
    /// that was admitted to it has arrived. Ending twice changes nothing.
    pub(super) fn end(&mut self, key: RecordKey, reason: Reason, os_error: Option<SystemError>) {
        let Some(record) = self.table.get_mut(key) else {
            return;
        };
        match record {
            Record::Listener(listener) if listener.phase != ListenerPhase::Ended => {
                listener.phase = ListenerPhase::Ended;
            }
            Record::Connection(connection) if connection.phase != Phase::Ended => {
                connection.phase = Phase::Ended;
                connection.inbound.partial = None;
                if let Some((why, _)) = connection.inbound.starved.take() {
                    self.budget.leave(why);
                }
            }
            _ => return,
        }
        let common = record.common_mut();
        common.end = Some((reason, os_error));
        let is_channel = common.channel.is_some();
        self.compact_line();
        if self.holder == Some(key) && !planted(Flaw::EndedKeepsBuffer) {
            self.holder = None;
        }
        self.set_deadline(key, None);
        self.stop_looking(key);
        let abortive = matches!(reason, Reason::Aborted | Reason::Protocol(_));
        self.actions.push_back(Action::Close { key, abortive });
        if is_channel {
            self.ended.push(key);
        } else {
            Counters::count(&self.shared.counters.ended_before_hello);
            self.unheard.push(key);
            if planted(Flaw::PlaceIsFreeEarly) {
                self.forget_unheard();
            }
        }
    }

    /// Removes connections that ended before they said hello: no channel knows of them. Not at once,
    /// so that nobody takes the place of one whose socket the driver has still to close.
    fn forget_unheard(&mut self) {
        let mut unheard = mem::take(&mut self.unheard);
        for key in unheard.drain(..) {
            if let Some(Record::Connection(connection)) = self.table.remove(key) {
                self.leave(key, &connection);
            }
        }
        self.unheard = unheard;
    }

    /// Takes a connection out of its group's and its listener's counts.
    fn leave(&mut self, key: RecordKey, connection: &Connection) {
        if let Origin::Accepted { listener, .. } = connection.origin {
            if let Some(listener) = self.listener(listener) {
                listener.connections -= 1;
            }
            self.touch(listener);
        }
        self.leave_group(connection.common.group, key);
    }

    /// Settles the channels that the last exchange closed: returns what was not sent, then says
    /// `Closed`. Every post that was admitted to them has been handled by now.
    pub(crate) fn settle(&mut self) {
        self.return_unsendable();
        self.tell_room();
        self.forget_unheard();
        let mut closed = mem::take(&mut self.closed);
        for key in closed.drain(..) {
            let record = self
                .table
                .remove(key)
                .expect("an ended record waits to be settled");
            let channel = record.common().channel.expect("only channels are settled");
            self.by_number[usize::from(channel.number())] = None;
            match record {
                Record::Listener(listener) => {
                    let closed = closed_event(channel, listener.common.end, None);
                    self.emit(listener.common.group, Event::Closed(closed));
                    self.leave_group(listener.common.group, key);
                }
                Record::Connection(connection) => {
                    self.settle_connection(key, channel, *connection);
                }
            }
        }
        self.closed = closed;
    }

    /// Tells channels of room that the last exchange found. Not before the batch was handled that
    /// came with it: a channel may be refused, and have room again, before the core knows of it.
    fn tell_room(&mut self) {
        let mut room = mem::take(&mut self.room);
        for channel in room.drain(..) {
            let key = self
                .key_of(channel)
                .filter(|_| !planted(Flaw::RoomIsNotTold));
            if let Some(key) = key {
                let group = self.table.get(key).map(|record| record.common().group);
                self.emit(group.expect("just found"), Event::Room(channel));
            }
        }
        self.room = room;
    }

    /// Returns what is queued on connections whose writing failed, and which the last exchange closed
    /// to posts: everything admitted to them has been handled by now.
    fn return_unsendable(&mut self) {
        let mut unsendable = mem::take(&mut self.unsendable);
        for key in unsendable.drain(..) {
            let Some(connection) = self.connection(key) else {
                continue;
            };
            let channel = connection
                .common
                .channel
                .expect("only channels are sent to");
            let mut fifo = mem::replace(&mut connection.outbound.fifo, Fifo::new());
            let group = connection.common.group;
            let returned = self.return_all(&mut fifo, channel, group, Reason::SendFailed);
            let connection = self.connection(key).expect("found above");
            connection.account.returned += returned;
            if let Some(Record::Connection(connection)) = self.table.get(key) {
                self.report_returned(channel, connection);
            }
        }
        self.unsendable = unsendable;
    }

    /// Returns all that is queued for a channel to its group, and says how many messages that were.
    fn return_all(
        &mut self,
        fifo: &mut Fifo,
        channel: Channel,
        group: usize,
        reason: Reason,
    ) -> u64 {
        let (mut count, mut cost) = (0, 0);
        while let Some(outgoing) = self.nodes.pop(fifo) {
            cost += outgoing.cost;
            count += 1;
            let returned = returned_event(&self.shared, channel, reason, outgoing);
            if !planted(Flaw::UnsentIsDropped) {
                self.emit(group, Event::Returned(returned));
            }
        }
        if cost > 0 {
            let queue = &self.shared.queue;
            queue.with_registry(|registry| registry.release_channel(channel, cost));
        }
        count
    }

    /// Reports that all was returned that had not been sent.
    fn report_returned(&self, channel: Channel, connection: &Connection) {
        let report = self.reports.report(connection, &self.nodes);
        let returned = connection.account.returned;
        let queue = &self.shared.queue;
        queue.with_registry(|registry| registry.report_returned(channel, report, returned));
    }

    fn settle_connection(&mut self, key: RecordKey, channel: Channel, mut connection: Connection) {
        let group = connection.common.group;
        let end = connection.common.end.take();
        let &(reason, _) = end.as_ref().expect("it has ended");
        let mut fifo = mem::replace(&mut connection.outbound.fifo, Fifo::new());
        connection.account.returned += self.return_all(&mut fifo, channel, group, reason);
        let account = &mut connection.account;
        assert_eq!(
            account.posted,
            account.sent + account.returned,
            "every message is accounted for"
        );
        connection.account.confirmed = connection.confirmed();
        self.report_returned(channel, &connection);
        let account = &mut connection.account;
        if planted(Flaw::SentCountsAsConfirmed) {
            account.confirmed = account.sent;
        }
        let mut closed = closed_event(channel, end, Some(&connection));
        closed.account = connection.account;
        self.emit(group, Event::Closed(closed));
        self.leave(key, &connection);
    }

    /// Ends whatever has waited long enough.
    pub(crate) fn handle_time(&mut self, now: Instant) {
        self.handle_frame_time(now);
        self.promises.handle_time(now);
        self.reports.note_time(now);
        while let Some(key) = self.timers.pop_due(now) {
            let Some(record) = self.table.get_mut(key) else {
                continue;
            };
            record.common_mut().deadline = None;
            let connection = match record {
                Record::Listener(_) => {
                    self.handle_listener_time(key, now);
                    continue;
                }
                Record::Connection(connection) => connection,
            };
            let is_ours_to_read = connection.inbound.starved.is_some() || self.holder == Some(key);
            match connection.phase {
                Phase::Open if connection.outbound.failure.is_some() => {
                    self.handle_failed_time(key, now);
                }
                // It is not the peer that is late: its bytes are here and wait for budget.
                Phase::Open if is_ours_to_read => {
                    self.set_deadline(key, Some(now + STARVED_AGAIN));
                }
                Phase::Resolving | Phase::Connecting | Phase::Deferred => {
                    self.handle_opening_time(key, now);
                }
                Phase::Finishing(reason) => {
                    // The peer did not close in time: this end confirms nothing.
                    self.end(key, reason, None);
                }
                // Only an accepted connection that has not said hello has a deadline while open.
                Phase::Open => self.end(key, Reason::PeerDisconnected, None),
                Phase::Ended => {}
            }
        }
    }
}

fn returned_event(
    shared: &Arc<Shared>,
    channel: Channel,
    reason: Reason,
    outgoing: Outgoing,
) -> Returned {
    let Outgoing {
        mut message,
        op_code,
        more,
        id,
        cost,
        ..
    } = outgoing;
    let creditor: Arc<dyn Creditor> = Arc::clone(shared) as Arc<dyn Creditor>;
    message.storage_mut().charge = Charge::Returned(Hold::new(creditor, cost));
    Returned {
        channel,
        op_code,
        more,
        id,
        reason,
        message,
    }
}

fn closed_event(
    channel: Channel,
    end: Option<(Reason, Option<SystemError>)>,
    connection: Option<&Connection>,
) -> Closed {
    let (reason, os_error) = end.expect("only what has ended is settled");
    let peer = connection.and_then(|connection| connection.peer.clone());
    Closed {
        channel,
        reason,
        os_error,
        peer,
        account: Account::default(),
    }
}

//! Settling with the registry, and what is owed to the application at a channel's end.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use crate::between::key::RecordKey;
use crate::between::registry::Registry;
use crate::event::Event;
use crate::handles::{Batch, Counters};

use super::connection::{Connection, Posts};
use super::record::{Kind, Record};
use super::reports::report;
use super::{Core, decisions};

impl Core {
    /// Takes everything that was posted into `batch`. Under the same lock channels that have ended are
    /// closed to posts: what was admitted to them is in `batch`, and nothing can follow.
    pub(crate) fn exchange(&mut self, batch: &mut Batch) {
        let shared = Arc::clone(&self.shared);
        batch.spare.take_over(self.nodes.spare());
        let mut closed = Vec::new();
        shared.queue.exchange(batch, |registry| {
            for &key in &self.touched {
                if let Some(record) = self.table.get_mut(key) {
                    if record.posts() == Posts::Closing {
                        closed.extend(record.channel().map(|channel| (record.group, channel)));
                    }
                    let room_is_due = close_to_posts(record, registry);
                    self.room.extend(record.channel().filter(|_| room_is_due));
                }
            }
            if self.promises.take_lapse() {
                registry.lapse_promises();
            }
            registry.take_withdrawals();
            registry.tell_goodbyes();
            registry.take_room(&mut self.room);
            self.promises.note(registry.room_is_wanted());
            self.has_room = false;
            self.tasks_wait = registry.has_tasks();
            self.seal_groups(registry);
        });
        for (group, channel) in closed {
            let lines = self.groups.get(group).lines();
            shared.queue.tell(lines.end(channel));
        }
    }

    /// Gives back the credit of what was sent. Then settles the channels that the last exchange closed:
    /// returns what was not sent, and says `Closed`. Every post that was admitted to them has been
    /// handled by now.
    pub(crate) fn settle(&mut self, now: Instant) {
        self.give_back(now);
        let mut touched = mem::take(&mut self.touched);
        let lives_on = |it: &Connection| it.is_unsendable() && !it.has_ended();
        for &key in &touched {
            if self.connection(key).is_some_and(lives_on) {
                self.return_unsendable(key, now);
            }
        }
        self.tell_room();
        touched.retain(|&key| !self.remove_if_settled(key, now));
        assert!(self.asked == 0, "nobody settles between two questions");
        // Meanwhile others may have been touched: a listener whose connection is gone.
        touched.append(&mut self.touched);
        self.touched = touched;
    }

    /// Gives back the credit of what was sent in this pass, and reports what has become of channels.
    fn give_back(&mut self, now: Instant) {
        if self.touched.is_empty() {
            return;
        }
        let millis = self.clock.millis(now);
        let queue = &self.shared.queue;
        queue.settle(|registry| {
            for &key in &self.touched {
                let record = self.table.get_mut(key).map(|record| &mut record.kind);
                let Some(Kind::Connection(connection)) = record else {
                    continue;
                };
                let Some(channel) = connection.channel() else {
                    continue;
                };
                let released = connection.take_released();
                if released > 0 {
                    registry.release(channel, released);
                }
                registry.report(channel, report(connection, &self.nodes, now, millis));
            }
            self.has_room = registry.can_tell_room();
            self.promises.note(registry.room_is_wanted());
        });
        self.promises.handle_time(now);
    }

    /// Returns what a connection has queued and can never send.
    fn return_unsendable(&mut self, key: RecordKey, now: Instant) {
        let Some(index) = self.table.get(key).map(|record| record.group) else {
            return;
        };
        let creditor = Arc::clone(self.group(index).creditor());
        let returned = self.with(key, now, |it, context| {
            it.return_unsendable(&creditor, context)
        });
        let millis = self.clock.millis(now);
        let connection = self.connection(key).expect("the caller has asked it");
        if let (Some(cost), Some(channel)) = (returned, connection.channel()) {
            let report = report(connection, &self.nodes, now, millis);
            let count = connection.account().returned;
            self.shared.queue.settle(|registry| {
                registry.release_returned(channel, cost);
                registry.report_returned(channel, report, count);
            });
        }
    }

    /// Tells channels of room that the last exchange found. Not before the batch was handled that
    /// came with it: a channel may be refused, and have room again, before the core knows of it.
    fn tell_room(&mut self) {
        for channel in mem::take(&mut self.room) {
            let key = self.key_of(channel).filter(|_| decisions::is_room_told());
            if let Some(key) = key {
                self.emit_from(key, Event::Room(channel));
            }
        }
    }

    /// Removes a record that has ended and is closed to posts, behind what it returns.
    fn remove_if_settled(&mut self, key: RecordKey, now: Instant) -> bool {
        let Some(record) = self.table.get(key) else {
            return true;
        };
        let is_settled = record.has_ended() && record.posts() == Posts::Closed;
        if !is_settled {
            return false;
        }
        assert!(
            record.is_socket_closed,
            "a socket is closed before another may take its place"
        );
        if self.connection(key).is_some_and(Connection::is_unsendable) {
            self.return_unsendable(key, now);
        }
        let Some(record) = self.table.remove(key) else {
            return true;
        };
        assert!(record.timer.is_none(), "who has ended waits for no time");
        if let Some(channel) = record.channel() {
            self.by_number[usize::from(channel.number())] = None;
        }
        match record.kind {
            Kind::Attempt(_) => unreachable!("an attempt goes with its socket"),
            Kind::Listener(listener) => {
                self.emit(record.group, Event::Closed(listener.closed()));
            }
            Kind::Connection(connection) => {
                match connection.channel() {
                    Some(_) => self.emit(record.group, Event::Closed(connection.closed())),
                    None => Counters::count(&self.shared.counters.ended_before_hello),
                }
                let (budget_key, held) = connection.held();
                self.budget.depart(key, budget_key, held);
                if let Some(listener) = connection.listener() {
                    let is_named = connection.channel().is_some();
                    self.handle_accepted_gone(listener, is_named, connection.is_asked());
                }
            }
        }
        self.leave_group(record.group, key);
        true
    }
}

/// Closes a channel to posts that asked for it. Returns whether a receiver that was promised a Room is
/// to get it now: its next post tells that there is none any more.
fn close_to_posts(record: &mut Record, registry: &mut Registry) -> bool {
    let channel = record.channel();
    if record.posts() != Posts::Closing {
        return false;
    }
    record.set_closed_to_posts();
    let room_is_due = channel.is_some_and(|channel| registry.close(channel));
    room_is_due && !record.has_ended()
}

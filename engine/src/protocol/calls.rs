//! Calls: requests whose answers go to who waits for them, and not to the group's inbox.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use crate::between::key::RecordKey;
use crate::channel::Channel;
use crate::event::{Closed, Event};
use crate::handles::{AbandonedCall, CallEvent, CallLine, Shared};
use crate::wire::OpCode;

use super::Core;
use super::connection::Connection;
use super::outgoing::Withdrawn;

/// So many calls are given up in one pass at most; the others have their turn in the next.
const CALLS_DUE_MOST: usize = 256;

/// Names a call: its channel, and the id of its request.
type CallKey = (Channel, u64);

/// The calls that wait.
#[derive(Default)]
pub(super) struct Calls {
    open: BTreeMap<CallKey, (CallLine, Instant)>,
    /// When each is given up.
    due: BTreeSet<(Instant, CallKey)>,
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// When the next is given up.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Whether one waits for the answer to this request.
    fn has(&self, key: CallKey) -> bool {
        self.open.contains_key(&key)
    }

    fn begin(&mut self, key: CallKey, line: CallLine, deadline: Instant) {
        self.due.insert((deadline, key));
        let before = self.open.insert(key, (line, deadline));
        assert!(before.is_none(), "the engine gives an id once");
    }

    fn end(&mut self, key: CallKey) -> Option<CallLine> {
        let (line, deadline) = self.open.remove(&key)?;
        self.due.remove(&(deadline, key));
        Some(line)
    }

    /// Tells a call of something, and ends it if that is the last.
    fn tell(&mut self, key: CallKey, event: CallEvent) -> Option<Waker> {
        if event.is_last() {
            return self.end(key).and_then(|line| line.deliver(event));
        }
        let (line, _) = self.open.get(&key)?;
        line.deliver(event)
    }

    /// Takes out of what is delivered to a group what belongs to calls.
    pub(super) fn route(&mut self, deliveries: &mut VecDeque<Event>, shared: &Shared) {
        for _ in 0..deliveries.len() {
            let Some(event) = deliveries.pop_front() else {
                return;
            };
            let event = match event {
                Event::Response(received) if self.has((received.channel, received.id)) => {
                    let key = (received.channel, received.id);
                    shared
                        .queue
                        .tell(self.tell(key, CallEvent::Response(received)));
                    continue;
                }
                Event::Returned(returned)
                    if returned.op_code == OpCode::Request
                        && self.has((returned.channel, returned.id)) =>
                {
                    let key = (returned.channel, returned.id);
                    shared
                        .queue
                        .tell(self.tell(key, CallEvent::Returned(returned)));
                    continue;
                }
                Event::Closed(closed) => {
                    self.end_channel(&closed, shared);
                    Event::Closed(closed)
                }
                event => event,
            };
            deliveries.push_back(event);
        }
    }

    /// A channel has ended, and with it the calls that wait for answers on it.
    fn end_channel(&mut self, closed: &Closed, shared: &Shared) {
        let of_channel = (closed.channel, 0)..=(closed.channel, u64::MAX);
        while let Some((&key, _)) = self.open.range(of_channel.clone()).next() {
            shared
                .queue
                .tell(self.tell(key, CallEvent::Lost(closed.reason)));
        }
    }
}

impl Core {
    /// A call begins, whose request was posted, or waits for room.
    pub(super) fn begin_call(
        &mut self,
        channel: Channel,
        id: u64,
        line: CallLine,
        deadline: Instant,
    ) {
        self.calls.begin((channel, id), line, deadline);
    }

    /// Nobody waits for a call's answer any more. What had come for it goes to the group's inbox, unless the
    /// channel has ended: nothing follows that. A request that was not sent comes back there.
    pub(super) fn abandon_call(&mut self, abandoned: AbandonedCall, now: Instant) {
        let AbandonedCall {
            channel,
            id,
            mut left,
            mailbox,
        } = abandoned;
        mailbox.take_more(&mut left);
        let is_open = self.calls.end((channel, id)).is_some();
        let group = self.key_of(channel).and_then(|key| self.table.get(key));
        let Some(group) = group.map(|record| record.group) else {
            return;
        };
        for event in left {
            match event {
                CallEvent::Response(received) => self.emit(group, Event::Response(received)),
                CallEvent::Returned(returned) => self.emit(group, Event::Returned(returned)),
                CallEvent::Lost(_) | CallEvent::TimedOut => {}
            }
        }
        if is_open {
            self.withdraw(channel, id, Withdrawn::Request, now);
        }
    }

    /// The connections with calls whose time is over: what the system has to say of them is to be heard before
    /// [`handle_calls_due`](Core::handle_calls_due).
    pub(crate) fn calls_due(&self, now: Instant) -> Vec<RecordKey> {
        let due = self.calls.due.iter().take_while(|(at, _)| *at <= now);
        let channels: BTreeSet<Channel> = due.take(CALLS_DUE_MOST).map(|(_, key)| key.0).collect();
        let keys = channels.into_iter();
        keys.filter_map(|channel| self.key_of(channel)).collect()
    }

    /// Gives up calls whose time is over, so many at most in one pass: a request that was not sent comes back.
    pub(crate) fn handle_calls_due(&mut self, now: Instant) {
        if self.calls.next_due().is_none_or(|at| at > now) {
            return;
        }
        // An answer that is here is in time.
        for &index in &self.dirty_groups {
            let deliveries = &mut self.groups.get_mut(index).deliveries;
            self.calls.route(deliveries, &self.shared);
        }
        for _ in 0..CALLS_DUE_MOST {
            let first = self.calls.due.first().filter(|(at, _)| *at <= now);
            let Some(&(_, key)) = first else {
                return;
            };
            self.calls.due.pop_first();
            self.give_up(key, now);
        }
    }

    /// The time of a call is over.
    fn give_up(&mut self, key: CallKey, now: Instant) {
        let (channel, id) = key;
        let connection = self.key_of(channel).and_then(|key| self.connection(key));
        // What can never be sent comes back with the channel's next settling.
        let comes_back = connection.is_some_and(Connection::is_unsendable);
        if comes_back || self.withdraw(channel, id, Withdrawn::Request, now) {
            return; // it is told with what came back
        }
        let task = self.calls.tell(key, CallEvent::TimedOut);
        self.shared.queue.tell(task);
    }

    /// Takes a message back that was posted and of which nothing was sent: it is returned. Returns whether
    /// there was such a message.
    pub(super) fn withdraw(
        &mut self,
        channel: Channel,
        id: u64,
        kind: Withdrawn,
        now: Instant,
    ) -> bool {
        let Some(key) = self.key_of(channel) else {
            return false;
        };
        let Some(index) = self.table.get(key).map(|record| record.group) else {
            return false;
        };
        let creditor = Arc::clone(self.group(index).creditor());
        let withdrawn = self.with(key, now, |it, context| {
            it.withdraw(id, kind, &creditor, context)
        });
        let Some(cost) = withdrawn.flatten() else {
            return false;
        };
        let millis = self.clock.millis(now);
        let connection = self.connection(key).expect("it had the message");
        let report = super::reports::report(connection, &self.nodes, now, millis);
        let count = connection.account().returned;
        self.shared.queue.settle(|registry| {
            registry.release_channel(channel, cost);
            registry.report_withdrawn(channel, report, count);
        });
        true
    }
}

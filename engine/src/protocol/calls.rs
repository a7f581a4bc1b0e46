//! Calls: requests whose answers go to who waits for them, and not to the group's inbox.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use crate::channel::Channel;
use crate::event::{Closed, Event};
use crate::handles::{CallEvent, CallLine, Shared};

use super::Core;

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
        if let Some((_, before)) = self.open.insert(key, (line, deadline)) {
            // The application chose an id twice: the call before has ended, as its line is dropped.
            if before != deadline {
                self.due.remove(&(before, key));
            }
        }
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
                Event::Returned(returned) if self.has((returned.channel, returned.id)) => {
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

    /// Nobody waits for a call's answer any more. If the request was not sent it comes back to the group.
    pub(super) fn abandon_call(&mut self, channel: Channel, id: u64, now: Instant) {
        if self.calls.end((channel, id)).is_some() {
            self.withdraw(channel, id, now);
        }
    }

    /// Gives up the calls whose time is over: a request that was not sent comes back.
    pub(crate) fn handle_calls_due(&mut self, now: Instant) {
        while self.calls.next_due().is_some_and(|at| at <= now) {
            let Some((_, key)) = self.calls.due.pop_first() else {
                return;
            };
            let (channel, id) = key;
            if self.withdraw(channel, id, now) {
                continue; // it is told with what came back
            }
            let task = self.calls.tell(key, CallEvent::TimedOut);
            self.shared.queue.tell(task);
        }
    }

    /// Takes a message back that was posted and of which nothing was sent: it is returned. Returns whether
    /// there was such a message.
    pub(super) fn withdraw(&mut self, channel: Channel, id: u64, now: Instant) -> bool {
        let Some(key) = self.key_of(channel) else {
            return false;
        };
        let Some(index) = self.table.get(key).map(|record| record.group) else {
            return false;
        };
        let creditor = Arc::clone(self.group(index).creditor());
        let withdrawn = self.with(key, now, |it, context| it.withdraw(id, &creditor, context));
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

//! Calls: requests whose answers go to who waits for them, and not to the group's inbox.

mod deadlines;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use rustc_hash::FxBuildHasher;

use crate::between::key::RecordKey;
use crate::channel::Channel;
use crate::delivery::{Deliveries, Delivery};
use crate::event::{Closed, Event};
use crate::handles::{AbandonedCall, BegunCall, CallEvent, CallLine, Shared};
use crate::wire::OpCode;

use self::deadlines::Deadlines;
use super::Core;
use super::connection::Connection;
use super::outgoing::Withdrawn;

/// So many calls are given up in one pass at most; the others have their turn in the next.
const CALLS_DUE_MOST: usize = 256;

/// Names a call: its channel, and the id of its request.
type CallKey = (Channel, u64);

/// The calls of one channel that wait, by the ids of their requests, and when each is given up.
type Open = HashMap<u64, (CallLine, Instant), OwnKeys>;

/// The keys are numbers of the engine's own, which nobody chooses so that they collide; and a simulated run is the
/// same each time.
type OwnKeys = FxBuildHasher;

/// Memory for so many calls is kept where they have ended; of more not for long.
const SPARE_MOST: usize = 1024;

/// So many deadlines of calls that have ended are kept, and as many again as calls wait.
const STALE_MOST: usize = 64;

/// The calls that wait.
#[derive(Default)]
pub(super) struct Calls {
    channels: HashMap<Channel, Open, OwnKeys>,
    /// How many there are.
    len: usize,
    /// When they are given up, and some that have ended would have been.
    deadlines: Deadlines,
    /// Whose time is over, first come first; some may have ended since.
    due: VecDeque<(Instant, CallKey)>,
    /// Whose time was over when they began: their requests are taken back before anything is sent.
    late: Vec<CallKey>,
    /// Of a channel whose last call has ended: the next one begins with its memory.
    spare: Option<Open>,
    /// The tasks that were told, for the end of a batch.
    told: Vec<Waker>,
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// When the next is given up, or before that.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = self.due.front().map(|&(at, _)| at);
        due.or_else(|| self.deadlines.first())
    }

    fn begin(&mut self, (channel, id): CallKey, line: CallLine, deadline: Instant) {
        let spare = &mut self.spare;
        let open = self.channels.entry(channel);
        let open = open.or_insert_with(|| spare.take().unwrap_or_default());
        let before = open.insert(id, (line, deadline));
        assert!(before.is_none(), "the engine gives an id once");
        self.len += 1;
        self.deadlines.push(deadline, (channel, id));
    }

    fn end(&mut self, (channel, id): CallKey) -> Option<CallLine> {
        let open = self.channels.get_mut(&channel)?;
        let (line, _) = open.remove(&id)?;
        if open.capacity() > SPARE_MOST && open.len() < open.capacity() / 8 {
            open.shrink_to(2 * open.len());
        }
        if open.is_empty() {
            self.spare = self.channels.remove(&channel);
        }
        self.len -= 1;
        self.forget_deadlines();
        Some(line)
    }

    /// Sees that deadlines of calls that have ended are few.
    fn forget_deadlines(&mut self) {
        let most = 2 * self.len + STALE_MOST;
        if self.len == 0 {
            self.deadlines.clear();
            self.due.clear();
        } else if self.deadlines.len() > most {
            let channels = &self.channels;
            self.deadlines.forget(most, |&key| is_open(channels, key));
        }
    }

    /// Finds calls whose time is over, so many at most.
    fn find_due(&mut self, now: Instant) {
        while self.due.len() < CALLS_DUE_MOST {
            let Some(found) = self.deadlines.pop(now) else {
                return;
            };
            if is_open(&self.channels, found.1) {
                self.due.push_back(found);
            }
        }
    }

    /// Tells a call of something, and ends it if that is the last. Hands the event back if there is no such call.
    fn tell(&mut self, key: CallKey, event: CallEvent) -> Option<CallEvent> {
        let task = if event.is_last() {
            match self.end(key) {
                Some(line) => line.deliver_last(event),
                None => return Some(event),
            }
        } else {
            let open = self.channels.get(&key.0);
            match open.and_then(|open| open.get(&key.1)) {
                Some((line, _)) => line.deliver(event),
                None => return Some(event),
            }
        };
        self.told.extend(task);
        None
    }

    /// Takes out of what is delivered to a group what belongs to calls.
    pub(super) fn route(&mut self, deliveries: &mut Deliveries, shared: &Shared) {
        let deliveries = deliveries.queue();
        for _ in 0..deliveries.len() {
            let event = match deliveries.pop_front() {
                Some(Delivery::Event(event)) => event,
                Some(frames) => {
                    deliveries.push_back(frames);
                    continue;
                }
                None => break,
            };
            let left = match event {
                Event::Response(received) => {
                    let key = (received.channel, received.id);
                    let untold = self.tell(key, CallEvent::Response(received));
                    untold.and_then(CallEvent::into_event)
                }
                Event::Returned(returned) if returned.op_code == OpCode::Request => {
                    let key = (returned.channel, returned.id);
                    let untold = self.tell(key, CallEvent::Returned(returned));
                    untold.and_then(CallEvent::into_event)
                }
                Event::Closed(closed) => {
                    self.end_channel(&closed);
                    Some(Event::Closed(closed))
                }
                event => Some(event),
            };
            deliveries.extend(left.map(Delivery::Event));
        }
        shared.queue.tell(self.told.drain(..));
    }

    /// A channel has ended, and with it the calls that wait for answers on it, in the order in which they began.
    fn end_channel(&mut self, closed: &Closed) {
        let open = self.channels.get(&closed.channel);
        let mut ids: Vec<u64> = open
            .into_iter()
            .flat_map(|open| open.keys().copied())
            .collect();
        ids.sort_unstable();
        for id in ids {
            self.tell((closed.channel, id), CallEvent::Lost(closed.reason));
        }
    }
}

fn is_open(channels: &HashMap<Channel, Open, OwnKeys>, (channel, id): CallKey) -> bool {
    channels
        .get(&channel)
        .is_some_and(|open| open.contains_key(&id))
}

impl Core {
    /// A call begins, whose request was posted, or waits for room.
    pub(crate) fn begin_call(&mut self, call: BegunCall, now: Instant) {
        assert!(call.id > 0, "a request has its id before its call begins");
        let key = (call.channel, call.id);
        let deadline = call.deadline.expect("it is filled in");
        // To take one back is to look through its channel's queue. Those beyond that are sent, and are late.
        if deadline <= now && self.calls.late.len() < CALLS_DUE_MOST {
            self.calls.late.push(key);
        }
        self.calls.begin(key, call.line, deadline);
    }

    /// Gives up calls that began when their time was over: what they ask is not sent. To be called once their requests
    /// were taken in, and before anything is written.
    pub(crate) fn give_up_late_calls(&mut self, now: Instant) {
        if self.calls.late.is_empty() {
            return;
        }
        let mut late = std::mem::take(&mut self.calls.late);
        for key in late.drain(..) {
            if is_open(&self.calls.channels, key) {
                self.give_up(key, now);
            }
        }
        self.calls.late = late;
        self.shared.queue.tell(self.calls.told.drain(..));
    }

    /// Nobody waits for a call's answer any more. What had come for it goes to the group's inbox, unless the
    /// channel has ended: nothing follows that. A request that was not sent comes back there.
    pub(super) fn abandon_call(&mut self, abandoned: AbandonedCall, now: Instant) {
        let AbandonedCall {
            channel,
            id,
            is_posted,
            mut left,
            mailbox,
        } = abandoned;
        mailbox.take_more(&mut left);
        let is_open = self.calls.end((channel, id)).is_some();
        let group = self.key_of(channel).and_then(|key| self.table.get(key));
        let Some(group) = group.map(|record| record.group) else {
            return;
        };
        // Before what this pass has brought: that may be the next part of the same answer.
        for event in left.into_iter().rev().filter_map(CallEvent::into_event) {
            self.emit_first(group, event);
        }
        if is_open && is_posted {
            self.withdraw(channel, id, Withdrawn::Request, now);
        }
    }

    /// The connections with calls whose time is over: what the system has to say of them is to be heard before
    /// [`handle_calls_due`](Core::handle_calls_due).
    pub(crate) fn calls_due(&mut self, now: Instant) -> Vec<RecordKey> {
        self.calls.find_due(now);
        let due = self.calls.due.iter();
        let channels: BTreeSet<Channel> = due.map(|(_, key)| key.0).collect();
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
        self.calls.find_due(now);
        for (_, key) in std::mem::take(&mut self.calls.due) {
            if is_open(&self.calls.channels, key) {
                self.give_up(key, now);
            }
        }
        self.shared.queue.tell(self.calls.told.drain(..));
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
        self.calls.tell(key, CallEvent::TimedOut);
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
            registry.release_returned(channel, cost);
            registry.report_withdrawn(channel, report, count);
        });
        true
    }
}

#[cfg(test)]
mod tests;

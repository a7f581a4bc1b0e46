//! Tasks that wait until what they posted was sent.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::channel::Channel;

use super::waiting::{TaskId, Wait, Waiting};

/// A wait until so many messages of a channel were sent.
pub(crate) type FlushWait = Wait<u64>;

/// How a wait ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flushed {
    /// All that was posted by then was sent.
    Sent,
    /// So many of the messages came back, and the others were sent.
    Returned(u64),
    /// The channel is none of the group's, or its end was received.
    Gone,
}

#[derive(Default)]
pub(crate) struct Flushing {
    waiting: Waiting<u64>,
    /// How waits have ended whose tasks have not looked yet: when they do, the channel may be gone.
    outcomes: BTreeMap<TaskId, Flushed>,
}

impl Flushing {
    pub(crate) fn begin(&mut self, target: u64) -> FlushWait {
        self.waiting.begin(target)
    }

    /// As [`Waiting::wait`].
    pub(crate) fn wait(&mut self, channel: Channel, wait: FlushWait, waker: &mut Option<Waker>) {
        self.waiting.wait(channel, wait, waker);
    }

    pub(crate) fn take_outcome(&mut self, wait: FlushWait) -> Option<Flushed> {
        self.outcomes.remove(&wait.id)
    }

    /// As [`Waiting::leave`]. How the wait has ended is of no interest any more.
    #[must_use = "a waker is dropped when the lock is free"]
    pub(crate) fn leave(&mut self, channel: Channel, wait: FlushWait) -> Option<Waker> {
        self.outcomes.remove(&wait.id);
        self.waiting.leave(channel, wait)
    }

    /// Ends the waits for a channel that have an outcome by now, and has their tasks woken.
    pub(crate) fn tell(&mut self, channel: Channel, outcome: impl Fn(u64) -> Option<Flushed>) {
        let outcomes = &mut self.outcomes;
        self.waiting.tell_those(channel, |id, target| {
            let outcome = outcome(target);
            outcomes.extend(outcome.map(|outcome| (id, outcome)));
            outcome.is_some()
        });
    }

    /// Has everybody woken: who has no outcome finds the engine ended.
    pub(crate) fn tell_all(&mut self) {
        self.waiting.tell_all();
    }

    /// As [`Waiting::is_empty`].
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// As [`Waiting::has_told`].
    #[inline]
    pub(crate) fn has_told(&self) -> bool {
        self.waiting.has_told()
    }

    /// As [`Waiting::take_told`].
    pub(crate) fn take_told(&mut self) -> Vec<Waker> {
        self.waiting.take_told()
    }

    /// How many tasks wait or have not looked.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.outcomes.len()
    }
}

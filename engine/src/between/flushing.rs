//! Tasks that wait until what they posted was sent.
//!
//! Plain data behind the same lock as the rest of the registry, so that "it is not sent yet" and "wake
//! me when it is" are one step, and no sending comes between them.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::channel::Channel;

use super::waiting::TaskId;

/// A task's wait until so many messages of its channel were sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FlushWait {
    id: TaskId,
    pub(crate) target: u64,
}

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
    waits: BTreeMap<Channel, BTreeMap<TaskId, (FlushWait, Waker)>>,
    /// How waits have ended whose tasks have not looked yet: when they do, the channel may be gone.
    outcomes: BTreeMap<TaskId, Flushed>,
    task_next: TaskId,
    /// Wakers to be called once the lock is free.
    told: Vec<Waker>,
}

impl Flushing {
    pub(crate) fn begin(&mut self, target: u64) -> FlushWait {
        self.task_next += 1;
        let id = self.task_next;
        FlushWait { id, target }
    }

    /// Has a task wait, with the waker that it brings; one that it brought before is left in its
    /// place.
    pub(crate) fn wait(&mut self, channel: Channel, wait: FlushWait, waker: &mut Option<Waker>) {
        let brought = waker.take().expect("a task brings its waker");
        let tasks = self.waits.entry(channel).or_default();
        let before = tasks.insert(wait.id, (wait, brought));
        *waker = before.map(|(_, waker)| waker);
    }

    pub(crate) fn take_outcome(&mut self, wait: FlushWait) -> Option<Flushed> {
        self.outcomes.remove(&wait.id)
    }

    /// Has a task wait no more, and hands back its waker if it did.
    #[must_use = "a waker is dropped when the lock is free"]
    pub(crate) fn leave(&mut self, channel: Channel, wait: FlushWait) -> Option<Waker> {
        self.outcomes.remove(&wait.id);
        let tasks = self.waits.get_mut(&channel)?;
        let waker = tasks.remove(&wait.id).map(|(_, waker)| waker);
        if tasks.is_empty() {
            self.waits.remove(&channel);
        }
        waker
    }

    /// Ends the waits for a channel that have an outcome by now, and has their tasks woken.
    pub(crate) fn tell(&mut self, channel: Channel, outcome: impl Fn(u64) -> Option<Flushed>) {
        let Some(tasks) = self.waits.get_mut(&channel) else {
            return;
        };
        let outcomes = tasks
            .iter()
            .filter_map(|(&id, (wait, _))| Some((id, outcome(wait.target)?)));
        let ended: Vec<(TaskId, Flushed)> = outcomes.collect();
        for (id, outcome) in ended {
            let waiting = tasks.remove(&id);
            self.told.extend(waiting.map(|(_, waker)| waker));
            self.outcomes.insert(id, outcome);
        }
        if tasks.is_empty() {
            self.waits.remove(&channel);
        }
    }

    /// Has everybody woken: who has no outcome finds the engine ended.
    pub(crate) fn tell_all(&mut self) {
        let tasks = std::mem::take(&mut self.waits).into_values();
        let wakers = tasks.flat_map(BTreeMap::into_values);
        self.told.extend(wakers.map(|(_, waker)| waker));
    }

    /// Takes what is to be called once the lock is free.
    pub(crate) fn take_told(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.told)
    }

    /// How many tasks wait or have not looked.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.waits.values().map(BTreeMap::len).sum::<usize>() + self.outcomes.len()
    }
}

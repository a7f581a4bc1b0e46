//! Tasks that wait for room: asynchronous callers, which sleep on a waker and not on an inbox.
//!
//! Plain data beside the registry and behind the same lock, so that "there is no room" and "wake me
//! when there is" are one step, and no room comes between them. A waker is the application's code
//! and may do anything, posting included: it is called, and dropped, when the lock is free.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use crate::channel::Channel;

/// Identifies a waiting task within its engine; never used again.
pub(crate) type TaskId = u64;

/// A task's wait for room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RoomWait {
    id: TaskId,
    /// For a message of this cost.
    pub(crate) wanted: usize,
}

#[derive(Default)]
pub(crate) struct Waiting {
    /// By channel, so that all who wait for one are found at once. Nobody waits on a channel that
    /// has ended.
    tasks: BTreeMap<Channel, BTreeMap<TaskId, (usize, Waker)>>,
    task_next: TaskId,
    /// Wakers of those who wait no more, to be called once the lock is free.
    told: Vec<Waker>,
}

impl Waiting {
    /// A wait that begins, for room that takes a message of this cost.
    pub(crate) fn begin(&mut self, wanted: usize) -> RoomWait {
        self.task_next += 1;
        let id = self.task_next;
        RoomWait { id, wanted }
    }

    /// Has a task wait for a channel, with the waker that it brings. A task that waits already goes
    /// on with the new one, and the one that it brought before is left in its place.
    pub(crate) fn wait(&mut self, channel: Channel, wait: RoomWait, waker: &mut Option<Waker>) {
        let brought = waker.take().expect("a task brings its waker");
        let tasks = self.tasks.entry(channel).or_default();
        let before = tasks.insert(wait.id, (wait.wanted, brought));
        *waker = before.map(|(_, waker)| waker);
    }

    /// Has a task wait no more, and hands back its waker if it did.
    #[must_use = "a waker is dropped when the lock is free"]
    pub(crate) fn leave(&mut self, channel: Channel, wait: RoomWait) -> Option<Waker> {
        let tasks = self.tasks.get_mut(&channel)?;
        let waker = tasks.remove(&wait.id).map(|(_, waker)| waker);
        if tasks.is_empty() {
            self.tasks.remove(&channel);
        }
        waker
    }

    /// The least for which somebody waits on a channel, if anybody does.
    pub(crate) fn wanted(&self, channel: Channel) -> Option<usize> {
        let tasks = self.tasks.get(&channel)?;
        tasks.values().map(|&(wanted, _)| wanted).min()
    }

    /// The channels that somebody waits for.
    pub(crate) fn channels(&self) -> impl Iterator<Item = Channel> {
        self.tasks.keys().copied()
    }

    /// Has all who wait for a channel woken. Those who find no room any more will wait again.
    pub(crate) fn tell(&mut self, channel: Channel) {
        let tasks = self.tasks.remove(&channel).into_iter();
        let wakers = tasks.flat_map(BTreeMap::into_values);
        self.told.extend(wakers.map(|(_, waker)| waker));
    }

    /// Has everybody woken.
    pub(crate) fn tell_all(&mut self) {
        let tasks = std::mem::take(&mut self.tasks).into_values();
        let wakers = tasks.flat_map(BTreeMap::into_values);
        self.told.extend(wakers.map(|(_, waker)| waker));
    }

    /// Takes what is to be called once the lock is free.
    pub(crate) fn take_told(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.told)
    }

    /// How many tasks wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.tasks.values().map(BTreeMap::len).sum()
    }
}

/// Wakes tasks. Whoever calls this holds no lock of the engine.
///
/// A waker that panics is a defect of whoever made it, and must not keep the others asleep, nor
/// end the reactor.
pub(crate) fn wake_all(told: Vec<Waker>) {
    for waker in told {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            // What was panicked with is the application's as well, and may panic when dropped.
            std::mem::forget(payload);
        }
    }
}

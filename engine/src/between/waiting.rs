//! Tasks that wait for something of a channel: asynchronous callers, which sleep on a waker and not on
//! an inbox. Some wait for room, some until what they posted was sent.
//!
//! Plain data beside the registry and behind the same lock, so that "it is not so yet" and "wake me
//! when it is" are one step, and nothing comes between them. A waker is the application's code and may
//! do anything, posting included: it is called, and dropped, when the lock is free.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use crate::channel::Channel;

/// Identifies a waiting task among those that wait for the same kind of thing; never used again.
pub(crate) type TaskId = u64;

/// A task's wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wait<T> {
    pub(super) id: TaskId,
    /// What it waits for.
    pub(crate) aim: T,
}

/// A wait for room that takes a message of this cost.
pub(crate) type RoomWait = Wait<usize>;

/// Those who wait, each for a `T`.
#[derive(Default)]
pub(crate) struct Waiting<T> {
    /// By channel, so that all who wait for one are found at once. Nobody waits on a channel that
    /// has ended.
    tasks: BTreeMap<Channel, BTreeMap<TaskId, (T, Waker)>>,
    task_next: TaskId,
    /// Wakers of those who wait no more, to be called once the lock is free.
    told: Vec<Waker>,
}

impl<T: Copy> Waiting<T> {
    /// A wait that begins.
    pub(crate) fn begin(&mut self, aim: T) -> Wait<T> {
        self.task_next += 1;
        let id = self.task_next;
        Wait { id, aim }
    }

    /// Has a task wait for a channel, with the waker that it brings. A task that waits already goes
    /// on with the new one, and the one that it brought before is left in its place.
    pub(crate) fn wait(&mut self, channel: Channel, wait: Wait<T>, waker: &mut Option<Waker>) {
        let brought = waker.take().expect("a task brings its waker");
        let tasks = self.tasks.entry(channel).or_default();
        let before = tasks.insert(wait.id, (wait.aim, brought));
        *waker = before.map(|(_, waker)| waker);
    }

    /// Has a task wait no more, and hands back its waker if it did.
    #[must_use = "a waker is dropped when the lock is free"]
    pub(crate) fn leave(&mut self, channel: Channel, wait: Wait<T>) -> Option<Waker> {
        let tasks = self.tasks.get_mut(&channel)?;
        let waker = tasks.remove(&wait.id).map(|(_, waker)| waker);
        if tasks.is_empty() {
            self.tasks.remove(&channel);
        }
        waker
    }

    /// What is waited for on a channel, by each who waits.
    pub(crate) fn aims(&self, channel: Channel) -> impl Iterator<Item = T> {
        let tasks = self.tasks.get(&channel).into_iter();
        tasks.flat_map(BTreeMap::values).map(|&(aim, _)| aim)
    }

    /// The channels that somebody waits for.
    pub(crate) fn channels(&self) -> impl Iterator<Item = Channel> {
        self.tasks.keys().copied()
    }

    /// Has all who wait for a channel woken. Those for whom it is not so any more will wait again.
    pub(crate) fn tell(&mut self, channel: Channel) {
        self.tell_those(channel, |_, _| true);
    }

    /// Has those woken who wait for a channel and of whom `is_told` says so.
    pub(crate) fn tell_those(
        &mut self,
        channel: Channel,
        mut is_told: impl FnMut(TaskId, T) -> bool,
    ) {
        let Some(tasks) = self.tasks.get_mut(&channel) else {
            return;
        };
        let told = tasks.iter().filter(|&(&id, &(aim, _))| is_told(id, aim));
        let told: Vec<TaskId> = told.map(|(&id, _)| id).collect();
        let waits = told.into_iter().filter_map(|id| tasks.remove(&id));
        self.told.extend(waits.map(|(_, waker)| waker));
        if tasks.is_empty() {
            self.tasks.remove(&channel);
        }
    }

    /// Has everybody woken.
    pub(crate) fn tell_all(&mut self) {
        let tasks = std::mem::take(&mut self.tasks).into_values();
        let wakers = tasks.flat_map(BTreeMap::into_values);
        self.told.extend(wakers.map(|(_, waker)| waker));
    }

    /// Whether there is something to be called once the lock is free.
    #[inline]
    pub(crate) fn has_told(&self) -> bool {
        !self.told.is_empty()
    }

    /// Takes what is to be called once the lock is free.
    pub(crate) fn take_told(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.told)
    }

    /// Whether no task waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
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
pub(crate) fn wake_all(told: impl IntoIterator<Item = Waker>) {
    for waker in told {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            // What was panicked with is the application's as well, and may panic when dropped.
            std::mem::forget(payload);
        }
    }
}

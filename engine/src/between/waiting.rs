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

#[derive(Default)]
pub(crate) struct Waiting {
    /// By channel, so that all who wait for one are found at once. Nobody waits on a channel that
    /// has ended.
    tasks: BTreeMap<Channel, BTreeMap<TaskId, Waker>>,
    task_next: TaskId,
    /// Wakers of those who wait no more, to be called once the lock is free.
    told: Vec<Waker>,
}

impl Waiting {
    /// Has a task wait for a channel, with the waker that it brings. A task that waits already goes
    /// on with the new one, and the one that it brought before is left in its place.
    pub(crate) fn wait(
        &mut self,
        channel: Channel,
        task: &mut Option<TaskId>,
        waker: &mut Option<Waker>,
    ) {
        let id = *task.get_or_insert_with(|| {
            self.task_next += 1;
            self.task_next
        });
        let brought = waker.take().expect("a task brings its waker");
        *waker = self.tasks.entry(channel).or_default().insert(id, brought);
    }

    /// Has a task wait no more, and hands back its waker if it did.
    #[must_use = "a waker is dropped when the lock is free"]
    pub(crate) fn leave(&mut self, channel: Channel, task: TaskId) -> Option<Waker> {
        let tasks = self.tasks.get_mut(&channel)?;
        let waker = tasks.remove(&task);
        if tasks.is_empty() {
            self.tasks.remove(&channel);
        }
        waker
    }

    pub(crate) fn is_awaited(&self, channel: Channel) -> bool {
        self.tasks.contains_key(&channel)
    }

    /// The channels that somebody waits for.
    pub(crate) fn channels(&self) -> impl Iterator<Item = Channel> {
        self.tasks.keys().copied()
    }

    /// Has all who wait for a channel woken. Those who find no room any more will wait again.
    pub(crate) fn tell(&mut self, channel: Channel) {
        let tasks = self.tasks.remove(&channel);
        self.told
            .extend(tasks.into_iter().flat_map(BTreeMap::into_values));
    }

    /// Has everybody woken.
    pub(crate) fn tell_all(&mut self) {
        let tasks = std::mem::take(&mut self.tasks).into_values();
        self.told.extend(tasks.flat_map(BTreeMap::into_values));
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
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}

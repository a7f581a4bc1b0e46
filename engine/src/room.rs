//! Waiting for room in a task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::between::waiting::RoomWait;
use crate::channel::Channel;
use crate::error::PostError;
use crate::handles::{GroupShared, Shared};

/// The future of [`ChannelGroup::room`](crate::ChannelGroup::room): ends when a channel has room,
/// or when nothing can be posted to it any more.
///
/// Nothing happens before the first poll, and dropping it ends the wait; no room is lost by either.
/// It may be polled by any executor, from one task now and from another later, and sooner than it
/// asked for. Polled again after its end, it starts anew.
#[must_use = "a future does nothing until it is awaited"]
pub struct WaitForRoom {
    shared: Arc<Shared>,
    group: Arc<GroupShared>,
    channel: Channel,
    /// Known to the registry from the first poll that found no room.
    task: Option<RoomWait>,
}

impl WaitForRoom {
    pub(crate) fn new(shared: Arc<Shared>, group: Arc<GroupShared>, channel: Channel) -> Self {
        WaitForRoom {
            shared,
            group,
            channel,
            task: None,
        }
    }

    fn leave(&mut self) {
        if let Some(task) = self.task.take() {
            let channel = self.channel;
            let waker = self
                .shared
                .queue
                .with_registry(|registry| registry.leave(channel, task));
            drop(waker); // not under the lock: it may be the last that holds a task
        }
    }
}

impl Future for WaitForRoom {
    type Output = Result<(), PostError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // Made, and the one before dropped, while no lock is held.
        let mut waker = Some(context.waker().clone());
        let polled = this
            .shared
            .poll_room(&this.group, this.channel, &mut this.task, &mut waker);
        if polled.is_ready() {
            this.leave();
        }
        polled
    }
}

impl Drop for WaitForRoom {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for WaitForRoom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WaitForRoom")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

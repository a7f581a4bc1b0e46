//! Waiting until what was posted was sent, in a task or a thread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::between::flushing::{FlushWait, Flushed};
use crate::blocking;
use crate::channel::Channel;
use crate::error::FlushError;
use crate::handles::{GroupShared, Shared};

/// The future of [`ChannelGroup::flush`](crate::ChannelGroup::flush): ends when all was sent that had
/// been posted to a channel when it was polled first, or when some of it has come back.
///
/// Dropping it ends the wait. It may be polled by any executor, from one task now and from another
/// later, and sooner than it asked for. Polled again after its end, it starts anew.
#[must_use = "a future does nothing until it is awaited"]
pub struct Flush {
    shared: Arc<Shared>,
    group: Arc<GroupShared>,
    channel: Channel,
    /// Known to the registry from the first poll that found something to wait for.
    task: Option<FlushWait>,
}

impl Flush {
    pub(crate) fn new(shared: Arc<Shared>, group: Arc<GroupShared>, channel: Channel) -> Self {
        Flush {
            shared,
            group,
            channel,
            task: None,
        }
    }

    /// Waits in this thread.
    pub(crate) fn wait_until(self, deadline: Instant) -> Result<(), FlushError> {
        blocking::wait_until(self, deadline).unwrap_or(Err(FlushError::TimedOut))
    }

    fn leave(&mut self) {
        if let Some(task) = self.task.take() {
            let channel = self.channel;
            let queue = &self.shared.queue;
            let waker = queue.with_registry(|registry| registry.leave_flush(channel, task));
            drop(waker); // not under the lock: it may be the last that holds a task
        }
    }
}

impl Future for Flush {
    type Output = Result<(), FlushError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // Made, and the one before dropped, while no lock is held.
        let mut waker = Some(context.waker().clone());
        let polled = this
            .shared
            .poll_flush(&this.group, this.channel, &mut this.task, &mut waker);
        if polled.is_ready() {
            this.leave();
        }
        polled.map(|outcome| match outcome? {
            Flushed::Sent => Ok(()),
            Flushed::Returned(count) => Err(FlushError::Returned(count)),
            Flushed::Gone => Err(FlushError::ChannelClosed),
        })
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Flush {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Flush")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

//! Receiving in a task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::between::mailbox::Taken;
use crate::error::Ended;
use crate::event::Event;

use super::Inbox;

/// The future of [`Inbox::recv_async`]: the next event.
///
/// Dropping it loses no event. It may be polled by any executor, and sooner than it asked for.
#[must_use = "a future does nothing until it is awaited"]
pub struct Recv<'a> {
    inbox: &'a mut Inbox,
}

impl Inbox {
    /// The next event, waited for in a task of whatever runtime there is, or none: what
    /// [`recv`](Inbox::recv) is to a thread. Cancel-safe: a future that is dropped has taken no event.
    ///
    /// ```
    /// use ampe::{ChannelGroup, Event, Inbox};
    ///
    /// /// Answers requests until the group is closed.
    /// async fn serve(group: ChannelGroup, mut inbox: Inbox) {
    ///     while let Ok(event) = inbox.recv_async().await {
    ///         let answer = match event {
    ///             Event::Hello(hello) => hello.accept(group.message()),
    ///             Event::Request(request) => request.echo(),
    ///             _ => continue,
    ///         };
    ///         let _ = group.send(answer).await; // waits for room; refused if the peer has gone
    ///     }
    /// }
    /// ```
    ///
    /// A task makes no passes itself: the engine's own thread makes them, and wakes it. What the task posts
    /// first after that is written by the thread that runs the task, where the system can tell the
    /// engine's thread without it that there is something to receive (Linux), and else by the engine's. With
    /// the feature `tokio`, `Engine::run_in_tokio` has a task of the runtime make the passes.
    ///
    /// # Errors
    ///
    /// The future ends with [`Ended`] once all events were received and none will come.
    #[doc(alias = "nng_recv_aio")]
    #[doc(alias = "next")]
    pub fn recv_async(&mut self) -> Recv<'_> {
        Recv { inbox: self }
    }

    /// The next event if there is one, and else has the task of `context` woken when there is, or when
    /// none will come: for futures of one's own. An inbox has one receiver, so only the task that
    /// polled last is woken. A task that asks no more is woken once at most, for nothing.
    ///
    /// # Errors
    ///
    /// [`Ended`], once all events were received and none will come.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, Ended>> {
        self.leave_loop();
        self.poll_for(context)
    }

    /// The same, for a loop too.
    pub(super) fn poll_for(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, Ended>> {
        if let Some(event) = self.pop() {
            return Poll::Ready(Ok(event));
        }
        if !std::mem::replace(&mut self.is_task, true) {
            self.shared.serve_task();
        }
        // Made, and the one before dropped, while no lock is held.
        let mut waker = Some(context.waker().clone());
        match self
            .group
            .mailbox
            .poll_take(&mut self.unread.deliveries, &mut waker)
        {
            Poll::Ready(Taken::Ended(reason)) => Poll::Ready(Err(reason)),
            Poll::Ready(_) => Poll::Ready(Ok(self.pop_taken())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// From now on a thread receives, or nobody.
    #[inline]
    pub(super) fn leave_task(&mut self) {
        if std::mem::replace(&mut self.is_task, false) {
            self.shared.seat.leave_task();
            drop(self.group.mailbox.leave()); // not under a lock: it may be the last that holds a task
            self.leave_loop();
        }
    }
}

impl Future for Recv<'_> {
    type Output = Result<Event, Ended>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.inbox.poll_recv(context)
    }
}

impl fmt::Debug for Recv<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Recv").finish_non_exhaustive()
    }
}

/// The events, one after the other, until none will come.
#[cfg(feature = "futures")]
#[cfg_attr(docsrs, doc(cfg(feature = "futures")))]
impl futures_core::Stream for Inbox {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_recv(context).map(Result::ok)
    }
}

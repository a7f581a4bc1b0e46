//! Posting that waits for room, in a task or a thread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::between::lines::Place;
use crate::between::waiting::wake_all;
use crate::blocking;
use crate::channel::Channel;
use crate::error::{Budget, PostError};
use crate::group::ChannelGroup;
use crate::post::{Post, Posted, Refused};
use crate::room::WaitForRoom;

/// The future of [`ChannelGroup::send`](crate::ChannelGroup::send): ends when the post was accepted, or when
/// it never will be.
///
/// Nothing happens before the first poll. From then on it is to be polled when it is woken: those who wait for the
/// same channel behind it wait for it. Dropping it ends the wait, and drops the post with it unless that
/// was accepted; [`into_post`](Sending::into_post) gives it back. It may be polled by any executor, from one
/// task now and from another later.
#[must_use = "a future does nothing until it is awaited"]
pub struct Sending {
    group: ChannelGroup,
    /// There until it was accepted or given back.
    post: Option<Post>,
    /// Where it stands in the line of those who wait for its channel.
    place: Option<(Channel, Place)>,
    room: Option<WaitForRoom>,
    /// For want of which budget it was refused last.
    wanted: Budget,
}

impl Sending {
    pub(crate) fn new(group: ChannelGroup, post: Post) -> Self {
        Sending {
            group,
            post: Some(post),
            place: None,
            room: None,
            wanted: Budget::Channel,
        }
    }

    /// Waits no more and takes the post back; `None` if it was accepted or given back already.
    pub fn into_post(mut self) -> Option<Post> {
        self.post.take()
    }

    /// Waits no more. Returns the post, and why it was not accepted so far.
    pub(crate) fn give_up(mut self) -> (Post, PostError) {
        let post = self.post.take();
        let post = post.expect("a wait that has not ended has its post");
        (post, PostError::Full(self.wanted))
    }

    /// Waits in this thread.
    pub(crate) fn wait_until(mut self, deadline: Instant) -> Result<Posted, Refused> {
        if let Some(outcome) = blocking::wait_until(&mut self, deadline) {
            return outcome;
        }
        let (post, why) = self.give_up();
        Err(Refused { post, why })
    }

    /// Leaves the line.
    fn leave(&mut self) {
        self.room = None;
        if let Some((channel, place)) = self.place.take() {
            wake_all(self.group.lines().leave(channel, place));
        }
    }

    /// Whether it is its turn: nobody else waits who came before.
    fn poll_turn(&mut self, channel: Channel, context: &Context<'_>) -> bool {
        let lines = self.group.lines();
        if self.place.is_none() {
            let place = lines.enter_if_any(channel);
            self.place = place.map(|place| (channel, place));
        }
        let Some((_, place)) = self.place else {
            return true;
        };
        let mut waker = Some(context.waker().clone());
        lines.poll_first(channel, place, &mut waker)
    }

    /// Tries once. Gives the post back to `self` where it is worth trying again.
    fn try_post(&mut self, post: Post) -> Option<Result<Posted, Refused>> {
        match self.group.post(post) {
            Err(Refused {
                post,
                why: PostError::Full(budget),
            }) => {
                self.wanted = budget;
                self.post = Some(post);
                None
            }
            outcome => Some(outcome),
        }
    }

    /// Whether there may be room now. Where there never will be, the post comes back.
    fn poll_room(
        &mut self,
        channel: Channel,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Refused>> {
        let room = self.room.get_or_insert_with(|| self.group.room(channel));
        match Pin::new(room).poll(context) {
            Poll::Ready(Err(why)) => {
                let post = self.post.take().expect("it was refused a moment ago");
                Poll::Ready(Err(Refused { post, why }))
            }
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Future for Sending {
    type Output = Result<Posted, Refused>;

    /// # Panics
    ///
    /// Panics if it is polled after its end.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let post = this.post.as_ref();
            let post = post.expect("a future is not polled after its end");
            let channel = post.channel();
            if let Some(channel) = channel
                && !this.poll_turn(channel, context)
            {
                // Those before may never look, which have heard of an end as well.
                let Err(why) = this.group.check_open(channel) else {
                    return Poll::Pending;
                };
                this.leave();
                let post = this.post.take().expect("it was there");
                return Poll::Ready(Err(Refused { post, why }));
            }
            let post = this.post.take().expect("it was there");
            if let Some(outcome) = this.try_post(post) {
                this.leave();
                return Poll::Ready(outcome);
            }
            let channel =
                channel.expect("a post that opens a channel is never refused for want of room");
            if this.place.is_none() {
                let place = this.group.lines().enter(channel);
                this.place = Some((channel, place));
                continue; // somebody may have come between
            }
            match this.poll_room(channel, context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(refused)) => {
                    this.leave();
                    return Poll::Ready(Err(refused));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sending")
            .field("post", &self.post)
            .finish_non_exhaustive()
    }
}

//! A channel group: many threads post to it, one receives from it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::channel::Channel;
use crate::delivery::Taken;
use crate::error::{Ended, NotNotified, PostError, Refused};
use crate::event::{Event, Returned};
use crate::message::Message;
use crate::options::after;
use crate::post::{Post, Posted};
use crate::room::WaitForRoom;
use crate::shared::{GroupShared, Shared};

/// The posting side of a group. Clones share the group; any thread may post.
#[doc(alias = "MchnGroup")]
#[derive(Clone)]
pub struct ChannelGroup {
    shared: Arc<Shared>,
    group: Arc<GroupShared>,
}

/// The receiving side of a group: what happens on its channels, as events.
///
/// There is one for each group, and receiving needs `&mut`, so two threads cannot receive from the
/// same group by accident. Dropping it closes the group as [`close`](Inbox::close) does with no
/// time at all, and drops what was left.
pub struct Inbox {
    shared: Arc<Shared>,
    group: Arc<GroupShared>,
    /// Taken from the mailbox by the batch, and not yet yielded.
    taken: VecDeque<Event>,
    is_closed: bool,
}

/// What was left when a group was closed.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct CloseReport {
    /// Messages that were not sent, in the order of their channels' ends.
    pub returned: Vec<Returned>,
    /// Everything else that was not received before, in order: among it the `Closed` event of every
    /// channel that the group still had.
    pub unread: Vec<Event>,
}

pub(crate) fn pair(shared: Arc<Shared>, group: Arc<GroupShared>) -> (ChannelGroup, Inbox) {
    let posting = ChannelGroup {
        shared: Arc::clone(&shared),
        group: Arc::clone(&group),
    };
    let inbox = Inbox {
        shared,
        group,
        taken: VecDeque::new(),
        is_closed: false,
    };
    (posting, inbox)
}

impl ChannelGroup {
    /// Starts to listen on `address`. [`Event::Listening`] brings the address bound, or
    /// [`Event::Closed`] says why it could not be. Each connection becomes a channel of this group
    /// and starts with [`Event::Hello`].
    ///
    /// A TCP address that another listener uses fails, and so does a Unix socket path at which
    /// something answers or which holds anything but a socket. A socket that nobody answers at is
    /// replaced. A Unix socket is accessible to its owner only, and removed at the end.
    ///
    /// # Errors
    ///
    /// [`PostError::NoChannelNumber`], [`PostError::GroupClosed`] or [`PostError::EngineEnded`], as
    /// for [`post`](ChannelGroup::post).
    #[doc(alias = "WelcomeRequest")]
    pub fn listen(&self, address: &Address) -> Result<Channel, Refused> {
        let post = Post::welcome(address, self.message());
        self.post(post).map(|posted| posted.channel)
    }

    /// Connects to `address` and introduces itself by a HelloRequest without further content; with
    /// content, post [`Message::hello`]. Messages may be posted to the channel at once: they are
    /// sent behind the HelloRequest, or returned if no connection comes about.
    ///
    /// # Errors
    ///
    /// As for [`post`](ChannelGroup::post).
    #[doc(alias = "HelloRequest")]
    pub fn connect(&self, address: &Address) -> Result<Channel, Refused> {
        self.post(self.message().hello(address))
            .map(|posted| posted.channel)
    }

    /// Posts. Accepted means that the message is accounted for from now on: it is sent, or it comes
    /// back as [`Event::Returned`] before the channel's [`Event::Closed`].
    ///
    /// Posts of one thread to one channel are sent in their order. This never blocks on the network
    /// and makes no system call while the reactor is awake.
    ///
    /// # Errors
    ///
    /// A refused post comes back in [`Refused`], with the reason:
    /// - [`PostError::Full`]: no outbound budget is left; [`Event::Room`] says when there is some,
    ///   and so does [`room`](ChannelGroup::room).
    /// - [`PostError::ChannelClosed`]: the channel has ended, even if its number lives on.
    /// - [`PostError::OtherGroup`], [`PostError::IsListener`], [`PostError::ByePosted`],
    ///   [`PostError::ResponseWithoutId`], [`PostError::InvalidMore`]: nothing like this can be
    ///   posted there.
    /// - [`PostError::NoChannelNumber`]: 65,534 channels exist or wait for their `Closed` to be
    ///   received.
    /// - [`PostError::TextHeadersTooLong`]: the address of a HelloRequest does not fit any more.
    /// - [`PostError::GroupClosed`], [`PostError::EngineEnded`].
    pub fn post(&self, post: Post) -> Result<Posted, Refused> {
        self.shared.post(&self.group, post)
    }

    /// Posts the front of `posts`, one after the other, under one lock and with one wake at most,
    /// until one is refused. What was accepted is removed from `posts` and its ids are appended to
    /// `posted`.
    ///
    /// # Errors
    ///
    /// The reason for which the post that is now at the front was refused, as for
    /// [`post`](ChannelGroup::post).
    pub fn post_many(
        &self,
        posts: &mut VecDeque<Post>,
        posted: &mut Vec<Posted>,
    ) -> Result<(), PostError> {
        self.shared.post_many(&self.group, posts, posted)
    }

    /// Waits until `channel` has room for any message, in a task of whatever runtime there is, or
    /// none: what [`Event::Room`] is to a thread that receives.
    ///
    /// Between a wait's end and the next post others may use the room up. So a task posts, and as
    /// long as that is refused with [`PostError::Full`], waits and posts again:
    ///
    /// ```
    /// use ampe::{Channel, ChannelGroup, Post, PostError, Posted, Refused};
    ///
    /// async fn post(group: &ChannelGroup, channel: Channel, mut post: Post) -> Result<Posted, Refused> {
    ///     loop {
    ///         match group.post(post) {
    ///             Err(refused) if refused.why == PostError::Full => post = refused.post,
    ///             outcome => return outcome,
    ///         }
    ///         // An error of this wait is one that the next post brings as well.
    ///         let _ = group.room(channel).await;
    ///     }
    /// }
    /// ```
    ///
    /// Room is the same as for the event: the channel has used half of its own budget at most, and
    /// the engine's takes the largest message. If there is some, nothing is waited for. If several
    /// tasks wait for one channel, all are woken, and those that find the room gone wait on; the
    /// event of a thread comes all the same.
    ///
    /// # Errors
    ///
    /// The future ends with the reason for which no post to this channel would be accepted any
    /// more, as for [`post`](ChannelGroup::post), at once or as soon as it comes about:
    /// [`PostError::ChannelClosed`], [`PostError::OtherGroup`], [`PostError::IsListener`],
    /// [`PostError::ByePosted`], [`PostError::GroupClosed`] or [`PostError::EngineEnded`].
    pub fn room(&self, channel: Channel) -> WaitForRoom {
        WaitForRoom::new(Arc::clone(&self.shared), Arc::clone(&self.group), channel)
    }

    /// Puts a message into this group's own inbox, as [`Event::Notified`]: a way to interrupt the
    /// receiver. The reactor has no part in it.
    ///
    /// # Errors
    ///
    /// The message comes back in [`NotNotified`]: [`PostError::Full`] while
    /// [`Options::notifications`](crate::Options::notifications) events wait,
    /// [`PostError::GroupClosed`] or [`PostError::EngineEnded`] once no event will be received.
    #[doc(alias = "updateReceiver")]
    pub fn notify(&self, message: Message) -> Result<(), NotNotified> {
        let limit = self.shared.options.notifications;
        self.group
            .mailbox
            .notify(Event::Notified(message), limit)
            .map_err(|(event, ended)| {
                let Event::Notified(message) = event else {
                    unreachable!("the event that came back is the one that went in")
                };
                NotNotified {
                    message,
                    why: ended.map_or(PostError::Full, PostError::from),
                }
            })
    }

    /// An empty message, as from [`Engine::message`](crate::Engine::message).
    pub fn message(&self) -> Message {
        Message::new(&self.shared.pool)
    }
}

impl Inbox {
    /// The next event, waiting for it as long as it takes.
    ///
    /// # Errors
    ///
    /// [`Ended`], once all events were received and none will come.
    #[doc(alias = "waitReceive")]
    pub fn recv(&mut self) -> Result<Event, Ended> {
        loop {
            // Without a deadline a wait brings an event or an end.
            if let Some(event) = self.next(None)? {
                return Ok(event);
            }
        }
    }

    /// The next event; `None` if none came until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`recv`](Inbox::recv).
    pub fn recv_until(&mut self, deadline: Instant) -> Result<Option<Event>, Ended> {
        self.next(Some(deadline))
    }

    /// The next event if there is one already.
    ///
    /// # Errors
    ///
    /// As [`recv`](Inbox::recv).
    pub fn try_recv(&mut self) -> Result<Option<Event>, Ended> {
        self.next(Some(Instant::now()))
    }

    /// Appends up to `most` events to `events` and returns how many, waiting for the first as long
    /// as it takes: a batch costs one lock.
    ///
    /// # Errors
    ///
    /// As [`recv`](Inbox::recv).
    pub fn recv_many(&mut self, events: &mut Vec<Event>, most: usize) -> Result<usize, Ended> {
        if most == 0 {
            return Ok(0);
        }
        events.push(self.recv()?);
        let more = self.taken.len().min(most - 1);
        events.reserve(more);
        for event in std::iter::from_fn(|| self.taken.pop_front()).take(more) {
            events.push(on_taken(&self.shared, event));
        }
        Ok(more + 1)
    }

    /// The events, one after the other, waiting for each, until none will come.
    pub fn iter(&mut self) -> impl Iterator<Item = Event> {
        std::iter::from_fn(|| self.recv().ok())
    }

    fn next(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, Ended> {
        if self.taken.is_empty() {
            match self.group.mailbox.take(&mut self.taken, deadline) {
                Taken::Events => {}
                Taken::Nothing => return Ok(None),
                Taken::Ended(reason) => return Err(reason),
            }
        }
        let event = self.taken.pop_front();
        Ok(event.map(|event| on_taken(&self.shared, event)))
    }

    /// Closes the group: listeners end, nothing more can be posted, what was posted is sent as far
    /// as `within` allows, and every channel ends. Returns when that is done, at the latest one pass
    /// of the reactor after `within`, with what was not sent and what was not received.
    ///
    /// A goodbye that a peer said is answered, as by dropping its [`Event::Bye`], if it had come
    /// when this was called. A peer whose goodbye comes later finds the end of the stream in the
    /// place of an answer: nothing more is sent then.
    ///
    /// A message that was sent may still not have reached its peer's application. Where that
    /// matters, end each channel by a Bye first.
    pub fn close(mut self, within: Duration) -> CloseReport {
        self.close_within(within)
    }

    fn close_within(&mut self, within: Duration) -> CloseReport {
        let mut report = CloseReport::default();
        if std::mem::replace(&mut self.is_closed, true) {
            return report;
        }
        let deadline = after(Instant::now(), within);
        self.shared
            .close_group(&self.group, deadline, &mut self.taken);
        while let Ok(event) = self.recv() {
            match event {
                Event::Returned(returned) => report.returned.push(returned),
                event => report.unread.push(event),
            }
        }
        report
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.close_within(Duration::ZERO);
    }
}

impl std::fmt::Debug for ChannelGroup {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ChannelGroup")
            .field("id", &self.group.id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Inbox")
            .field("id", &self.group.id)
            .finish_non_exhaustive()
    }
}

/// What the taking of an event sets off: a number may be used again, a channel may be told of room
/// again, a Bye answers on drop.
fn on_taken(shared: &Arc<Shared>, mut event: Event) -> Event {
    match &mut event {
        Event::Closed(closed) => {
            let channel = closed.channel;
            shared
                .queue
                .with_registry(|registry| registry.forget(channel));
        }
        Event::Room(channel) => {
            let channel = *channel;
            let is_due = shared
                .queue
                .with_registry(|registry| registry.room_taken(channel));
            if is_due {
                shared.queue.wake();
            }
        }
        Event::Bye(bye) => bye.answer_on_drop.0 = Some(Arc::clone(shared)),
        _ => {}
    }
    event
}

#[cfg(test)]
mod tests;

//! A channel group's posting side, which many threads share.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::account::ChannelAccount;
use crate::address::Address;
use crate::between::lines::Lines;
use crate::between::mailbox::Notified;
use crate::between::registry::{Progress, Withdrawal};
use crate::between::waiting::wake_all;
use crate::call::Call;
use crate::channel::Channel;
use crate::delivery::Delivery;
use crate::error::{Budget, FlushError, PostError};
use crate::event::Event;
use crate::flush::Flush;
use crate::handed_in::{ConnectedSocket, ListeningSocket};
use crate::handles::{CallLine, GroupShared, Shared, SpareMailboxes, Submission};
use crate::inbox::Inbox;
use crate::message::Message;
use crate::options::ListenOptions;
use crate::post::{NotNotified, Post, Posted, Refused};
use crate::room::WaitForRoom;
use crate::sending::Sending;
use crate::signal_buffer::SignalBuffer;
use crate::statistics::GroupStatistics;

/// The posting side of a group. Clones share the group; any thread may post.
#[doc(alias = "MchnGroup")]
#[doc(alias = "zmq_socket")]
#[doc(alias = "nng_socket")]
#[doc(alias = "ROUTER")]
#[doc(alias = "DEALER")]
#[derive(Clone)]
pub struct ChannelGroup {
    shared: Arc<Shared>,
    group: Arc<GroupShared>,
}

pub(crate) fn pair(shared: Arc<Shared>, group: Arc<GroupShared>) -> (ChannelGroup, Inbox) {
    let posting = ChannelGroup {
        shared: Arc::clone(&shared),
        group: Arc::clone(&group),
    };
    (posting, Inbox::new(shared, group))
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
    #[doc(alias = "nng_listener_create")]
    #[doc(alias = "WelcomeRequest")]
    #[doc(alias = "zmq_bind")]
    #[doc(alias = "nng_listen")]
    #[doc(alias = "bind")]
    pub fn listen(&self, address: &Address) -> Result<Channel, Refused> {
        self.listen_with(address, &ListenOptions::default())
    }

    /// As [`listen`](ChannelGroup::listen), with these options.
    ///
    /// # Errors
    ///
    /// As for `listen`.
    pub fn listen_with(
        &self,
        address: &Address,
        options: &ListenOptions,
    ) -> Result<Channel, Refused> {
        let post = Post::welcome(address, self.message()).listening_with(options);
        self.post(post).map(|posted| posted.channel)
    }

    /// Listens on a socket that listens already, as systemd hands one to a service. Behind that it is as
    /// with [`listen`](ChannelGroup::listen); the socket is closed when the channel ends.
    ///
    /// # Errors
    ///
    /// As for `listen`; the socket comes back in the post of [`Refused`].
    #[doc(alias = "zmq_bind")]
    #[doc(alias = "ZMQ_USE_FD")]
    pub fn listen_on(&self, socket: ListeningSocket) -> Result<Channel, Refused> {
        let post = Post::welcome_on(socket, self.message());
        self.post(post).map(|posted| posted.channel)
    }

    /// As [`listen_on`](ChannelGroup::listen_on), with these options, of which those that are about a Unix socket's file do
    /// nothing.
    ///
    /// # Errors
    ///
    /// As for `listen_on`.
    pub fn listen_on_with(
        &self,
        socket: ListeningSocket,
        options: &ListenOptions,
    ) -> Result<Channel, Refused> {
        let post = Post::welcome_on(socket, self.message()).listening_with(options);
        self.post(post).map(|posted| posted.channel)
    }

    /// Connects to `address` and introduces itself by a HelloRequest without further content; with
    /// content, post [`Message::hello`]. Messages may be posted to the channel at once: they are
    /// sent behind the HelloRequest, or returned if no connection comes about.
    ///
    /// # Errors
    ///
    /// As for [`post`](ChannelGroup::post).
    #[doc(alias = "nng_dialer_create")]
    #[doc(alias = "HelloRequest")]
    #[doc(alias = "zmq_connect")]
    #[doc(alias = "nng_dial")]
    pub fn connect(&self, address: &Address) -> Result<Channel, Refused> {
        self.post(self.message().hello(address))
            .map(|posted| posted.channel)
    }

    /// As [`connect`](ChannelGroup::connect), over a socket that is connected already; with content, post
    /// [`Message::hello_on`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # #[cfg(unix)] {
    /// # let engine = ampe::Engine::start(ampe::Options::default())?;
    /// # let (group, _inbox) = engine.group(ampe::GroupOptions::default())?;
    /// let (ours, theirs) = std::os::unix::net::UnixStream::pair()?; // theirs goes to a child process
    /// let child = group.connect_on(ampe::ConnectedSocket::new(ours)?)?;
    /// # }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`post`](ChannelGroup::post); the socket comes back in the post of [`Refused`].
    #[doc(alias = "nng_socket_open")]
    pub fn connect_on(&self, socket: ConnectedSocket) -> Result<Channel, Refused> {
        self.post(self.message().hello_on(socket))
            .map(|posted| posted.channel)
    }

    /// Posts. Accepted means that the message is accounted for from now on: it is sent, or it comes
    /// back as [`Event::Returned`] before the channel's [`Event::Closed`].
    ///
    /// Posts of one thread to one channel are sent in their order. This never blocks on the network. The
    /// first post of a thread that has received all there was is written by that thread, if no other makes
    /// the reactor's passes. So is all that waits to be written, whoever has posted it, by a thread with whose post it
    /// comes to another 512 KiB, if it is long runs for few channels. Any other post is put into the reactor's queue,
    /// without a system call while the reactor is awake: it is written by the thread that makes the next pass, or by
    /// this one when it receives again, or else by the engine's own thread, as [`Engine`](crate::Engine) says.
    ///
    /// # Errors
    ///
    /// A refused post comes back in [`Refused`], with the reason:
    /// - [`PostError::Full`]: the outbound budget of the channel or of the engine is used up, as the
    ///   [`Budget`] says; [`Event::Room`] says when there is some, and so does
    ///   [`room`](ChannelGroup::room).
    /// - [`PostError::ChannelClosed`]: the channel has ended, even if its number lives on.
    /// - [`PostError::OtherGroup`], [`PostError::IsListener`], [`PostError::ByePosted`],
    ///   [`PostError::ResponseWithoutId`], [`PostError::InvalidMore`]: nothing like this can be
    ///   posted there.
    /// - [`PostError::NoChannelNumber`]: 65,534 channels exist or wait for their `Closed` to be
    ///   received, but for those that other groups have in [reserve](crate::GroupOptions).
    /// - [`PostError::AbortTooLong`]: a ByeSignal has more than 1,024 bytes of content.
    /// - [`PostError::HelloTooLong`]: a HelloRequest has more than 8,192 bytes of content.
    /// - [`PostError::GroupClosed`], [`PostError::EngineEnded`].
    #[doc(alias = "ZMQ_DONTWAIT")]
    #[doc(alias = "NNG_FLAG_NONBLOCK")]
    #[doc(alias = "nng_sendmsg")]
    #[doc(alias = "zmq_send")]
    #[doc(alias = "zmq_msg_send")]
    #[doc(alias = "nng_send")]
    #[doc(alias = "PUSH")]
    pub fn post(&self, post: Post) -> Result<Posted, Refused> {
        self.shared.post(&self.group, post)
    }

    /// Posts the front of `posts`, one after the other, until one is refused. What was accepted is
    /// removed from `posts` and its ids are appended to `posted`.
    ///
    /// It takes the lock that all posters share once for 128 posts, and what it costs depends on how
    /// many it accepts, not on how many are left: a queue may be as long as it likes.
    ///
    /// A thread that has received writes what it posts first. What it posts behind that, in this call or
    /// another, goes out with the next pass: as soon as somebody waits for an event, this thread or
    /// another, and within about a millisecond otherwise (a tick of the clock on Windows).
    ///
    /// # Errors
    ///
    /// The reason for which the post that is now at the front was refused, as for
    /// [`post`](ChannelGroup::post).
    #[doc(alias = "feed")]
    pub fn post_many(
        &self,
        posts: &mut VecDeque<Post>,
        posted: &mut Vec<Posted>,
    ) -> Result<(), PostError> {
        self.shared.post_many(&self.group, posts, posted)
    }

    /// Posts the signals in `buffer` to `channel`, one after the other, until one is refused. What was accepted is removed
    /// from the buffer: it is as if each had been [posted](ChannelGroup::post). Their ids are the engine's, one after
    /// the other, and are not told; who wants to [withdraw](ChannelGroup::withdraw) a signal posts it by itself.
    ///
    /// It takes the lock that all posters share once for up to 64 KiB and up to 1,024 signals. When they go out is as
    /// with [`post_many`](ChannelGroup::post_many).
    ///
    /// # Errors
    ///
    /// The reason for which the signal that is now the first in the buffer was refused: [`PostError::Full`],
    /// [`PostError::ChannelClosed`], [`PostError::OtherGroup`], [`PostError::IsListener`], [`PostError::ByePosted`],
    /// [`PostError::GroupClosed`] or [`PostError::EngineEnded`], as for [`post`](ChannelGroup::post).
    #[doc(alias = "feed")]
    #[doc(alias = "PUSH")]
    pub fn post_signals(
        &self,
        channel: Channel,
        buffer: &mut SignalBuffer,
    ) -> Result<(), PostError> {
        self.post_signals_noting(channel, buffer, |_, _| ())
    }

    /// The same, where `note` is told of the ids: as [`Shared::post_signals`].
    pub(crate) fn post_signals_noting(
        &self,
        channel: Channel,
        buffer: &mut SignalBuffer,
        note: impl FnMut(u64, u32),
    ) -> Result<(), PostError> {
        self.shared.post_signals(&self.group, channel, buffer, note)
    }

    /// Posts, waiting for room as long as it takes, in a task of whatever runtime there is, or none. Who
    /// waits for a channel in this way, or by [`post_wait`](ChannelGroup::post_wait), posts in the order in
    /// which it came. What is posted by [`post`](ChannelGroup::post) meanwhile overtakes those who wait. Who
    /// posts, or gives up, wakes the next in its own thread: hold no lock then that a waker may want.
    ///
    /// ```
    /// use ampe::{Channel, ChannelGroup, Refused};
    ///
    /// async fn send_all(group: &ChannelGroup, to: Channel, bodies: &[&[u8]]) -> Result<(), Refused> {
    ///     for body in bodies {
    ///         let message = group.message().with_body(body).expect("short");
    ///         group.send(message.request(to)).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The future ends with the post, in [`Refused`], and the reason for which it would never be accepted:
    /// as for [`post`](ChannelGroup::post), but for [`PostError::Full`].
    #[doc(alias = "nng_aio")]
    #[doc(alias = "nng_send_aio")]
    pub fn send(&self, post: Post) -> Sending {
        Sending::new(self.clone(), post)
    }

    /// As [`send`](ChannelGroup::send), in a thread, which sleeps until `deadline` at most. In a waker that
    /// an engine calls, this does not wait.
    ///
    /// # Errors
    ///
    /// As [`post`](ChannelGroup::post): the post comes back in [`Refused`], with [`PostError::Full`] if there
    /// was no room until `deadline`.
    #[doc(alias = "ZMQ_SNDTIMEO")]
    #[doc(alias = "NNG_OPT_SENDTIMEO")]
    #[doc(alias = "zmq_send")]
    #[doc(alias = "nng_send")]
    #[doc(alias = "send_timeout")]
    pub fn post_wait(&self, post: Post, deadline: Instant) -> Result<Posted, Refused> {
        self.send(post).wait_until(deadline)
    }

    /// Asks the peer of `channel`, and waits for its answer until `deadline`: await the [`Call`], or
    /// [`wait`](Call::wait) for it. Any number of threads and tasks may do so at once; answers come in
    /// whatever order the peer gives them, and find who asked. They do not go through the inbox, so that
    /// nobody need receive from it meanwhile.
    ///
    /// If there is no room for the request it is waited for, behind those who came before, as by
    /// [`send`](ChannelGroup::send).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::{Duration, Instant};
    /// use ampe::CallError;
    ///
    /// # let engine = ampe::Engine::start(ampe::Options::default())?;
    /// # let (group, _inbox) = engine.group(ampe::GroupOptions::default())?;
    /// let server = group.connect(&"tcp://127.0.0.1:7000".parse()?)?;
    /// let request = engine.message().with_body(b"how late is it?")?;
    /// match group.call(server, request, Instant::now() + Duration::from_secs(5)).wait() {
    ///     Ok(answer) => println!("{} bytes", answer.body().len()),
    ///     Err(CallError::Refused { why, .. }) => println!("it will not say: {why}"),
    ///     Err(CallError::NotSent(it)) => println!("safe to ask somebody else: {}", it.why),
    ///     Err(CallError::Unknown(why)) => println!("it may have been asked: {why}"),
    ///     Err(other) => return Err(other.into()),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// Once the deadline has come, a request that was not sent is taken back; with a deadline that has passed already,
    /// nothing is sent (of more than 256 such calls in one pass of the reactor, the others may be). An answer that
    /// comes later goes to the inbox, as [`Event::Response`].
    #[doc(alias = "nng_ctx_open")]
    #[doc(alias = "nng_ctx_send")]
    #[doc(alias = "REQ")]
    #[doc(alias = "nng_req0_open")]
    #[doc(alias = "rpc")]
    pub fn call(&self, channel: Channel, request: Message, deadline: Instant) -> Call {
        Call::new(self.clone(), channel, request, deadline)
    }

    /// Takes a Request or Signal back that was posted to `channel` with this id, if no byte of it was
    /// sent: it comes as [`Event::Returned`] with [`Reason::Withdrawn`](crate::Reason::Withdrawn), to the
    /// [`Call`] if it is one's. Of several with one id it is the first; it may be a part behind which others
    /// follow that stay. Nothing comes if it was sent already, or if the channel is another group's. What is
    /// queued for the channel is looked at one by one, by the engine's next pass.
    ///
    /// # Errors
    ///
    /// - [`PostError::Full`] with [`Budget::Withdrawals`]: the next pass has enough to look for, which is 8,192
    ///   messages for all groups together, and fewer where it has to look at a million for them that are queued.
    ///   Withdraw it again, a millisecond later; no event says when.
    /// - [`PostError::EngineEnded`].
    pub fn withdraw(&self, channel: Channel, id: u64) -> Result<(), PostError> {
        let group = self.group.id;
        let submitted = self.shared.queue.submit(|registry, batch| {
            let withdrawal = registry.begin_withdrawal(channel, group);
            if withdrawal == Withdrawal::Submitted {
                batch.push(Submission::Withdraw { channel, id });
            }
            withdrawal
        });
        match submitted? {
            Withdrawal::Submitted | Withdrawal::InVain => Ok(()),
            Withdrawal::Refused => Err(PostError::Full(Budget::Withdrawals)),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn submit(&self, submission: Submission) -> Result<(), PostError> {
        let submitted = self.shared.queue.submit(|_, batch| batch.push(submission));
        submitted.map_err(PostError::from)
    }

    /// As [`Shared::post_call`].
    pub(crate) fn post_call(
        &self,
        post: &mut Post,
        line: CallLine,
        deadline: Instant,
    ) -> Result<(), PostError> {
        self.shared.post_call(&self.group, post, line, deadline)
    }

    /// Mailboxes for calls.
    pub(crate) fn spare_mailboxes(&self) -> &SpareMailboxes {
        &self.group.spare_mailboxes
    }

    /// As [`Shared::serve_calls`].
    pub(crate) fn serve_calls(&self) {
        self.shared.serve_calls(&self.group);
    }

    /// Whether anything may be posted to a channel, as far as that does not depend on room.
    pub(crate) fn check_open(&self, channel: Channel) -> Result<(), PostError> {
        self.shared.check_open(&self.group, channel)
    }

    /// Those who wait to post.
    pub(crate) fn lines(&self) -> &Lines {
        &self.group.lines
    }

    /// Waits until `channel` has room for the message that was refused there last, or, if none was,
    /// for any message; in a task of whatever runtime there is, or none: what [`Event::Room`] is to a
    /// thread that receives.
    ///
    /// Between a wait's end and the next post others may use the room up. So a task posts, and as
    /// long as that is refused with [`PostError::Full`], waits and posts again;
    /// [`send`](ChannelGroup::send) does that:
    ///
    /// ```
    /// use ampe::{Channel, ChannelGroup, Post, PostError, Posted, Refused};
    ///
    /// async fn post(group: &ChannelGroup, channel: Channel, mut post: Post) -> Result<Posted, Refused> {
    ///     loop {
    ///         match group.post(post) {
    ///             Err(refused) if matches!(refused.why, PostError::Full(_)) => post = refused.post,
    ///             outcome => return outcome,
    ///         }
    ///         // An error of this wait is one that the next post brings as well.
    ///         let _ = group.room(channel).await;
    ///     }
    /// }
    /// ```
    ///
    /// Room is the same as for the event: the channel has used half of its own budget at most, and
    /// the engine's and the group's, or the channel's reserve, take the message. If there is some, nothing is waited
    /// for. A task that waits is woken when there is room for the most that is wanted by those who want about as
    /// much: a message of 4 KiB, of 16 KiB, of 65 KiB, or the largest. If several tasks wait for one channel, all are woken, and those that find the room gone
    /// wait on; the event of a thread comes all the same.
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

    /// What of the inbound and of the outbound budget the group has for itself.
    #[cfg(test)]
    pub(crate) fn reserves(&self) -> (usize, usize) {
        (self.group.inbound_reserve, self.group.outbound_reserve)
    }

    /// How a channel stands: what was posted, sent, returned, confirmed and received so far, what is
    /// queued, and since when. `None` if it belongs to another group, or has ended and its
    /// [`Event::Closed`] was received, which has the whole account.
    ///
    /// What the reactor knows is as of its last exchange with this side. Asking has it come for
    /// another, so who asks again sees what is newer.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ampe::{Channel, ChannelGroup};
    ///
    /// /// Whether the peer has not read for a while though there is something to read.
    /// fn is_deaf(group: &ChannelGroup, channel: Channel) -> bool {
    ///     let account = group.account(channel);
    ///     let oldest = account.and_then(|account| account.oldest_queued);
    ///     oldest.is_some_and(|age| age > Duration::from_secs(10))
    /// }
    /// ```
    #[doc(alias = "nng_stat")]
    pub fn account(&self, channel: Channel) -> Option<ChannelAccount> {
        let group = self.group.id;
        let queue = &self.shared.queue;
        let known = queue.ask(|registry| registry.progress_and_charge(channel, group));
        known.map(|(progress, charge)| ChannelAccount::of(progress, charge))
    }

    /// The same, as far as it is counted in messages and bytes of frames.
    pub(crate) fn progress(&self, channel: Channel) -> Option<Progress> {
        let group = self.group.id;
        let queue = &self.shared.queue;
        queue.ask(|registry| registry.progress(channel, group))
    }

    /// How the group stands, and what it counted since it was opened: as of the last pass, and another pass
    /// for who asks again, like [`Engine::statistics`](crate::Engine::statistics).
    pub fn statistics(&self) -> GroupStatistics {
        let queue = &self.shared.queue;
        let census = queue.ask(|registry| self.group.census(registry));
        GroupStatistics::of(census, self.group.mailbox.waiting(Delivery::len))
    }

    /// Waits until all was sent that has been posted to `channel` when the future is polled first, in a
    /// task of whatever runtime there is, or none. *Sent* is not *received*: only an answer says that.
    ///
    /// ```
    /// use ampe::{Channel, ChannelGroup, FlushError, Post};
    ///
    /// /// Lets a channel go once everything is on its way.
    /// async fn let_go(group: &ChannelGroup, channel: Channel) -> Result<(), FlushError> {
    ///     let flushed = group.flush(channel).await;
    ///     let _ = group.post(Post::abort(channel)); // refused if it has ended already
    ///     flushed
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The future ends with [`FlushError::Returned`] once some of it came back, which says how many
    /// messages; with [`FlushError::ChannelClosed`] if the channel was gone before, or
    /// [`FlushError::EngineEnded`].
    pub fn flush(&self, channel: Channel) -> Flush {
        Flush::new(Arc::clone(&self.shared), Arc::clone(&self.group), channel)
    }

    /// As [`flush`](ChannelGroup::flush), in a thread, which sleeps until `deadline` at most. In a
    /// waker that an engine calls, this does not wait.
    ///
    /// # Errors
    ///
    /// As for [`flush`](ChannelGroup::flush), or [`FlushError::TimedOut`].
    pub fn flush_until(&self, channel: Channel, deadline: Instant) -> Result<(), FlushError> {
        self.flush(channel).wait_until(deadline)
    }

    /// Puts a message into this group's own inbox, as [`Event::Notified`], behind what is in there: a
    /// way to interrupt the receiver. However many messages of peers wait, there is a place for it.
    ///
    /// # Errors
    ///
    /// The message comes back in [`NotNotified`]: [`PostError::Full`] while so many notifications
    /// wait that this would be more than [`Options::notifications`](crate::Options::notifications)
    /// or, together, [`Options::notification_bytes`](crate::Options::notification_bytes); no event
    /// tells when one has been received. [`PostError::GroupClosed`] or [`PostError::EngineEnded`]
    /// once no event will be received.
    #[doc(alias = "updateReceiver")]
    pub fn notify(&self, mut message: Message) -> Result<(), NotNotified> {
        message.adopt(&self.shared.pool); // so that it holds the memory that it is charged
        let limit = Notified {
            count: self.shared.options.notifications,
            bytes: self.shared.options.notification_bytes,
        };
        let cost = message.cost();
        let notified = Delivery::Event(Event::Notified(message));
        match self.group.mailbox.notify(notified, cost, limit) {
            Ok(wakes) => {
                if wakes.reactor {
                    self.shared.queue.wake();
                }
                wake_all(wakes.task);
                Ok(())
            }
            Err((Delivery::Event(Event::Notified(message)), ended)) => Err(NotNotified {
                message,
                why: ended.map_or(PostError::Full(Budget::Notifications), PostError::from),
            }),
            Err(_) => unreachable!("the event that came back is the one that went in"),
        }
    }

    /// An empty message, as from [`Engine::message`](crate::Engine::message).
    pub fn message(&self) -> Message {
        Message::new(&self.shared.pool)
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

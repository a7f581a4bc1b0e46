//! What an inbox yields.

mod bye;
mod incoming;
mod system_error;

use std::borrow::Cow;
use std::ops::Deref;

use crate::address::Address;
use crate::call::REFUSED;
use crate::channel::Channel;
use crate::message::Message;
use crate::peer::Peer;
use crate::post::Post;
use crate::reason::Reason;
use crate::storage::Storage;
use crate::wire::{Header, OpCode, TextHeaders};

pub use self::bye::Bye;
pub(crate) use self::bye::{AnswerBye, AnswerOnDrop};
#[cfg(test)]
pub(crate) use self::incoming::INCOMING_BYTES;
pub use self::incoming::Incoming;
pub(crate) use self::incoming::{Decide, Verdict};
pub(crate) use self::system_error::SystemError;

/// Something that happened in a group. Events of one channel come in the order in which they
/// happened; [`Closed`] is always a channel's last.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A listener listens.
    Listening(Listening),
    /// Somebody connected, and waits to be admitted: to a listener that [asks](crate::Admission::Ask).
    Incoming(Incoming),
    /// A peer connected and introduced itself: a new channel.
    Hello(Hello),
    /// A connection that we opened stands. What was posted to it goes out now; whether the peer's
    /// application takes it, its answer to our HelloRequest says, if it gives one.
    Opened(Opened),
    /// A peer that we connected to accepted: its HelloResponse. Not every peer sends one.
    #[doc(alias = "HelloResponse")]
    Accepted(Received),
    /// A Request.
    Request(Request),
    /// A Response to a Request of ours.
    Response(Received),
    /// A Signal.
    #[doc(alias = "SUB")]
    Signal(Signal),
    /// A ByeRequest: the peer wants to end the channel, and is to send nothing more.
    Bye(Bye),
    /// A ByeResponse: the answer to our ByeRequest, or a refusal to go on.
    ByeResponse(Received),
    /// A ByeSignal that came over the wire: the peer gives up.
    ByeSignal(Received),
    /// A message of ours that was not sent, and will not be.
    Returned(Returned),
    /// A channel on which `post` was refused for want of budget has room again: half of its own
    /// budget, and the engine's, or the channel's reserve, takes the smallest message that was
    /// refused. As many channels are told at a time as the engine's budget has room for, those first
    /// that were refused first. Comes once for any number of refusals, and not again before it was
    /// received. Comes too where that will never be, since writing to the
    /// channel failed: the next post is refused with
    /// [`PostError::ChannelClosed`](crate::PostError::ChannelClosed) then. A task may await
    /// [`ChannelGroup::room`](crate::ChannelGroup::room) instead.
    Room(Channel),
    /// A message from [`ChannelGroup::notify`](crate::ChannelGroup::notify).
    Notified(Message),
    /// A channel has ended. Its number may be used again from now on.
    Closed(Closed),
}

impl Event {
    /// The channel that the event belongs to; `None` for [`Event::Notified`] and [`Event::Incoming`].
    pub fn channel(&self) -> Option<Channel> {
        Some(match self {
            Event::Listening(listening) => listening.channel,
            Event::Hello(hello) => hello.received.channel,
            Event::Opened(opened) => opened.channel,
            Event::Request(request) => request.0.channel,
            Event::Signal(signal) => signal.0.channel,
            Event::Bye(bye) => bye.received.channel,
            Event::Accepted(received)
            | Event::Response(received)
            | Event::ByeResponse(received)
            | Event::ByeSignal(received) => received.channel,
            Event::Returned(returned) => returned.channel,
            Event::Room(channel) => *channel,
            Event::Closed(closed) => closed.channel,
            Event::Incoming(_) | Event::Notified(_) => return None,
        })
    }

    /// Whether it is one of those that come in great numbers, with which nothing more is to be done.
    #[inline]
    pub(crate) fn is_frequent(&self) -> bool {
        matches!(
            self,
            Event::Signal(_) | Event::Request(_) | Event::Response(_)
        )
    }

    /// Has the processor fetch the content, as [`Storage::fetch`](crate::storage::Storage::fetch) does.
    pub(crate) fn fetch(&self) {
        if let Some(storage) = self.frequent_storage() {
            storage.fetch();
        }
    }

    /// Where the content lies of one that comes in great numbers.
    #[inline]
    pub(crate) fn frequent_storage(&self) -> Option<&Storage> {
        match self {
            Event::Signal(Signal(received))
            | Event::Request(Request(received))
            | Event::Response(received) => Some(received.message.storage()),
            _ => None,
        }
    }

    /// What a peer sent, if it is one of those that come in great numbers.
    #[inline(always)] // it is done for every message
    pub(crate) fn frequent_mut(&mut self) -> Option<&mut Received> {
        match self {
            Event::Signal(Signal(received))
            | Event::Request(Request(received))
            | Event::Response(received) => Some(received),
            _ => None,
        }
    }

    /// The content of what a peer sent.
    pub(crate) fn message_mut(&mut self) -> Option<&mut Message> {
        let received = match self {
            Event::Hello(hello) => &mut hello.received,
            Event::Request(request) => &mut request.0,
            Event::Signal(signal) => &mut signal.0,
            Event::Bye(bye) => &mut bye.received,
            Event::Accepted(received)
            | Event::Response(received)
            | Event::ByeResponse(received)
            | Event::ByeSignal(received) => received,
            Event::Listening(_)
            | Event::Incoming(_)
            | Event::Opened(_)
            | Event::Returned(_)
            | Event::Room(_)
            | Event::Notified(_)
            | Event::Closed(_) => return None,
        };
        Some(&mut received.message)
    }
}

/// A listener listens: the answer to [`ChannelGroup::listen`](crate::ChannelGroup::listen).
#[doc(alias = "WelcomeResponse")]
#[derive(Debug, Clone)]
pub struct Listening {
    pub(crate) channel: Channel,
    pub(crate) address: Box<Address>,
}

impl Listening {
    /// The listener's channel.
    #[inline]
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// The address bound: with the port that the system chose, where port 0 was asked for.
    #[doc(alias = "ZMQ_LAST_ENDPOINT")]
    #[doc(alias = "NNG_OPT_LOCADDR")]
    pub fn address(&self) -> &Address {
        &self.address
    }
}

/// A connection that we opened stands: of several addresses of a host, with the one that
/// [`peer`](Opened::peer) says.
#[doc(alias = "connected")]
#[doc(alias = "NNG_PIPE_EV_ADD_POST")]
#[derive(Debug, Clone)]
pub struct Opened {
    pub(crate) channel: Channel,
    pub(crate) peer: Peer,
}

impl Opened {
    /// The channel that [`ChannelGroup::connect`](crate::ChannelGroup::connect) gave.
    #[inline]
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
}

/// A message from a peer.
// Events are moved in pieces of 16 bytes, and so is what is taken out of them. Where that begins at a piece, it loads the
// very pieces that were stored a moment ago, and need not wait for them.
#[repr(align(16))]
#[derive(Debug)]
pub struct Received {
    pub(crate) channel: Channel,
    pub(crate) op_code: OpCode,
    pub(crate) more: bool,
    pub(crate) status: u8,
    pub(crate) id: u64,
    pub(crate) message: Message,
}

impl Received {
    /// One that nobody sent, to be written where it stays.
    pub(crate) const BLANK: Received = Received {
        channel: Channel::NONE,
        op_code: OpCode::Signal,
        more: false,
        status: 0,
        id: 0,
        message: Message::empty(),
    };

    /// Writes into it what a frame says, which is in `storage`.
    #[inline(always)] // it is done for every message
    pub(crate) fn fill(&mut self, channel: Channel, header: &Header, storage: Storage) {
        self.channel = channel;
        self.op_code = header.op_code;
        self.more = header.more;
        self.status = header.status;
        self.id = header.message_id;
        self.message.receive(storage, header);
    }

    /// The channel it came on.
    #[inline]
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// The message id.
    #[inline]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether more messages of the same logical whole follow.
    #[doc(alias = "ZMQ_RCVMORE")]
    #[doc(alias = "zmq_msg_more")]
    #[inline]
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// What kind of message it is.
    #[inline]
    pub fn op_code(&self) -> OpCode {
        self.op_code
    }

    /// The status byte, as it came: 0 from conforming peers.
    #[inline]
    pub fn status(&self) -> u8 {
        self.status
    }

    /// The text headers.
    #[inline]
    pub fn text_headers(&self) -> TextHeaders<'_> {
        self.message.text_headers()
    }

    /// The body.
    #[inline]
    pub fn body(&self) -> &[u8] {
        self.message.body()
    }

    /// Why the peer refuses, if this is a Response made by [`Request::refuse`]. A [`Call`](crate::Call)
    /// tells of it as [`CallError::Refused`](crate::CallError).
    pub fn refusal(&self) -> Option<Cow<'_, str>> {
        let why = self.text_headers().get(REFUSED)?;
        (self.op_code == OpCode::Response).then(|| String::from_utf8_lossy(why))
    }

    /// The content.
    #[inline]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Takes the content, for keeping or posting on.
    #[inline]
    pub fn into_message(self) -> Message {
        self.message
    }

    /// Its own, or another where a peer asks without an id: an answer has one.
    pub(crate) fn id_of_answer(&self) -> u64 {
        match self.id {
            0 => u64::MAX,
            id => id,
        }
    }

    /// The Response to it.
    pub(crate) fn answer(&self, message: Message) -> Post {
        Post::to(self.channel, OpCode::Response, self.id_of_answer(), message)
    }

    fn echoed(self, op_code: OpCode) -> Post {
        let post = Post::to(self.channel, op_code, self.id_of_answer(), self.message);
        if self.more { post.more() } else { post }
    }
}

/// A peer connected and introduced itself by a HelloRequest: its channel is open.
///
/// Nothing waits for an answer in the engine, so dropping this event is no refusal: what the peer
/// posts is received all the same, and it may be posted to. But a peer that waits to be accepted
/// goes on waiting, for as long as it likes. [`accept`](Hello::accept) or [`echo`](Hello::echo) what
/// is welcome, [`refuse`](Hello::refuse) what is not.
#[doc(alias = "HelloRequest")]
#[derive(Debug)]
pub struct Hello {
    pub(crate) received: Box<Received>,
    pub(crate) caller: Box<Caller>,
}

/// Who said hello. Apart, like all that events of a channel's beginning and end bring along: every event
/// takes as much memory as the largest, and most are messages.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) listener: Channel,
    pub(crate) peer: Peer,
}

impl Hello {
    /// Who connected.
    pub fn peer(&self) -> &Peer {
        &self.caller.peer
    }

    /// The listener through which it connected.
    pub fn listener(&self) -> Channel {
        self.caller.listener
    }

    /// Accepts: a HelloResponse with this message, and the id of the HelloRequest.
    pub fn accept(self, message: Message) -> Post {
        Post::to(
            self.received.channel,
            OpCode::HelloResponse,
            self.received.id,
            message,
        )
    }

    /// Accepts with the very content that came.
    pub fn echo(self) -> Post {
        self.received.echoed(OpCode::HelloResponse)
    }

    /// Refuses: a ByeResponse with a text header `Reason`, after which the channel ends. A reason
    /// that a text header cannot carry (empty, or with CR or LF in it) is left out.
    pub fn refuse(self, why: &str) -> Post {
        let Received {
            channel,
            id,
            mut message,
            ..
        } = *self.received;
        message.clear();
        // A refusal without its reason is better than none.
        let _ = message.add_header("Reason", why);
        Post::to(channel, OpCode::ByeResponse, id, message)
    }
}

/// A Request from a peer.
#[derive(Debug)]
pub struct Request(pub(crate) Received);

impl Request {
    /// The Response to this request: with this message, on its channel and with its id.
    #[doc(alias = "REP")]
    #[doc(alias = "nng_rep0_open")]
    pub fn reply(&self, message: Message) -> Post {
        self.0.answer(message)
    }

    /// Refuses: a Response without a body and with a text header `~refused` that says why, which a
    /// [`Call`](crate::Call) takes for [`CallError::Refused`](crate::CallError) and [`Received::refusal`] tells of. A
    /// reason that a text header cannot carry (empty, too long, or with CR or LF in it) becomes `refused`.
    pub fn refuse(self, why: &str) -> Post {
        let id = self.0.id_of_answer();
        let Received {
            channel,
            mut message,
            ..
        } = self.0;
        message.clear();
        message.say(REFUSED, why, "refused");
        Post::to(channel, OpCode::Response, id, message)
    }

    /// The Response with the very content, and `more`, that came.
    pub fn echo(self) -> Post {
        self.0.echoed(OpCode::Response)
    }

    /// Takes the content, for keeping or posting on.
    #[inline]
    pub fn into_message(self) -> Message {
        self.0.message
    }
}

/// A Signal from a peer.
#[derive(Debug)]
pub struct Signal(pub(crate) Received);

impl Signal {
    /// A Signal back with the very id, content, and `more`, that came.
    pub fn echo(self) -> Post {
        self.0.echoed(OpCode::Signal)
    }

    /// Takes the content, for keeping or posting on.
    #[inline]
    pub fn into_message(self) -> Message {
        self.0.message
    }
}

macro_rules! deref_to_received {
    ($($event:ty => $field:tt),*) => {$(
        impl Deref for $event {
            type Target = Received;
            #[inline]
            fn deref(&self) -> &Received {
                &self.$field
            }
        }
    )*};
}

// An event is no longer than a line of the cache.
const _: () = assert!(size_of::<Event>() <= 64 && size_of::<Received>() <= 48);

deref_to_received!(Hello => received, Request => 0, Signal => 0, Bye => received);

/// A message of ours that the peer does not have, and cannot have: posting it again never
/// duplicates it.
#[derive(Debug)]
pub struct Returned {
    pub(crate) channel: Channel,
    pub(crate) op_code: OpCode,
    pub(crate) more: bool,
    pub(crate) id: u64,
    pub(crate) reason: Reason,
    pub(crate) message: Message,
}

impl Returned {
    /// The channel that it was posted to.
    #[inline]
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// The message id that it was posted with, or got then.
    #[inline]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What it was posted as.
    #[inline]
    pub fn op_code(&self) -> OpCode {
        self.op_code
    }

    /// Whether it was posted with `more`.
    #[inline]
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Why it was not sent.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The content.
    #[inline]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Takes the content, for posting it again.
    #[inline]
    pub fn into_message(self) -> Message {
        self.message
    }

    /// The same post, to another channel: same verb, id, `more` and content. For Requests, Signals
    /// and ByeRequests.
    ///
    /// # Errors
    ///
    /// The message stays returned if it means something on the one channel alone that it was posted
    /// to: a HelloRequest (give its content to [`Message::hello`], with an address), a HelloResponse,
    /// a ByeResponse, or a Response, whose id only the peer knows that asked. Where peers agree that
    /// a request may be answered on a later channel, [`Message::response`] says so.
    pub fn repost(self, channel: Channel) -> Result<Post, Returned> {
        match self.op_code {
            OpCode::Request | OpCode::Signal | OpCode::ByeRequest => {
                let post = Post::to(channel, self.op_code, self.id, self.message);
                Ok(if self.more { post.more() } else { post })
            }
            _ => Err(self),
        }
    }
}

/// A channel has ended: its last event, with its accounts.
#[doc(alias = "channel_closed")]
#[doc(alias = "zmq_socket_monitor")]
#[doc(alias = "nng_pipe_notify")]
#[derive(Debug, Clone)]
pub struct Closed {
    pub(crate) channel: Channel,
    pub(crate) reason: Reason,
    pub(crate) os_error: Option<SystemError>,
    pub(crate) peer: Option<Peer>,
    pub(crate) account: Box<Account>,
}

impl Closed {
    /// The channel that ended.
    #[inline]
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// Why it ended.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The system's error, where the system had a part in it: mostly a number, which means
    /// different things on different systems. It is for logs and for people, the
    /// [`reason`](Closed::reason) is for decisions.
    ///
    /// Where the system tells no number, its text says what it was, and mostly,
    /// at [`CannotPoll`](Reason::CannotPoll), what to do.
    pub fn os_error(&self) -> Option<std::io::Error> {
        self.os_error.as_ref().map(std::io::Error::from)
    }

    /// Who was at the other end, if a connection was established.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// What became of the channel's messages.
    pub fn account(&self) -> Account {
        *self.account
    }
}

/// The accounts of a channel, in messages. `posted` is always `sent + returned`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Account {
    /// Messages to the peer that `post` accepted: hellos, goodbyes and answers among them, but no ByeSignals.
    pub posted: u64,
    /// Of those, the messages whose last byte the operating system accepted.
    pub sent: u64,
    /// Of those posted, the messages that came back as [`Event::Returned`].
    pub returned: u64,
    /// Of those sent, the messages that the peer is known to have received: all up to our
    /// ByeRequest, if that was answered; else as many as were answered. Answers are counted, not matched
    /// with what they answer: a peer that answers one request twice is believed. The others of those
    /// sent may or may not have reached it: an orderly end does not say, not even behind our answer to
    /// the peer's goodbye.
    pub confirmed: u64,
    /// Messages from the peer that were delivered, hellos and goodbyes among them. A ByeSignal is not among them, as it is not among
    /// those sent.
    pub received: u64,
}

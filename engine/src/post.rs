//! A post: a message, what it does, and to whom.

use crate::address::{Address, CONNECT_TO, LISTEN_ON};
use crate::between::registry::Role;
use crate::channel::Channel;
use crate::error::PostError;
use crate::handed_in::{ConnectedSocket, HandedIn, ListeningSocket};
use crate::message::{Message, MessageError};
use crate::options::ListenOptions;
use crate::storage::queued_cost_of;
use crate::wire::{self, Header, MAX_HELLO_LEN, OpCode};

/// A frame up to this size is posted by value: encoded where it is posted, as it will be sent.
pub(crate) const BY_VALUE_MAX: usize = 8192 + Header::LEN;

/// The same of a frame with a shared body: of a larger one a copy for each channel takes more than a record that
/// leads to the one body.
pub(crate) const BY_VALUE_SHARED_MAX: usize = 384;

/// Something that can be posted: a [`Message`] with a verb and a target.
///
/// There is no way to build one that makes no sense: verbs come from the message's methods and
/// from received events, which fill in ids and channels.
#[derive(Debug)]
#[must_use = "a post does nothing until it is posted"]
pub struct Post {
    pub(crate) target: Target,
    pub(crate) op_code: OpCode,
    pub(crate) message_id: u64,
    pub(crate) more: bool,
    pub(crate) message: Message,
}

#[derive(Debug)]
pub(crate) enum Target {
    Channel(Channel),
    /// A channel that comes into being with this post.
    New(Box<Destination>),
}

/// What a new channel is connected to, or listens on.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) address: Address,
    /// The socket, where the application hands one in.
    pub(crate) socket: Option<Box<HandedIn>>,
    /// How it listens.
    pub(crate) options: ListenOptions,
}

/// What `post` accepted: the channel it went to and the id it goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Posted {
    /// The channel. New, where the post was a HelloRequest or WelcomeRequest.
    pub channel: Channel,
    /// The message id. A response to it will carry the same.
    pub id: u64,
}

/// A post that was not accepted. Nothing of it was sent, and it is still the caller's.
#[doc(alias = "nng_err")]
#[derive(Debug, thiserror::Error)]
#[error("not posted: {why}")]
pub struct Refused {
    /// What was to be posted.
    pub post: Post,
    /// Why it was not.
    pub why: PostError,
}

/// A message that [`notify`](crate::ChannelGroup::notify) did not accept.
#[derive(Debug, thiserror::Error)]
#[error("not notified: {why}")]
pub struct NotNotified {
    /// The message, still the caller's.
    pub message: Message,
    /// Why it was not accepted: [`PostError::Full`] or [`PostError::GroupClosed`], or
    /// [`PostError::EngineEnded`].
    pub why: PostError,
}

impl Message {
    /// Makes this a Request to the peer of `channel`.
    pub fn request(self, channel: Channel) -> Post {
        Post::to(channel, OpCode::Request, 0, self)
    }

    /// Makes this a Response to the request with the given id. Mostly
    /// [`Request::reply`](crate::Request::reply) is the better way.
    pub fn response(self, channel: Channel, id: u64) -> Post {
        Post::to(channel, OpCode::Response, id, self)
    }

    /// Makes this a Signal to the peer of `channel`: a message that expects no response.
    #[doc(alias = "nng_pub0_open")]
    #[doc(alias = "nng_push0_open")]
    #[doc(alias = "nng_bus0_open")]
    #[doc(alias = "PUB")]
    #[doc(alias = "publish")]
    pub fn signal(self, channel: Channel) -> Post {
        Post::to(channel, OpCode::Signal, 0, self)
    }

    /// Makes this a ByeRequest: the last message to the peer of `channel`, sent behind all that was
    /// posted before. The peer's ByeResponse confirms all of it, and ends the channel.
    #[doc(alias = "ByeRequest")]
    pub fn bye(self, channel: Channel) -> Post {
        Post::to(channel, OpCode::ByeRequest, 0, self)
    }

    /// Makes this a ByeSignal that says why: it ends the channel as [`Post::abort`] does, and if the
    /// system takes the message at once, the peer gets it as
    /// [`Event::ByeSignal`](crate::Event::ByeSignal) and its channel ends with
    /// [`Reason::PeerAborted`](crate::Reason::PeerAborted). It may have up to 1,024 bytes of content.
    ///
    /// The words are a courtesy, not a message that is accounted for. Nothing waits for them: they are
    /// not sent where a frame was sent in part or the peer is behind with reading, nor before the channel
    /// is connected, and the peer sees a reset then, as without them. Where the peer has sent what was
    /// not read here yet, closing is a reset, which may take the words away again: out of this system's
    /// buffer, and on Windows also out of the peer's.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = ampe::Engine::start(ampe::Options::default())?;
    /// # let (group, _inbox) = engine.group(ampe::GroupOptions::default())?;
    /// # let channel = group.connect(&"tcp://127.0.0.1:7000".parse()?)?;
    /// group.post(engine.message().with_body(b"the disk is full")?.abort(channel))?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "ByeSignal")]
    pub fn abort(self, channel: Channel) -> Post {
        Post::to(channel, OpCode::ByeSignal, 0, self)
    }

    /// Makes this a HelloRequest: posting it opens a connection to `address`, on a new channel, and
    /// sends this message as its first. It may have up to 8,192 bytes of content, the text header with
    /// the address among them: a peer accepts no more from somebody it does not know yet. What
    /// is larger can be posted to the channel right behind it.
    #[doc(alias = "HelloRequest")]
    pub fn hello(self, address: &Address) -> Post {
        Post::opening(address.clone(), OpCode::HelloRequest, self)
    }

    /// As [`hello`](Message::hello), over a socket that is connected already. It belongs to the post, and
    /// comes back with it where it is refused; once posted it is closed when the channel ends.
    pub fn hello_on(self, socket: ConnectedSocket) -> Post {
        let (address, socket) = socket.into_parts();
        Post::opening(address, OpCode::HelloRequest, self).over(socket)
    }
}

impl Post {
    pub(crate) fn to(channel: Channel, op_code: OpCode, message_id: u64, message: Message) -> Self {
        Post {
            target: Target::Channel(channel),
            op_code,
            message_id,
            more: false,
            message,
        }
    }

    fn opening(address: Address, op_code: OpCode, message: Message) -> Self {
        let destination = Destination {
            address,
            socket: None,
            options: ListenOptions::default(),
        };
        Post {
            target: Target::New(Box::new(destination)),
            op_code,
            message_id: 0,
            more: false,
            message,
        }
    }

    /// Takes the post out, and leaves one that nobody posts.
    pub(crate) fn take(&mut self) -> Post {
        let spent = Post::abort(Channel::new(0, 0));
        std::mem::replace(self, spent)
    }

    pub(crate) fn welcome(address: &Address, message: Message) -> Self {
        Post::opening(address.clone(), OpCode::WelcomeRequest, message)
    }

    pub(crate) fn listening_with(mut self, options: &ListenOptions) -> Self {
        if let Target::New(destination) = &mut self.target {
            destination.options = options.clone();
        }
        self
    }

    pub(crate) fn welcome_on(socket: ListeningSocket, message: Message) -> Self {
        let (address, socket) = socket.into_parts();
        Post::opening(address, OpCode::WelcomeRequest, message).over(socket)
    }

    fn over(mut self, socket: Box<HandedIn>) -> Self {
        if let Target::New(destination) = &mut self.target {
            destination.socket = Some(socket);
        }
        self
    }

    /// A ByeSignal without words: ends a channel here and now. What was posted and not yet sent comes
    /// back, the peer sees a reset; a listener stops listening. [`Message::abort`] says why.
    #[doc(alias = "zmq_disconnect")]
    #[doc(alias = "zmq_unbind")]
    #[doc(alias = "nng_pipe_close")]
    #[doc(alias = "nng_dialer_close")]
    #[doc(alias = "nng_listener_close")]
    #[doc(alias = "ByeSignal")]
    pub fn abort(channel: Channel) -> Self {
        Post::to(channel, OpCode::ByeSignal, 0, Message::empty())
    }

    /// Says that more messages of the same logical whole follow. For requests, responses and
    /// signals; the engine carries it and does not interpret it.
    #[doc(alias = "ZMQ_SNDMORE")]
    #[doc(alias = "multipart")]
    pub fn more(mut self) -> Self {
        self.more = true;
        self
    }

    /// Sets the message id, which is otherwise the next of the engine's. 0 means that again.
    ///
    /// The engine counts its own from 1 and never comes to 2^63. Choose yours from there on, unless it is that of
    /// an earlier message of the same logical whole: an answer is known by its id alone, so of two requests with
    /// one id on one channel the answers cannot be told apart, also where one of them is a
    /// [`call`](crate::ChannelGroup::call)'s.
    pub fn with_id(mut self, id: u64) -> Self {
        self.message_id = id;
        self
    }

    /// The message id; 0 if the engine is to choose.
    pub fn id(&self) -> u64 {
        self.message_id
    }

    /// Whether more messages of the same logical whole follow.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// What the post does.
    pub fn op_code(&self) -> OpCode {
        self.op_code
    }

    /// The channel it goes to, if that exists already.
    pub fn channel(&self) -> Option<Channel> {
        match self.target {
            Target::Channel(channel) => Some(channel),
            Target::New(_) => None,
        }
    }

    /// The content.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Appends a text header to the content, as [`Message::add_header`] does: so that an echo can
    /// say who echoes.
    ///
    /// # Errors
    ///
    /// As [`Message::with_header`]. The post is unchanged then.
    pub fn add_header(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), MessageError> {
        self.message.add_header(name, value)
    }

    /// Takes the content back.
    pub fn into_message(self) -> Message {
        self.message
    }

    pub(crate) fn role(&self) -> Role {
        match self.op_code {
            OpCode::ByeRequest => Role::ByeRequest,
            OpCode::ByeResponse => Role::ByeResponse,
            OpCode::ByeSignal => Role::ByeSignal,
            _ => Role::Data,
        }
    }

    /// Whether its frame is put into the batch, and its message stays with the thread that posts.
    #[inline]
    pub(crate) fn travels_by_value(&self) -> bool {
        self.op_code.is_regular() && self.message.fits_by_value()
    }

    /// What it is charged until it is sent or returned.
    #[inline]
    pub(crate) fn cost(&self) -> usize {
        match self.travels_by_value() {
            true => queued_cost_of(self.message.frame_len()),
            false => self.message.cost(),
        }
    }

    /// The header of its frame.
    pub(crate) fn header(&self, channel: Channel, id: u64) -> Header {
        Header {
            channel_number: channel.number(),
            op_code: self.op_code,
            more: self.more,
            status: 0,
            message_id: id,
            text_headers_len: self.message.text_headers_len(),
            body_len: self.message.body_len(),
        }
    }

    /// Writes the header by which a post that opens a channel carries its address.
    #[inline]
    pub(crate) fn write_address_header(&mut self) -> Result<(), PostError> {
        match self.target {
            Target::Channel(_) => Ok(()),
            Target::New(_) => self.write_address(),
        }
    }

    fn write_address(&mut self) -> Result<(), PostError> {
        let Some((name, address)) = self.address_header() else {
            return Ok(());
        };
        let value = address.to_wire();
        let is_named = |(found, _): &(&[u8], &[u8])| *found == name.as_bytes();
        let mut named = self.message.text_headers().iter().filter(is_named);
        let is_written = match (named.next(), named.next()) {
            (None, _) => false,
            // Posted before and refused, or returned and posted again.
            (Some((_, before)), None) if before == value.as_bytes() => true,
            // The content was meant for another address, or came from a peer that dialled it.
            _ => {
                self.message.remove_headers(name);
                false
            }
        };
        if !is_written && self.message.add_any_header(name, &value).is_err() {
            let header = wire::encoded_len(name, &value).unwrap_or_default();
            let len = self.message.content_len() + header;
            return Err(PostError::HelloTooLong { len });
        }
        let len = self.message.content_len();
        if len > MAX_HELLO_LEN {
            self.message.remove_headers(name);
            return Err(PostError::HelloTooLong { len });
        }
        Ok(())
    }

    /// The text header by which a post that opens a channel carries its address.
    fn address_header(&self) -> Option<(&'static str, &Address)> {
        match (&self.target, self.op_code) {
            (Target::New(it), OpCode::WelcomeRequest) => Some((LISTEN_ON, &it.address)),
            (Target::New(it), _) => Some((CONNECT_TO, &it.address)),
            (Target::Channel(_), _) => None,
        }
    }
}

#[cfg(test)]
mod tests;

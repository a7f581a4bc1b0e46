//! Publishing to those who want it, without a broker: topics, and an account of what each subscriber has missed.
//!
//! ```
//! use ampe::{Engine, GroupOptions, Options};
//! use ampe_patterns::publish::{Published, Publisher, Subscribed, Subscriber};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::start(Options::default())?;
//! let (group, mut inbox) = engine.group(GroupOptions::default())?;
//! group.listen(&"tcp://127.0.0.1:0".parse()?)?;
//! # let ampe::Event::Listening(listening) = inbox.recv()? else { panic!("it listens") };
//! # let address = listening.address().clone();
//! # let subscribing = std::thread::spawn(move || subscribe(&address).unwrap());
//! let mut publisher = Publisher::new(group.clone());
//! loop {
//!     // An application that publishes by the clock receives until then: `inbox.recv_until(next)`.
//!     match publisher.observe(inbox.recv()?) {
//!         Some(Published::Hello(hello)) => publisher.accept(hello),
//!         Some(Published::Gone(gone)) => println!("{}; {}", gone.closed, gone.account),
//!         _ => {}
//!     }
//!     let message = group.message().with_body(b"rain")?;
//!     let counts = publisher.publish("weather.kyiv", message)?;
//!     println!("{} of {} will get it", counts.wanted - counts.dropped, counts.wanted);
//! #   if counts.wanted > 0 { break }
//! }
//! # publisher.say_goodbye();
//! # while publisher.subscribers().count() > 0 { publisher.observe(inbox.recv()?); }
//! # subscribing.join().unwrap();
//! # Ok(()) }
//! #
//! // A subscriber, in another process:
//! fn subscribe(address: &ampe::Address) -> Result<(), Box<dyn std::error::Error>> {
//!     let engine = Engine::start(Options::default())?;
//!     let (group, mut inbox) = engine.group(GroupOptions::default())?;
//!     let mut subscriber = Subscriber::new(group, address.clone());
//!     subscriber.subscribe("weather.*")?;
//!     loop {
//!         match subscriber.recv(&mut inbox)? {
//!             Subscribed::Publication(it) => {
//!                 println!("{}: {} ({} missed)", it.topic(), it.message(), it.missed);
//! #               break;
//!             }
//!             Subscribed::Up(_) => println!("from here on"),
//!             Subscribed::Down(down) => println!("not from here on: {}", down.closed),
//!             _ => {}
//!         }
//!     }
//! #   Ok(())
//! }
//! ```
//!
//! # Topics
//!
//! A topic is text such as `weather.kyiv`. A subscriber names topics, or what they begin with followed by a star:
//! `weather.*`, and `*` for all. It does so in its HelloRequest, and in Signals at any time later. A hello has no room for
//! many topics: what is beyond some 4,096 bytes a [`Subscriber`] says in Signals right behind it. So the publisher knows of
//! those a moment later, and what is published in between is neither sent nor counted as missed.
//!
//! # A subscriber that is slow
//!
//! Of what the engine has no room for, up to [`PublisherOptions::waiting_bytes`] wait for each subscriber. What
//! is to be done beyond that says [`WhenFull`]. Publications that a subscriber wants are numbered for
//! it, also those that it does not get: so it sees each gap, and how large it is
//! ([`Publication::missed`]); and the publisher has an account of each ([`Publisher::subscribers`]). Numbers begin anew
//! with each connection: what was published while there was none is not counted by anybody.
//!
//! A publication's body is shared by all. So one whose frame has more than 384 bytes counts in a channel's budget with 1,664
//! bytes beside it: of frames of 500 bytes, 2 MiB take 969.
//!
//! Let [`Options::outbound_bytes`](ampe::Options::outbound_bytes) be no smaller than what all subscribers may have queued
//! together, so that those who do not read hold up nobody else. Where old publications are worth little, let
//! [`outbound_bytes_per_channel`](ampe::Options::outbound_bytes_per_channel) be small: what the engine has, it sends.
//!
//! # Between publisher and subscriber
//!
//! A publication is a Signal, so that either side can be written without this crate. All is in text headers:
//!
//! | header | in | meaning |
//! |---|---|---|
//! | [`SUBSCRIBE`] | HelloRequest, Signal | a topic, or a beginning and a star, that is wanted from now on; as often as there are such |
//! | [`UNSUBSCRIBE`] | Signal | one that is wanted no more, as it was written before |
//! | [`TOPIC`] | Signal, of the publisher's | the topic |
//! | [`SEQUENCE`] | Signal, of the publisher's | the number, in decimal digits: 1 is the first that was wanted on this connection |
//! | [`SEQUENCE`] | ByeRequest, of the publisher's | the number of the last, whether it was sent or dropped |
//!
//! # Memory
//!
//! For each subscriber: what its topics take, [`PublisherOptions::topic_bytes`] at most, and
//! [`PublisherOptions::waiting_bytes`]; what the engine has queued is in the engine's budget besides. A subscriber has its own
//! topics, and the engine's inbound budget.

mod subscriber;
mod topics;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use ampe::wire::OpCode;
use ampe::{
    Channel, ChannelGroup, Closed, Event, Hello, Message, MessageError, Peer, Post, PostError,
    Refused, Signal,
};

use self::topics::Topics;
use crate::let_go::why_let_go;

pub use self::subscriber::{Publication, Subscribed, Subscriber};
pub use self::topics::TopicError;

/// The text header by which a subscriber says what it wants.
pub const SUBSCRIBE: &str = "Subscribe";
/// The text header by which a subscriber says what it wants no more.
pub const UNSUBSCRIBE: &str = "Unsubscribe";
/// The text header with the topic of a publication.
pub const TOPIC: &str = "Topic";
/// The text header with the number of a publication.
pub const SEQUENCE: &str = "Sequence";

const ENDING: &str = "the publisher is ending";
const TOO_SLOW: &str = "you do not keep up";
const TOO_MANY_TOPICS: &str = "you want too many topics";

/// What becomes of a publication when so many wait for a subscriber that there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It is dropped: the subscriber gets the older ones. The default.
    #[default]
    DropNewest,
    /// The oldest of those that wait are dropped. Those that the engine has are on their way, and stay.
    DropOldest,
    /// The subscriber is let go, with a ByeSignal that says why, which it may not hear if it reads nothing at all;
    /// but for want of the engine's budget, which others hold: then the publication is dropped.
    Close,
}

/// The limits of a [`Publisher`], and what it does at them. Start from the default and change what matters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PublisherOptions {
    /// How many bytes of publications may wait for one subscriber, beyond what the engine has queued for it; each counts
    /// with its content and 1 KiB. Default 1 MiB.
    pub waiting_bytes: usize,
    /// How many bytes of topics one subscriber may want, each counted with its length and 64 bytes. Who wants more is
    /// let go. Default 64 KiB.
    pub topic_bytes: usize,
    /// What is done when there is no room.
    pub when_full: WhenFull,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        PublisherOptions {
            waiting_bytes: 1 << 20,
            topic_bytes: 64 << 10,
            when_full: WhenFull::default(),
        }
    }
}

/// What became of the publications that a subscriber wanted: `wanted = posted + dropped + waiting`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberAccount {
    /// Publications of its topics, since it said that it wants them.
    pub wanted: u64,
    /// Of these, those that the engine took.
    pub posted: u64,
    /// Of these posted, those that came back: they were not sent when the connection ended.
    pub returned: u64,
    /// Of those wanted, those for which there was no room, or no connection any more.
    pub dropped: u64,
    /// Of those wanted, those that wait for room: a subscriber for which some do is slow.
    pub waiting: u64,
}

impl fmt::Display for SubscriberAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SubscriberAccount {
            wanted,
            posted,
            returned,
            dropped,
            waiting,
        } = self;
        write!(
            formatter,
            "{wanted} wanted, {posted} posted, {returned} returned, {dropped} dropped, {waiting} waiting"
        )
    }
}

/// For how many subscribers one publication was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Subscribers that want its topic.
    pub wanted: usize,
    /// Of these, those for which it was dropped.
    pub dropped: usize,
    /// Of these, those for which it waits.
    pub waiting: usize,
}

/// Publishes to the subscribers that connect to its group.
///
/// Whatever [listens](ChannelGroup::listen) in the group lets subscribers in. To publish looks at each of them, and at
/// each of its beginnings with a star.
pub struct Publisher {
    group: ChannelGroup,
    options: PublisherOptions,
    subscribers: BTreeMap<Channel, State>,
    is_ending: bool,
}

/// A subscriber, as the publisher knows it.
struct State {
    peer: Peer,
    topics: Topics,
    /// Publications that there is no room for, in order, and what each counts with.
    waiting: VecDeque<(Message, usize)>,
    waiting_bytes: usize,
    account: SubscriberAccount,
    is_saying_goodbye: bool,
    let_go: Option<&'static str>,
}

/// What an event means to a [`Publisher`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Published {
    /// A subscriber: [`accept`](Publisher::accept) it, or post a refusal.
    Hello(Hello),
    /// A subscriber has gone.
    Gone(Gone),
    /// Another event.
    Other(Event),
}

/// The end of a subscriber's connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct Gone {
    /// Why it ended, and the account of all its messages.
    pub closed: Closed,
    /// What became of the publications that it wanted.
    pub account: SubscriberAccount,
    /// Why the publisher let it go, if it did.
    pub let_go: Option<&'static str>,
}

impl Publisher {
    /// A publisher to those who connect to a group, with the default limits.
    pub fn new(group: ChannelGroup) -> Publisher {
        Publisher::with_options(group, PublisherOptions::default())
    }

    /// A publisher to those who connect to a group.
    pub fn with_options(group: ChannelGroup, options: PublisherOptions) -> Publisher {
        Publisher {
            group,
            options,
            subscribers: BTreeMap::new(),
            is_ending: false,
        }
    }

    /// Accepts a subscriber, which gets from now on what it wants. Once goodbye was said, it is refused instead.
    pub fn accept(&mut self, hello: Hello) {
        if self.is_ending {
            let _ = self.group.post(hello.refuse(ENDING)); // itself refused if it has gone
            return;
        }
        let (subscriber, peer) = (hello.channel(), hello.peer().clone());
        let mut topics = Topics::new(self.options.topic_bytes);
        let is_too_much = topics.change(hello.text_headers()).is_err();
        let state = State {
            peer,
            topics,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            account: SubscriberAccount::default(),
            is_saying_goodbye: false,
            let_go: None,
        };
        match self.group.post(hello.accept(self.group.message())) {
            Ok(_) => {}
            // It is there, and gets what it wants all the same.
            Err(refused) if matches!(refused.why, PostError::Full(_)) => {}
            Err(_) => return, // it has gone, and nothing more will be heard of it
        }
        self.subscribers.insert(subscriber, state);
        if is_too_much {
            self.let_go(subscriber, TOO_MANY_TOPICS);
        }
    }

    /// Publishes: the message goes as a Signal to each subscriber that wants its topic. This does not wait for anybody.
    /// Spaces and tabs around the topic are dropped.
    ///
    /// What was received may be published on. The text headers [`TOPIC`] and [`SEQUENCE`] that it has are taken out, since
    /// subscribers would take them for this publisher's, and with them such as [`Message::add_header`] does not
    /// write: those of the engine, whose names begin with a tilde, and those whose names are no text.
    ///
    /// # Errors
    ///
    /// [`MessageError`], if the topic cannot be written into a text header (it is empty or blank, or has CR or LF in it), or the
    /// message has no room for it. Nobody gets it then.
    pub fn publish(&mut self, topic: &str, message: Message) -> Result<Counts, MessageError> {
        let topic = topic.trim_matches([' ', '\t']); // as it will be read
        let mut message = without_ours(message).with_header(TOPIC, topic)?;
        message.share_body(); // each subscriber's has headers of its own, and this body
        if message.text_headers().as_bytes().len() > HEADERS_MAX {
            numbered(&message, u64::MAX)?; // says why
        }
        let mut counts = Counts::default();
        let mut slow = Vec::new();
        for (&channel, state) in &mut self.subscribers {
            if state.is_ending() || !state.topics.want(topic) {
                continue;
            }
            state.account.wanted += 1;
            counts.wanted += 1;
            let Ok(message) = numbered(&message, state.account.wanted) else {
                continue; // seen before that it has room
            };
            match state.offer(&self.group, channel, message, &self.options) {
                Offered::Posted => {}
                Offered::Waits => counts.waiting += 1,
                Offered::Dropped => counts.dropped += 1,
                Offered::TooSlow => {
                    counts.dropped += 1;
                    slow.push(channel);
                }
            }
        }
        for channel in slow {
            self.let_go(channel, TOO_SLOW);
        }
        Ok(counts)
    }

    /// Who is there, in the order of channels, and what became of what they wanted. Who is slow has some waiting, or
    /// dropped.
    pub fn subscribers(&self) -> impl Iterator<Item = (Channel, &Peer, SubscriberAccount)> {
        let entries = self.subscribers.iter();
        entries.map(|(&channel, state)| (channel, &state.peer, state.account()))
    }

    /// Publishes no more, and says goodbye to each subscriber behind what waits for it. Receive until there are no
    /// [subscribers](Publisher::subscribers). One that does not read is there until
    /// [`send_timeout`](ampe::Options::send_timeout); to wait no longer, post an [abort](ampe::Post::abort) to whoever is left.
    pub fn say_goodbye(&mut self) {
        self.is_ending = true;
        for (&channel, state) in &mut self.subscribers {
            if !state.is_saying_goodbye {
                state.is_saying_goodbye = true;
                state.post_waiting(&self.group, channel);
            }
        }
    }

    /// Says what an event means, and does what is to be done about it; `None` if it is the publisher's own affair.
    pub fn observe(&mut self, event: Event) -> Option<Published> {
        let subscriber = event.channel();
        let subscriber = subscriber.filter(|it| self.subscribers.contains_key(it));
        let Some(subscriber) = subscriber else {
            return Some(match event {
                Event::Hello(hello) => Published::Hello(hello),
                other => Published::Other(other),
            });
        };
        let state = self.subscribers.get_mut(&subscriber)?;
        match event {
            Event::Signal(signal) => self.hear(subscriber, signal),
            Event::Room(_) => {
                state.post_waiting(&self.group, subscriber);
                None
            }
            Event::Returned(returned) => {
                // The application may have posted Signals of its own.
                let headers = returned.message().text_headers();
                let is_publication =
                    returned.op_code() == OpCode::Signal && headers.get(SEQUENCE).is_some();
                state.account.returned += u64::from(is_publication);
                Some(Published::Other(Event::Returned(returned)))
            }
            Event::Bye(bye) => {
                // It wants no more; what waits would be in the way of the answer, which the drop gives.
                state.drop_waiting();
                state.is_saying_goodbye = true;
                Some(Published::Other(Event::Bye(bye)))
            }
            Event::Closed(closed) => {
                let mut state = self.subscribers.remove(&subscriber)?;
                state.drop_waiting();
                let let_go = why_let_go(state.let_go, &closed);
                Some(Published::Gone(Gone {
                    closed,
                    account: state.account(),
                    let_go,
                }))
            }
            other => Some(Published::Other(other)),
        }
    }

    /// A subscriber says what it wants.
    fn hear(&mut self, subscriber: Channel, signal: Signal) -> Option<Published> {
        let headers = signal.text_headers();
        let is_ours = headers.get(SUBSCRIBE).or(headers.get(UNSUBSCRIBE));
        if is_ours.is_none() {
            return Some(Published::Other(Event::Signal(signal)));
        }
        let state = self.subscribers.get_mut(&subscriber)?;
        if state.topics.change(headers).is_err() {
            self.let_go(subscriber, TOO_MANY_TOPICS);
        }
        None
    }

    /// Ends a subscriber's channel here and now, and says why, as far as it listens.
    fn let_go(&mut self, subscriber: Channel, why: &'static str) {
        if let Some(state) = self.subscribers.get_mut(&subscriber) {
            state.let_go = Some(why);
            state.drop_waiting();
        }
        let words = self.group.message().with_body(why.as_bytes());
        let abort = words.map_or_else(|_| Post::abort(subscriber), |it| it.abort(subscriber));
        let _ = self.group.post(abort); // refused if it has gone by itself
    }
}

/// With so many there is room for a line end and the longest number.
const HEADERS_MAX: usize = 65_535 - 2 - "Sequence:18446744073709551615\r\n".len();

/// The message without the headers that a publisher writes.
fn without_ours(mut message: Message) -> Message {
    let ours = [TOPIC.as_bytes(), SEQUENCE.as_bytes()];
    let mut names = message.text_headers().iter().map(|(name, _)| name);
    if !names.any(|name| ours.contains(&name)) {
        return message;
    }
    let headers = message.text_headers().iter();
    let others: Vec<(String, Vec<u8>)> = headers
        .filter(|(name, _)| !ours.contains(name))
        .filter_map(|(name, value)| Some((str::from_utf8(name).ok()?.to_owned(), value.to_vec())))
        .collect();
    let body = message.share_body();
    message.clear();
    for (name, value) in others {
        let _ = message.add_header(&name, value); // else it is the engine's
    }
    message.with_shared_body(&body)
}

/// The publication for one subscriber. Its body is the same for all.
fn numbered(message: &Message, sequence: u64) -> Result<Message, MessageError> {
    message.clone().with_header(SEQUENCE, sequence.to_string())
}

/// What became of a publication that was offered to a subscriber.
enum Offered {
    Posted,
    Waits,
    Dropped,
    TooSlow,
}

impl State {
    fn account(&self) -> SubscriberAccount {
        SubscriberAccount {
            waiting: self.waiting.len() as u64,
            ..self.account
        }
    }

    fn is_ending(&self) -> bool {
        self.is_saying_goodbye || self.let_go.is_some()
    }

    fn drop_waiting(&mut self) {
        self.account.dropped += self.waiting.len() as u64;
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    fn offer(
        &mut self,
        group: &ChannelGroup,
        channel: Channel,
        message: Message,
        options: &PublisherOptions,
    ) -> Offered {
        let message = match self.waiting.is_empty() {
            false => message,
            true => match group.post(message.signal(channel)) {
                Ok(_) => {
                    self.account.posted += 1;
                    return Offered::Posted;
                }
                Err(Refused {
                    post,
                    why: PostError::Full(_),
                }) => post.into_message(),
                // It has gone: its Closed is on the way.
                Err(_) => {
                    self.account.dropped += 1;
                    return Offered::Dropped;
                }
            },
        };
        let bytes = cost(&message);
        if options.when_full == WhenFull::DropOldest && bytes <= options.waiting_bytes {
            while self.waiting_bytes + bytes > options.waiting_bytes
                && let Some((_, bytes)) = self.waiting.pop_front()
            {
                self.waiting_bytes -= bytes;
                self.account.dropped += 1;
            }
        }
        if self.waiting_bytes + bytes <= options.waiting_bytes {
            self.waiting_bytes += bytes;
            self.waiting.push_back((message, bytes));
            return Offered::Waits;
        }
        self.account.dropped += 1;
        // Who has taken all that it got is not slow: others hold the engine's budget.
        let is_behind = || {
            let account = group.account(channel);
            account.is_some_and(|account| account.queued_messages > 0)
        };
        match options.when_full == WhenFull::Close && is_behind() {
            true => Offered::TooSlow,
            false => Offered::Dropped,
        }
    }

    /// Posts what waits, as far as there is room, and the goodbye behind it.
    fn post_waiting(&mut self, group: &ChannelGroup, channel: Channel) {
        while let Some((message, bytes)) = self.waiting.pop_front() {
            match group.post(message.signal(channel)) {
                Ok(_) => {
                    self.waiting_bytes -= bytes;
                    self.account.posted += 1;
                }
                Err(Refused {
                    post,
                    why: PostError::Full(_),
                }) => {
                    self.waiting.push_front((post.into_message(), bytes));
                    return;
                }
                Err(_) => {
                    self.account.dropped += 1;
                    return self.drop_waiting();
                }
            }
        }
        if self.is_saying_goodbye {
            let number = self.account.wanted.to_string();
            let bye = group.message().with_header(SEQUENCE, number);
            let bye = bye.unwrap_or_else(|_| group.message());
            // There is always room for it. Refused if it has gone, or was posted before.
            let _ = group.post(bye.bye(channel));
        }
    }
}

/// What a publication that waits counts with.
fn cost(message: &Message) -> usize {
    message.body().len() + message.text_headers().as_bytes().len() + 1024
}

impl fmt::Debug for Publisher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Publisher")
            .field("subscribers", &self.subscribers.len())
            .finish_non_exhaustive()
    }
}

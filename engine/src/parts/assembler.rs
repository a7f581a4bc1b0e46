//! Putting parts together.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::channel::Channel;
use crate::event::{Closed, Event, Received, Request};
use crate::message::Message;
use crate::post::Post;
use crate::wire::{OpCode, TextHeaders};

use super::BROKEN_OFF;

/// What a whole counts with that has begun, beside its bytes.
const BEGUN: usize = 1024;

/// Puts Requests, Responses and Signals together that came in parts, within bounds. Every event of an inbox goes
/// through it, and comes out as what it means.
///
/// ```
/// use ampe::{Assembled, Assembler, ChannelGroup, Event, Inbox};
///
/// /// Tells clients how long what they sent was: up to a mebibyte each, 64 MiB of all together.
/// fn serve(group: ChannelGroup, mut inbox: Inbox) {
///     let mut assembler = Assembler::new(1 << 20, 64 << 20);
///     for event in inbox.iter() {
///         match assembler.take(event) {
///             Assembled::Whole(whole) if whole.op_code() == ampe::wire::OpCode::Request => {
///                 let len = whole.body().len().to_string();
///                 let answer = group.message().with_body(len.as_bytes()).expect("short");
///                 let _ = group.post(whole.reply(answer)); // refused if it has gone
///             }
///             Assembled::Unfinished(it) => println!("{}: {}", it.channel, it.why),
///             Assembled::Closed(_, unfinished) => println!("{} cut off", unfinished.len()),
///             Assembled::Other(Event::Hello(hello)) => {
///                 let _ = group.post(hello.accept(group.message()));
///             }
///             _ => {}
///         }
///     }
/// }
/// ```
///
/// The bytes of parts are copied, and their messages dropped: they take nothing of the engine's inbound
/// budget. A whole counts with its bytes and 1 KiB. What would be too long is told as soon as that is known, and what
/// still comes of it is thrown away.
#[derive(Debug)]
pub struct Assembler {
    longest: usize,
    most: usize,
    /// What all of `begun` count with.
    held: usize,
    begun: HashMap<Key, Begun>,
    /// Channels of which too much came: nothing is taken from them any more.
    ignored: HashSet<Channel>,
}

type Key = (Channel, OpCode, u64);

#[derive(Debug)]
struct Begun {
    /// The first part's text headers, with no body.
    head: Message,
    body: Vec<u8>,
    /// What still comes of it is thrown away.
    is_given_up: bool,
}

/// What an event means.
#[derive(Debug)]
#[non_exhaustive]
pub enum Assembled {
    /// A Request, Response or Signal that is complete, in however many parts it came.
    Whole(Whole),
    /// A part was taken that makes nothing whole yet: so many bytes of the content are here by now. None are of a whole that
    /// was told to be too long, whose parts are thrown away up to its last.
    Part {
        /// The channel that it came on.
        channel: Channel,
        /// The message id of its whole.
        id: u64,
        /// Bytes of the body so far.
        bytes: usize,
    },
    /// A whole that will never be complete. Each is told once, but where a channel is ignored: see
    /// [`WhyUnfinished::TooMuch`].
    Unfinished(Unfinished),
    /// The end of a channel, and the wholes of which some parts have come and the others never will.
    Closed(Closed, Vec<Unfinished>),
    /// Any other event, as it is.
    Other(Event),
}

/// A message that is complete.
#[derive(Debug)]
pub struct Whole {
    last: Received,
    /// The text headers of the first part, unless the last is the first.
    head: Option<Message>,
    body: Vec<u8>,
}

/// A whole of which some parts came and the others will not, or are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// The channel that it came on.
    pub channel: Channel,
    /// What it is: a Request, Response or Signal.
    pub op_code: OpCode,
    /// The message id of its parts.
    pub id: u64,
    /// Bytes of the body that had come.
    pub bytes: usize,
    /// Why it is not complete.
    pub why: WhyUnfinished,
}

/// Why a whole is not complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhyUnfinished {
    /// The peer broke it off, and says why.
    #[error("the peer broke it off: {0}")]
    BrokenOff(String),
    /// Its channel ended.
    #[error("the connection ended in the middle of it")]
    ChannelClosed,
    /// It is longer than the assembler takes. What still comes of it is thrown away.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// All that has begun takes as much as the assembler may hold. What this channel had begun is forgotten, and
    /// all that it still sends is told like this: end it.
    #[error("more than {0} bytes of unfinished messages wait")]
    TooMuch(usize),
}

impl Assembler {
    /// An assembler that takes wholes of up to `longest` bytes of body, and holds `most` bytes of all that
    /// have begun together.
    pub fn new(longest: usize, most: usize) -> Self {
        Assembler {
            longest,
            most,
            held: 0,
            begun: HashMap::new(),
            ignored: HashSet::new(),
        }
    }

    /// Takes an event, and says what it means.
    pub fn take(&mut self, event: Event) -> Assembled {
        match event {
            Event::Request(Request(part)) => self.take_part(part),
            Event::Signal(signal) => self.take_part(signal.0),
            Event::Response(part) => self.take_part(part),
            Event::Closed(closed) => {
                let unfinished = self.forget(closed.channel());
                Assembled::Closed(closed, unfinished)
            }
            other => Assembled::Other(other),
        }
    }

    /// Bytes that unfinished wholes take up.
    pub fn held(&self) -> usize {
        self.held
    }

    fn take_part(&mut self, part: Received) -> Assembled {
        let key = (part.channel(), part.op_code(), part.id());
        let is_alone = !part.has_more() && !self.begun.contains_key(&key);
        if is_alone && !self.ignored.contains(&part.channel()) {
            if part.body().len() > self.longest {
                let why = WhyUnfinished::TooLong(self.longest);
                return Assembled::Unfinished(unfinished(&part, part.body().len(), why));
            }
            return Assembled::Whole(Whole {
                last: part,
                head: None,
                body: Vec::new(),
            });
        }
        if self.ignored.contains(&part.channel()) {
            return self.refuse(part);
        }
        if !part.has_more() {
            return self.finish(key, part);
        }
        self.keep(key, &part)
    }

    /// Of a channel that is ignored: what seems to come in one may be the rest of another.
    fn refuse(&self, part: Received) -> Assembled {
        let why = WhyUnfinished::TooMuch(self.most);
        Assembled::Unfinished(unfinished(&part, part.body().len(), why))
    }

    fn keep(&mut self, key: Key, part: &Received) -> Assembled {
        let bytes = part.body().len();
        let begins = !self.begun.contains_key(&key);
        let more = bytes + if begins { BEGUN } else { 0 };
        let is_given_up = self.begun.get(&key).is_some_and(|it| it.is_given_up);
        if !is_given_up && self.held.saturating_add(more) > self.most {
            let had = self.begun.get(&key).map_or(0, |it| it.body.len());
            self.ignore(part.channel());
            let why = WhyUnfinished::TooMuch(self.most);
            return Assembled::Unfinished(unfinished(part, had + bytes, why));
        }
        let begun = self.begun.entry(key).or_insert_with(|| Begun {
            head: head_of(part),
            body: Vec::new(),
            is_given_up: false,
        });
        if begins {
            self.held += BEGUN;
        }
        let len = begun.body.len() + bytes;
        if !begun.is_given_up && len > self.longest {
            begun.is_given_up = true;
            self.held -= std::mem::take(&mut begun.body).len();
            let why = WhyUnfinished::TooLong(self.longest);
            return Assembled::Unfinished(unfinished(part, len, why));
        }
        if !begun.is_given_up {
            begun.body.extend_from_slice(part.body());
            self.held += bytes;
        }
        Assembled::Part {
            channel: part.channel(),
            id: part.id(),
            bytes: begun.body.len(),
        }
    }

    fn finish(&mut self, key: Key, last: Received) -> Assembled {
        let begun = self.begun.remove(&key).expect("it has begun");
        self.held -= BEGUN + begun.body.len();
        if begun.is_given_up {
            // It was told when that was known, and this is thrown away, too.
            return Assembled::Part {
                channel: last.channel(),
                id: last.id(),
                bytes: 0,
            };
        }
        let len = begun.body.len() + last.body().len();
        if let Some(why) = last.text_headers().get(BROKEN_OFF) {
            let why = String::from_utf8_lossy(why).into_owned();
            let why = WhyUnfinished::BrokenOff(why);
            return Assembled::Unfinished(unfinished(&last, begun.body.len(), why));
        }
        if len > self.longest {
            let why = WhyUnfinished::TooLong(self.longest);
            return Assembled::Unfinished(unfinished(&last, len, why));
        }
        let mut body = begun.body;
        body.extend_from_slice(last.body());
        Assembled::Whole(Whole {
            last,
            head: Some(begun.head),
            body,
        })
    }

    fn ignore(&mut self, channel: Channel) {
        self.forget(channel);
        self.ignored.insert(channel);
    }

    /// Forgets what has begun on a channel.
    fn forget(&mut self, channel: Channel) -> Vec<Unfinished> {
        self.ignored.remove(&channel);
        let mut unfinished = Vec::new();
        self.begun.retain(|&(of, op_code, id), begun| {
            if of != channel {
                return true;
            }
            self.held -= BEGUN + begun.body.len();
            if !begun.is_given_up {
                unfinished.push(Unfinished {
                    channel,
                    op_code,
                    id,
                    bytes: begun.body.len(),
                    why: WhyUnfinished::ChannelClosed,
                });
            }
            false
        });
        unfinished.sort_by_key(|it| it.id);
        unfinished
    }
}

/// Its text headers, in storage of their own: what came would hold the engine's inbound budget.
fn head_of(part: &Received) -> Message {
    let mut head = Message::empty();
    for (name, value) in part.text_headers().iter() {
        if let Ok(name) = std::str::from_utf8(name) {
            // What came as a header can be one again.
            let _ = head.add_any_header(name, value);
        }
    }
    head
}

fn unfinished(part: &Received, bytes: usize, why: WhyUnfinished) -> Unfinished {
    Unfinished {
        channel: part.channel(),
        op_code: part.op_code(),
        id: part.id(),
        bytes,
        why,
    }
}

impl Whole {
    /// The channel that it came on.
    pub fn channel(&self) -> Channel {
        self.last.channel()
    }

    /// What it is: a Request, Response or Signal.
    pub fn op_code(&self) -> OpCode {
        self.last.op_code()
    }

    /// The message id of all its parts.
    pub fn id(&self) -> u64 {
        self.last.id()
    }

    /// The text headers: those of the first part.
    pub fn text_headers(&self) -> TextHeaders<'_> {
        match &self.head {
            Some(head) => head.text_headers(),
            None => self.last.text_headers(),
        }
    }

    /// The body, of all parts together.
    pub fn body(&self) -> &[u8] {
        match self.head {
            Some(_) => &self.body,
            None => self.last.body(),
        }
    }

    /// Takes the body. Copies it if it came in one message.
    pub fn into_body(self) -> Vec<u8> {
        match self.head {
            Some(_) => self.body,
            None => self.last.body().to_vec(),
        }
    }

    /// Why the peer refuses, as [`Received::refusal`] says it of a Response.
    pub fn refusal(&self) -> Option<Cow<'_, str>> {
        self.last.refusal()
    }

    /// The Response to it, if it is a Request.
    pub fn reply(&self, message: Message) -> Post {
        self.last.answer(message)
    }
}

//! The side of a subscriber.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ampe::wire::OpCode;
use ampe::{Address, ChannelGroup, Ended, Event, Inbox, Message, Peer, Received, Signal};

use super::topics;
use super::{SEQUENCE, SUBSCRIBE, TOPIC, TopicError, UNSUBSCRIBE};
use crate::{Dialed, Dialer, Down, Pauses};

/// So many bytes of topics go with a hello, whose content has 8,192 at most. Others follow in Signals.
const HELLO_BYTES: usize = 4096;
/// So many go with a Signal.
const SIGNAL_BYTES: usize = 32 << 10;

/// Gets what a [`Publisher`](super::Publisher) publishes: connects to it, again and again, and says each time what it
/// wants.
pub struct Subscriber {
    group: ChannelGroup,
    dialer: Dialer,
    topics: Arc<Mutex<Told>>,
    /// The number of the last publication of this connection.
    sequence: u64,
    missed: u64,
}

/// What is wanted, and what of it the publisher was told on this connection.
#[derive(Default)]
struct Told {
    wanted: BTreeSet<String>,
    told: BTreeSet<String>,
}

/// What an event means to a [`Subscriber`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Subscribed {
    /// It is connected: what is published and wanted will come, or be counted as missed, from when the publisher has
    /// accepted it; what is wanted beyond the 4,096 bytes of topics that its hello says, from when the Signals behind that
    /// were received.
    Up(Peer),
    /// The connection ended, or none came about; it is dialled again. What is published until then is missed, and
    /// nobody knows how much that is.
    Down(Down),
    /// Something that was published.
    Publication(Publication),
    /// Another event.
    Other(Event),
}

/// Something that was published.
#[derive(Debug)]
#[non_exhaustive]
pub struct Publication {
    /// What came.
    pub signal: Signal,
    /// Its number among those that this subscriber wanted on this connection: 1 is the first.
    pub sequence: u64,
    /// How many were missed right before it, as the publisher had no room for them.
    pub missed: u64,
}

impl Publication {
    /// Its topic; empty if it is no text.
    pub fn topic(&self) -> &str {
        self.signal.text_headers().get_text(TOPIC).unwrap_or("")
    }

    /// Its content.
    pub fn message(&self) -> &Message {
        self.signal.message()
    }
}

impl Subscriber {
    /// A subscriber that wants nothing yet.
    pub fn new(group: ChannelGroup, address: Address) -> Subscriber {
        let topics = Arc::new(Mutex::new(Told::default()));
        let dialer = Dialer::new(group.clone(), address).with_hello({
            let topics = Arc::clone(&topics);
            move |hello| {
                let mut topics = lock(&topics);
                topics.told.clear(); // on this connection
                topics.say(hello, HELLO_BYTES)
            }
        });
        Subscriber {
            group,
            dialer,
            topics,
            sequence: 0,
            missed: 0,
        }
    }

    /// Sets the pauses between attempts to connect.
    #[must_use = "the subscriber is returned"]
    pub fn with_pauses(mut self, pauses: Pauses) -> Subscriber {
        self.dialer = self.dialer.with_pauses(pauses);
        self
    }

    /// Wants a topic, or, with a star at its end, all that begin like this; now and on each later connection.
    ///
    /// # Errors
    ///
    /// [`TopicError`], if it cannot be written.
    pub fn subscribe(&mut self, topic: &str) -> Result<(), TopicError> {
        topics::check(topic)?;
        lock(&self.topics).wanted.insert(topic.to_owned());
        self.tell();
        Ok(())
    }

    /// Wants that no more: a topic or a beginning as it was given to [`subscribe`](Subscriber::subscribe). What is on its
    /// way still comes.
    pub fn unsubscribe(&mut self, topic: &str) {
        lock(&self.topics).wanted.remove(topic);
        self.tell();
    }

    /// How many publications were missed on all connections so far, as far as is known.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// When [`advance`](Subscriber::advance) is to be called, though no event has come.
    pub fn due(&self) -> Option<Instant> {
        self.dialer.due()
    }

    /// Dials, if it is time.
    pub fn advance(&mut self, now: Instant) {
        self.dialer.dial_if_due(now);
    }

    /// The next event, with what it means; dials meanwhile whenever it is time.
    ///
    /// # Errors
    ///
    /// [`Ended`], once all events of the inbox were received and none will come.
    pub fn recv(&mut self, inbox: &mut Inbox) -> Result<Subscribed, Ended> {
        let dialed = self.dialer.recv(inbox)?;
        Ok(self.meaning(dialed))
    }

    /// Says what an event means, and does what is to be done about it.
    pub fn observe(&mut self, event: Event) -> Subscribed {
        let dialed = self.dialer.observe(event);
        self.meaning(dialed)
    }

    fn meaning(&mut self, dialed: Dialed) -> Subscribed {
        match dialed {
            Dialed::Up(peer) => {
                self.sequence = 0;
                self.tell();
                Subscribed::Up(peer)
            }
            Dialed::Down(down) => Subscribed::Down(down),
            Dialed::Other(Event::Signal(signal)) => self.take(signal),
            Dialed::Other(event) => {
                match &event {
                    Event::Room(_) => self.tell(),
                    // Nothing follows: so the last that were missed are known, too.
                    Event::Bye(bye) => drop(self.count(bye)),
                    _ => {}
                }
                Subscribed::Other(event)
            }
        }
    }

    fn take(&mut self, signal: Signal) -> Subscribed {
        let before = self.sequence;
        match self.count(&signal) {
            Some(sequence) if sequence > before => Subscribed::Publication(Publication {
                signal,
                sequence,
                missed: sequence - before - 1,
            }),
            _ => Subscribed::Other(Event::Signal(signal)),
        }
    }

    /// Notes the number of a publication, or of the last before the goodbye, and what was missed before it.
    fn count(&mut self, received: &Received) -> Option<u64> {
        let number = received.text_headers().get_text(SEQUENCE);
        let sequence: u64 = number.and_then(|it| it.parse().ok())?;
        // Numbers only grow: another is no publisher's.
        if Some(received.channel()) != self.dialer.channel() || sequence <= self.sequence {
            return None;
        }
        let came = u64::from(received.op_code() == OpCode::Signal);
        let missed = sequence - self.sequence - came;
        self.missed = self.missed.saturating_add(missed);
        self.sequence = sequence;
        Some(sequence)
    }

    /// Tells the publisher what has changed, if it is connected, as far as there is room.
    fn tell(&mut self) {
        let Some(channel) = self.dialer.channel() else {
            return; // the next hello says it
        };
        let mut topics = lock(&self.topics);
        while topics.wanted != topics.told {
            let before = topics.told.clone();
            let message = topics.say(self.group.message(), SIGNAL_BYTES);
            if self.group.post(message.signal(channel)).is_err() {
                topics.told = before; // until there is room, or another connection
                return;
            }
        }
    }
}

impl Told {
    /// Adds to a message what the publisher was not told yet, up to so many bytes.
    fn say(&mut self, mut message: Message, bytes: usize) -> Message {
        let gone = self.told.difference(&self.wanted);
        let new = self.wanted.difference(&self.told);
        let gone = gone.map(|topic| (UNSUBSCRIBE, topic.clone()));
        let new = new.map(|topic| (SUBSCRIBE, topic.clone()));
        let changes: Vec<_> = gone.chain(new).collect();
        for (name, topic) in changes {
            let is_full = message.text_headers().as_bytes().len() + topic.len() > bytes;
            if is_full || message.add_header(name, &topic).is_err() {
                break;
            }
            match name == SUBSCRIBE {
                true => self.told.insert(topic),
                false => self.told.remove(&topic),
            };
        }
        message
    }
}

fn lock(topics: &Mutex<Told>) -> MutexGuard<'_, Told> {
    // Nothing in here panics half way.
    topics.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Subscriber")
            .field("dialer", &self.dialer)
            .field("sequence", &self.sequence)
            .field("missed", &self.missed)
            .finish_non_exhaustive()
    }
}

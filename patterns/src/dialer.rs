//! A connection that is made again when it ends.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use ampe::wire::OpCode;
use ampe::{
    Address, Channel, ChannelGroup, Closed, Ended, Event, Inbox, Message, PostError, Reason,
    Returned,
};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::ids::{id_of, number_of};
use crate::time::after;

/// How long a [`Dialer`] waits before it dials again: each time about twice as long as the last, and by
/// chance up to as long again, so that many clients of one server do not come back together. It begins
/// anew once the peer has said something. Where the longest is zero, it dials again without any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// The first pause, at the least. Default 100 ms.
    pub first: Duration,
    /// The longest, apart from what chance adds. Default 10 s.
    pub longest: Duration,
    /// What chance adds is drawn from this, for runs of a test that are to be the same each time. Default: none, and
    /// it is another each time.
    pub seed: Option<u64>,
}

impl Default for Pauses {
    fn default() -> Self {
        Pauses {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            seed: None,
        }
    }
}

impl Pauses {
    fn begin(self) -> ExponentialBackoff {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .without_max_times()
            .with_jitter();
        match self.seed {
            Some(seed) => pauses.with_jitter_seed(seed).build(),
            None => pauses.build(),
        }
    }
}

/// Keeps a connection to an address: dials again when it ends, posts again what came back, and tells what may
/// or may not have arrived.
///
/// Messages may be posted at any time; they wait while there is no connection, or no room. Each has an id
/// from the first call on, which stays through all connections, and which its answer has. It is 2^63 or more, so
/// that it is never that of a message which was posted to the [channel](Dialer::channel) past the dialer: such a message is
/// not posted again when it comes back. What was *returned*
/// never reached the peer whole, so that posting it again duplicates nothing. Of a Request that was *sent* and
/// not answered when the connection ended nobody knows: it is told as [`Down::unknown`] and not posted
/// again, for whether that may be done only the application can say.
///
/// Show it every event of the group's inbox, by [`recv`](Dialer::recv) in a thread, or by
/// [`observe`](Dialer::observe) and [`dial_if_due`](Dialer::dial_if_due) in a task or a loop. Several dialers may share
/// a group.
///
/// ```no_run
/// use ampe::{Address, Engine, Event, GroupOptions, Options};
/// use ampe_patterns::{Dialed, Dialer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::start(Options::default())?;
/// let (group, mut inbox) = engine.group(GroupOptions::default())?;
/// let mut dialer = Dialer::new(group.clone(), "tcp://127.0.0.1:7000".parse()?)
///     .with_hello(|hello| hello.with_header("Subscribe", "weather").expect("it is short"));
/// let asked = dialer.request(group.message().with_body(b"now?")?).expect("there is room");
/// loop {
///     match dialer.recv(&mut inbox)? {
///         Dialed::Up(peer) => println!("connected to {peer}"),
///         Dialed::Down(down) => println!("{}; {:?} may have arrived", down.closed, down.unknown),
///         Dialed::Other(Event::Response(it)) if it.id() == asked => println!("{}", it.message()),
///         Dialed::Other(_) => {}
///     }
/// }
/// # }
/// ```
pub struct Dialer {
    group: ChannelGroup,
    address: Address,
    pauses: Pauses,
    pause: ExponentialBackoff,
    state: State,
    hello: Option<Box<dyn FnMut(Message) -> Message + Send>>,
    /// What waits for a connection, or for room, in the order in which it was given.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    most_bytes: usize,
    /// What came back of the connection that is ending.
    returned: Vec<Waiting>,
    /// Requests that were posted and not answered.
    asked: BTreeSet<u64>,
    number_next: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Resting {
        until: Instant,
    },
    /// Dialling, or connected.
    On {
        channel: Channel,
        is_up: bool,
    },
}

struct Waiting {
    op_code: OpCode,
    id: u64,
    message: Message,
}

/// What an event means to a [`Dialer`].
#[derive(Debug)]
pub enum Dialed {
    /// The connection stands. What waited has been posted to it, behind the hello.
    Up(ampe::Peer),
    /// The connection ended, or none came about. It is dialled again.
    Down(Down),
    /// Another event: of the peer's, or of another channel. A `Returned` that has an id which this dialer gave is to be known:
    /// what came back is posted again without you.
    Other(Event),
}

/// The end of one connection of a [`Dialer`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Down {
    /// Why it ended, and the account of its messages. Of those that were sent and not confirmed, Signals may
    /// be lost.
    pub closed: Closed,
    /// The ids of Requests that were sent and not answered: the peer may have them or not.
    pub unknown: Vec<u64>,
    /// When it is dialled again.
    pub again_at: Instant,
}

impl Dialer {
    /// A dialer for a group, which dials with the first event that is waited for, or the first message.
    pub fn new(group: ChannelGroup, address: Address) -> Dialer {
        let pauses = Pauses::default();
        Dialer {
            group,
            address,
            pause: pauses.begin(),
            pauses,
            state: State::Resting { until: ampe::now() },
            hello: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            most_bytes: 16 << 20,
            returned: Vec::new(),
            asked: BTreeSet::new(),
            number_next: 1,
        }
    }

    /// Sets the pauses.
    #[must_use = "the dialer is returned"]
    pub fn with_pauses(mut self, pauses: Pauses) -> Dialer {
        self.pauses = pauses;
        self.pause = pauses.begin();
        self
    }

    /// Sets what every connection begins with: the content of its HelloRequest, such as a name, a ticket, or
    /// what this client subscribes to. It comes before all that is posted.
    #[must_use = "the dialer is returned"]
    pub fn with_hello(mut self, hello: impl FnMut(Message) -> Message + Send + 'static) -> Dialer {
        self.hello = Some(Box::new(hello));
        self
    }

    /// Sets how many bytes of messages may wait at most, each counted with its content and 1 KiB. Default
    /// 16 MiB. What came back is kept beyond that: it was accepted before.
    #[must_use = "the dialer is returned"]
    pub fn with_waiting_bytes(mut self, bytes: usize) -> Dialer {
        self.most_bytes = bytes;
        self
    }

    /// Posts a Request, now or as soon as that is possible. Returns its id, which the Response will have.
    ///
    /// # Errors
    ///
    /// The message comes back if too many bytes wait already.
    pub fn request(&mut self, message: Message) -> Result<u64, Message> {
        self.post(OpCode::Request, message)
    }

    /// Posts a Signal, now or as soon as that is possible. Returns its id.
    ///
    /// # Errors
    ///
    /// The message comes back if too many bytes wait already.
    pub fn signal(&mut self, message: Message) -> Result<u64, Message> {
        self.post(OpCode::Signal, message)
    }

    fn post(&mut self, op_code: OpCode, message: Message) -> Result<u64, Message> {
        let bytes = self.waiting_bytes + cost(&message);
        if !self.waiting.is_empty() && bytes > self.most_bytes {
            return Err(message);
        }
        let id = id_of(self.number_next);
        self.number_next += 1;
        self.waiting_bytes = bytes;
        self.waiting.push_back(Waiting {
            op_code,
            id,
            message,
        });
        self.dial_if_due(ampe::now());
        self.post_waiting();
        Ok(id)
    }

    /// The channel of the connection that stands now.
    pub fn channel(&self) -> Option<Channel> {
        match self.state {
            State::On { channel, is_up } => is_up.then_some(channel),
            State::Resting { .. } => None,
        }
    }

    /// When [`dial_if_due`](Dialer::dial_if_due) is to be called, if it rests.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Resting { until } => Some(until),
            State::On { .. } => None,
        }
    }

    /// Requests that were posted and have neither been answered nor told as unknown.
    pub fn unanswered(&self) -> usize {
        self.asked.len()
    }

    /// Messages that wait for a connection, or for room.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Dials, if it is time.
    pub fn dial_if_due(&mut self, now: Instant) {
        let State::Resting { until } = self.state else {
            return;
        };
        if now < until {
            return;
        }
        let mut message = self.group.message();
        if let Some(hello) = &mut self.hello {
            message = hello(message);
        }
        self.state = match self.group.post(message.hello(&self.address)) {
            Ok(posted) => State::On {
                channel: posted.channel,
                is_up: false,
            },
            // No channel number, or the group has closed: then the inbox ends.
            Err(_) => State::Resting {
                until: after(now, self.next_pause()),
            },
        };
    }

    fn next_pause(&mut self) -> Duration {
        self.pause.next().unwrap_or(self.pauses.longest)
    }

    /// Says what an event means, and does what is to be done about it.
    pub fn observe(&mut self, event: Event) -> Dialed {
        let State::On { channel, .. } = self.state else {
            return Dialed::Other(event);
        };
        if event.channel() != Some(channel) {
            return Dialed::Other(event);
        }
        match event {
            Event::Opened(opened) => {
                self.state = State::On {
                    channel,
                    is_up: true,
                };
                self.post_waiting();
                Dialed::Up(opened.peer().clone())
            }
            Event::Room(_) => {
                self.post_waiting();
                Dialed::Other(event)
            }
            Event::Returned(returned) => self.take_back(returned),
            Event::Closed(closed) => Dialed::Down(self.end(closed)),
            Event::Response(response) => {
                self.pause = self.pauses.begin();
                if !response.has_more() {
                    self.asked.remove(&response.id());
                }
                Dialed::Other(Event::Response(response))
            }
            Event::Accepted(_) | Event::Request(_) | Event::Signal(_) => {
                self.pause = self.pauses.begin();
                Dialed::Other(event)
            }
            other => Dialed::Other(other),
        }
    }

    /// The next event, with what it means; dials meanwhile whenever it is time.
    ///
    /// # Errors
    ///
    /// [`Ended`], once all events of the inbox were received and none will come.
    pub fn recv(&mut self, inbox: &mut Inbox) -> Result<Dialed, Ended> {
        loop {
            self.dial_if_due(ampe::now());
            let event = match self.due() {
                Some(due) => inbox.recv_until(due)?,
                None => Some(inbox.recv()?),
            };
            if let Some(event) = event {
                return Ok(self.observe(event));
            }
        }
    }

    /// A message of the connection that is ending comes back.
    fn take_back(&mut self, returned: Returned) -> Dialed {
        let (op_code, id) = (returned.op_code(), returned.id());
        let is_ours = match op_code {
            OpCode::Request => self.asked.remove(&id),
            OpCode::Signal => self.has_given(id),
            _ => false,
        };
        if !is_ours || returned.reason() == Reason::Withdrawn {
            return Dialed::Other(Event::Returned(returned));
        }
        // A copy: what was returned holds the engine's outbound budget until it is dropped.
        let message = returned.message().clone();
        let waiting = Waiting {
            op_code,
            id,
            message,
        };
        self.returned.push(waiting);
        Dialed::Other(Event::Returned(returned))
    }

    /// Whether it is an id of this dialer's.
    fn has_given(&self, id: u64) -> bool {
        number_of(id).is_some_and(|number| (1..self.number_next).contains(&number))
    }

    fn end(&mut self, closed: Closed) -> Down {
        let again_at = after(ampe::now(), self.next_pause());
        self.state = State::Resting { until: again_at };
        // In front of what waits, which was given later.
        for waiting in self.returned.drain(..).rev() {
            self.waiting_bytes += cost(&waiting.message);
            self.waiting.push_front(waiting);
        }
        Down {
            closed,
            unknown: std::mem::take(&mut self.asked).into_iter().collect(),
            again_at,
        }
    }

    /// Posts what waits, as far as there is room.
    fn post_waiting(&mut self) {
        let State::On { channel, .. } = self.state else {
            return;
        };
        while let Some(waiting) = self.waiting.pop_front() {
            let Waiting {
                op_code,
                id,
                message,
            } = waiting;
            let bytes = cost(&message);
            let post = match op_code {
                OpCode::Request => message.request(channel),
                _ => message.signal(channel),
            };
            match self.group.post(post.with_id(id)) {
                Ok(_) => {
                    self.waiting_bytes -= bytes;
                    if op_code == OpCode::Request {
                        self.asked.insert(id);
                    }
                }
                Err(refused) => {
                    let is_full = matches!(refused.why, PostError::Full(_));
                    debug_assert!(is_full || self.is_ending(&refused.why));
                    let message = refused.post.into_message();
                    // There will be room, or another connection.
                    return self.waiting.push_front(Waiting {
                        op_code,
                        id,
                        message,
                    });
                }
            }
        }
    }

    /// Whether that is said of a channel, or a group, that ends.
    fn is_ending(&self, why: &PostError) -> bool {
        matches!(
            why,
            PostError::ChannelClosed
                | PostError::GroupClosed
                | PostError::EngineEnded
                | PostError::ByePosted
        )
    }
}

/// What a message that waits counts with.
fn cost(message: &Message) -> usize {
    message.body().len() + message.text_headers().as_bytes().len() + 1024
}

impl fmt::Debug for Dialer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Dialer")
            .field("address", &self.address)
            .field("state", &self.state)
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

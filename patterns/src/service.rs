//! A service: requests are taken, answered in any order by any thread, and accounted for until its end.
//!
//! ```
//! use std::time::Duration;
//! use ampe::{Engine, GroupOptions, Options};
//! use ampe_patterns::service::{Served, Service, Workers};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::start(Options::default())?;
//! let (group, mut inbox) = engine.group(GroupOptions::default())?;
//! group.listen(&"tcp://127.0.0.1:0".parse()?)?; // and more, if there are more
//! let mut service = Service::new(group.clone());
//!
//! let stopper = service.stopper(); // for the thread that waits for signals
//! # let asked = std::sync::Arc::new(std::sync::Mutex::new(Some(stopper.clone())));
//! let workers = Workers::start(4, move |request| {
//!     let answer = group.message().with_body(request.body()).expect("it came in one message");
//!     request.reply(answer); // a request that is dropped is refused
//! #   if let Some(stopper) = asked.lock().unwrap().take() { stopper.drain(Duration::from_secs(60)) }
//! })?;
//! let account = loop {
//!     match service.recv(&mut inbox)? {
//!         Served::Listening(it) => {
//!             println!("listening on {}", it.address());
//! #           let address = it.address().clone();
//! #           std::thread::spawn(move || {
//! #               let engine = Engine::start(Options::default()).unwrap();
//! #               let (group, inbox) = engine.group(GroupOptions::default()).unwrap();
//! #               let channel = group.connect(&address).unwrap();
//! #               let deadline = std::time::Instant::now() + Duration::from_secs(60);
//! #               group.call(channel, group.message(), deadline).wait().unwrap();
//! #               inbox.close(Duration::from_secs(1));
//! #           });
//!         }
//!         Served::Hello(hello) => service.accept(hello), // or `service.post(hello.refuse("..."))`
//!         Served::Request(request) => workers.hand(request),
//!         Served::Gone(client) => println!("{client}"),
//!         Served::Drained(account) => break account,
//!         _ => {}
//!     }
//! };
//! println!("{account}");
//! # assert_eq!((account.taken, account.answered, account.returned), (1, 1, 0));
//! # Ok(()) }
//! ```
//!
//! # What becomes of a request
//!
//! One that comes is *taken*, and then *answered* or *refused*, once. It is refused by who took it, or by the service:
//! because more are being worked on than [`ServiceOptions::taken`], because the service is ending, or because
//! the [`Taken`] was dropped without an answer, as when its worker panics. An answer that its client does not get, since it
//! has gone, is *returned*. The [`ServiceAccount`] has all of these, at any time and at the end, and what is not answered yet.
//!
//! A goodbye of a client's waits until its requests are answered, so that it has all its answers before.
//!
//! # A client that does not take its answers
//!
//! Answers for which there is no room wait in the service, and delay nobody else. A client is let go, with a
//! ByeSignal that says why, once more than [`ServiceOptions::answer_bytes`] wait for it, or once
//! there was no room for [`ServiceOptions::patience`]. One that reads nothing at all will not hear
//! the reason, as its connection is full, and sees a reset; [`Gone::let_go`] tells it here.
//! Let [`Options::outbound_bytes`](ampe::Options::outbound_bytes) be no smaller than what all clients may have queued
//! together, so that those who do not read hold up nobody else.
//!
//! # The end
//!
//! [`Stopper::drain`] may be called by any thread, such as one that waits for signals, but not in a signal's handler: it
//! takes a lock. The service stops listening, refuses
//! what still comes, answers what it took, says goodbye to each client behind its answers, and is drained when all have
//! gone; at the deadline it lets go who is left, and a second later it is drained in any case. A request that crosses the goodbye cannot be answered any more. It is
//! refused nonetheless: a call that ends with [`Reason::Bye`](ampe::Reason::Bye) was not acted on by a service like this, and
//! may be made again, to another. Clients have to receive from their inboxes to see a goodbye, and to answer it.
//!
//! # Memory
//!
//! Requests that are worked on hold the engine's inbound budget, so that they take no more than that; a record of some
//! 100 bytes for each client; and for each client that reads slowly up to [`ServiceOptions::answer_bytes`].

mod state;
mod workers;

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ampe::{
    ChannelGroup, Closed, Ended, Event, Hello, Inbox, Listening, Message, Post, Received, Request,
};

use self::state::State;
use crate::nudge::Nudge;
use crate::time::after;

pub use self::workers::Workers;

/// The limits of a [`Service`]. Start from the default and change what matters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServiceOptions {
    /// How many requests may be worked on at a time. What comes beyond that is refused: "busy". Default 10,000.
    pub taken: usize,
    /// How many bytes of answers may wait for one client, beyond what the engine has queued for it; each answer counts
    /// with its length and 912 bytes. Default 16 MiB.
    pub answer_bytes: usize,
    /// How long answers may wait for a client. Within this time it has to take so much of what the engine has
    /// queued for it that there is room for more: half of
    /// [`outbound_bytes_per_channel`](ampe::Options::outbound_bytes_per_channel). Default 10 s.
    pub patience: Duration,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        ServiceOptions {
            taken: 10_000,
            answer_bytes: 16 << 20,
            patience: Duration::from_secs(10),
        }
    }
}

/// What became of the requests of a [`Service`]: `taken = answered + refused + unanswered`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceAccount {
    /// Requests that came from clients that were accepted.
    pub taken: u64,
    /// Of these, those that were answered.
    pub answered: u64,
    /// Of those taken, those that were refused, by whoever took them or by the service.
    pub refused: u64,
    /// Of those taken, those that are still worked on.
    pub unanswered: u64,
    /// Answers and refusals that were not sent: their clients had gone, or did not read.
    pub returned: u64,
    /// Clients that were accepted.
    pub clients: u64,
    /// Of these, those that were let go: for not taking their answers, or at the end's deadline.
    pub let_go: u64,
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServiceAccount {
            taken,
            answered,
            refused,
            unanswered,
            returned,
            clients,
            let_go,
        } = self;
        write!(
            formatter,
            "{taken} requests taken, {answered} answered, {refused} refused, {unanswered} unanswered; \
             {returned} answers returned; {clients} clients, {let_go} let go"
        )
    }
}

/// Takes the requests of a group, and sees their answers to their clients.
///
/// It has the group for itself. Whatever listens there is the service's: call
/// [`ChannelGroup::listen`], `listen_with` or `listen_on` as often as there are addresses.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
}

/// What a [`Service`] shares with those who answer.
#[derive(Debug)]
struct Shared {
    group: ChannelGroup,
    state: Mutex<State>,
    nudge: Nudge,
}

/// What an event means to a [`Service`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Served {
    /// It listens there.
    Listening(Listening),
    /// It cannot listen, or can no longer.
    NotListening(Closed),
    /// A client: [`accept`](Service::accept) it, or post a refusal. Requests of one that was not accepted are not
    /// taken.
    Hello(Hello),
    /// A request that is to be answered. A service is not for requests in parts: each part would be taken by itself, and
    /// answered.
    Request(Taken),
    /// A client has gone.
    Gone(Gone),
    /// The service has ended: see [`Stopper::drain`]. Said by [`recv`](Service::recv) alone, and whenever it is
    /// called from then on.
    Drained(ServiceAccount),
    /// Another event.
    Other(Event),
}

/// The end of a client's connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct Gone {
    /// Why it ended, and the account of its messages.
    pub closed: Closed,
    /// Its requests that are still worked on, whose answers will be for nobody.
    pub unanswered: usize,
    /// Why the service let it go, if it did.
    pub let_go: Option<&'static str>,
}

impl fmt::Display for Gone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.closed.fmt(formatter)?;
        match self.let_go {
            Some(why) => write!(formatter, "; let go: {why}"),
            None => Ok(()),
        }
    }
}

impl Service {
    /// A service of a group, with the default limits.
    pub fn new(group: ChannelGroup) -> Service {
        Service::with_options(group, ServiceOptions::default())
    }

    /// A service of a group.
    pub fn with_options(group: ChannelGroup, options: ServiceOptions) -> Service {
        let shared = Shared {
            state: Mutex::new(State::new(group.clone(), options)),
            nudge: Nudge::new(group.clone()),
            group,
        };
        Service {
            shared: Arc::new(shared),
        }
    }

    /// Accepts a client, without content.
    pub fn accept(&mut self, hello: Hello) {
        let message = self.shared.group.message();
        self.accept_with(hello, message);
    }

    /// Accepts a client, with this content.
    pub fn accept_with(&mut self, hello: Hello, message: Message) {
        self.shared.lock().accept(hello, message);
    }

    /// Posts to a client, behind the answers that wait for it: a Signal, or the refusal of its hello. A client for
    /// whom too much waits is let go. What cannot be posted since its channel has ended is dropped.
    pub fn post(&mut self, post: Post) {
        self.shared.lock().post(post);
    }

    /// What any thread ends this service with.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            shared: Arc::clone(&self.shared),
        }
    }

    /// What became of the requests so far.
    pub fn account(&self) -> ServiceAccount {
        self.shared.lock().account()
    }

    /// The final account, once the service has ended.
    pub fn drained(&self) -> Option<ServiceAccount> {
        self.shared.lock().drained(ampe::now())
    }

    /// When [`advance`](Service::advance) is to be called, though no event has come.
    pub fn due(&self) -> Option<Instant> {
        self.shared.lock().due()
    }

    /// Lets go who has kept answers waiting for too long, and at the end's deadline everybody.
    pub fn advance(&mut self, now: Instant) {
        self.shared.lock().advance(now);
    }

    /// Says what an event means, and does what is to be done about it; `None` if it is the service's own affair.
    pub fn observe(&mut self, event: Event) -> Option<Served> {
        match event {
            Event::Request(request) => self.take(request),
            Event::Notified(it) if self.shared.nudge.is_ours(&it) => None,
            event => self.shared.lock().observe(event),
        }
    }

    fn take(&mut self, request: Request) -> Option<Served> {
        match self.shared.lock().take(request) {
            Ok(request) => request.map(|request| {
                Served::Request(Taken {
                    request: Some(request),
                    shared: Arc::clone(&self.shared),
                })
            }),
            Err(stranger) => Some(Served::Other(Event::Request(stranger))),
        }
    }

    /// The next event, with what it means.
    ///
    /// # Errors
    ///
    /// [`Ended`], once all events of the inbox were received and none will come.
    pub fn recv(&mut self, inbox: &mut Inbox) -> Result<Served, Ended> {
        loop {
            let due = {
                let now = ampe::now();
                let mut state = self.shared.lock();
                state.advance(now);
                if let Some(account) = state.drained(now) {
                    return Ok(Served::Drained(account));
                }
                state.due()
            };
            let event = match due {
                Some(due) => inbox.recv_until(due)?,
                None => Some(inbox.recv()?),
            };
            if let Some(served) = event.and_then(|event| self.observe(event)) {
                return Ok(served);
            }
        }
    }
}

/// Ends a [`Service`] in good order, from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    shared: Arc<Shared>,
}

impl Stopper {
    /// Has the service take no more, answer what it took, and say goodbye; and at the latest when `within` has passed, let
    /// go who is left. It is drained once they have gone, and a second later in any case. Called again it can bring that
    /// forward. It returns at once; [`Served::Drained`] says when it has come about. A listener that is about to listen then
    /// is told of by [`Served::Listening`] all the same, and ends.
    pub fn drain(&self, within: Duration) {
        let deadline = after(ampe::now(), within);
        self.shared.lock().begin_to_drain(deadline);
        self.shared.nudge.nudge();
    }
}

/// A request that was taken, and is to be answered: by any thread, at any time, in any order. Dropped, it is refused.
#[must_use = "a request that is dropped is refused"]
pub struct Taken {
    /// There until it is answered.
    request: Option<Request>,
    shared: Arc<Shared>,
}

impl Taken {
    /// Answers. This does not wait, whether its client reads or not.
    pub fn reply(self, message: Message) {
        self.answer(|request| (request.reply(message), false));
    }

    /// Answers with the very content that came.
    pub fn echo(self) {
        self.answer(|request| (request.echo(), false));
    }

    /// Refuses, as [`Request::refuse`] does.
    pub fn refuse(self, why: &str) {
        self.answer(|request| (request.refuse(why), true));
    }

    fn answer(mut self, make: impl FnOnce(Request) -> (Post, bool)) {
        if let Some(request) = self.request.take() {
            let (post, is_refusal) = make(request);
            self.shared.answer(post, is_refusal);
        }
    }
}

impl Deref for Taken {
    type Target = Received;

    fn deref(&self) -> &Received {
        self.request.as_ref().expect("it is answered only once")
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            let refusal = request.refuse("nobody answered it");
            self.shared.answer(refusal, true);
        }
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Taken")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked did so in code of its own: nothing in here panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, post: Post, is_refusal: bool) {
        let needs_a_look = self.lock().answer(post, is_refusal);
        if needs_a_look {
            self.nudge.nudge();
        }
    }
}

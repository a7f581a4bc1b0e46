//! The side of a worker.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ampe::{
    Address, ChannelGroup, Ended, Event, Inbox, Message, Outbox, Peer, Post, Received, Request,
};

use super::{CREDIT, LEAVING, MAYBE_TWICE, NOT_BEGUN, YES};
use crate::ids::number_of;
use crate::nudge::Nudge;
use crate::{Dialed, Dialer, Down, Pauses};

/// Does jobs of a [`WorkQueue`](super::WorkQueue): connects to it, again and again, and leaves in good order.
#[derive(Debug)]
pub struct Worker {
    dialer: Dialer,
    shared: Arc<Shared>,
    has_said_so: bool,
}

/// What a worker shares with its jobs.
#[derive(Debug)]
struct Shared {
    group: ChannelGroup,
    outbox: Mutex<Outbox>,
    is_leaving: AtomicBool,
    nudge: Nudge,
}

/// What an event means to a [`Worker`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Working {
    /// It is connected.
    Up(Peer),
    /// The connection ended, or none came about; it is dialled again, unless the worker leaves. The jobs of that
    /// connection are the queue's again: what is still said of them is said to nobody. With
    /// [`Reason::Bye`](ampe::Reason::Bye) the queue has dismissed its workers.
    Down(Down),
    /// A job to do.
    Job(Job),
    /// It has left. Said by [`recv`](Worker::recv) alone, and whenever it is called from then on.
    Left,
    /// Another event.
    Other(Event),
}

impl Worker {
    /// A worker that asks for so many jobs at hand at most, which is 1 at least. It is the queue that keeps to it.
    pub fn new(group: ChannelGroup, address: Address, credit: usize) -> Worker {
        let credit = credit.max(1).to_string();
        let dialer = Dialer::new(group.clone(), address)
            .with_hello(move |hello| say(hello, CREDIT, &credit));
        let shared = Shared {
            // As many wait there at most as the queue has given it.
            outbox: Mutex::new(Outbox::new(group.clone(), usize::MAX)),
            is_leaving: AtomicBool::new(false),
            nudge: Nudge::new(group.clone()),
            group,
        };
        Worker {
            dialer,
            shared: Arc::new(shared),
            has_said_so: false,
        }
    }

    /// Sets the pauses between attempts to connect.
    #[must_use = "the worker is returned"]
    pub fn with_pauses(mut self, pauses: Pauses) -> Worker {
        self.dialer = self.dialer.with_pauses(pauses);
        self
    }

    /// What any thread has this worker leave with.
    pub fn leaver(&self) -> Leaver {
        Leaver {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Whether it has left: see [`Leaver::leave`].
    pub fn has_left(&self) -> bool {
        self.is_leaving() && self.dialer.due().is_some()
    }

    /// When [`advance`](Worker::advance) is to be called, though no event has come.
    pub fn due(&self) -> Option<Instant> {
        self.dialer.due().filter(|_| !self.is_leaving())
    }

    /// Dials, if it is time.
    pub fn advance(&mut self, now: Instant) {
        if !self.is_leaving() {
            self.dialer.dial_if_due(now);
        }
    }

    /// The next event, with what it means; dials meanwhile whenever it is time.
    ///
    /// # Errors
    ///
    /// [`Ended`], once all events of the inbox were received and none will come.
    pub fn recv(&mut self, inbox: &mut Inbox) -> Result<Working, Ended> {
        loop {
            self.advance(ampe::now());
            if self.has_left() {
                return Ok(Working::Left);
            }
            let event = match self.due() {
                Some(due) => inbox.recv_until(due)?,
                None => Some(inbox.recv()?),
            };
            if let Some(working) = event.and_then(|event| self.observe(event)) {
                return Ok(working);
            }
        }
    }

    /// Says what an event means, and does what is to be done about it; `None` if it is the worker's own affair.
    pub fn observe(&mut self, event: Event) -> Option<Working> {
        // What cannot be said any more, the queue finds out by itself.
        drop(self.shared.lock().observe(&event));
        self.say_so();
        let is_ours = event.channel().is_some() && event.channel() == self.dialer.channel();
        match event {
            Event::Notified(it) if self.shared.nudge.is_ours(&it) => None,
            Event::Request(request) if is_ours => self.take(request),
            Event::Bye(bye) if is_ours => {
                // Behind all that was said of jobs.
                self.shared.post(bye.answer(self.shared.group.message()));
                None
            }
            event => Some(match self.dialer.observe(event) {
                Dialed::Up(peer) => {
                    self.has_said_so = false;
                    self.say_so();
                    Working::Up(peer)
                }
                Dialed::Down(down) => Working::Down(down),
                Dialed::Other(event) => Working::Other(event),
            }),
        }
    }

    fn take(&mut self, request: Request) -> Option<Working> {
        let job = Job {
            request: Some(request),
            shared: Arc::clone(&self.shared),
        };
        if self.is_leaving() {
            job.give_back();
            return None;
        }
        Some(Working::Job(job))
    }

    fn is_leaving(&self) -> bool {
        self.shared.is_leaving.load(Ordering::Acquire)
    }

    /// Says to the queue that it leaves, once.
    fn say_so(&mut self) {
        if let Some(channel) = self.dialer.channel()
            && self.is_leaving()
            && !std::mem::replace(&mut self.has_said_so, true)
        {
            let words = say(self.shared.group.message(), LEAVING, YES);
            self.shared.post(words.signal(channel));
        }
    }
}

/// A header of ours, in a message without many others.
fn say(message: Message, name: &str, value: &str) -> Message {
    let said = message.with_header(name, value);
    said.expect("it is short and in order")
}

/// Has a [`Worker`] leave, from any thread.
#[derive(Clone, Debug)]
pub struct Leaver {
    shared: Arc<Shared>,
}

impl Leaver {
    /// Has the worker tell the queue that it wants no more. What it has at hand is to be done, or
    /// [given back](Job::give_back); what comes nonetheless is given back by itself. Once the queue has said goodbye, or the
    /// connection has ended otherwise, the worker has left: [`Working::Left`].
    pub fn leave(&self) {
        self.shared.is_leaving.store(true, Ordering::Release);
        self.shared.nudge.nudge();
    }
}

/// A job that is to be done, by any thread. Dropped, it has failed.
#[must_use = "a job that is dropped has failed"]
pub struct Job {
    /// There until it was said what became of it.
    request: Option<Request>,
    shared: Arc<Shared>,
}

impl Job {
    /// Its number, as its queue knows it: what [`WorkQueue::add`](super::WorkQueue::add) gave.
    pub fn id(&self) -> u64 {
        let id = Received::id(self);
        number_of(id).unwrap_or(id)
    }

    /// Whether another worker may have done it: see [`MAYBE_TWICE`].
    pub fn is_maybe_twice(&self) -> bool {
        self.text_headers().get(MAYBE_TWICE).is_some()
    }

    /// Says that it is done, and what came of it. This does not wait.
    pub fn done(mut self, answer: Message) {
        if let Some(request) = self.request.take() {
            self.shared.post(request.reply(answer));
        }
    }

    /// Says that it cannot be done, by nobody, and why.
    pub fn failed(mut self, why: &str) {
        if let Some(request) = self.request.take() {
            self.shared.post(request.refuse(why));
        }
    }

    /// Gives it back, for another to do. Only for a job that was not begun: that other will not be told that it may
    /// have been done. While no other worker has credit this one gets it again, at once, unless it
    /// [leaves](Leaver::leave).
    pub fn give_back(mut self) {
        if let Some(request) = self.request.take() {
            let words = say(self.shared.group.message(), NOT_BEGUN, YES);
            self.shared.post(request.reply(words));
        }
    }
}

impl Deref for Job {
    type Target = Received;

    fn deref(&self) -> &Received {
        self.request.as_ref().expect("its end is said only once")
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            self.shared.post(request.refuse("its worker dropped it"));
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Job")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Outbox> {
        // Nothing in here panics half way.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Posts behind what waits. Where the connection has ended, the queue knows of it.
    fn post(&self, post: Post) {
        let refused = self.lock().post(post);
        drop(refused);
    }
}

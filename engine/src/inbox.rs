//! A channel group's receiving side, which one thread has.

mod readiness;
mod task;
mod unread;

use std::future::Future;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::between::mailbox::Taken;
use crate::clock;
use crate::error::Ended;
use crate::event::{AnswerBye, Decide, Event, Returned};
use crate::handles::{GroupShared, Shared, reactor_thread};
use crate::options::{DROP_WITHIN, after};
use crate::storage::{give_back_dropped, keep_dropped};

pub use self::readiness::Readiness;
pub use self::task::Recv;
#[cfg(test)]
pub(crate) use self::unread::UNPACKED_MOST;
use self::unread::Unread;

/// The receiving side of a group: what happens on its channels, as events.
///
/// There is one for each group, and receiving needs `&mut`, so two threads cannot receive from the
/// same group by accident.
///
/// **Dropping it closes the group** as [`close`](Inbox::close) does within one second: what was posted
/// is sent, as far as the peers read it in that time, and the rest is dropped together with all that
/// was not received. The drop blocks meanwhile, mostly for well under a millisecond, for the whole
/// second where a peer does not read or does not close its side. Call [`close`](Inbox::close), or
/// [`close_async`](Inbox::close_async) in a task, wherever it matters what became of the messages.
#[must_use = "dropping an inbox closes its group"]
pub struct Inbox {
    shared: Arc<Shared>,
    group: Arc<GroupShared>,
    unread: Unread,
    /// A task receives.
    is_task: bool,
    /// What the loop of somebody else waits for.
    readiness: Option<Arc<Readiness>>,
    /// That is lowered, and raised by what comes.
    is_loop_waiting: bool,
    is_closed: bool,
    /// A task closes the group within this time, and has not received all that is left.
    closing_task: Option<Duration>,
}

/// A report's messages are not charged up to so much at least.
const REPORT_BYTES: usize = 64 << 20;

/// What was left when a group was closed.
///
/// Its messages are the application's: they are charged to no inbound budget, so that the group's
/// channels go on receiving until their peers have ended. That holds for
/// [`inbound_bytes`](crate::Options::inbound_bytes) of them, or 64 MiB if that is more. What comes
/// beyond that stays charged, and peers are read from as far as the budget goes: one that floods a
/// closing group fills no more memory than this.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct CloseReport {
    /// Messages that were not sent, in the order of their channels' ends.
    pub returned: Vec<Returned>,
    /// Everything else that was not received before, in order: among it the `Closed` event of every
    /// channel that the group still had.
    pub unread: Vec<Event>,
}

impl Inbox {
    pub(crate) fn new(shared: Arc<Shared>, group: Arc<GroupShared>) -> Self {
        Inbox {
            shared,
            group,
            unread: Unread::default(),
            is_task: false,
            readiness: None,
            is_loop_waiting: false,
            is_closed: false,
            closing_task: None,
        }
    }

    /// The next event, waiting for it as long as it takes. If no other thread does, this one makes the
    /// reactor's passes meanwhile, for all groups of the engine, and without any lock of the application's.
    ///
    /// # Errors
    ///
    /// [`Ended`], once all events were received and none will come.
    ///
    /// # Panics
    ///
    /// Panics in a waker that an engine calls, if there is no event: the thread that would have to
    /// bring one is the one that would wait.
    #[doc(alias = "nng_recvmsg")]
    #[doc(alias = "waitReceive")]
    #[doc(alias = "zmq_recv")]
    #[doc(alias = "zmq_msg_recv")]
    #[doc(alias = "nng_recv")]
    #[doc(alias = "PULL")]
    pub fn recv(&mut self) -> Result<Event, Ended> {
        self.fill_waiting()?;
        Ok(self.pop_taken())
    }

    /// The next event; `None` if none came until `deadline`. In a waker that an engine calls, this does
    /// not wait.
    ///
    /// # Errors
    ///
    /// As [`recv`](Inbox::recv).
    #[doc(alias = "ZMQ_RCVTIMEO")]
    #[doc(alias = "NNG_OPT_RECVTIMEO")]
    #[doc(alias = "zmq_poll")]
    #[doc(alias = "recv_timeout")]
    pub fn recv_until(&mut self, deadline: Instant) -> Result<Option<Event>, Ended> {
        self.next(Some(deadline))
    }

    /// The next event if there is one already.
    ///
    /// # Errors
    ///
    /// As [`recv`](Inbox::recv).
    pub fn try_recv(&mut self) -> Result<Option<Event>, Ended> {
        if let Some(readiness) = &self.readiness {
            return self.try_recv_for(&Arc::clone(readiness));
        }
        self.next(Some(Instant::now()))
    }

    /// What an earlier call has left of a batch, or else all events that have come, waiting for the first
    /// as long as it takes: a batch costs one lock. They are taken out one by one; what is not taken stays in
    /// the inbox, in its order, for the next call of any of these methods.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = ampe::Engine::start(ampe::Options::default())?;
    /// # let (group, mut inbox) = engine.group(ampe::GroupOptions::default())?;
    /// # group.notify(engine.message())?;
    /// for event in inbox.recv_many()? {
    ///     if let ampe::Event::Signal(signal) = event {
    ///         println!("{} bytes", signal.body().len());
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`recv`](Inbox::recv).
    ///
    /// # Panics
    ///
    /// As [`recv`](Inbox::recv).
    pub fn recv_many(&mut self) -> Result<Events<'_>, Ended> {
        self.fill_waiting()?;
        self.begin_batch();
        Ok(Events {
            inbox: self,
            fetched: 0,
            _is_of_this_thread: PhantomData,
        })
    }

    /// What this thread drops is given back together, until it has taken the last event that there is.
    pub(crate) fn begin_batch(&self) {
        keep_dropped(self.unread.last_storage());
    }

    /// The events, one after the other, waiting for each, until none will come.
    pub fn iter(&mut self) -> impl Iterator<Item = Event> {
        std::iter::from_fn(|| self.recv().ok())
    }

    fn next(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, Ended> {
        self.fill(deadline)?;
        Ok(self.pop())
    }

    /// Sees to it that an event has been taken from the mailbox. Returns whether there is one.
    fn fill(&mut self, deadline: Option<Instant>) -> Result<bool, Ended> {
        if !self.unread.is_empty() {
            return Ok(true);
        }
        if self.is_task && deadline.is_none_or(|deadline| deadline > Instant::now()) {
            self.leave_task(); // here is a thread that waits
        }
        let deadline = if reactor_thread::is_here() {
            Some(Instant::now())
        } else {
            deadline
        };
        let taken = &mut self.unread.deliveries;
        let group = &self.group;
        match self
            .shared
            .receive(group.id, &group.mailbox, taken, deadline)
        {
            Taken::Events => Ok(true),
            Taken::Nothing | Taken::Offer => Ok(false),
            Taken::Ended(reason) => Err(reason),
        }
    }

    /// The same, waiting for one as long as it takes.
    fn fill_waiting(&mut self) -> Result<(), Ended> {
        // Without a deadline a wait brings an event or an end.
        while !self.fill(None)? {
            assert!(
                !reactor_thread::is_here(),
                "nobody may wait for an event here: this is a waker that an engine calls, or a simulation; await it there"
            );
        }
        Ok(())
    }

    /// The next of the events that were taken from the mailbox.
    #[inline]
    fn pop(&mut self) -> Option<Event> {
        match self.unread.pop_message() {
            Some(event) => Some(event),
            None => self.pop_with_all(),
        }
    }

    /// The same, with all that the taking of it sets off.
    fn pop_with_all(&mut self) -> Option<Event> {
        let mut event = self.unread.pop()?;
        if self.unread.is_empty() {
            give_back_dropped();
            self.shared.note_received();
        }
        if !event.is_frequent() {
            on_taken(&self.shared, &self.group, &mut event);
        }
        Some(event)
    }

    /// The next of them, where there is one.
    fn pop_taken(&mut self) -> Event {
        self.pop().expect("the mailbox had some")
    }

    /// Closes the group: listeners end, nothing more can be posted, what was posted is sent as far
    /// as `within` allows, and every channel ends. Returns when that is done, at the latest one pass
    /// of the reactor after `within`, with what was not sent and what was not received.
    ///
    /// A goodbye that a peer said is answered, as by dropping its [`Event::Bye`], if it had come
    /// when this was called. A peer whose goodbye comes later finds the end of the stream in the
    /// place of an answer: nothing more is sent then.
    ///
    /// It ends as soon as there is nothing left to send and every peer has closed its side, as ours
    /// do when their group ends. What peers sent before that is in the report, however much had
    /// not been received.
    ///
    /// It blocks; a task of an asynchronous runtime awaits [`close_async`](Inbox::close_async).
    ///
    /// A message that was sent may still not have reached its peer's application. Where that
    /// matters, end each channel by a Bye first.
    ///
    /// In a waker that an engine calls, this does not wait: the report has what had come by then, and
    /// what comes later is dropped.
    #[doc(alias = "zmq_ctx_shutdown")]
    #[doc(alias = "zmq_close")]
    #[doc(alias = "nng_close")]
    #[doc(alias = "ZMQ_LINGER")]
    pub fn close(mut self, within: Duration) -> CloseReport {
        let mut report = CloseReport::default();
        let mut uncharged = self.shared.options.inbound_bytes.max(REPORT_BYTES);
        self.close_and(within, |event| report.add(event, &mut uncharged));
        report
    }

    /// As [`close`](Inbox::close), in a task. Dropping the future closes the group all the same, within the
    /// same time, and drops what would have been in the report; it does not block.
    pub fn close_async(
        mut self,
        within: Duration,
    ) -> impl Future<Output = CloseReport> + Send + 'static {
        self.closing_task = Some(within); // also where the future is dropped before it was polled
        async move {
            let (mut inbox, mut report) = (self, CloseReport::default());
            let mut uncharged = inbox.shared.options.inbound_bytes.max(REPORT_BYTES);
            inbox.begin_close(within);
            while let Ok(event) = inbox.recv_async().await {
                report.add(event, &mut uncharged);
            }
            inbox.closing_task = None;
            report
        }
    }

    /// Closes the group: from now on what is left of it comes. Returns false if that was begun before.
    fn begin_close(&mut self, within: Duration) -> bool {
        if std::mem::replace(&mut self.is_closed, true) {
            return false;
        }
        self.shared.leave_calls(&self.group);
        let deadline = after(clock::now(), within);
        self.shared
            .close_group(&self.group, deadline, &mut self.unread.deliveries);
        true
    }

    /// Closes the group and receives until it has ended.
    fn close_and(&mut self, within: Duration, mut take: impl FnMut(Event)) {
        if !self.begin_close(within) {
            return;
        }
        if reactor_thread::is_here() {
            self.group.abandon();
            self.group.mailbox.take_more(&mut self.unread.deliveries);
        }
        // Where it must not wait, this ends with what there is.
        while let Ok(Some(event)) = self.next(None) {
            take(event);
        }
    }
}

impl CloseReport {
    /// Adds what was left, uncharged as far as that goes.
    fn add(&mut self, mut event: Event, uncharged: &mut usize) {
        if let Some(message) = event.message_mut()
            && message.cost() <= *uncharged
        {
            *uncharged -= message.cost();
            message.storage_mut().release_inbound();
        }
        match event {
            Event::Returned(returned) => self.returned.push(returned),
            event => self.unread.push(event),
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        if let Some(within) = self.closing_task {
            self.begin_close(within);
            // Nobody receives what is still to come: it is left to the reactor.
            self.leave_task();
            self.group.abandon();
            self.group.mailbox.take_more(&mut self.unread.deliveries);
            while let Some(event) = self.pop() {
                drop_unanswered(event);
            }
            return;
        }
        self.close_and(DROP_WITHIN, drop_unanswered);
    }
}

/// Drops what came before a close, or behind it.
fn drop_unanswered(mut event: Event) {
    match &mut event {
        // Answered with the close, or too late for that.
        Event::Bye(bye) => bye.answer_on_drop.0 = None,
        Event::Incoming(incoming) => incoming.disarm(),
        _ => {}
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

/// The events that an inbox has got, from [`Inbox::recv_many`]. What is not taken from this iterator stays
/// in the inbox.
///
/// While a thread has it, what it drops of the connection from which the last message in it came is given back
/// together: 32 messages, or what is charged with 32 KiB, whichever comes first. All of it is given back with the last
/// event, when this is dropped, and in any call of an engine that blocks. Until then the inbound budget is as if that
/// connection had sent so much more. It stays with its thread; one that is given to
/// [`mem::forget`](std::mem::forget) leaves what was dropped with it until the thread receives again, or ends.
#[derive(Debug)]
pub struct Events<'a> {
    inbox: &'a mut Inbox,
    /// How many of the next have been fetched by the processor.
    fetched: usize,
    /// What is dropped meanwhile is kept by this thread, which has to give it back.
    _is_of_this_thread: PhantomData<*const ()>,
}

impl Drop for Events<'_> {
    fn drop(&mut self) {
        give_back_dropped();
    }
}

/// So many are fetched together, ahead of their being taken.
const FETCHED: usize = 32;

impl Iterator for Events<'_> {
    type Item = Event;

    #[inline]
    fn next(&mut self) -> Option<Event> {
        if self.fetched == 0 {
            self.fetched = self.inbox.unread.fetch(FETCHED);
        }
        self.fetched = self.fetched.saturating_sub(1);
        self.inbox.pop()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.inbox.unread.len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Events<'_> {}

impl FusedIterator for Events<'_> {}

/// What the taking of an event sets off: a number may be used again, a channel may be told of room
/// again, a Bye answers on drop and an Incoming refuses, a notification makes way for another.
fn on_taken(shared: &Arc<Shared>, group: &GroupShared, event: &mut Event) {
    match event {
        Event::Closed(closed) => {
            let channel = closed.channel;
            shared
                .queue
                .with_registry(|registry| group.forget(registry, channel));
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
        Event::Bye(bye) => {
            let engine: Arc<dyn AnswerBye> = Arc::clone(shared) as _;
            bye.answer_on_drop.0 = Some(Box::new(engine));
        }
        Event::Incoming(incoming) => incoming.arm(Arc::clone(shared) as Arc<dyn Decide>),
        Event::Notified(message) => group.mailbox.notification_taken(message.cost()),
        _ => {}
    }
}

#[cfg(test)]
mod tests;

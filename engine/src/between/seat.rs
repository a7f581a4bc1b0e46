//! The reactor's seat: who has the reactor makes its passes.
//!
//! A receiver that would sleep takes the seat and makes passes itself until its own event is there, so
//! that no other thread has to be woken for it. Where the seat is taken it lines up, and whoever leaves
//! the seat offers it to one who waits. The engine's own thread, the *stand-in*, takes the seat that
//! nobody else has taken for [`GRACE`], and at once where it is called.
//!
//! Where the system offers a [`Lookout`], the stand-in does not sit while there is nothing to do. It
//! watches: it sleeps until there is something for a pass, and then sits down, if the seat has been empty
//! for [`GRACE`]. So the seat is free for who posts or receives after a pause. While somebody sits, the
//! lookout is disarmed, as the same would wake two; who leaves the seat arms it again. Where the seat
//! changes hands often, that would cost more than to look each [`GRACE`], which the stand-in does then.
//!
//! A receiver may be a *task*, which must not block and makes no passes. Then the stand-in makes them without
//! delay, however short a while the seat has been empty. It watches all the same, so that the seat is free
//! when the task posts what it has to say.
//!
//! Or a task [makes passes](in_task) itself, in the place of the stand-in.
//!
//! Who posts takes the seat for a pass that only writes, if it is free: for its first post since it has received, and
//! where so much was posted that it is written best by who has it in its processor's cache.
//!
//! What was posted is never left lying: whoever posts [calls](Seat::call). A call that comes while
//! somebody sits is noted, and passed on to the stand-in when the seat is left, unless a pass has begun
//! since then, which finds what was posted. A call of the thread that left the seat last is left to
//! that thread, which is expected back to receive, and to the stand-in if it does not come.

use std::collections::{BTreeMap, VecDeque};
#[cfg(unix)]
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::decision::Decision;
use super::mailbox::{Mailbox, Taken};
use super::waiting::wake_all;
use crate::sync::{Arc, Condvar, Instant, Mutex, MutexGuard, decide, lock};

#[cfg_attr(
    not(unix),
    allow(dead_code, reason = "a runtime can watch no completion port")
)]
mod in_task;
mod stand_in;

use in_task::SeatTask;
#[cfg_attr(not(unix), allow(unused_imports, reason = "as said"))]
pub(crate) use in_task::{TASK, Turn};
pub(crate) use stand_in::Duty;
use stand_in::StandIn;

/// For so long at most the seat stays empty.
pub(crate) const GRACE: Duration = Duration::from_micros(900);

/// So often in a row the seat is left within [`HASTE`] before the stand-in looks again and again in place
/// of watching.
const HASTY_LEAVINGS: u32 = 8;

/// A seat that is left so soon after it was left before changes hands often.
const HASTE: Duration = Duration::from_micros(112);

/// A thread, among those that take and leave the seat.
pub(crate) type Sitter = u64;

/// The engine's own thread, and whoever is not expected back.
pub(crate) const NOBODY: Sitter = 0;

/// A receiver, of whatever kind of event: it waits for one, or for the seat if that is free sooner.
pub(crate) trait Receiver: Send + Sync {
    /// Offers it the seat. Returns whether it waits for one.
    fn offer(&self) -> bool;
}

impl<T: Send, E: Copy + Send> Receiver for Mailbox<T, E> {
    fn offer(&self) -> bool {
        Mailbox::offer(self)
    }
}

/// Names a receiver among those that wait.
pub(crate) type ReceiverId = u64;

/// Sees for the stand-in, which does not sit, that there is something for a pass.
pub(crate) trait Lookout: Send + Sync {
    /// Sleeps until it sees something, until it is woken, or until `until`. Returns whether it has seen
    /// something, by which it is disarmed; `None` where it cannot.
    fn wait(&self, until: Option<Instant>) -> Option<bool>;

    /// Has it see what there is, or the next that comes. Returns whether that could be done.
    fn arm(&self) -> bool;

    /// Has it see nothing.
    fn disarm(&self);

    /// Ends the wait that goes on, or else the next one.
    fn wake(&self);

    /// What another loop may watch: it is readable while there is something to see.
    #[cfg(unix)]
    fn watched(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Who needs the passes of a reactor, beside receivers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    Nobody,
    /// Tasks wait.
    Tasks,
    /// The engine stops, whoever comes.
    Stop,
}

/// How a reactor rests that nobody has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// A lookout does not see all that there is for a pass: somebody has to sit.
    Unseen,
    /// It does, but for what is due at this time.
    Until(Option<Instant>),
}

pub(crate) struct Seat<R: ?Sized> {
    state: Mutex<State<R>>,
    /// The stand-in sleeps here.
    stand_in: Condvar,
}

struct State<R: ?Sized> {
    /// Here while nobody sits.
    reactor: Option<Box<R>>,
    /// Receivers that sleep because somebody else sits.
    waiting: BTreeMap<ReceiverId, Arc<dyn Receiver>>,
    /// The stand-in is to sit down at once.
    is_called: bool,
    /// Somebody called since the last pass began.
    is_noted: bool,
    /// The thread that left the seat last has posted since then, and no pass has begun.
    is_expected: bool,
    /// Tasks are to be woken, by the stand-in.
    has_tasks: bool,
    /// When somebody left the seat who is expected back.
    left_at: Option<Instant>,
    left_by: Sitter,
    /// How the reactor was left.
    rest: Rest,
    /// When the seat was left, by whomever.
    paced_at: Option<Instant>,
    /// How often in a row that was soon after the time before.
    hasty: u32,
    lookout: Option<Arc<dyn Lookout>>,
    /// How many receivers are tasks, which make no passes: the stand-in makes them without delay, unless a
    /// task is there to make them.
    tasks: usize,
    /// The task that makes passes, if there is one.
    seat_task: Option<SeatTask>,
    /// The engine stops: its passes are the stand-in's.
    is_stopping: bool,
    is_armed: bool,
    /// When the stand-in that watches looks around at the latest.
    watches_until: Option<Instant>,
    /// How often the seat was taken.
    sittings: u64,
    stand_in: StandIn,
    /// The reactor has ended.
    is_over: bool,
}

impl<R: ?Sized> Seat<R> {
    /// A seat in which nobody can sit before there is a [reactor](Seat::furnish).
    pub(crate) fn new() -> Self {
        Seat {
            state: Mutex::new(State {
                reactor: None,
                waiting: BTreeMap::new(),
                is_called: false,
                is_noted: false,
                is_expected: false,
                has_tasks: false,
                left_at: None,
                left_by: NOBODY,
                rest: Rest::Unseen,
                paced_at: None,
                hasty: 0,
                lookout: None,
                tasks: 0,
                seat_task: None,
                is_stopping: false,
                is_armed: false,
                watches_until: None,
                sittings: 0,
                stand_in: StandIn::IsUp,
                is_over: false,
            }),
            stand_in: Condvar::new(),
        }
    }

    /// Brings the reactor, and what sees that there is something for it, if there is such a thing. Its
    /// first passes are the stand-in's.
    pub(crate) fn furnish(&self, reactor: Box<R>, lookout: Option<Arc<dyn Lookout>>) {
        let mut state = lock(&self.state);
        state.reactor = Some(reactor);
        state.lookout = lookout;
        state.is_called = true;
        self.rouse(state);
    }

    /// Takes the seat, if nobody sits.
    pub(crate) fn try_sit(&self) -> Option<Box<R>> {
        lock(&self.state).take()
    }

    /// Takes the events of a receiver into `into`, which must be empty, waiting until `deadline` for the
    /// first. If it would sleep it takes the seat and lets `sit` make passes, until there are events and
    /// the seat was left again, or waits where somebody else sits.
    pub(crate) fn receive<T: Send + 'static, E: Copy + Send + 'static>(
        &self,
        id: ReceiverId,
        mailbox: &Arc<Mailbox<T, E>>,
        into: &mut VecDeque<T>,
        deadline: Option<Instant>,
        mut sit: impl FnMut(Box<R>, &mut VecDeque<T>) -> Taken<E>,
    ) -> Taken<E> {
        if let Some(taken) = mailbox.take_now(into) {
            return taken;
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Taken::Nothing;
        }
        loop {
            let taken = match self.sit_or_line_up(id, mailbox) {
                Some(reactor) => sit(reactor, into),
                None => {
                    let taken = mailbox.take(into, deadline);
                    if !matches!(taken, Taken::Offer) {
                        self.wait_no_more(id);
                    }
                    taken
                }
            };
            if !matches!(taken, Taken::Offer) {
                return taken;
            }
        }
    }

    /// Takes the seat, or lines up for it: then the receiver waits for events or an offer, and says in
    /// the end that it [waits no more](Seat::wait_no_more).
    fn sit_or_line_up<T: Send + 'static, E: Copy + Send + 'static>(
        &self,
        id: ReceiverId,
        mailbox: &Arc<Mailbox<T, E>>,
    ) -> Option<Box<R>> {
        let mut state = lock(&self.state);
        let reactor = state.take();
        if reactor.is_some() {
            state.waiting.remove(&id);
            if state.stand_in == StandIn::Watches {
                state.set_armed(false); // what comes is found here
            }
        } else if !state.is_over {
            state.waiting.insert(id, Arc::clone(mailbox) as _);
        }
        reactor
    }

    /// A receiver that lined up goes on with something else. The seat may have been offered to it: then
    /// somebody else is asked.
    fn wait_no_more(&self, id: ReceiverId) {
        let mut state = lock(&self.state);
        let was_offered = state.waiting.remove(&id).is_none();
        let passes_on = decide(Decision::OfferIsPassedOn, was_offered);
        if passes_on && state.reactor.is_some() {
            state.hand_on();
            self.rouse(state);
        }
    }

    /// Whether the stand-in that sits is to leave: a receiver waits for the seat, whose thread is here to
    /// stay, so that a pass that it makes wakes nobody; or tasks receive, which write what they post if
    /// nobody sits, and a lookout sees when there is something to receive.
    pub(crate) fn is_wanted(&self) -> bool {
        let state = lock(&self.state);
        let writes = state.tasks > 0 && state.lookout.is_some();
        !state.waiting.is_empty() || writes || state.seat_task.is_some()
    }

    /// The same, whatever tasks do.
    pub(crate) fn is_wanted_by_receiver(&self) -> bool {
        !lock(&self.state).waiting.is_empty()
    }

    /// A receiver is a task from now on. Whoever sits is to make a pass behind this.
    pub(crate) fn serve_task(&self) {
        let mut state = lock(&self.state);
        state.tasks += 1;
        state.has_tasks = true; // so that the stand-in looks around, if it is up to it
        self.rouse(state);
    }

    /// A receiver that was a task is one no more.
    pub(crate) fn leave_task(&self) {
        lock(&self.state).tasks -= 1;
    }

    /// Whether the stand-in that sits goes on for others than receivers.
    pub(crate) fn is_needed(&self, need: Need) -> bool {
        need != Need::Nobody && lock(&self.state).keeps_stand_in(need)
    }

    /// A pass begins: it finds everything for which somebody called.
    pub(crate) fn begin_pass(&self) {
        let mut state = lock(&self.state);
        state.is_noted = false;
        state.is_expected = false;
    }

    /// Leaves the seat. The stand-in comes at once if something waits that no receiver stands for.
    pub(crate) fn leave(&self, reactor: Box<R>, sitter: Sitter, need: Need, rest: Rest) {
        let mut state = lock(&self.state);
        let now = Instant::now();
        state.note_pace(now);
        state.reactor = Some(reactor);
        state.left_by = sitter;
        state.rest = rest;
        state.is_stopping |= need == Need::Stop;
        state.is_noted |= state.keeps_stand_in(need);
        let is_offered = state.hand_on();
        state.left_at = (is_offered || sitter != NOBODY).then_some(now);
        self.rouse(state);
    }

    /// Has somebody make a pass soon.
    pub(crate) fn call(&self, sitter: Sitter) {
        let mut state = lock(&self.state);
        if state.reactor.is_none() {
            state.is_noted = decide(Decision::CallIsNoted, true);
        } else if state.expects(sitter) {
            state.is_expected = decide(Decision::ExpectedPostIsNoted, true);
            self.rouse(state);
        } else {
            state.is_called = true;
            self.rouse(state);
        }
    }

    /// Has the stand-in wake tasks.
    pub(crate) fn call_for_tasks(&self) {
        let mut state = lock(&self.state);
        state.has_tasks = true;
        self.rouse(state);
    }

    /// The reactor has ended: nobody sits down any more.
    pub(crate) fn end(&self, reactor: Box<R>) {
        let mut state = lock(&self.state);
        state.reactor = Some(reactor);
        state.is_over = true;
        state.waiting.clear();
        self.rouse(state);
    }

    /// Lets the lock go, and wakes the task that makes passes and the stand-in if there is something for them.
    fn rouse(&self, mut state: MutexGuard<'_, State<R>>) {
        let task = state.call_task();
        let needs_stand_in = state.stand_in != StandIn::IsUp && state.needs_stand_in();
        let roused = needs_stand_in.then(|| {
            // Whoever comes next need not wake it again.
            let before = std::mem::replace(&mut state.stand_in, StandIn::IsUp);
            (before, state.lookout.clone())
        });
        drop(state);
        match roused {
            Some((StandIn::Watches, Some(lookout))) => lookout.wake(),
            Some(_) => self.stand_in.notify_one(),
            None => {}
        }
        wake_all(task);
    }
}

impl<R: ?Sized> State<R> {
    /// Takes the seat, unless somebody has it.
    fn take(&mut self) -> Option<Box<R>> {
        if self.is_over {
            return None;
        }
        let reactor = self.reactor.take()?;
        // Who sits down need not make a pass: what is called for is seen to once one begins.
        let is_called = std::mem::take(&mut self.is_called);
        self.is_noted |= decide(Decision::CallOutlivesTaking, is_called);
        self.sittings += 1;
        Some(reactor)
    }

    /// Offers the empty seat to a receiver that waits for it, or calls the stand-in if it is needed.
    /// Returns whether somebody was offered it.
    fn hand_on(&mut self) -> bool {
        while let Some((_, receiver)) = self.waiting.pop_first() {
            if receiver.offer() {
                return true;
            }
        }
        self.is_called |= decide(Decision::NoteIsPassedOn, self.is_noted);
        false
    }

    /// For so long yet the seat is left to those who are expected.
    fn grace_left(&self) -> Duration {
        if self.serves_tasks() {
            return Duration::ZERO;
        }
        let Some(left_at) = self.left_at else {
            return Duration::ZERO;
        };
        GRACE.saturating_sub(Instant::now().saturating_duration_since(left_at))
    }

    /// Whether this thread has just left the seat and comes back to receive. Not where tasks receive: they make
    /// no passes, whatever thread they post in.
    fn expects(&self, sitter: Sitter) -> bool {
        let has_left = sitter != NOBODY && sitter == self.left_by;
        has_left && self.tasks == 0 && !self.grace_left().is_zero()
    }

    /// The seat is left: how soon after it was left before?
    fn note_pace(&mut self, now: Instant) {
        let before = self.paced_at.replace(now);
        let is_hasty = before.is_some_and(|at| now.saturating_duration_since(at) < HASTE);
        self.hasty = if is_hasty { self.hasty + 1 } else { 0 };
    }

    /// Whether it changes hands so often that watching costs more than looking. Where tasks receive, looks
    /// would come too late.
    fn is_hasty(&self) -> bool {
        self.hasty >= HASTY_LEAVINGS && !self.serves_tasks()
    }

    /// Whether the stand-in makes passes without delay, for tasks that make none.
    fn serves_tasks(&self) -> bool {
        self.tasks > 0 && self.seat_task.is_none()
    }

    /// Whether it makes them for others than receivers.
    fn keeps_stand_in(&self, need: Need) -> bool {
        match need {
            Need::Nobody => false,
            Need::Tasks => self.seat_task.is_none(),
            Need::Stop => true,
        }
    }
}

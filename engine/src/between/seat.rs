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
//! What was posted is never left lying: whoever posts [calls](Seat::call). A call that comes while
//! somebody sits is noted, and passed on to the stand-in when the seat is left, unless a pass has begun
//! since then, which finds what was posted. A call of the thread that left the seat last is left to
//! that thread, which is expected back to receive, and to the stand-in if it does not come.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::decision::Decision;
use super::mailbox::{Mailbox, Taken};
use crate::sync::{Arc, Condvar, Instant, Mutex, MutexGuard, PoisonError, decide, lock};

/// For so long at most the seat stays empty.
pub(crate) const GRACE: Duration = Duration::from_micros(900);

/// So often in a row the stand-in looks at a seat in which the same thread sits, before it sleeps until
/// the seat is left.
const LOOKS_BEFORE_SLEEP: u32 = 16;

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
}

/// How a reactor rests that nobody has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// A lookout does not see all that there is for a pass: somebody has to sit.
    Unseen,
    /// It does, but for what is due at this time.
    Until(Option<Instant>),
}

/// What the stand-in is to do.
pub(crate) enum Duty<R: ?Sized> {
    /// Make passes, and sleep in them.
    Sit(Box<R>),
    /// Make a pass that does not sleep, and leave the seat.
    Pass(Box<R>),
    /// Wake tasks that a pass of another thread has found.
    WakeTasks,
    /// Drop the reactor, which has ended.
    End(Box<R>),
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
    /// How many receivers are tasks, which make no passes: the stand-in makes them without delay.
    tasks: usize,
    is_armed: bool,
    /// When the stand-in that watches looks around at the latest.
    watches_until: Option<Instant>,
    /// How often the seat was taken.
    sittings: u64,
    stand_in: StandIn,
    /// The reactor has ended.
    is_over: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StandIn {
    /// It looks around before it sleeps, or sits.
    IsUp,
    /// It sleeps for a while at most.
    Naps,
    /// It sleeps until the seat is left.
    Sleeps,
    /// It sleeps until the lookout sees something.
    Watches,
}

/// What the stand-in knows when it looks around.
#[derive(Default)]
struct Look {
    /// How often the seat had been taken.
    sittings: u64,
    /// So often in a row the seat was found taken by the same.
    in_vain: u32,
    /// The seat changes hands often.
    is_hasty: bool,
    /// The lookout has seen something, and nobody has sat since then.
    has_seen: bool,
}

/// What the stand-in does next.
enum Next {
    Sit,
    Pass,
    Nap(Duration),
    Sleep,
    Watch(Option<Instant>),
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
        !state.waiting.is_empty() || (state.tasks > 0 && state.lookout.is_some())
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

    /// A pass begins: it finds everything for which somebody called.
    pub(crate) fn begin_pass(&self) {
        let mut state = lock(&self.state);
        state.is_noted = false;
        state.is_expected = false;
    }

    /// Leaves the seat. The stand-in comes at once if something waits that no receiver stands for.
    pub(crate) fn leave(&self, reactor: Box<R>, sitter: Sitter, calls_stand_in: bool, rest: Rest) {
        let mut state = lock(&self.state);
        let now = Instant::now();
        state.note_pace(now);
        state.reactor = Some(reactor);
        state.left_by = sitter;
        state.rest = rest;
        state.is_noted |= calls_stand_in;
        let is_offered = state.hand_on();
        state.left_at = (is_offered || sitter != NOBODY).then_some(now);
        self.rouse(state);
    }

    /// Has somebody make a pass soon.
    pub(crate) fn call(&self, sitter: Sitter) {
        let mut state = lock(&self.state);
        if state.reactor.is_none() {
            state.is_noted = decide(Decision::CallIsNoted, true);
        } else if sitter != NOBODY && sitter == state.left_by && !state.grace_left().is_zero() {
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

    /// The stand-in's side: sleeps until it has something to do.
    pub(crate) fn stand_in(&self) -> Duty<R> {
        let mut state = lock(&self.state);
        let mut look = Look {
            sittings: state.sittings,
            ..Look::default()
        };
        loop {
            if std::mem::take(&mut state.has_tasks) {
                return Duty::WakeTasks;
            }
            if state.is_over
                && let Some(reactor) = state.reactor.take()
            {
                return Duty::End(reactor);
            }
            let mut has_seen = look.has_seen;
            state = match state.next(&look) {
                Next::Sit => return Duty::Sit(state.take().expect("nobody sits")),
                Next::Pass => return Duty::Pass(state.take().expect("nobody sits")),
                Next::Nap(left) => self.nap(state, left),
                Next::Sleep => self.sleep(state),
                Next::Watch(until) => self.watch(state, until, &mut has_seen),
            };
            state.look_around(&mut look, has_seen);
        }
    }

    fn nap<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<R>>,
        left: Duration,
    ) -> MutexGuard<'a, State<R>> {
        state.announce(StandIn::Naps);
        let slept = self.stand_in.wait_timeout(state, left);
        let mut state = slept.unwrap_or_else(PoisonError::into_inner).0;
        state.stand_in = StandIn::IsUp;
        state
    }

    fn sleep<'a>(&'a self, mut state: MutexGuard<'a, State<R>>) -> MutexGuard<'a, State<R>> {
        state.announce(StandIn::Sleeps);
        let slept = self.stand_in.wait(state);
        let mut state = slept.unwrap_or_else(PoisonError::into_inner);
        state.stand_in = StandIn::IsUp;
        state
    }

    /// Sleeps until there is something for a pass, if nobody sits; else until the seat is left and there
    /// is something.
    fn watch<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<R>>,
        until: Option<Instant>,
        has_seen: &mut bool,
    ) -> MutexGuard<'a, State<R>> {
        let Some(lookout) = state.lookout.clone() else {
            return state;
        };
        let is_empty = state.reactor.is_some();
        if !state.set_armed(is_empty) {
            state.rest = Rest::Unseen;
            return state;
        }
        state.watches_until = until;
        state.announce(StandIn::Watches);
        drop(state);
        let seen = lookout.wait(until);
        let mut state = lock(&self.state);
        if seen.is_none() {
            state.lookout = None; // from now on the stand-in sleeps in the seat
        }
        *has_seen = seen == Some(true);
        state.stand_in = StandIn::IsUp;
        if *has_seen {
            state.is_armed = decide(Decision::WatchIsArmedAgain, false);
        }
        state
    }

    /// Lets the lock go, and wakes the stand-in if there is something for it.
    fn rouse(&self, mut state: MutexGuard<'_, State<R>>) {
        if state.stand_in == StandIn::IsUp || !state.needs_stand_in() {
            return;
        }
        // Whoever comes next need not wake it again.
        let before = std::mem::replace(&mut state.stand_in, StandIn::IsUp);
        let lookout = state.lookout.clone();
        drop(state);
        match lookout {
            Some(lookout) if before == StandIn::Watches => lookout.wake(),
            _ => self.stand_in.notify_one(),
        }
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
        if self.tasks > 0 {
            return Duration::ZERO;
        }
        let Some(left_at) = self.left_at else {
            return Duration::ZERO;
        };
        GRACE.saturating_sub(Instant::now().saturating_duration_since(left_at))
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
        self.hasty >= HASTY_LEAVINGS && self.tasks == 0
    }

    /// The stand-in has slept.
    fn look_around(&self, look: &mut Look, has_seen: bool) {
        let is_changed = self.sittings != look.sittings;
        let is_empty = self.reactor.is_some();
        look.sittings = self.sittings;
        look.is_hasty = is_changed && self.is_hasty();
        look.in_vain = if is_changed || is_empty {
            0
        } else {
            look.in_vain + 1
        };
        // What was seen before somebody sat was found there, or is seen again.
        look.has_seen = has_seen && is_empty && !is_changed;
    }

    /// What the stand-in does that knows this.
    fn next(&self, look: &Look) -> Next {
        if self.reactor.is_none() {
            return match self.lookout {
                Some(_) if !look.is_hasty => Next::Watch(None),
                None if look.in_vain > LOOKS_BEFORE_SLEEP => Next::Sleep,
                _ => Next::Nap(GRACE),
            };
        }
        let left = self.grace_left();
        let until = match self.rest {
            Rest::Until(until) if self.lookout.is_some() && !self.is_called => until,
            _ if self.is_called || left.is_zero() => return Next::Sit,
            _ => return Next::Nap(left),
        };
        let is_past = until.is_some_and(|until| until <= Instant::now());
        let is_due = look.has_seen || self.is_expected || is_past;
        match (left.is_zero(), is_due || look.is_hasty) {
            (true, _) if is_due => Next::Pass,
            (false, true) => Next::Nap(left),
            _ => Next::Watch(until),
        }
    }

    fn announce(&mut self, how: StandIn) {
        if decide(Decision::StandInIsAnnounced, true) {
            self.stand_in = how;
        }
    }

    /// Whether the stand-in, which sleeps, has to get up.
    fn needs_stand_in(&mut self) -> bool {
        if self.is_called || self.has_tasks || self.is_over {
            return true;
        }
        let is_empty = self.reactor.is_some();
        match self.stand_in {
            StandIn::Sleeps => is_empty,
            StandIn::Watches => is_empty && !self.is_watched(),
            StandIn::Naps => is_empty && self.tasks > 0,
            StandIn::IsUp => false,
        }
    }

    /// Whether the stand-in, which watches, learns in time by the lookout of what there will be for a
    /// pass, nobody having the reactor.
    fn is_watched(&mut self) -> bool {
        let Rest::Until(until) = self.rest else {
            return false;
        };
        let looks_before = |until| self.watches_until.is_some_and(|at| at <= until);
        let is_in_time = decide(Decision::WatchEndsInTime, until.is_none_or(looks_before));
        let is_due = !is_in_time || self.is_hasty() || self.is_expected;
        !is_due && (!decide(Decision::LeaverArmsWatch, true) || self.set_armed(true))
    }

    /// Arms or disarms the lookout. Returns whether it is as it should be, or at least sees enough.
    fn set_armed(&mut self, is_armed: bool) -> bool {
        if let Some(lookout) = &self.lookout
            && self.is_armed != is_armed
        {
            if !is_armed {
                lookout.disarm();
            } else if !lookout.arm() {
                return false;
            }
            self.is_armed = is_armed;
        }
        true
    }
}

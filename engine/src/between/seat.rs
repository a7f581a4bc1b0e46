//! The reactor's seat: who has the reactor makes its passes.
//!
//! A receiver that would sleep takes the seat and makes passes itself until its own event is there, so
//! that no other thread has to be woken for it. Where the seat is taken it lines up, and whoever leaves
//! the seat offers it to one who waits. The engine's own thread, the *stand-in*, takes the seat that
//! nobody else has taken for [`GRACE`], and at once where it is called.
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

/// A thread, among those that take and leave the seat.
pub(crate) type Sitter = u64;

/// The engine's own thread, and whoever is not expected back.
pub(crate) const NOBODY: Sitter = 0;

/// A receiver: it waits for events, or for the seat if that is free sooner.
pub(crate) trait Receiver {
    type Event;
    type End: Copy;

    fn mailbox(&self) -> &Mailbox<Self::Event, Self::End>;
}

/// What the stand-in is to do.
pub(crate) enum Duty<R: ?Sized> {
    /// Make passes.
    Sit(Box<R>),
    /// Wake tasks that a pass of another thread has found.
    WakeTasks,
    /// Drop the reactor, which has ended.
    End(Box<R>),
}

pub(crate) struct Seat<R: ?Sized, W> {
    state: Mutex<State<R, W>>,
    /// The stand-in sleeps here.
    stand_in: Condvar,
}

struct State<R: ?Sized, W> {
    /// Here while nobody sits.
    reactor: Option<Box<R>>,
    /// Receivers that sleep because somebody else sits, by their group.
    waiting: BTreeMap<u64, Arc<W>>,
    /// The stand-in is to sit down at once.
    is_called: bool,
    /// Somebody called since the last pass began.
    is_noted: bool,
    /// Tasks are to be woken, by the stand-in.
    has_tasks: bool,
    left_at: Option<Instant>,
    left_by: Sitter,
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
}

impl<R: ?Sized, W: Receiver> Seat<R, W> {
    /// A seat in which nobody can sit before there is a [reactor](Seat::furnish).
    pub(crate) fn new() -> Self {
        Seat {
            state: Mutex::new(State {
                reactor: None,
                waiting: BTreeMap::new(),
                is_called: false,
                is_noted: false,
                has_tasks: false,
                left_at: None,
                left_by: NOBODY,
                sittings: 0,
                stand_in: StandIn::IsUp,
                is_over: false,
            }),
            stand_in: Condvar::new(),
        }
    }

    /// Brings the reactor. Its first passes are the stand-in's.
    pub(crate) fn furnish(&self, reactor: Box<R>) {
        let mut state = lock(&self.state);
        state.reactor = Some(reactor);
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
    pub(crate) fn receive(
        &self,
        group: u64,
        receiver: &Arc<W>,
        into: &mut VecDeque<W::Event>,
        deadline: Option<Instant>,
        mut sit: impl FnMut(Box<R>, &mut VecDeque<W::Event>) -> Taken<W::End>,
    ) -> Taken<W::End> {
        if let Some(taken) = receiver.mailbox().take_now(into) {
            return taken;
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Taken::Nothing;
        }
        loop {
            let taken = match self.sit_or_line_up(group, receiver) {
                Some(reactor) => sit(reactor, into),
                None => {
                    let taken = receiver.mailbox().take(into, deadline);
                    if !matches!(taken, Taken::Offer) {
                        self.wait_no_more(group);
                    }
                    taken
                }
            };
            if !matches!(taken, Taken::Offer) {
                return taken;
            }
        }
    }

    /// Takes the seat, or lines up for it: then `receiver` waits for events or an offer, and says in
    /// the end that it [waits no more](Seat::wait_no_more).
    fn sit_or_line_up(&self, group: u64, receiver: &Arc<W>) -> Option<Box<R>> {
        let mut state = lock(&self.state);
        let reactor = state.take();
        if reactor.is_some() {
            state.waiting.remove(&group);
        } else if !state.is_over {
            state.waiting.insert(group, Arc::clone(receiver));
        }
        reactor
    }

    /// A receiver that lined up goes on with something else. The seat may have been offered to it: then
    /// somebody else is asked.
    fn wait_no_more(&self, group: u64) {
        let mut state = lock(&self.state);
        let was_offered = state.waiting.remove(&group).is_none();
        let passes_on = decide(Decision::OfferIsPassedOn, was_offered);
        if passes_on && state.reactor.is_some() {
            state.hand_on();
            self.rouse(state);
        }
    }

    /// Whether a receiver waits for the seat. Its thread is here to stay: a pass that it makes wakes nobody.
    pub(crate) fn is_wanted(&self) -> bool {
        !lock(&self.state).waiting.is_empty()
    }

    /// A pass begins: it finds everything for which somebody called.
    pub(crate) fn begin_pass(&self) {
        lock(&self.state).is_noted = false;
    }

    /// Leaves the seat. The stand-in comes at once if something waits that no receiver stands for.
    pub(crate) fn leave(&self, reactor: Box<R>, sitter: Sitter, calls_stand_in: bool) {
        let mut state = lock(&self.state);
        state.reactor = Some(reactor);
        state.left_at = Some(Instant::now());
        state.left_by = sitter;
        state.is_noted |= calls_stand_in;
        state.hand_on();
        self.rouse(state);
    }

    /// Has somebody make a pass soon.
    pub(crate) fn call(&self, sitter: Sitter) {
        let mut state = lock(&self.state);
        if state.reactor.is_none() {
            state.is_noted = decide(Decision::CallIsNoted, true);
        } else if sitter == NOBODY || sitter != state.left_by {
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
        let (mut seen, mut looks) = (state.sittings, 0);
        loop {
            if std::mem::take(&mut state.has_tasks) {
                return Duty::WakeTasks;
            }
            if state.is_over
                && let Some(reactor) = state.reactor.take()
            {
                return Duty::End(reactor);
            }
            let left = if state.reactor.is_some() {
                looks = 0;
                let empty = state
                    .left_at
                    .map(|at| Instant::now().saturating_duration_since(at));
                GRACE.saturating_sub(empty.unwrap_or_default())
            } else {
                looks = if state.sittings == seen { looks + 1 } else { 0 };
                seen = state.sittings;
                GRACE
            };
            let is_due = state.is_called || left.is_zero();
            if is_due && let Some(reactor) = state.take() {
                return Duty::Sit(reactor);
            }
            state = self.sleep(state, left, looks > LOOKS_BEFORE_SLEEP);
        }
    }

    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<R, W>>,
        left: Duration,
        until_left: bool,
    ) -> MutexGuard<'a, State<R, W>> {
        if decide(Decision::StandInIsAnnounced, true) {
            state.stand_in = if until_left {
                StandIn::Sleeps
            } else {
                StandIn::Naps
            };
        }
        let mut state = if until_left {
            let slept = self.stand_in.wait(state);
            slept.unwrap_or_else(PoisonError::into_inner)
        } else {
            let slept = self.stand_in.wait_timeout(state, left);
            slept.unwrap_or_else(PoisonError::into_inner).0
        };
        state.stand_in = StandIn::IsUp;
        state
    }

    /// Lets the lock go, and wakes the stand-in if there is something for it.
    fn rouse(&self, mut state: MutexGuard<'_, State<R, W>>) {
        let is_left = state.stand_in == StandIn::Sleeps && state.reactor.is_some();
        let is_needed = is_left || state.is_called || state.has_tasks || state.is_over;
        let wakes = is_needed && state.stand_in != StandIn::IsUp;
        if wakes {
            state.stand_in = StandIn::IsUp; // whoever comes next need not wake it again
        }
        drop(state);
        if wakes {
            self.stand_in.notify_one();
        }
    }
}

impl<R: ?Sized, W: Receiver> State<R, W> {
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
    fn hand_on(&mut self) {
        while let Some((_, receiver)) = self.waiting.pop_first() {
            if receiver.mailbox().offer() {
                return;
            }
        }
        self.is_called |= decide(Decision::NoteIsPassedOn, self.is_noted);
    }
}

//! What the engine's own thread does: it makes passes where nobody else does, and watches or sleeps.

use std::time::Duration;

use super::super::decision::Decision;
use super::{GRACE, Rest, Seat, State};
use crate::sync::{Instant, MutexGuard, PoisonError, decide, lock};

/// So often in a row the stand-in looks at a seat in which the same thread sits, before it sleeps until
/// the seat is left.
const LOOKS_BEFORE_SLEEP: u32 = 16;

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

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StandIn {
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
            state.expect_task();
        }
        state
    }
}

impl<R: ?Sized> State<R> {
    /// The stand-in has slept.
    fn look_around(&self, look: &mut Look, has_seen: bool) {
        let is_changed = self.sittings != look.sittings;
        let is_empty = self.reactor.is_some();
        look.sittings = self.sittings;
        look.is_hasty = is_changed && (self.is_hasty() || self.seat_task.is_some());
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
    pub(super) fn needs_stand_in(&mut self) -> bool {
        if self.is_called || self.has_tasks || self.is_over {
            return true;
        }
        let is_empty = self.reactor.is_some();
        match self.stand_in {
            StandIn::Sleeps => is_empty,
            StandIn::Watches => is_empty && !self.is_watched(),
            StandIn::Naps => is_empty && self.grace_left().is_zero(),
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
    pub(super) fn set_armed(&mut self, is_armed: bool) -> bool {
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

//! A task that makes passes in its runtime's thread, so that no other thread has to be woken for what the tasks
//! there post and receive.
//!
//! It is called in the place of the stand-in, by its waker, and sits for one pass each time. The stand-in makes the
//! passes for which it does not come within [`GRACE`](super::GRACE): its runtime may be busy, or gone.

#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::task::Waker;

use super::super::decision::Decision;
use super::{Seat, Sitter, State};
use crate::sync::{Instant, decide, lock};

/// The task, among those that sit: in whatever thread.
pub(crate) const TASK: Sitter = Sitter::MAX;

pub(super) struct SeatTask {
    waker: Option<Waker>,
    /// It will be polled without being woken (again).
    is_awake: bool,
    /// It came while somebody else sat.
    is_turned_away: bool,
}

/// What a task finds that comes to make a pass.
pub(crate) enum Turn<R: ?Sized> {
    Sit(Box<R>),
    /// Somebody else sits: the task is woken when the seat is left.
    Later,
    /// The reactor has ended.
    Over,
}

impl<R: ?Sized> Seat<R> {
    /// What the task may watch.
    #[cfg(unix)]
    pub(crate) fn watched(&self) -> std::io::Result<Option<OwnedFd>> {
        let lookout = lock(&self.state).lookout.clone();
        let watched = lookout.as_ref().and_then(|lookout| lookout.watched());
        watched.map(|set| set.try_clone_to_owned()).transpose()
    }

    /// A task makes passes from now on. Returns whether there was none yet.
    pub(crate) fn begin_task(&self) -> bool {
        let mut state = lock(&self.state);
        let is_first = state.seat_task.is_none();
        state.seat_task.get_or_insert(SeatTask {
            waker: None,
            is_awake: true,
            is_turned_away: false,
        });
        is_first
    }

    /// It makes none any more: they are the stand-in's again.
    pub(crate) fn end_task(&self) {
        let mut state = lock(&self.state);
        let task = state.seat_task.take();
        state.is_called |= decide(Decision::TaskIsReplaced, true);
        self.rouse(state);
        drop(task); // its waker is the application's code
    }

    /// The task comes to make a pass. What is called for from now on wakes it.
    pub(crate) fn take_turn(&self, waker: &Waker) -> Turn<R> {
        let mut new = Some(waker.clone());
        let mut state = lock(&self.state);
        if let Some(task) = &mut state.seat_task {
            task.is_awake = false;
            std::mem::swap(&mut task.waker, &mut new); // the one before is dropped when the lock is free
        }
        if state.is_over {
            return Turn::Over;
        }
        let reactor = state.take();
        if reactor.is_none()
            && let Some(task) = &mut state.seat_task
        {
            task.is_turned_away = decide(Decision::TurnedAwayIsNoted, true);
        }
        drop(state);
        reactor.map_or(Turn::Later, Turn::Sit)
    }

    /// The task that sits will come again without being called.
    pub(crate) fn come_again(&self) {
        let mut state = lock(&self.state);
        state.expect_task();
        if let Some(task) = &mut state.seat_task {
            task.is_awake = true;
        }
    }

    /// Takes the seat for a pass that only writes, if nobody sits, and no task is about to.
    pub(crate) fn try_sit_to_write(&self) -> Option<Box<R>> {
        let mut state = lock(&self.state);
        let task_comes = state.seat_task.as_ref().is_some_and(|task| task.is_awake);
        if task_comes { None } else { state.take() }
    }
}

impl<R: ?Sized> State<R> {
    /// Calls the task in the place of the stand-in, which sees to what it is called for only if the task has not come
    /// in time. Returns the waker to be called once the lock is free.
    pub(super) fn call_task(&mut self) -> Option<Waker> {
        let task = self.seat_task.as_mut()?;
        if !self.is_over && self.reactor.is_none() {
            return None;
        }
        let was_turned_away = std::mem::take(&mut task.is_turned_away);
        let is_called = self.is_called && !self.is_stopping;
        if !is_called && !was_turned_away && !self.is_over {
            return None;
        }
        let is_awake = std::mem::replace(&mut task.is_awake, true);
        let is_woken = decide(Decision::TaskIsCalled, !is_awake);
        // Not cloned: that is the application's code, and the lock is held. It brings one each time it comes.
        let waker = if is_woken { task.waker.take() } else { None };
        if is_called && !self.is_over {
            self.is_called = false;
            self.expect_task();
        }
        waker
    }

    /// There is something for a pass of the task, if there is one: the stand-in gives it time.
    pub(super) fn expect_task(&mut self) {
        if self.seat_task.is_some() && !self.is_expected {
            self.is_expected = decide(Decision::ExpectedPostIsNoted, true);
            self.left_at = Some(Instant::now());
        }
    }
}

//! What the reactor hands to one group: batches of events, and the wake of its receiver.

use std::collections::VecDeque;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::decision::Decision;
use crate::sync::{Condvar, Instant, Mutex, MutexGuard, PoisonError, decide, lock};

/// Containers keep so many places for events. Those beyond are given back once the receiver has found that there is
/// nothing more: until then a place is charged with its message.
pub(crate) const PLACES_KEPT: usize = 8192;

/// The queue from the reactor to the one receiver of a group.
pub(crate) struct Mailbox<T, E> {
    state: Mutex<State<T, E>>,
    arrived: Condvar,
}

struct State<T, E> {
    events: VecDeque<T>,
    /// What was notified and has not reached the application.
    notified: Notified,
    /// Set after the last event was put in.
    ended: Option<E>,
    /// Whether the receiver sleeps, so that a batch costs a signal only then.
    is_waiting: bool,
    /// The reactor's seat was offered to the receiver, which has not found that yet.
    is_offered: bool,
    /// The receiver may be making a pass, and looks again behind it.
    is_passing: bool,
    /// The task that waits for events in the place of a thread.
    task: Option<Waker>,
}

/// Who is to be woken for a notification, once no lock is held.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    /// The reactor, in which the receiver may sleep.
    pub(crate) reactor: bool,
    /// The task that waits for events.
    pub(crate) task: Option<Waker>,
}

/// How much a group's notifications are, or may be: those that wait here, and those that the receiver
/// took with a batch and has not yielded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notified {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

/// What a receiver found.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Taken<E> {
    /// At least one event was taken.
    Events,
    /// The deadline passed.
    Nothing,
    /// The reactor's seat was offered to the receiver.
    Offer,
    /// No event is left, and none will come.
    Ended(E),
}

impl<T, E: Copy> Mailbox<T, E> {
    pub(crate) fn new() -> Self {
        Mailbox {
            state: Mutex::new(State::new(VecDeque::new())),
            arrived: Condvar::new(),
        }
    }

    /// Makes it as good as new for another receiver. `taken` is empty, and its memory is for what comes.
    pub(crate) fn renew(&self, taken: VecDeque<T>) {
        assert!(taken.is_empty(), "what was taken was used");
        let used = std::mem::replace(&mut *lock(&self.state), State::new(taken));
        drop(used); // no lock is held: there may be a waker in it
    }

    /// Appends an event. Returns the task that waited for it, if one did, to be woken.
    pub(crate) fn deliver_one(&self, event: T) -> Option<Waker> {
        let mut state = lock(&self.state);
        if state.events.capacity() == 0 {
            state.events.reserve_exact(1); // mostly no other follows
        }
        state.events.push_back(event);
        self.signal(state)
    }

    /// Appends a batch and leaves it empty, mostly by swapping the two containers. The larger one goes to the receiver,
    /// who gives back what is not needed. Returns the task that waited for it, if one did, to be woken.
    pub(crate) fn deliver(&self, batch: &mut VecDeque<T>) -> Option<Waker> {
        let mut state = lock(&self.state);
        let kept = state.events.capacity();
        if state.events.is_empty() && (kept <= PLACES_KEPT || kept <= batch.capacity()) {
            std::mem::swap(&mut state.events, batch);
        } else {
            state.events.append(batch);
        }
        let task = self.signal(state);
        batch.shrink_to(PLACES_KEPT);
        task
    }

    /// Appends a notification of `cost` bytes, unless that were more than `limit` or the end was
    /// reached. How many other events wait does not matter.
    pub(crate) fn notify(
        &self,
        event: T,
        cost: usize,
        limit: Notified,
    ) -> Result<Wakes, (T, Option<E>)> {
        let mut state = lock(&self.state);
        let (count, bytes) = (state.notified.count + 1, state.notified.bytes + cost);
        if state.ended.is_some() || count > limit.count || bytes > limit.bytes {
            return Err((event, state.ended));
        }
        state.notified = Notified { count, bytes };
        state.events.push_back(event);
        let is_passing = std::mem::replace(&mut state.is_passing, false);
        Ok(Wakes {
            task: self.signal(state),
            reactor: decide(Decision::PassingReceiverIsWoken, is_passing),
        })
    }

    /// A notification of `cost` bytes has reached the application, and makes way for another.
    pub(crate) fn notification_taken(&self, cost: usize) {
        let notified = &mut lock(&self.state).notified;
        assert!(
            notified.count > 0 && notified.bytes >= cost,
            "a notification is taken once"
        );
        notified.count -= 1;
        notified.bytes -= cost;
    }

    /// How many events wait here, where `count` says how many each of those is that were delivered as one, and how
    /// many notifications there are that have not reached the application.
    pub(crate) fn waiting(&self, count: impl Fn(&T) -> usize) -> (usize, usize) {
        let state = lock(&self.state);
        let events = state.events.iter().map(count).sum();
        (events, state.notified.count)
    }

    /// What was notified and has not reached the application.
    #[cfg(test)]
    pub(crate) fn notified(&self) -> Notified {
        lock(&self.state).notified
    }

    /// Says that no event will follow. The first reason stays. Returns the task that waited, if one did,
    /// to be woken.
    pub(crate) fn end(&self, reason: E) -> Option<Waker> {
        let mut state = lock(&self.state);
        state.ended.get_or_insert(reason);
        self.signal(state)
    }

    /// Wakes the thread that waits, and hands the task over that does.
    fn signal(&self, mut state: MutexGuard<'_, State<T, E>>) -> Option<Waker> {
        let wake = std::mem::replace(&mut state.is_waiting, false);
        let task = state.task.take();
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
        task
    }

    /// Offers the reactor's seat to the receiver, unless it has events and does not wait any more.
    pub(crate) fn offer(&self) -> bool {
        let mut state = lock(&self.state);
        if !state.events.is_empty() || state.ended.is_some() {
            return false;
        }
        state.is_offered = true;
        let task = self.signal(state);
        assert!(task.is_none(), "a receiver waits in a thread or in a task");
        true
    }

    /// Appends to `into` all events that are there.
    pub(crate) fn take_more(&self, into: &mut VecDeque<T>) {
        into.append(&mut lock(&self.state).events);
    }

    /// Takes all events into `into`, which must be empty, if there are some; or finds the end.
    pub(crate) fn take_now(&self, into: &mut VecDeque<T>) -> Option<Taken<E>> {
        take_from(&mut lock(&self.state), into)
    }

    /// The same; else the task waits whose waker this is. A waker that waited before is left in its place,
    /// to be dropped once no lock is held.
    pub(crate) fn poll_take(
        &self,
        into: &mut VecDeque<T>,
        waker: &mut Option<Waker>,
    ) -> Poll<Taken<E>> {
        let mut state = lock(&self.state);
        if let Some(taken) = take_from(&mut state, into) {
            return Poll::Ready(taken);
        }
        if decide(Decision::TaskIsAnnounced, true) {
            std::mem::swap(&mut state.task, waker);
        }
        Poll::Pending
    }

    /// No task waits any more. Hands back the waker of one that did.
    #[must_use = "a waker is dropped when the lock is free"]
    pub(crate) fn leave(&self) -> Option<Waker> {
        lock(&self.state).task.take()
    }

    /// As [`take_now`](Self::take_now); else the receiver makes a pass, until it asks again or
    /// [passes no more](Self::pass_no_more).
    pub(crate) fn take_or_pass(&self, into: &mut VecDeque<T>) -> Option<Taken<E>> {
        let mut state = lock(&self.state);
        let taken = take_from(&mut state, into);
        state.is_passing = taken.is_none();
        taken
    }

    /// The receiver gives up: a notification needs to wake nobody.
    pub(crate) fn pass_no_more(&self) {
        lock(&self.state).is_passing = false;
    }

    /// Takes all events into `into`, which must be empty, waiting until `deadline` for the first, or
    /// for an offer; without a deadline, for ever.
    pub(crate) fn take(&self, into: &mut VecDeque<T>, deadline: Option<Instant>) -> Taken<E> {
        let mut state = lock(&self.state);
        state.is_passing = false;
        loop {
            if let Some(taken) = take_from(&mut state, into) {
                return taken;
            }
            if std::mem::take(&mut state.is_offered) {
                return Taken::Offer;
            }
            let Some(deadline) = deadline else {
                state.is_waiting = decide(Decision::ReceiverIsAnnounced, true);
                state = self
                    .arrived
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                state.is_waiting = false;
                return Taken::Nothing;
            }
            state.is_waiting = true;
            let woken = self.arrived.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<T, E> State<T, E> {
    fn new(events: VecDeque<T>) -> Self {
        State {
            events,
            notified: Notified { count: 0, bytes: 0 },
            ended: None,
            is_waiting: false,
            is_offered: false,
            is_passing: false,
            task: None,
        }
    }
}

fn take_from<T, E: Copy>(state: &mut State<T, E>, into: &mut VecDeque<T>) -> Option<Taken<E>> {
    assert!(into.is_empty(), "the events taken before were used");
    if !state.events.is_empty() {
        std::mem::swap(&mut state.events, into);
        return Some(Taken::Events);
    }
    state.events.shrink_to(PLACES_KEPT);
    into.shrink_to(PLACES_KEPT);
    state.ended.map(Taken::Ended)
}

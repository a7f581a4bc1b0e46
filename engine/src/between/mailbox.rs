//! What the reactor hands to one group: batches of events, and the wake of its receiver.

use std::collections::VecDeque;
use std::time::Duration;

use super::decision::Decision;
use crate::sync::{Condvar, Instant, Mutex, MutexGuard, PoisonError, decide, lock};

/// The queue from the reactor to the one receiver of a group.
pub(crate) struct Mailbox<T, E> {
    state: Mutex<State<T, E>>,
    arrived: Condvar,
}

struct State<T, E> {
    events: VecDeque<T>,
    /// Set after the last event was put in.
    ended: Option<E>,
    /// Whether the receiver sleeps, so that a batch costs a signal only then.
    is_waiting: bool,
}

/// What a receiver found.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Taken<E> {
    /// At least one event was taken.
    Events,
    /// The deadline passed.
    Nothing,
    /// No event is left, and none will come.
    Ended(E),
}

impl<T, E: Copy> Mailbox<T, E> {
    pub(crate) fn new() -> Self {
        let state = State {
            events: VecDeque::new(),
            ended: None,
            is_waiting: false,
        };
        Mailbox {
            state: Mutex::new(state),
            arrived: Condvar::new(),
        }
    }

    /// Appends a batch and leaves it empty, mostly by swapping the two containers.
    pub(crate) fn deliver(&self, batch: &mut VecDeque<T>) {
        let mut state = lock(&self.state);
        if state.events.is_empty() {
            std::mem::swap(&mut state.events, batch);
        } else {
            state.events.append(batch);
        }
        self.signal(state);
    }

    /// Appends one event unless `limit` events are queued already or the end was reached.
    pub(crate) fn notify(&self, event: T, limit: usize) -> Result<(), (T, Option<E>)> {
        let mut state = lock(&self.state);
        if state.ended.is_some() || state.events.len() >= limit {
            return Err((event, state.ended));
        }
        state.events.push_back(event);
        self.signal(state);
        Ok(())
    }

    /// Says that no event will follow. The first reason stays.
    pub(crate) fn end(&self, reason: E) {
        let mut state = lock(&self.state);
        state.ended.get_or_insert(reason);
        self.signal(state);
    }

    fn signal(&self, mut state: MutexGuard<'_, State<T, E>>) {
        let wake = std::mem::replace(&mut state.is_waiting, false);
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// Appends to `into` all events that are there.
    pub(crate) fn take_more(&self, into: &mut VecDeque<T>) {
        into.append(&mut lock(&self.state).events);
    }

    /// Takes all events into `into`, which must be empty, waiting until `deadline` for the first;
    /// without a deadline, for ever.
    pub(crate) fn take(&self, into: &mut VecDeque<T>, deadline: Option<Instant>) -> Taken<E> {
        assert!(into.is_empty(), "the events taken before were used");
        let mut state = lock(&self.state);
        loop {
            if !state.events.is_empty() {
                std::mem::swap(&mut state.events, into);
                return Taken::Events;
            }
            if let Some(reason) = state.ended {
                return Taken::Ended(reason);
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

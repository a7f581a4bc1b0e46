//! Those who wait to post to a channel: first come, first served.
//!
//! Whoever is first in a line tries to post, and waits for room if it cannot. The others wait until they
//! are first: so what one of them posts does not overtake what another has been keeping.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use super::decision::Decision;
use crate::channel::Channel;
use crate::sync::{Mutex, decide, lock};

/// A place in a line; never used again.
pub(crate) type Place = u64;

/// The lines of a group's channels.
pub(crate) struct Lines {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// None of them is empty.
    lines: BTreeMap<Channel, VecDeque<Waiter>>,
    next: Place,
}

struct Waiter {
    place: Place,
    /// Whom to wake when it is first.
    waker: Option<Waker>,
}

impl Lines {
    pub(crate) fn new() -> Self {
        Lines {
            state: Mutex::new(State::default()),
        }
    }

    /// Lines up, if somebody waits already.
    pub(crate) fn enter_if_any(&self, channel: Channel) -> Option<Place> {
        let mut state = lock(&self.state);
        let is_any = state.lines.contains_key(&channel);
        is_any.then(|| state.enter(channel))
    }

    /// Lines up.
    pub(crate) fn enter(&self, channel: Channel) -> Place {
        lock(&self.state).enter(channel)
    }

    /// Whether who has this place is first. Else it is woken by the waker when it is; one that was to wake it
    /// before is left in its place, to be dropped once no lock is held.
    pub(crate) fn poll_first(
        &self,
        channel: Channel,
        place: Place,
        waker: &mut Option<Waker>,
    ) -> bool {
        let mut state = lock(&self.state);
        let line = state.lines.get_mut(&channel);
        let waiter = line.and_then(|line| {
            let at = find(line, place)?;
            let waits = at > 0 && decide(Decision::LineIsKept, true);
            waits.then(|| &mut line[at])
        });
        if let Some(waiter) = waiter {
            std::mem::swap(&mut waiter.waker, waker);
            return false;
        }
        true
    }

    /// Those who wait for a channel that takes no more posts, whoever is first: they are to be woken, and see.
    #[must_use = "they are to be woken"]
    pub(crate) fn end(&self, channel: Channel) -> Vec<Waker> {
        let mut state = lock(&self.state);
        let line = state.lines.get_mut(&channel).into_iter().flatten();
        line.filter_map(|waiter| waiter.waker.take()).collect()
    }

    /// The same of all channels.
    #[must_use = "they are to be woken"]
    pub(crate) fn end_all(&self) -> Vec<Waker> {
        let mut state = lock(&self.state);
        let all = state.lines.values_mut().flatten();
        all.filter_map(|waiter| waiter.waker.take()).collect()
    }

    /// Leaves a line. Returns whoever is to be woken, being first now.
    #[must_use = "who is first now is to be woken"]
    pub(crate) fn leave(&self, channel: Channel, place: Place) -> Option<Waker> {
        let mut state = lock(&self.state);
        let line = state.lines.get_mut(&channel)?;
        let at = find(line, place)?;
        let left = line.remove(at);
        let next = match line.front_mut() {
            Some(first) if at == 0 => first.waker.take(),
            Some(_) => None,
            None => {
                state.lines.remove(&channel);
                None
            }
        };
        drop(state);
        drop(left); // not under the lock: its waker may be the last that holds a task
        next.filter(|_| decide(Decision::NextInLineIsWoken, true))
    }
}

/// Where in a line somebody stands.
fn find(line: &VecDeque<Waiter>, place: Place) -> Option<usize> {
    line.binary_search_by_key(&place, |waiter| waiter.place)
        .ok()
}

impl State {
    fn enter(&mut self, channel: Channel) -> Place {
        self.next += 1;
        let place = self.next;
        let waiter = Waiter { place, waker: None };
        self.lines.entry(channel).or_default().push_back(waiter);
        place
    }
}

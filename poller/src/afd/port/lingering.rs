//! Polls of sources that were closed with them in flight.
//!
//! Closing the last handle of a socket ends its polls, and saves the cancel. Whether a handle is the
//! last one nobody says; if it is not, the poll goes on. So what has not ended by itself when the port
//! was emptied, or after some dequeues that have not emptied it, is cancelled then. That takes a helper: what
//! is issued on the socket itself can be cancelled only as long as its handle is open.

use super::Port;
use crate::afd::defects::Defects;
use crate::afd::machine::{Input, Registration};
use crate::afd::pinned::Slot;
use crate::nt::Nt;

/// The polls that were left to the closing of their sources.
#[derive(Debug, Default)]
pub(in crate::afd) struct Lingering {
    /// Their slots, with the sources' generations. Some may be over, and their slots be used again.
    slots: Vec<(Slot, u64)>,
    /// How many dequeues running have not emptied the port while there were some.
    dequeues: u8,
}

impl Lingering {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl<N: Nt, D: Defects> Port<N, D> {
    /// Leaves the poll of a slot to the closing of its source.
    pub(super) fn linger(&mut self, slot: Slot) {
        let generation = self.slots.ours(slot).generation;
        self.lingering.slots.push((slot, generation));
    }

    /// After a dequeue: cancels those that had time to end. A port that is never emptied is as one
    /// that was, after a while: else they would become ever more.
    pub(super) fn end_lingering(&mut self, is_port_empty: bool) {
        if self.lingering.slots.is_empty() || D::LINGERS_FOR_EVER {
            return;
        }
        self.lingering.dequeues += 1;
        if !is_port_empty && self.lingering.dequeues < D::LINGERS_MAX {
            return;
        }
        self.lingering.dequeues = 0;
        while let Some((slot, generation)) = self.lingering.slots.pop() {
            if self.slots.lingers(slot, generation) {
                self.slots.step(slot, Registration::Removed, Input::Overdue);
                self.cancel(slot);
            }
        }
    }
}

/// For tests.
#[cfg(test)]
impl Lingering {
    pub(in crate::afd) fn parts(&self) -> (&[(Slot, u64)], u8) {
        (&self.slots, self.dequeues)
    }
}

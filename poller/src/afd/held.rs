//! Which slots are taken, so that a simulated kernel can ask before it writes.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The size of a slot.
const SIZE: usize = 128;

/// The addresses of the slots that are taken.
#[derive(Debug, Default)]
pub(crate) struct Held {
    slots: Mutex<BTreeSet<usize>>,
}

impl Held {
    fn slots(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, address: usize) {
        assert!(self.slots().insert(address), "a slot was taken twice");
    }

    pub(super) fn remove(&self, address: usize) {
        self.slots().remove(&address);
    }

    /// A block of slots has moved.
    pub(super) fn relocate(&self, from: usize, to: usize, count: usize) {
        let mut slots = self.slots();
        for place in 0..count {
            if slots.remove(&(from + place * SIZE)) {
                slots.insert(to + place * SIZE);
            }
        }
    }

    /// Whether all of a range lies in one slot that is taken.
    pub(crate) fn covers(&self, address: usize, length: usize) -> bool {
        let slot = address & !(SIZE - 1);
        self.slots().contains(&slot) && address + length <= slot + SIZE
    }
}

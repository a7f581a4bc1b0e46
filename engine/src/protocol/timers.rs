//! Deadlines as data: at most one for each connection or listener.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::between::key::RecordKey;

/// Deadlines in order. Each is removed when it is replaced, so that the set never holds more than
/// there are connections.
#[derive(Default)]
pub(super) struct Timers {
    due: BTreeSet<(Instant, RecordKey)>,
}

impl Timers {
    /// Replaces the deadline that `slot` remembers for `key`.
    pub(super) fn set(&mut self, key: RecordKey, slot: &mut Option<Instant>, at: Option<Instant>) {
        if *slot == at {
            return;
        }
        if let Some(before) = std::mem::replace(slot, at) {
            let was_there = self.due.remove(&(before, key));
            assert!(was_there, "a remembered deadline is in the set");
        }
        if let Some(at) = at {
            self.due.insert((at, key));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Takes a key whose deadline has come. Its `slot` must be cleared by the caller.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<RecordKey> {
        let &(at, key) = self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        Some(key)
    }
}

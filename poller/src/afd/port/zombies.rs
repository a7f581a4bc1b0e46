//! The polls in flight whose sources are gone: the zombies.
//!
//! The memory of each stays until its packet was dequeued. They are listed, because
//! - the end has to cancel them, too;
//! - one that was left to the closing of its source is cancelled if that does not end it;
//! - a new object may be the one that a zombie's poll is about, and waits for those that were there before it
//!   (`begin.rs`).
//!
//! # Those that close
//!
//! Closing the last handle of a socket ends its polls, and saves the cancel. Whether a handle is the
//! last one nobody says; if it is not, the poll goes on. So what has not ended by itself when the port
//! was emptied, or after some dequeues that have not emptied it, is cancelled then. That takes a helper: what
//! is issued on the socket itself can be cancelled only as long as its handle is open.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Port;
use crate::afd::defects::Defects;
use crate::afd::machine::{Action, Input, Operation, Registration};
use crate::afd::pinned::{Ours, Slot};
use crate::afd::table::Others;
use crate::nt::Nt;

/// How long a dequeue sleeps at most while somebody waits for a zombie.
const AWAITED_SLEEP: Duration = Duration::from_millis(10);

/// The polls in flight whose sources are gone, and what is due about them.
#[derive(Debug, Default)]
pub(in crate::afd) struct Zombies {
    /// How many there have ever been.
    pub(super) count: u64,
    /// Those that there are, numbered in the order of going.
    slots: BTreeMap<u64, Slot>,
    /// Up to this number nobody waits for them any more.
    given_up: u64,
    /// The objects that wait for some of them.
    pub(super) waiting: BTreeSet<u32>,
    /// How often the port was found empty since somebody waits.
    awaited_dequeues: u8,
    /// Those that were left to the closing of their sources. Some may be over.
    closing: Vec<u64>,
    /// How many dequeues running have not emptied the port while there were some.
    closing_dequeues: u8,
}

impl Zombies {
    /// Whether one is left, and waited for, of those that were there when so many had gone.
    pub(super) fn is_left(&self, count: u64) -> bool {
        self.awaited().next().is_some_and(|first| first <= count)
    }

    /// The numbers of those that somebody may wait for.
    fn awaited(&self) -> impl Iterator<Item = u64> {
        self.slots
            .range(self.given_up + 1..)
            .map(|(number, _)| *number)
    }

    /// An object is gone, whether it waits or not.
    pub(super) fn wait_no_longer(&mut self, object: u32) {
        if self.waiting.remove(&object) && self.waiting.is_empty() {
            self.awaited_dequeues = 0;
        }
    }

    /// Whether somebody waits for one of them.
    pub(super) fn are_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Their slots.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slots.values().copied()
    }
}

impl<N: Nt, D: Defects> Port<N, D> {
    /// The source of a slot is gone, and its operation is in flight.
    pub(super) fn note_zombie(&mut self, slot: Slot, action: Action) {
        self.zombies.count += 1;
        let number = self.zombies.count;
        self.zombies.slots.insert(number, slot);
        self.slots.set_gone(slot, number);
        match action {
            Action::Cancel => self.cancel(slot),
            Action::AwaitClose => self.zombies.closing.push(number),
            // It was told to end before.
            _ => {}
        }
    }

    /// Gives a slot back whose operation is over, whether it is a zombie's or not.
    pub(super) fn free(&mut self, slot: Slot) {
        let number = self.slots.ours(slot).gone;
        let was_there = self.zombies.slots.remove(&number).is_some();
        if was_there && number > self.zombies.given_up {
            for object in std::mem::take(&mut self.zombies.waiting) {
                self.table.touch(object);
            }
        }
        if let Some(group) = self.slots.ours(slot).group {
            self.helpers.leave(&self.shared.nt, group);
        }
        self.slots.release(slot);
    }

    /// How long a dequeue may sleep.
    pub(super) fn await_zombies(&self, timeout: Option<Duration>) -> Option<Duration> {
        let longest = match (self.zombies.are_awaited(), self.zombies.closing.is_empty()) {
            (false, _) => return timeout,
            (true, true) => AWAITED_SLEEP,
            // It is cancelled when the port is found empty.
            (true, false) => Duration::ZERO,
        };
        Some(timeout.map_or(longest, |timeout| timeout.min(longest)))
    }

    /// After a dequeue: lets those go on that have waited long enough.
    pub(super) fn end_awaiting(&mut self, is_port_empty: bool) {
        let zombies = &mut self.zombies;
        if !zombies.are_awaited() {
            zombies.awaited_dequeues = 0;
            return;
        }
        zombies.awaited_dequeues += u8::from(is_port_empty);
        if zombies.awaited_dequeues < D::AWAITED_MAX {
            return;
        }
        zombies.awaited_dequeues = 0;
        zombies.given_up = zombies.count;
        for object in std::mem::take(&mut zombies.waiting) {
            if let Some(object) = self.table.object_mut(object) {
                object.others = Others::Some;
            }
            self.table.touch(object);
        }
    }

    /// After a dequeue: cancels those that had time to close. A port that is never emptied is as one
    /// that was, after a while: else they would become ever more.
    pub(super) fn end_closing(&mut self, is_port_empty: bool) {
        if self.zombies.closing.is_empty() || D::CLOSES_WITHOUT_END {
            return;
        }
        self.zombies.closing_dequeues += 1;
        if !is_port_empty && self.zombies.closing_dequeues < D::CLOSING_MAX {
            return;
        }
        self.zombies.closing_dequeues = 0;
        while let Some(number) = self.zombies.closing.pop() {
            let Some(slot) = self.zombies.slots.get(&number).copied() else {
                continue;
            };
            if self.slots.ours(slot).operation == Operation::InFlight {
                let mut registration = Registration::Removed;
                self.slots.step(slot, &mut registration, Input::Overdue);
                self.cancel(slot);
            }
        }
    }
}

/// What the source of a zombie is: nothing more is to be reported about it.
pub(super) fn gone<'a>(_: &Ours) -> Option<&'a mut Registration> {
    None
}

/// For tests.
#[cfg(test)]
impl Zombies {
    /// The numbers of those that may be waited for, the objects that wait, and how often they have.
    pub(in crate::afd) fn parts(&self) -> (BTreeSet<u64>, &BTreeSet<u32>, u8) {
        (
            self.awaited().collect(),
            &self.waiting,
            self.awaited_dequeues,
        )
    }

    /// Those that close, and nothing for each that is over; and how often they have had time to.
    pub(in crate::afd) fn closing(&self) -> (Vec<Option<Slot>>, u8) {
        let slot = |number| self.slots.get(number).copied();
        (
            self.closing.iter().map(slot).collect(),
            self.closing_dequeues,
        )
    }
}

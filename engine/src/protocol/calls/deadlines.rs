//! When calls are given up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use super::{CallKey, SPARE_MOST};

/// The deadlines of calls, those of some that have ended among them.
///
/// Mostly each is later than the one before, as callers wait equally long: these are in a queue, which costs next to
/// nothing. The others are in a heap.
#[derive(Default)]
pub(super) struct Deadlines {
    in_order: VecDeque<(Instant, CallKey)>,
    others: BinaryHeap<Reverse<(Instant, CallKey)>>,
}

impl Deadlines {
    pub(super) fn len(&self) -> usize {
        self.in_order.len() + self.others.len()
    }

    pub(super) fn push(&mut self, deadline: Instant, key: CallKey) {
        match self.in_order.back() {
            Some(&(last, _)) if last > deadline => self.others.push(Reverse((deadline, key))),
            _ => self.in_order.push_back((deadline, key)),
        }
    }

    /// The first of all.
    pub(super) fn first(&self) -> Option<Instant> {
        let in_order = self.in_order.front().map(|&(at, _)| at);
        let other = self.others.peek().map(|&Reverse((at, _))| at);
        in_order.into_iter().chain(other).min()
    }

    /// Takes the first, if it is not after `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, CallKey)> {
        let first = self.first().filter(|&at| at <= now)?;
        match self.in_order.front() {
            Some(&(at, _)) if at == first => self.in_order.pop_front(),
            _ => self.others.pop().map(|Reverse(other)| other),
        }
    }

    pub(super) fn clear(&mut self) {
        self.in_order.clear();
        self.others.clear();
        self.shrink();
    }

    /// Forgets those of calls that have ended until there are `most`: first those that came first, and if that is not
    /// enough, all.
    pub(super) fn forget(&mut self, most: usize, is_open: impl Fn(&CallKey) -> bool) {
        while let Some((_, key)) = self.in_order.front()
            && !is_open(key)
        {
            self.in_order.pop_front();
        }
        if self.len() > most {
            self.in_order.retain(|(_, key)| is_open(key));
            self.others.retain(|Reverse((_, key))| is_open(key));
        }
        self.shrink();
    }

    /// Keeps no more memory than is of use, or than is kept anyway.
    fn shrink(&mut self) {
        let (in_order, others) = (self.in_order.len(), self.others.len());
        self.in_order.shrink_to(2 * in_order + SPARE_MOST);
        self.others.shrink_to(2 * others + SPARE_MOST);
    }

    /// For how many there is memory.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.in_order.capacity() + self.others.capacity()
    }
}

//! The inbound budget: who may receive, and who waits for it in which order.

use std::collections::VecDeque;

use crate::between::key::RecordKey;

use super::flaws::{Flaw, planted};

/// Bytes of received messages, charged when a frame's header has arrived and released when the
/// message is dropped.
pub(super) struct Budget {
    limit: usize,
    /// What one connection may hold of it.
    share: usize,
    used: usize,
    /// Connections that wait for the engine's budget, first come first served, and some that have
    /// ended meanwhile: whoever takes an entry checks.
    waiting: VecDeque<RecordKey>,
    /// How many of them have ended: at most half, after each [`compact`](Budget::compact).
    ended: usize,
    /// Connections that wait, for the engine's budget or their own share.
    starved: usize,
}

/// Why a frame cannot be received now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Starved {
    /// The connection holds its share already: it waits for its own messages to be dropped.
    ByShare,
    /// The engine's budget is used up: the connection waits in line.
    ByEngine,
}

impl Budget {
    pub(super) fn new(limit: usize, share: usize) -> Self {
        Budget {
            limit,
            share,
            used: 0,
            waiting: VecDeque::new(),
            ended: 0,
            starved: 0,
        }
    }

    /// Charges `cost` to a connection that holds `held` already.
    pub(super) fn charge(&mut self, held: &mut usize, cost: usize) -> Result<(), Starved> {
        if *held + cost > self.share && *held > 0 {
            return Err(Starved::ByShare);
        }
        if !self.waiting.is_empty() || !self.fits(cost) {
            return Err(Starved::ByEngine);
        }
        self.charge_unasked(held, cost);
        Ok(())
    }

    fn charge_unasked(&mut self, held: &mut usize, cost: usize) {
        *held += cost;
        self.used += cost;
    }

    /// A message that is larger than the whole budget passes while nothing else is charged.
    fn fits(&self, cost: usize) -> bool {
        self.used == 0 || self.used + cost <= self.limit
    }

    pub(super) fn release(&mut self, cost: usize) {
        assert!(
            self.used >= cost,
            "no more budget is released than was charged"
        );
        self.used -= cost;
    }

    /// Notes that a connection starves, and lines it up if it waits for the engine.
    pub(super) fn park(&mut self, key: RecordKey, why: Starved) {
        self.starved += 1;
        if why == Starved::ByEngine {
            self.waiting.push_back(key);
            if planted(Flaw::LastIsServedFirst) {
                self.waiting.rotate_right(1);
            }
        }
    }

    /// Moves a connection that waited for its own share to the end of the engine's line.
    pub(super) fn line_up(&mut self, key: RecordKey) {
        self.waiting.push_back(key);
    }

    /// Whether a connection that waits for its own share, and holds `held`, may have `cost` now.
    pub(super) fn share_allows(&self, held: usize, cost: usize) -> bool {
        held == 0 || held + cost <= self.share
    }

    /// Notes that a connection ended that starved. If it stood in line, its entry stays there.
    pub(super) fn leave(&mut self, why: Starved) {
        self.starved -= 1;
        self.ended += usize::from(why == Starved::ByEngine);
    }

    /// Removes the entries of those that have ended, once they are the greater part of the line: a
    /// line that does not move grows by no more than waits in it, and each costs little.
    pub(super) fn compact(&mut self, waits: impl Fn(RecordKey) -> bool) {
        if 2 * self.ended > self.waiting.len() {
            self.waiting.retain(|&key| waits(key));
            self.ended = 0;
        }
    }

    pub(super) fn first_waiting(&self) -> Option<RecordKey> {
        self.waiting.front().copied()
    }

    /// Drops the first in line, which has ended.
    pub(super) fn drop_first_waiting(&mut self) {
        self.waiting.pop_front();
        self.ended -= 1;
    }

    /// Serves the first in line, if the budget allows its `cost`.
    pub(super) fn serve_first(&mut self, held: &mut usize, cost: usize) -> bool {
        if !self.fits(cost) {
            return false;
        }
        self.waiting.pop_front();
        self.charge_unasked(held, cost);
        self.starved -= 1;
        true
    }

    pub(super) fn is_starving(&self) -> bool {
        self.starved > 0
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> impl Iterator<Item = RecordKey> {
        self.waiting.iter().copied()
    }

    #[cfg(test)]
    pub(super) fn starving(&self) -> usize {
        self.starved
    }
}

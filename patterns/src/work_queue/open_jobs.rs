//! Jobs that no worker has, and which of them a worker may be given.

use std::collections::BTreeSet;

use super::hands::AtHand;

/// The open jobs of a queue, by their numbers.
#[derive(Debug, Default)]
pub(super) struct OpenJobs {
    /// Those over which no worker was lost.
    fresh: BTreeSet<u64>,
    /// Those over which one was, by which it may be their fault.
    suspect: BTreeSet<u64>,
}

impl OpenJobs {
    pub(super) fn insert(&mut self, job: u64, is_suspect: bool) {
        match is_suspect {
            true => self.suspect.insert(job),
            false => self.fresh.insert(job),
        };
    }

    pub(super) fn remove(&mut self, job: u64) {
        self.fresh.remove(&job);
        self.suspect.remove(&job);
    }

    pub(super) fn contains(&self, job: u64) -> bool {
        self.fresh.contains(&job) || self.suspect.contains(&job)
    }

    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.suspect.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn has_suspects(&self) -> bool {
        !self.suspect.is_empty()
    }

    /// The job that a worker is to be given next. A suspect one goes to who has nothing else at hand. While there are such,
    /// nobody gets more beside what it has at hand, so that somebody soon has nothing.
    pub(super) fn next_for(&self, at_hand: AtHand) -> Option<u64> {
        match at_hand {
            AtHand::Nothing => self.suspect.first().or(self.fresh.first()).copied(),
            AtHand::Fresh if self.suspect.is_empty() => self.fresh.first().copied(),
            AtHand::Fresh | AtHand::Suspect => None,
        }
    }
}

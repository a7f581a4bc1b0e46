//! A worker, as the queue knows it.

use std::collections::BTreeMap;
use std::time::Instant;

/// A worker, as the queue knows it.
pub(super) struct Hands {
    pub(super) credit: usize,
    /// Jobs, and until when they may be at hand.
    pub(super) at_hand: BTreeMap<u64, Option<Instant>>,
    /// One over which another worker was lost, and which is alone at hand therefore.
    pub(super) has_suspect: bool,
    pub(super) is_ready: bool,
    pub(super) is_leaving: bool,
    pub(super) has_goodbye: bool,
    pub(super) let_go: Option<&'static str>,
}

impl Hands {
    pub(super) fn at_hand(&self) -> AtHand {
        match self.has_suspect {
            _ if self.at_hand.is_empty() => AtHand::Nothing,
            true => AtHand::Suspect,
            false => AtHand::Fresh,
        }
    }
}

/// What a worker has at hand, as far as it matters to what it is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AtHand {
    Nothing,
    /// None of them is suspect.
    Fresh,
    /// A suspect job, and nothing else.
    Suspect,
}

//! When promises of room lapse.

use std::time::{Duration, Instant};

/// Who was told of room has so long to post into it before others are told of the same.
const PATIENCE: Duration = Duration::from_millis(5);

/// Whether promises stand in somebody's way, and until when they may.
#[derive(Default)]
pub(super) struct Promises {
    /// Somebody waits for room that there is, and that was promised to others.
    are_in_the_way: bool,
    lapse_at: Option<Instant>,
    /// They lapse with the next exchange.
    are_over: bool,
}

impl Promises {
    /// Whether they are in the way now. Those that are over stay so until the next exchange.
    pub(super) fn note(&mut self, are_in_the_way: bool) {
        self.are_in_the_way = are_in_the_way;
    }

    pub(super) fn are_over(&self) -> bool {
        self.are_over
    }

    /// Whether they are to lapse in this exchange. What is promised from now on has its own time.
    pub(super) fn take_lapse(&mut self) -> bool {
        std::mem::take(&mut self.are_over)
    }

    pub(super) fn handle_time(&mut self, now: Instant) {
        if !self.are_in_the_way || self.are_over {
            self.lapse_at = None;
        } else if *self.lapse_at.get_or_insert(now + PATIENCE) <= now {
            self.lapse_at = None;
            self.are_over = true;
        }
    }

    /// When time is to be handled.
    pub(super) fn next(&self) -> Option<Instant> {
        self.lapse_at
    }
}

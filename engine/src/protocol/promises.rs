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
    pub(super) are_over: bool,
}

impl Promises {
    /// What the exchange has left.
    pub(super) fn note(&mut self, are_in_the_way: bool) {
        self.are_in_the_way = are_in_the_way;
        self.are_over = false;
    }

    pub(super) fn handle_time(&mut self, now: Instant) {
        if !self.are_in_the_way {
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

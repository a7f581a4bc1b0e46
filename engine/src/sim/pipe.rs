//! The bytes that are under way to one end of a stream, or wait to be read there.

use std::collections::VecDeque;
use std::time::Instant;

pub(super) struct Pipe {
    pub(super) chunks: VecDeque<(Instant, VecDeque<u8>)>,
    pub(super) len: usize,
    pub(super) last_at: Option<Instant>,
    pub(super) end_at: Option<Instant>,
    pub(super) reset_at: Option<Instant>,
    /// When it was full last.
    pub(super) full_at: Option<Instant>,
}

impl Pipe {
    pub(super) fn new() -> Self {
        Pipe {
            chunks: VecDeque::new(),
            len: 0,
            last_at: None,
            end_at: None,
            reset_at: None,
            full_at: None,
        }
    }

    pub(super) fn has_arrived(&self, now: Instant) -> bool {
        self.chunks.front().is_some_and(|&(at, _)| at <= now)
    }

    pub(super) fn is_reset(&self, now: Instant) -> bool {
        self.reset_at.is_some_and(|at| at <= now)
    }

    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.len = 0;
    }
}

//! What an engine counts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What the reactor counts, and what it says at the end of each pass.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) ended_before_hello: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) accept_failures: AtomicU64,
    pub(crate) out_of_numbers: AtomicU64,
    pub(crate) passes: AtomicU64,
    pub(crate) wakes: AtomicU64,
    pub(crate) starved: AtomicUsize,
    pub(crate) inbound_bytes: AtomicUsize,
}

impl Counters {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

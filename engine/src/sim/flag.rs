//! The wake of a reactor that nobody sleeps in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::between::wake::Wake;

/// Is set by each wake.
pub(crate) struct Flag(pub(crate) Arc<AtomicBool>);

impl Wake for Flag {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

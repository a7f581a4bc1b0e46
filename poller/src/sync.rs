//! The atomics of `wake_word`. The model checker includes that module with its own in their place.

pub(crate) use std::sync::atomic::{AtomicU8, Ordering};

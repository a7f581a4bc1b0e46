//! What `wake_word` and `orders` share between threads. The model checker includes those modules with its own in
//! their place.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard};

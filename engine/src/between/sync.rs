//! The synchronisation primitives of the few modules that share state between threads.
//!
//! The model checker includes those modules with another `sync` at its root, in this one's place, so
//! they name their primitives as `crate::sync` and no other way.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
pub(crate) use std::time::Instant;

use crate::between::decision::Decision;

/// Locks, and goes on after another thread panicked while it held the lock: every critical section
/// leaves its data whole, and a panic elsewhere must not spread through a lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a decision as it is right. The model checker's own takes one of them wrongly where a canary
/// says so.
pub(crate) const fn decide(_decision: Decision, right: bool) -> bool {
    right
}

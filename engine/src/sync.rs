//! The synchronisation primitives of the few modules that share state between threads.
//!
//! The model checker includes those modules with another `sync` in this one's place, so they name
//! their primitives through here and nowhere else.

pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Locks, and goes on after another thread panicked while it held the lock: every critical section
/// leaves its data whole, and a panic elsewhere must not spread through a lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

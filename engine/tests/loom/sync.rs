//! In the place of the engine's primitives: loom's, with waits that time out and a clock.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

// Reference counts are the standard library's, since methods take `&Arc<Self>`, which loom's
// cannot be. Models that must not leak look at a count of their own.
pub(crate) use std::sync::{Arc, LockResult, PoisonError};

// The standard library's, so no order of its accesses is explored but the one in which the threads
// come by: what it holds is a hint, on which no thread relies for more than being early.
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::between::decision::Decision;

pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    guard: loom::sync::MutexGuard<'a, T>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(MutexGuard { mutex: self, guard })
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

pub(crate) struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Condvar(loom::sync::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn wait<'a, T>(&self, held: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let MutexGuard { mutex, guard } = held;
        let woken = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        Ok(MutexGuard {
            mutex,
            guard: woken,
        })
    }

    /// Always times out, having let the lock go meanwhile. A wait that is notified in time differs
    /// only in what the clock says after it, which is no help to its caller. Where
    /// [time stands still](stop_the_clock), it never does, and has to be notified.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        held: MutexGuard<'a, T>,
        left: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        if STANDS_STILL.get() {
            return Ok((
                self.wait(held).unwrap_or_else(PoisonError::into_inner),
                false,
            ));
        }
        let MutexGuard { mutex, guard } = held;
        drop(guard);
        Instant::pass(left);
        Ok((lock(mutex), true))
    }
}

thread_local! {
    /// All threads of a model run on one thread of the system.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static STANDS_STILL: Cell<bool> = const { Cell::new(false) };
    static DECIDED: Cell<Option<(Decision, bool)>> = const { Cell::new(None) };
}

/// A moment of a clock that passes only while a wait times out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        Instant(NOW.get())
    }

    pub(crate) fn saturating_duration_since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn after(self, duration: Duration) -> Self {
        Instant(self.0 + duration)
    }

    pub(crate) fn reset() {
        NOW.set(Duration::ZERO);
    }

    fn pass(duration: Duration) {
        NOW.set(NOW.get() + duration);
    }
}

/// Has nothing time out, or again everything: what happens nevertheless happens at once.
pub(crate) fn stop_the_clock(stands_still: bool) {
    STANDS_STILL.set(stands_still);
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a decision as it is right, or as the canary has it that runs on this thread.
pub(crate) fn decide(decision: Decision, right: bool) -> bool {
    match DECIDED.get() {
        Some((wrong, outcome)) if wrong == decision => outcome,
        _ => right,
    }
}

/// Has a decision always taken this way, until another is.
pub(crate) fn always_decide(decision: Decision, outcome: bool) {
    DECIDED.set(Some((decision, outcome)));
}

/// Has every decision taken as it is right.
pub(crate) fn decide_rightly() {
    DECIDED.set(None);
}

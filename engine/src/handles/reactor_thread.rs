//! Whether this thread is an engine's own, which stands in for receivers and must not wait for a reactor: not
//! for its own, which would wait for itself, nor for another engine's, which might wait for this one.
//!
//! The application's code runs there in one place, the wakers of tasks
//! (`between/waiting.rs`), and may do there what it does elsewhere.

use std::cell::Cell;

thread_local! {
    static IS_REACTOR: Cell<bool> = const { Cell::new(false) };
}

/// Says that this thread is an engine's own from now on.
pub(crate) fn enter() {
    IS_REACTOR.set(true);
}

/// Says that it is no such thread any longer: a simulation in it is over.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn leave() {
    IS_REACTOR.set(false);
}

/// Has this thread be one while it does something that does not panic.
#[cfg_attr(
    not(unix),
    allow(dead_code, reason = "only a task makes passes elsewhere")
)]
pub(crate) fn stay(act: impl FnOnce()) {
    let before = IS_REACTOR.replace(true);
    act();
    IS_REACTOR.set(before);
}

/// Whether this thread must not wait for a reactor.
pub(crate) fn is_here() -> bool {
    IS_REACTOR.get()
}

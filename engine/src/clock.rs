//! The time, as whoever uses an engine in this thread has it: the system's, or in a simulation its own.

use std::time::Instant;

#[cfg(any(test, feature = "testing"))]
thread_local! {
    static SIMULATED: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

/// The time for deadlines and pauses, as an engine has it that is used in this thread: the system's, and in a
/// simulation of `ampe::testing` the simulation's own. What is built on ampe and asks here can be tested there.
///
/// ```
/// use std::time::Duration;
///
/// let deadline = ampe::now() + Duration::from_secs(5);
/// assert!(deadline > std::time::Instant::now());
/// ```
pub fn now() -> Instant {
    #[cfg(any(test, feature = "testing"))]
    if let Some(now) = SIMULATED.get() {
        return now;
    }
    Instant::now()
}

/// Whether this thread lives in a simulation.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn is_simulated() -> bool {
    SIMULATED.get().is_some()
}

/// Has this thread live in a simulation, where it is so late; `None`: no longer.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn simulate(now: Option<Instant>) {
    SIMULATED.set(now);
}

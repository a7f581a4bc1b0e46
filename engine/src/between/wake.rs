//! How another thread wakes the reactor.

/// Wakes the reactor. Called after the lock is released; cheap while the reactor is awake.
pub(crate) trait Wake: Send + Sync {
    fn wake(&self);
}

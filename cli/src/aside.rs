//! Work on a thread of its own, which may hang with a disk: it is waited for within limits, and left
//! behind where it hangs.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::Failure;
use crate::interrupt;
use crate::patience::Patience;

/// How soon an interruption is noticed.
const INTERRUPTION: Duration = Duration::from_millis(50);

/// Work under way. Dropped, it goes on, and nobody learns what came of it.
#[derive(Debug)]
pub(crate) struct Aside<T> {
    thread: JoinHandle<T>,
    /// Disconnected when the work is done.
    done: mpsc::Receiver<()>,
}

impl<T: Send + 'static> Aside<T> {
    pub(crate) fn spawn(
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Aside<T>> {
        let (at_work, done) = mpsc::channel();
        let thread = thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            let _at_work: mpsc::Sender<()> = at_work;
            work()
        })?;
        Ok(Aside { thread, done })
    }

    /// What came of it; `None` if it hangs for as long as `limit`, in which nothing grows.
    pub(crate) fn wait_while_moving(
        self,
        limit: Duration,
        grows: impl Fn() -> u64,
    ) -> Result<Option<T>, Failure> {
        let mut patience = Patience::new(limit, Instant::now());
        let mut before = grows();
        while !patience.is_over() {
            let now = Instant::now();
            let look = patience.next_look(now).min(now + INTERRUPTION);
            if self.is_done_before(look) {
                return Ok(Some(self.join()));
            }
            interrupt::check()?;
            patience.look(Instant::now());
            let now = grows();
            if now != before {
                before = now;
                patience.renew(Instant::now());
            }
        }
        Ok(None)
    }

    /// What came of it; `None` if it is not done until `deadline`, whoever interrupts.
    pub(crate) fn wait_until(self, deadline: Instant) -> Option<T> {
        self.is_done_before(deadline).then(|| self.join())
    }

    fn is_done_before(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        self.done.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
    }

    fn join(self) -> T {
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

pub(crate) fn no_thread(error: &io::Error) -> Failure {
    Failure::new(format!(
        "cannot start a thread: {error}: close other programs"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_left_behind() {
        let (release, hangs) = mpsc::channel::<()>();
        let hung = Aside::spawn("hangs", move || hangs.recv()).unwrap();
        let hung = hung.wait_while_moving(Duration::from_millis(20), || 0);
        assert!(matches!(hung, Ok(None)));
        drop(release);
        let done = Aside::spawn("works", || 7).unwrap();
        let done = done.wait_while_moving(Duration::from_secs(60), || 0);
        assert!(matches!(done, Ok(Some(7))));
    }
}

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::wake_word::WakeWord;

/// How often a signal that the system refuses is tried before the caller is told.
const SIGNAL_ATTEMPTS: u32 = 3;

/// The longest sleep of a poller to which the system has ever refused a wake. Long enough to cost
/// nothing, short enough that what was posted with a refused wake is found soon.
pub(crate) const CAPPED_SLEEP: Duration = Duration::from_millis(100);

/// What gets a thread out of its backend's wait.
#[doc(hidden)]
pub trait Signal: Send + Sync {
    /// Makes the current wait return, or the next one if there is none.
    ///
    /// # Errors
    ///
    /// The system refuses.
    fn send(&self) -> io::Result<()>;
}

/// Makes a [`wait`](crate::Poller::wait) return, from any thread.
///
/// Wakes are coalesced and carry nothing: put what there is to say where the woken thread looks,
/// then wake it. Everything written before the wake is visible after the wait that reports it.
#[derive(Clone)]
pub struct Waker {
    shared: Arc<WakeState>,
}

impl Waker {
    pub(crate) fn new(signal: Arc<dyn Signal>) -> Waker {
        Waker {
            shared: Arc::new(WakeState {
                word: WakeWord::new(),
                signals: AtomicU64::new(0),
                signal,
            }),
        }
    }

    /// Makes the current wait return, or the next one if none is going on.
    ///
    /// Costs a system call only if the poller's thread sleeps and no other wake is on its way.
    ///
    /// # Errors
    ///
    /// The system refused the signal, several times. Then the thread may sleep on until its wait
    /// ends by itself; the next wake tries again, and from its next wait on the poller never
    /// sleeps longer than 100 milliseconds at a stretch, reporting the end of each such stretch as
    /// a wake. What was put down before the wake is thus found late, but found.
    pub fn wake(&self) -> io::Result<()> {
        self.shared.wake()
    }

    pub(crate) fn state(&self) -> &WakeState {
        &self.shared
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}

pub(crate) struct WakeState {
    pub(crate) word: WakeWord,
    /// How many signals were sent or tried, for the tests that count system calls.
    signals: AtomicU64,
    signal: Arc<dyn Signal>,
}

impl WakeState {
    fn wake(&self) -> io::Result<()> {
        if !self.word.notify() {
            return Ok(());
        }
        let sent = self.send();
        if sent.is_err() {
            self.word.refused();
        }
        sent
    }

    fn send(&self) -> io::Result<()> {
        let mut attempt = 1;
        loop {
            self.signals.fetch_add(1, Ordering::Relaxed);
            match self.signal.send() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if attempt < SIGNAL_ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    pub(crate) fn signals(&self) -> u64 {
        self.signals.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refuses as often as it is told, then works.
    #[derive(Default)]
    struct Stubborn {
        interruptions: AtomicU64,
        refusals: AtomicU64,
        sent: AtomicU64,
    }

    impl Signal for Stubborn {
        fn send(&self) -> io::Result<()> {
            if self.interruptions.load(Ordering::Relaxed) > 0 {
                self.interruptions.fetch_sub(1, Ordering::Relaxed);
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.refusals.load(Ordering::Relaxed) > 0 {
                self.refusals.fetch_sub(1, Ordering::Relaxed);
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    fn asleep(refusals: u32) -> (Arc<Stubborn>, Waker) {
        let signal = Arc::new(Stubborn {
            refusals: u64::from(refusals).into(),
            ..Stubborn::default()
        });
        let waker = Waker::new(Arc::clone(&signal) as Arc<dyn Signal>);
        assert!(waker.state().word.fall_asleep());
        (signal, waker)
    }

    #[test]
    fn a_signal_refused_once_is_tried_again() {
        let (signal, waker) = asleep(SIGNAL_ATTEMPTS - 1);
        waker.wake().unwrap();
        assert_eq!(signal.sent.load(Ordering::Relaxed), 1);
        assert!(!waker.state().word.has_been_refused());
    }

    #[test]
    fn a_signal_that_is_interrupted_is_not_refused() {
        let (signal, waker) = asleep(SIGNAL_ATTEMPTS - 1);
        signal.interruptions.store(100, Ordering::Relaxed);
        waker.wake().unwrap();
        assert_eq!(signal.sent.load(Ordering::Relaxed), 1);
        assert!(!waker.state().word.has_been_refused());
    }

    #[test]
    fn a_refused_wake_is_told_and_does_not_swallow_the_next() {
        let (signal, waker) = asleep(SIGNAL_ATTEMPTS);
        assert!(waker.wake().is_err());
        assert!(waker.state().word.has_been_refused());
        waker.wake().unwrap();
        assert_eq!(signal.sent.load(Ordering::Relaxed), 1);
        assert!(waker.state().word.get_up());
    }

    #[test]
    fn wakes_while_one_is_on_its_way_cost_nothing() {
        let (signal, waker) = asleep(0);
        for _ in 0..10 {
            waker.wake().unwrap();
        }
        assert_eq!(signal.sent.load(Ordering::Relaxed), 1);
    }
}

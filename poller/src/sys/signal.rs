//! What gets a thread out of epoll_wait or poll: an eventfd on Linux, elsewhere a pipe.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, read, write};

use crate::waker::Signal;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) type SystemSignal = EventFd;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) type SystemSignal = Pipe;

/// A signal that a list of descriptors can wait for.
pub trait WakeSource: Signal + Sized + 'static {
    /// # Errors
    ///
    /// There is no descriptor left.
    fn new() -> io::Result<Self>;

    /// Readable once a signal was sent, until drained.
    fn receiver(&self) -> BorrowedFd<'_>;

    /// Makes the receiver unreadable.
    ///
    /// # Errors
    ///
    /// The system fails to read what it reported as readable.
    fn drain(&self) -> io::Result<()>;
}

/// A counter: readable while it is not zero.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[derive(Debug)]
pub struct EventFd {
    counter: OwnedFd,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl WakeSource for EventFd {
    fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(EventFd { counter })
    }

    fn receiver(&self) -> BorrowedFd<'_> {
        self.counter.as_fd()
    }

    fn drain(&self) -> io::Result<()> {
        let mut count = [0; 8];
        drained(read(&self.counter, &mut count))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Signal for EventFd {
    fn send(&self) -> io::Result<()> {
        loop {
            match write(&self.counter, &1u64.to_ne_bytes()) {
                // Full, and so perhaps reported long ago: only a change is sure to be reported.
                Err(Errno::AGAIN) => self.drain()?,
                outcome => return Ok(outcome.map(drop)?),
            }
        }
    }
}

/// Bytes that nobody looks at: readable while there are any.
#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
#[derive(Debug)]
#[allow(unreachable_pub, reason = "on Linux it is there for the tests alone")]
pub struct Pipe {
    receiver: OwnedFd,
    sender: OwnedFd,
}

#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
impl WakeSource for Pipe {
    fn new() -> io::Result<Self> {
        let (receiver, sender) = rustix::pipe::pipe()?;
        for end in [&receiver, &sender] {
            rustix::io::ioctl_fionbio(end, true)?;
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
        }
        Ok(Pipe { receiver, sender })
    }

    fn receiver(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }

    fn drain(&self) -> io::Result<()> {
        let mut bytes = [0; 256];
        loop {
            match read(&self.receiver, &mut bytes) {
                Ok(length) if length == bytes.len() => {}
                outcome => return drained(outcome),
            }
        }
    }
}

#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
impl Signal for Pipe {
    fn send(&self) -> io::Result<()> {
        match write(&self.sender, &[0]) {
            // Full, and so readable.
            Err(Errno::AGAIN) => Ok(()),
            outcome => Ok(outcome.map(drop)?),
        }
    }
}

/// Nothing to drain is drained; an interrupted drain is made up for by the next wait.
fn drained(outcome: Result<usize, Errno>) -> io::Result<()> {
    match outcome {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_readable(signal: &impl WakeSource) -> bool {
        let mut polled = [PollFd::from_borrowed_fd(signal.receiver(), PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).unwrap() == 1
    }

    /// Until a pipe is full, and beyond.
    fn one_drain_takes_all_that_was_sent<S: WakeSource>() {
        let signal = S::new().unwrap();
        for sent in [0, 1, 255, 256, 257, 512, 100_000] {
            for _ in 0..sent {
                signal.send().unwrap();
            }
            assert_eq!(is_readable(&signal), sent > 0);
            signal.drain().unwrap();
            assert!(!is_readable(&signal), "{sent} were sent");
        }
    }

    #[test]
    fn one_drain_takes_all_that_was_sent_by_a_pipe() {
        one_drain_takes_all_that_was_sent::<Pipe>();
    }

    #[test]
    fn one_drain_takes_all_that_was_sent_by_the_system_s_own() {
        one_drain_takes_all_that_was_sent::<SystemSignal>();
    }

    /// Who is told of changes alone hears of a signal whatever there was before it.
    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn a_counter_that_is_full_changes_with_a_signal() {
        let signal = EventFd::new().unwrap();
        write(&signal.counter, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        signal.send().unwrap();
        let mut count = [0; 8];
        read(&signal.counter, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
    }
}

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

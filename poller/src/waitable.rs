//! A flag that the event loops of others can wait for.

use std::fmt;
use std::io;

#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(windows)]
use std::os::windows::io::{AsHandle, BorrowedHandle};

#[cfg(windows)]
use crate::nt::event_object::EventObject;
#[cfg(unix)]
use crate::sys::{SystemSignal, WakeSource as _};
#[cfg(unix)]
use crate::waker::Signal as _;

/// A flag that any event loop can wait for: epoll, glib, a GUI's. Threads raise and lower it at will.
///
/// On Linux it is an eventfd, on other Unix systems a pipe, both readable while the flag is raised. On Windows
/// it is an event object, for WaitForMultipleObjects and its kin.
///
/// # Examples
///
/// ```
/// use ampe_poller::WaitableFlag;
///
/// let flag = WaitableFlag::new()?;
/// flag.raise()?; // whoever waits for it goes on
/// flag.raise()?;
/// flag.lower()?; // once is enough
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct WaitableFlag {
    #[cfg(unix)]
    signal: SystemSignal,
    #[cfg(windows)]
    event: EventObject,
}

impl WaitableFlag {
    /// One that is lowered.
    ///
    /// # Errors
    ///
    /// The process or the system has no descriptor left; or this is a system without such a thing
    /// ([`io::ErrorKind::Unsupported`]).
    pub fn new() -> io::Result<WaitableFlag> {
        #[cfg(unix)]
        return Ok(WaitableFlag {
            signal: SystemSignal::new()?,
        });
        #[cfg(windows)]
        return Ok(WaitableFlag {
            event: EventObject::new()?,
        });
        #[cfg(not(any(unix, windows)))]
        return Err(io::ErrorKind::Unsupported.into());
    }

    /// Raises it, if it is not raised.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn raise(&self) -> io::Result<()> {
        #[cfg(unix)]
        return self.signal.send();
        #[cfg(windows)]
        return self.event.set();
        #[cfg(not(any(unix, windows)))]
        return Ok(());
    }

    /// Lowers it. What is raised while this goes on may be lowered with it.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn lower(&self) -> io::Result<()> {
        #[cfg(unix)]
        return self.signal.drain();
        #[cfg(windows)]
        return self.event.reset();
        #[cfg(not(any(unix, windows)))]
        return Ok(());
    }
}

#[cfg(unix)]
impl AsFd for WaitableFlag {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signal.receiver()
    }
}

#[cfg(windows)]
impl AsHandle for WaitableFlag {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.event.as_handle()
    }
}

impl fmt::Debug for WaitableFlag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WaitableFlag")
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    fn is_raised(flag: &WaitableFlag) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut polled = [PollFd::new(flag, PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut polled, Some(&at_once)).unwrap() == 1
    }

    #[cfg(windows)]
    fn is_raised(flag: &WaitableFlag) -> bool {
        flag.event.is_set().unwrap()
    }

    #[test]
    fn it_is_raised_until_it_is_lowered() {
        let flag = WaitableFlag::new().unwrap();
        assert!(!is_raised(&flag));
        flag.lower().unwrap();
        for _ in 0..3 {
            flag.raise().unwrap();
            flag.raise().unwrap();
            assert!(
                is_raised(&flag) && is_raised(&flag),
                "looking lowers nothing"
            );
            flag.lower().unwrap();
            assert!(!is_raised(&flag));
        }
    }
}

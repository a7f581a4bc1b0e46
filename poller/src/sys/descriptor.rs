//! What the backends over descriptors share: handles by number, captured once, and timeouts.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use rustix::event::Timespec;

use crate::poller::Source;
use crate::sys::SealedSource;
use crate::timeout::{LONGEST, round_up};

impl<S: AsFd> SealedSource<RawFd> for S {}

impl<S: AsFd> Source<RawFd> for S {
    fn handle(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Lends the descriptor of a registered source to a system call.
pub(super) fn borrow(handle: RawFd) -> BorrowedFd<'static> {
    // SAFETY: a handle comes only from a source's `as_fd`, which promises a descriptor (never -1)
    // that stays open while the source is lent. The poller owns the source, lends it as `&S` only
    // and deregisters it before it lets it go; backends borrow a handle for one system call, and
    // only between registration and deregistration.
    unsafe { BorrowedFd::borrow_raw(handle) }
}

/// For a call that counts in milliseconds, and would cut the rest off.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn timespec(timeout: Duration) -> Timespec {
    exact_timespec(round_up(timeout))
}

/// For poll(2): `ppoll` where there is one.
pub(super) fn fine_timespec(timeout: Duration) -> Timespec {
    let has_ppoll = cfg!(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "netbsd"
    ));
    exact_timespec(match has_ppoll {
        true => timeout.min(LONGEST),
        false => round_up(timeout),
    })
}

fn exact_timespec(timeout: Duration) -> Timespec {
    // The longest fits every type that a system uses for seconds.
    Timespec {
        tv_sec: timeout.as_secs() as _,
        tv_nsec: timeout.subsec_nanos() as _,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a system sleeps for is never less than what was asked, but for what another call makes up for.
    #[test]
    fn no_timeout_is_cut_short() {
        for nanos in [1, 999, 1_000, 999_999, 1_000_001, 1_999_999_999] {
            let asked = Duration::from_nanos(nanos);
            let given = fine_timespec(asked);
            let given = Duration::new(given.tv_sec as u64, given.tv_nsec as u32);
            assert!(given >= asked, "{nanos}");
            if cfg!(target_os = "linux") {
                assert_eq!(given, asked, "poll(2) counts nanoseconds here");
            }
        }
        assert_eq!(fine_timespec(Duration::MAX), exact_timespec(LONGEST));
    }
}

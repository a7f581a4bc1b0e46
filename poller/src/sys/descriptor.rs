//! What the backends over descriptors share: handles by number, captured once, and timeouts.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use rustix::event::Timespec;

use crate::poller::Source;
use crate::sys::SealedSource;
use crate::timeout::round_up;

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

pub(super) fn timespec(timeout: Duration) -> Timespec {
    let timeout = round_up(timeout);
    // The bound of `round_up` fits every type that a system uses for seconds.
    Timespec {
        tv_sec: timeout.as_secs() as _,
        tv_nsec: timeout.subsec_nanos() as _,
    }
}

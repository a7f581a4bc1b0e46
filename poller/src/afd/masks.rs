//! Interest in AFD's flags, and AFD's flags as readiness.
//!
//! What reports as readable is what a read would tell: data, a connection, the end, a reset, a
//! failed attempt to connect. The peer's end of sending is no matter of writing, and stays set for
//! ever, so it is not polled for where only writing is wanted. Urgent data is left out: it counts as
//! readable to none of the reads that users make, and would never be consumed.

use crate::event::Hints;
use crate::interest::Interest;
use crate::nt::flag;

const READABLE: u32 =
    flag::RECEIVE | flag::ACCEPT | flag::DISCONNECT | flag::ABORT | flag::CONNECT_FAIL;
const WRITABLE: u32 = flag::SEND | flag::ABORT | flag::CONNECT_FAIL;

/// What to poll for.
pub(super) fn mask(interest: Interest) -> u32 {
    let mut mask = 0;
    if interest.is_readable() {
        mask |= READABLE;
    }
    if interest.is_writable() {
        mask |= WRITABLE;
    }
    mask
}

/// What the flags are ready for.
pub(super) fn readiness(events: u32) -> Interest {
    let mut readiness = Interest::NONE;
    if events & READABLE != 0 {
        readiness |= Interest::READABLE;
    }
    if events & WRITABLE != 0 {
        readiness |= Interest::WRITABLE;
    }
    readiness
}

/// What the flags tell of a connection's end.
pub(super) fn hints(events: u32) -> Hints {
    Hints::NONE
        .and(Hints::PEER_CLOSED, events & flag::DISCONNECT != 0)
        .and(Hints::RESET, events & flag::ABORT != 0)
        .and(Hints::HUNG_UP, events & flag::CONNECT_FAIL != 0)
        .and(Hints::FAILED, events & flag::CONNECT_FAIL != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_is_ready_for_what_it_is_polled_for() {
        let (read, write, both) = (Interest::READABLE, Interest::WRITABLE, Interest::BOTH);
        for (event, expected) in [
            (flag::RECEIVE, read),
            (flag::ACCEPT, read),
            (flag::DISCONNECT, read),
            (flag::SEND, write),
            (flag::ABORT, both),
            (flag::CONNECT_FAIL, both),
            (flag::LOCAL_CLOSE, Interest::NONE),
            (0, Interest::NONE),
        ] {
            assert_eq!(readiness(event), expected, "{event:#x}");
            for interest in [read, write, both] {
                let is_polled = mask(interest) & event != 0;
                assert_eq!(is_polled, !(interest & expected).is_empty(), "{event:#x}");
            }
        }
        // As numbers, since they are told to the kernel.
        assert_eq!(mask(Interest::NONE), 0);
        assert_eq!((mask(read), mask(write)), (0x199, 0x114));
        assert_eq!(mask(both), 0x19D);
        for never in [0x002, 0x020, 0x040] {
            assert_eq!(readiness(never), Interest::NONE, "{never:#x}");
        }
    }
}

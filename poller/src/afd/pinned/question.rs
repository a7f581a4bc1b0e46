//! What a poll asks.

use crate::nt::{AfdPollHandleInfo, AfdPollInfo, Handle, Status, timeout};

/// What is polled for.
#[derive(Clone, Copy, Debug)]
pub(in crate::afd) struct Question {
    pub(in crate::afd) socket: Handle,
    /// AFD's flags.
    pub(in crate::afd) mask: u32,
    /// Without a time limit. Else it is over after [`BOUNDED`](timeout::BOUNDED) at the latest.
    pub(in crate::afd) is_endless: bool,
}

impl Question {
    pub(super) const fn info(self) -> AfdPollInfo {
        AfdPollInfo {
            timeout: match self.is_endless {
                true => timeout::ENDLESS,
                false => timeout::BOUNDED,
            },
            number_of_handles: 1,
            exclusive: 0,
            handles: [AfdPollHandleInfo {
                handle: self.socket,
                events: self.mask,
                status: Status::SUCCESS,
            }],
        }
    }
}

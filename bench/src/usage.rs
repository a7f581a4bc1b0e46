//! What this process has used of the machine so far.

use std::ops::Sub;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeValLike;

use crate::task::Measured;

/// All threads together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// In microseconds.
    processor: i64,
    switches: i64,
    allocations: u64,
}

impl Usage {
    pub fn now() -> Usage {
        let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may look at itself");
        let time = usage.user_time() + usage.system_time();
        Usage {
            processor: time.num_microseconds(),
            switches: usage.voluntary_context_switches(),
            allocations: crate::allocations::so_far().unwrap_or(0),
        }
    }

    pub fn write_to(self, measured: &mut Measured) {
        measured.processor = self.processor as f64;
        measured.switches = u64::try_from(self.switches).unwrap_or(0);
        measured.allocations = crate::allocations::so_far().map(|_| self.allocations);
    }
}

impl Sub for Usage {
    type Output = Usage;

    fn sub(self, before: Usage) -> Usage {
        Usage {
            processor: self.processor - before.processor,
            switches: self.switches - before.switches,
            allocations: self.allocations - before.allocations,
        }
    }
}

/// Resident bytes of this process.
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

/// How many descriptors this process has open.
pub fn open_descriptors() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

/// Has this process open as many descriptors as the system lets it, and says how many.
pub fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 256;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

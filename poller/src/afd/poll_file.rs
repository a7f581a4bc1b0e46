//! The files that polls are issued on.

use crate::nt::{Handle, Nt, Status};

/// The key of all operations' packets.
pub(super) const OPERATION_KEY: usize = 0;

/// A file whose packets go to the port, and that queues none for what it answers at once.
///
/// There is no other way to have one than [`PollFile::new`], so an operation that is issued on one
/// and answered at once is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PollFile {
    file: Handle,
}

/// Why a file is not fit to poll on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unfit {
    pub(super) status: Status,
    /// Its packets go to the port already.
    pub(super) is_associated: bool,
}

impl PollFile {
    /// Makes a file fit to poll on, and counts the calls.
    pub(super) fn new<N: Nt>(
        nt: &N,
        port: Handle,
        file: Handle,
        calls: &mut u64,
    ) -> Result<PollFile, Unfit> {
        let unfit = |is_associated| {
            move |status| Unfit {
                status,
                is_associated,
            }
        };
        *calls += 1;
        nt.associate(file, port, OPERATION_KEY)
            .map_err(unfit(false))?;
        *calls += 1;
        nt.skip_packets_on_success(file).map_err(unfit(true))?;
        Ok(PollFile { file })
    }

    /// The same file, by another of its handles.
    pub(super) fn by(self, handle: Handle) -> PollFile {
        PollFile { file: handle }
    }

    pub(super) fn handle(self) -> Handle {
        self.file
    }
}

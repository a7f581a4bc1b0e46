//! The limits of a queue.

use std::time::Duration;

#[cfg(doc)]
use super::WorkQueue;

/// The limits of a [`WorkQueue`]. Start from the default and change what matters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueueOptions {
    /// How many jobs one worker may have at hand, also where it asks for more, or does not say. Default 8.
    pub credit: usize,
    /// How many workers may be lost over a job that may have been done, until it ends as unknown. Default 3;
    /// 0 counts as 1.
    pub losses: u32,
    /// How long a worker may have a job at hand, while it is at those before it, too. One that takes longer is let go,
    /// and what it has at hand was maybe done. Default `None`: for ever.
    pub patience: Option<Duration>,
    /// How many bytes of jobs may be there that have not ended; each counts with its content and 1 KiB. Default
    /// 64 MiB.
    pub bytes: usize,
}

impl Default for QueueOptions {
    fn default() -> Self {
        QueueOptions {
            credit: 8,
            losses: 3,
            patience: None,
            bytes: 64 << 20,
        }
    }
}

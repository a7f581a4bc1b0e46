//! The beginning of a frame that arrives before the budget is asked for the frame.

use crate::storage::{Cache, Storage};
use crate::wire::Header;

/// Once the budget runs short, so much of a frame has to be here before the budget is asked for it, or
/// all of a smaller one: announcing a frame costs a peer nothing.
const FIRST_PART: usize = 16 * 1024;

/// A frame with no more content is charged for its header alone: most of what it costs are its records.
const SMALL: usize = 1024;

/// What is here of the content of a frame that is not charged: nothing, or up to `len` bytes.
pub(super) struct FirstPart {
    storage: Storage,
    filled: usize,
    len: usize,
}

impl FirstPart {
    pub(super) fn none() -> Self {
        FirstPart {
            storage: Storage::none(),
            filled: 0,
            len: 0,
        }
    }

    /// How much of a frame's content is to be here first, if it is so long and so little of it is here.
    pub(super) fn wanted(header: &Header, here: usize) -> Option<usize> {
        let len = header.content_len().min(FIRST_PART);
        (len > SMALL && here < len).then_some(len)
    }

    /// So much is to be here, of which `here` is.
    pub(super) fn begin(len: usize, here: &[u8], cache: &mut Cache) -> Self {
        let mut first = FirstPart {
            storage: cache.take(len),
            filled: 0,
            len,
        };
        first.filled = copy(here, first.lacking());
        first
    }

    /// So many bytes were written to what was lacking. Returns whether all is here.
    pub(super) fn fill(&mut self, count: usize) -> bool {
        self.filled += count;
        self.lacking().is_empty()
    }

    pub(super) fn lacking(&mut self) -> &mut [u8] {
        &mut self.storage.bytes_mut()[self.filled..self.len]
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.storage.bytes()[..self.filled]
    }

    pub(super) fn into_storage(self) -> Storage {
        self.storage
    }
}

/// Copies as much as there is, and room for. Returns how much.
pub(super) fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let count = to.len().min(from.len());
    to[..count].copy_from_slice(&from[..count]);
    count
}

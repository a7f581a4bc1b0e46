//! The beginning of a frame that arrives before the budget is asked for the frame.

use crate::storage::{Cache, Storage};
use crate::wire::Header;

/// Once the budget runs short, so much of a frame has to be here before the budget is asked for it, or
/// all of a smaller one: announcing a frame costs a peer nothing.
const FIRST_PART: usize = 16 * 1024;

/// A frame with no more content is charged for its header alone: most of what it costs are its records.
const SMALL: usize = 1024;

/// What is here of the content of a frame that is not charged: nothing, or up to [`FIRST_PART`].
pub(super) struct FirstPart {
    storage: Storage,
    filled: usize,
}

impl FirstPart {
    pub(super) fn none() -> Self {
        FirstPart {
            storage: Storage::none(),
            filled: 0,
        }
    }

    /// Whether so much of a frame's content is to be here first that it is not enough that so much of it is.
    pub(super) fn is_wanted(header: &Header, here: usize) -> bool {
        let len = len_of(header);
        len > SMALL && here < len
    }

    /// Of a frame's content `here` is here.
    pub(super) fn begin(header: &Header, here: &[u8], cache: &mut Cache) -> Self {
        let mut first = FirstPart {
            storage: cache.take(len_of(header)),
            filled: 0,
        };
        first.filled = copy(here, first.lacking(header));
        first
    }

    /// So many bytes were written to what was lacking. Returns whether all is here.
    pub(super) fn fill(&mut self, header: &Header, count: usize) -> bool {
        self.filled += count;
        self.lacking(header).is_empty()
    }

    pub(super) fn lacking(&mut self, header: &Header) -> &mut [u8] {
        &mut self.storage.bytes_mut()[self.filled..len_of(header)]
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.storage.bytes()[..self.filled]
    }

    pub(super) fn into_storage(self) -> Storage {
        self.storage
    }
}

fn len_of(header: &Header) -> usize {
    header.content_len().min(FIRST_PART)
}

/// Copies as much as there is, and room for. Returns how much.
pub(super) fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let count = to.len().min(from.len());
    to[..count].copy_from_slice(&from[..count]);
    count
}

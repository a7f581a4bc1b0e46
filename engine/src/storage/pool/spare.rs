//! Free storage at hand where small messages are taken one after the other.

use crate::sync::Arc;

use super::{Pool, Storage};

/// So many pieces are fetched at a time.
pub(crate) const SPARE_PIECES: usize = 16;

/// Storage of the smallest size, fetched from a pool several pieces under one lock. Messages that are dropped go to the
/// pool as usual, which gives out first what it got last: whoever drops each before the next uses a few again and again.
#[derive(Default)]
pub(crate) struct Spare {
    free: Vec<Storage>,
}

impl Spare {
    /// One more piece, where so many are `wanted` now, this one among them: of these nothing is left over.
    #[inline]
    pub(crate) fn take(&mut self, wanted: usize, pool: &Arc<Pool>) -> Storage {
        match self.free.pop() {
            Some(storage) => storage,
            None => self.fetch(wanted, pool),
        }
    }

    #[cold]
    fn fetch(&mut self, wanted: usize, pool: &Arc<Pool>) -> Storage {
        pool.fetch(0, wanted.min(SPARE_PIECES), &mut self.free);
        match self.free.pop() {
            Some(storage) => storage,
            None => Storage::allocate(0, Some(Arc::clone(pool))),
        }
    }
}

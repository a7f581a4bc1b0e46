//! Free storage that one thread has to itself.

use crate::sync::{Arc, lock};

use super::super::sizes::{SIZES, size_for};
use super::{Pool, Storage, bytes_kept};

/// How much free storage the reactor keeps to itself, so that it locks the pool once per batch.
pub(crate) const CACHE_BYTES: usize = 1024 * 1024;

/// How much the reactor fetches at a time.
const FETCH_BYTES: usize = 64 * 1024;

/// The reactor's own free storage: taken from the pool and given back to it by the batch.
pub(crate) struct Cache {
    pool: Arc<Pool>,
    free: [Vec<Storage>; SIZES.len()],
    free_bytes: usize,
}

impl Cache {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Cache {
            pool,
            free: std::array::from_fn(|_| Vec::new()),
            free_bytes: 0,
        }
    }

    /// Storage for `len` bytes.
    #[inline(always)] // what receives messages does so for every one
    pub(crate) fn take(&mut self, len: usize) -> Storage {
        let size = size_for(len);
        if self.free[size].is_empty() {
            self.fetch(size);
        }
        let Some(storage) = self.free[size].pop() else {
            return Storage::allocate(size, Some(Arc::clone(&self.pool)));
        };
        self.free_bytes -= bytes_kept(size);
        storage
    }

    /// Bytes of free storage kept now.
    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> usize {
        self.free_bytes
    }

    /// Takes some free storage from the pool, at least one: the caller uses that at once.
    fn fetch(&mut self, size: usize) {
        let room = FETCH_BYTES.min(CACHE_BYTES.saturating_sub(self.free_bytes));
        let wanted = (room / bytes_kept(size)).max(1);
        self.pool.fetch(size, wanted, &mut self.free[size]);
        self.free_bytes += self.free[size].len() * bytes_kept(size);
    }

    /// Keeps storage whose message was sent; what is too much goes to the pool, half of the fullest
    /// size at once.
    pub(crate) fn give_back(&mut self, mut storage: Storage) {
        if storage.body().is_some() {
            storage.drop_body();
        }
        let is_free = storage.inbound().is_none() && !storage.is_held();
        // Charged or homeless storage takes the ordinary way, and that of another engine's message:
        // it is that engine's to count.
        let is_ours = |home: &Arc<Pool>| Arc::ptr_eq(home, &self.pool);
        if !is_free || !storage.home().is_some_and(is_ours) {
            return;
        }
        let size = storage.size();
        self.free[size].push(storage);
        self.free_bytes += bytes_kept(size);
        while self.free_bytes > CACHE_BYTES {
            self.give_half_back();
        }
    }

    /// Gives half of the fullest size back to the pool.
    fn give_half_back(&mut self) {
        let bytes_of = |&size: &usize| self.free[size].len() * bytes_kept(size);
        let fullest = (0..SIZES.len()).max_by_key(bytes_of).unwrap_or(0);
        let keep = self.free[fullest].len() / 2;
        let mut surplus = Vec::new();
        let mut state = lock(&self.pool.state);
        for storage in self.free[fullest].drain(keep..) {
            self.free_bytes -= bytes_kept(fullest);
            let refused = state.keep(storage, fullest, self.pool.limit, &mut surplus);
            surplus.extend(refused);
        }
        drop(state);
        surplus.into_iter().for_each(Storage::disown);
    }
}

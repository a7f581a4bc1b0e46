//! Free storage: taken by size, given back on drop, bounded in bytes.

use std::mem;

use crate::between::decision::Decision;
use crate::between::key::RecordKey;
use crate::between::wake::Wake;
use crate::sync::{Arc, Mutex, decide, lock};

use super::charge::Charge;
use super::sizes::{RECORD_COST, SIZES, size_for};

/// How much free storage of each size the reactor keeps to itself, so that it locks the pool once
/// per batch. A quarter of it is fetched at a time.
pub(crate) const CACHE_BYTES: usize = 256 * 1024;

/// The memory of one message. Always initialised, so that reuse writes nothing first.
pub(crate) struct Storage {
    bytes: Box<[u8]>,
    /// Free storage keeps its way home too, so that taking it from the pool touches no counter
    /// that threads share. [`Pool::close`] breaks the cycle.
    home: Option<Arc<Pool>>,
    pub(crate) charge: Charge,
}

impl Storage {
    /// No memory at all: for messages without content.
    pub(crate) fn none() -> Self {
        Storage {
            bytes: Box::default(),
            home: None,
            charge: Charge::None,
        }
    }

    /// Storage that no pool knows, for content that is put into a message without storage.
    pub(crate) fn unpooled(len: usize) -> Self {
        let bytes = vec![0; SIZES[size_for(len)]].into_boxed_slice();
        Storage {
            bytes,
            home: None,
            charge: Charge::None,
        }
    }

    fn allocate(size: usize, home: Arc<Pool>) -> Self {
        let bytes = vec![0; SIZES[size]].into_boxed_slice();
        Storage {
            bytes,
            home: Some(home),
            charge: Charge::None,
        }
    }

    /// Frees the memory rather than giving it back.
    fn disown(mut self) {
        self.home = None;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(crate) fn home(&self) -> Option<&Arc<Pool>> {
        self.home.as_ref()
    }

    /// What this storage costs while it is queued or delivered.
    pub(crate) fn cost(&self) -> usize {
        self.bytes.len() + RECORD_COST
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            let charge = mem::replace(&mut self.charge, Charge::None);
            home.give_back(mem::take(&mut self.bytes), charge, Arc::clone(&home));
        }
    }
}

/// Free storage, shared by the reactor and every thread that builds or drops messages.
pub(crate) struct Pool {
    state: Mutex<State>,
    /// The most bytes of free storage that are kept.
    limit: usize,
    waker: Box<dyn Wake>,
}

struct State {
    free: [Vec<Storage>; SIZES.len()],
    free_bytes: usize,
    /// Inbound charges given back since the reactor last looked.
    released: Vec<(RecordKey, usize)>,
    /// Whether the reactor has channels that wait for inbound budget, and wants to be woken.
    is_hungry: bool,
    is_closed: bool,
}

impl Pool {
    pub(crate) fn new(limit: usize, waker: Box<dyn Wake>) -> Self {
        let state = State {
            free: Default::default(),
            free_bytes: 0,
            released: Vec::new(),
            is_hungry: false,
            is_closed: false,
        };
        Pool {
            state: Mutex::new(state),
            limit,
            waker,
        }
    }

    /// Storage for `len` bytes, allocated if none is free.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Storage {
        let size = size_for(len);
        let mut state = lock(&self.state);
        if let Some(storage) = state.free[size].pop() {
            state.free_bytes -= SIZES[size];
            return storage;
        }
        drop(state);
        Storage::allocate(size, Arc::clone(self))
    }

    fn give_back(&self, bytes: Box<[u8]>, charge: Charge, home: Arc<Pool>) {
        let (size, cost) = (size_for(bytes.len()), bytes.len() + RECORD_COST);
        let storage = Storage {
            bytes,
            home: Some(home),
            charge: Charge::None,
        };
        let mut state = lock(&self.state);
        let kept = state.keep(storage, size, self.limit);
        let mut wake = false;
        if let Charge::Inbound(key) = charge {
            state.release(key, cost);
            wake = mem::replace(&mut state.is_hungry, false);
        }
        drop(state);
        if let Err(surplus) = kept {
            surplus.disown();
        }
        if wake {
            self.waker.wake();
        }
        // A charge of the kind `Returned` ends here, outside the lock.
    }

    /// Takes what was released since the last call. With `hungry`, the first release after it wakes
    /// the reactor, whether or not there was one before: what there was may not be enough. Nothing
    /// slips in between, as both happen under the same lock.
    pub(crate) fn take_released(&self, released: &mut Vec<(RecordKey, usize)>, hungry: bool) {
        assert!(released.is_empty(), "what was released before was settled");
        let mut state = lock(&self.state);
        mem::swap(&mut state.released, released);
        state.is_hungry = hungry && decide(Decision::ReactorIsHungry, true);
    }

    /// Lets go of all free storage, and keeps none from now on.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = decide(Decision::PoolIsClosed, true);
        state.free_bytes = 0;
        let free = mem::take(&mut state.free);
        drop(state);
        free.into_iter().flatten().for_each(Storage::disown);
    }

    /// Bytes of free storage kept now.
    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> usize {
        lock(&self.state).free_bytes
    }
}

impl State {
    fn keep(&mut self, storage: Storage, size: usize, limit: usize) -> Result<(), Storage> {
        if self.is_closed || self.free_bytes + SIZES[size] > limit {
            return Err(storage);
        }
        self.free_bytes += SIZES[size];
        self.free[size].push(storage);
        Ok(())
    }

    fn release(&mut self, key: RecordKey, cost: usize) {
        match self.released.last_mut() {
            Some((last, sum)) if *last == key => *sum += cost,
            _ => self.released.push((key, cost)),
        }
    }
}

/// The reactor's own free storage: taken from the pool and given back to it by the batch.
pub(crate) struct Cache {
    pool: Arc<Pool>,
    free: [Vec<Storage>; SIZES.len()],
}

impl Cache {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Cache {
            pool,
            free: Default::default(),
        }
    }

    /// Storage for `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Storage {
        let size = size_for(len);
        if let Some(storage) = self.free[size].pop() {
            return storage;
        }
        self.fetch(size);
        let free = self.free[size].pop();
        free.unwrap_or_else(|| Storage::allocate(size, Arc::clone(&self.pool)))
    }

    /// Bytes of free storage kept now, by size.
    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> [usize; SIZES.len()] {
        std::array::from_fn(|size| self.free[size].len() * SIZES[size])
    }

    fn fetch(&mut self, size: usize) {
        let mut state = lock(&self.pool.state);
        let wanted = (CACHE_BYTES / 4 / SIZES[size]).max(1);
        let kept = state.free[size].len().saturating_sub(wanted);
        let fetched = state.free[size].drain(kept..);
        self.free[size].extend(fetched);
        state.free_bytes -= self.free[size].len() * SIZES[size];
    }

    /// Keeps storage whose message was sent; what is too much goes to the pool, half of it at once.
    pub(crate) fn give_back(&mut self, storage: Storage) {
        let Storage {
            bytes,
            home: Some(home),
            charge: Charge::None,
        } = &storage
        else {
            return; // charged or homeless storage takes the ordinary way
        };
        if !Arc::ptr_eq(home, &self.pool) {
            return; // a message of another engine: its storage is that engine's to count
        }
        let size = size_for(bytes.len());
        self.free[size].push(storage);
        if self.free[size].len() * SIZES[size] <= CACHE_BYTES {
            return;
        }
        let keep = self.free[size].len() / 2;
        let mut surplus = Vec::new();
        let mut state = lock(&self.pool.state);
        for storage in self.free[size].drain(keep..) {
            surplus.extend(state.keep(storage, size, self.pool.limit).err());
        }
        drop(state);
        surplus.into_iter().for_each(Storage::disown);
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.free
            .iter_mut()
            .flat_map(mem::take)
            .for_each(Storage::disown);
    }
}

//! What a pool has, behind its lock.

use super::{PLACES_KEPT, Storage, bytes_kept};
use crate::between::key::RecordKey;
use crate::storage::sizes::SIZES;

pub(super) struct State {
    pub(super) free: [Vec<Storage>; SIZES.len()],
    pub(super) free_bytes: usize,
    /// The size of which most bytes were kept when some were kept last.
    pub(super) fullest: usize,
    /// Inbound charges given back since the reactor last looked.
    pub(super) released: Vec<(RecordKey, usize)>,
    /// After how many bytes more the reactor wants to be woken, if it has channels that wait for inbound
    /// budget.
    pub(super) wake_after: Option<usize>,
    pub(super) is_closed: bool,
}

impl State {
    #[inline]
    pub(super) fn take_free(&mut self, size: usize) -> Option<Storage> {
        let storage = self.free[size].pop()?;
        self.free_bytes -= bytes_kept(size);
        self.shrink(size);
        Some(storage)
    }

    /// Keeps a list that has become short from holding on to the memory of its best days.
    #[inline]
    pub(super) fn shrink(&mut self, size: usize) {
        let list = &mut self.free[size];
        if list.capacity() > PLACES_KEPT && list.len() < list.capacity() / 4 {
            list.shrink_to((2 * list.len()).max(PLACES_KEPT));
        }
    }

    /// Takes storage in that was given back, with what it was charged. What does not fit is `surplus`.
    /// Returns whether the reactor is to be woken.
    #[inline(always)] // each of the two that use it does so for every message
    pub(super) fn take_in(
        &mut self,
        storage: Storage,
        limit: usize,
        surplus: &mut Vec<Storage>,
    ) -> bool {
        let size = storage.size();
        let inbound = storage.inbound();
        let kept = self.free_bytes + bytes_kept(size);
        if size == self.fullest && kept <= limit && !self.is_closed {
            self.free_bytes = kept; // it is the usual thing
            self.free[size].push(storage);
        } else if let Some(refused) = self.keep(storage, size, limit, surplus) {
            surplus.push(refused);
        }
        inbound.is_some_and(|(key, cost)| self.release(key, cost))
    }

    /// Keeps storage, or hands it back if there is no room. The fullest size makes room for one that
    /// has less, so that the pool follows what is used; what has to go is moved to `surplus`.
    pub(super) fn keep(
        &mut self,
        storage: Storage,
        size: usize,
        limit: usize,
        surplus: &mut Vec<Storage>,
    ) -> Option<Storage> {
        let added = bytes_kept(size);
        if self.is_closed || added > limit {
            return Some(storage);
        }
        while self.free_bytes + added > limit {
            let has_more = self.bytes_of(self.fullest) > self.bytes_of(size) + added;
            let Some(evicted) = has_more.then(|| self.take_free(self.fullest)).flatten() else {
                return Some(storage);
            };
            surplus.push(evicted);
        }
        self.free_bytes += added;
        self.free[size].push(storage);
        if size != self.fullest && self.bytes_of(size) > self.bytes_of(self.fullest) {
            self.fullest = size;
        }
        None
    }

    fn bytes_of(&self, size: usize) -> usize {
        self.free[size].len() * bytes_kept(size)
    }

    /// Notes what was released, and returns whether the reactor is to be woken for it.
    #[inline]
    pub(super) fn release(&mut self, key: RecordKey, cost: usize) -> bool {
        if self.is_closed {
            return false; // the reactor has ended, and counts no more
        }
        match self.released.last_mut() {
            Some((last, sum)) if *last == key => *sum += cost,
            _ => self.released.push((key, cost)),
        }
        let Some(left) = &mut self.wake_after else {
            return false;
        };
        *left = left.saturating_sub(cost);
        *left == 0 && self.wake_after.take().is_some()
    }
}

//! Messages that a thread drops while it takes events from a batch, given back together.

use std::cell::{Cell, RefCell};
use std::ptr;

use super::{Pool, Storage};
use crate::sync::Arc;

/// So many messages are kept at most before they are given back.
pub(crate) const DROPPED_MOST: usize = 32;

/// They are given back as soon as so many bytes are charged for them, or lie in what is not charged.
pub(crate) const DROPPED_BYTES: usize = 32 * 1024;

thread_local! {
    /// The pool to which this thread gives messages back together. Only compared.
    static POOL: Cell<*const Pool> = const { Cell::new(ptr::null()) };
    static DROPPED: RefCell<Dropped> = const { RefCell::new(Dropped { storages: Vec::new(), bytes: 0 }) };
}

/// What this thread has dropped and not given back. All of it is of one pool.
struct Dropped {
    storages: Vec<Storage>,
    bytes: usize,
}

/// From now on this thread keeps the messages of this pool that it drops, and gives them back together: at the latest
/// when there are [`DROPPED_MOST`] or [`DROPPED_BYTES`] of them, and by [`give_back_dropped`]. To be called only while
/// the caller has events that it has not taken: what is kept here is charged to the inbound budget, as those are.
#[inline]
pub(crate) fn keep_dropped(pool: &Arc<Pool>) {
    if POOL.get() != Arc::as_ptr(pool) {
        give_back_dropped();
        POOL.set(Arc::as_ptr(pool));
    }
}

/// Gives back what this thread keeps, and has it keep nothing more.
#[inline]
pub(crate) fn give_back_dropped() {
    if !POOL.replace(ptr::null()).is_null() {
        give_back();
    }
}

/// Keeps what is dropped, if this thread does so for its pool. Hands it back if not.
#[inline]
pub(super) fn keep(storage: Storage, home: *const Pool) -> Option<Storage> {
    if POOL.get() != home || storage.is_held() {
        return Some(storage);
    }
    let mut storage = Some(storage);
    // At a thread's end there is no place for it any more.
    let is_full = DROPPED.try_with(|dropped| dropped.borrow_mut().push(storage.take()));
    if is_full == Ok(true) {
        give_back();
    }
    storage
}

impl Dropped {
    /// Adds it, and returns whether it is time to give all back.
    #[inline]
    fn push(&mut self, storage: Option<Storage>) -> bool {
        if let Some(storage) = storage {
            let charged = storage.inbound().map(|(_, cost)| cost);
            self.bytes += charged.unwrap_or_else(|| storage.bytes().len());
            self.storages.push(storage);
        }
        self.storages.len() >= DROPPED_MOST || self.bytes >= DROPPED_BYTES
    }
}

/// Gives it all back under one lock.
#[cold]
fn give_back() {
    let take = |dropped: &RefCell<Dropped>| {
        let mut dropped = dropped.borrow_mut();
        dropped.bytes = 0;
        std::mem::take(&mut dropped.storages)
    };
    let Ok(mut storages) = DROPPED.try_with(take) else {
        return; // they were given back at the thread's end, one by one
    };
    let home = storages.first().and_then(|first| first.home().cloned());
    if let Some(home) = home {
        home.give_back_all(storages.drain(..));
    }
    // Its places are for the next, unless some came meanwhile.
    let _ = DROPPED.try_with(|dropped| {
        let mut dropped = dropped.borrow_mut();
        if dropped.storages.is_empty() {
            dropped.storages = storages;
        }
    });
}

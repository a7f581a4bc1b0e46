//! Messages that a thread drops while it takes events from a batch, given back together.

use std::cell::{Cell, RefCell};

use super::{Pool, Storage};
use crate::between::key::RecordKey;
use crate::sync::Arc;

/// So many messages are kept at most before they are given back.
pub(crate) const DROPPED_MOST: usize = 32;

/// They are given back as soon as so many bytes are charged for them.
pub(crate) const DROPPED_BYTES: usize = 32 * 1024;

thread_local! {
    /// Whose messages this thread gives back together.
    static KEPT_FOR: Cell<Option<Holder>> = const { Cell::new(None) };
    static DROPPED: RefCell<Dropped> = const { RefCell::new(Dropped { storages: Vec::new(), charged: 0 }) };
}

/// A connection whose messages are charged, and the pool of its engine, which is only compared.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Holder {
    pool: *const Pool,
    key: RecordKey,
}

/// What this thread has dropped and not given back, all of it of one holder.
struct Dropped {
    storages: Vec<Storage>,
    /// What is charged for it.
    charged: usize,
}

/// From now on this thread keeps the messages that it drops of the connection from which `last` was received, and gives
/// them back together: at the latest when there are [`DROPPED_MOST`] of them or [`DROPPED_BYTES`], and by
/// [`give_back_dropped`]. To be called only while `last` is an event's that the caller has not taken. So it is as if that
/// connection had sent up to so much more; what others have sent is given back at once.
#[inline]
pub(crate) fn keep_dropped(last: Option<&Storage>) {
    give_back_dropped();
    KEPT_FOR.set(last.and_then(|last| {
        let pool = Arc::as_ptr(last.home()?);
        let (key, _) = last.inbound()?;
        Some(Holder { pool, key })
    }));
}

/// Gives back what this thread keeps, and has it keep nothing more.
#[inline]
pub(crate) fn give_back_dropped() {
    if KEPT_FOR.take().is_some() {
        give_back();
    }
}

/// Keeps what is dropped, if this thread does so for its connection. Hands it back if not.
#[inline]
pub(super) fn keep(storage: Storage, home: *const Pool) -> Option<Storage> {
    let Some(holder) = KEPT_FOR.get() else {
        return Some(storage);
    };
    let charged = match storage.inbound() {
        Some((key, charged)) if holder == (Holder { pool: home, key }) => charged,
        _ => return Some(storage),
    };
    let mut storage = Some(storage);
    // At a thread's end there is no place for it any more.
    let keep = |dropped: &RefCell<Dropped>| dropped.borrow_mut().push(storage.take(), charged);
    if DROPPED.try_with(keep) == Ok(true) {
        give_back();
    }
    storage
}

impl Dropped {
    /// Adds it, and returns whether it is time to give all back.
    #[inline]
    fn push(&mut self, storage: Option<Storage>, charged: usize) -> bool {
        self.charged += charged;
        self.storages.extend(storage);
        self.storages.len() >= DROPPED_MOST || self.charged >= DROPPED_BYTES
    }
}

/// Gives it all back under one lock.
#[cold]
fn give_back() {
    let take = |dropped: &RefCell<Dropped>| {
        let mut dropped = dropped.borrow_mut();
        dropped.charged = 0;
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

//! Free storage that a thread keeps: what it has posted by value lay there, and what it builds next may.
//!
//! So a thread that posts one message after the other locks the pool for none of them.

use std::cell::Cell;

use super::dropped::DROPPED_MOST;
use super::{Pool, SLOT_COST, Storage, bytes_kept};
use crate::storage::sizes::{SIZES, SMALLEST_SIZE};
use crate::sync::Arc;

/// The longest that is kept: what is posted by value is no longer, 8 KiB and a header, or a step more.
pub(crate) const SPARE_MAX: usize = 8 * 1024 + 2 * SMALLEST_SIZE;

// As `Options` say, with the places for what is dropped in a batch.
const _: () = {
    let places = DROPPED_MOST * size_of::<Storage>();
    assert!(SMALLEST_SIZE + SPARE_MAX + 2 * SLOT_COST + places <= 10 * 1024);
};

/// A piece of the smallest size, where every message begins, and one of another.
type Places = [Cell<Option<Storage>>; 2];

thread_local! {
    static SPARE: Places = const { [Cell::new(None), Cell::new(None)] };
}

#[inline]
fn place(places: &Places, size: usize) -> &Cell<Option<Storage>> {
    &places[usize::from(size > 0)]
}

/// A piece of this pool and size, if the thread keeps one.
#[inline]
pub(super) fn take(pool: &Arc<Pool>, size: usize) -> Option<Storage> {
    let take = |places: &Places| {
        let place = place(places, size);
        let spare = place.take()?;
        if spare.size() == size && spare.home().is_some_and(|it| Arc::ptr_eq(it, pool)) {
            return Some(spare);
        }
        place.set(Some(spare));
        None
    };
    // At a thread's end there is no place for it any more.
    SPARE.try_with(take).ok().flatten()
}

/// Keeps storage whose content is not needed any more, if it is free and its pool keeps any. It takes the place of what
/// was kept, which goes to its own pool.
#[inline]
pub(crate) fn keep_spare(storage: Storage) {
    let is_free = storage.inbound().is_none() && !storage.is_held() && storage.body().is_none();
    let size = storage.size();
    let may_keep = |home: &Arc<Pool>| SIZES[size] <= SPARE_MAX && bytes_kept(size) <= home.limit;
    if is_free && storage.home().is_some_and(may_keep) {
        let _ = SPARE.try_with(|places| place(places, size).set(Some(storage)));
    }
}

/// Gives back what this thread keeps. Until then, or until the thread ends, the records of its pool are not freed.
pub(crate) fn give_back_spare() {
    let _ = SPARE.try_with(|places| places.iter().for_each(|place| drop(place.take())));
}

//! What a thread keeps of what it has posted.

use std::sync::Arc;

use super::pool::{Counter, kept, key, pool, received, released};
use crate::storage::pool::{SPARE_MAX, Storage};
use crate::storage::sizes::cost_of;
use crate::storage::{Creditor, Hold, Lens, Shared, give_back_spare, keep_spare};

fn place(storage: &Storage) -> *const u8 {
    storage.bytes().as_ptr()
}

#[test]
fn what_is_kept_serves_the_next_of_its_size() {
    let pool = pool(1 << 20);
    let (mut small, longer) = (pool.take(10), pool.take(2000));
    small.set_lens(Lens {
        text_headers: 3,
        body: 4,
    });
    let places = (place(&small), place(&longer));
    keep_spare(small);
    keep_spare(longer);
    assert_eq!(pool.free_bytes(), 0);
    let other = pool.take(1000);
    assert_ne!(place(&other), places.1, "it has another size");
    let (small, longer) = (pool.take(10), pool.take(2000));
    assert_eq!((place(&small), place(&longer)), places);
    assert_eq!((small.lens().text_headers, small.lens().body), (0, 0));
    assert_ne!(place(&pool.take(10)), places.0, "it is in use");
    pool.close();
}

#[test]
fn what_is_kept_serves_its_own_pool() {
    let [ours, other] = [(); 2].map(|()| pool(1 << 20));
    let small = ours.take(10);
    let before = place(&small);
    keep_spare(small);
    let theirs = other.take(10);
    assert_ne!(place(&theirs), before);
    assert_eq!(place(&ours.take(10)), before);
    keep_spare(theirs);
    assert_eq!((ours.free_bytes(), other.free_bytes()), (kept(0), 0));
    give_back_spare();
    assert_eq!(other.free_bytes(), kept(0));
    ours.close();
    other.close();
}

#[test]
fn one_of_a_kind_is_kept_and_the_one_before_goes_home() {
    let pool = pool(1 << 20);
    let [first, second] = [(); 2].map(|()| pool.take(10));
    let before = place(&first);
    keep_spare(first);
    keep_spare(second);
    assert_eq!(pool.free_bytes(), kept(0));
    give_back_spare();
    give_back_spare();
    assert_eq!(pool.free_bytes(), 2 * kept(0));
    assert_ne!(place(&pool.take(10)), before, "the last comes first");
    pool.close();
}

/// Somebody waits for what is charged, for a body, or for the memory.
#[test]
fn what_is_not_free_is_not_kept_nor_what_is_too_long() {
    let pool = pool(1 << 20);
    keep_spare(Storage::none());
    keep_spare(received(&pool, 10, 1));
    assert_eq!(released(&pool), [(key(1), cost_of(10))]);
    let given = Counter::default();
    let mut returned = pool.take(10);
    returned.set_hold(Hold::new(given.clone().shared(), 7));
    keep_spare(returned);
    assert_eq!(given.count(), 7);
    let body = Arc::new(Shared::owning(vec![7; 3]));
    let mut leading = pool.take(10);
    leading.set_body(Arc::clone(&body));
    keep_spare(leading);
    assert_eq!(Arc::strong_count(&body), 1);
    let before = pool.free_bytes();
    let long = pool.take(SPARE_MAX + 1);
    keep_spare(long);
    assert!(pool.free_bytes() > before);
    pool.close();
}

#[test]
fn of_a_pool_that_keeps_nothing_no_thread_keeps_anything() {
    let pool = pool(0);
    keep_spare(pool.take(10));
    assert_eq!(Arc::strong_count(&pool), 1);
    keep_spare(Storage::unpooled(10)); // nor what is of none
}

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use proptest::prelude::*;

use crate::between::key::{GroupPlace, RecordKey};
use crate::between::wake::Wake;
use crate::storage::pool::{CACHE_BYTES, Cache, FREE_COST, Pool, Storage};
use crate::storage::sizes::{SIZES, cost_of};
use crate::storage::{Creditor, Hold, Shared};

#[derive(Clone, Default)]
pub(super) struct Counter(Arc<AtomicUsize>);

impl Counter {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Counter {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Creditor for Counter {
    fn release(&self, cost: usize) {
        self.0.fetch_add(cost, Ordering::Relaxed);
    }

    fn group(&self) -> GroupPlace {
        GroupPlace(0)
    }
}

pub(super) fn pool(limit: usize) -> Arc<Pool> {
    Arc::new(Pool::new(limit, Box::new(Counter::default())))
}

/// What one free storage of a size counts as.
pub(super) fn kept(size: usize) -> usize {
    SIZES[size] + FREE_COST
}

pub(super) fn key(index: u32) -> RecordKey {
    RecordKey {
        index,
        generation: 1,
    }
}

pub(super) fn received(pool: &Arc<Pool>, len: usize, index: u32) -> Storage {
    let mut storage = pool.take(len);
    storage.charge_inbound(key(index), cost_of(len));
    storage
}

pub(super) fn released(pool: &Pool) -> Vec<(RecordKey, usize)> {
    let mut released = Vec::new();
    pool.take_released(&mut released, None);
    released
}

#[test]
fn storage_comes_home_and_is_used_again_as_it_is() {
    let pool = pool(1 << 20);
    let mut storage = pool.take(100);
    assert!(storage.bytes().iter().all(|&byte| byte == 0));
    storage.bytes_mut().fill(7);
    let place = storage.bytes().as_ptr();
    drop(storage);
    assert_eq!(pool.free_bytes(), kept(0));
    let storage = pool.take(SIZES[0]);
    assert_eq!(storage.bytes().as_ptr(), place);
    assert!(storage.bytes().iter().all(|&byte| byte == 7));
    assert_eq!(pool.free_bytes(), 0);
    drop(storage);
    pool.close();
}

#[test]
fn no_memory_at_all_has_no_home_to_come_to() {
    let storage = Storage::none();
    assert!(storage.home().is_none());
    assert!(storage.bytes().is_empty());
    assert!(storage.inbound().is_none() && !storage.is_held());
}

#[test]
fn a_charge_is_released_once_and_summed_by_connection() {
    let wakes = Counter::default();
    let pool = Arc::new(Pool::new(0, Box::new(wakes.clone())));
    let charged = [(1, 10), (1, 300), (2, 10), (1, 10)];
    drop(charged.map(|(index, len)| received(&pool, len, index)));
    drop(pool.take(10));
    let sums = [
        (key(1), cost_of(10) + cost_of(300)),
        (key(2), cost_of(10)),
        (key(1), cost_of(10)),
    ];
    assert_eq!(released(&pool), sums);
    assert_eq!(released(&pool), []);
    assert_eq!(wakes.count(), 0, "nobody starved");
    // What was released is free of its charge when it is used again.
    drop(received(&pool, 10, 1));
    let again = pool.take(10);
    assert!(again.inbound().is_none() && !again.is_held());
}

#[test]
fn a_starving_reactor_is_woken_by_the_first_release_alone() {
    let wakes = Counter::default();
    let pool = Arc::new(Pool::new(0, Box::new(wakes.clone())));
    let all = [1, 2, 3, 4].map(|index| received(&pool, 10, index));
    pool.take_released(&mut Vec::new(), Some(0));
    drop(pool.take(10));
    assert_eq!(wakes.count(), 0, "nothing was released");
    let [first, second, third, fourth] = all;
    drop(first);
    drop(second);
    assert_eq!(wakes.count(), 1);
    pool.take_released(&mut Vec::new(), Some(0));
    drop(third);
    assert_eq!(wakes.count(), 2, "what it found may not have been enough");
    pool.take_released(&mut Vec::new(), Some(0));
    pool.take_released(&mut Vec::new(), None);
    drop(fourth);
    assert_eq!(wakes.count(), 2, "it starves no more");
}

/// Whichever of them comes to what is waited for.
#[test]
fn storage_that_comes_back_together_wakes_a_starving_reactor_once() {
    let wakes = Counter::default();
    let pool = Arc::new(Pool::new(0, Box::new(wakes.clone())));
    let each = cost_of(10);
    for (wake_after, expected) in [(0, 1), (each, 2), (2 * each, 3), (3 * each, 3)] {
        let both = [1, 2].map(|index| received(&pool, 10, index));
        pool.take_released(&mut Vec::new(), Some(wake_after));
        pool.give_back_all(both.into_iter());
        assert_eq!(wakes.count(), expected, "after {wake_after} bytes");
    }
}

#[test]
fn a_hold_is_given_back_once_or_passed_on() {
    let creditor = Counter::default();
    let hold = || Hold::new(creditor.clone().shared(), 100);
    drop(hold());
    assert_eq!(creditor.count(), 100);
    hold().pass_on();
    assert_eq!(creditor.count(), 100);

    let pool = pool(1 << 20);
    let mut cache = Cache::new(Arc::clone(&pool));
    for give_back in [drop, |storage| drop(Some(storage))] as [fn(Storage); 2] {
        let mut storage = pool.take(10);
        storage.set_hold(hold());
        give_back(storage);
    }
    let mut storage = pool.take(10);
    storage.set_hold(hold());
    cache.give_back(storage);
    let mut storage = Storage::unpooled(10);
    storage.set_hold(hold());
    drop(storage);
    assert_eq!(creditor.count(), 500);
    assert_eq!(released(&pool), []);
    pool.close();
}

#[test]
fn a_cache_fetches_some_and_gives_half_of_its_fullest_size_back() {
    const SIZE: usize = 15; // 4 KiB
    let pool = pool(16 << 20);
    let full = CACHE_BYTES / kept(SIZE);
    let take = |_| pool.take(SIZES[SIZE]);
    drop((0..2 * full).map(take).collect::<Vec<_>>());
    let all = pool.free_bytes();
    let mut cache = Cache::new(Arc::clone(&pool));
    let first = cache.take(SIZES[SIZE]);
    let fetched = all - pool.free_bytes();
    assert!(
        (32 * 1024..=64 * 1024).contains(&fetched),
        "{fetched} bytes"
    );
    assert_eq!(cache.free_bytes(), fetched - kept(SIZE));
    let mut held: Vec<_> = (1..=full).map(|_| cache.take(SIZES[SIZE])).collect();
    held.push(first);
    cache.give_back(cache_of_another_size(&pool));
    let before = pool.free_bytes();
    let mut changes = Vec::new();
    for storage in held {
        cache.give_back(storage);
        let after = pool.free_bytes() - before;
        if after > 0 && changes.last() != Some(&after) {
            changes.push(after);
        }
        assert!(cache.free_bytes() <= CACHE_BYTES);
    }
    let [at_once] = changes[..] else {
        panic!("{changes:?}")
    };
    let half = full / 2 * kept(SIZE);
    assert!(half.abs_diff(at_once) <= 2 * kept(SIZE), "{at_once} bytes");
    drop(cache);
    pool.close();
}

fn cache_of_another_size(pool: &Arc<Pool>) -> Storage {
    pool.take(SIZES[0])
}

/// Traffic of all sizes must not multiply what the reactor keeps by the number of sizes.
#[test]
fn a_cache_is_bounded_over_all_sizes_together() {
    let pool = pool(64 << 20);
    let mut cache = Cache::new(Arc::clone(&pool));
    for round in 0..4 {
        let held: Vec<_> = (0..40 * SIZES.len())
            .map(|at| cache.take(SIZES[at % SIZES.len()]))
            .collect();
        assert!(cache.free_bytes() <= CACHE_BYTES, "round {round}");
        for storage in held {
            cache.give_back(storage);
            assert!(cache.free_bytes() <= CACHE_BYTES, "round {round}");
        }
    }
    assert!(cache.free_bytes() > CACHE_BYTES / 2, "it is used");
    drop(cache);
    pool.close();
}

/// What was needed yesterday makes room for what is needed today.
#[test]
fn a_full_pool_follows_the_sizes_in_use() {
    let limit = 100 * kept(40);
    let pool = pool(limit);
    let fill = |size: usize, count| {
        drop(
            (0..count)
                .map(|_| pool.take(SIZES[size]))
                .collect::<Vec<_>>(),
        )
    };
    fill(40, 100);
    assert_eq!(pool.free_bytes(), limit);
    fill(3, 20);
    let allocated = |size: usize| {
        let taken: Vec<_> = (0..20).map(|_| pool.take(SIZES[size])).collect();
        let free = pool.free_bytes();
        drop(taken);
        pool.free_bytes() - free
    };
    assert_eq!(allocated(3), 20 * kept(3), "they were kept, and are again");
    fill(96, 1);
    assert_eq!(
        allocated(3),
        20 * kept(3),
        "the fullest makes room, not the least"
    );
    assert!(pool.free_bytes() <= limit);
    pool.close();
}

/// A burst's lists go with its storage: what counts as free covers the places, too.
#[test]
fn lists_of_free_storage_shrink_with_it() {
    let pool = pool(64 << 20);
    drop((0..20_000).map(|_| pool.take(10)).collect::<Vec<_>>());
    assert!(pool.places() >= 20_000);
    let mut held = Vec::new();
    for left in (0..20_000).rev() {
        held.push(pool.take(10));
        assert!(pool.places() <= (4 * left + 4).max(600), "{left} left");
    }
    held.into_iter().for_each(drop);
    let mut cache = Cache::new(Arc::clone(&pool));
    let held: Vec<_> = (0..20_000).map(|_| cache.take(10)).collect();
    assert!(pool.places() <= 600, "what the reactor fetches, too");
    drop((held, cache));
    pool.close();
}

#[test]
fn a_cache_leaves_the_storage_of_another_engine_alone() {
    let (ours, theirs) = (pool(1 << 20), pool(1 << 20));
    let mut cache = Cache::new(Arc::clone(&ours));
    cache.give_back(theirs.take(10));
    assert_eq!(cache.free_bytes(), 0);
    assert_eq!(ours.free_bytes(), 0);
    assert_eq!(theirs.free_bytes(), kept(0));
    theirs.close();
}

#[test]
fn a_cache_hands_charged_storage_on() {
    let pool = pool(1 << 20);
    let mut cache = Cache::new(Arc::clone(&pool));
    cache.give_back(received(&pool, 10, 3));
    cache.give_back(Storage::none());
    assert_eq!(cache.free_bytes(), 0);
    assert_eq!(released(&pool), [(key(3), cost_of(10))]);
    assert_eq!(pool.free_bytes(), kept(0));
    pool.close();
}

#[test]
fn a_closed_pool_serves_on_and_goes_with_its_last_storage() {
    let token = Counter::default();
    let pool = Arc::new(Pool::new(1 << 20, Box::new(token.clone())));
    let held = received(&pool, 10, 1);
    drop(pool.take(10));
    pool.close();
    assert_eq!(
        Arc::strong_count(&token.0),
        1,
        "the reactor is woken no more"
    );
    assert_eq!(pool.free_bytes(), 0);
    let late = pool.take(10);
    drop(late);
    assert_eq!(pool.free_bytes(), 0);
    let pool = {
        let weak = Arc::downgrade(&pool);
        drop(pool);
        weak
    };
    assert_eq!(pool.strong_count(), 1, "a message still needs it");
    drop(held);
    assert_eq!(pool.strong_count(), 0);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(usize),
    TakeCached(usize),
    Drop(usize),
    GiveBack(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = || 0..SIZES.len();
    let step = prop_oneof![
        size().prop_map(Step::Take),
        size().prop_map(Step::TakeCached),
        any::<usize>().prop_map(Step::Drop),
        any::<usize>().prop_map(Step::GiveBack),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Free storage stays within the limits of the pool and of the cache, no memory is in two
    /// places, and in the end the pool goes.
    #[test]
    fn free_storage_is_bounded(steps in steps(), limit in 0usize..400_000) {
        let pool = pool(limit);
        let mut cache = Cache::new(Arc::clone(&pool));
        let mut held: Vec<Storage> = Vec::new();
        for step in steps {
            match step {
                Step::Take(size) => held.push(pool.take(SIZES[size])),
                Step::TakeCached(size) => held.push(cache.take(SIZES[size])),
                Step::Drop(at) if !held.is_empty() => drop(held.remove(at % held.len())),
                Step::GiveBack(at) if !held.is_empty() => {
                    cache.give_back(held.remove(at % held.len()));
                }
                Step::Drop(_) | Step::GiveBack(_) => {}
            }
            prop_assert!(pool.free_bytes() <= limit);
            prop_assert!(cache.free_bytes() <= CACHE_BYTES);
            if let Some((last, others)) = held.split_last() {
                let place = last.bytes().as_ptr();
                prop_assert!(others.iter().all(|other| other.bytes().as_ptr() != place));
            }
        }
        drop((held, cache));
        prop_assert!(pool.free_bytes() <= limit);
        pool.close();
        prop_assert_eq!(pool.free_bytes(), 0);
        prop_assert_eq!(Arc::strong_count(&pool), 1);
    }
}

/// As the report of a closed inbox does.
#[test]
fn a_charge_that_is_given_back_without_its_memory_wakes_a_starving_reactor() {
    let wakes = Counter::default();
    let pool = Arc::new(Pool::new(0, Box::new(wakes.clone())));
    let mut kept = [(); 2].map(|()| received(&pool, 10, 1));
    kept[0].release_inbound();
    assert_eq!((released(&pool).len(), wakes.count()), (1, 0));
    pool.take_released(&mut Vec::new(), Some(0));
    kept[0].release_inbound();
    assert_eq!(wakes.count(), 0, "it was given back before");
    kept[1].release_inbound();
    assert_eq!((released(&pool).len(), wakes.count()), (1, 1));
    assert_eq!(kept[1].bytes().len(), SIZES[0]);
}

/// The memory of a body comes home with the last message that has it, among many, and with what it was charged.
#[test]
fn a_shared_body_comes_home_once_with_the_last_of_those_that_have_it() {
    let pool = pool(1 << 20);
    let body = Arc::new(Shared::part_of(received(&pool, 2000, 1), 16..2000));
    let mut storages: Vec<Storage> = (0..5).map(|_| pool.take(16)).collect();
    for storage in &mut storages {
        storage.set_body(Arc::clone(&body));
    }
    drop(body);
    drop(storages.pop());
    assert_eq!(released(&pool), []);
    pool.give_back_all(storages.into_iter());
    assert_eq!(released(&pool), [(key(1), cost_of(2000))]);
    assert_eq!(pool.free_bytes(), 5 * kept(0) + kept(7));
    assert!(pool.take(16).body().is_none(), "free storage has none");
    let mut cache = Cache::new(Arc::clone(&pool));
    let mut sent = cache.take(16);
    sent.set_body(Arc::new(Shared::owning(vec![7; 3])));
    cache.give_back(sent);
    assert!(cache.take(16).body().is_none());
    drop(cache);
    pool.close();
}

/// It may be the application's, which may use the engine there, and must not be kept for long.
#[test]
fn the_reactor_is_woken_without_a_lock_and_not_once_the_pool_is_closed() {
    struct Closes(Arc<OnceLock<Weak<Pool>>>);
    impl Wake for Closes {
        fn wake(&self) {
            let pool = self.0.get().and_then(Weak::upgrade).expect("it is used");
            pool.close();
            drop(received(&pool, 10, 1));
        }
    }
    let place = Arc::new(OnceLock::new());
    let pool = Arc::new(Pool::new(1 << 20, Box::new(Closes(Arc::clone(&place)))));
    place.set(Arc::downgrade(&pool)).unwrap();
    let held = [(); 2].map(|()| received(&pool, 10, 1));
    pool.take_released(&mut Vec::new(), Some(0));
    drop(held);
    assert_eq!(released(&pool), [], "nobody counts any more");
}

//! Storage comes home once, its charge is settled once, and a reactor that starves is woken.

use std::sync::Arc;

use loom::thread;

use crate::between::decision::Decision;
use crate::between::key::RecordKey;
use crate::storage::pool::FREE_COST;
use crate::storage::sizes::SIZES;
use crate::storage::{Cache, Pool, Storage, cost_of};
use crate::{Alarm, NOBODY_CAN_GO_ON, Sleeper, finds, finds_always, proves};

const SIZE: usize = SIZES[0];
const COST: usize = cost_of(SIZE);

/// What one free storage counts as.
const KEPT: usize = SIZE + FREE_COST;

fn key(index: u32) -> RecordKey {
    RecordKey {
        index,
        generation: 1,
    }
}

/// Storage that holds a received message, charged to a connection.
fn received(pool: &Arc<Pool>, index: u32) -> Storage {
    let mut storage = pool.take(SIZE);
    storage.charge_inbound(key(index), COST);
    storage
}

type Look = fn(&Pool, &mut Vec<(RecordKey, usize)>);

/// The application's threads drop received messages; the reactor waits for all of their budget, and
/// sleeps whenever it found nothing.
fn a_starving_reactor_waits_for_drops(look: Look) {
    let sleeper = Sleeper::new();
    let pool = Arc::new(Pool::new(KEPT, Box::new(Alarm(Some(Arc::clone(&sleeper))))));
    let droppers = [1, 2].map(|index| {
        let (first, second) = (received(&pool, index), received(&pool, index));
        thread::spawn(move || {
            drop(first);
            drop(second);
        })
    });
    let (mut released, mut sum) = (Vec::new(), [0; 3]);
    while sum.iter().sum::<usize>() < 4 * COST {
        look(&pool, &mut released);
        if released.is_empty() {
            sleeper.sleep();
        }
        for (key, cost) in released.drain(..) {
            sum[key.index as usize] += cost;
        }
    }
    for dropper in droppers {
        dropper.join().unwrap();
    }
    assert_eq!(sum, [0, 2 * COST, 2 * COST], "each charge comes back once");
    pool.take_released(&mut released, None);
    assert!(released.is_empty(), "a charge came back twice");
    assert_eq!(pool.free_bytes(), KEPT, "as much is kept as may be");
    pool.close();
}

#[test]
fn a_drop_wakes_a_starving_reactor() {
    proves("a_drop_wakes_a_starving_reactor", Some(3), 1000, || {
        a_starving_reactor_waits_for_drops(|pool, released| pool.take_released(released, Some(0)));
    });
}

/// Changed: the reactor says that it starves in a step after it found nothing.
#[test]
fn canary_hunger_told_too_late() {
    finds(NOBODY_CAN_GO_ON, Some(3), || {
        a_starving_reactor_waits_for_drops(|pool, released| {
            pool.take_released(released, None);
            if released.is_empty() {
                pool.take_released(&mut Vec::new(), Some(0));
            }
        });
    });
}

/// The reactor settles what was dropped and then sleeps without a second look, as long as it
/// starves: a drop that comes after its look wakes it even though the look found something.
fn a_reactor_looks_once_before_each_sleep() {
    let sleeper = Sleeper::new();
    let pool = Arc::new(Pool::new(KEPT, Box::new(Alarm(Some(Arc::clone(&sleeper))))));
    let droppers = [1, 2].map(|index| {
        let storage = received(&pool, index);
        thread::spawn(move || drop(storage))
    });
    let (mut released, mut sum) = (Vec::new(), 0);
    loop {
        pool.take_released(&mut released, Some(0));
        sum += released.drain(..).map(|(_, cost)| cost).sum::<usize>();
        if sum == 2 * COST {
            break;
        }
        sleeper.sleep();
    }
    for dropper in droppers {
        dropper.join().unwrap();
    }
    pool.close();
}

#[test]
fn one_look_before_each_sleep_is_enough() {
    proves("one_look_before_each_sleep_is_enough", None, 100, || {
        a_reactor_looks_once_before_each_sleep();
    });
}

/// Changed: a look that found something does not ask to be woken.
#[test]
fn canary_hunger_stilled_by_the_first_bite() {
    finds_always(
        Decision::ReactorIsHungry,
        false,
        NOBODY_CAN_GO_ON,
        None,
        a_reactor_looks_once_before_each_sleep,
    );
}

/// The engine ends and closes its pool while one thread drops a message, another builds and drops
/// one, and the reactor's cache is dropped. Nothing is kept, and the pool goes with the last of
/// them, though free storage keeps its way home.
fn a_pool_closes_while_storage_comes_home(closes: bool) {
    let pool = Arc::new(Pool::new(4 * KEPT, Box::new(Alarm(None))));
    let mut cache = Cache::new(Arc::clone(&pool));
    let (held, free, sent) = (received(&pool, 1), pool.take(SIZE), cache.take(SIZE));
    drop(free);
    let dropper = thread::spawn(move || drop(held));
    let builder = thread::spawn({
        let pool = Arc::clone(&pool);
        move || drop(pool.take(SIZE))
    });
    cache.give_back(sent);
    if closes {
        pool.close();
    }
    drop(cache);
    dropper.join().unwrap();
    builder.join().unwrap();
    if closes {
        assert_eq!(pool.free_bytes(), 0, "a closed pool keeps nothing");
    }
    let left = Arc::downgrade(&pool);
    drop(pool);
    assert_eq!(left.strong_count(), 0, "the pool has leaked");
}

#[test]
fn a_closed_pool_keeps_and_leaks_nothing() {
    proves("a_closed_pool_keeps_and_leaks_nothing", None, 50, || {
        a_pool_closes_while_storage_comes_home(true);
    });
}

/// Changed: the pool lets go of what it has, and goes on keeping what comes.
#[test]
fn canary_a_closed_pool_that_goes_on() {
    finds_always(
        Decision::PoolIsClosed,
        false,
        "a closed pool keeps nothing",
        None,
        || {
            a_pool_closes_while_storage_comes_home(true);
        },
    );
}

/// Changed: nobody closes the pool, so that free storage and pool keep each other.
#[test]
fn canary_a_pool_that_is_not_closed() {
    finds("the pool has leaked", None, || {
        a_pool_closes_while_storage_comes_home(false);
    });
}

/// Two threads take storage and drop it while the reactor fetches from the same pool and gives
/// back: no storage is handed out twice, and what is kept never exceeds the limit.
fn storage_goes_round(limit: usize) {
    let pool = Arc::new(Pool::new(limit, Box::new(Alarm(None))));
    drop(pool.take(SIZE));
    assert_eq!(pool.free_bytes(), KEPT);
    let users = [1, 2].map(|mark| {
        let pool = Arc::clone(&pool);
        thread::spawn(move || {
            let mut storage = pool.take(SIZE);
            storage.bytes_mut().fill(mark);
            assert!(pool.free_bytes() <= KEPT, "over the limit");
            assert!(storage.bytes().iter().all(|&byte| byte == mark));
        })
    });
    let mut cache = Cache::new(Arc::clone(&pool));
    let storage = cache.take(SIZE);
    assert!(pool.free_bytes() <= KEPT, "over the limit");
    cache.give_back(storage);
    for user in users {
        user.join().unwrap();
    }
    assert!(pool.free_bytes() <= KEPT, "over the limit");
    drop(cache);
    pool.close();
}

#[test]
fn storage_is_handed_out_once_and_kept_within_the_limit() {
    let name = "storage_is_handed_out_once_and_kept_within_the_limit";
    proves(name, None, 100, || storage_goes_round(KEPT));
}

/// Changed: the pool keeps one more than it should.
#[test]
fn canary_a_pool_with_another_limit() {
    finds("over the limit", None, || storage_goes_round(2 * KEPT));
}

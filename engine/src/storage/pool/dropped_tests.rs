//! Messages that a thread drops while it takes a batch.

use super::pool::{Counter, kept, key, pool, received, released};
use crate::storage::pool::{DROPPED_BYTES, DROPPED_MOST, Storage};
use crate::storage::sizes::cost_of;
use crate::storage::{Creditor, Hold, give_back_dropped, keep_dropped};

#[test]
fn what_is_dropped_while_a_batch_is_taken_is_given_back_together() {
    let pool = pool(1 << 20);
    let most = DROPPED_MOST.min(DROPPED_BYTES.div_ceil(cost_of(10)));
    let mut messages: Vec<Storage> = (0..most + 2).map(|_| received(&pool, 10, 1)).collect();
    let (last, next) = (messages.pop(), messages.pop());
    let full = messages.pop();
    keep_dropped(&pool);
    drop(messages);
    assert_eq!((released(&pool), pool.free_bytes()), (vec![], 0));
    drop(full);
    assert_eq!(released(&pool), [(key(1), most * cost_of(10))]);
    assert_eq!(pool.free_bytes(), most * kept(0));
    drop(next);
    assert_eq!(released(&pool), [], "and it begins anew");
    give_back_dropped();
    assert_eq!(released(&pool), [(key(1), cost_of(10))]);
    drop(last);
    assert_eq!(
        released(&pool),
        [(key(1), cost_of(10))],
        "nothing is kept any more"
    );
    pool.close();
}

#[test]
fn what_is_kept_is_bounded_in_bytes_charged_or_not() {
    let pool = pool(1 << 20);
    keep_dropped(&pool);
    drop(received(&pool, DROPPED_BYTES, 1));
    assert_eq!(released(&pool), [(key(1), cost_of(DROPPED_BYTES))]);
    let [first, second] = [(); 2].map(|()| pool.take(DROPPED_BYTES / 2));
    let before = pool.free_bytes();
    drop(first);
    assert_eq!(pool.free_bytes(), before);
    drop(second);
    assert!(pool.free_bytes() > before);
    give_back_dropped();
    pool.close();
}

#[test]
fn of_another_pool_nothing_is_kept_nor_what_came_back() {
    let [ours, other] = [(); 2].map(|()| pool(1 << 20));
    let given = Counter::default();
    keep_dropped(&ours);
    drop(received(&other, 10, 1));
    assert_eq!(released(&other), [(key(1), cost_of(10))]);
    let mut returned = ours.take(10);
    returned.set_hold(Hold::new(given.clone().shared(), 7));
    drop(returned);
    assert_eq!(given.count(), 7);
    drop(received(&ours, 10, 1));
    keep_dropped(&ours);
    assert_eq!(released(&ours), [], "it goes on");
    keep_dropped(&other);
    assert_eq!(
        released(&ours),
        [(key(1), cost_of(10))],
        "one pool at a time"
    );
    give_back_dropped();
    ours.close();
    other.close();
}

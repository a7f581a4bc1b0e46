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
    keep_dropped(last.as_ref());
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
fn what_is_kept_is_bounded_in_bytes() {
    let pool = pool(1 << 20);
    let last = received(&pool, 10, 1);
    keep_dropped(Some(&last));
    drop(received(&pool, DROPPED_BYTES, 1));
    assert_eq!(released(&pool), [(key(1), cost_of(DROPPED_BYTES))]);
    drop(received(&pool, DROPPED_BYTES / 2, 1));
    assert_eq!(released(&pool), []);
    drop(received(&pool, DROPPED_BYTES / 2, 1));
    assert_eq!(released(&pool), [(key(1), 2 * cost_of(DROPPED_BYTES / 2))]);
    give_back_dropped();
    drop(last);
    pool.close();
}

/// What others have sent, and what came back, somebody may wait for who has sent nothing more.
#[test]
fn what_is_not_of_the_connection_of_the_last_is_given_back_at_once() {
    let [ours, other] = [(); 2].map(|()| pool(1 << 20));
    let last = received(&ours, 10, 1);
    keep_dropped(Some(&last));
    drop(received(&other, 10, 1));
    assert_eq!(
        released(&other),
        [(key(1), cost_of(10))],
        "another engine's"
    );
    drop(received(&ours, 10, 2));
    assert_eq!(released(&ours), [(key(2), cost_of(10))]);
    let given = Counter::default();
    let mut returned = ours.take(10);
    returned.set_hold(Hold::new(given.clone().shared(), 7));
    drop(returned);
    assert_eq!(given.count(), 7);
    let before = ours.free_bytes();
    drop(ours.take(2000));
    assert!(ours.free_bytes() > before, "what is the application's own");
    drop(received(&ours, 10, 1));
    assert_eq!(released(&ours), []);
    keep_dropped(Some(&last));
    assert_eq!(
        released(&ours),
        [(key(1), cost_of(10))],
        "one batch at a time"
    );
    drop(last);
    for last in [None, Some(ours.take(10)), Some(Storage::none())] {
        keep_dropped(last.as_ref());
        released(&ours);
        drop(received(&ours, 10, 1));
        assert_eq!(
            released(&ours),
            [(key(1), cost_of(10))],
            "nothing is charged for the last"
        );
    }
    ours.close();
    other.close();
}

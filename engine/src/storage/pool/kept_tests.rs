//! What the pool keeps, and what makes room for what.

use std::sync::Arc;

use crate::storage::pool::{Pool, Storage};
use crate::storage::sizes::SIZES;

use super::pool::{kept, pool};

fn take(pool: &Arc<Pool>, size: usize, count: usize) -> Vec<Storage> {
    (0..count).map(|_| pool.take(SIZES[size])).collect()
}

#[test]
fn a_pool_keeps_exactly_as_much_as_it_may() {
    let one = pool(kept(7));
    drop(take(&one, 7, 2));
    assert_eq!(one.free(7), 1);
    one.close();
    let none = pool(kept(7) - 1);
    drop(take(&none, 7, 1));
    assert_eq!(none.free(7), 0);
}

#[test]
fn what_is_larger_than_the_pool_makes_nothing_go() {
    let pool = pool(10 * kept(0));
    drop(take(&pool, 0, 10));
    drop(take(&pool, 50, 1));
    assert_eq!((pool.free(0), pool.free(50)), (10, 0));
    pool.close();
}

/// Of the sizes kept, that with the most bytes is the fullest, not that with the most pieces.
#[test]
fn few_large_pieces_make_room_before_many_small_ones() {
    let pool = pool(20 * kept(0) + 4 * kept(80));
    let (small, large) = (take(&pool, 0, 20), take(&pool, 80, 4));
    drop(large);
    drop(small);
    drop(take(&pool, 10, 3));
    assert_eq!((pool.free(0), pool.free(10), pool.free(80)), (20, 3, 3));
    pool.close();
}

/// Shrinking costs a copy: it is done where most of the places are empty, and leaves some.
#[test]
fn a_list_of_which_a_quarter_is_used_keeps_its_places_and_a_shorter_one_half_of_them() {
    let pool = pool(64 << 20);
    drop(take(&pool, 0, 4096));
    assert_eq!((pool.free(0), pool.places()), (4096, 4096));
    let mut held = take(&pool, 0, 3072);
    assert_eq!((pool.free(0), pool.places()), (1024, 4096));
    held.push(pool.take(1));
    assert_eq!((pool.free(0), pool.places()), (1023, 2046));
    drop(held);
    pool.close();
}

#[test]
fn many_small_pieces_make_room_where_they_are_more_bytes() {
    let pool = pool(20 * kept(0) + 2 * kept(10));
    let (small, large) = (take(&pool, 0, 20), take(&pool, 10, 2));
    drop((small, large));
    drop(take(&pool, 2, 1));
    assert_eq!((pool.free(2), pool.free(10)), (1, 2));
    assert!(pool.free(0) < 20);
    pool.close();
}

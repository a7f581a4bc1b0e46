//! Who waited for budget, and gets it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::options::Options;
use crate::protocol::decisions::{Flaw, plant};
use crate::sim::ledger::Totals;
use crate::sim::world::{World, least_options};

use super::{connect, finish, peer_of, plain, post_signal, received, until};

/// Connections of the starving engine that wait for budget.
fn starved(world: &World) -> usize {
    world.nodes[0]
        .shared
        .counters
        .starved
        .load(Ordering::Relaxed)
}

/// One connection fills the budget and holds the shared buffer. Another has a header read and waits behind
/// it: its content lies in the system's buffer, and nothing else will ever be heard of it.
fn served() -> Totals {
    let generous = Options::default();
    let starving = least_options();
    let (mut world, address) = plain(vec![starving, generous.clone(), generous], 400_000);
    world.members[0].greed = 100;
    let first = connect(&mut world, 1, &address);
    let second = connect(&mut world, 2, &address);
    for _ in 0..8 {
        assert!(post_signal(&mut world, 1, first, 60_000));
    }
    until(&mut world, |world| starved(world) == 1);
    let (on_first, on_second) = (peer_of(&world, 1, first), peer_of(&world, 2, second));
    let before = received(&world, 0, on_second);
    assert!(
        received(&world, 0, on_first) < 9,
        "there is no budget for all"
    );
    assert!(post_signal(&mut world, 2, second, 60_000));
    until(&mut world, |world| starved(world) == 2);
    assert_eq!(received(&world, 0, on_second), before, "it waits");
    world.members[0].greed = 0;
    let dropped_at = world.now;
    world.with_member(0, |member, context| member.let_go(context));
    until(&mut world, |world| {
        received(world, 0, on_second) > before && received(world, 0, on_first) == 9
    });
    // Behind some timeout somebody would look after it.
    let waited = world.now - dropped_at;
    assert!(waited < Duration::from_millis(100), "it is read late");
    finish(world)
}

#[test]
fn who_is_served_is_read_from_again_though_nothing_else_happens_to_it() {
    served();
}

#[test]
fn canary_who_is_served_is_not_read_from() {
    let planted = plant(Flaw::ServedIsNotRead);
    let outcome = catch_unwind(AssertUnwindSafe(served));
    drop(planted);
    let why = outcome.expect_err("it is noticed");
    assert_eq!(why.downcast_ref(), Some(&"it is read late"));
}

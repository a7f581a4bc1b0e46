//! A system that takes nothing, or yields nothing, for no visible reason.

use super::{DIALS, LISTENS, connected, finish, reason, received, signal, until};

#[test]
fn what_would_block_is_tried_again_and_ends_nothing() {
    let (mut world, [ours, theirs]) = connected();
    world.net.borrow_mut().temper.stall = 50;
    for _ in 0..30 {
        let before = received(&world, LISTENS, theirs);
        signal(&mut world, DIALS, ours);
        until(&mut world, |world| {
            received(world, LISTENS, theirs) > before
        });
    }
    assert!(world.net.borrow().faults.stalled > 10);
    assert_eq!(reason(&world, DIALS, ours), None);
    assert_eq!(reason(&world, LISTENS, theirs), None);
    world.net.borrow_mut().temper.stall = 0;
    finish(world);
}

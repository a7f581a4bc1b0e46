//! What the system may answer to accept in place of a connection.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::options::Options;

use super::{connect, finish, plain};

/// Has accept fail in these ways, and then yield a connection. Returns how many failures were counted,
/// and how long it took until the connection was served.
fn accept_behind(errors: &[ErrorKind]) -> (u64, Duration) {
    let (mut world, address) = plain(vec![Options::default(); 2], 1 << 20);
    let begin = world.now;
    world.net.borrow_mut().accept_errors.extend(errors);
    connect(&mut world, 1, &address);
    let took = world.now - begin;
    let counters = &world.nodes[0].shared.counters;
    let failures = counters.accept_failures.load(Ordering::Relaxed);
    assert_eq!(counters.accepted.load(Ordering::Relaxed), 1);
    finish(world);
    (failures, took)
}

const PAUSE: Duration = Duration::from_millis(100);

#[test]
fn connections_that_ended_before_they_were_accepted_hold_up_nobody() {
    use ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    let (failures, took) = accept_behind(&[ConnectionAborted, ConnectionReset, Interrupted]);
    assert_eq!(failures, 0);
    assert!(took < PAUSE, "{took:?}");
}

#[test]
fn where_the_system_is_out_of_something_accepting_pauses_each_time() {
    let (failures, took) = accept_behind(&[ErrorKind::Other, ErrorKind::OutOfMemory]);
    assert_eq!(failures, 2);
    assert!(took >= 2 * PAUSE, "{took:?}");
}

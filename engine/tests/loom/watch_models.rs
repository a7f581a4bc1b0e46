//! A stand-in that watches, and does not sit, learns of all that nobody else sees to.

use super::{Engine, STOP, Watches, post_to_who_waits, received_and_posts};
use crate::between::decision::Decision;
use crate::between::mailbox::Taken;
use crate::{NOBODY_CAN_GO_ON, finds_always, proves, sync};

/// Where the stand-in watches: what comes from the network is found though nobody calls, the receiver being
/// gone that was there before.
fn what_comes_is_seen() {
    let engine = Engine::watched(Watches::All);
    let stand_in = engine.start_stand_in();
    engine.arrive(0);
    assert_eq!(engine.receive(0, 1), Taken::Events);
    engine.arrive(0);
    engine.arrive(STOP);
    stand_in.join().unwrap();
}

#[test]
fn a_stand_in_that_watches_sees_what_comes() {
    let name = "a_stand_in_that_watches_sees_what_comes";
    proves(name, Some(3), 100, what_comes_is_seen);
}

/// Changed: who leaves the seat does not arm the lookout.
#[test]
fn canary_a_seat_that_is_left_unwatched() {
    finds_always(
        Decision::LeaverArmsWatch,
        false,
        NOBODY_CAN_GO_ON,
        Some(3),
        what_comes_is_seen,
    );
}

/// Changed: a lookout is taken to be armed that has seen something.
#[test]
fn canary_a_lookout_that_is_not_armed_again() {
    finds_always(
        Decision::WatchIsArmedAgain,
        true,
        NOBODY_CAN_GO_ON,
        Some(3),
        what_comes_is_seen,
    );
}

/// The same where others post, as they do to a stand-in that sits.
#[test]
fn who_waits_is_served_though_the_stand_in_watches() {
    let name = "who_waits_is_served_though_the_stand_in_watches";
    proves(name, Some(2), 100, || {
        post_to_who_waits(&Engine::watched(Watches::All));
    });
}

/// A thread that has received posts twice, and does not come back: what it did not write itself is found.
#[test]
fn what_is_left_to_a_receiver_is_found_by_a_stand_in_that_watches() {
    let name = "what_is_left_to_a_receiver_is_found_by_a_stand_in_that_watches";
    proves(name, Some(2), 100, || {
        received_and_posts(&Engine::watched(Watches::All));
    });
}

/// Changed: a post is forgotten that was left to the thread that made it.
#[test]
fn canary_a_post_that_is_left_to_who_does_not_come_back() {
    finds_always(
        Decision::ExpectedPostIsNoted,
        false,
        NOBODY_CAN_GO_ON,
        Some(2),
        || received_and_posts(&Engine::watched(Watches::All)),
    );
}

/// A receiver leaves behind something that is due sooner than the stand-in has heard of, and that brings
/// no wake.
fn something_is_due() {
    let engine = Engine::watched(Watches::OneByOne);
    let stand_in = engine.start_stand_in();
    sync::lock(&engine.posted).extend([0, STOP]);
    engine.poller.arrive();
    assert_eq!(engine.receive(0, 1), Taken::Events);
    stand_in.join().unwrap();
}

#[test]
fn what_will_be_due_reaches_a_stand_in_that_watches() {
    let name = "what_will_be_due_reaches_a_stand_in_that_watches";
    proves(name, Some(3), 100, something_is_due);
}

/// Changed: who leaves the seat does not look how long the stand-in sleeps.
#[test]
fn canary_a_watch_that_is_too_long() {
    finds_always(
        Decision::WatchEndsInTime,
        true,
        NOBODY_CAN_GO_ON,
        Some(2),
        something_is_due,
    );
}

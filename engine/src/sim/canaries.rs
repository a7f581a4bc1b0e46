//! Planted defects: the very runs that find nothing in the core as it is must find each of these.

use crate::core::flaws::plant;

use super::random::failure;

/// So many runs at most, until a planted defect is noticed.
const RUNS: u64 = 250;

/// Plants a defect, and expects that the first run that fails names the promise it breaks.
fn is_caught(defect: &'static str, promises: &[&str]) {
    let _planted = plant(defect);
    let caught = (1..=RUNS).find_map(|seed| Some((seed, failure(seed)?)));
    let (seed, text) = caught.unwrap_or_else(|| panic!("no run notices that {defect}"));
    println!("{defect}: caught by seed {seed}: {text}");
    let is_named = promises.iter().any(|promise| text.contains(promise));
    assert!(is_named, "{promises:?} was to be named: {text}");
}

#[test]
fn a_message_that_counts_as_sent_too_early() {
    is_caught("a message counts as sent with its first byte", &["P1:"]);
}

#[test]
fn unsent_messages_that_are_dropped() {
    is_caught("what was not sent is dropped", &["P1:"]);
}

#[test]
fn a_closed_that_overtakes() {
    is_caught("Closed overtakes", &["P4:", "P1:"]);
}

#[test]
fn a_confirmation_that_nobody_gave() {
    is_caught("what was sent counts as confirmed", &["P1:"]);
}

#[test]
fn a_blocked_connection_that_is_never_written_to_again() {
    is_caught("a blocked connection stays so", &["P1:"]);
}

#[test]
fn an_orderly_end_that_counts_as_a_failure() {
    is_caught("an orderly end counts as a failure", &["P2:"]);
}

#[test]
fn a_message_that_is_received_and_left_lying() {
    is_caught("what was received may wait", &["P2:"]);
}

#[test]
fn a_served_connection_that_is_not_read_from_again() {
    is_caught("who is served is not read from again", &["P2:", "P1:"]);
}

#[test]
fn a_close_without_a_deadline() {
    is_caught("a closing connection has no deadline", &["P3:"]);
}

#[test]
fn a_place_that_is_taken_too_early() {
    is_caught("a place is free before its socket is closed", &["P5:"]);
}

#[test]
fn a_late_drop_that_meets_the_next_in_its_place() {
    is_caught(
        "a late drop meets the next in its place",
        &["no more is released than a connection holds"],
    );
}

#[test]
fn a_line_that_is_not_first_come_first_served() {
    is_caught("the last to wait is the first to be served", &["P6:"]);
}

#[test]
fn a_shared_buffer_that_is_kept_after_the_end() {
    is_caught("an ended connection keeps the shared buffer", &["P6:"]);
}

#[test]
fn room_that_nobody_is_told_of() {
    is_caught("room is not told", &["Room:"]);
}

use crate::event::{Event, Received};
use crate::handles::Submission;
use crate::post::Post;
use crate::storage::pool::{FREE_COST, SLOT_COST};
use crate::storage::sizes::{
    MESSAGE_COST, MESSAGE_COST_MAX, RECORD_COST, SIZES, SMALLEST_COST, cost_of, size_for,
};
use crate::wire::MAX_FRAME_LEN;

/// A message costs what it says and a constant: the sizes that people use are no dearer than others.
#[test]
fn a_message_costs_its_length_and_a_constant() {
    for len in 0..=MAX_FRAME_LEN {
        assert_eq!(cost_of(len), len + MESSAGE_COST);
    }
    assert_eq!(
        MESSAGE_COST, 896,
        "stated in `Options`, the README and the decisions"
    );
    assert!(cost_of(MAX_FRAME_LEN) <= MESSAGE_COST_MAX);
    assert_eq!(SMALLEST_COST, cost_of(SIZES[0]));
}

/// The charge is true: storage and records of any message are within it, and a sixteenth.
#[test]
fn what_a_message_holds_is_a_sixteenth_more_than_its_charge_at_most() {
    for len in 0..=MAX_FRAME_LEN {
        let held = SIZES[size_for(len)] + RECORD_COST;
        assert!(16 * held <= 17 * cost_of(len), "{len} bytes hold {held}");
    }
}

#[test]
fn each_length_gets_the_smallest_size_that_takes_it() {
    assert!(SIZES.is_sorted_by(|a, b| a < b));
    let mut size = 0;
    for len in 0..=SIZES[SIZES.len() - 1] {
        size += usize::from(len > SIZES[size]);
        assert_eq!(size_for(len), size, "{len} bytes");
    }
    assert_eq!(size, SIZES.len() - 1);
    assert!(SIZES[size] >= MAX_FRAME_LEN);
}

#[test]
#[should_panic(expected = "no frame is longer")]
fn no_size_takes_more_than_the_largest_frame() {
    size_for(SIZES[SIZES.len() - 1] + 1);
}

/// Sizes of records, for whoever changes one.
#[test]
fn records_are_within_what_is_charged_for_them() {
    let [post, submission, event] = [
        size_of::<Post>(),
        size_of::<Submission>(),
        size_of::<Event>(),
    ];
    println!(
        "post {post}, submission {submission}, event {event}, slot {SLOT_COST}, free {FREE_COST}"
    );
    // What a Hello or Bye has received is apart from its event.
    let apart = size_of::<Received>() + 16;
    let most = SLOT_COST + (4 * submission + 2 * post).max(6 * event + apart);
    assert!(
        (most..most + 64).contains(&RECORD_COST),
        "{most} are charged as {RECORD_COST}"
    );
}

//! How a frame arrives.

use super::*;
use crate::protocol::ReadPlan;
use crate::protocol::budget::Starved;

/// Received so much of a signal whose frame has `len` bytes, and returns the rest.
fn begun(it: &mut Alone, len: usize, first: usize) -> Vec<u8> {
    let mut bytes = frame(OpCode::Signal, 0, &vec![7; len - Header::LEN]);
    let rest = bytes.split_off(first);
    it.act(|it, context| it.receive(&bytes, context));
    rest
}

fn goes_on(it: &mut Alone, bytes: &[u8]) {
    let used = it.act(|it, context| it.receive(bytes, context));
    assert_eq!(used, bytes.len());
}

/// Whether a peer is fast enough that sends so much of a frame of `len` bytes in each timeout.
fn is_fast_enough(mut it: Alone, len: usize, per_timeout: usize) -> bool {
    let mut rest = begun(&mut it, len, Header::LEN);
    let timeout = it.options.frame_timeout;
    for part in [2, 4] {
        it.later(timeout / part);
        let bytes: Vec<u8> = rest.drain(..per_timeout).collect();
        goes_on(&mut it, &bytes);
        it.later(timeout - timeout / part);
    }
    !it.connection.has_ended()
}

/// One for which large frames are charged once their first part is here.
fn short_of_budget() -> Alone {
    let mut it = Alone::new();
    it.budget = Budget::new(20_000, 1 << 20);
    it.budget.open(0);
    it
}

#[test]
fn an_eighth_of_a_frame_in_each_timeout_is_just_fast_enough() {
    assert!(is_fast_enough(Alone::new(), 1600, 200));
    assert!(!is_fast_enough(Alone::new(), 1600, 199));
}

#[test]
fn it_is_just_fast_enough_too_where_the_frame_is_not_charged_yet() {
    assert!(is_fast_enough(short_of_budget(), 64_000, 8_000));
    assert!(!is_fast_enough(short_of_budget(), 64_000, 7_999));
}

#[test]
fn silence_is_measured_from_when_something_was_heard_last() {
    let mut it = Alone::new();
    let timeout = it.options.frame_timeout;
    let rest = begun(&mut it, 1600, Header::LEN);
    it.later(timeout / 2);
    goes_on(&mut it, &rest[..800]);
    assert_eq!(it.wait_for_end(), timeout);
}

#[test]
fn where_the_budget_runs_short_a_large_frame_is_charged_with_its_first_16_kib() {
    let mut it = short_of_budget();
    let rest = begun(&mut it, 60_000, Header::LEN + 16 * 1024 - 1);
    assert_eq!(it.budget.used(), 0);
    goes_on(&mut it, &rest[..1]);
    assert!(it.budget.used() > 0);
    let mut it = short_of_budget();
    begun(&mut it, 60_000, Header::LEN + 16 * 1024);
    assert!(it.budget.used() > 0, "all at once");
}

#[test]
fn who_waits_for_its_own_share_waits_until_that_allows_its_frame() {
    let mut it = Alone::new();
    it.budget = Budget::new(1 << 20, 5000);
    it.budget.open(0);
    for _ in 0..3 {
        it.receive(OpCode::Signal, 0, &[7; 500]);
    }
    it.receive(OpCode::Signal, 0, &[7; 1500]);
    assert_eq!(it.connection.inbound().starved(), Some(Starved::ByShare));
    it.act(|it, context| it.release(1000, context));
    assert_eq!(it.connection.inbound().starved(), Some(Starved::ByShare));
    it.act(|it, context| it.release(1000, context));
    assert!(matches!(
        it.connection.inbound().starved(),
        Some(Starved::InLine(_))
    ));
}

#[test]
fn what_lacks_16_kib_is_read_to_where_it_stays_and_what_lacks_less_is_not() {
    let mut it = Alone::new();
    let rest = begun(&mut it, Header::LEN + 16 * 1024 + 10, Header::LEN + 10);
    assert!(matches!(it.connection.read_plan(false), ReadPlan::Into(to) if to.len() == rest.len()));
    goes_on(&mut it, &rest[..1]);
    assert!(matches!(it.connection.read_plan(false), ReadPlan::Shared));
    let held_by_another = it.connection.read_plan(true);
    assert!(matches!(held_by_another, ReadPlan::Into(to) if to.len() == rest.len() - 1));
}

/// How long a frame took before it waited here is not held against the peer.
#[test]
fn a_frame_that_was_served_is_measured_from_then_on() {
    let mut it = Alone::new();
    let timeout = it.options.frame_timeout;
    it.budget = Budget::new(1500, 1 << 20);
    let budget_key = it.budget.open(0);
    let asking = crate::protocol::budget::Asking {
        key: RecordKey {
            index: 2,
            generation: 2,
        },
        budget_key,
        held: &mut 0,
    };
    it.budget.charge(asking, 1500).unwrap();
    let rest = begun(&mut it, 500, 5);
    it.later(Duration::from_secs(1));
    goes_on(&mut it, &rest[..Header::LEN - 5]);
    assert!(it.connection.is_starved());
    it.later(timeout - Duration::from_secs(2));
    it.budget.release(budget_key, 1500);
    let (_, cost) = it.budget.serve_next().unwrap();
    it.act(|it, context| it.serve(cost, context));
    assert_eq!(it.wait_for_end(), timeout);
}

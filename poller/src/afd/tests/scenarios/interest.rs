//! What a change of interest costs while a poll is in flight.

use super::{Scenario, Spent, ready};
use crate::afd::defects::Sound;
use crate::afd::port::PollingMode;
use crate::nt::{Handle, flag};
use crate::{Interest, Key};

const NONE: Interest = Interest::NONE;
const READ: Interest = Interest::READABLE;
const WRITE: Interest = Interest::WRITABLE;
const BOTH: Interest = Interest::BOTH;

/// A source that is polled for this.
fn polled(mode: PollingMode, interest: Interest) -> (Scenario, Key, Handle) {
    let mut bench = Scenario::<Sound>::new(mode);
    let (key, handle) = bench.add(interest);
    assert_eq!(bench.wait(), []);
    (bench, key, handle)
}

/// What it costs to declare these one after the other: `passes` with a wait after each, or all of
/// them and then a wait.
fn cost(from: Interest, declared: &[Interest], passes: bool) -> Spent {
    let [direct, helper] = [PollingMode::Direct, PollingMode::Helper].map(|mode| {
        let (mut bench, key, _) = polled(mode, from);
        let before = bench.counts();
        for interest in declared {
            bench.declare(key, *interest);
            if passes {
                assert_eq!(bench.wait(), []);
            }
        }
        if !passes {
            assert_eq!(bench.wait(), []);
        }
        let spent = bench.spent_since(before);
        bench.end();
        spent
    });
    assert_eq!(direct, helper);
    direct
}

/// With so many waits, each of which is a call too.
fn spent(submits: u64, cancels: u64, waits: u64) -> Spent {
    Spent {
        submits,
        cancels,
        calls: submits + cancels + waits,
    }
}

#[test]
fn interest_that_grows_costs_a_cancel_and_a_poll() {
    for (from, to) in [(READ, BOTH), (WRITE, BOTH), (READ, WRITE), (WRITE, READ)] {
        assert_eq!(cost(from, &[to], true), spent(1, 1, 1), "{from:?} {to:?}");
    }
}

#[test]
fn interest_that_shrinks_or_ends_costs_nothing() {
    for (from, to) in [(BOTH, READ), (BOTH, WRITE), (READ, NONE), (BOTH, NONE)] {
        assert_eq!(cost(from, &[to], true), spent(0, 0, 1), "{from:?} {to:?}");
    }
    // What was taken back is still polled for, so to want it again costs nothing either.
    for declared in [[NONE, READ], [READ, BOTH], [WRITE, READ]] {
        assert_eq!(cost(BOTH, &declared, true), spent(0, 0, 2), "{declared:?}");
    }
}

#[test]
fn interest_that_is_back_where_it_was_before_the_wait_costs_nothing() {
    for declared in [
        &[WRITE, READ][..],
        &[BOTH, READ],
        &[NONE, BOTH, WRITE, READ],
    ] {
        assert_eq!(cost(READ, declared, false), spent(0, 0, 1), "{declared:?}");
    }
    // Only where it ends up counts.
    assert_eq!(cost(READ, &[NONE, WRITE, BOTH], false), spent(1, 1, 1));
}

#[test]
fn interest_that_flips_from_wait_to_wait_costs_a_cancel_and_a_poll_each_time() {
    let declared = [WRITE, READ, WRITE, READ, WRITE];
    assert_eq!(cost(READ, &declared, true), spent(5, 5, 5));
    // Growing step by step, it is done once all is polled for.
    assert_eq!(
        cost(READ, &[WRITE, BOTH, READ, WRITE], true),
        spent(2, 2, 4)
    );
}

#[test]
fn interest_that_grows_again_before_the_packet_is_not_cancelled_twice() {
    let (mut bench, key, handle) = polled(PollingMode::Auto, READ);
    bench.be_slow(true);
    let before = bench.counts();
    for interest in [WRITE, BOTH, READ, NONE, BOTH] {
        bench.declare(key, interest);
        assert_eq!(bench.wait(), []);
    }
    assert_eq!(bench.spent_since(before), spent(0, 1, 5));
    // Once the packet is there it is polled for what is wanted by then, in the same wait.
    bench.polled();
    bench.deliver_all();
    bench.become_ready(handle, flag::SEND);
    assert_eq!(bench.wait(), [ready(key, WRITE)]);
    let mask = crate::afd::masks::mask(BOTH);
    assert_eq!(bench.polled(), [(handle, mask)]);
    bench.end();
}

#[test]
fn what_is_no_longer_wanted_is_not_reported_and_not_asked_again() {
    let (mut bench, key, handle) = polled(PollingMode::Auto, BOTH);
    bench.declare(key, READ);
    let before = bench.counts();
    bench.become_ready(handle, flag::SEND);
    assert_eq!(bench.wait(), [], "ready for what is no longer wanted");
    assert_eq!(bench.spent_since(before).submits, 1, "for what is wanted");
    bench.declare(key, NONE);
    bench.become_ready(handle, flag::SEND | flag::RECEIVE);
    assert_eq!(bench.wait(), []);
    let before = bench.counts();
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.spent_since(before), spent(0, 0, 1), "at rest");
    assert_eq!(bench.slots(), (1, 0));
    bench.declare(key, BOTH);
    assert_eq!(bench.wait(), [ready(key, BOTH)]);
    bench.end();
}

/// The race that a cancel loses: the poll has ended already, with what was found.
#[test]
fn a_cancel_that_comes_too_late_loses_no_readiness() {
    for says_success in [false, true] {
        let (mut bench, key, handle) = polled(PollingMode::Helper, READ);
        bench.be_slow(true);
        bench.kernel.state().mood.cancels_too_late = says_success;
        bench.become_ready(handle, flag::RECEIVE);
        bench.declare(key, BOTH);
        assert_eq!(bench.wait(), [], "the packet is under way");
        let counts = bench.counts();
        assert_eq!(counts.cancelled, 0);
        assert_eq!(counts.cancels_too_late, u64::from(says_success));
        bench.deliver_all();
        assert_eq!(bench.wait(), [ready(key, READ)]);
        bench.end();
    }
}

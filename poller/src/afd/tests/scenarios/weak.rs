//! Kernels that do less than is believed of Windows: what holds on them all the same, and for each axiom of
//! `docs/afd.md` what breaks without it.

use super::super::canaries::{IgnoresStatus, LeaksAtOnce, SpinsInVain};
use super::{Scenario, ready, refused};
use crate::afd::defects::{Defects, Sound};
use crate::afd::port::PollingMode;
use crate::nt::sim::{Socket, Violation};
use crate::nt::{Status, flag};
use crate::{Interest, Key};

const READ: Interest = Interest::READABLE;
const MODES: [PollingMode; 2] = [PollingMode::Direct, PollingMode::Helper];

impl<D: Defects> Scenario<D> {
    fn mood(&self, change: impl FnOnce(&mut crate::nt::sim::Mood)) {
        change(&mut self.kernel.state().mood);
    }

    /// The sources that so many waits report.
    fn wait_often(&mut self, waits: u32) -> Vec<Key> {
        let reported = (0..waits).flat_map(|_| self.wait());
        reported.map(|event| event.key()).collect()
    }
}

/// What is answered at once queues packets all the same, which are dequeued 128 operations later. What the kernel
/// says of what comes of it.
fn meet_what_was_answered_long_ago<D: Defects>() -> Vec<Violation> {
    let mut bench = Scenario::<D>::new(PollingMode::Helper);
    bench.mood(|mood| (mood.queues_answers, mood.batch) = (true, 0));
    let (key, handle) = bench.add(READ);
    bench.become_ready(handle, flag::RECEIVE);
    for _ in 0..140 {
        assert_eq!(bench.wait(), [ready(key, READ)]);
    }
    bench.become_ready(handle, 0);
    bench.mood(|mood| mood.batch = 1);
    bench.wait_often(128);
    let violations = bench.violations();
    if violations.is_empty() {
        assert_eq!(bench.slots(), (1, 1));
        bench.mood(|mood| mood.batch = usize::MAX);
        bench.become_ready(handle, flag::RECEIVE);
        assert!(bench.wait_often(2).contains(&key));
        bench.end();
    }
    violations
}

#[test]
fn a_packet_of_128_operations_ago_ends_nothing() {
    assert_eq!(meet_what_was_answered_long_ago::<Sound>(), []);
    let violations = meet_what_was_answered_long_ago::<IgnoresStatus>();
    assert!(violations.contains(&Violation::SubmitsTwice));
}

const IN_VAIN: [Status; 3] = [Status::CANCELLED, Status::SUCCESS, Status::TIMEOUT];

/// The wait has time enough to spin.
#[test]
fn polls_that_end_in_vain_again_and_again_are_a_failure() {
    for mode in MODES {
        for status in IN_VAIN {
            let mut bench = Scenario::<Sound>::new(mode);
            bench.mood(|mood| mood.ends_in_vain = Some(status));
            let (key, handle) = bench.add(READ);
            for _ in 0..2 {
                let before = bench.counts();
                let report = refused(key, READ, Status::CANCELLED);
                assert_eq!(bench.wait_for(super::PATIENCE), [report], "{status:?}");
                let submits = bench.spent_since(before).submits;
                assert_eq!(submits, u64::from(Sound::VAIN_MAX));
                assert_eq!(bench.wait(), [], "once");
                bench.declare(key, READ);
            }
            // One that finds something is not in vain, be it by a packet or at once.
            bench.mood(|mood| mood.ends_in_vain = None);
            assert_eq!(bench.wait(), []);
            for is_at_once in [[false; 100], [true; 100]].concat() {
                bench.kernel.end_polls(handle, status);
                if !is_at_once {
                    assert_eq!(bench.wait(), []);
                }
                bench.become_ready(handle, flag::RECEIVE);
                assert_eq!(bench.wait(), [ready(key, READ)]);
                bench.become_ready(handle, 0);
                assert_eq!(bench.wait(), []);
            }
            bench.end();
        }
    }
}

#[test]
fn spinning_in_vain_begins_polls_without_end() {
    let mut bench = Scenario::<SpinsInVain>::new(PollingMode::Helper);
    bench.mood(|mood| mood.ends_in_vain = Some(Status::CANCELLED));
    bench.add(READ);
    assert_eq!(bench.wait_often(1_000), []);
    assert!(bench.counts().submitted > 1_000);
}

/// A poll does not end by its cancel. How many polls the end has left behind.
fn end_without_cancels<D: Defects>(ends_with_helper: bool) -> bool {
    let mut bench = Scenario::<D>::new(PollingMode::Helper);
    bench.add(READ);
    assert_eq!(bench.wait(), []);
    bench.mood(|mood| (mood.ignores_cancels, mood.ends_with_helper) = (true, ends_with_helper));
    let Scenario { kernel, poller, .. } = bench;
    let is_ended = poller.shut_down().is_ok();
    let expected = match is_ended {
        true => vec![],
        false => vec![Violation::LeavesOperations],
    };
    assert_eq!(kernel.state().violations, expected);
    is_ended
}

#[test]
fn what_a_cancel_does_not_end_the_close_of_its_helper_may() {
    assert!(end_without_cancels::<Sound>(true));
    assert!(!end_without_cancels::<LeaksAtOnce>(true));
    // What nothing ends is left to the kernel.
    assert!(!end_without_cancels::<Sound>(false));
}

#[test]
fn without_the_axiom_of_levels_what_is_ready_already_is_lost() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
    bench.mood(|mood| mood.tells_changes_only = true);
    let (key, handle) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait(), [ready(key, READ)]);
    assert_eq!(bench.wait_often(40), []);
    bench.end();
}

#[test]
fn without_the_axiom_of_packets_nothing_is_reported_and_memory_is_left() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
    let (_, handle) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    bench.be_slow(true);
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait_often(40), []);
    assert_eq!(bench.slots(), (1, 1));
    bench.be_slow(false);
    bench.deliver_all();
    bench.end();
}

#[test]
fn without_the_axiom_of_cancels_more_is_not_asked_for() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
    let (key, handle) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    bench.mood(|mood| mood.ignores_cancels = true);
    bench.declare(key, Interest::BOTH);
    bench.become_ready(handle, flag::SEND);
    assert_eq!(bench.wait_often(40), []);
    bench.become_ready(handle, flag::SEND | flag::RECEIVE);
    assert_eq!(bench.wait_often(1), [key]);
}

#[test]
fn without_the_axiom_of_skipped_packets_they_pile_up() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
    bench.mood(|mood| mood.queues_answers = true);
    for _ in 0..64 {
        let (_, handle) = bench.add(READ);
        bench.become_ready(handle, flag::RECEIVE);
    }
    bench.wait_often(170);
    assert!(bench.kernel.queued() > 5_000);
}

#[test]
fn without_the_axiom_of_counts_handles_are_polled_each_by_itself() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
    bench.mood(|mood| mood.counts_one = true);
    let socket = Socket::bare(&bench.kernel);
    let duplicate = socket.duplicate();
    bench.insert(socket, READ);
    bench.insert(duplicate, READ);
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.violations(), [Violation::PollsTwice]);
}

#[test]
fn without_the_axiom_of_comparison_the_first_of_two_handles_may_be_lost() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
    bench.mood(|mood| (mood.hides_objects, mood.mixes_up) = (true, true));
    let socket = Socket::bare(&bench.kernel);
    let (first, handle) = bench.insert(socket, READ);
    assert_eq!(bench.wait(), []);
    let duplicate = Socket::another(&bench.kernel, handle);
    let (second, _) = bench.insert(duplicate, READ);
    assert_eq!(bench.wait(), []);
    bench.become_ready(handle, flag::RECEIVE);
    let reported = bench.wait_often(40);
    assert!(reported.contains(&second) && !reported.contains(&first));
}

#[test]
fn without_the_axiom_of_time_limits_what_somebody_else_was_told_is_lost() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
    let (key, handle) = bench.add(READ);
    bench.kernel.share(handle, true);
    assert_eq!(bench.wait(), []);
    bench.kernel.steal(handle);
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait_often(40), []);
    bench.kernel.expire();
    assert_eq!(bench.wait_often(1), [key]);
}

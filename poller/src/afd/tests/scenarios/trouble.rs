//! What the system refuses, ends unasked, or lets others do behind the poller's back.

use std::thread;

use super::super::canaries::{ParksNothing, Small};
use super::{PATIENCE, Scenario, ready, refused};
use crate::afd::defects::{Defects, Sound};
use crate::afd::port::PollingMode;
use crate::nt::sim::{Sim, Socket};
use crate::nt::{Handle, Nt, Status, flag};
use crate::waker::CAPPED_SLEEP;
use crate::{Interest, Key};

const READ: Interest = Interest::READABLE;
const MODES: [PollingMode; 2] = [PollingMode::Direct, PollingMode::Helper];

impl<D: Defects> Scenario<D> {
    /// Closes a handle that the poller's source believes to be its own.
    pub(super) fn close_behind(&self, handle: Handle) {
        Sim::new(&self.kernel).close(handle);
    }

    /// Takes a source back that has no handle any more.
    fn remove_closed(&mut self, key: Key) {
        // It must not close what has its handle's value now.
        std::mem::forget(self.poller.remove(key).unwrap());
    }

    /// A source that has the handle's value now, and has reported data.
    #[track_caller]
    fn add_successor(&mut self, handle: Handle) -> Key {
        let (key, its) = self.add(READ);
        assert_eq!(its, handle, "it is used again");
        self.become_ready(its, flag::RECEIVE);
        assert_eq!(self.wait(), [ready(key, READ)]);
        key
    }

    /// What is not ready is not reported, what is ready is.
    #[track_caller]
    fn assert_works(&mut self, key: Key, handle: Handle) {
        self.become_ready(handle, 0);
        assert_eq!(self.wait(), []);
        self.become_ready(handle, flag::RECEIVE);
        assert_eq!(self.wait(), [ready(key, READ)]);
    }
}

#[test]
fn a_socket_closed_behind_the_pollers_back_is_reported_and_never_polled_again() {
    for mode in MODES {
        let mut bench = Scenario::<Sound>::new(mode);
        let (key, handle) = bench.add(READ);
        assert_eq!(bench.wait(), []);
        bench.close_behind(handle);
        let report = refused(key, READ, Status::INVALID_HANDLE);
        bench.polled();
        assert_eq!(bench.wait(), [report], "{mode:?}");
        assert_eq!(bench.wait(), [], "once");
        // Somebody else's socket has the handle's value now, and there is data.
        let other = Socket::bare(&bench.kernel);
        assert_eq!(other.handle(), handle);
        bench.become_ready(handle, flag::RECEIVE);
        assert_eq!(bench.wait(), []);
        bench.declare(key, Interest::BOTH);
        let report = refused(key, Interest::BOTH, Status::INVALID_HANDLE);
        assert_eq!(bench.wait(), [report], "asked for again");
        assert_eq!(bench.wait(), [], "once");
        assert_eq!(bench.polled(), [], "the other one is not polled");
        bench.remove_closed(key);
        drop(other);
        bench.end();
    }
}

#[test]
fn removing_a_socket_that_was_closed_does_nothing_to_who_has_its_handle_now() {
    for mode in MODES {
        let mut bench = Scenario::<Sound>::new(mode);
        let (key, handle) = bench.add(READ);
        assert_eq!(bench.wait(), []);
        bench.close_behind(handle);
        assert_eq!(bench.wait().len(), 1);
        let successor = bench.add_successor(handle);
        bench.remove_closed(key);
        bench.assert_works(successor, handle);
        bench.end();
    }
}

/// The same, while the packet that tells of it is still in the port, or still under way.
#[test]
fn removing_a_socket_not_known_to_be_closed_does_nothing_to_who_has_its_handle_now() {
    for mode in MODES {
        for is_queued in [true, false] {
            let mut bench = Scenario::<Sound>::new(mode);
            let (key, handle) = bench.add(READ);
            assert_eq!(bench.wait(), []);
            bench.be_slow(true);
            bench.close_behind(handle);
            bench.be_slow(false);
            let (successor, its) = bench.add(READ);
            assert_eq!(its, handle, "it is used again");
            assert_eq!(bench.wait(), []);
            if is_queued {
                bench.deliver_all();
            }
            bench.remove_closed(key);
            bench.deliver_all();
            bench.assert_works(successor, handle);
            assert_eq!(bench.slots(), (1, 0));
            bench.end();
        }
    }
}

/// The same, where another process has the socket too, so that the packet only says "cancelled".
#[test]
fn removing_a_socket_closed_only_here_does_nothing_to_who_has_its_handle_now() {
    for is_queued in [true, false] {
        let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
        let (key, handle) = bench.add(READ);
        assert_eq!(bench.wait(), []);
        bench.kernel.share(handle, true);
        bench.be_slow(true);
        bench.close_behind(handle);
        let (successor, its) = bench.add(READ);
        assert_eq!(its, handle, "it is used again");
        assert_eq!(bench.wait(), []);
        bench.be_slow(false);
        if is_queued {
            bench.deliver_all();
        }
        bench.remove_closed(key);
        assert_eq!(bench.violations(), []);
        bench.deliver_all();
        bench.assert_works(successor, handle);
        bench.end();
    }
}

#[test]
fn a_socket_closed_with_nothing_in_flight_is_reported_when_it_is_asked() {
    for mode in MODES {
        let mut bench = Scenario::<Sound>::new(mode);
        let (key, handle) = bench.add(READ);
        bench.become_ready(handle, flag::RECEIVE);
        assert_eq!(bench.wait(), [ready(key, READ)]);
        bench.close_behind(handle);
        let report = refused(key, READ, Status::INVALID_HANDLE);
        assert_eq!(bench.wait(), [report]);
        assert_eq!(bench.wait(), []);
        bench.remove_closed(key);
        bench.end();
    }
}

/// A failure is met while another source is removed; the wait that would tell it fails itself.
#[test]
fn a_wait_that_fails_loses_no_failure_and_the_end_outlives_another() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    let (key, handle) = bench.add(READ);
    let (other, _) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    bench
        .kernel
        .end_polls(handle, Status::INSUFFICIENT_RESOURCES);
    drop(bench.poller.remove(other).unwrap());
    assert_eq!(bench.port().early.len(), 1);
    bench.kernel.state().mood.refuses_dequeue = Some(Status::NO_MEMORY);
    let error = bench.poller.wait(&mut bench.events, None).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Status::NO_MEMORY.0));
    bench.kernel.state().mood.refuses_submit = Some(Status::INSUFFICIENT_RESOURCES);
    let report = refused(key, READ, Status::INSUFFICIENT_RESOURCES);
    assert_eq!(bench.wait(), [report], "it is told after all");
    assert_eq!(bench.wait(), []);
    bench.declare(key, READ);
    assert_eq!(bench.wait(), []);
    bench.kernel.state().mood.refuses_dequeue = Some(Status::NO_MEMORY);
    bench.end();
}

#[test]
fn a_poll_that_is_cancelled_unasked_is_armed_again() {
    for mode in MODES {
        let mut bench = Scenario::<Sound>::new(mode);
        let (key, handle) = bench.add(READ);
        assert_eq!(bench.wait(), []);
        for _ in 0..3 {
            bench.kernel.cancel_unasked(handle);
            let before = bench.counts();
            assert_eq!(bench.wait(), [], "nothing has happened to the socket");
            let spent = bench.spent_since(before);
            assert_eq!((spent.submits, spent.cancels), (1, 0));
            assert_eq!(bench.slots(), (1, 1));
        }
        bench.become_ready(handle, flag::RECEIVE);
        assert_eq!(bench.wait(), [ready(key, READ)]);
        bench.end();
    }
}

/// A poll fails. What is reported of it, and in the two waits after that.
fn waits_after_a_failure<D: Defects>(mode: PollingMode) -> [usize; 3] {
    let mut bench = Scenario::<D>::new(mode);
    let (key, handle) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    bench
        .kernel
        .end_polls(handle, Status::INSUFFICIENT_RESOURCES);
    let events = bench.wait();
    let report = refused(key, READ, Status::INSUFFICIENT_RESOURCES);
    assert_eq!(events, [report]);
    bench.become_ready(handle, flag::RECEIVE);
    [events.len(), bench.wait().len(), bench.wait().len()]
}

#[test]
fn a_poll_that_fails_is_reported_once_and_tried_again_when_declared() {
    for mode in MODES {
        assert_eq!(waits_after_a_failure::<Sound>(mode), [1, 0, 0]);
        assert_eq!(waits_after_a_failure::<Small>(mode), [1, 0, 0]);
        assert_eq!(waits_after_a_failure::<ParksNothing>(mode), [1, 1, 1]);
        let mut bench = Scenario::<Sound>::new(mode);
        let (key, handle) = bench.add(READ);
        assert_eq!(bench.wait(), []);
        bench
            .kernel
            .end_polls(handle, Status::INSUFFICIENT_RESOURCES);
        assert_eq!(bench.wait().len(), 1);
        bench.become_ready(handle, flag::RECEIVE);
        let before = bench.counts();
        assert_eq!(bench.wait(), []);
        assert_eq!(bench.spent_since(before).calls, 1, "the wait itself");
        bench.declare(key, READ);
        assert_eq!(bench.wait(), [ready(key, READ)]);
        bench.end();
    }
}

/// A failure of what is no longer wanted, or was about to be cancelled, is nobody's news.
#[test]
fn a_poll_that_fails_when_it_is_no_longer_wanted_is_not_reported() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
    let (first, first_handle) = bench.add(READ);
    let (second, second_handle) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    bench.be_slow(true);
    bench
        .kernel
        .end_polls(first_handle, Status::INSUFFICIENT_RESOURCES);
    bench
        .kernel
        .end_polls(second_handle, Status::INSUFFICIENT_RESOURCES);
    bench.declare(first, Interest::NONE);
    bench.declare(second, Interest::BOTH);
    assert_eq!(
        bench.wait(),
        [],
        "one is left alone, the other one cancelled"
    );
    bench.deliver_all();
    assert_eq!(bench.wait(), []);
    bench.be_slow(false);
    // What is wanted next is asked for.
    bench.declare(first, READ);
    assert_eq!(bench.wait(), []);
    bench.become_ready(first_handle, flag::RECEIVE);
    bench.become_ready(second_handle, flag::SEND);
    let events = bench.wait();
    assert_eq!(
        events,
        [ready(first, READ), ready(second, Interest::WRITABLE)]
    );
    bench.end();
}

#[test]
fn a_poll_that_is_refused_does_not_keep_others_from_being_armed() {
    for mode in MODES {
        let mut bench = Scenario::<Sound>::new(mode);
        let sources: Vec<_> = (0..3).map(|_| bench.add(READ)).collect();
        bench.kernel.state().mood.refuses_submit = Some(Status::INSUFFICIENT_RESOURCES);
        let unlucky = sources[0].0;
        let report = refused(unlucky, READ, Status::INSUFFICIENT_RESOURCES);
        assert_eq!(bench.wait(), [report]);
        assert_eq!(bench.slots(), (3, 2));
        for (_, handle) in &sources {
            bench.become_ready(*handle, flag::RECEIVE);
        }
        let others = [ready(sources[1].0, READ), ready(sources[2].0, READ)];
        assert_eq!(bench.wait(), others);
        // Among three that have an answer at once it is told in its turn.
        bench.declare(unlucky, READ);
        let answers = bench.wait();
        assert_eq!(answers.len(), 3);
        bench.kernel.state().mood.refuses_submit = Some(Status::INSUFFICIENT_RESOURCES);
        let events = bench.wait();
        let report = refused(answers[0].key(), READ, Status::INSUFFICIENT_RESOURCES);
        assert_eq!(events[0], report);
        assert_eq!(events[1..], answers[1..]);
        bench.end();
    }
}

/// The new source is found to be a handle of a socket whose polling rests, and is no reason to rest.
#[test]
fn who_joins_a_socket_that_rests_has_it_polled_again() {
    for mode in [PollingMode::Helper, PollingMode::Direct] {
        let mut bench = Scenario::<Sound>::new(mode);
        let (first, handle) = bench.add(READ);
        let status = Status::INSUFFICIENT_RESOURCES;
        bench.kernel.state().mood.refuses_submit = Some(status);
        assert_eq!(bench.wait(), [refused(first, READ, status)]);
        bench.become_ready(handle, flag::RECEIVE);
        assert_eq!(bench.wait(), []);
        let duplicate = bench.poller.get(first).unwrap().duplicate();
        let (second, _) = bench.insert(duplicate, READ);
        assert_eq!(bench.wait(), [ready(second, READ)], "{mode:?}");
        bench.declare(first, READ);
        assert_eq!(bench.wait().len(), 2);
        bench.end();
    }
}

#[test]
fn without_a_helper_only_who_needs_one_is_refused() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
    bench.kernel.state().mood.has_no_helpers = true;
    let layered = Socket::layered(&bench.kernel);
    let (needy, needy_handle) = bench.insert(layered, READ);
    let (other, handle) = bench.add(READ);
    let report = refused(needy, READ, Status::INSUFFICIENT_RESOURCES);
    assert_eq!(bench.wait(), [report]);
    assert_eq!(bench.slots(), (2, 1));
    bench.become_ready(handle, flag::RECEIVE);
    bench.become_ready(needy_handle, flag::RECEIVE);
    assert_eq!(bench.wait(), [ready(other, READ)]);
    // Once there are helpers again, a new declaration is enough.
    bench.kernel.state().mood.has_no_helpers = false;
    assert_eq!(bench.wait(), [ready(other, READ)]);
    bench.declare(needy, READ);
    assert!(bench.wait().contains(&ready(needy, READ)));
    assert_eq!(bench.helpers(), [Some(1)]);
    bench.end();
}

#[test]
fn a_helper_that_cannot_be_set_up_is_closed() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
    let (key, _) = bench.add(READ);
    let handles = bench.kernel.handles();
    bench.kernel.state().mood.keeps_packets = true;
    let report = refused(key, READ, Status::INVALID_PARAMETER);
    assert_eq!(bench.wait(), [report]);
    assert_eq!(bench.kernel.handles(), handles);
    assert_eq!(bench.helpers(), []);
    bench.kernel.state().mood.keeps_packets = false;
    bench.declare(key, READ);
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.helpers(), [Some(1)]);
    bench.end();
}

/// How many calls a round of ten active sources takes, beside so many idle ones.
fn calls_per_round(mode: PollingMode, idle: usize) -> Vec<u64> {
    const ACTIVE: usize = 10;
    let mut bench = Scenario::<Sound>::new(mode);
    for _ in 0..idle {
        bench.add(READ);
    }
    let active: Vec<_> = (0..ACTIVE).map(|_| bench.add(READ)).collect();
    assert_eq!(bench.wait(), []);
    let rounds = (0..50).map(|_| {
        let before = (bench.counts().calls, bench.poller.calls());
        for (_, handle) in &active {
            bench.become_ready(*handle, flag::RECEIVE);
        }
        assert_eq!(bench.wait().len(), ACTIVE);
        for (_, handle) in &active {
            bench.become_ready(*handle, 0);
        }
        assert_eq!(bench.wait(), []);
        let calls = bench.counts().calls - before.0;
        assert_eq!(
            bench.poller.calls() - before.1,
            calls,
            "the poller's own count"
        );
        calls
    });
    let rounds = rounds.collect();
    bench.end();
    rounds
}

#[test]
fn ten_active_sources_cost_the_same_beside_none_and_beside_ten_thousand() {
    let crowd = if cfg!(ampe_poison) { 500 } else { 10_000 };
    for mode in MODES {
        // A wait that finds them, ten polls, and a wait that finds nothing.
        let expected = vec![1 + 10 + 1; 50];
        assert_eq!(calls_per_round(mode, 0), expected, "{mode:?}");
        assert_eq!(calls_per_round(mode, crowd), expected, "{mode:?}");
    }
}

#[test]
fn a_wake_that_the_port_refuses_is_told_and_caps_the_sleep() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
    bench.kernel.state().mood.sleeps = true;
    bench.kernel.state().mood.refuses_post = Some(Status::INSUFFICIENT_RESOURCES);
    let waker = bench.poller.waker();
    let refused = thread::spawn(move || {
        // Only a thread that is asleep needs a packet.
        for _ in 0..10_000_000 {
            match waker.wake() {
                Ok(()) => thread::yield_now(),
                Err(error) => return error,
            }
        }
        panic!("nobody is told of the refusal")
    });
    while !refused.is_finished() {
        bench.wait_for(CAPPED_SLEEP / 100);
    }
    let error = refused.join().unwrap();
    let expected = Status::INSUFFICIENT_RESOURCES.0;
    assert_eq!(error.raw_os_error(), Some(expected));
    bench.wait();
    // Nothing happens, and nobody can wake: what was posted is found all the same.
    for _ in 0..2 {
        assert_eq!(bench.wait_for(PATIENCE), []);
        assert!(bench.events.woken());
    }
    bench.end();
}

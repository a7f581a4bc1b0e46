//! The end, whatever is in flight.

use std::sync::Arc;

use super::super::canaries::FreesAtShutdown;
use super::{Scenario, ready};
use crate::Interest;
use crate::afd::defects::{Defects, Sound};
use crate::afd::port::PollingMode;
use crate::nt::sim::{Kernel, Violation};
use crate::nt::{Status, flag};
use crate::sys::Backend;

const READ: Interest = Interest::READABLE;
const MODES: [PollingMode; 2] = [PollingMode::Direct, PollingMode::Helper];

/// One source in each state that a source can be in.
fn one_of_each<D: Defects>(mode: PollingMode) -> Scenario<D> {
    let mut bench = Scenario::<D>::new(mode);
    let sources = [(); 9].map(|()| bench.add(READ));
    let [
        _pending,
        idle,
        cancelling,
        ended,
        failing,
        early,
        removed,
        closed,
        queued,
    ] = sources;
    let _never_polled = bench.add(Interest::NONE);
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.slots(), (9, 9));
    bench.become_ready(idle.1, flag::RECEIVE);
    assert_eq!(bench.wait(), [ready(idle.0, READ)]);
    bench.become_ready(early.1, flag::RECEIVE);
    bench.be_slow(true);
    bench.declare(cancelling.0, Interest::BOTH);
    assert_eq!(
        bench.wait(),
        [ready(idle.0, READ)],
        "the port is left alone"
    );
    bench.become_ready(ended.1, flag::RECEIVE);
    bench
        .kernel
        .end_polls(failing.1, Status::INSUFFICIENT_RESOURCES);
    // Polled directly, this takes the packet out that is in the port.
    drop(bench.poller.remove(removed.0).unwrap());
    assert!(bench.poller.close(closed.0));
    bench.be_slow(false);
    bench.become_ready(queued.1, flag::RECEIVE);
    bench.be_slow(true);
    assert_eq!(bench.slots(), (9, 8));
    assert_eq!(bench.kernel.in_transit(), 5);
    bench
}

#[test]
fn the_end_waits_for_everything_that_is_in_flight() {
    for mode in MODES {
        for is_dropped in [false, true] {
            for writes_early in [false, true] {
                let Scenario { kernel, poller, .. } = one_of_each::<Sound>(mode);
                kernel.state().mood.writes_early = writes_early;
                if is_dropped {
                    drop(poller);
                } else {
                    poller.shut_down().unwrap();
                }
                assert_eq!(kernel.operations(), 0);
                assert_eq!(kernel.state().violations, []);
                assert_eq!(kernel.handles(), 0, "sockets, helpers, the port");
            }
        }
    }
}

#[test]
fn freeing_at_the_end_leaves_everything_that_is_in_flight() {
    for mode in MODES {
        let Scenario { kernel, poller, .. } = one_of_each::<FreesAtShutdown>(mode);
        kernel.state().mood.writes_early = true;
        poller.shut_down().unwrap();
        let violations = kernel.state().violations.clone();
        // Those that the closing of their sockets has ended were written to memory that was freed.
        assert!(violations.contains(&Violation::LeavesOperations));
        assert!(violations.contains(&Violation::WritesToFreed));
        assert!(kernel.operations() > 0);
    }
}

/// A source's handle was closed behind the poller's back and a duplicate of it is open, so that its
/// poll goes on and cannot be cancelled: the only handle that it could be cancelled on is gone.
#[test]
fn a_poll_that_cannot_be_ended_leaves_its_memory_behind_and_says_so() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    bench.kernel.state().mood.writes_early = true;
    for _ in 0..128 {
        bench.add(READ);
    }
    assert_eq!(bench.wait(), []);
    let in_another_block = bench.newest_context() / 128 * 128;
    let (orphan, handle) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    let address = bench.newest_context() / 128 * 128;
    let duplicate = bench.poller.get(orphan).unwrap().duplicate();
    bench.close_behind(handle);
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.slots(), (129, 129));

    let held = bench.port().slots.held();
    let before = bench.counts();
    let Scenario { kernel, poller, .. } = bench;
    let error = poller.shut_down().unwrap_err().to_string();
    assert!(error.starts_with("1 polls could not be ended"), "{error}");
    assert!(error.ends_with("is left behind"), "{error}");
    // All are cancelled, the others dequeued at once; then ten times there was nothing.
    let calls = kernel.state().counts.calls - before.calls;
    assert_eq!(calls, 129 + 1 + 10 + 1, "the last one closes the port");
    assert_eq!(kernel.operations(), 1);
    assert!(
        held.covers(address, 48),
        "it is still the kernel's to write to"
    );
    assert!(!held.covers(in_another_block, 48), "other blocks are freed");
    // Whenever the kernel is done with it, it writes there, and harms nobody.
    drop(duplicate);
    let state = kernel.state();
    assert_eq!(state.counts.local_closes, 1);
    let expected = [Violation::ClosesTwice, Violation::LeavesOperations];
    assert_eq!(state.violations, expected);
}

/// The same, while it has been told to end.
#[test]
fn a_poll_that_was_cancelled_in_vain_leaves_its_memory_behind_too() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    let (key, handle) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    let address = bench.newest_context() / 128 * 128;
    let duplicate = bench.poller.get(key).unwrap().duplicate();
    bench.close_behind(handle);
    bench.declare(key, Interest::BOTH);
    assert_eq!(bench.wait(), [], "the cancel finds nothing");
    let held = bench.port().slots.held();
    let Scenario { kernel, poller, .. } = bench;
    poller.shut_down().unwrap_err();
    assert!(held.covers(address, 48));
    drop(duplicate);
    let state = kernel.state();
    assert!(!state.violations.contains(&Violation::WritesToFreed));
}

#[test]
fn a_poll_of_a_closed_socket_ends_although_a_duplicate_is_open() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    let (key, _) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    let duplicate = bench.poller.get(key).unwrap().duplicate();
    assert!(bench.poller.close(key));
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.slots(), (0, 0));
    bench.end();
    drop(duplicate);
}

#[test]
fn a_poll_on_a_helper_can_be_ended_whatever_became_of_its_socket() {
    for is_elsewhere in [false, true] {
        let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
        let (key, handle) = bench.add(READ);
        assert_eq!(bench.wait(), []);
        let duplicate = match is_elsewhere {
            true => None,
            false => Some(bench.poller.get(key).unwrap().duplicate()),
        };
        bench.kernel.share(handle, is_elsewhere);
        assert!(bench.poller.close(key));
        assert_eq!(bench.wait(), []);
        assert_eq!(bench.slots(), (1, 1), "the closing has not ended it");
        assert_eq!(bench.wait(), []);
        assert_eq!(bench.slots(), (0, 0));
        bench.end();
        drop(duplicate);
    }
}

#[test]
fn a_poll_of_a_socket_that_another_process_keeps_is_ended_by_closing_it_here() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    let (key, handle) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    bench.kernel.share(handle, true);
    assert!(bench.poller.close(key));
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.slots(), (0, 0));
    bench.end();
}

#[test]
fn wakes_after_the_end_go_nowhere_and_the_last_waker_closes_the_port() {
    let kernel = Arc::<Kernel>::default();
    let mut bench = Scenario::<Sound>::on(&kernel, PollingMode::Auto);
    bench.add(READ);
    assert_eq!(bench.wait(), []);
    let (waker, signal) = (bench.poller.waker(), bench.port().signal());
    bench.end();
    assert_eq!(kernel.handles(), 1, "the port");
    waker.wake().unwrap();
    signal.send().unwrap();
    drop(signal);
    assert_eq!(kernel.handles(), 1);
    drop(waker);
    assert_eq!(kernel.handles(), 0);
    assert_eq!(kernel.state().violations, []);
}

//! Helpers, sockets with several handles, and polls that are left to the closing of their sources.

use super::super::canaries::{
    ClosesWithoutEnd, IgnoresZombies, SeparatesHandles, Small, WaitsWithoutEnd,
};
use super::{Scenario, ready, refused};
use crate::afd::defects::{Defects, Sound};
use crate::afd::poll_file::OPERATION_KEY;
use crate::afd::port::PollingMode;
use crate::event::Event;
use crate::nt::sim::{Socket, Violation};
use crate::nt::{Handle, Status, flag};
use crate::{Interest, Key};

const READ: Interest = Interest::READABLE;
const MODES: [PollingMode; 2] = [PollingMode::Auto, PollingMode::Helper];

#[test]
fn closing_the_last_handle_ends_the_poll_without_a_cancel() {
    for (mode, is_ordered) in MODES
        .into_iter()
        .flat_map(|mode| [(mode, false), (mode, true)])
    {
        let mut bench = Scenario::<Sound>::new(mode);
        let (key, _) = bench.add(READ);
        assert_eq!(bench.wait(), []);
        let before = bench.counts();
        match is_ordered {
            true => assert!(bench.poller.remote().close(key)),
            false => assert!(bench.poller.close(key)),
        }
        assert_eq!(bench.wait(), []);
        assert_eq!(bench.spent_since(before).cancels, 0, "{is_ordered}");
        assert_eq!(bench.slots(), (0, 0));
        assert_eq!(bench.helpers(), [Some(0)]);
        assert_eq!(bench.port().strays, 0);
        bench.end();
    }
}

/// A source was closed with its poll in flight, and its socket has this other handle.
fn with_a_closing_zombie<D: Defects>() -> (Scenario<D>, Socket) {
    let mut bench = Scenario::<D>::new(PollingMode::Auto);
    let (key, _) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    let duplicate = bench.poller.get(key).unwrap().duplicate();
    assert!(bench.poller.close(key));
    (bench, duplicate)
}

/// Closes a source whose socket has another handle. How many slots are taken after some waits.
fn close_with_duplicate<D: Defects>() -> usize {
    let (mut bench, duplicate) = with_a_closing_zombie::<D>();
    for _ in 0..4 {
        assert_eq!(bench.wait(), []);
    }
    let (taken, _) = bench.slots();
    bench.end();
    drop(duplicate);
    taken
}

#[test]
fn what_closing_does_not_end_is_cancelled() {
    assert_eq!(close_with_duplicate::<Sound>(), 0);
    assert_eq!(close_with_duplicate::<Small>(), 0);
}

#[test]
fn closing_without_end_keeps_the_slot() {
    assert_eq!(close_with_duplicate::<ClosesWithoutEnd>(), 1);
}

#[test]
fn all_that_closes_is_cancelled_once_the_port_is_empty() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
    let keys = [bench.add(READ).0, bench.add(READ).0, bench.add(READ).0];
    assert_eq!(bench.wait(), []);
    let duplicates = keys.map(|key| bench.poller.get(key).unwrap().duplicate());
    for key in keys {
        assert!(bench.poller.close(key));
    }
    let before = bench.counts();
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.spent_since(before).cancels, 3);
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.slots(), (0, 0));
    bench.end();
    drop(duplicates);
}

#[test]
fn a_port_that_is_never_emptied_does_not_keep_what_closes() {
    let (mut bench, _duplicate) = with_a_closing_zombie::<Small>();
    let before = bench.counts();
    let mut cancels = Vec::new();
    for _ in 0..3 {
        for _ in 0..Small::BATCH {
            let nobody = usize::MAX / 256 * 128;
            bench.kernel.post_foreign(OPERATION_KEY, nobody);
        }
        assert_eq!(bench.wait(), []);
        cancels.push(bench.spent_since(before).cancels);
    }
    let waited = usize::from(Small::CLOSING_MAX) - 1;
    assert_eq!(
        cancels,
        [[0].repeat(waited), [1].repeat(3 - waited)].concat()
    );
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.slots(), (0, 0));
    bench.end();
}

/// Its slot is another source's before the port was emptied.
#[test]
fn who_takes_the_slot_of_what_has_closed_is_left_alone() {
    let mut bench = Scenario::<Small>::new(PollingMode::Auto);
    let (key, _) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    let slot = bench.port().table.object_of(key.index).unwrap().slot;
    assert!(bench.poller.close(key));
    // A batch that is full with its packet.
    for _ in 1..Small::BATCH {
        bench
            .kernel
            .post_foreign(OPERATION_KEY, usize::MAX / 256 * 128);
    }
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.slots(), (0, 0));
    assert_eq!(bench.port().zombies.closing().0.len(), 1, "still listed");
    let before = bench.counts();
    let (next, handle) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    let taken = bench.port().table.object_of(next.index).unwrap().slot;
    assert_eq!(taken, slot);
    assert_eq!(bench.port().zombies.closing(), (vec![], 0));
    assert_eq!(bench.spent_since(before).cancels, 0);
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait(), [ready(next, READ)]);
    bench.end();
}

/// The end comes before what closing has not ended was cancelled.
#[test]
fn the_end_waits_for_what_closes() {
    let (bench, duplicate) = with_a_closing_zombie::<Sound>();
    bench.end();
    drop(duplicate);
}

#[test]
fn a_closing_zombie_that_fails_is_over_as_well() {
    let (mut bench, duplicate) = with_a_closing_zombie::<Sound>();
    let failure = Status::INSUFFICIENT_RESOURCES;
    bench.kernel.end_polls(duplicate.handle(), failure);
    let before = bench.counts();
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.spent_since(before).cancels, 0);
    assert_eq!(bench.slots(), (0, 0));
    assert_eq!(bench.helpers(), [Some(0)]);
    bench.end();
}

/// Registers three handles of one socket, among others.
fn three_handles<D: Defects>(mode: PollingMode) -> (Scenario<D>, Handle, [Key; 3]) {
    let mut bench = Scenario::<D>::new(mode);
    bench.kernel.state().mood.mixes_up = true;
    let socket = Socket::bare(&bench.kernel);
    let duplicates = [socket.duplicate(), socket.duplicate()];
    bench.add(READ);
    let (first, handle) = bench.insert(socket, READ);
    assert_eq!(bench.wait(), []);
    let others = duplicates.map(|duplicate| bench.insert(duplicate, READ).0);
    bench.add(READ);
    assert_eq!(bench.wait(), []);
    (bench, handle, [first, others[0], others[1]])
}

/// Windows mixes up the answers of two polls of one socket, whatever handles they ask about.
#[test]
fn the_handles_of_a_socket_are_polled_together_and_each_is_reported() {
    for mode in MODES {
        let (mut bench, handle, keys) = three_handles::<Sound>(mode);
        assert_eq!(bench.slots(), (3, 3));
        assert_eq!(bench.helpers(), [Some(3)]);
        bench.become_ready(handle, flag::RECEIVE);
        assert_eq!(bench.wait(), keys.map(|key| ready(key, READ)));
        // Each is reported what it is wanted for, and asked for is what any is wanted for.
        bench.become_ready(handle, 0);
        bench.declare(keys[1], Interest::WRITABLE);
        bench.declare(keys[2], Interest::NONE);
        for _ in 0..3 {
            assert_eq!(bench.wait(), []);
        }
        bench.become_ready(handle, flag::RECEIVE | flag::SEND);
        let expected = [ready(keys[0], READ), ready(keys[1], Interest::WRITABLE)];
        assert_eq!(bench.wait(), expected);
        // Whichever goes, the others are none the worse.
        assert!(bench.poller.close(keys[0]));
        assert_eq!(bench.wait(), [expected[1]]);
        bench.declare(keys[2], READ);
        assert_eq!(bench.wait(), [expected[1], ready(keys[2], READ)]);
        bench.end();
    }
}

#[test]
fn handles_that_are_polled_each_by_itself_lose_what_is_told_to_another() {
    for mode in MODES {
        let (mut bench, handle, keys) = three_handles::<SeparatesHandles>(mode);
        assert!(bench.violations().contains(&Violation::PollsTwice));
        bench.become_ready(handle, flag::RECEIVE);
        let mut reported = Vec::new();
        for _ in 0..20 {
            reported.extend(bench.wait().iter().map(Event::key));
        }
        assert!(!keys.iter().all(|key| reported.contains(key)));
    }
}

/// A refusal is told to each, and each tries again by itself.
#[test]
fn of_the_handles_of_a_socket_each_rests_after_a_refusal() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
    let socket = Socket::bare(&bench.kernel);
    let duplicate = socket.duplicate();
    let first = bench.insert(socket, READ);
    assert_eq!(bench.wait(), []);
    let both = [first, bench.insert(duplicate, READ)];
    let status = Status::INSUFFICIENT_RESOURCES;
    assert_eq!(bench.wait(), []);
    bench.kernel.end_polls(both[0].1, status);
    assert_eq!(
        bench.wait(),
        both.map(|(key, _)| refused(key, READ, status))
    );
    bench.become_ready(both[0].1, flag::RECEIVE);
    bench.polled();
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.polled(), []);
    bench.declare(both[1].0, READ);
    assert_eq!(
        bench.wait(),
        [ready(both[1].0, READ)],
        "the other one rests"
    );
    bench.end();
}

/// A socket comes while a poll of it is in flight whose source is gone. What the kernel says of it.
fn comes_again<D: Defects>(mut bench: Scenario<D>, socket: Socket) -> Vec<Violation> {
    let (again, handle) = bench.insert(socket, READ);
    assert_eq!(bench.wait(), []);
    let violations = bench.violations();
    assert_eq!(bench.wait(), []);
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait(), [ready(again, READ)]);
    if violations.is_empty() {
        bench.end();
    }
    violations
}

/// The duplicate of a source that was closed comes before the source's poll has ended.
fn successor_of_a_closing_zombie<D: Defects>() -> Vec<Violation> {
    let (bench, duplicate) = with_a_closing_zombie::<D>();
    comes_again(bench, duplicate)
}

#[test]
fn who_comes_waits_for_a_closing_zombie() {
    assert_eq!(successor_of_a_closing_zombie::<Sound>(), []);
    assert_eq!(successor_of_a_closing_zombie::<Small>(), []);
    let violations = successor_of_a_closing_zombie::<IgnoresZombies>();
    assert_eq!(violations, [Violation::PollsTwice]);
}

/// A source is taken back and put in again before its cancelled poll's packet was dequeued.
#[test]
fn who_comes_back_waits_for_the_packet_of_his_cancelled_poll() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
    let (first, _) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    bench.be_slow(true);
    let socket = bench.poller.remove(first).unwrap();
    let (again, handle) = bench.insert(socket, READ);
    bench.polled();
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.polled(), []);
    bench.deliver_all();
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.polled().len(), 1);
    bench.be_slow(false);
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait(), [ready(again, READ)]);
    bench.end();
}

/// Nobody is kept by a poll that does not end for good: after a while he is polled, with a time limit at first.
#[test]
fn who_waits_in_vain_is_polled_with_a_time_limit() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
    let (first, _) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    bench.be_slow(true);
    drop(bench.poller.remove(first).unwrap());
    let (key, handle) = bench.add(READ);
    for _ in 0..Sound::AWAITED_MAX {
        assert_eq!(bench.kernel.operations(), 1);
        assert_eq!(bench.wait(), []);
    }
    assert_eq!(bench.kernel.operations(), 2);
    assert!(bench.kernel.may_expire());
    // Others need not wait for the same poll.
    bench.add(READ);
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.kernel.operations(), 3);
    bench.kernel.expire();
    bench.deliver_all();
    assert_eq!(bench.wait(), []);
    assert!(!bench.kernel.may_expire(), "there is nobody else");
    bench.be_slow(false);
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait(), [ready(key, READ)]);
    bench.end();
}

/// Somebody else polls the socket, and is told what this poller waits for. Whether it is reported after all.
fn told_to_somebody_else<D: Defects>(hides_counts: bool) -> bool {
    let mut bench = Scenario::<D>::new(PollingMode::Auto);
    bench.kernel.state().mood.hides_counts = hides_counts;
    let (key, handle) = bench.add(READ);
    bench.kernel.share(handle, !hides_counts);
    assert_eq!(bench.wait(), []);
    bench.kernel.steal(handle);
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait(), []);
    bench.kernel.expire();
    bench.wait() == [ready(key, READ)]
}

#[test]
fn a_socket_that_somebody_else_may_poll_is_polled_with_a_time_limit() {
    for hides_counts in [false, true] {
        assert!(told_to_somebody_else::<Sound>(hides_counts));
        assert!(!told_to_somebody_else::<WaitsWithoutEnd>(hides_counts));
    }
}

/// Once the other handle is gone the time limit is too; and it comes with one that is registered later.
#[test]
fn the_time_limit_comes_and_goes_with_the_other_handles() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
    let (_, handle) = bench.add(READ);
    bench.kernel.share(handle, true);
    assert_eq!(bench.wait(), []);
    for is_elsewhere in [true, false] {
        bench.kernel.share(handle, is_elsewhere);
        let before = bench.counts();
        bench.kernel.expire();
        assert_eq!(bench.wait(), []);
        let calls = bench.spent_since(before).calls;
        assert_eq!(calls, 3, "a dequeue, a question, a poll");
        assert_eq!(bench.kernel.may_expire(), is_elsewhere);
    }
    let socket = Socket::another(&bench.kernel, handle);
    bench.kernel.share(handle, true);
    bench.insert(socket, Interest::BOTH);
    for _ in 0..3 {
        assert_eq!(bench.wait(), []);
    }
    assert!(bench.kernel.may_expire());
    bench.end();
}

/// What cannot be compared is polled beside what it may be a handle of, with a time limit.
#[test]
fn where_handles_cannot_be_compared_the_second_has_a_time_limit() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
    bench.kernel.state().mood.hides_objects = true;
    let socket = Socket::bare(&bench.kernel);
    let duplicate = socket.duplicate();
    let both = [bench.insert(socket, READ), bench.insert(duplicate, READ)];
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.slots(), (2, 2));
    assert!(bench.kernel.may_expire());
    bench.become_ready(both[0].1, flag::RECEIVE);
    assert_eq!(bench.wait(), both.map(|(key, _)| ready(key, READ)));
}

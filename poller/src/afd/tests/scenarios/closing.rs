//! Helpers, sockets with several handles, and polls that are left to the closing of their sources.

use super::super::canaries::{LingersForEver, SharesAnyway, SharesWithLeaving, Small};
use super::{Bench, ready};
use crate::Interest;
use crate::afd::control::OPERATION_KEY;
use crate::afd::defects::{Defects, Sound};
use crate::afd::port::ControlMode;
use crate::nt::sim::{Socket, Violation};
use crate::nt::{Status, flag};

const READ: Interest = Interest::READABLE;
const MODES: [ControlMode; 2] = [ControlMode::Auto, ControlMode::Helper];

#[test]
fn closing_the_last_handle_ends_the_poll_without_a_cancel() {
    for mode in MODES {
        let mut bench = Bench::<Sound>::new(mode);
        let (key, _) = bench.add(READ);
        assert_eq!(bench.wait(), []);
        let before = bench.counts();
        assert!(bench.poller.close(key));
        assert_eq!(bench.wait(), []);
        assert_eq!(bench.spent_since(before).cancels, 0);
        assert_eq!(bench.slots(), (0, 0));
        assert_eq!(bench.helpers(), [Some(0)]);
        assert_eq!(bench.port().strays, 0);
        bench.end();
    }
}

/// A source was closed with its poll in flight, and its socket has this other handle.
fn with_lingering<D: Defects>() -> (Bench<D>, Socket) {
    let mut bench = Bench::<D>::new(ControlMode::Auto);
    let (key, _) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    let duplicate = bench.poller.get(key).unwrap().duplicate();
    assert!(bench.poller.close(key));
    (bench, duplicate)
}

/// Closes a source whose socket has another handle. How many slots are taken after some waits.
fn close_with_duplicate<D: Defects>() -> usize {
    let (mut bench, duplicate) = with_lingering::<D>();
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
fn lingering_for_ever_keeps_the_slot() {
    assert_eq!(close_with_duplicate::<LingersForEver>(), 1);
}

#[test]
fn all_that_lingers_is_cancelled_once_the_port_is_empty() {
    let mut bench = Bench::<Sound>::new(ControlMode::Auto);
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
fn a_port_that_is_never_emptied_does_not_keep_what_lingers() {
    let (mut bench, _duplicate) = with_lingering::<Small>();
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
    let waited = usize::from(Small::LINGERS_MAX) - 1;
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
fn who_takes_the_slot_of_what_has_lingered_is_left_alone() {
    let mut bench = Bench::<Small>::new(ControlMode::Auto);
    let (key, _) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    let slot = bench.port().table.at(key.index).unwrap().slot;
    assert!(bench.poller.close(key));
    // A batch that is full with its packet.
    for _ in 1..Small::BATCH {
        bench
            .kernel
            .post_foreign(OPERATION_KEY, usize::MAX / 256 * 128);
    }
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.slots(), (0, 0));
    assert_eq!(bench.port().lingering.parts().0.len(), 1, "still listed");
    let before = bench.counts();
    let (next, handle) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    let taken = bench.port().table.at(next.index).unwrap().slot;
    assert_eq!(taken, slot);
    assert_eq!(bench.port().lingering.parts(), (&[][..], 0));
    assert_eq!(bench.spent_since(before).cancels, 0);
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait(), [ready(next, READ)]);
    bench.end();
}

/// The end comes before what closing has not ended was cancelled.
#[test]
fn the_end_waits_for_what_lingers() {
    let (bench, duplicate) = with_lingering::<Sound>();
    bench.end();
    drop(duplicate);
}

#[test]
fn what_lingers_and_fails_is_over_as_well() {
    let (mut bench, duplicate) = with_lingering::<Sound>();
    let failure = Status::INSUFFICIENT_RESOURCES;
    bench.kernel.end_polls(duplicate.handle(), failure);
    let before = bench.counts();
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.spent_since(before).cancels, 0);
    assert_eq!(bench.slots(), (0, 0));
    assert_eq!(bench.helpers(), [Some(0)]);
    bench.end();
}

/// Registers three handles of one socket, among others. What the kernel says of it.
fn three_handles<D: Defects>(mode: ControlMode) -> (Bench<D>, Vec<Violation>) {
    let mut bench = Bench::<D>::new(mode);
    let socket = Socket::bare(&bench.kernel);
    let handle = socket.handle();
    let duplicates = [socket.duplicate(), socket.duplicate()];
    bench.add(READ);
    let (first, _) = bench.insert(socket, READ);
    let others = duplicates.map(|duplicate| bench.insert(duplicate, READ).0);
    bench.add(READ);
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.slots(), (5, 5));
    let violations = bench.violations();
    if violations.is_empty() {
        assert_eq!(bench.helpers().len(), 4);
        bench.become_ready(handle, flag::RECEIVE);
        let reported = [first, others[0], others[1]].map(|key| ready(key, READ));
        assert_eq!(bench.wait(), reported);
    }
    (bench, violations)
}

/// Windows mixes up the answers of two polls of one socket that are in flight on one file.
#[test]
fn each_handle_of_a_socket_is_polled_on_a_file_of_its_own() {
    for mode in MODES {
        let (bench, violations) = three_handles::<Sound>(mode);
        assert_eq!(violations, [], "{mode:?}");
        bench.end();
    }
}

#[test]
fn with_helpers_shared_by_all_a_socket_is_polled_twice_on_one_file() {
    for mode in MODES {
        let (_, violations) = three_handles::<SharesAnyway>(mode);
        assert!(violations.contains(&Violation::PollsTwice), "{mode:?}");
    }
}

/// What has, or may have, further handles begins with a helper that nobody uses. Who has not may join it.
#[test]
fn who_may_have_further_handles_joins_nobody() {
    for is_elsewhere in [false, true] {
        let mut bench = Bench::<Sound>::new(ControlMode::Auto);
        bench.kernel.state().mood.hides_counts = !is_elsewhere;
        for helpers in 1..4 {
            let (_, handle) = bench.add(READ);
            bench.kernel.share(handle, is_elsewhere);
            assert_eq!(bench.wait(), []);
            assert_eq!(bench.helpers(), [Some(1)].repeat(helpers));
        }
        bench.kernel.state().mood.hides_counts = false;
        let sole: Vec<_> = (0..32).map(|_| bench.add(READ)).collect();
        assert_eq!(bench.wait(), []);
        assert_eq!(bench.helpers(), [Some(1), Some(2), Some(32)]);
        for (key, _) in sole {
            assert!(bench.poller.close(key));
        }
        assert_eq!(bench.wait(), []);
        assert_eq!(bench.helpers(), [Some(1), Some(1), Some(1)]);
        bench.end();
    }
}

/// A helper without users is for whoever comes next.
#[test]
fn a_spare_helper_is_joined_without_a_look() {
    let mut bench = Bench::<Sound>::new(ControlMode::Auto);
    bench.add(READ);
    let (first, handle) = bench.add(READ);
    bench.kernel.share(handle, true);
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.helpers(), [Some(1), Some(1)]);
    drop(bench.poller.remove(first).unwrap());
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.helpers(), [Some(1), Some(0)]);
    bench.kernel.state().mood.hides_counts = true;
    let before = bench.counts();
    bench.add(READ);
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.spent_since(before).calls, 2, "a poll and a dequeue");
    assert_eq!(bench.helpers(), [Some(1), Some(1)]);
    bench.end();
}

/// One that rests, and one that goes, so that the next ones are taken for such that come and go.
fn with_turnover() -> Bench {
    let mut bench = Bench::<Sound>::new(ControlMode::Helper);
    bench.add(READ);
    let (first, handle) = bench.add(READ);
    bench.kernel.share(handle, true);
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.helpers(), [Some(1), Some(1)]);
    bench.kernel.share(handle, false);
    assert!(bench.poller.close(first));
    bench
}

#[test]
fn where_sources_come_and_go_a_few_helpers_more_are_opened_and_not_ever_more() {
    let mut bench = with_turnover();
    for _ in 0..1_000 {
        bench.add(READ);
    }
    assert_eq!(bench.wait(), []);
    // As many as the sources fill, the one that goes, and those with room that are opened.
    assert_eq!(bench.helpers().len(), 47);
    bench.end();

    // One that stays, for each that goes.
    let mut bench = with_turnover();
    for _ in 0..1_000 {
        bench.add(READ);
        let (passing, _) = bench.add(READ);
        assert_eq!(bench.wait(), []);
        assert!(bench.poller.close(passing));
    }
    assert_eq!(bench.helpers().len(), 33);
    bench.end();
}

/// Packets are long in coming, so that there are ever more helpers whose users are gone.
#[test]
fn what_goes_and_is_not_gone_yet_opens_no_end_of_helpers() {
    let mut bench = with_turnover();
    bench.be_slow(true);
    let mut passing = Vec::new();
    for _ in 0..40 {
        for (key, _) in passing.drain(..) {
            assert!(bench.poller.close(key));
        }
        passing.extend((0..16).map(|_| bench.add(READ)));
        assert_eq!(bench.wait(), []);
    }
    assert_eq!(bench.slots().1, 40 * 16 + 1);
    // Not one for each.
    assert_eq!(bench.helpers().len(), 68);
    bench.be_slow(false);
    bench.deliver_all();
    bench.end();
}

#[test]
fn who_cannot_have_a_helper_for_himself_joins_others() {
    let mut bench = with_turnover();
    bench.have_helpers(false);
    let (key, handle) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.helpers(), [Some(2), Some(0)]);
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait(), [ready(key, READ)]);
    bench.end();
}

/// A socket comes while a poll of it is in flight whose source is gone. What the kernel says of it.
fn comes_again<D: Defects>(mut bench: Bench<D>, socket: Socket) -> Vec<Violation> {
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
fn successor_of_a_lingering_poll<D: Defects>() -> Vec<Violation> {
    let (bench, duplicate) = with_lingering::<D>();
    comes_again(bench, duplicate)
}

#[test]
fn nobody_joins_a_helper_with_a_poll_that_lingers() {
    assert_eq!(successor_of_a_lingering_poll::<Sound>(), []);
    assert_eq!(successor_of_a_lingering_poll::<Small>(), []);
}

#[test]
fn joining_a_helper_with_a_poll_that_lingers_polls_a_socket_twice() {
    let violations = successor_of_a_lingering_poll::<SharesWithLeaving>();
    assert_eq!(violations, [Violation::PollsTwice]);
}

/// A source is taken back and put in again before its cancelled poll's packet was dequeued.
fn taken_back_and_put_in_again<D: Defects>() -> Vec<Violation> {
    let mut bench = Bench::<D>::new(ControlMode::Auto);
    let (first, _) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    let socket = bench.poller.remove(first).unwrap();
    comes_again(bench, socket)
}

#[test]
fn who_comes_back_before_his_packet_has_another_helper() {
    assert_eq!(taken_back_and_put_in_again::<Sound>(), []);
    let violations = taken_back_and_put_in_again::<SharesWithLeaving>();
    assert_eq!(violations, [Violation::PollsTwice]);
}

//! What is reported, about whom, and for how long.

use super::Bench;
use super::worlds::{Read, World};
use crate::{Event, Interest};

const NONE: Interest = Interest::NONE;
const READABLE: Interest = Interest::READABLE;
const WRITABLE: Interest = Interest::WRITABLE;
const BOTH: Interest = Interest::BOTH;

pub(super) fn what_is_wanted_and_ready_is_reported<W: World>() {
    let mut bench = Bench::<W>::new();
    let (key, theirs) = bench.add_pair(NONE);
    bench.assert_quiet();
    bench.declare(key, READABLE);
    bench.assert_quiet();
    bench.declare(key, BOTH);
    bench.assert_reports(&[(key, WRITABLE)]);

    bench.world.write(&theirs, 1);
    bench.world.await_readable(bench.get(key));
    for interest in [BOTH, READABLE, WRITABLE, BOTH] {
        bench.declare(key, interest);
        bench.assert_reports(&[(key, interest)]);
    }
    bench.declare(key, NONE);
    bench.assert_quiet();
}

pub(super) fn what_is_left_is_reported_again<W: World>() {
    let mut bench = Bench::<W>::new();
    let (key, theirs) = bench.add_pair(READABLE);
    bench.world.write(&theirs, 3);
    for _ in 0..3 {
        bench.assert_reports(&[(key, READABLE)]);
        bench.assert_reports(&[(key, READABLE)]);
        assert_eq!(bench.world.read(bench.get(key), 1), Read::Data(1));
    }
    bench.assert_quiet();
    assert_eq!(bench.world.read(bench.get(key), 1), Read::WouldBlock);
    bench.world.write(&theirs, 1);
    bench.assert_reports(&[(key, READABLE)]);
}

pub(super) fn withdrawn_interest_loses_nothing<W: World>() {
    let mut bench = Bench::<W>::new();
    let (key, theirs) = bench.add_pair(READABLE);
    bench.world.write(&theirs, 1);
    bench.assert_reports(&[(key, READABLE)]);
    bench.declare(key, NONE);
    bench.assert_asleep();
    bench.declare(key, READABLE);
    bench.assert_reports(&[(key, READABLE)]);

    // Withdrawn before the data comes, too.
    assert_eq!(bench.world.read(bench.get(key), 1), Read::Data(1));
    bench.declare(key, NONE);
    bench.assert_quiet();
    bench.world.write(&theirs, 1);
    bench.world.await_readable(bench.get(key));
    bench.assert_asleep();
    bench.declare(key, READABLE);
    bench.assert_reports(&[(key, READABLE)]);
}

pub(super) fn a_full_stream_is_not_writable_until_drained<W: World>() {
    let mut bench = Bench::<W>::new();
    let (key, theirs) = bench.add_pair(NONE);
    bench.world.fill(bench.get(key));
    bench.declare(key, WRITABLE);
    // TCP takes more while it moves what it has: go on until it does not.
    while !bench.wait(std::time::Duration::from_millis(10)).is_empty() {
        bench.world.fill(bench.get(key));
    }
    bench.assert_asleep();
    while bench.wait(std::time::Duration::ZERO).is_empty() {
        bench.world.await_readable(&theirs);
        assert!(matches!(bench.world.read(&theirs, 1 << 16), Read::Data(_)));
    }
    bench.assert_reports(&[(key, WRITABLE)]);
}

pub(super) fn a_source_without_interest_is_silent_when_its_peer_closes<W: World>() {
    let mut bench = Bench::<W>::new();
    let (key, theirs) = bench.add_pair(BOTH);
    bench.assert_reports(&[(key, WRITABLE)]);
    bench.declare(key, NONE);
    bench.world.close(theirs);
    bench.world.await_hang_up(bench.get(key));
    bench.assert_asleep();
    bench.declare(key, READABLE);
    bench.assert_reports(&[(key, READABLE)]);
    assert_eq!(bench.world.read(bench.get(key), 1), Read::End);
}

pub(super) fn a_source_without_interest_is_silent_when_its_peer_resets<W: World>() {
    let mut bench = Bench::<W>::new();
    let (key, theirs) = bench.add_pair(NONE);
    bench.world.reset(bench.get(key), theirs);
    bench.world.await_hang_up(bench.get(key));
    bench.assert_asleep();
    bench.declare(key, READABLE);
    bench.assert_reports(&[(key, READABLE)]);
    let expected = bench.world.after_reset();
    assert_eq!(bench.world.read(bench.get(key), 1), expected);
}

pub(super) fn hang_up_is_what_is_wanted<W: World>() {
    for interest in [READABLE, WRITABLE, BOTH] {
        let mut bench = Bench::<W>::new();
        let (key, theirs) = bench.add_pair(NONE);
        bench.world.reset(bench.get(key), theirs);
        bench.world.await_hang_up(bench.get(key));
        bench.declare(key, interest);
        bench.assert_reports(&[(key, interest)]);
        bench.assert_reports(&[(key, interest)]);
    }
}

pub(super) fn the_end_of_one_direction_is_readable<W: World>() {
    let mut bench = Bench::<W>::new();
    let (key, theirs) = bench.add_pair(READABLE);
    bench.world.write(&theirs, 1);
    bench.world.shutdown(&theirs);
    bench.assert_reports(&[(key, READABLE)]);
    assert_eq!(bench.world.read(bench.get(key), 1), Read::Data(1));
    bench.assert_reports(&[(key, READABLE)]);
    assert_eq!(bench.world.read(bench.get(key), 1), Read::End);

    // The other direction goes on.
    bench.declare(key, WRITABLE);
    bench.assert_reports(&[(key, WRITABLE)]);
    assert_eq!(bench.world.write(bench.get(key), 1), 1);
    bench.world.await_readable(&theirs);
    assert_eq!(bench.world.read(&theirs, 1), Read::Data(1));
}

pub(super) fn a_connection_attempt_ends_writable<W: World>() {
    let mut bench = Bench::<W>::new();
    let listener = bench.world.listen();
    let connecting = bench.world.connect(&listener);
    let key = bench.add(connecting, WRITABLE);
    bench.assert_reports(&[(key, WRITABLE)]);
    assert_eq!(bench.world.outcome(bench.get(key)), Some(true));
}

pub(super) fn a_refused_connection_attempt_is_ready<W: World>() {
    let mut bench = Bench::<W>::new();
    let Some(connecting) = bench.world.refuse() else {
        super::skip("the system refuses at once");
        return;
    };
    let key = bench.add(connecting, WRITABLE);
    bench.assert_reports(&[(key, WRITABLE)]);
    assert_eq!(bench.world.outcome(bench.get(key)), Some(false));
}

pub(super) fn a_listener_is_readable_while_its_backlog_is_not_empty<W: World>() {
    let mut bench = Bench::<W>::new();
    let listener = bench.world.listen();
    let clients = [(); 3].map(|()| bench.world.connect(&listener));
    let key = bench.add(listener, READABLE);
    for _ in &clients {
        bench.assert_reports(&[(key, READABLE)]);
        assert!(bench.world.accept(bench.get(key)).is_some());
    }
    bench.assert_quiet();
    assert!(bench.world.accept(bench.get(key)).is_none());
}

pub(super) fn a_full_backlog_turns_away_until_somebody_is_accepted<W: World>() {
    let mut bench = Bench::<W>::new();
    let listener = bench.world.listen();
    let mut waiting = match bench.world.fill_backlog(&listener) {
        Ok(waiting) => waiting,
        Err(reason) => return super::skip(reason),
    };
    let key = bench.add(listener, READABLE);
    bench.assert_reports(&[(key, READABLE)]);
    assert!(bench.world.accept(bench.get(key)).is_some());
    // Whoever was turned away has room now, and exactly one of them.
    let late = bench.world.fill_backlog(bench.get(key)).unwrap();
    assert_eq!(late.len(), 1);
    waiting.extend(late);
    for _ in 1..waiting.len() {
        bench.assert_reports(&[(key, READABLE)]);
        assert!(bench.world.accept(bench.get(key)).is_some());
    }
    bench.assert_quiet();
}

pub(super) fn a_removed_source_has_no_event_left_in_the_batch<W: World>() {
    let mut bench = Bench::<W>::new();
    let mut peers = Vec::new();
    let keys = [(); 3].map(|()| {
        let (key, theirs) = bench.add_pair(WRITABLE);
        peers.push(theirs);
        key
    });
    bench
        .poller
        .wait(&mut bench.events, Some(W::PATIENCE))
        .unwrap();
    let first = bench.poller.next_event(&mut bench.events).unwrap().key();
    let others = keys.map(|key| (key != first).then_some(key));
    for key in others.into_iter().flatten().take(1) {
        assert!(bench.poller.remove(key).is_some());
    }
    for key in others.into_iter().flatten().skip(1) {
        assert!(bench.poller.close(key));
    }
    assert_eq!(bench.poller.next_event(&mut bench.events), None);
    bench.assert_reports(&[(first, WRITABLE)]);
}

/// The successor takes the slot, and the lowest free descriptor: the predecessor's.
pub(super) fn a_successor_never_gets_its_predecessors_event<W: World>() {
    let mut bench = Bench::<W>::new();
    for round in 0..100 {
        let (old, theirs) = bench.add_pair(READABLE);
        bench.world.write(&theirs, 1);
        bench.world.await_readable(bench.get(old));
        bench
            .poller
            .wait(&mut bench.events, Some(W::PATIENCE))
            .unwrap();
        if round % 2 == 0 {
            bench.poller.close(old);
        } else {
            drop(bench.poller.remove(old));
        }
        let (new, _their_new) = bench.add_pair(READABLE);
        assert_eq!(new.index, old.index);
        let stale: Option<Event> = bench.poller.next_event(&mut bench.events);
        assert_eq!(stale, None);
        bench.assert_quiet();
        bench.poller.close(new);
    }
}

pub(super) fn a_removed_source_can_be_polled_again<W: World>() {
    let mut bench = Bench::<W>::new();
    if let Err(reason) = bench.world.polls_again() {
        return super::skip(reason);
    }
    let (old, theirs) = bench.add_pair(READABLE);
    bench.assert_quiet();
    let ours = bench.poller.remove(old).unwrap();
    bench.world.write(&theirs, 1);
    bench.assert_quiet();
    let new = bench.add(ours, READABLE);
    bench.assert_reports(&[(new, READABLE)]);
}

pub(super) fn a_source_that_cannot_be_polled_is_reported_once_with_the_error<W: World>() {
    let mut bench = Bench::<W>::new();
    let unpollable = match bench.world.unpollable() {
        Ok(unpollable) => unpollable,
        Err(reason) => return super::skip(reason),
    };
    let bad = bench.add(unpollable, WRITABLE);
    bench.assert_reports_with_refused(&[(bad, WRITABLE)], &[bad]);
    bench.assert_asleep();
    bench.declare(bad, BOTH);
    let (good, _theirs) = bench.add_pair(WRITABLE);
    bench.assert_reports_with_refused(&[(bad, BOTH), (good, WRITABLE)], &[bad]);
    bench.assert_reports(&[(good, WRITABLE)]);
    bench.declare(bad, READABLE);
    bench.assert_reports_with_refused(&[(bad, READABLE), (good, WRITABLE)], &[bad]);
    // The same once more is declared again, too.
    bench.declare(bad, READABLE);
    bench.assert_reports_with_refused(&[(bad, READABLE), (good, WRITABLE)], &[bad]);
    bench.declare(good, NONE);
    bench.assert_asleep();
    assert!(bench.poller.close(bad));
}

pub(super) fn keys_of_removed_sources_name_nothing<W: World>() {
    let mut bench = Bench::<W>::new();
    let (old, _theirs) = bench.add_pair(READABLE);
    assert!(bench.poller.close(old));
    for _ in 0..2 {
        assert!(bench.poller.get(old).is_none());
        assert!(bench.poller.remove(old).is_none());
        assert!(!bench.poller.close(old));
        assert!(!bench.poller.set_interest(old, BOTH));
        // Once more with a successor in its place.
        let idle = bench.world.idle();
        bench.add(idle, READABLE);
    }
    assert_eq!(bench.poller.len(), 2);
    bench.assert_quiet();
}

pub(super) fn a_small_batch_gets_to_everybody<W: World>() {
    let mut bench = Bench::<W>::new();
    bench.events = crate::Events::with_capacity(2);
    let mut missing = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..10 {
        let (key, theirs) = bench.add_pair(WRITABLE);
        missing.push(key);
        peers.push(theirs);
    }
    for _ in 0..10 {
        let reports = bench.wait(W::PATIENCE);
        missing.retain(|key| !reports.iter().any(|(reported, _)| reported == key));
    }
    assert_eq!(missing, []);
}

/// What the last event said: that the peer has closed, that it has hung up, that something failed.
fn told<W: World>(bench: &Bench<W>) -> (bool, bool, bool) {
    let event = bench.last.as_ref().unwrap();
    (
        event.is_peer_closed(),
        event.is_hung_up(),
        event.is_failed(),
    )
}

pub(super) fn a_peers_end_of_sending_is_told_to_who_reads<W: World>() {
    for interest in [READABLE, BOTH] {
        let mut bench = Bench::<W>::new();
        let (key, theirs) = bench.add_pair(NONE);
        bench.world.shutdown(&theirs);
        bench.world.await_readable(bench.get(key));
        bench.declare(key, interest);
        bench.assert_reports(&[(key, interest)]);
        if let Err(reason) = W::tells_ends() {
            return super::skip(reason);
        }
        assert_eq!(told(&bench), (true, false, false));
        assert_eq!(bench.world.read(bench.get(key), 1), Read::End);
        bench.assert_reports(&[(key, interest)]);
        assert_eq!(told(&bench), (true, false, false));
    }
}

pub(super) fn a_reset_is_told_whatever_is_wanted<W: World>() {
    for interest in [READABLE, WRITABLE, BOTH] {
        let mut bench = Bench::<W>::new();
        let (key, theirs) = bench.add_pair(NONE);
        bench.world.reset(bench.get(key), theirs);
        bench.world.await_hang_up(bench.get(key));
        bench.declare(key, interest);
        bench.assert_reports(&[(key, interest)]);
        let (is_peer_closed, is_hung_up, is_failed) = told(&bench);
        if !W::TELLS_RESETS && !is_failed {
            super::skip("the system tells of no reset");
            continue;
        }
        assert!(is_peer_closed || interest == WRITABLE);
        assert!(is_hung_up || (interest == READABLE && !W::TELLS_FAILURES));
        assert_eq!(is_failed, W::TELLS_FAILURES);
    }
}

pub(super) fn a_failed_attempt_to_connect_is_told<W: World>() {
    let mut bench = Bench::<W>::new();
    let Some(connecting) = bench.world.refuse() else {
        return super::skip("the system refuses at once");
    };
    let key = bench.add(connecting, WRITABLE);
    bench.assert_reports(&[(key, WRITABLE)]);
    let (_, is_hung_up, is_failed) = told(&bench);
    assert!(is_hung_up);
    assert_eq!(is_failed, W::TELLS_FAILURES);
}

pub(super) fn nothing_is_told_of_a_connection_that_goes_on<W: World>() {
    let mut bench = Bench::<W>::new();
    let (key, theirs) = bench.add_pair(BOTH);
    bench.world.write(&theirs, 1);
    bench.world.await_readable(bench.get(key));
    bench.assert_reports(&[(key, BOTH)]);
    assert_eq!(told(&bench), (false, false, false));
    // Nor of a peer's end to who does not read, whatever is known of it.
    bench.world.shutdown(&theirs);
    bench.world.await_readable(bench.get(key));
    bench.declare(key, WRITABLE);
    bench.assert_reports(&[(key, WRITABLE)]);
    let (_, is_hung_up, is_failed) = told(&bench);
    assert!(!is_hung_up && !is_failed);
}

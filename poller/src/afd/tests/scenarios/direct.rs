//! Polls on the socket itself: when they are, and what they leave behind.

use super::super::canaries::Small;
use super::{Scenario, ready, refused};
use crate::afd::defects::{Defects, Sound};
use crate::afd::port::PollingMode;
use crate::nt::sim::{Sim, Socket};
use crate::nt::{Handle, Nt, Status, flag};
use crate::sys::Fate;
use crate::{Interest, Key};

const READ: Interest = Interest::READABLE;

impl<D: Defects> Scenario<D> {
    /// Has a socket's packets sent to a port of somebody else's. Whether that was possible.
    fn associate_elsewhere(&self, handle: Handle) -> bool {
        let nt = Sim::new(&self.kernel);
        let port = nt.create_port().unwrap();
        nt.associate(handle, port, 5).is_ok()
    }

    /// Its polls are issued in this way, and it is reported when it is ready.
    #[track_caller]
    fn assert_polled(&mut self, key: Key, handle: Handle, is_direct: bool) {
        assert_eq!(self.wait(), []);
        assert_eq!(self.is_direct(key), is_direct);
        self.become_ready(handle, flag::RECEIVE);
        assert_eq!(self.wait(), [ready(key, READ)]);
        self.become_ready(handle, 0);
        assert_eq!(self.wait(), []);
    }

    /// It is reported as refused, once, and not polled.
    #[track_caller]
    fn assert_refused(&mut self, key: Key, handle: Handle) {
        self.polled();
        let report = refused(key, READ, Status::INVALID_PARAMETER);
        assert_eq!(self.wait(), [report]);
        self.become_ready(handle, flag::RECEIVE);
        assert_eq!(self.wait(), []);
        assert_eq!(self.polled(), []);
        assert_eq!(self.helpers(), []);
    }
}

/// A port of its own choice where no helper can be opened for the time being.
fn without_helpers() -> Scenario {
    let bench = Scenario::new(PollingMode::Auto);
    bench.have_helpers(false);
    bench
}

#[test]
fn a_socket_is_polled_itself_where_that_is_asked_for() {
    for (mode, is_direct) in [
        (PollingMode::Auto, false),
        (PollingMode::Direct, true),
        (PollingMode::Helper, false),
    ] {
        let mut bench = Scenario::<Sound>::new(mode);
        let (key, handle) = bench.add(READ);
        bench.assert_polled(key, handle, is_direct);
        assert_eq!(bench.associate_elsewhere(handle), !is_direct, "{mode:?}");
        bench.end();
    }
}

#[test]
fn without_helpers_a_socket_is_polled_itself_unless_helpers_are_asked_for() {
    let mut bench = without_helpers();
    let (one, one_handle) = bench.add(READ);
    bench.assert_polled(one, one_handle, true);
    // Who has begun so goes on so.
    bench.have_helpers(true);
    let (other, other_handle) = bench.add(READ);
    bench.assert_polled(one, one_handle, true);
    bench.assert_polled(other, other_handle, false);
    bench.end();

    let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
    bench.have_helpers(false);
    let (key, _) = bench.add(READ);
    let report = refused(key, READ, Status::INSUFFICIENT_RESOURCES);
    assert_eq!(bench.wait(), [report]);
    bench.end();
}

#[test]
fn a_socket_of_somebody_elses_port_is_polled_by_a_helper_or_refused() {
    for mode in [PollingMode::Auto, PollingMode::Direct] {
        let mut bench = Scenario::<Sound>::new(mode);
        let (key, handle) = bench.add(READ);
        assert!(bench.associate_elsewhere(handle));
        if mode == PollingMode::Auto {
            bench.assert_polled(key, handle, false);
        } else {
            bench.assert_refused(key, handle);
        }
        bench.become_ready(handle, flag::RECEIVE);
        bench.wait();
        let socket = bench.poller.remove(key).unwrap();
        assert!(!bench.associate_elsewhere(handle), "its port is left to it");
        drop(socket);
        bench.end();
    }
}

/// They share the marks of their file, and whichever goes first, the other is polled on.
#[test]
fn two_handles_of_one_socket_are_polled_on_the_socket_itself() {
    for fate in [Fate::Kept, Fate::Closed] {
        for goes in [0, 1] {
            let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
            let socket = Socket::bare(&bench.kernel);
            let duplicate = socket.duplicate();
            let first = bench.insert(socket, READ);
            assert_eq!(bench.wait(), []);
            let both = [first, bench.insert(duplicate, READ)];
            assert_eq!(bench.wait(), []);
            assert_eq!(bench.kernel.operations(), 1);
            bench.become_ready(both[0].1, flag::RECEIVE);
            assert_eq!(bench.wait(), both.map(|(key, _)| ready(key, READ)));
            bench.become_ready(both[0].1, 0);
            assert_eq!(bench.wait(), []);
            match fate {
                Fate::Kept => drop(bench.poller.remove(both[goes].0).unwrap()),
                Fate::Closed => assert!(bench.poller.close(both[goes].0)),
            }
            let (key, handle) = both[1 - goes];
            bench.wait();
            bench.become_ready(handle, flag::RECEIVE);
            assert_eq!(bench.wait(), [ready(key, READ)], "{fate:?} {goes}");
            bench.become_ready(handle, 0);
            assert_eq!(bench.wait(), []);
            assert!(bench.is_direct(key));
            // With the last one the marks are taken off.
            let last = bench.poller.remove(key).unwrap();
            assert!(bench.associate_elsewhere(last.handle()));
            bench.end();
        }
    }
}

/// A packet that an earlier removal has met is found when its own source is removed.
#[test]
fn marks_are_taken_off_wherever_the_packet_was_met() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    let (one, _) = bench.add(READ);
    let (two, handle) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    bench.become_ready(handle, flag::RECEIVE);
    drop(bench.poller.remove(one).unwrap());
    assert_eq!(bench.port().early.len(), 1);
    let two = bench.poller.remove(two).unwrap();
    assert_eq!(bench.port().early.len(), 0);
    assert_eq!(bench.slots(), (0, 0));
    assert!(bench.associate_elsewhere(two.handle()));
    // One that was cancelled before it is removed.
    let (three, _) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    bench.be_slow(true);
    bench.declare(three, Interest::BOTH);
    assert_eq!(bench.wait(), []);
    bench.be_slow(false);
    bench.deliver_all();
    let three = bench.poller.remove(three).unwrap();
    assert!(bench.associate_elsewhere(three.handle()));
    bench.wait();
    assert_eq!(bench.port().strays, 0);
    bench.end();
}

/// Such a poll may be of a file that has lost this handle, which is another file's then: what the
/// cancel did not find says nothing of the handle.
#[test]
fn marks_stay_where_the_cancel_did_not_find_the_poll() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    let (key, handle) = bench.add(READ);
    bench.assert_polled(key, handle, true);
    bench.kernel.cancel_unasked(handle);
    let before = bench.counts().cancels_not_found;
    let (socket, calls) = take_back(&mut bench, key);
    assert_eq!(bench.counts().cancels_not_found - before, 1);
    assert_eq!(calls, 2, "to cancel, and to dequeue");
    assert_eq!(bench.slots(), (0, 0));
    assert!(!bench.associate_elsewhere(handle), "the marks stay");
    drop(socket);
    bench.end();
}

/// What a removal may have to look through is bounded; it gives up the mark instead.
#[test]
fn a_removal_does_not_search_among_ever_more_packets() {
    let mut bench = Scenario::<Small>::new(PollingMode::Direct);
    let ready: Vec<_> = (0..Small::BATCH).map(|_| bench.add(READ)).collect();
    let (first, first_handle) = bench.add(READ);
    let (second, second_handle) = bench.add(READ);
    assert_eq!(bench.wait(), []);
    for (_, handle) in &ready {
        bench.become_ready(*handle, flag::RECEIVE);
    }
    let remove = |bench: &mut Scenario<Small>, key| {
        let before = bench.counts();
        let socket = bench.poller.remove(key).unwrap();
        (socket, bench.spent_since(before).calls)
    };
    let (first, calls) = remove(&mut bench, first);
    assert_eq!(calls, 2, "the cancel, and a batch without its packet");
    let (second, calls) = remove(&mut bench, second);
    assert_eq!(calls, 1, "the cancel");
    for handle in [first_handle, second_handle] {
        assert!(!bench.associate_elsewhere(handle), "the marks stay");
    }
    bench.deliver_all();
    assert_eq!(bench.wait().len(), Small::BATCH);
    bench.wait();
    assert_eq!(bench.slots().0, Small::BATCH);
    drop((first, second));
    bench.end();
}

#[test]
fn a_layered_socket_is_polled_below_its_layers_by_a_helper_or_refused() {
    for mode in [PollingMode::Auto, PollingMode::Direct] {
        let mut bench = Scenario::<Sound>::new(mode);
        let layered = Socket::layered(&bench.kernel);
        let (key, handle) = bench.insert(layered, READ);
        if mode == PollingMode::Auto {
            bench.assert_polled(key, handle, false);
            let base = Sim::new(&bench.kernel).base_socket(handle).unwrap();
            assert_ne!(base, handle);
            assert!(bench.polled().iter().all(|(polled, _)| *polled == base));
        } else {
            bench.assert_refused(key, handle);
        }
        assert!(bench.associate_elsewhere(handle), "it was left alone");
        bench.end();
    }
}

#[test]
fn a_socket_whose_layers_hide_what_is_below_is_handed_back_with_the_reason() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    bench.kernel.state().mood.hides_base = true;
    let socket = Socket::bare(&bench.kernel);
    let handle = socket.handle();
    let refused = bench.poller.insert(socket).unwrap_err();
    assert!(
        refused
            .error()
            .to_string()
            .contains("layered service provider")
    );
    assert_eq!(refused.into_source().handle(), handle);
    assert!(bench.poller.is_empty());
    // The place is another's.
    bench.kernel.state().mood.hides_base = false;
    let (key, handle) = bench.add(READ);
    assert_eq!(key.index, 0);
    bench.assert_polled(key, handle, true);
    bench.end();
}

/// By a remote nobody is there to hand it back to: the poller's owner takes it.
#[test]
fn a_socket_of_another_thread_that_layers_hide_is_handed_out_with_the_reason() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    let (bystander, _) = bench.add(Interest::NONE);
    bench.kernel.state().mood.hides_base = true;
    let socket = Socket::bare(&bench.kernel);
    let handle = socket.handle();
    let remote = bench.poller.remote();
    let key = remote.insert(socket, (), READ).unwrap();
    for _ in 0..2 {
        // Every wait ends until it is taken.
        bench.poller.wait(&mut bench.events, None).unwrap();
        assert!(bench.events.woken() && bench.events.is_empty());
    }
    assert!(bench.poller.get(key).is_none());
    assert_eq!(bench.poller.len(), 1, "the bystander");
    assert!(!bench.poller.settle());
    let (refused, error) = bench.poller.next_refused().unwrap();
    assert_eq!(refused, key);
    let words = error.error().to_string();
    assert!(words.contains("layered service provider"), "{words}");
    assert_eq!(error.into_source().handle(), handle);
    assert!(bench.poller.next_refused().is_none());
    // The place is another's.
    bench.kernel.state().mood.hides_base = false;
    let (key, handle) = bench.add(READ);
    assert_eq!(key.index, refused.index);
    bench.assert_polled(key, handle, true);
    assert!(bench.poller.close(key) && bench.poller.close(bystander));
    assert!(bench.poller.is_empty());
    bench.end();
}

#[test]
fn what_cannot_be_told_to_skip_packets_is_refused() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    bench.kernel.state().mood.keeps_packets = true;
    let (key, handle) = bench.add(READ);
    bench.assert_refused(key, handle);
    assert!(
        bench.associate_elsewhere(handle),
        "the association is undone"
    );
    bench.end();

    // Nor is there any use of helpers that keep packets.
    let mut bench = without_helpers();
    bench.kernel.state().mood.keeps_packets = true;
    for has_helpers in [false, true] {
        bench.have_helpers(has_helpers);
        let (key, handle) = bench.add(READ);
        let status = match has_helpers {
            true => Status::INVALID_PARAMETER,
            false => Status::INSUFFICIENT_RESOURCES,
        };
        assert_eq!(bench.wait(), [refused(key, READ, status)]);
        assert!(
            bench.associate_elsewhere(handle),
            "the association is undone"
        );
    }
    bench.end();
}

/// Takes a source back, and says how many calls that took.
fn take_back(bench: &mut Scenario, key: Key) -> (Socket, u64) {
    let before = bench.counts();
    let socket = bench.poller.remove(key).unwrap();
    (socket, bench.spent_since(before).calls)
}

#[test]
fn a_socket_taken_back_is_free_of_its_port_once_nothing_is_in_flight() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    let (mut key, handle) = bench.add(READ);
    for _ in 0..3 {
        bench.assert_polled(key, handle, true);
        let (socket, calls) = take_back(&mut bench, key);
        assert_eq!(calls, 3, "to cancel, to dequeue, to dissociate");
        assert_eq!(bench.slots(), (0, 0));
        (key, _) = bench.insert(socket, READ);
    }
    // With nothing in flight there is nothing to cancel.
    bench.assert_polled(key, handle, true);
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait(), [ready(key, READ)]);
    let (socket, calls) = take_back(&mut bench, key);
    assert_eq!(calls, 1, "to dissociate");
    assert!(bench.associate_elsewhere(handle));
    drop(socket);
    bench.end();
}

#[test]
fn a_socket_that_was_never_polled_is_taken_back_without_a_call() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    let (key, handle) = bench.add(Interest::NONE);
    assert_eq!(bench.wait(), []);
    let (_socket, calls) = take_back(&mut bench, key);
    assert_eq!(calls, 0);
    assert!(bench.associate_elsewhere(handle));
    bench.end();
}

/// Later, the handle may be another's: then the marks stay, and a helper has to do.
#[test]
fn a_socket_taken_back_before_its_packet_keeps_its_port() {
    let mut bench = without_helpers();
    let (key, handle) = bench.add(READ);
    bench.assert_polled(key, handle, true);
    bench.be_slow(true);
    let (socket, calls) = take_back(&mut bench, key);
    assert_eq!(calls, 2, "to cancel, and to dequeue in vain");
    assert_eq!(bench.slots(), (1, 1), "a zombie");
    bench.have_helpers(true);
    let (again, _) = bench.insert(socket, READ);
    for _ in 0..=Sound::AWAITED_MAX {
        assert_eq!(bench.wait(), []);
    }
    assert!(!bench.is_direct(again));
    bench.be_slow(false);
    bench.deliver_all();
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.slots(), (1, 1), "the zombie is gone");
    assert!(!bench.associate_elsewhere(handle), "the marks stay");
    bench.assert_polled(again, handle, false);
    bench.end();
}

#[test]
fn where_the_system_cannot_dissociate_a_socket_taken_back_is_polled_by_a_helper() {
    let mut bench = without_helpers();
    bench.kernel.state().mood.keeps_association = true;
    let (key, handle) = bench.add(READ);
    bench.assert_polled(key, handle, true);
    let (socket, _) = take_back(&mut bench, key);
    assert!(!bench.associate_elsewhere(handle));
    bench.have_helpers(true);
    let (again, _) = bench.insert(socket, READ);
    bench.assert_polled(again, handle, false);
    bench.end();
}

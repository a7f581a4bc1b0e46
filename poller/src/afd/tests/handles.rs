//! Several sources with one handle, and those that wait for the polls of who is gone.

use std::time::Duration;

use super::super::defects::Defects;
use super::super::defects::Sound;
use super::super::poll_file::OPERATION_KEY;
use super::super::port::PollingMode;
use super::bare::Bare;
use crate::event::Event;
use crate::nt::sim::Sim;
use crate::nt::sim::Socket;
use crate::nt::{Handle, Nt, flag};
use crate::sys::{Backend, Fate};
use crate::{Interest, Key};

const READ: Interest = Interest::READABLE;
const MINUTE: Duration = Duration::from_secs(60);

impl Bare {
    /// The sources that one pass reports, in the order of insertion.
    fn reported(&mut self) -> Vec<Key> {
        self.pass();
        let mut keys: Vec<Key> = self.events.iter().map(Event::key).collect();
        keys.sort_by_key(|key| key.generation);
        keys
    }

    /// For how long a dequeue that may sleep for a minute would.
    fn sleep(&mut self) -> Option<Duration> {
        self.events.clear();
        self.port.collect(&mut self.events, Some(MINUTE)).unwrap();
        self.kernel.state().last_timeout
    }
}

/// A source whose handle was closed behind the port's back, and is another socket's now.
fn with_a_successor() -> (Bare, Key, Socket) {
    let mut bare = Bare::new(PollingMode::Auto);
    let (old, socket) = bare.add(READ);
    bare.pass();
    let handle = close_behind(&bare, socket);
    assert_eq!(bare.reported(), [old], "it is refused");
    let socket = Socket::bare(&bare.kernel);
    assert_eq!(socket.handle(), handle, "it is used again");
    (bare, old, socket)
}

fn close_behind(bare: &Bare, socket: Socket) -> Handle {
    let handle = socket.handle();
    Sim::new(&bare.kernel).close(handle);
    std::mem::forget(socket);
    handle
}

/// Several sources have it, and who had it before goes.
#[test]
fn who_had_a_handle_before_does_not_take_it_along() {
    for fate in [Fate::Kept, Fate::Closed] {
        let (mut bare, old, socket) = with_a_successor();
        let first = bare.insert(&socket, READ);
        bare.pass();
        bare.port.deregister(old, fate);
        let second = bare.insert(&socket, READ);
        for _ in 0..3 {
            bare.pass();
        }
        assert_eq!(bare.port.slots.in_flight(), 1, "of one socket");
        assert_eq!(bare.kernel.state().violations, []);
        bare.kernel.set_events(socket.handle(), flag::RECEIVE);
        assert_eq!(bare.reported(), [first, second]);
    }
}

/// It has a second handle, so that it is compared with others: but not with what is closed.
#[test]
fn who_is_closed_is_nobody_s_socket() {
    let (mut bare, _, socket) = with_a_successor();
    let _duplicate = socket.duplicate();
    let key = bare.insert(&socket, READ);
    for _ in 0..2 {
        assert_eq!(bare.reported(), []);
    }
    bare.kernel.set_events(socket.handle(), flag::RECEIVE);
    assert_eq!(bare.reported(), [key]);
}

/// That one source cannot be compared, as its handle was closed unnoticed, says nothing of the others.
#[test]
fn who_cannot_be_compared_is_passed_over() {
    let mut bare = Bare::new(PollingMode::Auto);
    let (_, closed) = bare.add(Interest::NONE);
    let (first, socket) = bare.add(READ);
    let duplicate = socket.duplicate();
    bare.pass();
    close_behind(&bare, closed);
    let second = bare.insert(&duplicate, READ);
    for _ in 0..2 {
        assert_eq!(bare.reported(), []);
    }
    assert_eq!(bare.kernel.state().violations, []);
    assert_eq!(bare.port.slots.in_flight(), 1);
    bare.kernel.set_events(socket.handle(), flag::RECEIVE);
    assert_eq!(bare.reported(), [first, second]);
}

/// Two sources with one handle do not account for two handles.
#[test]
fn who_else_has_a_handle_is_known_whoever_shares_one() {
    let mut bare = Bare::new(PollingMode::Auto);
    let socket = Socket::bare(&bare.kernel);
    bare.kernel.share(socket.handle(), true);
    let keys = [(); 2].map(|()| bare.insert(&socket, READ));
    for _ in 0..3 {
        bare.pass();
        assert!(bare.kernel.may_expire());
        bare.kernel.expire();
    }
    bare.pass();
    bare.kernel.steal(socket.handle());
    bare.kernel.set_events(socket.handle(), flag::RECEIVE);
    assert_eq!(bare.reported(), []);
    bare.kernel.expire();
    bare.pass();
    assert_eq!(bare.reported(), keys);
}

/// Who waits for the poll of one that is gone has the port looked at again and again, and no longer than he is there.
#[test]
fn a_dequeue_sleeps_for_all_of_its_time_unless_somebody_waits() {
    let mut bare = Bare::new(PollingMode::Auto);
    let (first, _socket) = bare.add(READ);
    bare.pass();
    // Its packet never comes.
    bare.kernel.state().mood.batch = 0;
    bare.port.deregister(first, Fate::Kept);
    assert_eq!(bare.sleep(), Some(MINUTE), "nobody waits");
    for fate in [Fate::Kept, Fate::Closed] {
        let (waits, _socket) = bare.add(READ);
        bare.port.reconcile(&mut bare.events).unwrap();
        assert!(bare.sleep() < Some(MINUTE / 100), "somebody waits");
        bare.port.deregister(waits, fate);
        assert_eq!(bare.sleep(), Some(MINUTE), "he is gone");
    }
    // Whoever comes next waits for all of his time, however long another has waited.
    let (waits, _socket) = bare.add(READ);
    bare.port.reconcile(&mut bare.events).unwrap();
    for _ in 1..Sound::AWAITED_MAX {
        bare.sleep();
    }
    bare.port.deregister(waits, Fate::Kept);
    let (_, _socket) = bare.add(READ);
    bare.port.reconcile(&mut bare.events).unwrap();
    for _ in 0..Sound::AWAITED_MAX {
        assert_eq!(bare.kernel.operations(), 1);
        assert!(bare.sleep() < Some(MINUTE / 100));
    }
    assert_eq!(bare.sleep(), Some(MINUTE));
    assert_eq!(bare.kernel.operations(), 2);
    bare.kernel.state().mood.batch = usize::MAX;
}

/// While a source always has an answer waits may leave the port alone, but not if somebody waits for what is there.
#[test]
fn who_waits_for_one_that_is_gone_is_not_kept_by_answers() {
    let mut bare = Bare::new(PollingMode::Auto);
    let (busy, socket) = bare.add(READ);
    let (first, _socket) = bare.add(READ);
    bare.pass();
    bare.kernel.set_events(socket.handle(), flag::RECEIVE);
    assert_eq!(bare.reported(), [busy]);
    bare.port.deregister(first, Fate::Kept);
    let (waits, its) = bare.add(READ);
    bare.kernel.set_events(its.handle(), flag::RECEIVE);
    assert_eq!(bare.reported(), [busy]);
    assert_eq!(bare.reported(), [busy, waits]);
}

/// Polled directly, what is in flight is cancelled by the handle that goes, unless it was told to end before.
#[test]
fn a_handle_that_goes_cancels_what_was_issued_by_it_once() {
    for (is_slow, cost) in [(false, 1), (true, 0)] {
        let mut bare = Bare::new(PollingMode::Direct);
        let socket = Socket::bare(&bare.kernel);
        let duplicate = socket.duplicate();
        let goes = bare.insert(&socket, READ);
        bare.pass();
        let stays = bare.insert(&duplicate, READ);
        bare.pass();
        if is_slow {
            bare.kernel.state().mood.is_slow = true;
            bare.port.declare(stays, Interest::BOTH);
            bare.pass();
        }
        let spent = bare.cost(|bare| bare.port.deregister(goes, Fate::Closed));
        assert_eq!(spent, cost, "{is_slow}");
        bare.kernel.state().mood.is_slow = false;
        bare.kernel.deliver(0);
        bare.kernel.set_events(socket.handle(), flag::RECEIVE);
        bare.pass();
        assert_eq!(bare.reported(), [stays]);
        assert_eq!(bare.kernel.state().violations, []);
    }
}

/// Of two handles of one socket one is given back, and may be polled elsewhere from then on.
#[test]
fn a_handle_that_is_given_back_gives_the_rest_a_time_limit() {
    for mode in [PollingMode::Auto, PollingMode::Direct] {
        for goes in [0, 1] {
            let mut bare = Bare::new(mode);
            let socket = Socket::bare(&bare.kernel);
            let duplicate = socket.duplicate();
            let keys = [bare.insert(&socket, READ), bare.insert(&duplicate, READ)];
            for _ in 0..2 {
                assert_eq!(bare.reported(), []);
            }
            assert!(!bare.kernel.may_expire(), "all handles are ours");
            bare.port.deregister(keys[goes], Fate::Kept);
            for _ in 0..2 {
                assert_eq!(bare.reported(), []);
            }
            // Somebody else is told of what comes.
            bare.kernel.steal(socket.handle());
            bare.kernel.set_events(socket.handle(), flag::RECEIVE);
            assert_eq!(bare.reported(), []);
            bare.kernel.expire();
            bare.pass();
            assert_eq!(bare.reported(), [keys[1 - goes]], "{mode:?}");
            // With that handle the time limit goes.
            bare.kernel.set_events(socket.handle(), 0);
            let [gone, _left] = match goes {
                0 => [socket, duplicate],
                _ => [duplicate, socket],
            };
            bare.pass();
            drop(gone);
            bare.kernel.expire();
            bare.pass();
            assert!(!bare.kernel.may_expire() && bare.port.slots.in_flight() == 1);
            assert_eq!(bare.kernel.state().violations, []);
        }
    }
}

/// What goes with its socket's handle, or leaves it to another source, changes nothing.
#[test]
fn a_handle_that_is_closed_or_held_by_another_costs_the_rest_nothing() {
    for fate in [Fate::Kept, Fate::Closed] {
        let mut bare = Bare::new(PollingMode::Auto);
        let socket = Socket::bare(&bare.kernel);
        let (closed, twin) = (socket.duplicate(), socket.duplicate());
        bare.insert(&socket, READ);
        let [closes, first, _second] = [&closed, &twin, &twin].map(|it| bare.insert(it, READ));
        for _ in 0..2 {
            assert_eq!(bare.reported(), []);
        }
        let spent = bare.cost(|bare| bare.port.deregister(first, fate));
        assert_eq!(spent, 0);
        bare.port.deregister(closes, Fate::Closed);
        drop(closed);
        assert_eq!(bare.cost(Bare::pass), 1, "the dequeue");
        assert!(!bare.kernel.may_expire());
        assert_eq!(bare.kernel.state().violations, []);
    }
}

/// What the closing of its source was to end is cancelled when the port is found empty: for that nobody sleeps.
#[test]
fn who_waits_for_one_that_closes_has_the_port_emptied_at_once() {
    let mut bare = Bare::new(PollingMode::Auto);
    let (closes, socket) = bare.add(READ);
    bare.pass();
    // Another handle keeps the poll.
    let duplicate = socket.duplicate();
    bare.port.deregister(closes, Fate::Closed);
    drop(socket);
    assert_eq!(bare.port.slots.in_flight(), 1);
    let again = bare.insert(&duplicate, READ);
    bare.port.reconcile(&mut bare.events).unwrap();
    assert_eq!(bare.sleep(), Some(Duration::ZERO));
    assert!(bare.sleep() > Some(Duration::ZERO));
    bare.pass();
    bare.kernel.set_events(duplicate.handle(), flag::RECEIVE);
    assert_eq!(bare.reported(), [again]);
    assert_eq!(bare.kernel.state().violations, []);
}

/// As long as there is always more in the port, what he waits for may be there, too.
#[test]
fn who_waits_goes_on_while_the_port_is_not_emptied() {
    let mut bare = Bare::new(PollingMode::Auto);
    let (first, _socket) = bare.add(READ);
    bare.pass();
    bare.kernel.state().mood.is_slow = true;
    bare.port.deregister(first, Fate::Kept);
    let _waits = bare.add(READ);
    for _ in 0..3 * Sound::AWAITED_MAX {
        // As many as one pass takes.
        for _ in 0..64 {
            bare.kernel.post_foreign(OPERATION_KEY, 0);
        }
        assert_eq!(bare.pass(), (0, false));
        assert_eq!((bare.kernel.queued(), bare.kernel.operations()), (0, 1));
    }
    for _ in 0..Sound::AWAITED_MAX {
        assert_eq!(bare.kernel.operations(), 1);
        bare.pass();
    }
    assert_eq!(bare.kernel.operations(), 2);
    bare.kernel.state().mood.is_slow = false;
    bare.kernel.deliver(0);
}

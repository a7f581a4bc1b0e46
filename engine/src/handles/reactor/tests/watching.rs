//! A stand-in that watches leaves the seat to others, and comes where it is needed.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{Armed, Bench, Did, PATIENCE, Step, post};
use crate::between::seat::{GRACE, Lookout, Rest};
use crate::event::Event;
use crate::handles::reactor::Reads;

/// Sees what the test shows it.
struct Eye {
    state: Mutex<State>,
    changed: Condvar,
    did: Mutex<Sender<Did>>,
}

#[derive(Default)]
struct State {
    is_armed: bool,
    is_shown: bool,
    is_woken: bool,
    is_broken: bool,
    armings: u32,
}

impl Eye {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn armings(&self) -> u32 {
        self.state.lock().unwrap().armings
    }
}

impl Lookout for Eye {
    fn wait(&self, until: Option<Instant>) -> Option<bool> {
        let mut state = self.state.lock().unwrap();
        let watches = Did::Watches(Armed(state.is_armed));
        let _ = self.did.lock().unwrap().send(watches);
        loop {
            if state.is_armed && state.is_shown {
                (state.is_armed, state.is_shown) = (false, false);
                return Some(true);
            }
            if state.is_broken {
                return None;
            }
            let left = until.map_or(PATIENCE, |until| {
                until.saturating_duration_since(Instant::now())
            });
            if std::mem::take(&mut state.is_woken) || left.is_zero() {
                return Some(false);
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    fn arm(&self) -> bool {
        self.change(|state| {
            state.is_armed = true;
            state.armings += 1;
        });
        true
    }

    fn disarm(&self) {
        self.change(|state| state.is_armed = false);
    }

    fn wake(&self) {
        self.change(|state| state.is_woken = true);
    }
}

/// A bench whose stand-in watches, a receiver having left the seat.
fn watched() -> (Bench, Arc<Eye>, thread::ThreadId) {
    let mut eye = None;
    let mut bench = Bench::with(Rest::Until(None), |did| {
        let made = eye.insert(Arc::new(Eye {
            state: Mutex::default(),
            changed: Condvar::new(),
            did: Mutex::new(Sender::clone(did)),
        }));
        Some(Arc::clone(made) as Arc<dyn Lookout>)
    });
    bench.receive_one();
    let stand_in = bench.start_stand_in();
    assert_eq!(bench.next_did(), Did::Watches(Armed(true)));
    (bench, eye.unwrap(), stand_in)
}

#[track_caller]
fn passes_once(bench: &Bench, stand_in: thread::ThreadId) {
    assert_eq!(bench.next_did(), Did::Waits(stand_in));
    assert_eq!(bench.next_did(), Did::Works(stand_in, Reads::Yes));
}

#[test]
fn who_posts_and_receives_after_a_pause_finds_the_seat_free() {
    let (mut bench, eye, _) = watched();
    let me = thread::current().id();
    // Long after the stand-in would have taken the seat.
    let later = Instant::now() + 2 * GRACE;
    while Instant::now() < later {
        thread::yield_now();
    }
    bench.post().unwrap();
    assert_eq!(bench.next_did(), Did::Works(me, Reads::No));
    assert_eq!(eye.armings(), 1, "it sees what comes as it did before");
    bench.receive_one();
    assert_eq!(eye.armings(), 2);
    assert!(bench.did.try_recv().is_err(), "the stand-in sleeps on");
}

#[test]
fn what_comes_while_a_receiver_sits_does_not_wake_the_stand_in() {
    let (mut bench, eye, _) = watched();
    let mut inbox = bench.inbox.take().unwrap();
    let receiver = thread::spawn(move || (inbox.recv().map(drop), inbox));
    assert_eq!(bench.next_did(), Did::Waits(receiver.thread().id()));
    eye.change(|state| {
        assert!(!state.is_armed);
        state.is_shown = true;
    });
    eye.change(|state| {
        assert!(state.is_shown, "it is left to the receiver");
        state.is_shown = false; // who has read it
    });
    bench.step(Step::Deliver);
    let (received, inbox) = receiver.join().unwrap();
    received.unwrap();
    bench.inbox = Some(inbox);
    assert!(matches!(bench.next_did(), Did::Works(_, Reads::For(1))));
    assert!(bench.did.try_recv().is_err(), "the stand-in sleeps on");
    eye.change(|state| assert!(state.is_armed));
}

#[test]
fn a_stand_in_that_watches_makes_a_pass_where_something_comes_and_watches_again() {
    let (mut bench, eye, stand_in) = watched();
    for _ in 0..3 {
        bench.step(Step::Deliver);
        eye.change(|state| state.is_shown = true);
        passes_once(&bench, stand_in);
        assert_eq!(bench.next_did(), Did::Watches(Armed(true)));
        let event = bench.inbox().try_recv().unwrap();
        assert!(matches!(event, Some(Event::Room(_))));
    }
}

#[test]
fn what_will_be_due_is_done_by_a_stand_in_that_had_not_heard_of_it() {
    // A machine that has much to do may be too late for the first.
    for wait in [5, 50, 500, 5_000].map(Duration::from_millis) {
        let (mut bench, _, stand_in) = watched();
        let due = Instant::now() + wait;
        *bench.rest.lock().unwrap() = Rest::Until(Some(due));
        bench.receive_one();
        let did = bench.next_did();
        *bench.rest.lock().unwrap() = Rest::Until(None);
        if Instant::now() >= due {
            continue; // it has heard that it is time already
        }
        assert_eq!(did, Did::Watches(Armed(true)));
        passes_once(&bench, stand_in);
        assert!(Instant::now() >= due);
        assert_eq!(bench.next_did(), Did::Watches(Armed(true)));
        return;
    }
    panic!("the machine is too slow for this test");
}

#[test]
fn what_a_receiver_posts_second_is_written_by_a_stand_in_that_watched() {
    let (mut bench, _, stand_in) = watched();
    bench.receive_one();
    let me = thread::current().id();
    bench.post().unwrap();
    assert_eq!(bench.next_did(), Did::Works(me, Reads::No));
    bench.post().unwrap();
    passes_once(&bench, stand_in);
}

#[test]
fn a_stand_in_that_watches_comes_at_once_where_another_thread_posts_and_stays() {
    let (bench, _, stand_in) = watched();
    let posting = bench.posting.clone();
    thread::spawn(move || post(&posting).unwrap())
        .join()
        .unwrap();
    passes_once(&bench, stand_in);
    assert_eq!(bench.next_did(), Did::Waits(stand_in), "it sits");
}

/// Where not all can be seen from outside, the stand-in sits as it does without a lookout.
#[test]
fn a_stand_in_that_does_not_see_everything_sits() {
    let (mut bench, _, stand_in) = watched();
    *bench.rest.lock().unwrap() = Rest::Unseen;
    bench.receive_one();
    assert_eq!(bench.next_did(), Did::Waits(stand_in));
    bench.step(Step::Nothing);
    assert_eq!(bench.next_did(), Did::Works(stand_in, Reads::Yes));
    assert_eq!(bench.next_did(), Did::Waits(stand_in), "it sits");
}

#[test]
fn a_stand_in_whose_lookout_fails_sits() {
    let (bench, eye, stand_in) = watched();
    eye.change(|state| state.is_broken = true);
    assert_eq!(bench.next_did(), Did::Waits(stand_in));
    bench.step(Step::Nothing);
    assert_eq!(bench.next_did(), Did::Works(stand_in, Reads::Yes));
    assert_eq!(bench.next_did(), Did::Waits(stand_in), "it sits");
}

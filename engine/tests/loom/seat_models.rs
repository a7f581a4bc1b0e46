//! Whoever waits is served, whoever sits: nothing that was posted is left lying, and at any time one
//! thread at most makes passes.

#[path = "in_task_models.rs"]
mod in_task_models;
#[path = "watch_models.rs"]
mod watch_models;

use std::collections::VecDeque;
use std::sync::Arc;

use loom::thread;

use crate::between::decision::Decision;
use crate::between::mailbox::{Mailbox, Notified, Taken};
use crate::between::seat::{self, Duty, Lookout, NOBODY, Need, Rest, Sitter};
use crate::{NOBODY_CAN_GO_ON, Sleeper, finds, finds_always, proves, sync};

/// An event that ends the reactor in place of going to a group.
const STOP: usize = usize::MAX;

const OVER: &str = "over";

/// A group's mailbox; the group's index is its number.
type Group = Mailbox<usize, &'static str>;

/// What the reactor sleeps on, as the poller has it: a wake is kept until the next sleep, and only what
/// comes from the network is seen from outside.
struct Poller {
    state: sync::Mutex<PollerState>,
    sleeper: sync::Condvar,
    lookout: sync::Condvar,
    /// Woken when the poller becomes readable: the runtime of a task that watches it.
    runtime: sync::Mutex<Option<Arc<Sleeper>>>,
}

#[derive(Default)]
struct PollerState {
    is_notified: bool,
    is_readable: bool,
    is_armed: bool,
    /// The lookout's own wake.
    is_lookout_woken: bool,
}

impl Poller {
    fn new() -> Arc<Self> {
        Arc::new(Poller {
            state: sync::Mutex::new(PollerState::default()),
            sleeper: sync::Condvar::new(),
            lookout: sync::Condvar::new(),
            runtime: sync::Mutex::new(None),
        })
    }

    fn wake(&self) {
        sync::lock(&self.state).is_notified = true;
        self.sleeper.notify_one();
    }

    fn arrive(&self) {
        sync::lock(&self.state).is_readable = true;
        self.sleeper.notify_one();
        self.lookout.notify_one();
        if let Some(task) = &*sync::lock(&self.runtime) {
            task.wake();
        }
    }

    /// What a wait does that may not sleep.
    fn look(&self) {
        let mut state = sync::lock(&self.state);
        (state.is_notified, state.is_readable) = (false, false);
    }

    fn sleep(&self) {
        let mut state = sync::lock(&self.state);
        while !state.is_notified && !state.is_readable {
            state = self.sleeper.wait(state).unwrap();
        }
        (state.is_notified, state.is_readable) = (false, false);
    }
}

impl Lookout for Poller {
    /// Where time matters it is due at once.
    fn wait(&self, until: Option<sync::Instant>) -> Option<bool> {
        let mut state = sync::lock(&self.state);
        loop {
            if state.is_armed && state.is_readable {
                state.is_armed = false;
                return Some(true);
            }
            if std::mem::take(&mut state.is_lookout_woken) || until.is_some() {
                return Some(false);
            }
            state = self.lookout.wait(state).unwrap();
        }
    }

    fn arm(&self) -> bool {
        sync::lock(&self.state).is_armed = true;
        self.lookout.notify_one();
        true
    }

    fn disarm(&self) {
        sync::lock(&self.state).is_armed = false;
    }

    fn wake(&self) {
        sync::lock(&self.state).is_lookout_woken = true;
        self.lookout.notify_one();
    }
}

/// What only the thread that sits may touch.
struct Reactor {
    is_used: loom::cell::UnsafeCell<()>,
}

struct Engine {
    seat: seat::Seat<Reactor>,
    groups: Vec<Arc<Group>>,
    /// Each is the group that it is for: a peer that answers at once.
    posted: sync::Mutex<Vec<usize>>,
    poller: Arc<Poller>,
    /// How the stand-in watches, if it does.
    watches: Option<Watches>,
    /// Who has sat down looks whether its event has come before it makes a pass.
    looks_before_passes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Watches {
    /// A pass does all that there is.
    All,
    /// A pass does one thing, and the next is due at once.
    OneByOne,
}

enum Passed {
    Made,
    WasLast,
}

impl Engine {
    fn new(groups: usize) -> Arc<Self> {
        Engine::with(groups, true)
    }

    fn with(groups: usize, looks_before_passes: bool) -> Arc<Self> {
        Engine::furnished(groups, looks_before_passes, None)
    }

    /// One whose stand-in watches.
    fn watched(watches: Watches) -> Arc<Self> {
        Engine::furnished(1, true, Some(watches))
    }

    fn furnished(groups: usize, looks_before_passes: bool, watches: Option<Watches>) -> Arc<Self> {
        let poller = Poller::new();
        let lookout = watches.map(|_| Arc::clone(&poller) as Arc<dyn Lookout>);
        let engine = Engine {
            seat: seat::Seat::new(),
            groups: (0..groups).map(|_| Arc::new(Mailbox::new())).collect(),
            posted: sync::Mutex::new(Vec::new()),
            poller,
            watches,
            looks_before_passes,
        };
        let is_used = loom::cell::UnsafeCell::new(());
        engine.seat.furnish(Box::new(Reactor { is_used }), lookout);
        Arc::new(engine)
    }

    /// As the engine wakes its reactor.
    fn post(&self, group: usize, sitter: Sitter) {
        sync::lock(&self.posted).push(group);
        self.poller.wake();
        self.seat.call(sitter);
    }

    /// As a thread notifies a group.
    fn notify(&self, group: usize) {
        let limit = Notified { count: 1, bytes: 1 };
        if self.groups[group].notify(group, 1, limit).unwrap().reactor {
            self.poller.wake();
            self.seat.call(NOBODY);
        }
    }

    /// Something arrives on the network.
    fn arrive(&self, group: usize) {
        sync::lock(&self.posted).push(group);
        self.poller.arrive();
    }

    /// As the engine's thread that has received writes what it posts.
    fn post_and_write(&self, group: usize, sitter: Sitter) {
        sync::lock(&self.posted).push(group);
        if !self.write(sitter) {
            self.poller.wake();
            self.seat.call(sitter);
        }
    }

    /// As a thread writes what was posted. Returns whether nobody else sat.
    fn write(&self, sitter: Sitter) -> bool {
        let Some(reactor) = self.seat.try_sit() else {
            return false;
        };
        self.seat.begin_pass();
        let passed = self.work(&reactor);
        self.rise(reactor, sitter, &passed);
        true
    }

    fn work(&self, reactor: &Reactor) -> Passed {
        reactor.is_used.with_mut(|_| ()); // loom notices two threads that do this at a time
        let mut posted = sync::lock(&self.posted);
        let some = match self.watches {
            Some(Watches::OneByOne) => posted.len().min(1),
            _ => posted.len(),
        };
        let now: Vec<usize> = posted.drain(..some).collect();
        drop(posted);
        for group in now {
            if group == STOP {
                return Passed::WasLast;
            }
            self.groups[group].deliver(&mut VecDeque::from([group]));
        }
        Passed::Made
    }

    /// Something is to be done now, of which the poller knows nothing.
    fn is_due(&self) -> bool {
        self.watches == Some(Watches::OneByOne) && !sync::lock(&self.posted).is_empty()
    }

    fn rest(&self) -> Rest {
        match self.watches {
            None => Rest::Unseen,
            Some(_) => Rest::Until(self.is_due().then(sync::Instant::now)),
        }
    }

    fn sleep(&self) {
        if self.is_due() {
            self.poller.look();
        } else {
            self.poller.sleep();
        }
    }

    fn rise(&self, reactor: Box<Reactor>, sitter: Sitter, passed: &Passed) {
        match passed {
            Passed::Made => self.seat.leave(reactor, sitter, Need::Nobody, self.rest()),
            Passed::WasLast => self.seat.end(reactor),
        }
    }

    fn receive(&self, group: usize, sitter: Sitter) -> Taken<&'static str> {
        let (receiver, mut into) = (&self.groups[group], VecDeque::new());
        let sit = |reactor, into: &mut VecDeque<usize>| {
            let mut may_look = self.looks_before_passes;
            loop {
                if let Some(taken) = may_look.then(|| receiver.take_or_pass(into)).flatten() {
                    self.rise(reactor, sitter, &Passed::Made);
                    return taken;
                }
                self.sleep();
                self.seat.begin_pass();
                if let passed @ Passed::WasLast = self.work(&reactor) {
                    self.rise(reactor, sitter, &passed);
                    return Taken::Offer;
                }
                may_look = true;
            }
        };
        let taken = self
            .seat
            .receive(group as u64, receiver, &mut into, None, sit);
        assert!(into.iter().all(|&event| event == group), "another's event");
        taken
    }

    fn stand_in(&self) {
        loop {
            match self.seat.stand_in() {
                Duty::WakeTasks => {}
                Duty::End(_reactor) => {
                    return self.groups.iter().for_each(|group| drop(group.end(OVER)));
                }
                Duty::Pass(reactor) => {
                    self.poller.look();
                    self.seat.begin_pass();
                    let passed = self.work(&reactor);
                    self.rise(reactor, NOBODY, &passed);
                }
                Duty::Sit(reactor) => loop {
                    self.sleep();
                    self.seat.begin_pass();
                    let passed = self.work(&reactor);
                    if matches!(passed, Passed::WasLast) || self.seat.is_wanted() {
                        self.rise(reactor, NOBODY, &passed);
                        break;
                    }
                },
            }
        }
    }

    /// A thread that receives once for a group.
    fn start_receiver(self: &Arc<Self>, group: usize) -> thread::JoinHandle<()> {
        let (engine, sitter) = (Arc::clone(self), group as Sitter + 1);
        thread::spawn(move || assert_eq!(engine.receive(group, sitter), Taken::Events))
    }

    fn start_stand_in(self: &Arc<Self>) -> thread::JoinHandle<()> {
        let engine = Arc::clone(self);
        thread::spawn(move || engine.stand_in())
    }
}

/// Where time stands still: nobody is served by having looked again after a while.
fn at_once(model: fn()) -> impl Fn() + Send + Sync + 'static {
    move || {
        sync::stop_the_clock(true);
        model();
        sync::stop_the_clock(false);
    }
}

/// Explores a model in which a decision is never taken, and expects that somebody waits for ever.
fn nobody_goes_on_without(decision: Decision, preemptions: usize, model: fn()) {
    let preemptions = Some(preemptions);
    finds_always(
        decision,
        false,
        NOBODY_CAN_GO_ON,
        preemptions,
        at_once(model),
    );
}

/// A receiver waits for an event that another thread posts, and does not come back. The same thread's
/// next post ends the reactor.
fn a_post_reaches_who_waits() {
    post_to_who_waits(&Engine::new(1));
}

fn post_to_who_waits(engine: &Arc<Engine>) {
    let stand_in = engine.start_stand_in();
    let receiver = engine.start_receiver(0);
    engine.post(0, 2);
    engine.post(STOP, 2);
    receiver.join().unwrap();
    stand_in.join().unwrap();
    let (mailbox, mut into) = (&engine.groups[0], VecDeque::new());
    assert_eq!(mailbox.take_now(&mut into), Some(Taken::Ended(OVER)));
}

#[test]
fn who_waits_is_served_at_once_whoever_sits() {
    let name = "who_waits_is_served_at_once_whoever_sits";
    proves(name, Some(3), 1000, at_once(a_post_reaches_who_waits));
}

/// Changed: a post that comes while somebody sits is not noted.
#[test]
fn canary_a_call_that_is_not_noted() {
    nobody_goes_on_without(Decision::CallIsNoted, 3, a_post_reaches_who_waits);
}

/// Changed: who leaves the seat passes no call on.
#[test]
fn canary_a_call_that_is_not_passed_on() {
    nobody_goes_on_without(Decision::NoteIsPassedOn, 3, a_post_reaches_who_waits);
}

/// Changed: the stand-in does not say that it sleeps.
#[test]
fn canary_a_stand_in_that_sleeps_unannounced() {
    nobody_goes_on_without(Decision::StandInIsAnnounced, 3, a_post_reaches_who_waits);
}

/// Two receivers, of which each waits for an event of its own. The posts are there, so one receiver
/// alone would not come back; the other must get the seat, or its event.
fn two_receivers_wait(looks_before_passes: bool) {
    let engine = Engine::with(2, looks_before_passes);
    let stand_in = engine.start_stand_in();
    let receivers = [0, 1].map(|group| engine.start_receiver(group));
    engine.post(0, 9);
    engine.post(1, 9);
    for receiver in receivers {
        receiver.join().unwrap();
    }
    engine.post(STOP, 9);
    stand_in.join().unwrap();
}

#[test]
fn the_seat_is_handed_on_to_who_waits() {
    let name = "the_seat_is_handed_on_to_who_waits";
    proves(name, Some(2), 1000, at_once(|| two_receivers_wait(true)));
}

/// Changed: who sits down makes a pass at once, though the one who sat before may have delivered.
#[test]
fn canary_a_receiver_that_does_not_look_before_it_sleeps() {
    finds(
        NOBODY_CAN_GO_ON,
        Some(2),
        at_once(|| two_receivers_wait(false)),
    );
}

/// Two receivers; what comes for one comes from the network, which calls nobody, and for the other from
/// a thread that notifies it, which needs no pass. Before that somebody is woken for nothing.
fn one_receiver_is_notified() {
    let engine = Engine::new(2);
    let stand_in = engine.start_stand_in();
    let receivers = [0, 1].map(|group| engine.start_receiver(group));
    engine.poller.wake();
    engine.notify(0);
    engine.arrive(1);
    for receiver in receivers {
        receiver.join().unwrap();
    }
    engine.post(STOP, 9);
    stand_in.join().unwrap();
}

#[test]
fn who_goes_on_with_something_else_leaves_the_seat_to_who_waits() {
    let name = "who_goes_on_with_something_else_leaves_the_seat_to_who_waits";
    proves(name, Some(2), 1000, at_once(one_receiver_is_notified));
}

/// Changed: a receiver that was offered the seat and has got an event asks nobody else.
#[test]
fn canary_an_offer_that_is_not_passed_on() {
    nobody_goes_on_without(Decision::OfferIsPassedOn, 2, one_receiver_is_notified);
}

/// A receiver that may make passes is notified, and nothing else happens.
fn a_receiver_is_notified() {
    let engine = Engine::new(1);
    let stand_in = engine.start_stand_in();
    let receiver = engine.start_receiver(0);
    engine.poller.wake();
    engine.notify(0);
    receiver.join().unwrap();
    engine.post(STOP, 2);
    stand_in.join().unwrap();
}

#[test]
fn a_notification_reaches_a_receiver_that_makes_passes() {
    let name = "a_notification_reaches_a_receiver_that_makes_passes";
    proves(name, Some(3), 100, at_once(a_receiver_is_notified));
}

/// A receiver may sit down, find that it was notified meanwhile, and leave without a pass, after another
/// thread has called.
fn a_receiver_leaves_without_a_pass() {
    let engine = Engine::new(1);
    let stand_in = engine.start_stand_in();
    let receiver = engine.start_receiver(0);
    engine.poller.wake();
    engine.notify(0);
    engine.post(STOP, 2);
    receiver.join().unwrap();
    stand_in.join().unwrap();
}

#[test]
fn a_call_outlives_who_sits_down_and_makes_no_pass() {
    let name = "a_call_outlives_who_sits_down_and_makes_no_pass";
    proves(
        name,
        Some(3),
        1000,
        at_once(a_receiver_leaves_without_a_pass),
    );
}

/// Changed: who sits down takes the call away, whether or not a pass follows.
#[test]
fn canary_a_call_that_sitting_down_takes_away() {
    nobody_goes_on_without(
        Decision::CallOutlivesTaking,
        3,
        a_receiver_leaves_without_a_pass,
    );
}

/// Changed: a notification does not wake a receiver that sleeps in a pass.
#[test]
fn canary_a_notification_that_leaves_the_receiver_in_its_pass() {
    nobody_goes_on_without(Decision::PassingReceiverIsWoken, 3, a_receiver_is_notified);
}

/// A thread that has received writes its next post itself, and its second is found by whoever sits
/// next, at the latest by the stand-in after a while. Its peers' threads post meanwhile.
fn who_received_posts() {
    received_and_posts(&Engine::new(1));
}

fn received_and_posts(engine: &Arc<Engine>) {
    let stand_in = engine.start_stand_in();
    let poster = thread::spawn({
        let engine = Arc::clone(engine);
        move || engine.post(0, 2)
    });
    assert_eq!(engine.receive(0, 1), Taken::Events);
    engine.post_and_write(0, 1);
    engine.post(STOP, 1);
    poster.join().unwrap();
    stand_in.join().unwrap();
}

#[test]
fn what_a_receiver_posts_is_found_though_it_does_not_come_back() {
    let name = "what_a_receiver_posts_is_found_though_it_does_not_come_back";
    proves(name, Some(2), 1000, who_received_posts);
}

/// A thread that only posts writes what was posted, for which others were called, and posts more. Whether it is
/// expected back or not, that is found.
#[test]
fn what_is_posted_behind_much_that_was_written_is_found() {
    let name = "what_is_posted_behind_much_that_was_written_is_found";
    for sitter in [NOBODY, 2] {
        proves(name, Some(2), 500, move || {
            let engine = Engine::new(1);
            let stand_in = engine.start_stand_in();
            let poster = thread::spawn({
                let engine = Arc::clone(&engine);
                move || {
                    engine.post(0, 2);
                    engine.write(sitter);
                    engine.post(0, 2);
                }
            });
            assert_eq!(engine.receive(0, 1), Taken::Events);
            poster.join().unwrap();
            engine.post(STOP, 1);
            stand_in.join().unwrap();
        });
    }
}

/// Changed: the stand-in never comes by itself.
#[test]
fn canary_a_stand_in_that_waits_to_be_called() {
    finds(NOBODY_CAN_GO_ON, Some(2), at_once(who_received_posts));
}

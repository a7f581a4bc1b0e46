//! A task that makes passes does all that the stand-in is not called for; and where it does not come, the
//! stand-in does.

use std::sync::Arc;
use std::task::{Wake, Waker};

use loom::thread;

use super::{Engine, STOP, Watches, at_once, nobody_goes_on_without};
use crate::between::decision::Decision;
use crate::between::seat::{TASK, Turn};
use crate::{NOBODY_CAN_GO_ON, Sleeper, finds, finds_always, proves, sync};

/// A runtime with one task.
struct Runtime(Arc<Sleeper>);

impl Wake for Runtime {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}

/// How the task ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lives {
    /// With the reactor.
    On,
    /// After it was polled once.
    Briefly,
}

/// Has a task make the passes of an engine.
fn start_task(engine: &Arc<Engine>, lives: Lives) -> thread::JoinHandle<()> {
    assert!(engine.seat.begin_task());
    let sleeper = Sleeper::new();
    *sync::lock(&engine.poller.runtime) = Some(Arc::clone(&sleeper));
    let engine = Arc::clone(engine);
    thread::spawn(move || {
        let waker = Waker::from(Arc::new(Runtime(Arc::clone(&sleeper))));
        loop {
            match engine.seat.take_turn(&waker) {
                Turn::Sit(reactor) => {
                    engine.poller.look();
                    engine.seat.begin_pass();
                    let passed = engine.work(&reactor);
                    engine.rise(reactor, TASK, &passed);
                }
                Turn::Later => {}
                Turn::Over => return,
            }
            if lives == Lives::Briefly {
                return engine.seat.end_task();
            }
            sleeper.sleep();
        }
    })
}

/// Two posts beside a task that makes passes.
fn two_posts_beside(lives: Lives) {
    let engine = Engine::watched(Watches::All);
    let task = start_task(&engine, lives);
    let stand_in = engine.start_stand_in();
    engine.post(0, 2);
    engine.post(STOP, 2);
    task.join().unwrap();
    stand_in.join().unwrap();
}

/// What is posted, while the task makes passes and between them, reaches it.
fn posts_reach_the_task() {
    two_posts_beside(Lives::On);
}

#[test]
fn what_is_posted_reaches_a_task_that_makes_passes_at_once() {
    let name = "what_is_posted_reaches_a_task_that_makes_passes_at_once";
    proves(name, Some(3), 100, at_once(posts_reach_the_task));
}

/// Changed: the task is not woken.
#[test]
fn canary_a_task_that_is_not_called() {
    nobody_goes_on_without(Decision::TaskIsCalled, 3, posts_reach_the_task);
}

/// Changed: what is posted during a pass is not noted.
#[test]
fn canary_a_call_during_the_pass_of_a_task_that_is_not_noted() {
    nobody_goes_on_without(Decision::CallIsNoted, 3, posts_reach_the_task);
}

/// Something comes from the network while a receiver sits, which leaves without a pass: it was notified.
fn a_task_comes_while_a_receiver_sits() {
    let engine = Engine::watched(Watches::All);
    let task = start_task(&engine, Lives::On);
    let stand_in = engine.start_stand_in();
    let receiver = engine.start_receiver(0);
    engine.notify(0);
    engine.arrive(STOP);
    receiver.join().unwrap();
    task.join().unwrap();
    stand_in.join().unwrap();
}

#[test]
fn a_task_that_finds_the_seat_taken_comes_again() {
    let name = "a_task_that_finds_the_seat_taken_comes_again";
    let preemptions = Some(2);
    proves(
        name,
        preemptions,
        100,
        at_once(a_task_comes_while_a_receiver_sits),
    );
}

/// Changed: it is forgotten.
#[test]
fn canary_a_task_that_is_turned_away_for_good() {
    nobody_goes_on_without(
        Decision::TurnedAwayIsNoted,
        2,
        a_task_comes_while_a_receiver_sits,
    );
}

/// The runtime never polls the task: it is busy.
fn a_task_does_not_come() {
    let engine = Engine::watched(Watches::All);
    assert!(engine.seat.begin_task());
    let stand_in = engine.start_stand_in();
    engine.post(0, 2);
    engine.arrive(0);
    engine.post(STOP, 2);
    stand_in.join().unwrap();
}

#[test]
fn the_stand_in_makes_the_passes_for_which_the_task_does_not_come() {
    let name = "the_stand_in_makes_the_passes_for_which_the_task_does_not_come";
    proves(name, Some(3), 100, a_task_does_not_come);
}

/// Changed: what was left to the task is forgotten.
#[test]
fn canary_a_post_that_is_left_to_a_task_that_does_not_come() {
    finds_always(
        Decision::ExpectedPostIsNoted,
        false,
        NOBODY_CAN_GO_ON,
        Some(3),
        a_task_does_not_come,
    );
}

/// Changed: the stand-in comes only where it is called.
#[test]
fn canary_a_stand_in_that_leaves_everything_to_the_task() {
    finds(NOBODY_CAN_GO_ON, Some(3), at_once(a_task_does_not_come));
}

/// A task that ends leaves the passes to the stand-in, whatever it was called for.
fn a_task_ends() {
    two_posts_beside(Lives::Briefly);
}

#[test]
fn what_is_posted_outlives_the_task_that_makes_passes() {
    let name = "what_is_posted_outlives_the_task_that_makes_passes";
    proves(name, Some(3), 100, at_once(a_task_ends));
}

/// Changed: the stand-in does not hear of the end.
#[test]
fn canary_a_task_that_nobody_replaces() {
    nobody_goes_on_without(Decision::TaskIsReplaced, 3, a_task_ends);
}

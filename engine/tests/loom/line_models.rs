//! Who waits to post to a channel posts in the order in which it came, and nobody is forgotten.

use std::sync::Arc;
use std::task::Waker;

use loom::sync::Mutex;
use loom::thread;

use crate::between::decision::Decision;
use crate::between::lines::{Lines, Place};
use crate::channel::Channel;
use crate::task_models::{Executor, wake};
use crate::{NOBODY_CAN_GO_ON, Sleeper, finds_always, proves};

/// Waits until it is first, and leaves. Its place is noted while it is.
fn pass(lines: &Lines, channel: Channel, place: Place, passed: &Mutex<Vec<Place>>) {
    let sleeper = Sleeper::new();
    let waker = Waker::from(Arc::new(Executor(Arc::clone(&sleeper))));
    while !lines.poll_first(channel, place, &mut Some(waker.clone())) {
        sleeper.sleep();
    }
    passed.lock().unwrap().push(place);
    wake(lines.leave(channel, place));
}

/// Two pass who came one after the other, and one gives up wherever it stands.
fn all_pass_in_order() {
    let channel = Channel::new(1, 1);
    let lines = Arc::new(Lines::new());
    let passed = Arc::new(Mutex::new(Vec::new()));
    let places = [(); 3].map(|()| lines.enter(channel));
    let threads = [places[0], places[2]].map(|place| {
        let (lines, passed) = (Arc::clone(&lines), Arc::clone(&passed));
        thread::spawn(move || pass(&lines, channel, place, &passed))
    });
    wake(lines.leave(channel, places[1]));
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(*passed.lock().unwrap(), [places[0], places[2]], "in order");
    assert!(lines.enter_if_any(channel).is_none(), "nobody is left");
}

#[test]
fn who_waits_passes_in_the_order_in_which_it_came() {
    let name = "who_waits_passes_in_the_order_in_which_it_came";
    proves(name, None, 10, all_pass_in_order);
}

/// Changed: whoever asks is first.
#[test]
fn canary_a_line_that_is_not_kept() {
    finds_always(
        Decision::LineIsKept,
        false,
        "in order",
        None,
        all_pass_in_order,
    );
}

/// Changed: who leaves wakes nobody.
#[test]
fn canary_a_line_that_is_left_in_silence() {
    let silently = Decision::NextInLineIsWoken;
    finds_always(silently, false, NOBODY_CAN_GO_ON, None, all_pass_in_order);
}

//! A receiver gets every event, in order, and the end after the last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use loom::thread;

use crate::between::decision::Decision;
use crate::between::mailbox::{self, Notified, Taken};
use crate::sync::Instant;
use crate::task_models::{Executor, wake};
use crate::{NOBODY_CAN_GO_ON, Sleeper, finds, finds_always, proves};

type Mailbox = mailbox::Mailbox<u32, &'static str>;

/// What an application's thread puts in beside the reactor.
const NOTE: u32 = 100;

/// Room for one.
const ONE: Notified = Notified { count: 1, bytes: 8 };

type Put = fn(&Mailbox);

/// The reactor's part: two batches, then the end. A task that waits is woken for each.
fn deliver_and_end(mailbox: &Mailbox) {
    wake(mailbox.deliver(&mut VecDeque::from([1, 2])));
    wake(mailbox.deliver(&mut VecDeque::from([3])));
    wake(mailbox.end("stopped"));
}

/// The reactor delivers while a thread notifies and the receiver takes, first `patience` times
/// with a deadline, then for as long as it takes.
fn a_receiver_takes_all(put: Put, patience: usize) {
    let mailbox = Arc::new(Mailbox::new());
    let reactor = thread::spawn({
        let mailbox = Arc::clone(&mailbox);
        move || put(&mailbox)
    });
    let notifier = thread::spawn({
        let mailbox = Arc::clone(&mailbox);
        move || match mailbox.notify(NOTE, 8, ONE) {
            Ok(wakes) => {
                wake(wakes.task);
                true
            }
            Err((event, why)) => {
                assert_eq!(event, NOTE, "what is refused comes back");
                assert_eq!(why, Some("stopped"), "other events are in nobody's way");
                false
            }
        }
    });
    let (mut events, mut seen) = (VecDeque::new(), Vec::new());
    for turn in 0.. {
        let deadline = Instant::now().after(Duration::from_millis(1));
        let taken = mailbox.take(&mut events, (turn < patience).then_some(deadline));
        match taken {
            Taken::Events => assert!(!events.is_empty(), "events are at least one"),
            Taken::Offer => panic!("nobody offers anything"),
            Taken::Nothing => {
                assert!(turn < patience, "without a deadline there is something");
                assert!(Instant::now() >= deadline, "gave up too early");
            }
            Taken::Ended(reason) => {
                assert_eq!(reason, "stopped");
                break;
            }
        }
        seen.extend(events.drain(..));
    }
    reactor.join().unwrap();
    let notified = notifier.join().unwrap();
    let notes = seen.iter().filter(|&&event| event == NOTE).count();
    assert_eq!(notes, usize::from(notified), "notified once, seen once");
    seen.retain(|&event| event != NOTE);
    assert_eq!(seen, [1, 2, 3], "the reactor's events, in their order");
    let again = mailbox.take(&mut events, None);
    assert_eq!(again, Taken::Ended("stopped"), "the end is the last");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes long: with --release")]
fn a_receiver_that_waits_takes_all() {
    proves("a_receiver_that_waits_takes_all", None, 1000, || {
        a_receiver_takes_all(deliver_and_end, 0);
    });
}

#[test]
fn a_receiver_that_gives_up_now_and_then_takes_all() {
    let name = "a_receiver_that_gives_up_now_and_then_takes_all";
    proves(name, Some(3), 1000, || {
        a_receiver_takes_all(deliver_and_end, 2);
    });
}

/// Notifications, one at a time, while the receiver takes them: each that was accepted is seen, and
/// makes way for the next.
fn notifications_make_way(release: fn(&Mailbox)) {
    let mailbox = Arc::new(Mailbox::new());
    let notifier = thread::spawn({
        let mailbox = Arc::clone(&mailbox);
        move || {
            let notified = [1, 2].map(|note| mailbox.notify(note, 8, ONE).is_ok());
            mailbox.end("stopped");
            notified.iter().filter(|&&accepted| accepted).count()
        }
    });
    let (mut events, mut seen) = (VecDeque::new(), 0);
    while mailbox.take(&mut events, None) == Taken::Events {
        for _ in events.drain(..) {
            assert!(mailbox.notified().count <= 1, "over the limit");
            release(&mailbox);
            seen += 1;
        }
    }
    assert_eq!(notifier.join().unwrap(), seen, "accepted once, seen once");
    let none = Notified { count: 0, bytes: 0 };
    assert_eq!(mailbox.notified(), none, "all have made way");
}

#[test]
fn a_notification_makes_way_for_the_next() {
    proves("a_notification_makes_way_for_the_next", None, 20, || {
        notifications_make_way(|mailbox| mailbox.notification_taken(8));
    });
}

/// Changed: the receiver does not say that it has one.
#[test]
fn canary_a_notification_that_stays() {
    finds("all have made way", None, || notifications_make_way(|_| {}));
}

/// Changed: the receiver does not say that it sleeps.
#[test]
fn canary_a_receiver_that_sleeps_unannounced() {
    finds_always(
        Decision::ReceiverIsAnnounced,
        false,
        NOBODY_CAN_GO_ON,
        None,
        || {
            a_receiver_takes_all(deliver_and_end, 0);
        },
    );
}

/// Changed: the end is said before the last batch.
#[test]
fn canary_an_end_before_the_last_batch() {
    finds("the reactor's events", None, || {
        let end_early: Put = |mailbox| {
            mailbox.deliver(&mut VecDeque::from([1, 2]));
            mailbox.end("stopped");
            mailbox.deliver(&mut VecDeque::from([3]));
        };
        a_receiver_takes_all(end_early, 0);
    });
}

/// The reactor delivers while a thread notifies and a task takes.
fn a_task_takes_all() {
    let mailbox = Arc::new(Mailbox::new());
    let sleeper = Sleeper::new();
    let waker = Waker::from(Arc::new(Executor(Arc::clone(&sleeper))));
    let reactor = thread::spawn({
        let mailbox = Arc::clone(&mailbox);
        move || deliver_and_end(&mailbox)
    });
    let notifier = thread::spawn({
        let mailbox = Arc::clone(&mailbox);
        move || {
            let notified = mailbox.notify(NOTE, 8, ONE).map(|wakes| wake(wakes.task));
            notified.is_ok()
        }
    });
    let (mut events, mut seen) = (VecDeque::new(), Vec::new());
    loop {
        match mailbox.poll_take(&mut events, &mut Some(waker.clone())) {
            Poll::Ready(Taken::Events) => seen.extend(events.drain(..)),
            Poll::Ready(Taken::Ended(_)) => break,
            Poll::Ready(other) => panic!("nobody offers and nothing is due: {other:?}"),
            Poll::Pending => sleeper.sleep(),
        }
    }
    reactor.join().unwrap();
    let notified = notifier.join().unwrap();
    let notes = seen.iter().filter(|&&event| event == NOTE).count();
    assert_eq!(notes, usize::from(notified), "notified once, seen once");
    seen.retain(|&event| event != NOTE);
    assert_eq!(seen, [1, 2, 3], "the reactor's events, in their order");
}

#[test]
fn a_task_that_waits_takes_all() {
    proves(
        "a_task_that_waits_takes_all",
        Some(3),
        1000,
        a_task_takes_all,
    );
}

/// Changed: the task does not leave its waker.
#[test]
fn canary_a_task_that_sleeps_unannounced() {
    finds_always(
        Decision::TaskIsAnnounced,
        false,
        NOBODY_CAN_GO_ON,
        None,
        a_task_takes_all,
    );
}

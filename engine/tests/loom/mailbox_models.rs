//! A receiver gets every event, in order, and the end after the last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use crate::between::decision::Decision;
use crate::between::mailbox::{self, Taken};
use crate::sync::Instant;
use crate::{NOBODY_CAN_GO_ON, finds, finds_always, proves};

type Mailbox = mailbox::Mailbox<u32, &'static str>;

/// What an application's thread puts in beside the reactor.
const NOTE: u32 = 100;

type Put = fn(&Mailbox);

/// The reactor's part: two batches, then the end.
fn deliver_and_end(mailbox: &Mailbox) {
    mailbox.deliver(&mut VecDeque::from([1, 2]));
    mailbox.deliver(&mut VecDeque::from([3]));
    mailbox.end("stopped");
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
        move || match mailbox.notify(NOTE, 3) {
            Ok(()) => true,
            Err((event, why)) => {
                assert_eq!(event, NOTE, "what is refused comes back");
                assert!(matches!(why, None | Some("stopped")));
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

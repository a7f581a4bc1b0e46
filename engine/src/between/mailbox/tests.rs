use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::between::mailbox::{self, Notified, PLACES_KEPT, Taken};

type Mailbox = mailbox::Mailbox<u32, &'static str>;

/// Whether the reactor is to be woken for a notification that was accepted.
fn notify(
    mailbox: &Mailbox,
    event: u32,
    cost: usize,
    limit: Notified,
) -> Result<bool, (u32, Option<&'static str>)> {
    mailbox
        .notify(event, cost, limit)
        .map(|wakes| wakes.reactor)
}

fn take(mailbox: &Mailbox) -> (Taken<&'static str>, VecDeque<u32>) {
    let mut events = VecDeque::new();
    let taken = mailbox.take(&mut events, Some(Instant::now()));
    (taken, events)
}

#[test]
fn batches_are_taken_together_and_in_order() {
    let mailbox = Mailbox::new();
    for first in [1, 3] {
        let mut batch = VecDeque::from([first, first + 1]);
        mailbox.deliver(&mut batch);
        assert!(batch.is_empty());
    }
    assert_eq!(
        take(&mailbox),
        (Taken::Events, VecDeque::from([1, 2, 3, 4]))
    );
    assert_eq!(take(&mailbox), (Taken::Nothing, VecDeque::new()));
}

#[test]
fn an_empty_batch_is_not_an_event() {
    let mailbox = Mailbox::new();
    mailbox.deliver(&mut VecDeque::new());
    assert_eq!(take(&mailbox).0, Taken::Nothing);
}

#[test]
fn a_deadline_is_waited_for() {
    let mailbox = Mailbox::new();
    let deadline = Instant::now() + Duration::from_millis(20);
    let taken = mailbox.take(&mut VecDeque::new(), Some(deadline));
    assert_eq!(taken, Taken::Nothing);
    assert!(Instant::now() >= deadline);
}

#[test]
fn events_that_are_there_are_taken_whatever_the_deadline() {
    let mailbox = Mailbox::new();
    mailbox.deliver(&mut VecDeque::from([1]));
    let mut events = VecDeque::new();
    let past = Instant::now() - Duration::from_millis(1);
    assert_eq!(mailbox.take(&mut events, Some(past)), Taken::Events);
    assert_eq!(events, [1]);
}

fn limit(count: usize, bytes: usize) -> Notified {
    Notified { count, bytes }
}

/// To interrupt a receiver is needed most where much waits for it.
#[test]
fn a_notification_is_accepted_and_overtakes_nothing_while_65536_messages_wait() {
    let mailbox = Mailbox::new();
    mailbox.deliver(&mut (0..65_536).collect());
    assert_eq!(notify(&mailbox, 70_000, 1, limit(1, 1)), Ok(false));
    mailbox.deliver(&mut VecDeque::from([65_536]));
    let (_, events) = take(&mailbox);
    assert_eq!(events.len(), 65_538);
    assert_eq!(events[65_536], 70_000);
    assert_eq!(events[65_537], 65_536);
}

#[test]
fn notifications_stop_at_either_limit_and_come_back() {
    for limit in [limit(2, 100), limit(9, 20)] {
        let mailbox = Mailbox::new();
        assert_eq!(notify(&mailbox, 1, 10, limit), Ok(false));
        assert_eq!(
            notify(&mailbox, 2, 10, limit),
            Ok(false),
            "the limit is allowed"
        );
        assert_eq!(notify(&mailbox, 3, 1, limit), Err((3, None)));
        mailbox.deliver(&mut VecDeque::from([4]));
        let (_, events) = take(&mailbox);
        assert_eq!(events, [1, 2, 4], "the limit is not the reactor's");
        assert_eq!(
            notify(&mailbox, 5, 1, limit),
            Err((5, None)),
            "they are with the receiver, and hold their memory"
        );
        mailbox.notification_taken(10);
        assert_eq!(notify(&mailbox, 6, 10, limit), Ok(false));
        mailbox.end("stopped");
        mailbox.notification_taken(10);
        assert_eq!(notify(&mailbox, 7, 1, limit), Err((7, Some("stopped"))));
        mailbox.notification_taken(10);
        assert_eq!(mailbox.notified(), Notified { count: 0, bytes: 0 });
    }
}

#[test]
#[should_panic(expected = "a notification is taken once")]
fn a_notification_is_not_taken_twice() {
    let mailbox = Mailbox::new();
    assert_eq!(notify(&mailbox, 1, 10, limit(1, 10)), Ok(false));
    mailbox.notification_taken(10);
    mailbox.notification_taken(10);
}

#[test]
fn the_end_comes_after_the_last_event_and_stays() {
    let mailbox = Mailbox::new();
    mailbox.deliver(&mut VecDeque::from([1]));
    mailbox.end("stopped");
    mailbox.end("failed");
    assert_eq!(take(&mailbox), (Taken::Events, VecDeque::from([1])));
    for _ in 0..2 {
        assert_eq!(take(&mailbox).0, Taken::Ended("stopped"));
        let for_ever = mailbox.take(&mut VecDeque::new(), None);
        assert_eq!(for_ever, Taken::Ended("stopped"));
    }
}

#[test]
#[should_panic(expected = "the events taken before were used")]
fn events_are_not_taken_over_others() {
    Mailbox::new().take(&mut VecDeque::from([1]), None);
}

#[test]
fn whoever_waits_is_woken_by_each_kind_of_arrival() {
    let arrivals: [fn(&Mailbox); 3] = [
        |mailbox| drop(mailbox.deliver(&mut VecDeque::from([1]))),
        |mailbox| assert!(!mailbox.notify(1, 1, limit(1, 1)).unwrap().reactor),
        |mailbox| drop(mailbox.end("stopped")),
    ];
    let far = Instant::now() + Duration::from_secs(600);
    for arrive in arrivals {
        for deadline in [None, Some(far)] {
            let mailbox = Arc::new(Mailbox::new());
            let waiting = Arc::clone(&mailbox);
            let receiver = thread::spawn(move || waiting.take(&mut VecDeque::new(), deadline));
            thread::sleep(Duration::from_millis(5));
            arrive(&mailbox);
            assert_ne!(receiver.join().unwrap(), Taken::Nothing);
        }
    }
}

/// A wake costs a system call where the reactor sleeps.
#[test]
fn a_notification_wakes_the_reactor_only_for_a_receiver_that_makes_passes() {
    let mailbox = Mailbox::new();
    let notify = || mailbox.notify(1, 1, limit(9, 9)).unwrap().reactor;
    let mut into = VecDeque::new();
    assert_eq!(mailbox.take_now(&mut into), None);
    assert!(!notify(), "it only looked");
    assert_eq!(mailbox.take_now(&mut into), Some(Taken::Events));
    into.clear();
    assert_eq!(mailbox.take_or_pass(&mut into), None);
    assert!(notify());
    assert!(!notify(), "it is woken already");
    assert_eq!(mailbox.take_or_pass(&mut into), Some(Taken::Events));
    into.clear();
    assert_eq!(mailbox.take_or_pass(&mut into), None);
    mailbox.pass_no_more();
    assert!(!notify(), "it gave up");
}

/// The containers go round: whichever has had most is given back when the receiver has caught up.
#[test]
fn places_of_many_events_are_given_back_once_there_are_no_more() {
    let mailbox = Mailbox::new();
    let many = 4 * PLACES_KEPT as u32;
    let (mut batch, mut taken) = (VecDeque::new(), VecDeque::new());
    let now = || Some(Instant::now());
    for (before, rest) in [(0, 0), (1, 0), (0, 1), (many, many), (1, many)] {
        for count in [before, many] {
            batch.extend(0..count);
            mailbox.deliver(&mut batch);
            assert!(batch.capacity() <= PLACES_KEPT, "the reactor's");
        }
        assert_eq!(mailbox.take(&mut taken, now()), Taken::Events);
        let numbers = (0..before).chain(0..many);
        assert!(taken.drain(..).eq(numbers), "all, in their order");
        if rest > 0 {
            batch.extend(0..rest);
            mailbox.deliver(&mut batch);
            assert_eq!(mailbox.take(&mut taken, now()), Taken::Events);
            assert!(taken.drain(..).eq(0..rest));
        }
        assert_eq!(mailbox.take(&mut taken, now()), Taken::Nothing);
        assert!(taken.capacity() <= PLACES_KEPT, "the receiver's");
        batch.push_back(7);
        mailbox.deliver(&mut batch);
        assert_eq!(mailbox.take(&mut taken, now()), Taken::Events);
        assert!(taken.capacity() <= PLACES_KEPT, "what was between them");
        assert_eq!(taken.pop_front(), Some(7));
    }
}

/// A receiver that is behind would have its containers made anew again and again.
#[test]
fn places_of_many_events_go_round_as_long_as_there_are_more() {
    let mailbox = Mailbox::new();
    let mut batch: VecDeque<u32> = (0..4 * PLACES_KEPT as u32).collect();
    let mut taken = VecDeque::new();
    let mut kept = 0;
    for _ in 0..6 {
        mailbox.deliver(&mut batch);
        assert_eq!(mailbox.take(&mut taken, None), Taken::Events);
        taken.clear();
        kept += usize::from(taken.capacity() > PLACES_KEPT);
        batch.push_back(1);
    }
    assert_eq!(kept, 3, "every other time");
}

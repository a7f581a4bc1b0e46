//! Inboxes before a reactor that the test plays by hand.

mod batches;

use std::collections::VecDeque;
use std::future::Future as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::between::registry::{Kind, Registry, Role};
use crate::between::wake::Wake;
use crate::channel::Channel;
use crate::delivery::Delivery;
use crate::delivery::tests::{channel, frames};
use crate::error::Ended;
use crate::event::{AnswerOnDrop, Bye, Closed, Event, Received, Signal};
use crate::group;
use crate::handles::{Batch, GroupShared, Shared, Submission, reactor_thread};
use crate::inbox::UNPACKED_MOST;
use crate::message::Message;
use crate::options::Options;
use crate::reason::Reason;
use crate::storage::{MESSAGE_COST_MAX, cost_of};
use crate::wire::{Header, OpCode};

const PATIENCE: Duration = Duration::from_secs(60);

/// Counts how often the reactor was woken.
#[derive(Clone, Default)]
struct Wakes(Arc<AtomicUsize>);

impl Wake for Wakes {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends a group, also when a test fails: its inbox waits for that.
struct Reactor(Arc<GroupShared>);

impl Drop for Reactor {
    fn drop(&mut self) {
        self.0.mailbox.end(Ended::GroupClosed);
    }
}

fn received(channel: Channel, op_code: OpCode, id: u64) -> Received {
    Received {
        channel,
        op_code,
        more: false,
        status: 0,
        id,
        message: Message::empty(),
    }
}

fn bye(channel: Channel, id: u64) -> Event {
    Event::Bye(Bye {
        received: Box::new(received(channel, OpCode::ByeRequest, id)),
        answer_on_drop: AnswerOnDrop::default(),
    })
}

/// What was posted since this was asked last.
fn posted(shared: &Shared) -> Vec<Submission> {
    let mut batch = Batch::default();
    shared.queue.exchange(&mut batch, |_| ());
    batch.into_submissions()
}

/// The posts of a batch, and whether the group's close is behind them all.
fn posts(batch: Vec<Submission>) -> Vec<(Channel, OpCode, u64)> {
    let mut posts = Vec::new();
    let mut is_closed = false;
    for submission in batch {
        assert!(
            !is_closed,
            "a post behind the close finds nobody to send it"
        );
        match submission {
            Submission::Post { channel, post, .. } => {
                posts.push((channel, post.op_code, post.message_id));
            }
            Submission::CloseGroup { .. } => is_closed = true,
            _ => panic!("nothing else was submitted"),
        }
    }
    assert!(is_closed);
    posts
}

#[test]
fn closing_answers_the_goodbyes_that_were_not_received() {
    let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
    let group = Arc::new(GroupShared::new(1, 0, 0));
    shared
        .queue
        .with_registry(|registry| registry.open_group(1, 0));
    let (posting, mut inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
    let reactor = Reactor(Arc::clone(&group));
    let [taken, unread, answered, ended, quiet] = [(); 5].map(|()| {
        let open = shared
            .queue
            .with_registry(|registry| registry.open(1, Kind::Connection));
        open.unwrap()
    });
    let connected = Event::Accepted(received(quiet, OpCode::HelloResponse, 1));
    let first = [connected, bye(taken, 7), bye(answered, 8)];
    group.deliver(first);
    assert!(
        matches!(inbox.recv(), Ok(Event::Accepted(_))),
        "the rest is taken with it"
    );
    group.deliver([bye(unread, 9), bye(ended, 10)]);
    shared.post_answer(answered, 8).unwrap();
    shared.queue.with_registry(|registry| registry.close(ended));
    posting.post(posting.message().signal(taken)).unwrap();

    let closer = thread::spawn(move || inbox.close(Duration::ZERO));
    let mut batch = Vec::new();
    while !batch
        .iter()
        .any(|it| matches!(it, Submission::CloseGroup { .. }))
    {
        let mut more = posted(&shared);
        batch.append(&mut more);
        thread::yield_now();
    }
    let expected = [
        (answered, OpCode::ByeResponse, 8),
        (taken, OpCode::Signal, 1),
        (taken, OpCode::ByeResponse, 7),
        (unread, OpCode::ByeResponse, 9),
    ];
    assert_eq!(posts(batch), expected);
    drop(reactor);
    let report = closer.join().unwrap();
    assert_eq!(report.unread.len(), 4, "they are reported all the same");
    drop(report);
    let late = posted(&shared);
    assert!(late.is_empty(), "one answer each");
    shared.pool.close();
}

/// A batch is as many events as if each had been received by itself.
#[test]
fn a_batch_sets_off_what_each_of_its_events_does() {
    let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
    let group = Arc::new(GroupShared::new(1, 0, 0));
    shared
        .queue
        .with_registry(|registry| registry.open_group(1, 0));
    let (posting, mut inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
    let _reactor = Reactor(Arc::clone(&group));
    let channels = [(); 3].map(|()| {
        let open = |registry: &mut Registry| registry.open(1, Kind::Connection);
        shared.queue.with_registry(open).unwrap()
    });
    let mut byes = [1, 2, 3].map(|id| bye(channels[id as usize - 1], id));
    byes.rotate_left(1);
    group.deliver(byes);
    for _ in 0..2 {
        posting.notify(posting.message()).unwrap();
    }
    let mut events = vec![Event::Room(channels[0])];
    events.extend(inbox.recv_many().unwrap().take(4));
    let ids = events.iter().filter_map(|event| match event {
        Event::Bye(bye) => Some(bye.id()),
        _ => None,
    });
    assert!(ids.eq([2, 3, 1]));
    assert_eq!(group.mailbox.notified().count, 1, "one is left");
    let mut last = inbox.recv_many().unwrap();
    assert_eq!(last.len(), 1, "what was not taken is still there");
    events.extend(last.next());
    assert!(last.next().is_none());
    drop(last);
    assert_eq!(group.mailbox.notified().count, 0);
    drop(events);
    let batch = posted(&shared);
    let answers = batch.iter().filter_map(|it| match it {
        Submission::Post { post, .. } => Some((post.op_code, post.message_id)),
        _ => None,
    });
    let answered = [2, 3, 1].map(|id| (OpCode::ByeResponse, id));
    assert!(answers.eq(answered), "each was dropped");
    drop(batch);
    shared.pool.close();
}

/// It holds the memory that it is charged, whatever it was before.
#[test]
fn a_notification_lies_in_storage_that_fits() {
    let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
    let group = Arc::new(GroupShared::new(1, 0, 0));
    shared
        .queue
        .with_registry(|registry| registry.open_group(1, 0));
    let (posting, mut inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
    let _reactor = Reactor(Arc::clone(&group));
    let mut message = posting.message().with_body(&[7; 60_000]).unwrap();
    message.resize_body(3).unwrap();
    posting.notify(message).unwrap();
    let Ok(Some(Event::Notified(message))) = inbox.try_recv() else {
        panic!("it was accepted")
    };
    assert_eq!(message.storage().bytes().len(), 256);
    assert_eq!(message.body(), [7; 3]);
    drop(message);
    shared.pool.close();
}

/// Behind the close of its group nothing more is sent: a goodbye that comes then finds the end of the
/// stream.
#[test]
fn a_goodbye_that_comes_while_an_inbox_is_dropped_is_not_answered() {
    let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
    let group = Arc::new(GroupShared::new(1, 0, 0));
    shared
        .queue
        .with_registry(|registry| registry.open_group(1, 0));
    let (_posting, inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
    let open = |registry: &mut Registry| registry.open(1, Kind::Connection);
    let channel = shared.queue.with_registry(open).unwrap();
    let dropper = thread::spawn(move || drop(inbox));
    let mut batch = Vec::new();
    while batch.is_empty() {
        batch = posted(&shared);
        thread::yield_now();
    }
    assert!(matches!(batch[..], [Submission::CloseGroup { .. }]));
    group.deliver([bye(channel, 7)]);
    group.mailbox.end(Ended::GroupClosed);
    dropper.join().unwrap();
    let late = posted(&shared);
    assert!(late.is_empty(), "{} posts", late.len());
    shared.pool.close();
}

/// What had come by then goes with the future, and the numbers of channels that had ended are free.
#[test]
fn a_close_that_is_not_waited_for_forgets_what_had_ended() {
    let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
    let group = Arc::new(GroupShared::new(1, 0, 0));
    let (_posting, inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
    let channel = shared.queue.with_registry(|registry| {
        registry.open_group(1, 0);
        registry.open(1, Kind::Connection).unwrap()
    });
    let mut closing = Box::pin(inbox.close_async(Duration::ZERO));
    let mut context = Context::from_waker(Waker::noop());
    assert!(closing.as_mut().poll(&mut context).is_pending());
    shared
        .queue
        .with_registry(|registry| registry.close(channel));
    let closed = Event::Closed(Closed {
        channel,
        reason: Reason::GroupClosed,
        os_error: None,
        peer: None,
        account: Box::default(),
    });
    let left = [bye(channel, 7), closed];
    group.deliver(left);
    drop(closing);
    let left = shared.queue.with_registry(|registry| {
        registry.end_group(1);
        registry.groups()
    });
    assert_eq!(left, 0, "its channel holds the group");
    assert!(group.is_abandoned(), "the reactor drops what still comes");
    assert_eq!(posts(posted(&shared)), [], "and nothing is answered");
    shared.pool.close();
}

/// The group's channels go on receiving until their peers have ended, whatever is in the report.
#[test]
fn what_is_in_a_report_that_was_awaited_is_charged_to_nobody() {
    let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
    let group = Arc::new(GroupShared::new(1, 0, 0));
    shared
        .queue
        .with_registry(|registry| registry.open_group(1, 0));
    let (_posting, inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
    let frames = Delivery::Frames(frames(&shared.pool, 3, 40));
    group.mailbox.deliver(&mut VecDeque::from([frames]));
    let mut closing = Box::pin(inbox.close_async(Duration::ZERO));
    let mut context = Context::from_waker(Waker::noop());
    assert!(closing.as_mut().poll(&mut context).is_pending());
    let mut released = Vec::new();
    shared.pool.take_released(&mut released, None);
    let sum: usize = released.drain(..).map(|(_, cost)| cost).sum();
    let each = cost_of(Header::LEN + 40);
    assert_eq!(sum, 3 * each + cost_of(Header::LEN));
    group.mailbox.end(Ended::GroupClosed);
    let Poll::Ready(report) = closing.as_mut().poll(&mut context) else {
        panic!("the group has ended");
    };
    assert_eq!(report.unread.len(), 4);
    drop(report);
    shared.pool.take_released(&mut released, None);
    assert_eq!(released, [], "it was given back before");
    shared.pool.close();
}

/// Nobody has polled it: its group closes all the same, within the time that was given, and who drops it does not wait.
#[test]
fn a_close_that_was_not_begun_is_not_waited_for_either() {
    let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
    let group = Arc::new(GroupShared::new(1, 0, 0));
    shared
        .queue
        .with_registry(|registry| registry.open_group(1, 0));
    let (_posting, inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
    let within = Duration::from_secs(3600);
    let closing = inbox.close_async(within);
    let dropper = thread::spawn(move || drop(closing));
    let mut batch = Vec::new();
    while batch.is_empty() {
        batch = posted(&shared);
        thread::yield_now();
    }
    let [Submission::CloseGroup { deadline, .. }] = batch[..] else {
        panic!("{} submissions", batch.len());
    };
    assert!(deadline > Instant::now() + within / 2);
    dropper.join().unwrap(); // though nothing ends the group
    shared.pool.close();
}

/// The channel was refused again, and had room again, while a Room lay in the inbox. Nothing else
/// may happen that wakes the reactor before the application has taken that and waits for the next.
#[test]
fn taking_a_room_wakes_the_reactor_if_the_next_is_due() {
    let (options, wakes) = (Options::default(), Wakes::default());
    let credit = options.outbound_bytes_per_channel;
    let shared = Shared::new(options, |_| Box::new(wakes.clone()));
    let group = Arc::new(GroupShared::new(1, 0, 0));
    shared
        .queue
        .with_registry(|registry| registry.open_group(1, 0));
    let (_posting, mut inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
    let _reactor = Reactor(Arc::clone(&group));
    let open = shared
        .queue
        .with_registry(|registry| registry.open(1, Kind::Connection));
    let channel = open.unwrap();
    let mut told = Vec::new();
    for times in [1, 0] {
        shared.queue.exchange(&mut Batch::default(), |registry| {
            registry
                .admit(channel, 1, Role::Data, credit, None)
                .unwrap();
            let refused = registry.admit(channel, 1, Role::Data, MESSAGE_COST_MAX, None);
            refused.unwrap_err();
            registry.release(channel, credit);
            registry.take_room(&mut told);
        });
        assert_eq!(told.len(), times, "one is unread at most");
        let events = told.drain(..).map(Event::Room);
        group.deliver(events);
    }
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    assert!(matches!(inbox.try_recv(), Ok(Some(Event::Room(of))) if of == channel));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "the next is due");
    shared.queue.exchange(&mut Batch::default(), |registry| {
        registry.take_room(&mut told)
    });
    group.deliver(told.drain(..).map(Event::Room));
    assert!(matches!(inbox.try_recv(), Ok(Some(Event::Room(of))) if of == channel));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "and no other");
}

/// A reactor that fails may have heard of a group, or have it in the batch that it was working on,
/// or not have taken that batch at all.
#[test]
fn a_reactor_ends_every_group_whether_it_had_heard_of_it_or_not() {
    let losses: [fn(&Shared); 2] = [
        |_| {},
        |shared| {
            let batch = posted(shared);
            assert_eq!(batch.len(), 2);
            // A panic while the first of these is handled drops them all.
        },
    ];
    for lose in losses {
        let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
        let groups = [1, 2].map(|id| Arc::new(GroupShared::new(id, 0, 0)));
        let inboxes = groups.each_ref().map(|group| {
            shared.open_group(group).unwrap();
            group::pair(Arc::clone(&shared), Arc::clone(group)).1
        });
        let receivers = inboxes.map(|mut inbox| {
            thread::spawn(move || {
                let received = inbox.recv_until(Instant::now() + PATIENCE);
                if received.is_ok() {
                    std::mem::forget(inbox); // it would go on to wait for the end in vain
                }
                received.map(|event| event.is_some())
            })
        });
        lose(&shared);
        shared.end(Ended::EngineFailed);
        for receiver in receivers {
            assert_eq!(receiver.join().unwrap(), Err(Ended::EngineFailed));
        }
        let late = Arc::new(GroupShared::new(3, 0, 0));
        assert_eq!(shared.open_group(&late), Err(Ended::EngineFailed));
        let mut inbox = group::pair(shared, late).1;
        assert_eq!(inbox.recv().unwrap_err(), Ended::EngineFailed);
    }
}

/// There it does not wait: what comes later has nobody who takes it.
#[test]
fn an_inbox_that_is_closed_in_a_reactor_s_thread_is_left() {
    for is_reactor in [true, false] {
        let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
        let group = Arc::new(GroupShared::new(1, 0, 0));
        let (_posting, inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
        if !is_reactor {
            group.mailbox.end(Ended::GroupClosed);
        }
        let closer = thread::spawn(move || {
            if is_reactor {
                reactor_thread::enter();
            }
            inbox.close(Duration::ZERO)
        });
        closer.join().unwrap();
        assert_eq!(group.is_abandoned(), is_reactor);
    }
}

fn id_of(event: Event) -> u64 {
    match event {
        Event::Signal(signal) => signal.id(),
        Event::Response(received) => received.id(),
        other => panic!("unexpected {other:?}"),
    }
}

/// Whatever takes them, and where it stops: each once, in their order, and nothing stays charged.
#[test]
fn messages_that_were_delivered_together_are_received_one_by_one() {
    let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
    let group = Arc::new(GroupShared::new(1, 0, 0));
    let (_posting, mut inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
    let reactor = Reactor(Arc::clone(&group));
    let count = 3 * UNPACKED_MOST as u64 + 2;
    for _ in 0..2 {
        let mut deliveries = VecDeque::from([
            Delivery::Frames(frames(&shared.pool, count - 1, 40)),
            Delivery::Event(Event::Room(channel())),
        ]);
        group.mailbox.deliver(&mut deliveries);
    }
    assert_eq!(id_of(inbox.recv().unwrap()), 1);
    let mut events = inbox.recv_many().unwrap();
    assert_eq!(events.len() as u64, 2 * (count + 1) - 1);
    let some = events.by_ref().take(UNPACKED_MOST + 3);
    assert!(some.map(id_of).eq(2..UNPACKED_MOST as u64 + 5));
    assert_eq!(events.len() as u64, 2 * (count + 1) - 20);
    drop(events);
    let mut context = Context::from_waker(Waker::noop());
    for id in 21..=count {
        let Poll::Ready(event) = inbox.poll_recv(&mut context) else {
            panic!("there are more");
        };
        assert_eq!(id_of(event.unwrap()), id);
    }
    assert!(matches!(inbox.try_recv(), Ok(Some(Event::Room(_)))));
    assert_eq!(id_of(inbox.recv().unwrap()), 1);
    drop(reactor); // the rest comes with the close, which ends with the group
    let mut unread = inbox.close(Duration::ZERO).unread;
    assert!(matches!(unread.pop(), Some(Event::Room(_))));
    assert!(unread.into_iter().map(id_of).eq(2..=count));
    let mut released = Vec::new();
    shared.pool.take_released(&mut released, None);
    let sum: usize = released.into_iter().map(|(_, cost)| cost).sum();
    let each = (count - 1) as usize * cost_of(Header::LEN + 40) + cost_of(Header::LEN);
    assert_eq!(sum, 2 * each);
    shared.pool.close();
}

/// So a thread that has seen all writes what it posts then, and no other does.
#[test]
fn all_is_received_with_the_last_message_of_frames_and_not_before() {
    let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
    let group = Arc::new(GroupShared::new(1, 0, 0));
    let (_posting, mut inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
    let _reactor = Reactor(Arc::clone(&group));
    let count = UNPACKED_MOST as u64 + 2;
    let frames = Delivery::Frames(frames(&shared.pool, count - 1, 8));
    group.mailbox.deliver(&mut VecDeque::from([frames]));
    for id in 1..=count {
        let event = inbox.try_recv().unwrap().expect("there are more");
        assert_eq!(id_of(event), id);
        assert_eq!(shared.take_received(), id == count, "message {id}");
    }
    let single = |id| Event::Signal(Signal(received(channel(), OpCode::Signal, id)));
    group.deliver([1, 2, 3].map(single));
    for id in 1..=3 {
        let event = inbox.try_recv().unwrap().expect("there are more");
        assert_eq!(id_of(event), id);
        assert_eq!(shared.take_received(), id == 3, "of single ones {id}");
    }
    assert!(inbox.try_recv().unwrap().is_none());
    shared.pool.close();
}

//! What stands behind the handles, without a reactor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Instant;

use crate::address::Address;
use crate::between::registry::{Kind, Registry};
use crate::between::wake;
use crate::channel::Channel;
use crate::error::{Budget, Ended, PostError};
use crate::event::{Closed, Event};
use crate::message::Message;
use crate::options::Options;
use crate::post::Post;
use crate::reason::Reason;
use crate::storage::{Hold, MESSAGE_COST_MAX};
use crate::wire::MAX_HELLO_LEN;

use super::{Batch, GroupShared, Shared};

struct Nobody;

impl wake::Wake for Nobody {
    fn wake(&self) {}
}

fn shared() -> (Arc<Shared>, GroupShared) {
    let options = Options {
        outbound_bytes: 2 * MESSAGE_COST_MAX,
        ..Options::default()
    };
    let shared = Shared::new(options, |_| Box::new(Nobody));
    shared
        .queue
        .with_registry(|registry| registry.open_group(1, 0));
    (shared, GroupShared::new(1, 0, 0))
}

fn address() -> Address {
    "tcp://127.0.0.1:1".parse().unwrap()
}

/// What opens a channel is never refused for want of budget: nobody could be told of room for it.
#[test]
fn the_longest_hello_is_taken_when_other_channels_have_used_up_the_budget() {
    let (shared, group) = shared();
    let message = || Message::new(&shared.pool);
    let posted = shared.post(&group, message().hello(&address()));
    let greedy = posted.unwrap().channel;
    let post = || message().with_body(&[0; 60_000]).unwrap().signal(greedy);
    let refused = loop {
        if let Err(refused) = shared.post(&group, post()) {
            break refused;
        }
    };
    assert_eq!(refused.why, PostError::Full(Budget::Engine));
    let header = "~connect_to:tcp|127.0.0.1|1\r\n".len();
    let longest = || {
        let content = message().with_body(&vec![0; MAX_HELLO_LEN - header]);
        content.unwrap().hello(&address())
    };
    for _ in 0..100 {
        shared.post(&group, longest()).unwrap();
    }
    let mut posts: VecDeque<Post> = (0..100).map(|_| longest()).collect();
    assert_eq!(
        shared.post_many(&group, &mut posts, &mut Vec::new()),
        Ok(())
    );
}

fn closed(channel: Channel) -> Event {
    Event::Closed(Closed {
        channel,
        reason: Reason::GroupClosed,
        os_error: None,
        peer: None,
        account: Box::default(),
    })
}

/// Nobody takes the `Closed` of a group whose inbox could not wait for it.
#[test]
fn what_comes_to_an_abandoned_group_gives_its_number_back() {
    let shared = Shared::with_quarantine(Options::default(), 0, |_| Box::new(Nobody));
    let group = GroupShared::new(1, 0, 0);
    let queue = &shared.queue;
    queue.with_registry(|registry| registry.open_group(1, 0));
    let open = || queue.with_registry(|registry| registry.open(1, Kind::Connection).unwrap());
    let end = |channel| {
        queue.with_registry(|registry| registry.close(channel));
        group.deliver([closed(channel)]);
        shared.drop_abandoned(&group);
    };
    let first = open();
    end(first);
    assert_ne!(open().number(), first.number(), "its inbox may take it yet");
    group.abandon();
    let late = open();
    end(late);
    let again = [(); 2].map(|()| open().number());
    assert!(again.contains(&first.number()) && again.contains(&late.number()));
    group.mailbox.end(Ended::GroupClosed);
}

#[test]
fn groups_that_come_and_go_are_not_remembered() {
    let (shared, _) = shared();
    for id in 2..1000 {
        shared
            .open_group(&Arc::new(GroupShared::new(id, 0, 0)))
            .unwrap();
        shared.queue.exchange(&mut Batch::default(), |_| ());
        assert!(shared.groups() <= 4);
    }
}

#[test]
fn a_group_that_was_closed_takes_no_posts_from_then_on() {
    let (shared, group) = shared();
    let hello = || Message::new(&shared.pool).hello(&address());
    let channel = shared.post(&group, hello()).unwrap().channel;
    assert_eq!(shared.check_open(&group, channel), Ok(()));
    shared.close_group(&group, Instant::now(), &mut VecDeque::new());
    let refused = shared.post(&group, hello()).unwrap_err();
    assert_eq!(refused.why, PostError::GroupClosed);
    let checked = shared.check_open(&group, channel);
    assert_eq!(
        checked,
        Err(PostError::GroupClosed),
        "who waits behind others is told"
    );
}

/// Free storage knows its pool, which has it.
#[test]
fn the_memory_of_an_engine_goes_with_it() {
    let (shared, _) = shared();
    let pool = Arc::downgrade(&shared.pool);
    drop(Message::new(&shared.pool));
    assert_eq!(shared.pool.free(0), 1);
    shared.end(Ended::EngineStopped);
    drop(shared);
    assert!(pool.upgrade().is_none());
}

/// How often a task was woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl std::task::Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whoever is first there may never look.
#[test]
fn those_in_a_line_to_post_are_woken_by_the_end_of_the_engine_and_by_the_close_of_their_group() {
    type End = fn(&Shared, &GroupShared);
    let ends: [(End, usize); 2] = [
        (|shared, _| shared.end(Ended::EngineFailed), 1),
        (
            |shared, group| shared.close_group(group, Instant::now(), &mut VecDeque::new()),
            0,
        ),
    ];
    for (end, receivers_woken) in ends {
        let (shared, _) = shared();
        let group = Arc::new(GroupShared::new(2, 0, 0));
        shared.open_group(&group).unwrap();
        let open = |registry: &mut Registry| registry.open(2, Kind::Connection).unwrap();
        let channel = shared.queue.with_registry(open);
        let (poster, receiver) = (Arc::new(Task::default()), Arc::new(Task::default()));
        let waker = |task: &Arc<Task>| Some(Waker::from(Arc::clone(task)));
        group.lines.enter(channel);
        let second = group.lines.enter(channel);
        let is_first = group.lines.poll_first(channel, second, &mut waker(&poster));
        assert!(!is_first);
        let mailbox = &group.mailbox;
        let taken = mailbox.poll_take(&mut VecDeque::new(), &mut waker(&receiver));
        assert!(taken.is_pending());
        end(&shared, &group);
        let wakes = [poster, receiver].map(|task| task.0.load(Ordering::Relaxed));
        assert_eq!(wakes, [1, receivers_woken]);
    }
}

#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl wake::Wake for Counter {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Who keeps what came back keeps the engine's credit with it.
#[test]
fn what_came_back_and_is_dropped_wakes_the_reactor_where_somebody_waits_for_room() {
    let wakes = Counter::default();
    let options = Options {
        outbound_bytes: 2 * MESSAGE_COST_MAX,
        ..Options::default()
    };
    let shared = Shared::new(options, |_| Box::new(wakes.clone()));
    let group = GroupShared::new(1, 0, 0);
    let open = |registry: &mut Registry| registry.open_group(1, 0);
    let place = shared.queue.with_registry(open);
    let message = || Message::new(&shared.pool).with_body(&[0; 60_000]).unwrap();
    let hello = || Message::new(&shared.pool).hello(&address());
    let channels = [(); 2].map(|()| shared.post(&group, hello()).unwrap().channel);
    let mut cost = 0;
    while let Ok(posted) = shared.post(&group, message().signal(channels[0])) {
        assert_eq!(posted.channel, channels[0]);
        cost += message().cost();
    }
    // All of it comes back: the channel has room again, the engine has none.
    let release = |registry: &mut Registry| registry.release_channel(channels[0], cost);
    shared.queue.with_registry(release);
    let creditor = shared.creditor(place);
    let hold = |cost| Hold::new(Arc::clone(&creditor), cost);
    let (some, rest) = (hold(1000), hold(cost - 1000));
    let before = wakes.0.load(Ordering::Relaxed);
    drop(some);
    assert_eq!(wakes.0.load(Ordering::Relaxed), before, "not enough yet");
    drop(rest);
    assert_eq!(wakes.0.load(Ordering::Relaxed), before + 1);
}

/// Nobody takes the `Closed` of a group whose inbox could not wait for it.
#[test]
fn what_had_come_to_an_abandoned_group_gives_its_number_back_when_the_reactor_ends() {
    let shared = Shared::with_quarantine(Options::default(), 0, |_| Box::new(Nobody));
    let group = Arc::new(GroupShared::new(1, 0, 0));
    shared.open_group(&group).unwrap();
    let open = |registry: &mut Registry| registry.open(1, Kind::Connection).unwrap();
    let channel = shared.queue.with_registry(open);
    shared
        .queue
        .with_registry(|registry| registry.close(channel));
    group.deliver([closed(channel)]);
    group.abandon();
    shared.end(Ended::EngineStopped);
    assert_eq!(shared.queue.with_registry(open).number(), channel.number());
}

#[test]
fn free_storage_is_kept_as_far_as_its_own_option_goes() {
    for (pool_bytes, is_kept) in [(0, false), (1 << 20, true)] {
        let options = Options {
            pool_bytes,
            ..Options::default()
        };
        let shared = Shared::new(options, |_| Box::new(Nobody));
        drop(shared.pool.take(60_000));
        assert_eq!(shared.pool.free_bytes() > 0, is_kept);
        shared.pool.close();
    }
}

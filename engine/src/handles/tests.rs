//! What stands behind the handles, without a reactor.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::address::Address;
use crate::between::registry::Kind;
use crate::between::wake;
use crate::channel::Channel;
use crate::error::{Budget, Ended, PostError};
use crate::event::{Account, Closed, Event};
use crate::message::Message;
use crate::options::Options;
use crate::post::Post;
use crate::reason::Reason;
use crate::storage::MESSAGE_COST_MAX;

use super::{GroupShared, Shared};

struct Nobody;

impl wake::Wake for Nobody {
    fn wake(&self) {}
}

fn shared() -> (Arc<Shared>, GroupShared) {
    let options = Options {
        outbound_bytes: 2 * MESSAGE_COST_MAX,
        ..Options::default()
    };
    let shared = Shared::new(options, || Box::new(Nobody));
    (shared, GroupShared::new(1, 0))
}

fn address() -> Address {
    "tcp://127.0.0.1:1".parse().unwrap()
}

/// A HelloRequest with more content than a channel's reserve takes.
fn hello(shared: &Arc<Shared>) -> Post {
    let message = Message::new(&shared.pool).body(&[0; 20_000]).unwrap();
    message.hello(&address())
}

/// More often than there are numbers.
#[test]
fn a_hello_that_is_refused_gives_its_number_back() {
    let (shared, group) = shared();
    while shared.post(&group, hello(&shared)).is_ok() {}
    let mut post = hello(&shared);
    for _ in 0..70_000 {
        let refused = shared.post(&group, post).unwrap_err();
        assert_eq!(refused.why, PostError::Full(Budget::Engine));
        post = refused.post;
    }
    let small = Message::new(&shared.pool).hello(&address());
    shared.post(&group, small).expect("there are numbers left");
}

/// The same with many at once, and the first that is refused stays where it was.
#[test]
fn of_many_hellos_the_first_that_is_refused_is_the_first_that_is_left() {
    let (shared, group) = shared();
    let mut posts: VecDeque<Post> = (1..=40).map(|id| hello(&shared).with_id(id)).collect();
    let mut posted = Vec::new();
    for _ in 0..70_000 {
        let why = shared.post_many(&group, &mut posts, &mut posted);
        assert_eq!(why, Err(PostError::Full(Budget::Engine)));
    }
    assert!(!posted.is_empty());
    let ids: Vec<u64> = posts.iter().map(Post::id).collect();
    assert!(ids.iter().copied().eq(posted.len() as u64 + 1..=40));
    let small = Message::new(&shared.pool).hello(&address());
    shared.post(&group, small).expect("there are numbers left");
}

fn closed(channel: Channel) -> Event {
    Event::Closed(Closed {
        channel,
        reason: Reason::GroupClosed,
        os_error: None,
        peer: None,
        account: Account::default(),
    })
}

/// Nobody takes the `Closed` of a group whose inbox could not wait for it.
#[test]
fn what_comes_to_an_abandoned_group_gives_its_number_back() {
    let shared = Shared::with_quarantine(Options::default(), 0, || Box::new(Nobody));
    let group = GroupShared::new(1, 0);
    let queue = &shared.queue;
    let open = || queue.with_registry(|registry| registry.open(1, Kind::Connection).unwrap());
    let end = |channel| {
        queue.with_registry(|registry| registry.close(channel));
        group
            .mailbox
            .deliver(&mut VecDeque::from([closed(channel)]));
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

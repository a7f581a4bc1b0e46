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
use crate::wire::MAX_HELLO_LEN;

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

/// What opens a channel is never refused for want of budget: nobody could be told of room for it.
#[test]
fn the_longest_hello_is_taken_when_other_channels_have_used_up_the_budget() {
    let (shared, group) = shared();
    let message = || Message::new(&shared.pool);
    let posted = shared.post(&group, message().hello(&address()));
    let greedy = posted.unwrap().channel;
    let post = || message().body(&[0; 60_000]).unwrap().signal(greedy);
    let refused = loop {
        if let Err(refused) = shared.post(&group, post()) {
            break refused;
        }
    };
    assert_eq!(refused.why, PostError::Full(Budget::Engine));
    let header = "~connect_to:tcp|127.0.0.1|1\r\n".len();
    let longest = || {
        let content = message().body(&vec![0; MAX_HELLO_LEN - header]);
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

#[test]
fn groups_that_come_and_go_are_not_remembered() {
    let (shared, _) = shared();
    for id in 2..1000 {
        shared
            .open_group(&Arc::new(GroupShared::new(id, 0)))
            .unwrap();
        shared.queue.exchange(&mut Vec::new(), |_| ());
        assert!(shared.groups() <= 4);
    }
}

//! A post is admitted to the incarnation it was meant for, and accounted for, or refused.

use std::sync::Arc;

use loom::thread;

use crate::between::decision::Decision;
use crate::between::registry::{Denied, Kind, Role};
use crate::channel::Channel;
use crate::storage::MESSAGE_COST_MAX;
use crate::{GROUP, Posts, exchange, finds, finds_always, open, post, proves, queue_waking};

const COST: usize = 448;

/// The tag of the post to the new incarnation; the others are told apart by theirs too.
const TO_THE_NEW: u32 = 99;

type PostOne = fn(&Posts, Channel, u32) -> Result<(), Denied>;
type Close = fn(&Posts, &mut Vec<(Channel, u32)>, Channel);

/// Two threads post to a channel, twice each, while the reactor closes it, accounts for what it
/// took, forgets the channel, and gives its number to another that is posted to as well.
///
/// Everything admitted is in the batches up to the one that was taken as the channel was closed;
/// nothing is admitted later, and nothing meets the new incarnation; at the end nothing is charged.
fn posts_meet_close_and_reuse(post_one: PostOne, close: Close) {
    let queue = queue_waking(None);
    let channel = open(&queue);
    let posters = [10, 20].map(|first| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            let posts = [first, first + 1].map(|tag| (tag, post_one(&queue, channel, tag)));
            if posts[0].1.is_err() {
                assert!(posts[1].1.is_err(), "admitted after it was refused");
            }
            let admitted = posts.into_iter().filter(|(_, outcome)| outcome.is_ok());
            admitted.map(|(tag, _)| tag).collect::<Vec<_>>()
        })
    });

    let (mut batch, mut taken) = (Vec::new(), Vec::new());
    exchange(&queue, &mut batch, |_| ());
    taken.append(&mut batch);
    close(&queue, &mut batch, channel);
    taken.append(&mut batch);
    let successor = queue.with_registry(|registry| {
        for (channel, _) in &taken {
            registry.release(*channel, COST);
        }
        registry.forget(channel);
        registry.open(GROUP, Kind::Connection).unwrap()
    });
    assert_eq!(successor.number(), channel.number(), "the number is reused");
    post(&queue, successor, TO_THE_NEW, COST).unwrap();

    let admitted = posters.map(|poster| poster.join().unwrap()).concat();
    exchange(&queue, &mut batch, |registry| {
        assert_eq!(
            registry.used(),
            COST,
            "the new channel's post alone is charged"
        );
        let stale = registry.admit(channel, GROUP, Role::Data, COST, None);
        assert_eq!(stale, Err(Denied::Closed), "a stale handle is refused");
        registry.release(successor, COST);
        registry.close(successor);
        registry.forget(successor);
        assert_eq!(registry.used(), 0, "credit ends at zero");
    });
    assert_eq!(
        batch,
        [(successor, TO_THE_NEW)],
        "only the new channel's post comes after the close"
    );
    assert!(taken.iter().all(|(to, _)| *to == channel));
    let mut taken: Vec<_> = taken.into_iter().map(|(_, tag)| tag).collect();
    taken.sort_unstable();
    let mut admitted = admitted;
    admitted.sort_unstable();
    assert_eq!(taken, admitted, "what was admitted was taken");
}

fn post_soundly(queue: &Posts, channel: Channel, tag: u32) -> Result<(), Denied> {
    post(queue, channel, tag, COST)
}

fn close_soundly(queue: &Posts, batch: &mut Vec<(Channel, u32)>, channel: Channel) {
    exchange(queue, batch, |registry| registry.close(channel));
}

#[test]
fn every_post_meets_its_own_incarnation_or_none() {
    let name = "every_post_meets_its_own_incarnation_or_none";
    proves(name, None, 1000, || {
        posts_meet_close_and_reuse(post_soundly, close_soundly);
    });
}

/// Changed: the reactor takes the batch under one lock and closes the channel under the next.
#[test]
fn canary_a_close_after_the_last_batch() {
    finds("once its messages are accounted for", None, || {
        posts_meet_close_and_reuse(post_soundly, |queue, batch, channel| {
            exchange(queue, batch, |_| ());
            queue.with_registry(|registry| registry.close(channel));
        });
    });
}

/// Changed: a post is admitted under one lock and queued under the next.
#[test]
fn canary_an_admission_apart_from_its_post() {
    finds("once its messages are accounted for", None, || {
        let post_in_two_steps = |queue: &Posts, channel, tag| {
            let admit = |registry: &mut crate::Registry, _: &mut Vec<_>| {
                registry.admit(channel, GROUP, Role::Data, COST, None)
            };
            queue.submit(admit).unwrap()?;
            queue.submit(|_, items| items.push((channel, tag))).unwrap();
            Ok(())
        };
        posts_meet_close_and_reuse(post_in_two_steps, close_soundly);
    });
}

/// Changed: the registry ignores the generation of a handle.
#[test]
fn canary_numbers_without_generations() {
    finds_always(Decision::ChannelIsMeant, true, "is charged", None, || {
        posts_meet_close_and_reuse(post_soundly, close_soundly);
    });
}

/// Two threads post to one channel more than its credit takes while the reactor sends: what is
/// charged never exceeds the credit, and is nothing in the end.
#[test]
fn credit_is_never_exceeded() {
    proves("credit_is_never_exceeded", None, 100, || {
        let queue = queue_waking(None);
        let channel = open(&queue);
        let posters = [0, 1].map(|_| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let outcomes = [0, 1].map(|tag| post(&queue, channel, tag, MESSAGE_COST_MAX));
                outcomes.iter().filter(|outcome| outcome.is_ok()).count()
            })
        });
        let mut batch = Vec::new();
        let mut sent = 0;
        let mut send = || {
            exchange(&queue, &mut batch, |registry| {
                assert!(registry.used() <= 2 * MESSAGE_COST_MAX, "over the credit");
            });
            sent += batch.len();
            let releases = batch.drain(..);
            queue.with_registry(|registry| {
                releases.for_each(|(channel, _)| registry.release(channel, MESSAGE_COST_MAX));
            });
        };
        send();
        let admitted: usize = posters.map(|poster| poster.join().unwrap()).iter().sum();
        send();
        assert_eq!(sent, admitted, "what was admitted was sent");
        assert!(admitted >= 2, "there was credit for two");
        assert_eq!(queue.with_registry(|registry| registry.used()), 0);
    });
}

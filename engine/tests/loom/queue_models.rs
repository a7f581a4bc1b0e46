//! Nothing that was posted is left behind: not by a reactor that sleeps, nor by one that ends.

use std::sync::Arc;
use std::task::Waker;

use loom::thread;

use crate::between::decision::Decision;
use crate::between::queue::Queue;
use crate::{
    Alarm, NOBODY_CAN_GO_ON, Posts, Sleeper, exchange, finds, finds_always, open, post, proves,
    queue_waking,
};

const COST: usize = 448;

/// Two threads post twice each; the reactor takes what there is, and sleeps when there is nothing.
/// It receives every post once, those of one thread in their order. The steps of a thread that
/// posts, and how the reactor finds nothing to do, are parameters.
fn posts_reach_a_reactor_that_sleeps(
    post_one: fn(&Posts, &Sleeper, crate::Channel, u32),
    take: fn(&Posts, &Sleeper, &mut Vec<(crate::Channel, u32)>),
    wakes: bool,
) {
    let sleeper = Sleeper::new();
    let queue = queue_waking(wakes.then(|| Arc::clone(&sleeper)));
    let channel = open(&queue);
    let posters = [10, 20].map(|first| {
        let (queue, sleeper) = (Arc::clone(&queue), Arc::clone(&sleeper));
        thread::spawn(move || {
            post_one(&queue, &sleeper, channel, first);
            post_one(&queue, &sleeper, channel, first + 1);
        })
    });
    let (mut batch, mut seen) = (Vec::new(), Vec::new());
    while seen.len() < 4 {
        take(&queue, &sleeper, &mut batch);
        seen.extend(batch.drain(..).map(|(_, tag)| tag));
    }
    for poster in posters {
        poster.join().unwrap();
    }
    for first in [10, 20] {
        let of_thread = seen.iter().filter(|&&tag| tag / 10 * 10 == first);
        assert!(of_thread.eq(&[first, first + 1]), "out of order: {seen:?}");
    }
}

fn post_soundly(queue: &Posts, _: &Sleeper, channel: crate::Channel, tag: u32) {
    post(queue, channel, tag, COST).unwrap();
}

fn take_or_sleep(queue: &Posts, sleeper: &Sleeper, batch: &mut Vec<(crate::Channel, u32)>) {
    exchange(queue, batch, |_| ());
    if batch.is_empty() {
        sleeper.sleep();
    }
}

#[test]
fn posts_wake_the_reactor() {
    proves("posts_wake_the_reactor", Some(3), 1000, || {
        posts_reach_a_reactor_that_sleeps(post_soundly, take_or_sleep, true);
    });
}

/// Changed: the wake comes before the post is queued.
#[test]
fn canary_a_wake_before_the_post() {
    finds(NOBODY_CAN_GO_ON, Some(3), || {
        let post_late = |queue: &Posts, sleeper: &Sleeper, channel, tag| {
            sleeper.wake();
            post(queue, channel, tag, COST).unwrap();
        };
        posts_reach_a_reactor_that_sleeps(post_late, take_or_sleep, false);
    });
}

/// Changed: the batch is never found to have been empty before, so nobody is woken for it.
#[test]
fn canary_a_batch_that_wakes_nobody() {
    finds_always(
        Decision::BatchIsDue,
        false,
        NOBODY_CAN_GO_ON,
        Some(3),
        || {
            posts_reach_a_reactor_that_sleeps(post_soundly, take_or_sleep, true);
        },
    );
}

/// The reactor has told two tasks and waits for what they post, before or after it waits; another post follows, or comes
/// between. It is woken for all of them, without patience that ends.
fn posts_of_tasks_wake_the_reactor_together() {
    let sleeper = Sleeper::new();
    let queue = queue_waking(Some(Arc::clone(&sleeper)));
    let channel = open(&queue);
    let posters = [&[10, 11][..], &[20]].map(|tags| {
        let (queue, sleeper) = (Arc::clone(&queue), Arc::clone(&sleeper));
        thread::spawn(move || {
            let post = |&tag: &u32| post_soundly(&queue, &sleeper, channel, tag);
            tags.iter().for_each(post);
        })
    });
    queue.tell([Waker::noop().clone(), Waker::noop().clone()]);
    assert!(queue.expect_posts());
    queue.wake_tasks();
    let (mut batch, mut seen) = (Vec::new(), 0);
    while seen < 3 {
        sleeper.sleep();
        exchange(&queue, &mut batch, |_| ());
        seen += batch.drain(..).count();
    }
    for poster in posters {
        poster.join().unwrap();
    }
}

#[test]
fn what_tasks_post_together_wakes_the_reactor() {
    proves(
        "what_tasks_post_together_wakes_the_reactor",
        Some(3),
        1000,
        posts_of_tasks_wake_the_reactor_together,
    );
}

/// Changed: as many posts as were waited for wake nobody.
#[test]
fn canary_what_is_waited_for_wakes_nobody() {
    finds_always(
        Decision::BatchIsDue,
        false,
        NOBODY_CAN_GO_ON,
        Some(3),
        posts_of_tasks_wake_the_reactor_together,
    );
}

/// Changed: the next batch waits for as many as the last one did.
#[test]
fn canary_more_is_waited_for_than_was_told() {
    finds_always(
        Decision::ExpectationEnds,
        false,
        NOBODY_CAN_GO_ON,
        Some(3),
        posts_of_tasks_wake_the_reactor_together,
    );
}

/// Changed: the reactor forgets the wakes that came while it was looking.
#[test]
fn canary_a_reactor_that_forgets_wakes() {
    finds(NOBODY_CAN_GO_ON, Some(3), || {
        let take_and_forget = |queue: &Posts, sleeper: &Sleeper, batch: &mut Vec<_>| {
            exchange(queue, batch, |_| ());
            if batch.is_empty() {
                *crate::sync::lock(&sleeper.is_awake) = false;
                sleeper.sleep();
            }
        };
        posts_reach_a_reactor_that_sleeps(post_soundly, take_and_forget, true);
    });
}

/// Two threads post while the reactor ends: each post is either refused or handed back by the end,
/// and none is accepted after it.
fn posts_meet_the_end(end: fn(&Queue<Vec<u32>, &'static str>) -> Vec<u32>) {
    let registry = crate::Registry::new(crate::Credit {
        channel: usize::MAX,
        engine: usize::MAX,
    });
    let queue = Arc::new(Queue::new(registry, Box::new(Alarm(None))));
    let posters = [1, 2].map(|tag| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            let posted = queue.submit(|_, items: &mut Vec<u32>| items.push(tag));
            posted.err().map_or(vec![tag], |reason| {
                assert_eq!(reason, "stopped");
                Vec::new()
            })
        })
    });
    let taken = end(&queue);
    let mut accepted = posters.map(|poster| poster.join().unwrap()).concat();
    let mut left = Vec::new();
    exchange(&queue, &mut left, |_| ());
    assert!(left.is_empty(), "{left:?} was accepted after the end");
    let mut taken = taken;
    accepted.sort_unstable();
    taken.sort_unstable();
    assert_eq!(taken, accepted, "what was accepted is handed back");
}

#[test]
fn the_end_hands_back_every_post() {
    proves("the_end_hands_back_every_post", None, 6, || {
        posts_meet_the_end(|queue| {
            let mut batch = Vec::new();
            exchange(queue, &mut batch, |_| ());
            batch.append(&mut queue.end("stopped"));
            batch
        });
    });
}

/// Changed: the batch is taken in a step before the end, and nothing is expected of the end.
#[test]
fn canary_an_end_after_the_last_batch() {
    finds("what was accepted is handed back", None, || {
        posts_meet_the_end(|queue| {
            let mut batch = Vec::new();
            exchange(queue, &mut batch, |_| ());
            queue.end("stopped");
            batch
        });
    });
}

/// Two threads post once each, and the one that is first to wake the reactor is put to sleep before
/// it does, until the reactor has both posts.
fn a_thread_sleeps_behind_its_post() {
    struct Sleepy {
        reactor: Arc<Sleeper>,
        has_slept: loom::sync::atomic::AtomicBool,
        thread: Arc<Sleeper>,
    }
    impl crate::Wake for Sleepy {
        fn wake(&self) {
            if !self
                .has_slept
                .swap(true, loom::sync::atomic::Ordering::AcqRel)
            {
                self.thread.sleep();
            }
            self.reactor.wake();
        }
    }
    let (reactor, sleepy) = (Sleeper::new(), Sleeper::new());
    let waker = Sleepy {
        reactor: Arc::clone(&reactor),
        has_slept: loom::sync::atomic::AtomicBool::new(false),
        thread: Arc::clone(&sleepy),
    };
    let registry = crate::Registry::new(crate::Credit {
        channel: usize::MAX,
        engine: usize::MAX,
    });
    let queue = Arc::new(Queue::<Vec<u32>, ()>::new(registry, Box::new(waker)));
    let posters = [1, 2].map(|tag| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || queue.submit(|_, items| items.push(tag)).unwrap())
    });
    let (mut batch, mut seen) = (Vec::new(), Vec::new());
    while seen.len() < 2 {
        exchange(&queue, &mut batch, |_| ());
        if batch.is_empty() {
            reactor.sleep();
        }
        seen.append(&mut batch);
    }
    sleepy.wake();
    for poster in posters {
        poster.join().unwrap();
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes long: with --release")]
fn a_thread_that_sleeps_behind_its_post_delays_no_others() {
    let name = "a_thread_that_sleeps_behind_its_post_delays_no_others";
    proves(name, None, 100, a_thread_sleeps_behind_its_post);
}

/// Changed: who finds a post in the batch leaves the wake to whoever posted it.
#[test]
fn canary_a_wake_that_is_left_to_the_first() {
    finds_always(
        Decision::WakeIsOutstanding,
        false,
        NOBODY_CAN_GO_ON,
        None,
        a_thread_sleeps_behind_its_post,
    );
}

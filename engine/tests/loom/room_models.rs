//! Who was refused for want of credit is told of room, once for each time, and never forgotten.

use std::sync::Arc;

use loom::thread;

use crate::between::decision::Decision;
use crate::between::key::GroupPlace;
use crate::between::registry::{Denied, GroupId, Kind, Registry};
use crate::channel::Channel;
use crate::storage::{Creditor, Hold, MESSAGE_COST_MAX};
use crate::{
    NOBODY_CAN_GO_ON, Posts, Sleeper, exchange, finds, finds_always, open, post, post_by, proves,
    queue_waking,
};

/// Posts until admitted, each time waiting to be told of room. Returns how often it was refused.
fn post_with_patience(queue: &Posts, room: &Sleeper, channel: Channel, tag: u32) -> usize {
    let mut refused = 0;
    while let Err(why) = post(queue, channel, tag, MESSAGE_COST_MAX) {
        assert!(matches!(why, Denied::ChannelFull | Denied::EngineFull));
        refused += 1;
        room.sleep();
        take_room(queue, channel);
    }
    refused
}

/// Takes the event as an inbox does.
fn take_room(queue: &Posts, channel: Channel) {
    if queue.with_registry(|registry| registry.room_taken(channel)) {
        queue.wake();
    }
}

type Settle = fn(&mut Registry, &mut Vec<Channel>, &mut Vec<Channel>);

/// The order that the engine keeps: credit is given back, and then room is looked for.
fn settle_soundly(registry: &mut Registry, sent: &mut Vec<Channel>, told: &mut Vec<Channel>) {
    for channel in sent.drain(..) {
        registry.release(channel, MESSAGE_COST_MAX);
    }
    registry.take_room(told);
}

/// Each of the threads posts its messages to a channel of its own, waiting for room when refused.
/// The engine has credit for two messages. The reactor sends each batch and gives its credit back
/// with the next exchange; it sleeps when it has nothing to do.
fn posters_wait_for_room<const THREADS: usize>(posts_each: usize, settle: Settle) {
    let sleeper = Sleeper::new();
    let queue = queue_waking(Some(Arc::clone(&sleeper)));
    let posters: [_; THREADS] = std::array::from_fn(|_| {
        let (queue, room) = (Arc::clone(&queue), Sleeper::new());
        let channel = open(&queue);
        let patient = Arc::clone(&room);
        let poster = thread::spawn(move || {
            (0..posts_each)
                .map(|_| post_with_patience(&queue, &patient, channel, 0))
                .sum::<usize>()
        });
        (channel, room, poster)
    });

    let (mut batch, mut told, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    let (mut count, mut told_count) = (0, [0; THREADS]);
    loop {
        exchange(&queue, &mut batch, |registry| {
            assert!(registry.used() <= 2 * MESSAGE_COST_MAX, "over the credit");
            settle(registry, &mut sent, &mut told);
        });
        for channel in told.drain(..) {
            let at = posters.iter().position(|(of, ..)| *of == channel).unwrap();
            told_count[at] += 1;
            posters[at].1.wake();
        }
        count += batch.len();
        sent.extend(batch.drain(..).map(|(channel, _)| channel));
        if !sent.is_empty() {
            continue; // the reactor does not sleep on credit to be given back
        }
        if count == THREADS * posts_each {
            break;
        }
        sleeper.sleep();
    }
    for ((_, _, poster), told) in posters.into_iter().zip(told_count) {
        let refused = poster.join().unwrap();
        assert_eq!(told, refused, "told once for each refusal");
    }
}

#[test]
fn a_channel_at_its_limit_is_told_of_room() {
    let name = "a_channel_at_its_limit_is_told_of_room";
    proves(name, Some(3), 100, || {
        posters_wait_for_room::<1>(4, settle_soundly);
    });
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes long: with --release")]
fn channels_at_the_engines_limit_are_told_of_room() {
    let name = "channels_at_the_engines_limit_are_told_of_room";
    proves(name, Some(3), 1000, || {
        posters_wait_for_room::<2>(2, settle_soundly);
    });
}

/// Changed: room is looked for before credit is given back.
#[test]
fn canary_room_before_release() {
    finds(NOBODY_CAN_GO_ON, Some(2), || {
        posters_wait_for_room::<1>(4, |registry, sent, told| {
            registry.take_room(told);
            for channel in sent.drain(..) {
                registry.release(channel, MESSAGE_COST_MAX);
            }
        });
    });
}

/// Changed: the registry does not note whom it refused.
#[test]
fn canary_refusals_that_are_not_noted() {
    finds_always(
        Decision::RefusalIsNoted,
        false,
        NOBODY_CAN_GO_ON,
        Some(2),
        || {
            posters_wait_for_room::<2>(2, settle_soundly);
        },
    );
}

/// Gives back as the engine does, and wakes the reactor as it is told to.
struct Creditors {
    queue: Arc<Posts>,
    wakes: bool,
}

impl Creditor for Creditors {
    fn release(&self, cost: usize) {
        let wake = self.queue.with_registry(|registry| {
            registry.release_group(self.group(), cost);
            registry.room_is_wanted()
        });
        if wake && self.wakes {
            self.queue.wake();
        }
    }

    fn group(&self) -> GroupPlace {
        GroupPlace(0)
    }
}

/// The application holds messages that were returned, and they are all of the engine's credit. One
/// thread drops them while another posts, waiting for room; the reactor has nothing else to do.
fn a_poster_waits_for_returned_messages(wakes: bool) {
    let sleeper = Sleeper::new();
    let queue = queue_waking(Some(Arc::clone(&sleeper)));
    let (ended, channel) = (open(&queue), open(&queue));
    let mut batch = Vec::new();
    let holds = [0, 1].map(|tag| {
        post(&queue, ended, tag, MESSAGE_COST_MAX).unwrap();
        queue.with_registry(|registry| registry.release_channel(ended, MESSAGE_COST_MAX));
        let queue = Arc::clone(&queue);
        Hold::new(Creditors { queue, wakes }.shared(), MESSAGE_COST_MAX)
    });
    exchange(&queue, &mut batch, |_| ());
    batch.clear();
    sleeper.sleep(); // the wake that came with the posts to the channel that ended

    let dropper = thread::spawn(move || drop(holds));
    let room = Sleeper::new();
    let poster = thread::spawn({
        let (queue, room) = (Arc::clone(&queue), Arc::clone(&room));
        move || post_with_patience(&queue, &room, channel, 9)
    });
    let (mut told, mut told_count) = (Vec::new(), 0);
    loop {
        exchange(&queue, &mut batch, |registry| registry.take_room(&mut told));
        for _ in told.drain(..) {
            told_count += 1;
            room.wake();
        }
        if !batch.is_empty() {
            break;
        }
        sleeper.sleep();
    }
    let refused = poster.join().unwrap();
    dropper.join().unwrap();
    assert_eq!(told_count, refused, "told once for each refusal");
    queue.with_registry(|registry| {
        registry.release(channel, MESSAGE_COST_MAX);
        assert_eq!(registry.used(), 0, "credit ends at zero");
    });
}

#[test]
fn dropping_what_was_returned_tells_of_room() {
    let name = "dropping_what_was_returned_tells_of_room";
    proves(name, Some(3), 100, || {
        a_poster_waits_for_returned_messages(true);
    });
}

/// Changed: giving back to the engine's credit does not wake the reactor.
#[test]
fn canary_returned_messages_that_wake_nobody() {
    finds(NOBODY_CAN_GO_ON, None, || {
        a_poster_waits_for_returned_messages(false);
    });
}

/// The engine's credit is held for ever by messages that were returned to another group. Two threads
/// post to channels of a group that has a reserve of one message, each waiting for room when refused.
fn posters_share_their_groups_reserve(settle: Settle) {
    const OTHER: GroupId = 8;
    let sleeper = Sleeper::new();
    let queue = queue_waking(Some(Arc::clone(&sleeper)));
    let keeper = open(&queue);
    let channels = queue.with_registry(|registry| {
        registry.open_group(OTHER, MESSAGE_COST_MAX);
        [(); 2].map(|()| registry.open(OTHER, Kind::Connection).unwrap())
    });
    for tag in [0, 1] {
        post(&queue, keeper, tag, MESSAGE_COST_MAX).unwrap();
        queue.with_registry(|registry| registry.release_channel(keeper, MESSAGE_COST_MAX));
    }
    let (mut batch, mut told, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    exchange(&queue, &mut batch, |_| ());
    batch.clear();
    sleeper.sleep(); // the wake that came with the posts of the other group
    let posters = channels.map(|channel| {
        let (queue, room) = (Arc::clone(&queue), Sleeper::new());
        let patient = Arc::clone(&room);
        let poster = thread::spawn(move || {
            let post_it = || post_by(&queue, OTHER, channel, 0, MESSAGE_COST_MAX);
            while post_it().is_err() {
                patient.sleep();
                take_room(&queue, channel);
            }
        });
        (channel, room, poster)
    });
    let mut count = 0;
    loop {
        exchange(&queue, &mut batch, |registry| {
            assert!(registry.used() <= 3 * MESSAGE_COST_MAX, "over the credit");
            settle(registry, &mut sent, &mut told);
        });
        for channel in told.drain(..) {
            let of = posters.iter().find(|(of, ..)| *of == channel);
            of.unwrap().1.wake();
        }
        count += batch.len();
        sent.extend(batch.drain(..).map(|(channel, _)| channel));
        if !sent.is_empty() {
            continue; // the reactor does not sleep on credit to be given back
        }
        if count == channels.len() {
            break;
        }
        sleeper.sleep();
    }
    for (_, _, poster) in posters {
        poster.join().unwrap();
    }
}

#[test]
fn a_poster_is_told_of_its_groups_reserve() {
    let name = "a_poster_is_told_of_its_groups_reserve";
    proves(name, Some(3), 100, || {
        posters_share_their_groups_reserve(settle_soundly);
    });
}

/// Changed: who is refused waits for the shared part alone.
#[test]
fn canary_a_reserve_that_nobody_is_told_of() {
    finds_always(
        Decision::ReserveIsRoom,
        false,
        NOBODY_CAN_GO_ON,
        Some(2),
        || posters_share_their_groups_reserve(settle_soundly),
    );
}

/// Two threads are refused, and want room for the largest message. There comes room for one; who is
/// told first has nothing to post any more. The reactor sleeps when it has nothing to do, and for a
/// while when it has promised what somebody else waits for.
fn a_promise_is_not_kept(lapses: bool) {
    let sleeper = Sleeper::new();
    let queue = queue_waking(Some(Arc::clone(&sleeper)));
    let holder = open(&queue);
    for tag in [0, 1] {
        post(&queue, holder, tag, MESSAGE_COST_MAX).unwrap();
    }
    let posters = [2, 3].map(|tag| {
        let (queue, room) = (Arc::clone(&queue), Sleeper::new());
        let (channel, patient) = (open(&queue), Arc::clone(&room));
        let poster = thread::spawn(move || {
            if post(&queue, channel, tag, MESSAGE_COST_MAX).is_err() {
                patient.sleep();
                take_room(&queue, channel);
            }
        });
        (channel, room, poster)
    });
    let (mut batch, mut told, mut sent) = (Vec::new(), Vec::new(), vec![holder]);
    let (mut is_done, mut are_over) = ([false; 2], false);
    while is_done != [true; 2] {
        let is_wanted = exchange(&queue, &mut batch, |registry| {
            for channel in sent.drain(..) {
                registry.release(channel, MESSAGE_COST_MAX);
            }
            if std::mem::take(&mut are_over) {
                registry.lapse_promises();
            }
            registry.take_room(&mut told);
            registry.room_is_wanted()
        });
        let posted = batch.drain(..).map(|(channel, _): (Channel, u32)| channel);
        sent.extend(posted.filter(|&channel| channel != holder));
        for &channel in told.iter().chain(&sent) {
            let at = posters.iter().position(|(of, ..)| *of == channel).unwrap();
            is_done[at] = true;
            posters[at].1.wake();
        }
        told.clear();
        if is_wanted && lapses {
            are_over = true; // the while has passed
        } else if sent.is_empty() && is_done != [true; 2] {
            sleeper.sleep();
        }
    }
    for (_, _, poster) in posters {
        poster.join().unwrap();
    }
}

#[test]
fn a_promise_that_is_not_kept_holds_nobody_up() {
    let name = "a_promise_that_is_not_kept_holds_nobody_up";
    proves(name, Some(3), 50, || a_promise_is_not_kept(true));
}

/// Changed: promises do not lapse.
#[test]
fn canary_a_promise_that_does_not_lapse() {
    finds(NOBODY_CAN_GO_ON, Some(3), || a_promise_is_not_kept(false));
}

//! Who is told of room, and when.

use std::task::{Poll, Waker};

use crate::between::key::GroupPlace;
use crate::between::registry::{Credit, Denied, RESERVE, RESERVE_FOR_DATA, Registry, Role};
use crate::channel::Channel;
use crate::storage::{SMALLEST_COST, cost_of};

use super::registry::{CREDIT, GROUP, LARGEST, connection, end, post, registry, with_groups};

pub(super) fn admit(registry: &mut Registry, channel: Channel, cost: usize) -> Result<(), Denied> {
    registry.admit(channel, GROUP, Role::Data, cost, None)
}

/// A registry whose credit is used up, and the channels that have used it, one for each message.
fn used_up(credit: Credit) -> (Registry, Vec<Channel>) {
    let mut registry = with_groups(Registry::new(credit));
    let mut holders = Vec::new();
    while registry.used() + LARGEST <= credit.engine {
        let channel = connection(&mut registry);
        admit(&mut registry, channel, LARGEST).unwrap();
        holders.push(channel);
    }
    let rest = credit.engine - registry.used();
    if rest > 0 {
        let channel = connection(&mut registry);
        admit(&mut registry, channel, rest).unwrap();
    }
    assert_eq!(registry.used(), credit.engine);
    (registry, holders)
}

fn told_and_unread(registry: &mut Registry) -> Vec<Channel> {
    let mut told = Vec::new();
    registry.take_room(&mut told);
    told
}

/// Told, to an application that takes every Room at once.
pub(super) fn told(registry: &mut Registry) -> Vec<Channel> {
    let told = told_and_unread(registry);
    for &channel in &told {
        assert!(!registry.room_taken(channel), "it was refused just now");
    }
    told
}

#[test]
fn room_is_told_once_half_of_the_channels_credit_is_used() {
    let mut registry = registry();
    let channel = connection(&mut registry);
    for _ in 0..4 {
        post(&mut registry, channel, Role::Data).unwrap();
    }
    assert_eq!(told(&mut registry), [], "nobody was refused");
    for _ in 0..3 {
        let denied = post(&mut registry, channel, Role::Data);
        assert_eq!(denied, Err(Denied::ChannelFull));
    }
    registry.release(channel, LARGEST);
    assert_eq!(told(&mut registry), [], "three quarters are used");
    registry.release(channel, LARGEST);
    assert_eq!(told(&mut registry), [channel], "half is used");
    registry.release(channel, LARGEST);
    assert_eq!(told(&mut registry), [], "told already");
    for _ in 0..3 {
        post(&mut registry, channel, Role::Data).unwrap();
    }
    post(&mut registry, channel, Role::Data).unwrap_err();
    for _ in 0..4 {
        registry.release(channel, LARGEST);
    }
    assert_eq!(told(&mut registry), [channel], "refused again, told again");
}

/// An application that posts and never receives finds one Room for each channel in its inbox.
#[test]
fn there_is_no_second_room_before_the_first_was_taken() {
    let mut registry = registry();
    let channel = connection(&mut registry);
    let refused_and_sent = |registry: &mut Registry| {
        for _ in 0..4 {
            post(registry, channel, Role::Data).unwrap();
        }
        post(registry, channel, Role::Data).unwrap_err();
        for _ in 0..4 {
            registry.release(channel, LARGEST);
        }
    };
    refused_and_sent(&mut registry);
    assert_eq!(told_and_unread(&mut registry), [channel]);
    for _ in 0..100 {
        refused_and_sent(&mut registry);
        assert_eq!(told_and_unread(&mut registry), [], "the first lies there");
    }
    assert!(registry.room_taken(channel), "it was refused since");
    assert_eq!(told_and_unread(&mut registry), [channel]);
    assert!(!registry.room_taken(channel));
    assert_eq!(told_and_unread(&mut registry), [], "nothing since");

    // Taken while there is no room, it is told when there is.
    refused_and_sent(&mut registry);
    assert_eq!(told_and_unread(&mut registry), [channel]);
    for _ in 0..4 {
        post(&mut registry, channel, Role::Data).unwrap();
    }
    post(&mut registry, channel, Role::Data).unwrap_err();
    assert!(!registry.room_taken(channel), "there is none to tell of");
    for _ in 0..2 {
        registry.release(channel, LARGEST);
    }
    assert_eq!(told_and_unread(&mut registry), [channel]);
}

#[test]
fn a_room_that_is_taken_after_its_channel_ended_changes_nothing() {
    let mut registry = with_groups(Registry::with_quarantine(CREDIT, 0));
    let before = connection(&mut registry);
    for _ in 0..4 {
        post(&mut registry, before, Role::Data).unwrap();
    }
    post(&mut registry, before, Role::Data).unwrap_err();
    for _ in 0..4 {
        registry.release(before, LARGEST);
    }
    assert_eq!(told_and_unread(&mut registry), [before]);
    end(&mut registry, before);
    let after = connection(&mut registry);
    assert_eq!(after.number(), before.number());
    for _ in 0..4 {
        post(&mut registry, after, Role::Data).unwrap();
    }
    post(&mut registry, after, Role::Data).unwrap_err();
    for _ in 0..4 {
        registry.release(after, LARGEST);
    }
    assert_eq!(told_and_unread(&mut registry), [after], "none is unread");
    for _ in 0..4 {
        post(&mut registry, after, Role::Data).unwrap();
    }
    post(&mut registry, after, Role::Data).unwrap_err();
    for _ in 0..4 {
        registry.release(after, LARGEST);
    }
    assert!(!registry.room_taken(before));
    assert_eq!(told_and_unread(&mut registry), [], "its own is unread");
}

#[test]
fn room_is_not_told_to_a_channel_that_used_it_up_meanwhile() {
    let mut registry = registry();
    let [refused, other] = [(); 2].map(|()| connection(&mut registry));
    for _ in 0..4 {
        post(&mut registry, other, Role::Data).unwrap();
    }
    post(&mut registry, refused, Role::Data).unwrap();
    post(&mut registry, refused, Role::Data).unwrap();
    post(&mut registry, refused, Role::Data).unwrap_err();
    for _ in 0..4 {
        registry.release(other, LARGEST);
    }
    post(&mut registry, refused, Role::Data).unwrap();
    assert_eq!(told(&mut registry), [], "it has used three quarters by now");
    registry.release(refused, LARGEST);
    assert_eq!(told(&mut registry), [refused]);
}

/// Were the engine's room a share of its credit, peers that never read, or messages that the
/// application keeps, could hold that share for ever, and nobody else would be told again.
#[test]
fn room_is_told_though_most_of_the_engines_credit_is_stuck() {
    let mut registry = registry();
    let [stuck, busy, refused] = [(); 3].map(|()| connection(&mut registry));
    for _ in 0..4 {
        post(&mut registry, stuck, Role::Data).unwrap();
    }
    for _ in 0..2 {
        post(&mut registry, busy, Role::Data).unwrap();
    }
    post(&mut registry, refused, Role::Data).unwrap_err();
    assert!(!registry.room_is_wanted(), "there is none to tell of");
    registry.release_channel(busy, LARGEST);
    assert_eq!(told(&mut registry), [], "returned, and held");
    registry.release_group(GroupPlace(0), LARGEST);
    assert!(registry.room_is_wanted());
    assert_eq!(told(&mut registry), [refused]);
    assert!(!registry.room_is_wanted());
    post(&mut registry, refused, Role::Data).unwrap();
}

#[test]
fn no_sequence_of_refusals_lines_a_number_up_twice() {
    let mut registry = with_groups(Registry::with_quarantine(CREDIT, 0));
    let [stuck, also] = [(); 2].map(|()| connection(&mut registry));
    for channel in [stuck, stuck, stuck, also, also, also] {
        post(&mut registry, channel, Role::Data).unwrap();
    }
    // Connections that are refused their first message end at once, and the next take their number.
    for _ in 0..100 {
        let refused = connection(&mut registry);
        post(&mut registry, refused, Role::Data).unwrap_err();
        assert_eq!(registry.lined_up(), 1);
        end(&mut registry, refused);
        assert_eq!(registry.lined_up(), 0, "who has ended stands nowhere");
    }
    registry.release(also, LARGEST);
    assert_eq!(told(&mut registry), [], "none of them is there any more");
    assert_eq!(registry.lined_up(), 0);
    post(&mut registry, also, Role::Data).unwrap();

    // One that crosses half of its credit again and again while the engine has no room.
    let waits = connection(&mut registry);
    post(&mut registry, waits, Role::Data).unwrap_err();
    let (half, little) = (CREDIT.channel / 2, 448);
    registry.release(stuck, 3 * LARGEST);
    registry
        .admit(waits, GROUP, Role::Data, half, None)
        .unwrap();
    registry
        .admit(stuck, GROUP, Role::Data, LARGEST - little, None)
        .unwrap();
    for _ in 0..100 {
        registry
            .admit(waits, GROUP, Role::Data, little, None)
            .unwrap();
        registry.release(waits, little);
        assert_eq!(registry.lined_up(), 1);
    }
}

#[test]
fn a_successor_is_not_told_for_its_predecessor() {
    let mut registry = with_groups(Registry::with_quarantine(CREDIT, 0));
    let [stuck, also] = [(); 2].map(|()| connection(&mut registry));
    for channel in [stuck, stuck, stuck, also, also, also] {
        post(&mut registry, channel, Role::Data).unwrap();
    }
    let before = connection(&mut registry);
    post(&mut registry, before, Role::Data).unwrap_err();
    end(&mut registry, before);
    let after = connection(&mut registry);
    assert_eq!(after.number(), before.number());
    registry.release(also, LARGEST);
    assert_eq!(told(&mut registry), [], "it was never refused");
    post(&mut registry, also, Role::Data).unwrap();
    post(&mut registry, after, Role::Data).unwrap_err();
    registry.release(also, LARGEST);
    assert_eq!(told(&mut registry), [after]);
}

/// Each of a thousand channels wants to send one large message. As many are told as there is room
/// for, not all of them for each message that is sent.
#[test]
fn a_thousand_channels_that_want_room_are_told_a_thousand_times() {
    const CHANNELS: usize = 1000;
    let credit = Credit {
        channel: 2 * LARGEST,
        engine: 64 << 20,
    };
    let (mut registry, mut queued) = used_up(credit);
    queued.reverse();
    let wanting: Vec<_> = (0..CHANNELS).map(|_| connection(&mut registry)).collect();
    for &channel in &wanting {
        post(&mut registry, channel, Role::Data).unwrap_err();
    }
    let (mut rooms, mut posted) = (0, Vec::new());
    while posted.len() < CHANNELS {
        let sent = queued.pop().expect("nobody is forgotten");
        registry.release(sent, LARGEST);
        for channel in told(&mut registry) {
            rooms += 1;
            if post(&mut registry, channel, Role::Data).is_ok() {
                posted.push(channel);
                queued.insert(0, channel);
            }
        }
    }
    assert_eq!(rooms, CHANNELS);
    assert_eq!(posted, wanting, "in the order in which they were refused");
}

#[test]
fn room_that_is_told_of_is_promised_until_its_channel_posts() {
    let (mut registry, holders) = used_up(CREDIT);
    let [first, second, third] = [(); 3].map(|()| connection(&mut registry));
    for channel in [first, second, third] {
        post(&mut registry, channel, Role::Data).unwrap_err();
    }
    registry.release(holders[0], LARGEST);
    assert_eq!(told(&mut registry), [first]);
    assert!(registry.room_is_wanted(), "it is there, and is promised");
    assert_eq!(told(&mut registry), [], "it is promised to the first");
    post(&mut registry, first, Role::Data).unwrap();
    assert!(!registry.room_is_wanted(), "it is used");
    registry.release(holders[1], LARGEST);
    assert_eq!(told(&mut registry), [second]);

    // Who is told and ends leaves the room to the next.
    assert_eq!(told(&mut registry), []);
    registry.close(second);
    assert_eq!(told(&mut registry), [third]);
}

/// Not everybody who is told has still something to post.
#[test]
fn promises_lapse() {
    let (mut registry, holders) = used_up(CREDIT);
    let [first, second] = [(); 2].map(|()| connection(&mut registry));
    for channel in [first, second] {
        post(&mut registry, channel, Role::Data).unwrap_err();
    }
    registry.release(holders[0], LARGEST);
    assert_eq!(told(&mut registry), [first]);
    assert_eq!(told(&mut registry), []);
    registry.lapse_promises();
    assert_eq!(told(&mut registry), [second]);
    // A promise of before is nothing that could be given back twice.
    post(&mut registry, first, Role::Data).unwrap();
    assert_eq!(registry.promised(), LARGEST);
    end_all(&mut registry, &[second]);
    assert_eq!(registry.promised(), 0);
}

fn end_all(registry: &mut Registry, channels: &[Channel]) {
    channels.iter().for_each(|&channel| end(registry, channel));
}

#[test]
fn who_wants_little_is_told_when_little_is_free() {
    let (mut registry, holders) = used_up(CREDIT);
    let small = cost_of(16 << 10);
    let [large, little, also] = [(); 3].map(|()| connection(&mut registry));
    post(&mut registry, large, Role::Data).unwrap_err();
    admit(&mut registry, little, small).unwrap_err();
    admit(&mut registry, little, LARGEST).unwrap_err();
    admit(&mut registry, also, small).unwrap_err();
    registry.release(holders[0], small);
    assert_eq!(told(&mut registry), [little], "for the least that it wants");
    registry.release(holders[0], small);
    assert_eq!(told(&mut registry), [also]);
    registry.release(holders[0], LARGEST - 2 * small);
    assert_eq!(told(&mut registry), [], "the rest was promised to others");
    registry.release(holders[1], LARGEST);
    assert_eq!(told(&mut registry), [large]);
}

#[test]
fn no_budget_of_others_denies_a_channel_its_reserve() {
    let (mut registry, holders) = used_up(CREDIT);
    let channel = connection(&mut registry);
    let mut count = 0;
    while admit(&mut registry, channel, SMALLEST_COST) == Ok(()) {
        count += 1;
    }
    assert_eq!(count, RESERVE_FOR_DATA / SMALLEST_COST);
    let denied = admit(&mut registry, channel, SMALLEST_COST);
    assert_eq!(denied, Err(Denied::EngineFull));
    for role in [Role::ByeRequest, Role::ByeResponse] {
        let goodbye = registry.admit(channel, GROUP, role, SMALLEST_COST, None);
        assert_eq!(goodbye, Ok(()), "the rest is for goodbyes");
    }
    let beyond = registry.used() - CREDIT.engine;
    assert!(beyond <= RESERVE, "{beyond} is more than the reserve");

    // What is queued beyond the reserve has no part in it.
    let denied = admit(&mut registry, holders[0], SMALLEST_COST);
    assert_eq!(denied, Err(Denied::EngineFull));
    let large = connection(&mut registry);
    let denied = admit(&mut registry, large, RESERVE_FOR_DATA + 1);
    assert_eq!(denied, Err(Denied::EngineFull));
    assert_eq!(admit(&mut registry, large, RESERVE_FOR_DATA), Ok(()));
}

#[test]
fn who_has_its_reserve_back_is_told_though_the_engine_has_no_room() {
    let (mut registry, _holders) = used_up(CREDIT);
    let channel = connection(&mut registry);
    let count = RESERVE_FOR_DATA / SMALLEST_COST;
    for _ in 0..count {
        admit(&mut registry, channel, SMALLEST_COST).unwrap();
    }
    admit(&mut registry, channel, SMALLEST_COST).unwrap_err();
    assert_eq!(told(&mut registry), []);
    registry.release(channel, SMALLEST_COST);
    assert_eq!(told(&mut registry), [channel]);
    assert_eq!(registry.promised(), 0, "its own is not promised");
    admit(&mut registry, channel, SMALLEST_COST).unwrap();
}

#[test]
fn whoever_has_stood_longest_is_told_first_whatever_it_wants() {
    let (mut registry, holders) = used_up(CREDIT);
    let [large, little] = [(); 2].map(|()| connection(&mut registry));
    post(&mut registry, large, Role::Data).unwrap_err();
    admit(&mut registry, little, cost_of(16 << 10)).unwrap_err();
    registry.release(holders[0], LARGEST);
    registry.release(holders[1], LARGEST);
    assert_eq!(told(&mut registry), [large, little]);
}

/// What it lined up for is not within its reserve any more when its turn comes.
#[test]
fn who_uses_its_reserve_meanwhile_waits_for_the_engines_room() {
    let (mut registry, holders) = used_up(CREDIT);
    let channel = connection(&mut registry);
    for _ in 0..RESERVE_FOR_DATA / SMALLEST_COST {
        admit(&mut registry, channel, SMALLEST_COST).unwrap();
    }
    admit(&mut registry, channel, SMALLEST_COST).unwrap_err();
    registry.release(channel, SMALLEST_COST);
    admit(&mut registry, channel, SMALLEST_COST).unwrap();
    assert_eq!(told(&mut registry), []);
    registry.release(holders[0], LARGEST);
    assert_eq!(told(&mut registry), [channel]);
}

#[test]
fn who_is_refused_more_than_it_was_promised_gives_that_back() {
    let (mut registry, holders) = used_up(CREDIT);
    let small = cost_of(16 << 10);
    let [first, second] = [(); 2].map(|()| connection(&mut registry));
    admit(&mut registry, first, small).unwrap_err();
    registry.release(holders[0], small);
    assert_eq!(told(&mut registry), [first]);
    admit(&mut registry, second, LARGEST).unwrap_err();
    admit(&mut registry, second, small + 1).unwrap_err();
    admit(&mut registry, first, LARGEST).unwrap_err();
    assert_eq!(registry.promised(), 0);
}

/// A task waits for what was refused when it began to, whatever others are refused meanwhile.
#[test]
fn a_task_waits_for_the_message_that_it_was_refused() {
    let (mut registry, holders) = used_up(CREDIT);
    let channel = connection(&mut registry);
    admit(&mut registry, channel, cost_of(16 << 10)).unwrap_err();
    let mut task = None;
    let mut poll = |registry: &mut Registry| {
        let waker = &mut Some(Waker::noop().clone());
        registry.poll_room(channel, GROUP, &mut task, waker)
    };
    assert_eq!(poll(&mut registry), Poll::Pending);
    post(&mut registry, channel, Role::Data).unwrap_err();
    registry.release(holders[0], cost_of(16 << 10));
    assert_eq!(poll(&mut registry), Poll::Ready(Ok(())));
}

/// What the engine's credit is used up for does not matter then.
#[test]
fn who_wants_exactly_what_its_reserve_takes_waits_for_nobody() {
    let (mut registry, _) = used_up(CREDIT);
    let channel = connection(&mut registry);
    admit(&mut registry, channel, RESERVE_FOR_DATA).unwrap();
    assert_eq!(admit(&mut registry, channel, 1000), Err(Denied::EngineFull));
    assert_eq!(told(&mut registry), []);
    registry.release(channel, 1000);
    assert_eq!(told(&mut registry), [channel]);
    assert_eq!(admit(&mut registry, channel, 1000), Ok(()));
}

/// What it posts meanwhile may be what its reserve had for it.
#[test]
fn who_has_used_its_reserve_before_it_was_told_waits_for_the_engine() {
    let (mut registry, holders) = used_up(CREDIT);
    let channel = connection(&mut registry);
    admit(&mut registry, channel, RESERVE_FOR_DATA - 1000).unwrap();
    assert_eq!(admit(&mut registry, channel, 2000), Err(Denied::EngineFull));
    registry.release(channel, 3000);
    admit(&mut registry, channel, 3000).unwrap();
    assert_eq!(told(&mut registry), []);
    registry.release(holders[0], LARGEST);
    assert_eq!(told(&mut registry), [channel]);
}

/// Though who stands in a line is told of room for the most that those in it want.
#[test]
fn a_task_finds_room_that_is_just_enough() {
    let wanted = cost_of(20_000);
    let mut registry = with_groups(Registry::new(CREDIT));
    let [first, second, own] = [(); 3].map(|()| connection(&mut registry));
    for channel in [first, first, first, second, second] {
        admit(&mut registry, channel, LARGEST).unwrap();
    }
    let free = CREDIT.engine - 5 * LARGEST;
    admit(&mut registry, second, free - wanted + 1).unwrap();
    assert_eq!(admit(&mut registry, own, wanted), Err(Denied::EngineFull));
    let waker = || Some(Waker::noop().clone());
    let mut task = None;
    let mut poll =
        |registry: &mut Registry| registry.poll_room(own, GROUP, &mut task, &mut waker());
    assert_eq!(poll(&mut registry), Poll::Pending);
    registry.release(second, 1);
    assert_eq!(poll(&mut registry), Poll::Ready(Ok(())));
    admit(&mut registry, own, wanted).unwrap();
}

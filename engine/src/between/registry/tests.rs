use std::collections::HashSet;

use crate::between::key::GroupPlace;
use crate::between::registry::{Credit, Denied, GroupId, Holding, Kind, Registry, Role};
use crate::channel::Channel;
use crate::storage::{MESSAGE_COST_MAX, SMALLEST_COST};

pub(super) const GROUP: GroupId = 1;
const OTHER: GroupId = 2;

/// Room for four of the largest messages in a channel, and for six in the engine.
pub(super) const CREDIT: Credit = Credit {
    channel: 4 * MESSAGE_COST_MAX,
    engine: 6 * MESSAGE_COST_MAX,
};

pub(super) const LARGEST: usize = MESSAGE_COST_MAX;

pub(super) fn registry() -> Registry {
    with_groups(Registry::new(CREDIT))
}

/// The same with groups that are open.
pub(super) fn with_groups(mut registry: Registry) -> Registry {
    for group in [GROUP, OTHER] {
        registry.open_group(group, 0);
    }
    registry
}

pub(super) fn connection(registry: &mut Registry) -> Channel {
    registry.open(GROUP, Kind::Connection).unwrap()
}

pub(super) fn post(registry: &mut Registry, channel: Channel, role: Role) -> Result<(), Denied> {
    registry.admit(channel, GROUP, role, LARGEST, None)
}

/// What a returned message of the largest size holds of the first group's part.
fn held() -> Option<Holding> {
    let (group, cost) = (GroupPlace(0), LARGEST);
    Some(Holding { group, cost })
}

pub(super) fn end(registry: &mut Registry, channel: Channel) {
    registry.close(channel);
    registry.forget(channel);
}

#[test]
fn numbers_start_at_one_and_all_65534_can_be_open() {
    let mut registry = Registry::new(CREDIT);
    registry.open_group(GROUP, 0); // alone: nobody else has a reserve
    let channels: Vec<_> = (0..65_534).map(|_| connection(&mut registry)).collect();
    let numbers = channels.iter().map(Channel::number);
    assert!(numbers.eq(1..=65_534));
    assert_eq!(registry.open(GROUP, Kind::Connection), None);
    assert_eq!(registry.open(GROUP, Kind::Listener), None);

    // A number that rests is better than none, and a closed channel still has its number.
    registry.close(channels[99]);
    assert_eq!(registry.open(GROUP, Kind::Connection), None);
    registry.forget(channels[99]);
    assert_eq!(connection(&mut registry).number(), 100);
    assert_eq!(registry.open(GROUP, Kind::Connection), None);

    // Among those that rest, the one that has rested longest.
    end(&mut registry, channels[7]);
    end(&mut registry, channels[3]);
    assert_eq!(connection(&mut registry).number(), 8);
    assert_eq!(connection(&mut registry).number(), 4);
}

#[test]
fn a_number_rests_until_1024_others_rest_behind_it() {
    let mut registry = registry();
    for unused in 1..=1025 {
        let channel = connection(&mut registry);
        assert_eq!(channel.number(), unused, "nothing has rested enough");
        end(&mut registry, channel);
    }
    for reused in 1..=2000 {
        let channel = connection(&mut registry);
        assert_eq!(channel.number(), (reused - 1) % 1025 + 1, "oldest first");
        end(&mut registry, channel);
    }
}

#[test]
fn a_quarantine_of_none_uses_a_number_again_at_once() {
    let mut registry = with_groups(Registry::with_quarantine(CREDIT, 0));
    let mut generations = HashSet::new();
    for _ in 0..100 {
        let channel = connection(&mut registry);
        assert_eq!(channel.number(), 1);
        assert!(generations.insert(channel.generation()), "repeated");
        end(&mut registry, channel);
    }
}

/// Generations of several engines come from one sequence, however many of them there are and however
/// many channels each opens.
#[test]
fn no_two_registries_give_out_the_same_generation() {
    let mut generations = HashSet::new();
    for _ in 0..100 {
        let mut registries = [(); 3].map(|()| registry());
        for turn in 0..10 {
            let generation = connection(&mut registries[turn % 3]).generation();
            assert!(generations.insert(generation), "{generation} was used");
        }
    }
}

#[test]
fn a_handle_that_outlives_its_channel_is_refused() {
    let mut registry = with_groups(Registry::with_quarantine(CREDIT, 0));
    let before = connection(&mut registry);
    assert_eq!(registry.group_of(before), Some(GROUP));
    registry.close(before);
    assert_eq!(registry.group_of(before), None);
    let denied = post(&mut registry, before, Role::Data);
    assert_eq!(denied, Err(Denied::Closed));
    registry.forget(before);
    registry.forget(before); // the application may take Closed from an engine that has forgotten
    let after = registry.open(OTHER, Kind::Connection).unwrap();
    assert_eq!(after.number(), before.number());
    for role in [
        Role::Data,
        Role::ByeRequest,
        Role::ByeResponse,
        Role::ByeSignal,
    ] {
        assert_eq!(post(&mut registry, before, role), Err(Denied::Closed));
    }
    assert_eq!(registry.group_of(before), None);
    assert_eq!(registry.group_of(after), Some(OTHER));
    registry.forget(before);
    assert_eq!(
        registry.group_of(after),
        Some(OTHER),
        "forgot its successor"
    );
    let never = Channel::new(65_534, 1);
    assert_eq!(
        post(&mut registry, never, Role::Data),
        Err(Denied::Closed),
        "nobody's"
    );
    let none = Channel::new(0, 0);
    assert_eq!(
        post(&mut registry, none, Role::Data),
        Err(Denied::Closed),
        "no number"
    );
}

#[test]
fn a_channel_takes_posts_of_its_own_group_alone() {
    let mut registry = registry();
    let channel = connection(&mut registry);
    for role in [Role::Data, Role::ByeRequest, Role::ByeSignal] {
        let denied = registry.admit(channel, OTHER, role, LARGEST, None);
        assert_eq!(denied, Err(Denied::OtherGroup));
    }
    assert_eq!(registry.used(), 0);
    assert_eq!(post(&mut registry, channel, Role::Data), Ok(()));
}

#[test]
fn a_listener_takes_nothing_but_an_abort() {
    let mut registry = registry();
    let listener = registry.open(GROUP, Kind::Listener).unwrap();
    for role in [Role::Data, Role::ByeRequest, Role::ByeResponse] {
        let denied = post(&mut registry, listener, role);
        assert_eq!(denied, Err(Denied::IsListener));
    }
    let aborted = registry.admit(listener, GROUP, Role::ByeSignal, 0, None);
    assert_eq!(aborted, Ok(()));
    assert_eq!(registry.used(), 0);
}

#[test]
fn after_a_bye_only_the_answer_to_the_peers_bye_may_follow() {
    let mut registry = registry();
    let asked = connection(&mut registry);
    assert_eq!(post(&mut registry, asked, Role::ByeRequest), Ok(()));
    for role in [Role::Data, Role::ByeRequest] {
        assert_eq!(post(&mut registry, asked, role), Err(Denied::ByePosted));
    }
    assert_eq!(post(&mut registry, asked, Role::ByeResponse), Ok(()));
    let answered = connection(&mut registry);
    assert_eq!(post(&mut registry, answered, Role::ByeResponse), Ok(()));
    for channel in [asked, answered] {
        for role in [Role::Data, Role::ByeRequest, Role::ByeResponse] {
            assert_eq!(post(&mut registry, channel, role), Err(Denied::ByePosted));
        }
        assert_eq!(post(&mut registry, channel, Role::ByeSignal), Ok(()));
    }
}

#[test]
fn a_small_bye_needs_no_credit_but_is_charged() {
    let mut registry = registry();
    let channel = connection(&mut registry);
    for _ in 0..4 {
        post(&mut registry, channel, Role::Data).unwrap();
    }
    assert_eq!(
        post(&mut registry, channel, Role::Data),
        Err(Denied::ChannelFull)
    );
    for role in [Role::ByeRequest, Role::ByeResponse] {
        assert_eq!(
            post(&mut registry, channel, role),
            Err(Denied::ChannelFull),
            "it is large"
        );
        registry
            .admit(channel, GROUP, role, SMALLEST_COST, None)
            .unwrap();
    }
    post(&mut registry, channel, Role::ByeSignal).unwrap();
    assert_eq!(registry.used(), 4 * LARGEST + 2 * SMALLEST_COST);
    for _ in 0..4 {
        registry.release(channel, LARGEST);
    }
    for _ in 0..2 {
        registry.release(channel, SMALLEST_COST);
    }
    assert_eq!(registry.used(), 0);
    end(&mut registry, channel);
}

#[test]
fn credit_is_taken_to_the_last_byte() {
    let mut registry = registry();
    let channel = connection(&mut registry);
    let mut admit = |cost| registry.admit(channel, GROUP, Role::Data, cost, None);
    assert_eq!(admit(CREDIT.channel - 1), Ok(()));
    assert_eq!(admit(2), Err(Denied::ChannelFull));
    assert_eq!(admit(1), Ok(()));
    assert_eq!(admit(1), Err(Denied::ChannelFull));
    assert_eq!(registry.used(), CREDIT.channel);
}

#[test]
fn a_message_posted_again_is_charged_to_the_engine_once() {
    let mut registry = registry();
    let channels = [(); 3].map(|()| connection(&mut registry));
    for channel in channels {
        post(&mut registry, channel, Role::Data).unwrap();
        post(&mut registry, channel, Role::Data).unwrap();
    }
    let [first, second, _] = channels;
    registry.release_channel(first, LARGEST);
    assert_eq!(registry.used(), CREDIT.engine, "what is returned is held");
    assert_eq!(
        post(&mut registry, second, Role::Data),
        Err(Denied::EngineFull),
        "a new message has no room"
    );
    let again = registry.admit(second, GROUP, Role::Data, LARGEST, held());
    assert_eq!(again, Ok(()), "one that is held brings its room along");
    assert_eq!(registry.used(), CREDIT.engine);
    for _ in 0..3 {
        registry.release(second, LARGEST);
    }
    registry.close(second);
    registry.forget(second);
    assert_eq!(registry.used(), 3 * LARGEST);

    // Refused, it stays held.
    registry.close(first);
    let again = registry.admit(first, GROUP, Role::Data, LARGEST, held());
    assert_eq!(again, Err(Denied::Closed));
    assert_eq!(registry.used(), 3 * LARGEST);
}

#[test]
#[should_panic(expected = "no more credit is released than was charged")]
fn a_hold_of_another_engine_is_found_out() {
    let mut registry = registry();
    let channel = connection(&mut registry);
    let _ = registry.admit(channel, GROUP, Role::Data, LARGEST, held());
}

#[test]
#[should_panic(expected = "no more credit is released than was charged")]
fn credit_is_not_released_twice() {
    let mut registry = registry();
    let channel = connection(&mut registry);
    post(&mut registry, channel, Role::Data).unwrap();
    registry.release(channel, LARGEST);
    registry.release(channel, LARGEST);
}

#[test]
#[should_panic(expected = "a channel is forgotten once its messages are accounted for")]
fn a_channel_with_messages_is_not_forgotten() {
    let mut registry = registry();
    let channel = connection(&mut registry);
    post(&mut registry, channel, Role::Data).unwrap();
    end(&mut registry, channel);
}

#[test]
fn message_ids_count_from_one() {
    let mut registry = registry();
    let ids = (0..70_000).map(|_| registry.next_message_id());
    assert!(ids.eq(1..=70_000), "none comes twice");
}

/// Its end waits to be received, and its messages count.
#[test]
fn a_channel_that_has_ended_is_not_counted_among_those_that_there_are() {
    let mut registry = registry();
    let channels = [Kind::Connection, Kind::Listener].map(|it| registry.open(GROUP, it).unwrap());
    let count = |registry: &Registry| {
        let census = registry.census(Some(GROUP));
        (census.connections, census.listeners)
    };
    assert_eq!(count(&registry), (1, 1));
    for channel in channels {
        registry.close(channel);
    }
    assert_eq!(count(&registry), (0, 0));
}

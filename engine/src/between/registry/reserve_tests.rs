//! What a group has of the outbound budget whatever the others hold.

use crate::between::key::GroupPlace;
use crate::between::registry::{Denied, GroupId, Holding, Kind, RESERVE_FOR_DATA, Registry, Role};
use crate::channel::Channel;

use super::registry::{CREDIT, GROUP, LARGEST, connection, end, post};
use super::registry_room::{admit, told};

const OTHER: GroupId = 2;

/// The shared part is used up by the first group, for ever; the second has something of its own.
fn one_keeps_all(reserve: usize) -> (Registry, Channel) {
    let mut registry = Registry::new(CREDIT);
    registry.open_group(GROUP, 0);
    registry.open_group(OTHER, reserve);
    for _ in 0..2 {
        let kept = connection(&mut registry);
        for _ in 0..3 {
            admit(&mut registry, kept, LARGEST).unwrap();
            registry.release_channel(kept, LARGEST);
        }
    }
    let kept = connection(&mut registry);
    assert_eq!(admit(&mut registry, kept, LARGEST), Err(Denied::EngineFull));
    let channel = registry.open(OTHER, Kind::Connection).unwrap();
    (registry, channel)
}

fn admit_other(registry: &mut Registry, channel: Channel, cost: usize) -> Result<(), Denied> {
    registry.admit(channel, OTHER, Role::Data, cost, None)
}

#[test]
fn what_one_group_holds_leaves_the_others_their_reserves() {
    let (mut registry, channel) = one_keeps_all(LARGEST);
    for _ in 0..100 {
        admit_other(&mut registry, channel, LARGEST).unwrap();
        let more = admit_other(&mut registry, channel, 1);
        assert_eq!(more, Err(Denied::EngineFull), "neither has room");
        registry.release(channel, LARGEST);
        assert_eq!(told(&mut registry), [channel]);
    }
    // What it holds counts against its own first, and beyond it against the shared part.
    registry.release_group(GroupPlace(0), 1000);
    admit_other(&mut registry, channel, LARGEST + 1000).unwrap();
    let more = admit_other(&mut registry, channel, 1);
    assert_eq!(more, Err(Denied::EngineFull));
    registry.release(channel, LARGEST + 1000);
    let third = connection(&mut registry);
    let others = admit(&mut registry, third, RESERVE_FOR_DATA + 1);
    assert_eq!(others, Err(Denied::EngineFull), "the reserve is not theirs");
}

#[test]
fn who_waits_for_its_groups_reserve_is_told_of_it() {
    let (mut registry, holds) = one_keeps_all(LARGEST);
    let [first, second] = [(); 2].map(|()| registry.open(OTHER, Kind::Connection).unwrap());
    admit_other(&mut registry, holds, LARGEST).unwrap();
    registry.release_channel(holds, LARGEST);
    for channel in [first, second] {
        let denied = admit_other(&mut registry, channel, LARGEST);
        assert_eq!(denied, Err(Denied::EngineFull));
    }
    assert_eq!(told(&mut registry), []);
    assert!(!registry.room_is_wanted());
    // Returned to the group, and dropped by its application.
    registry.release_group(GroupPlace(1), LARGEST);
    assert!(registry.room_is_wanted());
    assert_eq!(told(&mut registry), [first], "there is room for one");
    assert_eq!(registry.promised(), LARGEST);
    assert_eq!(registry.promised_of(GroupPlace(1)), LARGEST);
    registry.lapse_promises();
    assert_eq!(registry.promised(), 0);
    assert_eq!(told(&mut registry), [second]);
    admit_other(&mut registry, second, LARGEST).unwrap();
    assert_eq!(registry.promised(), 0);
}

/// The first group's channel came first, and there is no room for it.
#[test]
fn nobody_waits_for_another_groups_turn_beside_its_own_reserve() {
    let (mut registry, channel) = one_keeps_all(2 * LARGEST);
    let before = connection(&mut registry);
    post(&mut registry, before, Role::Data).unwrap_err();
    for _ in 0..2 {
        admit_other(&mut registry, channel, LARGEST).unwrap();
    }
    let waits = registry.open(OTHER, Kind::Connection).unwrap();
    admit_other(&mut registry, waits, LARGEST).unwrap_err();
    registry.release(channel, LARGEST);
    assert_eq!(told(&mut registry), [waits]);
    registry.release_group(GroupPlace(0), LARGEST);
    let first_of_all = told(&mut registry);
    assert_eq!(first_of_all.len(), 1, "room for one, and several wait");
    assert_ne!(first_of_all, [waits]);
}

#[test]
fn a_message_that_is_posted_by_another_group_takes_its_charge_along() {
    let (mut registry, channel) = one_keeps_all(LARGEST);
    let holding = |cost| {
        let group = GroupPlace(0);
        Some(Holding { group, cost })
    };
    // Refused, it stays where it was.
    admit_other(&mut registry, channel, LARGEST).unwrap();
    let grown = registry.admit(channel, OTHER, Role::Data, LARGEST, holding(1000));
    assert_eq!(grown, Err(Denied::EngineFull));
    assert_eq!(registry.used(), CREDIT.engine + LARGEST);
    registry.release(channel, LARGEST);
    let held = holding(LARGEST);
    registry
        .admit(channel, OTHER, Role::Data, LARGEST, held)
        .unwrap();
    assert_eq!(registry.used(), CREDIT.engine);
    // Now the second's reserve holds it, and the first has so much room.
    let first = connection(&mut registry);
    post(&mut registry, first, Role::Data).unwrap();
    post(&mut registry, first, Role::Data).unwrap_err();
}

#[test]
fn a_group_that_has_ended_is_there_as_long_as_its_messages() {
    let (mut registry, channel) = one_keeps_all(LARGEST);
    admit_other(&mut registry, channel, LARGEST).unwrap();
    registry.release_channel(channel, LARGEST);
    end(&mut registry, channel);
    registry.end_group(OTHER);
    assert_eq!(registry.groups(), 2);
    assert_eq!(registry.reserves(), LARGEST);
    let late = registry.open_group(3, 0);
    assert_eq!(late, GroupPlace(2), "its place is not free");
    registry.release_group(GroupPlace(1), LARGEST);
    assert_eq!(registry.groups(), 2);
    assert_eq!(registry.open_group(4, 0), GroupPlace(1));
    // Or posted by another.
    let next = registry.open(4, Kind::Connection).unwrap();
    let held = Some(Holding {
        group: GroupPlace(0),
        cost: LARGEST,
    });
    registry.admit(next, 4, Role::Data, LARGEST, held).unwrap();
}

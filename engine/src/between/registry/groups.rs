//! What the registry knows of each group: for as long as the group is open, or something is left of
//! it.

use std::collections::BTreeMap;

use crate::between::key::GroupPlace;

use super::GroupId;
use super::numbers::Held;
use super::outbound::Part;
use super::room::Lines;

pub(super) struct Group {
    pub(super) numbers: Held,
    /// Its part of the outbound budget.
    pub(super) outbound: Part,
    /// Its channels that wait for room.
    pub(super) lines: Lines,
}

/// Groups in places that are reused; channels know their group by its place.
#[derive(Default)]
pub(super) struct Groups {
    places: Vec<Option<Group>>,
    free: Vec<GroupPlace>,
    /// The places of those that are open.
    by_id: BTreeMap<GroupId, GroupPlace>,
}

impl Groups {
    pub(super) fn insert(&mut self, id: GroupId, group: Group) -> GroupPlace {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            let last = u32::try_from(self.places.len() - 1);
            GroupPlace(last.expect("memory ends before the groups do"))
        });
        let before = self.by_id.insert(id, place);
        assert!(before.is_none(), "the id of a group is never used again");
        self.places[place.0 as usize] = Some(group);
        place
    }

    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.by_id.len()
    }

    /// Where an open group is.
    pub(super) fn place_of(&self, id: GroupId) -> Option<GroupPlace> {
        self.by_id.get(&id).copied()
    }

    #[inline]
    pub(super) fn get(&self, place: GroupPlace) -> &Group {
        self.places[place.0 as usize]
            .as_ref()
            .expect("a group stays as long as something of it is left")
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: GroupPlace) -> &mut Group {
        self.places[place.0 as usize]
            .as_mut()
            .expect("a group stays as long as something of it is left")
    }

    /// Takes the name of a group that has ended off its place.
    pub(super) fn end(&mut self, id: GroupId) -> Option<GroupPlace> {
        self.by_id.remove(&id)
    }

    /// Frees the place of a group of which nothing is left.
    pub(super) fn free_if_done(&mut self, place: GroupPlace) {
        let group = self.get(place);
        if group.numbers.is_done() && group.outbound.used() == 0 {
            self.places[place.0 as usize] = None;
            self.free.push(place);
        }
    }

    /// Those of which something is left.
    pub(super) fn all(&self) -> impl Iterator<Item = &Group> {
        self.places.iter().flatten()
    }
}

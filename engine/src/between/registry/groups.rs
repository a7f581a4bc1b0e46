//! What the registry knows of each group: for as long as the group is open, or something is left of
//! it.

use std::collections::BTreeMap;

use super::GroupId;
use super::numbers::Held;

/// A group's place in the registry, which is used again when nothing is left of the group.
pub(super) type Place = usize;

pub(super) struct Group {
    pub(super) numbers: Held,
}

/// Groups in places that are reused; channels know their group by its place.
#[derive(Default)]
pub(super) struct Groups {
    places: Vec<Option<Group>>,
    free: Vec<Place>,
    /// The places of those that are open.
    by_id: BTreeMap<GroupId, Place>,
}

impl Groups {
    pub(super) fn insert(&mut self, id: GroupId, group: Group) {
        let place = self.free.pop().unwrap_or(self.places.len());
        let before = self.by_id.insert(id, place);
        assert!(before.is_none(), "the id of a group is never used again");
        match self.places.get_mut(place) {
            Some(free) => *free = Some(group),
            None => self.places.push(Some(group)),
        }
    }

    /// Where an open group is.
    pub(super) fn place_of(&self, id: GroupId) -> Option<Place> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn get_mut(&mut self, place: Place) -> &mut Group {
        self.places[place]
            .as_mut()
            .expect("a group stays as long as something of it is left")
    }

    /// Takes the name of a group that has ended off its place.
    pub(super) fn end(&mut self, id: GroupId) -> Option<Place> {
        self.by_id.remove(&id)
    }

    /// Frees the place of a group of which nothing is left.
    pub(super) fn free_if_done(&mut self, place: Place) {
        if self.get_mut(place).numbers.is_done() {
            self.places[place] = None;
            self.free.push(place);
        }
    }

    /// How many places are taken.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.iter().flatten().count()
    }
}

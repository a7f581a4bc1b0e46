//! The registrations by index, and the list of those to look at before the next wait.

use std::collections::HashMap;

use super::defects::Defects;
use super::machine::{Need, Registration};
use super::masks::mask;
use super::pinned::Slot;
use crate::event::Key;
use crate::interest::Interest;
use crate::nt::Handle;

/// One source, as the port knows it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    /// The source's own handle.
    pub(super) socket: Handle,
    /// The socket below all layers, which is polled.
    pub(super) base: Handle,
    pub(super) wanted: Interest,
    pub(super) is_parked: bool,
    /// Its handle was closed although it is there: it is never polled again.
    pub(super) is_closed: bool,
    /// Its file sends its packets to the port.
    pub(super) is_associated: bool,
    pub(super) slot: Option<Slot>,
}

impl Entry {
    pub(super) fn registration(&self) -> Registration {
        if self.is_parked {
            Registration::Parked
        } else {
            Registration::Live
        }
    }

    pub(super) fn set_registration<D: Defects>(&mut self, registration: Registration) {
        self.is_parked = registration == Registration::Parked && !D::PARKS_NOTHING;
    }

    /// What is wanted, compared with what is polled for.
    pub(super) fn need(&self, polled: u32) -> Need {
        let wanted = mask(self.wanted);
        if wanted == 0 {
            Need::Nothing
        } else if wanted & !polled == 0 {
            Need::Covered
        } else {
            Need::More
        }
    }
}

#[derive(Debug, Default)]
struct Place {
    entry: Option<Entry>,
    /// Listed. Of the place, not of its entry, so that a place is never listed twice.
    is_touched: bool,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Place>,
    touched: Vec<u32>,
    /// How many entries poll each handle; one, unless sources share a handle.
    polled: HashMap<Handle, u32>,
}

impl Table {
    pub(super) fn insert(&mut self, entry: Entry) {
        let index = entry.key.index as usize;
        if self.places.len() <= index {
            self.places.resize_with(index + 1, Place::default);
        }
        let place = &mut self.places[index];
        assert!(place.entry.is_none(), "two sources with one index");
        *self.polled.entry(entry.base).or_default() += 1;
        place.entry = Some(entry);
    }

    /// Whether several sources poll this handle.
    pub(super) fn is_shared(&self, base: Handle) -> bool {
        self.polled.get(&base).is_some_and(|count| *count > 1)
    }

    /// The source of this index, whoever it is.
    pub(super) fn at(&self, index: u32) -> Option<&Entry> {
        self.places.get(index as usize)?.entry.as_ref()
    }

    pub(super) fn at_mut(&mut self, index: u32) -> Option<&mut Entry> {
        self.places.get_mut(index as usize)?.entry.as_mut()
    }

    /// The source of this key, if it is there.
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Entry> {
        self.at_mut(key.index).filter(|entry| entry.key == key)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Entry> {
        let place = self.places.get_mut(key.index as usize)?;
        let entry = place.entry.take_if(|entry| entry.key == key)?;
        if let Some(count) = self.polled.get_mut(&entry.base) {
            *count -= 1;
            if *count == 0 {
                self.polled.remove(&entry.base);
            }
        }
        Some(entry)
    }

    /// Has the next pass look at this index.
    pub(super) fn touch(&mut self, index: u32) {
        let place = &mut self.places[index as usize];
        if !place.is_touched {
            place.is_touched = true;
            self.touched.push(index);
        }
    }

    /// Takes the list, in the order of touching; an empty one takes its place.
    pub(super) fn take_touched(&mut self, list: &mut Vec<u32>) {
        list.clear();
        std::mem::swap(list, &mut self.touched);
        for index in &*list {
            self.places[*index as usize].is_touched = false;
        }
    }

    #[cfg(test)]
    pub(super) fn touched(&self) -> &[u32] {
        &self.touched
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> u32 {
        self.places.len() as u32
    }
}

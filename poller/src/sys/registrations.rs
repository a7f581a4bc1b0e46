//! The table of a backend that arms its sources one by one, and the list of those to look at.

use crate::event::Key;
use crate::interest::Interest;

#[derive(Debug)]
pub(super) struct Registered<H> {
    pub(super) key: Key,
    pub(super) handle: H,
    pub(super) wanted: Interest,
    /// What the system was told; nothing if it does not know the source.
    pub(super) armed: Interest,
}

#[derive(Debug)]
struct Place<H> {
    registration: Option<Registered<H>>,
    /// In `touched`. Of the place, not of its registration, so that a place is never listed twice.
    is_touched: bool,
}

#[derive(Debug)]
pub(super) struct Registrations<H> {
    places: Vec<Place<H>>,
    touched: Vec<u32>,
}

impl<H> Registrations<H> {
    pub(super) fn new() -> Self {
        Registrations {
            places: Vec::new(),
            touched: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, key: Key, handle: H) {
        let index = key.index as usize;
        while self.places.len() <= index {
            self.places.push(Place {
                registration: None,
                is_touched: false,
            });
        }
        let place = &mut self.places[index];
        assert!(place.registration.is_none(), "two sources with one index");
        place.registration = Some(Registered {
            key,
            handle,
            wanted: Interest::NONE,
            armed: Interest::NONE,
        });
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Registered<H>> {
        let place = self.places.get_mut(key.index as usize)?;
        place.registration.take_if(|found| found.key == key)
    }

    /// The registration that has this index now.
    pub(super) fn at(&mut self, index: u32) -> Option<&mut Registered<H>> {
        self.places.get_mut(index as usize)?.registration.as_mut()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Registered<H>> {
        self.places
            .iter_mut()
            .filter_map(|place| place.registration.as_mut())
    }

    pub(super) fn declare(&mut self, key: Key, interest: Interest) {
        if let Some(registration) = self.at(key.index).filter(|found| found.key == key) {
            registration.wanted = interest;
            if registration.armed != interest {
                self.touch(key.index);
            }
        }
    }

    /// Notes that the system is told all that is wanted of this index, where it is told that with
    /// every question.
    #[cfg(unix)]
    pub(super) fn arm_as_wanted(&mut self, index: u32) {
        if let Some(found) = self.at(index) {
            found.armed = found.wanted;
        }
    }

    /// Has the next reconciliation look at this index.
    pub(super) fn touch(&mut self, index: u32) {
        let place = &mut self.places[index as usize];
        if !place.is_touched {
            place.is_touched = true;
            self.touched.push(index);
        }
    }

    /// Whether there may be an index to look at.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Takes the next index to look at: one that has a registration whose arming is not as wanted.
    /// What was declared and taken back since needs no look.
    pub(super) fn next_touched(&mut self) -> Option<u32> {
        loop {
            let index = self.touched.pop()?;
            let place = &mut self.places[index as usize];
            place.is_touched = false;
            let found = place.registration.as_ref();
            if found.is_some_and(|found| found.armed != found.wanted) {
                return Some(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(generation: u64) -> Key {
        Key {
            index: 0,
            generation,
        }
    }

    #[test]
    fn what_was_taken_back_needs_no_look() {
        let mut registrations = Registrations::new();
        registrations.insert(key(1), ());
        registrations.declare(key(1), Interest::BOTH);
        registrations.declare(key(1), Interest::NONE);
        assert_eq!(registrations.next_touched(), None);
    }

    #[test]
    fn a_slot_is_listed_once_however_many_sources_pass_through_it() {
        let mut registrations = Registrations::new();
        for generation in 1..100 {
            registrations.insert(key(generation), ());
            registrations.declare(key(generation), Interest::BOTH);
            if generation < 99 {
                registrations.remove(key(generation));
            }
        }
        assert_eq!(registrations.touched.len(), 1);
        assert_eq!(registrations.next_touched(), Some(0));
        assert_eq!(registrations.next_touched(), None);
    }

    #[test]
    fn a_stale_key_changes_nothing() {
        let mut registrations = Registrations::new();
        registrations.insert(key(2), ());
        registrations.declare(key(1), Interest::BOTH);
        assert!(registrations.remove(key(1)).is_none());
        assert_eq!(registrations.next_touched(), None);
        assert_eq!(registrations.at(0).map(|found| found.key), Some(key(2)));
    }
}

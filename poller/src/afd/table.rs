//! The sources by index, the sockets that they are handles of, and the list of those to look at before
//! the next wait.
//!
//! What is polled is an [`Object`], a socket object of the system's: mostly the socket of one source, or of
//! several whose handles are duplicates or the same. The answer is for each of them.

use std::collections::HashMap;

use super::machine::{Need, Registration};
use super::masks::mask;
use super::pinned::{Ours, Slot};
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
    /// Its object could not be polled, which was reported; it waits for a new declaration.
    pub(super) is_parked: bool,
    /// The place of its object.
    pub(super) object: u32,
}

/// What the port knows of other handles for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// The system was not asked yet.
    Unknown,
    /// There were none, but for those of its sources.
    None,
    /// There are some, so somebody else may poll it too.
    Some,
}

/// A socket object, with the sources that are handles of it.
#[derive(Debug)]
pub(super) struct Object {
    /// That of the source it was made for. No other object ever has it.
    pub(super) generation: u64,
    /// The indices of its sources; there is one at least.
    sources: Sources,
    /// Whether it is polled, or rests because the system refused.
    pub(super) registration: Registration,
    /// Where the operation is; none before the first.
    pub(super) slot: Option<Slot>,
    pub(super) others: Others,
    /// How many sources had gone with a poll in flight when it was asked for other handles.
    pub(super) asked_at: u64,
    /// Its handles were closed although sources have them: it is never polled again.
    pub(super) is_closed: bool,
    /// Its file sends its packets to the port.
    pub(super) is_associated: bool,
    /// Another source has come with the same handle: if the first one's was closed behind the poller's back,
    /// what is in flight is about another socket. It is asked anew.
    pub(super) is_doubted: bool,
}

/// Mostly one, for which nothing is allocated.
#[derive(Debug)]
struct Sources {
    first: u32,
    further: Vec<u32>,
}

impl Sources {
    fn iter(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.first).chain(self.further.iter().copied())
    }

    /// Takes one off the list, unless it is the last one.
    fn remove(&mut self, index: u32) -> bool {
        if self.first == index && self.further.is_empty() {
            return false;
        }
        if self.first == index {
            self.first = self.further.remove(0);
        } else {
            self.further.retain(|other| *other != index);
        }
        true
    }
}

#[derive(Debug, Default)]
struct Place {
    object: Option<Object>,
    /// Listed. Of the place, not of its object, so that a place is never listed twice.
    is_touched: bool,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Option<Entry>>,
    objects: Vec<Place>,
    /// The places without an object.
    vacant: Vec<u32>,
    /// The places to look at.
    touched: Vec<u32>,
    /// The object that a handle is about, and how many sources hold that handle.
    held: HashMap<Handle, (u32, u32)>,
}

impl Table {
    /// Takes in a source, wanted for nothing. It has the object of the source that holds the same handle, if
    /// there is one, else a new one.
    pub(super) fn insert(&mut self, key: Key, socket: Handle, base: Handle) {
        let index = key.index as usize;
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
        }
        assert!(self.entries[index].is_none(), "two sources with one index");
        let known = self.held.get(&base).map(|(object, _)| *object);
        // The handle of one that was closed is another object's now.
        let known = known.filter(|at| self.object(*at).is_some_and(|object| !object.is_closed));
        let object = match known {
            Some(at) => {
                if let Some(object) = self.object_mut(at) {
                    object.sources.further.push(key.index);
                    object.is_doubted = true;
                }
                self.touch(at);
                at
            }
            None => self.add_object(key),
        };
        let held = self.held.entry(base).or_default();
        if held.0 != object || known.is_none() {
            *held = (object, 0);
        }
        held.1 += 1;
        self.entries[index] = Some(Entry {
            key,
            socket,
            base,
            wanted: Interest::NONE,
            is_parked: false,
            object,
        });
    }

    fn add_object(&mut self, key: Key) -> u32 {
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.objects.push(Place::default());
            self.objects.len() as u32 - 1
        });
        self.objects[at as usize].object = Some(Object {
            generation: key.generation,
            sources: Sources {
                first: key.index,
                further: Vec::new(),
            },
            registration: Registration::Live,
            slot: None,
            others: Others::Unknown,
            asked_at: 0,
            is_closed: false,
            is_associated: false,
            is_doubted: false,
        });
        at
    }

    /// The source of this index, whoever it is.
    pub(super) fn at(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index as usize)?.as_ref()
    }

    pub(super) fn at_mut(&mut self, index: u32) -> Option<&mut Entry> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    /// The source of this key, if it is there.
    pub(super) fn get(&self, key: Key) -> Option<&Entry> {
        self.at(key.index).filter(|entry| entry.key == key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Entry> {
        self.at_mut(key.index).filter(|entry| entry.key == key)
    }

    pub(super) fn object(&self, at: u32) -> Option<&Object> {
        self.objects.get(at as usize)?.object.as_ref()
    }

    pub(super) fn object_mut(&mut self, at: u32) -> Option<&mut Object> {
        self.objects.get_mut(at as usize)?.object.as_mut()
    }

    /// The sources of an object.
    pub(super) fn sources(&self, at: u32) -> impl Iterator<Item = &Entry> {
        let sources = self.object(at).map(|object| object.sources.iter());
        sources.into_iter().flatten().filter_map(|at| self.at(at))
    }

    /// The index of an object's sources, in turn.
    pub(super) fn nth_source(&self, at: u32, n: usize) -> Option<u32> {
        self.object(at)?.sources.iter().nth(n)
    }

    /// The handles of an object that its sources hold, each of them once.
    pub(super) fn handles(&self, at: u32) -> usize {
        let is_first = |entry: &&Entry| {
            let same = |other: &&Entry| other.base == entry.base;
            self.sources(at).find(same).map(|other| other.key) == Some(entry.key)
        };
        self.sources(at).filter(is_first).count()
    }

    /// Some handle of each object but this one, and of those that are closed.
    pub(super) fn others(&self, at: u32) -> Vec<(u32, Handle)> {
        let places = (0..self.objects.len() as u32).filter(|other| *other != at);
        let open = places.filter(|other| self.object(*other).is_some_and(|it| !it.is_closed));
        open.filter_map(|other| Some((other, self.sources(other).next()?.base)))
            .collect()
    }

    /// The sources of an object, which was never polled, are of another one as has turned out.
    pub(super) fn merge(&mut self, from: u32, to: u32) {
        let sources: Vec<u32> = self.sources(from).map(|entry| entry.key.index).collect();
        for index in sources {
            let Some(entry) = self.at_mut(index) else {
                continue;
            };
            entry.object = to;
            let base = entry.base;
            if let Some(held) = self.held.get_mut(&base).filter(|held| held.0 == from) {
                held.0 = to;
            }
            if let Some(object) = self.object_mut(to) {
                object.sources.further.push(index);
            }
        }
        self.vacate(from);
    }

    fn vacate(&mut self, at: u32) -> Option<Object> {
        let object = self.objects[at as usize].object.take();
        self.vacant.push(at);
        object
    }

    /// Takes a source out, and with the last one of an object the object.
    pub(super) fn remove(&mut self, key: Key) -> Option<(Entry, Option<Object>)> {
        let place = self.entries.get_mut(key.index as usize)?;
        let entry = place.take_if(|entry| entry.key == key)?;
        if let Some(held) = self.held.get_mut(&entry.base)
            && held.0 == entry.object
        {
            held.1 -= 1;
            if held.1 == 0 {
                self.held.remove(&entry.base);
            }
        }
        let is_left = self.object_mut(entry.object)?.sources.remove(key.index);
        let gone = match is_left {
            true => None,
            false => self.vacate(entry.object),
        };
        Some((entry, gone))
    }

    /// What is wanted of an object, by any of its sources, in AFD's flags.
    pub(super) fn wanted(&self, at: u32) -> u32 {
        let awake = self.sources(at).filter(|entry| !entry.is_parked);
        awake.fold(0, |all, entry| all | mask(entry.wanted))
    }

    /// What is wanted, compared with what is polled for.
    pub(super) fn need(&self, at: u32, ours: Option<&Ours>, is_bounded: bool) -> Need {
        let wanted = self.wanted(at);
        let is_doubted = self.object(at).is_some_and(|object| object.is_doubted);
        // A poll without a time limit does not do for an object that is to have one.
        let polled = ours.filter(|ours| !(is_bounded && ours.is_endless || is_doubted));
        if wanted == 0 {
            Need::Nothing
        } else if wanted & !polled.map_or(0, |ours| ours.mask) == 0 {
            Need::Covered
        } else {
            Need::More
        }
    }

    /// The slots of objects that have one.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        let objects = self
            .objects
            .iter()
            .filter_map(|place| place.object.as_ref());
        objects.filter_map(|object| object.slot)
    }

    /// Has the next pass look at this object.
    pub(super) fn touch(&mut self, at: u32) {
        let place = &mut self.objects[at as usize];
        if !place.is_touched {
            place.is_touched = true;
            self.touched.push(at);
        }
    }

    /// Takes the list, in the order of touching; an empty one takes its place.
    pub(super) fn take_touched(&mut self, list: &mut Vec<u32>) {
        list.clear();
        std::mem::swap(list, &mut self.touched);
        for at in &*list {
            self.objects[*at as usize].is_touched = false;
        }
    }
}

/// For tests.
#[cfg(test)]
impl Table {
    pub(super) fn touched(&self) -> &[u32] {
        &self.touched
    }

    pub(super) fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    /// How many places there are, with or without an object.
    pub(super) fn places(&self) -> u32 {
        self.objects.len() as u32
    }

    pub(super) fn vacant(&self) -> &[u32] {
        &self.vacant
    }

    /// The object of a source.
    pub(super) fn object_of(&self, index: u32) -> Option<&Object> {
        self.object(self.at(index)?.object)
    }
}

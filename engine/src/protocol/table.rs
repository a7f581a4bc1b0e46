//! The table of connections and listeners, by key.

use crate::between::key::RecordKey;

use super::decisions;

/// A slab whose places are reused and whose keys are not: a key from before finds nothing.
pub(super) struct Table<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    generation_next: u64,
    len: usize,
}

struct Entry<T> {
    generation: u64,
    value: Option<T>,
}

impl<T> Table<T> {
    pub(super) fn new() -> Self {
        Table {
            entries: Vec::new(),
            free: Vec::new(),
            generation_next: 1,
            len: 0,
        }
    }

    /// Inserts what `make` makes of the key.
    pub(super) fn insert_with(&mut self, make: impl FnOnce(RecordKey) -> T) -> RecordKey {
        let generation = self.generation_next;
        self.generation_next += 1;
        self.len += 1;
        let entries = self.entries.len();
        let index = self
            .free
            .pop()
            .unwrap_or_else(|| u32::try_from(entries).expect("descriptors run out long before"));
        let key = RecordKey { index, generation };
        let entry = Entry {
            generation,
            value: Some(make(key)),
        };
        match self.entries.get_mut(index as usize) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
        key
    }

    pub(super) fn get(&self, key: RecordKey) -> Option<&T> {
        let entry = self.entries.get(key.index as usize)?;
        entry
            .value
            .as_ref()
            .filter(|_| entry.generation == key.generation)
    }

    pub(super) fn get_mut(&mut self, key: RecordKey) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        entry
            .value
            .as_mut()
            .filter(|_| entry.generation == key.generation)
    }

    pub(super) fn remove(&mut self, key: RecordKey) -> Option<T> {
        self.get(key)?;
        self.free.push(key.index);
        self.len -= 1;
        self.entries[key.index as usize].value.take()
    }

    /// Whoever is in the place that a key names, if that is who it means; else the key itself, which
    /// finds nobody.
    pub(super) fn owner(&self, key: RecordKey) -> RecordKey {
        let occupant = self.entries.get(key.index as usize);
        match occupant.map(|entry| entry.generation) {
            Some(generation) if decisions::is_meant(generation, key.generation) => {
                RecordKey { generation, ..key }
            }
            _ => key,
        }
    }

    /// Every key in use.
    #[cfg(test)]
    pub(super) fn keys(&self) -> Vec<RecordKey> {
        let used = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.value.is_some());
        used.map(|(index, entry)| RecordKey {
            index: index as u32,
            generation: entry.generation,
        })
        .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests;

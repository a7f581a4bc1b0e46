//! The table of connections and listeners, by key.

use crate::between::key::RecordKey;

use super::flaws::{Flaw, planted};

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

    pub(super) fn insert(&mut self, value: T) -> RecordKey {
        let generation = self.generation_next;
        self.generation_next += 1;
        self.len += 1;
        let entry = Entry {
            generation,
            value: Some(value),
        };
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = entry;
            return RecordKey { index, generation };
        }
        let index = u32::try_from(self.entries.len()).expect("descriptors run out long before");
        self.entries.push(entry);
        RecordKey { index, generation }
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

    /// The key itself; or, planted, the key of whoever is in its place now.
    pub(super) fn owner(&self, key: RecordKey) -> RecordKey {
        let generation = match self.entries.get(key.index as usize) {
            Some(entry) if planted(Flaw::LateDropMeetsNext) => entry.generation,
            _ => key.generation,
        };
        RecordKey { generation, ..key }
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

//! A body that many messages have.

use std::ops::Range;

use crate::sync::{AtomicBool, Ordering};

use super::pool::Storage;
use super::sizes::{SIZES, STEP, size_for};

/// Bytes that nobody writes any more, and that go when the last message goes that has them.
pub(crate) struct Shared {
    memory: Memory,
    /// What the memory was charged when it was received is given back: it was posted on.
    is_released: AtomicBool,
}

enum Memory {
    /// A part of what was a message's.
    Storage(Storage, Range<usize>),
    Owned(Vec<u8>),
    #[cfg(feature = "bytes")]
    Bytes(bytes::Bytes),
}

/// How much longer memory may be than the storage that its content needs: beyond that the content is copied, as
/// queued messages would hold more memory than they are charged.
const WASTE_MAX: usize = STEP;

impl Shared {
    fn new(memory: Memory) -> Shared {
        Shared {
            memory,
            is_released: AtomicBool::new(false),
        }
    }

    /// A part of this storage. What it is charged to the inbound budget stays charged until it was posted, or
    /// is dropped.
    pub(crate) fn part_of(storage: Storage, part: Range<usize>) -> Shared {
        Shared::new(Memory::Storage(storage, part))
    }

    pub(crate) fn owning(mut bytes: Vec<u8>) -> Shared {
        if bytes.capacity() - bytes.len() > WASTE_MAX {
            bytes.shrink_to_fit();
        }
        Shared::new(Memory::Owned(bytes))
    }

    #[cfg(feature = "bytes")]
    pub(crate) fn of(bytes: bytes::Bytes) -> Shared {
        Shared::new(Memory::Bytes(bytes))
    }

    /// Whether so many bytes of a storage may be shared as they lie there.
    pub(crate) fn may_keep(storage: &Storage, len: usize) -> bool {
        storage.bytes().len() <= SIZES[size_for(len)] + WASTE_MAX
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Storage(storage, part) => &storage.bytes()[part.clone()],
            Memory::Owned(bytes) => bytes,
            #[cfg(feature = "bytes")]
            Memory::Bytes(bytes) => bytes,
        }
    }

    /// What it was made of, if that were `Bytes`.
    #[cfg(feature = "bytes")]
    pub(crate) fn as_bytes(&self) -> Option<&bytes::Bytes> {
        match &self.memory {
            Memory::Bytes(bytes) => Some(bytes),
            Memory::Storage(..) | Memory::Owned(_) => None,
        }
    }

    /// Gives back what is charged to the inbound budget, once: another budget has it now.
    ///
    /// Call it without holding a lock of an engine.
    pub(crate) fn release_inbound(&self) {
        let Memory::Storage(storage, _) = &self.memory else {
            return;
        };
        if let (Some((key, cost)), Some(home)) = (storage.inbound(), storage.home())
            && !self.is_released.swap(true, Ordering::Relaxed)
        {
            home.release(key, cost);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Memory::Storage(storage, _) = &mut self.memory
            && self.is_released.load(Ordering::Relaxed)
        {
            storage.clear_charge();
        }
    }
}

//! Blocks of slots: one allocation each, which never moves, and is freed when nothing in it is used.

use std::alloc::{Layout, alloc, dealloc};
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::{PinnedState, Slot, poison, unused};
use crate::afd::defects::Defects;

struct Block {
    memory: NonNull<PinnedState>,
    /// The places that are not taken; the last one is taken next.
    free: Vec<u32>,
}

/// All blocks of one port. What is left when this is dropped is freed.
pub(super) struct Blocks<D: Defects> {
    /// By number; a number without a block is used again.
    blocks: Vec<Option<Block>>,
    /// The address and the number of each block, by address.
    by_address: Vec<(usize, u32)>,
    /// Blocks with something free, by number; the last one is asked next.
    with_room: Vec<u32>,
    /// How many blocks have nothing taken: at most one is kept.
    empty: usize,
    defects: PhantomData<D>,
    #[cfg(test)]
    pub(super) allocations: u64,
    #[cfg(test)]
    pub(super) held: std::sync::Arc<crate::afd::Held>,
}

impl<D: Defects> Blocks<D> {
    pub(super) fn new() -> Self {
        Blocks {
            blocks: Vec::new(),
            by_address: Vec::new(),
            with_room: Vec::new(),
            empty: 0,
            defects: PhantomData,
            #[cfg(test)]
            allocations: 0,
            #[cfg(test)]
            held: std::sync::Arc::default(),
        }
    }

    /// Takes a slot out of a block; nothing if there is no memory.
    pub(super) fn take(&mut self) -> Option<Slot> {
        if D::STATE_MOVES {
            self.relocate();
        }
        if self.with_room.is_empty() {
            self.allocate()?;
        }
        let block = *self.with_room.last()?;
        let found = self.block_mut(block);
        let was_empty = found.free.len() == D::SLOTS_PER_BLOCK;
        let place = found.free.pop()?;
        if found.free.is_empty() {
            self.with_room.pop();
        }
        self.empty -= usize::from(was_empty);
        let slot = Slot { block, place };
        #[cfg(test)]
        self.held.insert(self.memory(slot).as_ptr() as usize);
        poison::lift(self.memory(slot));
        Some(slot)
    }

    /// Puts a slot back into its block.
    pub(super) fn put_back(&mut self, slot: Slot) {
        poison::put(self.memory(slot));
        #[cfg(test)]
        self.held.remove(self.memory(slot).as_ptr() as usize);
        let block = self.block_mut(slot.block);
        block.free.push(slot.place);
        let free = block.free.len();
        if free == 1 {
            self.with_room.push(slot.block);
        }
        if free == D::SLOTS_PER_BLOCK {
            self.empty += 1;
            // One is kept, so that a number of sources around a block's limit does not allocate
            // and free a block with each that comes and goes.
            if self.empty > 1 {
                self.free(slot.block);
            }
        }
    }

    /// Where a slot is: initialised, in a block that is allocated.
    pub(super) fn memory(&self, slot: Slot) -> NonNull<PinnedState> {
        let block = self.blocks[slot.block as usize].as_ref();
        let memory = block.expect("a slot's block is allocated").memory;
        assert!((slot.place as usize) < D::SLOTS_PER_BLOCK);
        // SAFETY: the place is within the block, which is one allocation of as many slots.
        unsafe { memory.add(slot.place as usize) }
    }

    /// The slot at an address, or the one that the address is within.
    pub(super) fn find(&self, address: usize) -> Option<Slot> {
        let after = self
            .by_address
            .partition_point(|(base, _)| *base <= address);
        let (base, block) = *self.by_address.get(after.checked_sub(1)?)?;
        let mut place = (address - base) / size_of::<PinnedState>();
        if D::IGNORES_BLOCKS {
            place = place.min(D::SLOTS_PER_BLOCK - 1);
        }
        (place < D::SLOTS_PER_BLOCK).then_some(Slot {
            block,
            place: place as u32,
        })
    }

    /// The slots that are taken.
    pub(super) fn taken(&self) -> Vec<Slot> {
        let mut taken = Vec::new();
        for (number, block) in self.blocks.iter().enumerate() {
            let Some(block) = block else { continue };
            let mut is_free = vec![false; D::SLOTS_PER_BLOCK];
            for place in &block.free {
                is_free[*place as usize] = true;
            }
            let places = (0..D::SLOTS_PER_BLOCK).filter(|place| !is_free[*place]);
            taken.extend(places.map(|place| Slot {
                block: number as u32,
                place: place as u32,
            }));
        }
        taken
    }

    /// Whether the block of a slot is there.
    pub(super) fn is_there(&self, slot: Slot) -> bool {
        self.blocks[slot.block as usize].is_some()
    }

    /// Leaves the block of a slot where it is, for ever.
    pub(super) fn leak(&mut self, slot: Slot) {
        self.blocks[slot.block as usize] = None;
    }

    /// Leaves all of them.
    pub(super) fn leak_all(&mut self) {
        self.blocks.clear();
    }

    fn block_mut(&mut self, number: u32) -> &mut Block {
        let block = self.blocks[number as usize].as_mut();
        block.expect("a slot's block is allocated")
    }

    fn layout() -> Layout {
        const { assert!(D::SLOTS_PER_BLOCK * size_of::<PinnedState>() <= isize::MAX as usize) };
        Layout::array::<PinnedState>(D::SLOTS_PER_BLOCK).expect("a block fits in memory")
    }

    fn allocate(&mut self) -> Option<()> {
        // SAFETY: the layout is not of size zero.
        let memory = unsafe { alloc(Self::layout()) };
        let memory = NonNull::new(memory)?.cast::<PinnedState>();
        for place in 0..D::SLOTS_PER_BLOCK {
            // SAFETY: the place is within the block.
            let pinned = unsafe { memory.add(place) };
            // SAFETY: nobody else knows of the block yet.
            unsafe { pinned.write(unused()) };
            poison::put(pinned);
        }
        let number = match self.blocks.iter().position(Option::is_none) {
            Some(number) => number,
            None => {
                self.blocks.push(None);
                self.blocks.len() - 1
            }
        };
        // The first place is taken first.
        let free: Vec<u32> = (0..D::SLOTS_PER_BLOCK as u32).rev().collect();
        self.blocks[number] = Some(Block { memory, free });
        let entry = (memory.as_ptr() as usize, number as u32);
        let at = self.by_address.partition_point(|other| *other < entry);
        self.by_address.insert(at, entry);
        self.with_room.push(number as u32);
        self.empty += 1;
        #[cfg(test)]
        {
            self.allocations += 1;
        }
        Some(())
    }

    /// Returns a block to the allocator. Nothing of it is taken.
    fn free(&mut self, number: u32) {
        let Some(block) = self.blocks[number as usize].take() else {
            return;
        };
        assert_eq!(block.free.len(), D::SLOTS_PER_BLOCK, "the block is in use");
        self.by_address.retain(|(_, other)| *other != number);
        self.with_room.retain(|other| *other != number);
        self.empty -= 1;
        self.dealloc(block.memory);
    }

    fn dealloc(&self, memory: NonNull<PinnedState>) {
        for place in 0..D::SLOTS_PER_BLOCK {
            // SAFETY: the place is within the block.
            let pinned = unsafe { memory.add(place) };
            poison::lift(pinned);
            #[cfg(test)]
            self.held.remove(pinned.as_ptr() as usize);
        }
        // SAFETY: allocated with the same layout; what is in flight is not in it, so neither the
        // kernel nor anything here has a pointer into it.
        unsafe { dealloc(memory.as_ptr().cast(), Self::layout()) };
    }

    /// The defect of state that lives in a container: it moves when the container grows.
    fn relocate(&mut self) {
        for number in 0..self.blocks.len() {
            let Some(block) = self.blocks[number].as_mut() else {
                continue;
            };
            let old = block.memory;
            // SAFETY: as in `allocate`.
            let new = unsafe { alloc(Self::layout()) }.cast::<PinnedState>();
            let Some(new) = NonNull::new(new) else { return };
            for place in 0..D::SLOTS_PER_BLOCK {
                // SAFETY: the place is within the block.
                poison::lift(unsafe { old.add(place) });
            }
            // SAFETY: both are blocks of this many slots, and different ones. The kernel does not
            // know of the move: that is the defect.
            unsafe { new.copy_from_nonoverlapping(old, D::SLOTS_PER_BLOCK) };
            block.memory = new;
            #[cfg(test)]
            self.held.relocate(
                old.as_ptr() as usize,
                new.as_ptr() as usize,
                D::SLOTS_PER_BLOCK,
            );
            self.by_address.retain(|(_, other)| *other != number as u32);
            self.by_address.push((new.as_ptr() as usize, number as u32));
            self.by_address.sort_unstable();
            self.dealloc(old);
        }
    }
}

impl<D: Defects> Drop for Blocks<D> {
    fn drop(&mut self) {
        for block in std::mem::take(&mut self.blocks).into_iter().flatten() {
            self.dealloc(block.memory);
        }
    }
}

/// For tests.
#[cfg(test)]
impl<D: Defects> Blocks<D> {
    /// The blocks with room, in the order in which they are asked.
    pub(super) fn room(&self) -> &[u32] {
        &self.with_room
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The free places of a block, in the order of being taken.
    pub(super) fn free_places(&self, block: usize) -> Option<&[u32]> {
        self.blocks[block].as_ref().map(|block| &*block.free)
    }
}

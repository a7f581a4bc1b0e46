//! The memory that the kernel writes, and the only place that hands it over and takes it back.
//!
//! A [`PinnedState`] is one operation's memory: half of it is lent to the kernel while the
//! operation is in flight, the other half is ours. Its address never changes and never returns to
//! the allocator before the operation's packet was dequeued. Slots come in blocks; a block is one
//! allocation, and is freed when nothing in it is used.
//!
//! # Whose packet it is
//!
//! Slots are aligned to 128 bytes, so the lowest seven bits of an address are free to carry the
//! number of the operation, modulo 128. A packet belongs to a slot only if its address is that of a
//! slot in a block that is allocated, the slot is in flight, and the number is that of the operation
//! in flight. All of it is asked of our own table of blocks before the address is followed.

mod poison;

use std::alloc::{Layout, alloc, dealloc};
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::{align_of, offset_of, size_of};
use std::ptr::NonNull;

use super::defects::Defects;
use super::machine::Operation;
use crate::nt::{
    AfdPollHandleInfo, AfdPollInfo, Handle, IoStatusBlock, Nt, Status, StatusOrPointer, Submission,
};

/// Addresses are multiples of it, and operations are numbered below it.
const ALIGNMENT: usize = 128;

/// One operation's memory.
#[repr(C, align(128))]
struct PinnedState {
    lent: UnsafeCell<Lent>,
    ours: Ours,
}

/// What the kernel is given. Only the kernel writes here while the operation is in flight.
#[repr(C)]
struct Lent {
    status: IoStatusBlock,
    info: AfdPollInfo,
}

/// What the kernel never sees.
pub(super) struct Ours {
    /// Of the source that the operation is about: what its place in the table is compared with.
    pub(super) generation: u64,
    /// Where in the table the source is, or was.
    pub(super) index: u32,
    pub(super) operation: Operation,
    /// Of the operation that was submitted last, modulo 128.
    number: u8,
    /// AFD's flags that are polled for; none if nothing is in flight.
    pub(super) mask: u32,
    /// The file that operations are issued on, and are cancelled through.
    pub(super) control: Option<Handle>,
    /// The group of the helper, if the control handle is one.
    pub(super) group: Option<u32>,
}

const _: () = {
    assert!(size_of::<PinnedState>() == ALIGNMENT && align_of::<PinnedState>() == ALIGNMENT);
    assert!(offset_of!(PinnedState, lent) == 0 && offset_of!(Lent, status) == 0);
    // Both halves of the lent memory are aligned as the kernel wants them.
    assert!(offset_of!(Lent, info) % align_of::<AfdPollInfo>() == 0);
    assert!(offset_of!(PinnedState, ours) >= size_of::<Lent>());
};

/// A slot that was taken and not yet given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    block: u32,
    place: u32,
}

/// What the kernel found out, as far as it concerns readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// AFD's flags; none if the poll ended with nothing.
    pub(super) events: u32,
}

struct Block {
    memory: NonNull<PinnedState>,
    /// The places that are not taken; the last one is taken next.
    free: Vec<u32>,
}

/// All slots of one port.
pub(super) struct Slots<D: Defects> {
    /// By number; a number without a block is used again.
    blocks: Vec<Option<Block>>,
    /// The address and the number of each block, by address.
    by_address: Vec<(usize, u32)>,
    /// Blocks with something free, by number; the last one is asked next.
    with_room: Vec<u32>,
    /// How many blocks have nothing taken: at most one is kept.
    empty: usize,
    /// How many slots are in flight.
    in_flight: usize,
    allocations: u64,
    defects: PhantomData<D>,
    #[cfg(test)]
    held: std::sync::Arc<super::Held>,
}

// SAFETY: the blocks are reached through this value alone, but for the lent halves of those in
// flight, which the kernel may write from wherever it runs.
unsafe impl<D: Defects> Send for Slots<D> {}

impl<D: Defects> Slots<D> {
    pub(super) fn new() -> Self {
        const { assert!(D::SLOTS_PER_BLOCK >= 1 && D::SLOTS_PER_BLOCK <= ALIGNMENT) };
        Slots {
            blocks: Vec::new(),
            by_address: Vec::new(),
            with_room: Vec::new(),
            empty: 0,
            in_flight: 0,
            allocations: 0,
            defects: PhantomData,
            #[cfg(test)]
            held: std::sync::Arc::default(),
        }
    }

    /// Where the slots are that are taken, for a kernel that checks.
    #[cfg(test)]
    pub(super) fn held(&self) -> std::sync::Arc<super::Held> {
        std::sync::Arc::clone(&self.held)
    }

    /// How many operations the kernel has.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes a slot for a source; nothing if there is no memory.
    pub(super) fn take(&mut self, index: u32, generation: u64) -> Option<Slot> {
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
        self.held.insert(self.address(slot));
        let pinned = self.pinned(slot);
        poison::lift(pinned);
        // SAFETY: the slot was free: nobody else has its memory, and the block is allocated.
        unsafe {
            let ours = &mut (*pinned.as_ptr()).ours;
            *ours = Ours {
                generation,
                index,
                operation: Operation::Idle,
                // Goes on counting where the memory was used before.
                number: ours.number,
                ..unused().ours
            };
        }
        Some(slot)
    }

    /// Gives a slot back.
    ///
    /// # Panics
    ///
    /// The slot is in flight: its memory is the kernel's.
    pub(super) fn release(&mut self, slot: Slot) {
        let is_ours = !self.ours(slot).operation.is_in_flight();
        assert!(is_ours, "the kernel has it");
        self.ours_mut(slot).operation = Operation::None;
        poison::put(self.pinned(slot));
        #[cfg(test)]
        self.held.remove(self.address(slot));
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

    /// What is ours of a slot.
    pub(super) fn ours(&self, slot: Slot) -> &Ours {
        // SAFETY: `pinned` answers with an address in an allocated block, where every slot has
        // been initialised; the kernel has the other half only, and the borrow of `self` keeps
        // this half from being changed, or the block from being freed, while the reference lives.
        unsafe { &(*self.pinned(slot).as_ptr()).ours }
    }

    /// The same, to change it.
    pub(super) fn ours_mut(&mut self, slot: Slot) -> &mut Ours {
        // SAFETY: as in `ours`, with a borrow that nobody shares.
        unsafe { &mut (*self.pinned(slot).as_ptr()).ours }
    }

    /// What has been written to a slot whose packet was dequeued and not looked at, for tests.
    #[cfg(test)]
    pub(super) fn written(&self, slot: Slot) -> u32 {
        let lent = UnsafeCell::raw_get(lent_of(self.pinned(slot)).as_ptr());
        // SAFETY: the packet was dequeued: the kernel writes no more.
        unsafe { (*lent).info.handles[0].events }
    }

    /// A slot's place among all, for tests.
    #[cfg(test)]
    pub(super) fn ordinal(&self, slot: Slot) -> u8 {
        (slot.block as usize * D::SLOTS_PER_BLOCK) as u8 + slot.place as u8
    }

    /// What a context names: a slot's place, and how many operations ago; for tests.
    #[cfg(test)]
    pub(super) fn place_of(&self, context: usize) -> [u8; 2] {
        let number = (context % ALIGNMENT) as u8;
        match self.find(context & !(ALIGNMENT - 1)) {
            // Further back it makes no difference: it is not what is in flight, nor ever will be.
            Some(slot) => {
                let behind = self.ours(slot).number.wrapping_sub(number) % ALIGNMENT as u8;
                [self.ordinal(slot), behind.min(2)]
            }
            None => [0xFE, 0],
        }
    }

    /// The blocks with room, in the order in which they are asked; for tests.
    #[cfg(test)]
    pub(super) fn room(&self) -> &[u32] {
        &self.with_room
    }

    /// How many blocks were ever allocated; for tests.
    #[cfg(test)]
    pub(super) fn allocations(&self) -> u64 {
        self.allocations
    }

    #[cfg(test)]
    pub(super) fn blocks_len(&self) -> usize {
        self.blocks.len()
    }

    /// The free places of a block, in the order of being taken; for tests.
    #[cfg(test)]
    pub(super) fn free_places(&self, block: usize) -> Option<&[u32]> {
        self.blocks[block].as_ref().map(|block| &*block.free)
    }

    /// Moves a slot from one state of its operation to the next.
    pub(super) fn set_operation(&mut self, slot: Slot, operation: Operation) {
        let before = self.ours(slot).operation.is_in_flight();
        let ours = self.ours_mut(slot);
        ours.operation = operation;
        if operation.is_in_flight() {
            self.in_flight += usize::from(!before);
        } else {
            ours.mask = 0;
            self.in_flight -= usize::from(before);
        }
    }

    /// Gives a slot to the kernel, to poll a socket for what the mask says.
    ///
    /// # Panics
    ///
    /// The slot is not being submitted, by its own state.
    pub(super) fn submit<N: Nt>(
        &mut self,
        nt: &N,
        slot: Slot,
        socket: Handle,
        mask: u32,
    ) -> Status {
        let ours = self.ours_mut(slot);
        assert_eq!(ours.operation, Operation::Submitting);
        let Some(control) = ours.control else {
            return Status::INVALID_HANDLE;
        };
        ours.number = (ours.number + 1) % ALIGNMENT as u8;
        ours.mask = mask;
        let (number, index) = (ours.number, ours.index);
        let pinned = self.pinned(slot);
        let lent = UnsafeCell::raw_get(lent_of(pinned).as_ptr());
        let mut on_stack = NOTHING_LENT.status;
        let mut status = status_of(lent);
        if D::STATUS_ON_STACK {
            status = NonNull::from(&mut on_stack);
        }
        // SAFETY: by its state the slot was ours alone until the caller began to submit it, and
        // the kernel does not have it yet.
        let info = unsafe {
            lent.write(Lent {
                status: NOTHING_LENT.status,
                info: question(socket, mask),
            });
            NonNull::new_unchecked(&raw mut (*lent).info)
        };
        let mut context = pinned.as_ptr() as usize | usize::from(number);
        if D::INDEX_AS_CONTEXT {
            context = index as usize + 1;
        }
        let submission = Submission {
            control,
            context,
            status,
            info,
        };
        // SAFETY: both pointers are into the lent half of an allocated slot. From here until the
        // packet with this context was dequeued (or the answer says that there will be none) the
        // slot's operation is in flight, in which state nothing here touches that half, the slot
        // is not released, and its block neither moves nor is freed.
        unsafe { nt.submit(submission) }
    }

    /// Tells the kernel to end a slot's operation.
    pub(super) fn cancel<N: Nt>(&self, nt: &N, slot: Slot) -> Status {
        let lent = UnsafeCell::raw_get(lent_of(self.pinned(slot)).as_ptr());
        match self.ours(slot).control {
            Some(control) => nt.cancel(control, status_of(lent)),
            None => Status::NOT_FOUND,
        }
    }

    /// The slot that a packet's context names: one that is in flight with an operation of this
    /// number. The address is not followed unless it is a slot of an allocated block.
    pub(super) fn claim(&self, context: usize) -> Option<Slot> {
        let address = context & !(ALIGNMENT - 1);
        let number = (context & (ALIGNMENT - 1)) as u8;
        let slot = self.find(address)?;
        let ours = self.ours(slot);
        let is_expected = ours.number == number || D::IGNORES_NUMBER;
        let is_in_flight = ours.operation.is_in_flight() || D::IGNORES_FLIGHT;
        (is_in_flight && is_expected).then_some(slot)
    }

    fn find(&self, address: usize) -> Option<Slot> {
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

    /// What the kernel has written for an operation that has ended.
    ///
    /// # Panics
    ///
    /// The slot is in flight: the kernel may be writing.
    pub(super) fn answer(&self, slot: Slot) -> Answer {
        let is_ours = !self.ours(slot).operation.is_in_flight();
        assert!(is_ours, "the kernel has it");
        let lent = UnsafeCell::raw_get(lent_of(self.pinned(slot)).as_ptr());
        // SAFETY: the operation is over and its packet dequeued, so the kernel writes no more; any
        // bytes that it can have written are valid numbers.
        let info = unsafe { (*lent).info };
        // What is not ready is not listed, and then the rest is what was asked.
        let events = match info.number_of_handles {
            0 => 0,
            _ => info.handles[0].events,
        };
        Answer { events }
    }

    /// The slots that are taken.
    pub(super) fn taken(&self) -> Vec<Slot> {
        let blocks = 0..self.blocks.len() as u32;
        let all = blocks.flat_map(|block| {
            (0..D::SLOTS_PER_BLOCK as u32).map(move |place| Slot { block, place })
        });
        all.filter(|slot| self.is_taken(*slot)).collect()
    }

    /// Leaves the blocks that the kernel may write to where they are, for ever.
    pub(super) fn leak(&mut self) {
        for slot in self.taken() {
            let is_lent = self.is_taken(slot) && self.ours(slot).operation.is_in_flight();
            if is_lent {
                self.blocks[slot.block as usize] = None;
            }
        }
        self.in_flight = 0;
    }

    fn is_taken(&self, slot: Slot) -> bool {
        let block = self.blocks[slot.block as usize].as_ref();
        block.is_some_and(|block| !block.free.contains(&slot.place))
    }

    #[cfg(test)]
    fn address(&self, slot: Slot) -> usize {
        self.pinned(slot).as_ptr() as usize
    }

    fn pinned(&self, slot: Slot) -> NonNull<PinnedState> {
        let block = self.blocks[slot.block as usize].as_ref();
        let memory = block.expect("a slot's block is allocated").memory;
        assert!((slot.place as usize) < D::SLOTS_PER_BLOCK);
        // SAFETY: the place is within the block, which is one allocation of as many slots.
        unsafe { memory.add(slot.place as usize) }
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
            // SAFETY: the place is within the block, which nobody else knows of yet.
            let pinned = unsafe { memory.add(place) };
            // SAFETY: as above.
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
        self.allocations += 1;
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
            poison::lift(unsafe { memory.add(place) });
        }
        // SAFETY: allocated with the same layout; no slot of it is taken, so neither the kernel
        // nor anything here has a pointer into it.
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

impl<D: Defects> Drop for Slots<D> {
    /// Frees what is left; what is in flight was [left](Self::leak) to the kernel before.
    fn drop(&mut self) {
        assert!(self.in_flight == 0 || D::FREES_AT_SHUTDOWN || std::thread::panicking());
        if self.in_flight > 0 && !D::FREES_AT_SHUTDOWN {
            return;
        }
        #[cfg(test)]
        for slot in self.taken() {
            self.held.remove(self.address(slot));
        }
        for block in std::mem::take(&mut self.blocks).into_iter().flatten() {
            self.dealloc(block.memory);
        }
    }
}

/// A slot that was never taken.
fn unused() -> PinnedState {
    PinnedState {
        lent: UnsafeCell::new(NOTHING_LENT),
        ours: Ours {
            generation: 0,
            index: 0,
            operation: Operation::None,
            number: 0,
            mask: 0,
            control: None,
            group: None,
        },
    }
}

/// What the lent half holds before the kernel was given it.
const NOTHING_LENT: Lent = Lent {
    status: IoStatusBlock {
        status: StatusOrPointer::new(Status::PENDING),
        information: 0,
    },
    info: question(Handle(0), 0),
};

const fn question(socket: Handle, mask: u32) -> AfdPollInfo {
    AfdPollInfo {
        timeout: i64::MAX,
        number_of_handles: 1,
        exclusive: 0,
        handles: [AfdPollHandleInfo {
            handle: socket,
            events: mask,
            status: Status::SUCCESS,
        }],
    }
}

fn lent_of(pinned: NonNull<PinnedState>) -> NonNull<UnsafeCell<Lent>> {
    // The lent half comes first, by assertion.
    pinned.cast()
}

fn status_of(lent: *mut Lent) -> NonNull<IoStatusBlock> {
    NonNull::new(lent.cast()).expect("a slot's address is not zero")
}

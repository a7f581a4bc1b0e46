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
//! in flight. All of it is asked of our own table of blocks before the address is followed. And the kernel must
//! have written to the slot: one that queued packets for what it answers at once, though it was told not to, could
//! have one left of 128 operations ago.
//!
//! # What safety rests on
//!
//! That a slot is in flight from before the kernel is given its memory until the kernel is done with
//! it. No caller can break that: the state of an operation is changed here alone, by the machine's
//! table. [`Slots::submit`] gives a slot to the kernel and applies the answer; [`Slots::complete`]
//! takes it back, for a packet that is the slot's own; [`Slots::step`] does the rest, and refuses what
//! is only the kernel's to say. Everything else, up to the poller, is safe code. What is left to trust
//! is the kernel, and who else posts to the port: [`Nt`] says what for.

mod blocks;
mod poison;
mod question;

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::{align_of, offset_of, size_of};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, Ordering};

use self::blocks::Blocks;
pub(super) use self::question::Question;
use super::defects::Defects;
use super::machine::{Action, Input, Operation, Registration, State, next};
use super::poll_file::PollFile;
use crate::nt::{
    AfdPollInfo, Handle, IoStatusBlock, Nt, Packet, Status, StatusOrPointer, Submission, flag,
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
    /// Of the object that the operation is about: what its place in the table is compared with.
    pub(super) generation: u64,
    /// Where in the table its object is, or was.
    pub(super) index: u32,
    pub(super) operation: Operation,
    /// Of the operation that was submitted last, modulo 128.
    number: u8,
    /// The file says that it had the operation when it was told to end it.
    pub(super) was_found: bool,
    /// AFD's flags that are polled for; none if nothing is in flight.
    pub(super) mask: u32,
    /// What is in flight has no time limit.
    pub(super) is_endless: bool,
    /// How many operations running have ended unasked and with nothing.
    pub(super) vain: u8,
    /// The number of its source among those that have gone with a poll in flight; 0 while it is there.
    pub(super) gone: u64,
    /// The file that operations are issued on, and are cancelled through.
    pub(super) file: Option<PollFile>,
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

/// What came of a submission, or of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) slot: Slot,
    pub(super) action: Action,
    pub(super) status: Status,
    /// AFD's flags that were found; none unless the operation has succeeded.
    pub(super) events: u32,
    /// The handle that the operation was issued on was still that file's when this was under way.
    pub(super) is_open: bool,
}

/// All slots of one port.
pub(super) struct Slots<D: Defects> {
    blocks: Blocks<D>,
    /// How many slots are in flight.
    in_flight: usize,
    defects: PhantomData<D>,
}

// SAFETY: the blocks are reached through this value alone, but for the lent halves of those in
// flight, which the kernel may write from wherever it runs.
unsafe impl<D: Defects> Send for Slots<D> {}

// SAFETY: whoever has a shared reference to this value is lent our half of a slot at most, which is changed
// through an exclusive one only. The lent halves are touched by `submit`, `complete` and what they call, which
// take the value exclusively, and as atomics or not at all by the rest.
unsafe impl<D: Defects> Sync for Slots<D> {}

impl<D: Defects> Slots<D> {
    pub(super) fn new() -> Self {
        const { assert!(D::SLOTS_PER_BLOCK >= 1 && D::SLOTS_PER_BLOCK <= ALIGNMENT) };
        Slots {
            blocks: Blocks::new(),
            in_flight: 0,
            defects: PhantomData,
        }
    }

    /// How many operations the kernel has.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The slots that are taken.
    pub(super) fn taken(&self) -> Vec<Slot> {
        self.blocks.taken()
    }

    /// Takes a slot for an object; nothing if there is no memory.
    pub(super) fn take(&mut self, index: u32, generation: u64) -> Option<Slot> {
        let slot = self.blocks.take()?;
        let ours = self.ours_mut(slot);
        *ours = Ours {
            generation,
            index,
            operation: Operation::Idle,
            // Goes on counting where the memory was used before, for as long as its block is there.
            number: ours.number,
            ..unused().ours
        };
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
        self.blocks.put_back(slot);
    }

    /// What is ours of a slot.
    pub(super) fn ours(&self, slot: Slot) -> &Ours {
        // SAFETY: `memory` answers with an address in an allocated block, where every slot has
        // been initialised; the kernel has the other half only, and the borrow of `self` keeps
        // this half from being changed, or the block from being freed, while the reference lives.
        unsafe { &(*self.blocks.memory(slot).as_ptr()).ours }
    }

    fn ours_mut(&mut self, slot: Slot) -> &mut Ours {
        // SAFETY: as in `ours`, with a borrow that nobody shares.
        unsafe { &mut (*self.blocks.memory(slot).as_ptr()).ours }
    }

    /// The source of a slot is gone, with its operation in flight, as the one of this number.
    pub(super) fn set_gone(&mut self, slot: Slot, number: u64) {
        self.ours_mut(slot).gone = number;
    }

    /// Settles on which file a slot's operations are issued: the socket, or a group's helper.
    ///
    /// # Panics
    ///
    /// The slot is in flight: its operation is cancelled through the file that it was issued on.
    pub(super) fn set_file(&mut self, slot: Slot, file: PollFile, group: Option<u32>) {
        let ours = self.ours_mut(slot);
        let is_free = matches!(ours.operation, Operation::Idle | Operation::Submitting);
        assert!(is_free, "the kernel has it");
        (ours.file, ours.group) = (Some(file), group);
    }

    /// Takes a slot and its source to their next state.
    ///
    /// # Panics
    ///
    /// The input is impossible in this state, or is the kernel's to give.
    pub(super) fn step(
        &mut self,
        slot: Slot,
        registration: &mut Registration,
        input: Input,
    ) -> Action {
        let is_kernels = matches!(
            input,
            Input::Accepted | Input::Answered | Input::Packet | Input::Failure
        );
        assert!(!is_kernels, "{input:?} is for the kernel to say");
        self.apply(slot, registration, input)
    }

    fn apply(&mut self, slot: Slot, registration: &mut Registration, input: Input) -> Action {
        let state = State {
            registration: *registration,
            operation: self.ours(slot).operation,
        };
        let (after, action) = next(state, input);
        self.set_operation(slot, after.operation);
        *registration = after.registration;
        action
    }

    fn set_operation(&mut self, slot: Slot, operation: Operation) {
        let before = self.ours(slot).operation.is_in_flight();
        let ours = self.ours_mut(slot);
        ours.operation = operation;
        if operation.is_in_flight() {
            self.in_flight += usize::from(!before);
        } else {
            (ours.mask, ours.is_endless, ours.was_found) = (0, false, false);
            self.in_flight -= usize::from(before);
        }
    }

    /// Gives a slot to the kernel, to poll a socket for what the mask says, and applies its answer.
    ///
    /// # Panics
    ///
    /// The slot is not being submitted, by its own state.
    pub(super) fn submit<N: Nt>(
        &mut self,
        nt: &N,
        slot: Slot,
        registration: &mut Registration,
        question: Question,
    ) -> Outcome {
        let status = self.hand_over(nt, slot, question);
        let input = match status {
            Status::PENDING => Input::Accepted,
            status if status.is_error() => Input::Refused,
            // The control file queues no packet for what is answered at once.
            _ => Input::Answered,
        };
        let action = self.apply(slot, registration, input);
        let events = match input {
            Input::Answered => self.answer(slot),
            _ => 0,
        };
        if events != 0 {
            self.ours_mut(slot).vain = 0;
        }
        Outcome {
            slot,
            action,
            status,
            events,
            is_open: true,
        }
    }

    fn hand_over<N: Nt>(&mut self, nt: &N, slot: Slot, question: Question) -> Status {
        let ours = self.ours_mut(slot);
        assert_eq!(ours.operation, Operation::Submitting);
        let Some(file) = ours.file else {
            return Status::INVALID_HANDLE;
        };
        ours.number = (ours.number + 1) % ALIGNMENT as u8;
        (ours.mask, ours.is_endless) = (question.mask, question.is_endless);
        let index = ours.index;
        let pinned = self.blocks.memory(slot);
        let lent = UnsafeCell::raw_get(lent_of(pinned).as_ptr());
        let mut on_stack = NOTHING_LENT.status;
        let mut status = status_of(lent);
        if D::STATUS_ON_STACK {
            status = NonNull::from(&mut on_stack);
        }
        // SAFETY: by its state the slot was ours alone until now, and the kernel does not have it
        // yet.
        let info = unsafe {
            lent.write(Lent {
                status: NOTHING_LENT.status,
                info: question.info(),
            });
            NonNull::new_unchecked(&raw mut (*lent).info)
        };
        let mut context = self.context(slot);
        if D::INDEX_AS_CONTEXT {
            context = index as usize + 1;
        }
        let submission = Submission {
            control: file.handle(),
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

    /// What the packet of a slot's operation carries.
    pub(super) fn context(&self, slot: Slot) -> usize {
        let address = self.blocks.memory(slot).as_ptr() as usize;
        address | usize::from(self.ours(slot).number)
    }

    /// Tells the kernel to end a slot's operation. Whatever it answers, only the packet says that the
    /// operation is over.
    pub(super) fn cancel<N: Nt>(&mut self, nt: &N, slot: Slot) {
        let lent = UnsafeCell::raw_get(lent_of(self.blocks.memory(slot)).as_ptr());
        let ours = self.ours_mut(slot);
        if let Some(file) = ours.file {
            ours.was_found = nt.cancel(file.handle(), status_of(lent)) == Status::SUCCESS;
        }
    }

    /// The slot that a packet's context names: one that is in flight with an operation of this
    /// number. The address is not followed unless it is a slot of an allocated block.
    pub(super) fn claim(&self, context: usize) -> Option<Slot> {
        let address = context & !(ALIGNMENT - 1);
        let number = (context & (ALIGNMENT - 1)) as u8;
        let slot = self.blocks.find(address)?;
        let ours = self.ours(slot);
        let is_expected = ours.number == number || D::IGNORES_NUMBER;
        let is_in_flight = ours.operation.is_in_flight() || D::IGNORES_FLIGHT;
        (is_in_flight && is_expected).then_some(slot)
    }

    /// Takes a slot back from the kernel, by the packet of its operation; nothing if the packet is
    /// nobody's. The caller finds what the slot was armed for, unless that is gone.
    pub(super) fn complete<'a>(
        &mut self,
        packet: &Packet,
        find: impl FnOnce(&Ours) -> Option<&'a mut Registration>,
    ) -> Option<Outcome> {
        let slot = self.claim(packet.context)?;
        if !self.is_written(slot) && !D::IGNORES_STATUS {
            return None;
        }
        let ours = self.ours(slot);
        let (found, was_found) = (find(ours), ours.was_found);
        let mut removed = Registration::Removed;
        let registration = found.unwrap_or(&mut removed);
        let status = packet.status.status.status;
        let events = match status.is_error() {
            true => 0,
            false => self.written_answer(slot),
        };
        let mut input = match status {
            Status::CANCELLED => Input::Packet,
            status if status.is_error() => Input::Failure,
            _ => Input::Packet,
        };
        if input == Input::Packet && self.is_in_vain_again(slot, status, events) {
            input = Input::Failure;
        }
        let action = self.apply(slot, registration, input);
        // Only success is reported with what was found, and a failure with an error.
        let status = match status.is_error() || input == Input::Packet {
            true => status,
            false => Status::CANCELLED,
        };
        // One that ends as if cancelled, and was not, may be of a handle that was closed: another
        // process has one for the same file.
        let is_open = match status.is_error() {
            true => was_found,
            false => events & flag::LOCAL_CLOSE == 0,
        };
        Some(Outcome {
            slot,
            action,
            status,
            events,
            is_open,
        })
    }

    /// Notes whether an operation has ended unasked and with nothing, and says whether too many have running.
    fn is_in_vain_again(&mut self, slot: Slot, status: Status, events: u32) -> bool {
        let ours = self.ours_mut(slot);
        let is_asked = match status {
            Status::TIMEOUT => !ours.is_endless,
            _ => ours.operation == Operation::Cancelling,
        };
        if events != 0 || is_asked {
            ours.vain = 0;
            return false;
        }
        ours.vain = ours.vain.saturating_add(1);
        let is_too_often = ours.vain >= D::VAIN_MAX && !D::SPINS_IN_VAIN;
        if is_too_often {
            ours.vain = 0;
        }
        is_too_often
    }

    /// Whether the kernel has written how the operation of a slot has ended. It has by the time that the packet
    /// is dequeued; if not, the packet is of an earlier operation with the same number.
    fn is_written(&self, slot: Slot) -> bool {
        let lent = UnsafeCell::raw_get(lent_of(self.blocks.memory(slot)).as_ptr());
        let status = status_of(lent).cast::<i32>();
        // SAFETY: the status is the first four bytes of a slot in an allocated block, aligned as all of it. The
        // kernel may write to it at this moment, in one piece; nothing but this reads it then.
        let status = unsafe { AtomicI32::from_ptr(status.as_ptr()) };
        status.load(Ordering::Acquire) != Status::PENDING.0
    }

    /// The defect of taking a slot back before the kernel is done with it.
    pub(super) fn take_back_early(&mut self, slot: Slot) {
        assert!(D::FREES_ON_CANCEL, "the kernel has it");
        self.set_operation(slot, Operation::Idle);
    }

    /// The flags that the kernel has written for an operation that was answered at once.
    fn answer(&self, slot: Slot) -> u32 {
        let is_ours = !self.ours(slot).operation.is_in_flight();
        assert!(is_ours, "the kernel has it");
        self.written_answer(slot)
    }

    /// The flags that the kernel has written for an operation that has ended, by its packet or at once.
    fn written_answer(&self, slot: Slot) -> u32 {
        let lent = UnsafeCell::raw_get(lent_of(self.blocks.memory(slot)).as_ptr());
        // SAFETY: the operation is over and its packet dequeued, so the kernel writes no more; any
        // bytes that it can have written are valid numbers.
        let info = unsafe { (*lent).info };
        // What is not ready is not listed, and then the rest is what was asked.
        match info.number_of_handles {
            0 => 0,
            _ => info.handles[0].events,
        }
    }

    /// Leaves the blocks that the kernel may write to where they are, for ever.
    pub(super) fn leak(&mut self) {
        for slot in self.taken() {
            // A block that was left already is no longer there to ask.
            if self.blocks.is_there(slot) && self.ours(slot).operation.is_in_flight() {
                self.blocks.leak(slot);
            }
        }
        self.in_flight = 0;
    }
}

impl<D: Defects> Drop for Slots<D> {
    /// Frees what is left; what is in flight was [left](Self::leak) to the kernel before.
    fn drop(&mut self) {
        if self.in_flight > 0 && !D::FREES_AT_SHUTDOWN {
            // Before anything else: a panic would free them.
            self.blocks.leak_all();
            assert!(std::thread::panicking(), "the kernel has some of it");
        }
    }
}

/// For tests.
#[cfg(test)]
impl<D: Defects> Slots<D> {
    /// Where the slots are that are taken, for a kernel that checks.
    pub(super) fn held(&self) -> std::sync::Arc<super::Held> {
        std::sync::Arc::clone(&self.blocks.held)
    }

    /// What has been written to a slot whose packet was dequeued and not looked at.
    pub(super) fn written(&self, slot: Slot) -> u32 {
        let lent = UnsafeCell::raw_get(lent_of(self.blocks.memory(slot)).as_ptr());
        // SAFETY: the packet was dequeued: the kernel writes no more.
        unsafe { (*lent).info.handles[0].events }
    }

    /// A slot's place among all.
    pub(super) fn ordinal(&self, slot: Slot) -> u8 {
        (slot.block as usize * D::SLOTS_PER_BLOCK) as u8 + slot.place as u8
    }

    /// What a context names: a slot's place, and how many operations ago, modulo 128.
    pub(super) fn place_of(&self, context: usize) -> Option<(u8, u8)> {
        let slot = self.blocks.find(context & !(ALIGNMENT - 1))?;
        let number = (context % ALIGNMENT) as u8;
        let behind = self.ours(slot).number.wrapping_sub(number) % ALIGNMENT as u8;
        Some((self.ordinal(slot), behind))
    }

    /// The blocks with room, in the order in which they are asked.
    pub(super) fn room(&self) -> &[u32] {
        self.blocks.room()
    }

    /// How many blocks were ever allocated.
    pub(super) fn allocations(&self) -> u64 {
        self.blocks.allocations
    }

    pub(super) fn blocks_len(&self) -> usize {
        self.blocks.len()
    }

    /// The free places of a block, in the order of being taken.
    pub(super) fn free_places(&self, block: usize) -> Option<&[u32]> {
        self.blocks.free_places(block)
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
            was_found: false,
            mask: 0,
            is_endless: false,
            vain: 0,
            gone: 0,
            file: None,
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
    info: Question {
        socket: Handle(0),
        mask: 0,
        is_endless: true,
    }
    .info(),
};

fn lent_of(pinned: NonNull<PinnedState>) -> NonNull<UnsafeCell<Lent>> {
    // The lent half comes first, by assertion.
    pinned.cast()
}

fn status_of(lent: *mut Lent) -> NonNull<IoStatusBlock> {
    NonNull::new(lent.cast()).expect("a slot's address is not zero")
}

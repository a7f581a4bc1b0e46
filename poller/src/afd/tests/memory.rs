//! Blocks, by what the allocator is asked for, and what packets may name in them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::super::defects::Defects;
use super::super::machine::{Action, Input, Need, Registration};
use super::super::pinned::{Question, Slot, Slots};
use super::super::poll_file::PollFile;
use super::super::port::{PollingMode, Port};
use crate::event::Event;
use crate::nt::sim::{Kernel, Sim, Socket};
use crate::nt::{Handle, Nt, Packet, Status, flag};
use crate::{Events, Interest, Key, Poller};

/// Of a size that nothing else in these tests has.
struct Blocks;

const SLOTS: usize = 5;
const BLOCK: usize = SLOTS * 128;

impl Defects for Blocks {
    const SLOTS_PER_BLOCK: usize = SLOTS;
}

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static REFUSES: Cell<bool> = const { Cell::new(false) };
}

/// Counts the blocks of this thread, and has no memory for them when a test says so.
struct Counting;

fn is_block(layout: Layout) -> bool {
    layout.size() == BLOCK && layout.align() == 128
}

// SAFETY: the system's allocator does all of it, or there is no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_block(layout) {
            if REFUSES.get() {
                return std::ptr::null_mut();
            }
            LIVE.set(LIVE.get() + 1);
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if is_block(layout) {
            LIVE.set(LIVE.get() - 1);
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn take(slots: &mut Slots<Blocks>, count: usize) -> Vec<Slot> {
    (0..count).map(|_| slots.take(7, 70).unwrap()).collect()
}

/// Where a slot is.
fn address(slots: &Slots<Blocks>, slot: Slot) -> usize {
    std::ptr::from_ref(slots.ours(slot)) as usize & !127
}

/// A kernel for slots without a port's backend.
struct Lender {
    kernel: Arc<Kernel>,
    nt: Sim,
    port: Handle,
    socket: Socket,
    control: PollFile,
}

impl Lender {
    fn new() -> Lender {
        let kernel = Arc::<Kernel>::default();
        let nt = Sim::new(&kernel);
        let port = nt.create_port().unwrap();
        let socket = Socket::bare(&kernel);
        let control = PollFile::new(&nt, port, socket.handle(), &mut 0).unwrap();
        Lender {
            kernel,
            nt,
            port,
            socket,
            control,
        }
    }

    /// Has a slot in flight. What its packet will carry.
    fn lend(&self, slots: &mut Slots<Blocks>, slot: Slot) -> usize {
        let mut live = Registration::Live;
        slots.set_file(slot, self.control, None);
        let action = slots.step(slot, &mut live, Input::Look(Need::More));
        assert_eq!(action, Action::Submit);
        let question = Question {
            socket: self.socket.handle(),
            mask: flag::RECEIVE,
            is_endless: true,
        };
        let outcome = slots.submit(&self.nt, slot, &mut live, question);
        assert_eq!(
            (outcome.status, outcome.action),
            (Status::PENDING, Action::Nothing)
        );
        slots.context(slot)
    }

    /// Ends all that is in flight.
    fn give_back(&self, slots: &mut Slots<Blocks>) -> Vec<Slot> {
        self.kernel.cancel_unasked(self.socket.handle());
        let mut packets = [Packet::EMPTY; 64];
        let found = self
            .nt
            .dequeue(self.port, &mut packets, Some(Duration::ZERO));
        let outcomes = packets[..found.unwrap()].iter().map(|packet| {
            let mut live = Registration::Live;
            let outcome = slots.complete(packet, |_| Some(&mut live));
            outcome.expect("its own").slot
        });
        outcomes.collect()
    }
}

#[test]
fn every_block_returns_to_the_allocator() {
    let mut slots = Slots::<Blocks>::new();
    assert_eq!(LIVE.get(), 0, "none before there is a source");
    let taken = take(&mut slots, 3 * SLOTS);
    assert_eq!(LIVE.get(), 3);
    let kept = taken[0];
    for (at, slot) in taken.into_iter().enumerate().skip(1) {
        slots.release(slot);
        let expected = if at == 3 * SLOTS - 1 { 2 } else { 3 };
        assert_eq!(LIVE.get(), expected, "one that is empty is kept");
    }
    slots.release(kept);
    for _ in 0..2 {
        assert_eq!(LIVE.get(), 1, "and used again");
        let slot = take(&mut slots, 1)[0];
        slots.release(slot);
    }
    take(&mut slots, SLOTS + 1);
    assert_eq!(LIVE.get(), 2);
    drop(slots);
    assert_eq!(LIVE.get(), 0, "taken or not");
}

#[test]
fn what_is_in_flight_at_the_end_is_left_with_its_block_and_nothing_else() {
    let mut slots = Slots::<Blocks>::new();
    let taken = take(&mut slots, 3 * SLOTS);
    let lender = Lender::new();
    for slot in [taken[SLOTS], taken[SLOTS + 2]] {
        lender.lend(&mut slots, slot);
    }
    assert_eq!(slots.in_flight(), 2);
    let held = slots.held();
    let [idle, lent] = [taken[0], taken[SLOTS]].map(|slot| address(&slots, slot));
    slots.leak();
    assert_eq!(slots.in_flight(), 0);
    drop(slots);
    assert_eq!(LIVE.get(), 1);
    assert!(held.covers(lent, 48) && !held.covers(idle, 48));
    LIVE.set(0);
}

/// Whatever has gone wrong, the kernel writes to where it was told to.
#[test]
fn what_is_in_flight_when_a_panic_unwinds_is_left_to_the_kernel() {
    let unwinds = || {
        let mut slots = Slots::<Blocks>::new();
        let slot = take(&mut slots, 1)[0];
        Lender::new().lend(&mut slots, slot);
        panic!("of something else");
    };
    assert!(catch_unwind(unwinds).is_err());
    assert_eq!(LIVE.get(), 1);
    LIVE.set(0);
}

#[test]
fn only_slots_are_named_by_packets() {
    let mut slots = Slots::<Blocks>::new();
    let taken = take(&mut slots, SLOTS);
    let lender = Lender::new();
    let contexts: Vec<usize> = taken
        .iter()
        .map(|slot| lender.lend(&mut slots, *slot))
        .collect();
    let first = address(&slots, taken[0]);
    for (place, (slot, context)) in taken.iter().zip(&contexts).enumerate() {
        assert_eq!(*context, first + place * 128 + 1);
        assert_eq!(slots.claim(*context), Some(*slot));
        assert_eq!(slots.claim(context + 1), None, "of another operation");
    }
    for nowhere in [
        0,
        first - 127,
        first + BLOCK + 1,
        first + BLOCK + 129,
        usize::MAX,
    ] {
        assert_eq!(slots.claim(nowhere), None);
    }
    assert_eq!(lender.give_back(&mut slots), taken);
    for context in &contexts {
        assert_eq!(slots.claim(*context), None, "not in flight");
    }
}

#[test]
fn packets_find_their_slots_in_many_blocks() {
    let mut slots = Slots::<Blocks>::new();
    let taken = take(&mut slots, 20 * SLOTS);
    // Every third block goes, and its number is used again.
    for block in taken.chunks(SLOTS).step_by(3) {
        block.iter().for_each(|slot| slots.release(*slot));
    }
    let again = take(&mut slots, 7 * SLOTS);
    let there = taken.chunks(SLOTS).enumerate();
    let there = there
        .filter(|(at, _)| at % 3 != 0)
        .flat_map(|(_, block)| block);
    let there: Vec<Slot> = there.chain(&again).copied().collect();
    assert_eq!(slots.blocks_len(), 20);
    assert_eq!(slots.taken().len(), there.len());
    let lender = Lender::new();
    for slot in &there {
        let context = lender.lend(&mut slots, *slot);
        assert_eq!(context & !127, address(&slots, *slot));
        assert_eq!(lender.give_back(&mut slots), [*slot]);
    }
}

/// Only the kernel's own word ends an operation.
#[test]
fn nobody_else_says_that_an_operation_is_over() {
    for input in [
        Input::Packet,
        Input::Failure,
        Input::Answered,
        Input::Refused,
    ] {
        let mut slots = Slots::<Blocks>::new();
        let slot = take(&mut slots, 1)[0];
        let lender = Lender::new();
        lender.lend(&mut slots, slot);
        let ends = AssertUnwindSafe(|| slots.step(slot, &mut Registration::Live, input));
        assert!(catch_unwind(ends).is_err(), "{input:?}");
        assert!(catch_unwind(AssertUnwindSafe(|| slots.release(slot))).is_err());
        assert_eq!(lender.give_back(&mut slots), [slot]);
        slots.release(slot);
    }
}

/// A packet that comes twice is one too many wherever it names what its memory is used for next.
#[test]
fn memory_that_is_used_again_goes_on_counting() {
    let kernel = Arc::<Kernel>::default();
    let port = Port::<_, Blocks>::with_mode(Sim::new(&kernel), PollingMode::Auto).unwrap();
    let mut poller = Poller::<_, (), _>::over(port);
    let mut events = Events::with_capacity(64);
    let mut contexts = Vec::new();
    for _ in 0..300 {
        let key = poller.insert(Socket::bare(&kernel)).unwrap();
        poller.set_interest(key, Interest::READABLE);
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        contexts.extend(kernel.any_context());
        assert!(poller.close(key));
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(kernel.operations(), 0);
    }
    let slot = contexts[0] & !127;
    let numbers = contexts.iter().map(|context| context - slot);
    assert!(numbers.eq((1..=300).map(|number| number % 128)));
}

#[test]
fn a_source_for_which_there_is_no_memory_is_reported_and_rests() {
    let kernel = Arc::<Kernel>::default();
    let port = Port::<_, Blocks>::with_mode(Sim::new(&kernel), PollingMode::Auto).unwrap();
    let mut poller = Poller::<_, (), _>::over(port);
    let add = |poller: &mut Poller<Socket, (), Port<Sim, Blocks>>| -> Key {
        let socket = Socket::bare(&kernel);
        kernel.set_events(socket.handle(), flag::RECEIVE);
        let key = poller.insert(socket).unwrap();
        poller.set_interest(key, Interest::READABLE);
        key
    };
    let mut events = Events::with_capacity(64);
    let mut wait = |poller: &mut Poller<Socket, (), Port<Sim, Blocks>>| -> Vec<Event> {
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().copied().collect()
    };
    let served: Vec<Key> = (0..SLOTS).map(|_| add(&mut poller)).collect();
    let served: Vec<_> = served
        .into_iter()
        .map(|key| Event::new(key, Interest::READABLE))
        .collect();
    assert_eq!(wait(&mut poller), served);
    REFUSES.set(true);
    let unlucky = add(&mut poller);
    let events = wait(&mut poller);
    assert_eq!(events[..SLOTS], served, "the others are");
    let report = Event::refused(unlucky, Interest::READABLE, Status::NO_MEMORY.0);
    assert_eq!(events[SLOTS..], [report]);
    REFUSES.set(false);
    assert_eq!(wait(&mut poller), served, "it is told once");
    poller.set_interest(unlucky, Interest::READABLE);
    let events = wait(&mut poller);
    assert!(events.contains(&Event::new(unlucky, Interest::READABLE)));
    assert_eq!(events.len(), SLOTS + 1);
    poller.shut_down().unwrap();
    assert_eq!(LIVE.get(), 0);
}

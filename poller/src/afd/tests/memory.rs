//! Blocks, by what the allocator is asked for, and what packets may name in them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::super::defects::Defects;
use super::super::machine::Operation;
use super::super::pinned::{Slot, Slots};
use super::super::port::{ControlMode, Port};
use crate::event::Event;
use crate::nt::sim::{Kernel, Sim, Socket};
use crate::nt::{Status, flag};
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

/// The context of a slot's packets, before its first operation.
fn address(slots: &Slots<Blocks>, slot: Slot) -> usize {
    std::ptr::from_ref(slots.ours(slot)) as usize & !127
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
    assert_eq!(LIVE.get(), 1);
    take(&mut slots, SLOTS + 1);
    assert_eq!(LIVE.get(), 2);
    drop(slots);
    assert_eq!(LIVE.get(), 0, "taken or not");
}

#[test]
fn what_is_in_flight_at_the_end_is_left_with_its_block_and_nothing_else() {
    let mut slots = Slots::<Blocks>::new();
    let taken = take(&mut slots, 3 * SLOTS);
    for slot in [taken[SLOTS], taken[SLOTS + 2]] {
        slots.set_operation(slot, Operation::InFlight);
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

#[test]
fn only_slots_are_named_by_packets() {
    let mut slots = Slots::<Blocks>::new();
    let taken = take(&mut slots, SLOTS);
    for slot in &taken {
        slots.set_operation(*slot, Operation::InFlight);
    }
    let first = address(&slots, taken[0]);
    for (place, slot) in taken.iter().enumerate() {
        let context = first + place * 128;
        assert_eq!(slots.claim(context), Some(*slot));
        assert_eq!(slots.claim(context + 1), None, "of another operation");
    }
    for nowhere in [
        0,
        first - 128,
        first + BLOCK,
        first + BLOCK + 128,
        usize::MAX,
    ] {
        assert_eq!(slots.claim(nowhere), None);
    }
    for slot in &taken {
        slots.set_operation(*slot, Operation::Idle);
        assert_eq!(slots.claim(address(&slots, *slot)), None, "not in flight");
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
    for slot in &there {
        slots.set_operation(*slot, Operation::InFlight);
        assert_eq!(slots.claim(address(&slots, *slot)), Some(*slot));
        slots.set_operation(*slot, Operation::Idle);
    }
}

/// A packet that comes twice is one too many wherever it names what its memory is used for next.
#[test]
fn memory_that_is_used_again_goes_on_counting() {
    let kernel = Arc::<Kernel>::default();
    let port = Port::<_, Blocks>::with_mode(Sim::new(&kernel), ControlMode::Auto).unwrap();
    let mut poller = Poller::over(port);
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
    let port = Port::<_, Blocks>::with_mode(Sim::new(&kernel), ControlMode::Auto).unwrap();
    let mut poller = Poller::over(port);
    let add = |poller: &mut Poller<Socket, Port<Sim, Blocks>>| -> Key {
        let socket = Socket::bare(&kernel);
        kernel.set_events(socket.handle(), flag::RECEIVE);
        let key = poller.insert(socket).unwrap();
        poller.set_interest(key, Interest::READABLE);
        key
    };
    let mut events = Events::with_capacity(64);
    let mut wait = |poller: &mut Poller<Socket, Port<Sim, Blocks>>| -> Vec<Event> {
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

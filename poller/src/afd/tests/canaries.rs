//! Planted defects, and what finds each of them.
//!
//! Every variant changes one line of the backend; the suite is the same for all, and for the variant
//! without a defect.
//!
//! Without optimisation none is explored: `cargo test --release` explores all. Under the address sanitizer
//! explorations are slow, and only the one without a defect is made: `sanitizer.rs` has the defects of memory.

#![cfg_attr(
    all(any(ampe_poison, debug_assertions), not(any(ampe_mutants, windows))),
    allow(dead_code, unused_imports, reason = "not all are explored there")
)]

use std::cell::Cell;

use super::super::defects::Defects;
use super::super::poll_file::OPERATION_KEY;
use super::exhaustive::{self, Failure};
use super::lab::Oracle;
use super::swarm;
use crate::nt::sim::Violation;

thread_local! {
    /// The context of some operation in flight, for wakes that look like it.
    pub(super) static LIKENESS: Cell<usize> = const { Cell::new(0) };
}

/// Variants in small: blocks of two slots, few packets at a time, one skipped dequeue. For the
/// address sanitizer, to which a block that is freed tells more than a slot that is, blocks of one.
macro_rules! small {
    ($($(#[$doc:meta])* $name:ident { $($defect:tt)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;

        impl Defects for $name {
            const SLOTS_PER_BLOCK: usize = if cfg!(ampe_poison) { 1 } else { 2 };
            const BATCH: usize = 4;
            const SKIPS_MAX: u8 = 1;
            const CLOSING_MAX: u8 = 2;
            const AWAITED_MAX: u8 = 2;
            const VAIN_MAX: u8 = 3;
            $($defect)*
        }
    )*};
}

small! {
    /// Without a defect.
    Small {}
    StateMoves { const STATE_MOVES: bool = true; }
    StatusOnStack { const STATUS_ON_STACK: bool = true; }
    IndexAsContext {
        const INDEX_AS_CONTEXT: bool = true;
        const IGNORES_STATUS: bool = true;
    }
    FreesOnCancel { const FREES_ON_CANCEL: bool = true; }
    IgnoresNumber { const IGNORES_NUMBER: bool = true; }
    IgnoresFlight { const IGNORES_FLIGHT: bool = true; }
    IgnoresBlocks {
        const IGNORES_BLOCKS: bool = true;
        const IGNORES_STATUS: bool = true;
    }
    IgnoresGeneration { const IGNORES_GENERATION: bool = true; }
    DeliversStale { const DELIVERS_STALE: bool = true; }
    FreesAtShutdown { const FREES_AT_SHUTDOWN: bool = true; }
    ArmsWithoutInterest { const ARMS_WITHOUT_INTEREST: bool = true; }
    LosesWakes { const LOSES_WAKES: bool = true; }
    WakesLikeASlot {
        fn wake() -> Option<(usize, usize)> {
            Some((OPERATION_KEY, LIKENESS.get()))
        }
    }
    SkipsWithoutEnd { const SKIPS_WITHOUT_END: bool = true; }
    ParksNothing { const PARKS_NOTHING: bool = true; }
    SeparatesHandles { const SEPARATES_HANDLES: bool = true; }
    IgnoresZombies { const IGNORES_ZOMBIES: bool = true; }
    WaitsWithoutEnd { const WAITS_WITHOUT_END: bool = true; }
    SpinsInVain { const SPINS_IN_VAIN: bool = true; }
    IgnoresStatus { const IGNORES_STATUS: bool = true; }
    IgnoresBoth {
        const IGNORES_NUMBER: bool = true;
        const IGNORES_STATUS: bool = true;
    }
    LeaksAtOnce { const LEAKS_AT_ONCE: bool = true; }
    ClosesWithoutEnd { const CLOSES_WITHOUT_END: bool = true; }
}

/// What each of the two drivers finds, in the bounds of a quick run.
fn suite<D: Defects>() -> [Result<(), Failure>; 2] {
    [exhaustive::quick::<D>(), swarm::quick::<D>()]
}

/// The exhaustive driver finds it in its quick bounds, by one of these oracles.
#[track_caller]
fn assert_found<D: Defects>(expected: &[Oracle]) {
    let [exhaustive, swarm] = suite::<D>();
    let name = std::any::type_name::<D>().rsplit("::").next().unwrap();
    let failure = exhaustive.expect_err("the exploration does not notice the defect");
    println!("{name}: found by {failure}");
    match swarm {
        Err(failure) => println!("{name}: the swarm finds {:?} too", failure.oracle),
        Ok(()) => println!("{name}: the swarm does not meet it in its quick bounds"),
    }
    let is_expected = match &failure.oracle {
        Oracle::Assertion(_) => expected
            .iter()
            .any(|oracle| matches!(oracle, Oracle::Assertion(_))),
        oracle => expected.contains(oracle),
    };
    assert!(
        is_expected,
        "found by another oracle than expected: {failure}"
    );
}

// Without optimisation what `exhaustive` and `swarm` prove has to do.
#[cfg(any(ampe_poison, ampe_mutants, not(debug_assertions)))]
#[test]
fn without_a_defect_nothing_is_found() {
    for outcome in suite::<Small>() {
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[cfg(not(any(ampe_mutants, windows, debug_assertions)))]
macro_rules! found {
    ($($test:ident: $canary:ident by $($oracle:expr),+;)*) => {
        $(#[cfg(not(ampe_poison))]
        #[test]
        fn $test() {
            assert_found::<$canary>(&[$($oracle),+]);
        })*
    };
}

// Every variant is one more backend to compile, for which a mutation run has no time, nor who builds and tests all
// without optimisation: there they took a third of it. What finds them is the same on every system.
#[cfg(not(any(ampe_mutants, windows, debug_assertions)))]
found! {
    state_that_moves_is_found: StateMoves by Oracle::Kernel(Violation::WritesToFreed), Oracle::LeftBehind;
    a_status_block_on_the_stack_is_found: StatusOnStack by Oracle::LeftBehind;
    freeing_on_cancel_is_found: FreesOnCancel by Oracle::Kernel(Violation::LeavesOperations);
    delivering_stale_events_is_found: DeliversStale by Oracle::Misrouted;
    freeing_at_shutdown_is_found: FreesAtShutdown by Oracle::Kernel(Violation::LeavesOperations);
    an_index_as_context_is_found: IndexAsContext by Oracle::LeftBehind;
    ignoring_the_number_is_found: IgnoresNumber by Oracle::Misrouted;
    ignoring_the_flight_is_found: IgnoresFlight by Oracle::Assertion(String::new());
    ignoring_the_blocks_is_found: IgnoresBlocks by Oracle::Misrouted;
    ignoring_the_generation_is_found: IgnoresGeneration by Oracle::Misrouted;
    arming_without_interest_is_found: ArmsWithoutInterest by Oracle::PollsUnwanted;
    a_lost_wake_is_found: LosesWakes by Oracle::LostWake;
    a_wake_like_a_slot_is_found: WakesLikeASlot by Oracle::LostWake;
    skipping_without_end_is_found: SkipsWithoutEnd by Oracle::LostWake;
    parking_nothing_is_found: ParksNothing by Oracle::PollsParked;
    separating_handles_is_found: SeparatesHandles by Oracle::Kernel(Violation::PollsTwice);
    ignoring_zombies_is_found: IgnoresZombies by Oracle::Kernel(Violation::PollsTwice);
    waiting_without_end_is_found: WaitsWithoutEnd by Oracle::Lost;
    spinning_in_vain_is_found: SpinsInVain by Oracle::Spins;
    closing_without_end_is_found: ClosesWithoutEnd by Oracle::StaysClosing;
}

/// Besides what closes, wakes are lost.
#[cfg(not(any(ampe_poison, ampe_mutants, windows, debug_assertions)))]
#[test]
fn skipping_without_end_loses_wakes() {
    exhaustive::quick_with_wakes::<Small>().unwrap_or_else(|failure| panic!("{failure}"));
    let failure = exhaustive::quick_with_wakes::<SkipsWithoutEnd>().unwrap_err();
    assert_eq!(failure.oracle, Oracle::LostWake, "{failure}");
}

//! Runs by chance.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::ledger::Totals;
use super::world::World;

/// How many runs an ordinary test makes.
const RUNS: u64 = 200;

/// One whole run: everything by chance, then rest, then the end.
pub(super) fn run(seed: u64) -> Totals {
    let mut world = World::new(seed);
    for node in 0..world.nodes.len() {
        let member = world.add_member(node);
        world.listen(member);
    }
    let operations = world.rng.between(50, 600);
    for _ in 0..operations {
        world.operate();
        for _ in 0..world.rng.below(6) {
            world.step();
        }
    }
    finish(world)
}

/// Everything comes to rest, and then to its end.
pub(super) fn finish(mut world: World) -> Totals {
    for member in 0..world.members.len() {
        world.members[member].is_winding_down = true;
    }
    if world.rng.chance(80) {
        world.net.borrow_mut().temper.speed_up(); // what is left goes through tiny pipes for too long
    }
    world.settle();
    world.check_rest();
    for node in 0..world.nodes.len() {
        let within = Duration::from_micros(world.rng.below(30_000) as u64);
        world.stop(node, within);
    }
    world.settle();
    world.check_end()
}

/// What a run that failed said.
pub(super) fn failure(run: fn(u64) -> Totals, seed: u64) -> Option<String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| run(seed)));
    let payload = outcome.err()?;
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
    Some(text.unwrap_or_default())
}

/// Makes as many runs, or the one that is asked for; prints the seed of one that fails.
pub(super) fn each(runs: u64, run: fn(u64) -> Totals) -> Totals {
    let (first, runs) = match number_from("AMPE_SEED") {
        Some(seed) => (seed, 1),
        None => (
            number_from("AMPE_SIM_FIRST").unwrap_or(1),
            number_from("AMPE_SIM_RUNS").unwrap_or(runs),
        ),
    };
    let mut totals = Totals::default();
    for seed in first..first + runs {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(run) => totals.add(&run),
            Err(payload) => {
                eprintln!("the run with AMPE_SEED={seed} failed");
                std::panic::resume_unwind(payload);
            }
        }
    }
    totals
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .and_then(|value| value.parse().ok())
}

#[test]
fn promises_hold_in_random_runs() {
    let totals = each(RUNS, run);
    println!("{totals:#?}");
    if totals.runs >= RUNS {
        let reached = [
            totals.received,
            totals.returned,
            totals.refused_full,
            totals.rooms,
            totals.starved,
            totals.failures,
            totals.resets,
            totals.byes,
            totals.stalls,
            totals.hidden,
            totals.reused_numbers,
        ];
        assert!(
            !reached.contains(&0) && !totals.faults.kinds().contains(&0),
            "something was never reached: {totals:?}"
        );
    }
}

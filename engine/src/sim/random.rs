//! Runs by chance.

use std::time::Duration;

use super::ledger::Totals;
use super::seeds::{Family, Trial};
use super::world::World;

pub(super) const RANDOM: Family = Family {
    test: "sim::random",
    runs: 120,
    run,
};

/// One whole run: everything by chance, then rest, then the end.
fn run(trial: &mut Trial) -> Totals {
    let mut world = World::new(trial.seed);
    trial.note(&world);
    for node in 0..world.nodes.len() {
        let member = world.add_member(node);
        world.listen(member);
    }
    let operations = world.rng.between(50, 600);
    while trial.goes_on(operations) {
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
        world.net.borrow_mut().speed_up(); // what is left goes through tiny pipes for too long
    }
    world.settle();
    world.check_rest();
    for node in 0..world.nodes.len() {
        let within = Duration::from_micros(world.rng.below(30_000) as u64);
        world.stop(node, within);
    }
    world.settle();
    world.check_statistics();
    world.check_end()
}

#[test]
fn promises_hold_in_random_runs() {
    let totals = RANDOM.each();
    if totals.runs >= RANDOM.runs {
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
            totals.deaf,
            totals.hidden,
            totals.asked,
            totals.refused,
            totals.reused_numbers,
        ];
        let is_met = totals.faults.kinds().all(|(_, count)| count > 0);
        assert!(
            !reached.contains(&0) && is_met,
            "something was never reached: {totals:?}"
        );
    }
}

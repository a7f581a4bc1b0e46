//! Many runs, each from its own seed.

use std::env;

use super::Simulation;

/// Makes a run of each of the seeds from 0 up to `count`. If one panics, its seed is printed, with how to repeat it
/// alone: where the environment has `AMPE_SEED`, that seed is the only one.
///
/// # Panics
///
/// A run panics, or `AMPE_SEED` is no number.
pub fn for_each_seed(count: u64, mut run: impl FnMut(Simulation)) {
    let alone = env::var("AMPE_SEED").ok();
    let alone = alone.map(|seed| seed.parse().expect("AMPE_SEED is a number"));
    let (first, count) = alone.map_or((0, count), |seed: u64| (seed, 1));
    for seed in (0..count).map(|number| first + number) {
        let told = TellsSeed(seed);
        run(Simulation::new(seed));
        drop(told);
    }
}

/// Prints the seed if it is dropped by a panic.
struct TellsSeed(u64);

impl Drop for TellsSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("seed {seed} failed; AMPE_SEED={seed} in the environment repeats it alone");
        }
    }
}

//! Engines on a simulated network under a virtual clock: one seed, one run.
//!
//! The reactors are the real ones, [`Driver::pass`](crate::driver::Driver) line by line, with their
//! cores and shared state; what they run over is a [world](outside) of sockets, poller, clock and
//! resolver that is simulated, because waiting is what a simulation replaces. A reactor that wants
//! nothing and is due at no time sleeps, as it would: a wake-up that got lost leaves it asleep, and
//! the checks at rest find what it still owes.
//!
//! A failure names the promise that was broken, what the run was made with, and the commands that
//! repeat it: `AMPE_SEED=17 cargo test -p ampe --lib sim::random` (or `sim::starving`) that run alone,
//! with `AMPE_SIM_OPERATIONS=40` no more than so many of its operations. `AMPE_SIM_RUNS=100000` makes
//! as many runs, `AMPE_SIM_SECONDS=60` as many as there is time for, from a seed drawn anew;
//! `AMPE_SIM_FIRST=1000` says which is the first.

//!
//! What users' tests have of it is [`testing`].

#[cfg_attr(
    not(test),
    allow(dead_code, reason = "the engine's own tests use all of it")
)]
mod faults;
pub(crate) mod flag;
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "the engine's own tests use all of it")
)]
mod net;
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "the engine's own tests use all of it")
)]
mod outside;
mod pipe;
mod rng;
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "the engine's own tests use all of it")
)]
mod temper;
pub mod testing;
mod written;

#[cfg(test)]
mod app;
#[cfg(test)]
mod canaries;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod directed;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod listening;
#[cfg(test)]
mod node;
#[cfg(test)]
mod random;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod starving;
#[cfg(test)]
mod world;

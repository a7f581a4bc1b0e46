//! Long random runs of a large port: 64 sources, each run with probabilities of its own.
//!
//! `AMPE_SEED` replays one run; `AMPE_AFD_STEPS` says how many steps there are in all, a step being
//! one call or one packet of the kernel's.

use std::time::Instant;

use super::super::defects::{Defects, Sound};
use super::super::port::PollingMode;
use super::canaries::Small;
use super::exhaustive::Failure;
use super::lab::{Act, Choice, Lab, Oracle, Setup, Weakness};
use super::{IS_PARTIAL, guarded};
use crate::Interest;
use crate::nt::flag;

const SOURCES: u8 = 64;
/// How many things happen in one run.
const LENGTH: usize = 4_000;

const FLAGS: &[u16] = &[
    0,
    0,
    flag::RECEIVE as u16,
    flag::SEND as u16,
    (flag::RECEIVE | flag::SEND) as u16,
    (flag::SEND | flag::DISCONNECT) as u16,
    (flag::SEND | flag::ABORT) as u16,
    flag::ACCEPT as u16,
    flag::CONNECT_FAIL as u16,
];

const INTERESTS: &[Interest] = &[
    Interest::NONE,
    Interest::READABLE,
    Interest::WRITABLE,
    Interest::BOTH,
];

/// What may be drawn; the numbers that tell the sources are drawn afterwards.
const KINDS: &[Act] = &[
    Act::Insert(0),
    Act::Declare(0, Interest::NONE),
    Act::Become(0, 0),
    Act::Remove(0),
    Act::Close(0),
    Act::Discard(0),
    Act::Duplicate(0),
    Act::CloseDuplicate(0),
    Act::InsertDuplicate(0),
    Act::Share(0),
    Act::Steal(0),
    Act::Expire,
    Act::Deliver(0),
    Act::CancelUnasked(0),
    Act::Fail(0),
    Act::EndInVain(0),
    Act::TimeOut(0),
    Act::Wake,
    Act::WakeRefused,
    Act::Foreign,
    Act::ForeignStale,
    Act::ForeignAgain,
    Act::ForeignKey,
    Act::Wait(Choice::Sleep),
    Act::Wait(Choice::Plain),
    Act::Wait(Choice::OnePacket),
    Act::Wait(Choice::Refuse),
    Act::Wait(Choice::LateCancel),
    Act::Wait(Choice::NoHelper),
    Act::Take,
];

/// Without which nothing much happens.
const OFTEN: &[Act] = &[
    Act::Insert(0),
    Act::Declare(0, Interest::NONE),
    Act::Deliver(0),
    Act::Wait(Choice::Plain),
    Act::Take,
];

/// A run: how the lab is, and how likely what is.
struct Script {
    random: fastrand::Rng,
    setup: Setup,
    weights: Vec<u32>,
    /// How many sources take part.
    sources: u8,
}

impl Script {
    fn new(seed: u64) -> Script {
        let mut random = fastrand::Rng::with_seed(seed);
        let mode = *random
            .choice(&[PollingMode::Auto, PollingMode::Direct, PollingMode::Helper])
            .unwrap();
        let setup = Setup {
            sources: SOURCES,
            mode,
            writes_early: random.bool(),
            flags: FLAGS,
            interests: INTERESTS,
            operations_max: usize::MAX,
            has_duplicates: true,
            has_failures: true,
            has_wakes: true,
            has_foreign: true,
            has_sleeps: true,
            kernel: Weakness::draw(&mut random),
        };
        // Some never, some seldom, some often.
        let weights = KINDS
            .iter()
            .map(|_| *random.choice(&[0, 1, 1, 4, 16]).unwrap());
        let mut weights: Vec<u32> = weights.collect();
        for often in OFTEN {
            weights[KINDS.iter().position(|kind| kind == often).unwrap()] += 4;
        }
        Script {
            setup,
            weights,
            sources: random.u8(1..=SOURCES),
            random,
        }
    }

    fn next(&mut self) -> Act {
        let mut drawn = self.random.u32(0..self.weights.iter().sum());
        let mut kind = 0;
        while drawn >= self.weights[kind] {
            drawn -= self.weights[kind];
            kind += 1;
        }
        let at = self.random.u8(0..self.sources);
        match KINDS[kind] {
            Act::Insert(_) => Act::Insert(at),
            Act::Declare(..) => Act::Declare(at, *self.random.choice(INTERESTS).unwrap()),
            Act::Become(..) => Act::Become(at, *self.random.choice(FLAGS).unwrap()),
            Act::Remove(_) => Act::Remove(at),
            Act::Close(_) => Act::Close(at),
            Act::Discard(_) => Act::Discard(at),
            Act::Duplicate(_) => Act::Duplicate(at),
            Act::CloseDuplicate(_) => Act::CloseDuplicate(at),
            Act::InsertDuplicate(_) => Act::InsertDuplicate(at),
            Act::Share(_) => Act::Share(at),
            Act::Steal(_) => Act::Steal(at),
            Act::Deliver(_) => Act::Deliver(self.random.u8(0..8)),
            Act::CancelUnasked(_) => Act::CancelUnasked(at),
            Act::Fail(_) => Act::Fail(at),
            Act::EndInVain(_) => Act::EndInVain(at),
            Act::TimeOut(_) => Act::TimeOut(at),
            other => other,
        }
    }

    /// How much happens until the next rest.
    fn stretch(&mut self) -> usize {
        self.random.usize(1..400)
    }
}

/// One thing that happens, or a rest.
#[derive(Clone, Copy)]
enum Step {
    Act(Act),
    Rest,
}

fn take<D: Defects>(lab: &mut Lab<D>, step: Step) -> Result<(), Oracle> {
    match step {
        Step::Act(action) => lab.act(action),
        Step::Rest => lab.settle(),
    }
}

/// Runs once. How many steps of the kernel it took, or what was found at which step.
fn run<D: Defects>(seed: u64) -> Result<u64, Failure> {
    let mut script = Script::new(seed);
    let mut lab = std::mem::ManuallyDrop::new(Lab::<D>::new(&script.setup));
    let mut steps = Vec::with_capacity(LENGTH);
    let outcome = guarded(|| {
        let mut stretch = script.stretch();
        for _ in 0..LENGTH {
            stretch -= 1;
            let step = if stretch == 0 {
                stretch = script.stretch();
                Step::Rest
            } else {
                match script.next() {
                    action if lab.is_possible(action) => Step::Act(action),
                    _ => continue,
                }
            };
            steps.push(step);
            take(&mut lab, step)?;
        }
        lab.settle()?;
        lab.tear_down()
    });
    match outcome {
        Ok(()) => {
            let lab = std::mem::ManuallyDrop::into_inner(lab);
            let counts = lab.kernel.state().counts;
            Ok(counts.calls + counts.packets)
        }
        Err(oracle) => Err(shorten::<D>(&script.setup, &steps, oracle)),
    }
}

/// The shortest beginning of a run that fails, when it is brought to rest and torn down after it.
fn shorten<D: Defects>(setup: &Setup, steps: &[Step], oracle: Oracle) -> Failure {
    let to_failure = |oracle, steps: &[Step]| Failure {
        oracle,
        run: steps
            .iter()
            .filter_map(|step| match step {
                Step::Act(action) => Some(*action),
                Step::Rest => None,
            })
            .collect(),
    };
    for length in 1..=steps.len() {
        let mut lab = std::mem::ManuallyDrop::new(Lab::<D>::new(setup));
        let outcome = guarded(|| {
            for step in &steps[..length] {
                take(&mut lab, *step)?;
            }
            lab.settle()?;
            lab.tear_down()
        });
        match outcome {
            Ok(()) => drop(std::mem::ManuallyDrop::into_inner(lab)),
            Err(oracle) => return to_failure(oracle, &steps[..length]),
        }
    }
    to_failure(oracle, steps)
}

/// As many runs as it takes for so many steps of the kernel.
fn swarm<D: Defects>(first_seed: u64, steps: u64) -> Result<(u64, u64), (u64, Failure)> {
    let (mut taken, mut seed) = (0, first_seed);
    while taken < steps {
        taken += run::<D>(seed).map_err(|failure| (seed, failure))?;
        seed += 1;
    }
    Ok((taken, seed - first_seed))
}

/// How many steps a part of the runs has time for.
const STEPS_MAX: u64 = if cfg!(ampe_poison) { 40_000 } else { 400_000 };

/// What a mutation run has time for.
pub(super) fn quick<D: Defects>() -> Result<(), Failure> {
    swarm::<D>(1, STEPS_MAX / 2)
        .map(drop)
        .map_err(|(_, failure)| failure)
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

fn prove<D: Defects>(name: &str, share: u64) {
    // Another part of all runs each day, the same one for a day's failures.
    let today = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |time| time.as_secs() / 86_400);
    let (seed, steps) = match number("AMPE_SEED") {
        Some(seed) => (seed, 1),
        None => (
            today << 24,
            number("AMPE_AFD_STEPS").unwrap_or(if IS_PARTIAL { STEPS_MAX } else { 10_000_000 }),
        ),
    };
    let start = Instant::now();
    let (steps, runs) = swarm::<D>(seed, steps / share).unwrap_or_else(|(seed, failure)| {
        panic!("{name}, replay with AMPE_SEED={seed}: {failure}")
    });
    println!(
        "{name}: {steps} steps in {runs} runs from seed {seed}, {:?}",
        start.elapsed()
    );
}

#[test]
fn whatever_happens_to_many_sources_nothing_is_found() {
    prove::<Sound>("blocks of 128", 1);
}

#[test]
fn whatever_happens_to_small_blocks_nothing_is_found() {
    prove::<Small>("blocks of 2", 4);
}

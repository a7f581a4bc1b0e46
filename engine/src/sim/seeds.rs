//! Which runs are made, and what is said of one that fails.
//!
//! A seed draws a fixed sequence of operations. So a run that fails is made again with fewer of them,
//! until the least number is found that still breaks the same promise.

use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::ledger::Totals;
use super::world::World;

/// What the promises are called in the text of a failure.
const PROMISES: [&str; 9] = [
    "P1:",
    "P2:",
    "P3:",
    "P4:",
    "P5:",
    "P6:",
    "P7:",
    "Room:",
    "Admission:",
];

/// One run: what is asked of it, and what it notes of itself for whoever reads of its failure.
pub(super) struct Trial {
    pub(super) seed: u64,
    /// So many operations are made at most.
    most: usize,
    /// So many were begun.
    begun: usize,
    /// What the run was made with, as far as it was drawn by chance.
    setting: String,
}

impl Trial {
    pub(super) fn new(seed: u64, most: usize) -> Self {
        Trial {
            seed,
            most,
            begun: 0,
            setting: String::new(),
        }
    }

    /// Notes what a run is made with, before it begins.
    pub(super) fn note(&mut self, world: &World) {
        self.setting = world.setting();
    }

    /// Whether one more of `drawn` operations is made.
    pub(super) fn goes_on(&mut self, drawn: usize) -> bool {
        let goes_on = self.begun < drawn.min(self.most);
        self.begun += usize::from(goes_on);
        goes_on
    }
}

/// Runs of one kind.
#[derive(Clone, Copy)]
pub(super) struct Family {
    /// Selects the test that makes them.
    pub(super) test: &'static str,
    /// How many an ordinary test makes.
    pub(super) runs: u64,
    pub(super) run: fn(&mut Trial) -> Totals,
}

/// A run that failed.
pub(super) struct Failure {
    pub(super) seed: u64,
    /// How many operations it had begun.
    pub(super) operations: usize,
    pub(super) setting: String,
    pub(super) text: String,
}

impl Failure {
    /// The promise that was broken; `None` where the text names none.
    pub(super) fn promise(&self) -> Option<&'static str> {
        let named = PROMISES.into_iter();
        named
            .filter_map(|name| Some((self.text.find(name)?, name)))
            .min()
            .map(|(_, name)| name)
    }
}

impl Family {
    /// Makes one run, and says how it failed, if it did.
    pub(super) fn failure(&self, seed: u64, most: usize) -> Result<Totals, Failure> {
        let mut trial = Trial::new(seed, most);
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.run)(&mut trial)));
        outcome.map_err(|payload| {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
            Failure {
                seed,
                operations: trial.begun,
                setting: trial.setting,
                text: text.unwrap_or_default(),
            }
        })
    }

    /// Bisects to a run with fewer operations that breaks the same promise: with one operation less
    /// it does not. `None` if there is no shorter one.
    pub(super) fn shorten(&self, failed: &Failure) -> Option<Failure> {
        let mut shortest: Option<Failure> = None;
        let (mut low, mut high) = (0, failed.operations);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.failure(failed.seed, middle) {
                Err(shorter) if shorter.promise() == failed.promise() => {
                    high = shorter.operations.min(middle);
                    shortest = Some(shorter);
                }
                _ => low = middle + 1,
            }
        }
        shortest
    }

    /// The command that repeats a run.
    pub(super) fn replay(&self, failure: &Failure) -> String {
        let release = if cfg!(debug_assertions) {
            ""
        } else {
            "--release "
        };
        format!(
            "AMPE_SEED={} AMPE_SIM_OPERATIONS={} cargo test {release}-p ampe --lib {}",
            failure.seed, failure.operations, self.test
        )
    }

    /// All that helps to find out why a run failed.
    pub(super) fn report(&self, failed: &Failure, shortest: Option<&Failure>) -> String {
        let Failure {
            seed,
            operations,
            setting,
            text,
        } = failed;
        let mut report = format!(
            "{text}\nthe run with AMPE_SEED={seed} failed after {operations} operations, made with\n\
             {setting}\nrepeat it: {}",
            self.replay(failed)
        );
        if let Some(shortest) = shortest {
            let _ = write!(
                report,
                "\nit fails with {} operations too: {}\nrepeat that: {}",
                shortest.operations,
                shortest.text,
                self.replay(shortest)
            );
        }
        report
    }

    /// Makes as many runs as the environment asks for, or an ordinary number.
    pub(super) fn each(&self) -> Totals {
        let begin = Instant::now();
        let seconds = from_environment("AMPE_SIM_SECONDS").map(Duration::from_secs_f64);
        let most = from_environment("AMPE_SIM_OPERATIONS");
        let asked = from_environment::<u64>("AMPE_SEED");
        let first = asked.or_else(|| from_environment("AMPE_SIM_FIRST"));
        // Who asks for time wants other runs than those of yesterday.
        let first = first.unwrap_or_else(|| seconds.map_or(1, |_| draw_seed()));
        let runs = match (asked, seconds) {
            (Some(_), _) => 1,
            (None, Some(_)) => u64::MAX - first,
            (None, None) => from_environment("AMPE_SIM_RUNS").unwrap_or(self.runs),
        };
        println!("{}: seeds from AMPE_SIM_FIRST={first}", self.test);
        let mut totals = Totals::default();
        for seed in first..first + runs {
            match self.failure(seed, most.unwrap_or(usize::MAX)) {
                Ok(run) => totals.add(&run),
                Err(failed) => {
                    // Who says how many operations looks into one run, and wants no others made.
                    let shortest = most.is_none().then(|| self.shorten(&failed)).flatten();
                    panic!("{}", self.report(&failed, shortest.as_ref()));
                }
            }
            if asked.is_none() && seconds.is_some_and(|most| begin.elapsed() >= most) {
                break;
            }
        }
        let seconds = begin.elapsed().as_secs_f64();
        println!(
            "{}: {} seeds from {first} in {seconds:.1} s, without a fault\n{totals}",
            self.test, totals.runs
        );
        totals
    }
}

/// A seed that is another one each time, and short enough to be read.
fn draw_seed() -> u64 {
    RandomState::new().hash_one(0) >> 24
}

/// A number that somebody asked for. What is no number is a mistake of theirs that must not pass for
/// a run that found nothing.
fn from_environment<N: FromStr>(variable: &str) -> Option<N> {
    let value = std::env::var(variable).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={value} is no number")))
}

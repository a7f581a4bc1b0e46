//! Accounts over real processes: several exchange messages over TCP and Unix sockets while they are
//! killed, stopped, and have their connections reset. Each writes a ledger of its own, and what the
//! ledgers say together must keep the promises of the engine.
//!
//! `AMPE_LEDGER_RUNS=5000` makes more runs; `AMPE_SEED=<seed>` repeats the plan of one. The timing is
//! the system's, so a plan that failed may have to be repeated many times: `AMPE_LEDGER_RUNS` says
//! how often.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

#[path = "ledger/accounts.rs"]
mod accounts;
#[path = "ledger/book.rs"]
mod book;
#[path = "ledger/canaries.rs"]
mod canaries;
#[path = "ledger/checker.rs"]
mod checker;
#[path = "ledger/content.rs"]
mod content;
#[path = "ledger/facts.rs"]
mod facts;
#[path = "ledger/member.rs"]
mod member;
#[path = "ledger/plan.rs"]
mod plan;
#[path = "ledger/poster.rs"]
mod poster;
#[path = "ledger/relay.rs"]
mod relay;
#[path = "ledger/run.rs"]
mod run;

use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use run::Figures;

/// How long a run may take: a watchdog, not an expectation.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells a process of a run what it is.
const CHILD: &str = "AMPE_LEDGER_PROCESS";

/// Runs in the test of every day; and under Wine, where starting a process takes long.
const RUNS: usize = 200;
const RUNS_ON_WINE: usize = 20;

/// Runs side by side: their processes mostly wait.
const SIDE_BY_SIDE: usize = 4;

/// Failures after which no more runs are made.
const FAILURES: usize = 5;

/// No test: what a process of a run does. Without its variable it has nothing to do.
#[test]
fn process_of_a_run() {
    if let Ok(told) = std::env::var(CHILD) {
        run::be_process(&told);
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

#[test]
fn ledgers_of_disturbed_processes_add_up() {
    if cfg!(not(unix)) {
        // Past the capture of the test runner.
        let line: &[u8] = b"skipped: stopping processes: this system has no signals\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line);
    }
    let seed = number("AMPE_SEED");
    let runs = number("AMPE_LEDGER_RUNS").map(|runs| runs as usize);
    let runs = runs.unwrap_or(match seed {
        Some(_) => 1,
        None if ampe::platform::is_wine() => RUNS_ON_WINE,
        None => RUNS,
    });
    let first = seed.unwrap_or_else(|| RandomState::new().hash_one("seed"));
    let seed_of = |at: usize| match seed {
        Some(seed) => seed,
        None => first.wrapping_add(at as u64),
    };
    println!("the first of {runs} runs: AMPE_SEED={first}");
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let figures = Mutex::new(Figures::default());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= runs || failures.lock().unwrap().len() >= FAILURES {
                        return;
                    }
                    match run::run(seed_of(at)) {
                        Ok(of_run) => figures.lock().unwrap().add(of_run),
                        Err(report) => failures.lock().unwrap().push(report),
                    }
                }
            });
        }
    });
    let figures = figures.into_inner().unwrap();
    println!("{figures}\nin {:.1?}", started.elapsed());
    let failures = failures.into_inner().unwrap();
    for report in &failures {
        println!("{report}");
    }
    assert!(
        failures.is_empty(),
        "{} runs failed, see above",
        failures.len()
    );
    if runs >= RUNS && seed.is_none() {
        assert!(
            figures.is_telling(),
            "these runs came across too little to show anything"
        );
    }
}

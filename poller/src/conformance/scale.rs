//! What it costs, in system calls: the poller counts those that it makes. That strace counts the same
//! is shown in `docs/performance.md`.

use std::sync::{Mutex, PoisonError};

use super::Bench;
use super::worlds::{Read, World};
use crate::Interest;

/// Descriptors are the process's: one crowd at a time.
pub(super) static CROWD: Mutex<()> = Mutex::new(());

const IDLE_SOURCES: usize = 10_000;
const ACTIVE_SOURCES: usize = 10;
const ROUNDS: u64 = 100;

pub(super) fn declaring_makes_no_call<W: World>() {
    let mut bench = Bench::<W>::new();
    let before = bench.poller.calls();
    let (key, _theirs) = bench.add_pair(Interest::BOTH);
    bench.declare(key, Interest::READABLE);
    bench.declare(key, Interest::WRITABLE);
    assert_eq!(bench.poller.calls(), before);
    assert!(bench.poller.close(key), "it was never armed");
    assert_eq!(bench.poller.calls(), before);
}

pub(super) fn what_was_taken_back_makes_no_call<W: World>() {
    let mut bench = Bench::<W>::new();
    let (key, _theirs) = bench.add_pair(Interest::READABLE);
    bench.assert_quiet();
    let before = bench.poller.calls();
    for interest in [Interest::BOTH, Interest::NONE, Interest::READABLE] {
        bench.declare(key, interest);
    }
    bench.assert_quiet();
    assert_eq!(bench.poller.calls() - before, 1, "the wait itself");
}

pub(super) fn calls_do_not_grow_with_the_idle<W: World>() {
    let _alone = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let limit = W::new().idle_limit();
    if limit < IDLE_SOURCES {
        super::skip(&format!(
            "{limit} idle sources instead of {IDLE_SOURCES}: the descriptors' limit"
        ));
    }
    let few = calls_beside::<W>(10);
    let many = calls_beside::<W>(limit.min(IDLE_SOURCES));
    println!("{many} calls for {ROUNDS} rounds of {ACTIVE_SOURCES} active sources");
    assert_eq!(few, many);
}

fn calls_beside<W: World>(idle_sources: usize) -> u64 {
    let mut bench = Bench::<W>::new();
    for _ in 0..idle_sources {
        let idle = bench.world.idle();
        bench.add(idle, Interest::READABLE);
    }
    let mut active = Vec::new();
    for _ in 0..ACTIVE_SOURCES {
        active.push(bench.add_pair(Interest::READABLE));
    }
    bench.assert_quiet();
    let before = bench.poller.calls();
    for _ in 0..ROUNDS {
        for (key, theirs) in &active {
            bench.world.write(theirs, 1);
            bench.world.await_readable(bench.get(*key));
        }
        let reports = bench.wait(W::PATIENCE);
        assert_eq!(reports.len(), ACTIVE_SOURCES);
        for (key, _) in reports {
            assert_eq!(bench.world.read(bench.get(key), 2), Read::Data(1));
        }
    }
    bench.poller.calls() - before
}

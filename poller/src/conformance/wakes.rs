//! What ends a wait besides readiness: wakes and timeouts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use super::worlds::World;
use crate::Interest;

pub(super) fn a_wake_before_the_wait_ends_it_at_once<W: World>() {
    let mut bench = Bench::<W>::new();
    for _ in 0..3 {
        bench.poller.waker().wake().unwrap();
    }
    assert_eq!(bench.wait(W::PATIENCE), []);
    assert!(bench.events.woken());
    bench.assert_quiet();
    assert!(!bench.events.woken(), "three wakes are one");
}

pub(super) fn a_wake_ends_a_wait_without_end<W: World>() {
    let mut bench = Bench::<W>::new();
    let waker = bench.poller.waker();
    let is_over = AtomicBool::new(false);
    let patience = Instant::now() + W::PATIENCE;
    // A test of a wait without end must not be one where wakes are lost on purpose.
    let timeout = (W::PATIENCE < Duration::from_secs(1)).then_some(W::PATIENCE);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Only a sleeper is signalled, so one signal shows that there was one.
            while waker.state().signals() == 0 && Instant::now() < patience {
                waker.wake().unwrap();
                thread::yield_now();
            }
            is_over.store(true, Ordering::Release);
            waker.wake().unwrap();
        });
        while !is_over.load(Ordering::Acquire) {
            bench.poller.wait(&mut bench.events, timeout).unwrap();
            assert!(bench.events.woken());
        }
    });
    assert!(Instant::now() < patience, "only the timeout ended the wait");
    // A last wake, and a last signal that came late; then no more.
    for _ in 0..2 {
        bench.assert_quiet();
    }
    bench.assert_quiet();
    assert!(!bench.events.woken());
}

pub(super) fn wakes_of_many_threads_are_never_lost<W: World>() {
    const THREADS: u64 = 4;
    const WAKES: u64 = 500;
    let mut bench = Bench::<W>::new();
    let waker = bench.poller.waker();
    let posted = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..WAKES {
                    posted.fetch_add(1, Ordering::Relaxed);
                    waker.wake().unwrap();
                    thread::yield_now();
                }
            });
        }
        while posted.load(Ordering::Relaxed) < THREADS * WAKES {
            let start = Instant::now();
            assert_eq!(bench.wait(W::PATIENCE), []);
            assert!(bench.events.woken(), "a wake was lost");
            assert!(
                start.elapsed() < W::PATIENCE,
                "only the timeout ended the wait"
            );
        }
    });
}

pub(super) fn wakes_cost_no_call_while_awake<W: World>() {
    let bench = Bench::<W>::new();
    for _ in 0..100 {
        bench.poller.waker().wake().unwrap();
    }
    assert_eq!(bench.poller.signals(), 0);
}

pub(super) fn a_wake_does_not_hide_readiness<W: World>() {
    let mut bench = Bench::<W>::new();
    let (key, _theirs) = bench.add_pair(Interest::WRITABLE);
    for _ in 0..3 {
        bench.poller.waker().wake().unwrap();
        bench.assert_reports(&[(key, Interest::WRITABLE)]);
        assert!(bench.events.woken());
    }
    bench.assert_reports(&[(key, Interest::WRITABLE)]);
    assert!(!bench.events.woken());
}

pub(super) fn a_wake_outlives_the_poller<W: World>() {
    let bench = Bench::<W>::new();
    let waker = bench.poller.waker();
    drop(bench);
    waker.wake().unwrap();
}

pub(super) fn a_zero_timeout_does_not_wait<W: World>() {
    let mut bench = Bench::<W>::new();
    let (_key, _theirs) = bench.add_pair(Interest::READABLE);
    bench.assert_quiet();
    let before = bench.poller.calls();
    bench.assert_quiet();
    assert_eq!(bench.poller.calls() - before, 1);
    assert!(!bench.events.woken());
}

pub(super) fn timeouts_are_never_cut_short<W: World>() {
    let mut bench = Bench::<W>::new();
    let (key, theirs) = bench.add_pair(Interest::READABLE);
    for micros in [1, 100, 999, 1_000, 1_001, 5_500, 30_000] {
        let timeout = Duration::from_micros(micros);
        let start = Instant::now();
        assert_eq!(bench.wait(timeout), []);
        let elapsed = start.elapsed();
        assert!(elapsed >= timeout, "{elapsed:?} instead of {timeout:?}");
    }
    // What comes during a wait that could last longer than any system's longest ends it.
    bench.world.write(&theirs, 1);
    assert_eq!(bench.wait(Duration::MAX), [(key, Interest::READABLE)]);
}

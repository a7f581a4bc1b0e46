//! Timeouts are lower bounds, and hold for each wait.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ampe_poller::Interest;

use super::bench::{Bench, pair};

#[track_caller]
fn assert_never_early(timeout: Duration, times: u32) {
    let mut bench = Bench::new();
    let (ours, _theirs) = pair();
    bench.add(ours, Interest::READABLE);
    for _ in 0..times {
        let start = Instant::now();
        assert_eq!(bench.wait(timeout), HashMap::new());
        let elapsed = start.elapsed();
        assert!(elapsed >= timeout, "{elapsed:?} instead of {timeout:?}");
        assert!(!bench.events.woken());
    }
}

#[test]
fn timeouts_below_a_millisecond_are_never_early() {
    assert_never_early(Duration::from_micros(100), 300);
}

#[test]
fn timeouts_of_broken_milliseconds_are_never_early() {
    assert_never_early(Duration::from_micros(3_100), 100);
}

#[test]
fn each_of_two_waits_takes_its_time() {
    assert_never_early(Duration::from_millis(200), 2);
}

#[test]
fn a_hundred_waits_of_no_time_report_nothing() {
    assert_never_early(Duration::ZERO, 100);
}

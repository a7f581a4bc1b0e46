//! Wakes, from the poller's own thread and from others.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::bench::Bench;
use crate::common::PATIENCE;

#[test]
fn a_wake_ends_a_wait_and_is_no_event() {
    let mut bench = Bench::<UdpSocket>::new();
    for wakes in 1..10 {
        for _ in 0..wakes {
            bench.poller.waker().wake().unwrap();
        }
        bench.poller.wait(&mut bench.events, None).unwrap();
        assert!(bench.events.woken());
        assert_eq!(bench.taken(), HashMap::new());
    }
    bench.wait(Duration::ZERO);
    assert!(!bench.events.woken());
}

#[test]
fn a_wake_of_another_thread_ends_a_wait_without_end() {
    let mut bench = Bench::<UdpSocket>::new();
    for _ in 0..20 {
        let waker = bench.poller.waker();
        let waking = thread::spawn(move || waker.wake().unwrap());
        bench.poller.wait(&mut bench.events, None).unwrap();
        assert!(bench.events.woken());
        assert_eq!(bench.taken(), HashMap::new());
        waking.join().unwrap();
    }
}

/// In place of packets that other threads post: what there is to say is put where the woken thread
/// looks.
#[test]
fn what_other_threads_put_down_before_a_wake_is_seen() {
    let mut bench = Bench::<UdpSocket>::new();
    let waker = bench.poller.waker();
    let deadline = Instant::now() + PATIENCE;
    let put_down = AtomicUsize::new(0);
    let seen = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let before = seen.load(Ordering::Relaxed);
                    put_down.fetch_add(1, Ordering::Relaxed);
                    waker.wake().unwrap();
                    // Until somebody has looked, so that not all of them come into one wait.
                    while seen.load(Ordering::Relaxed) == before {
                        assert!(Instant::now() < deadline, "nobody looks");
                        thread::yield_now();
                    }
                }
            });
        }
        while seen.load(Ordering::Relaxed) < 9 {
            assert_eq!(bench.wait(PATIENCE), HashMap::new());
            assert!(bench.events.woken(), "a wake was lost");
            seen.store(put_down.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    });
}

//! Every interleaving of sleeping and waking, over the production's own wake word, and of giving orders
//! and taking them, over its own list.
//!
//! What the model calls a signal is what an eventfd is in earnest: set by a waker, taken by the
//! sleeper. A lost wake shows as a deadlock, since the sleeper then waits for a signal for ever.

// A panic cannot unwind loom's stacks on Windows, and no system matters to what is explored.
#![cfg(not(windows))]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, Ordering};
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

#[path = "../src/orders.rs"]
mod orders;
#[path = "../src/wake_word.rs"]
mod wake_word;

use std::panic::{AssertUnwindSafe, catch_unwind};
// Not loom's, which cannot be dropped when a model ends in a deadlock.
use std::sync::Arc;

use loom::sync::Notify;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use orders::{Orders, QueueDefects, SoundQueue};
use wake_word::{Defects, Sound, WakeWord};

struct Reactor<D> {
    word: WakeWord<D>,
    signal: Notify,
    /// What wakers put down before they wake. Relaxed: only the word publishes it.
    posted: AtomicUsize,
}

impl<D: Defects + 'static> Reactor<D> {
    fn new() -> Arc<Self> {
        Arc::new(Reactor {
            word: WakeWord::new(),
            signal: Notify::new(),
            posted: AtomicUsize::new(0),
        })
    }

    fn post(&self) {
        self.posted.fetch_add(1, Ordering::Relaxed);
        if self.word.notify() {
            self.signal.notify();
        }
    }

    fn post_refused(&self) {
        self.posted.fetch_add(1, Ordering::Relaxed);
        if self.word.notify() {
            self.word.refused();
        }
    }

    /// What the poller does around its backend, until everything posted is seen.
    fn run(&self, expected: usize) {
        while self.posted.load(Ordering::Relaxed) < expected {
            if self.word.fall_asleep() {
                self.signal.wait();
            }
            self.word.get_up();
        }
    }
}

/// Without a bound every interleaving is tried; with one, those with at most as many preemptions.
fn explore(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(model);
}

fn one_waker<D: Defects + 'static>() {
    explore(None, || {
        let reactor = Reactor::<D>::new();
        let waker = Arc::clone(&reactor);
        let waker = thread::spawn(move || waker.post());
        reactor.run(1);
        waker.join().unwrap();
    });
}

fn two_wakers<D: Defects + 'static>() {
    explore(Some(3), || {
        let reactor = Reactor::<D>::new();
        let wakers = [(); 2].map(|()| {
            let waker = Arc::clone(&reactor);
            thread::spawn(move || waker.post())
        });
        reactor.run(2);
        for waker in wakers {
            waker.join().unwrap();
        }
    });
}

fn one_waker_twice<D: Defects + 'static>() {
    explore(None, || {
        let reactor = Reactor::<D>::new();
        let waker = Arc::clone(&reactor);
        let waker = thread::spawn(move || {
            waker.post();
            waker.post();
        });
        reactor.run(2);
        waker.join().unwrap();
    });
}

fn a_wake_after_a_refused_one<D: Defects + 'static>() {
    explore(None, || {
        let reactor = Reactor::<D>::new();
        let waker = Arc::clone(&reactor);
        let waker = thread::spawn(move || {
            waker.post_refused();
            waker.post();
        });
        reactor.run(2);
        waker.join().unwrap();
    });
}

/// A sleeper's wait ends by itself while a wake is being refused. If it does not tell of the wake, the next one is
/// known to be a short one.
fn a_wait_after_a_refused_wake<D: Defects + 'static>() {
    explore(None, || {
        let reactor = Reactor::<D>::new();
        assert!(reactor.word.fall_asleep() && reactor.word.notify());
        let waker = Arc::clone(&reactor);
        let waker = thread::spawn(move || waker.word.refused());
        if !reactor.word.get_up() {
            let is_short = reactor.word.has_been_refused();
            if reactor.word.fall_asleep() && !is_short {
                reactor.signal.wait();
            }
        }
        waker.join().unwrap();
    });
}

#[test]
fn the_wait_after_a_refused_wake_tells_of_it_or_is_short() {
    a_wait_after_a_refused_wake::<Sound>();
}

#[test]
fn a_wake_is_never_lost() {
    one_waker::<Sound>();
}

#[test]
fn wakes_of_two_threads_are_never_lost() {
    two_wakers::<Sound>();
}

#[test]
fn two_wakes_of_one_thread_are_never_lost() {
    one_waker_twice::<Sound>();
}

#[test]
fn the_wake_after_a_refused_one_is_never_lost() {
    a_wake_after_a_refused_one::<Sound>();
}

struct SleepUnseen;
impl Defects for SleepUnseen {
    const SLEEP_UNSEEN: bool = true;
}

struct KeepRefused;
impl Defects for KeepRefused {
    const KEEP_REFUSED: bool = true;
}

struct NotesRefusalLate;
impl Defects for NotesRefusalLate {
    const NOTES_REFUSAL_LATE: bool = true;
}

struct WakeRelaxed;
impl Defects for WakeRelaxed {
    const WAKE_RELAXED: bool = true;
}

#[track_caller]
fn assert_fails(model: fn()) {
    let panic = catch_unwind(AssertUnwindSafe(model)).expect_err("the defect goes unnoticed");
    let message = panic.downcast_ref::<String>().map_or("", String::as_str);
    assert!(message.contains("deadlock"), "found {message:?}");
}

#[test]
fn the_models_notice_a_sleeper_that_does_not_look() {
    assert_fails(one_waker::<SleepUnseen>);
}

#[test]
fn the_models_notice_a_refused_signal_that_is_not_taken_back() {
    assert_fails(a_wake_after_a_refused_one::<KeepRefused>);
}

#[test]
fn the_models_notice_a_refusal_that_is_noted_too_late() {
    assert_fails(a_wait_after_a_refused_wake::<NotesRefusalLate>);
}

#[test]
fn the_models_notice_a_wake_that_publishes_nothing() {
    assert_fails(one_waker::<WakeRelaxed>);
}

/// A poller that sleeps, and the orders that other threads give it.
struct Ordered<D> {
    word: WakeWord,
    signal: Notify,
    orders: Orders<usize, D>,
}

impl<D: QueueDefects + 'static> Ordered<D> {
    fn new() -> Arc<Self> {
        Arc::new(Ordered {
            word: WakeWord::new(),
            signal: Notify::new(),
            orders: Orders::new(),
        })
    }

    /// As a remote does.
    fn order(&self, order: usize) -> Result<(), usize> {
        self.orders.push(order)?;
        if self.word.notify() {
            self.signal.notify();
        }
        Ok(())
    }

    /// As the poller does around its backend, until so many orders were taken.
    fn run(&self, expected: usize) -> Vec<usize> {
        let mut taken = Vec::new();
        loop {
            taken.extend(self.orders.take());
            if taken.len() >= expected {
                return taken;
            }
            if self.word.fall_asleep() {
                self.signal.wait();
            }
            self.word.get_up();
        }
    }
}

fn orders_of_one_thread<D: QueueDefects + 'static>() {
    explore(None, || {
        let poller = Ordered::<D>::new();
        let remote = Arc::clone(&poller);
        let remote = thread::spawn(move || {
            remote.order(1).unwrap();
            remote.order(2).unwrap();
        });
        assert_eq!(
            poller.run(2),
            [1, 2],
            "in the order in which they were given"
        );
        remote.join().unwrap();
    });
}

fn orders_of_two_threads<D: QueueDefects + 'static>() {
    explore(Some(3), || {
        let poller = Ordered::<D>::new();
        let remotes = [1, 2].map(|order| {
            let remote = Arc::clone(&poller);
            thread::spawn(move || remote.order(order).unwrap())
        });
        let mut taken = poller.run(2);
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
        for remote in remotes {
            remote.join().unwrap();
        }
    });
}

/// An order that meets the end of the poller is dropped with it or given back, and never left behind.
fn an_order_at_the_end<D: QueueDefects + 'static>() {
    explore(None, || {
        let poller = Ordered::<D>::new();
        let remote = Arc::clone(&poller);
        let remote = thread::spawn(move || remote.order(1).is_err());
        let mut dropped = poller.orders.take();
        dropped.extend(poller.orders.close());
        let is_given_back = remote.join().unwrap();
        assert_eq!(is_given_back, dropped.is_empty());
        assert_eq!(dropped.len() + usize::from(is_given_back), 1);
        assert!(poller.orders.close().is_empty(), "an order is left behind");
    });
}

#[test]
fn orders_are_never_lost_and_stay_in_order() {
    orders_of_one_thread::<SoundQueue>();
}

#[test]
fn orders_of_two_threads_are_never_lost() {
    orders_of_two_threads::<SoundQueue>();
}

#[test]
fn an_order_at_the_end_is_dropped_or_given_back() {
    an_order_at_the_end::<SoundQueue>();
}

struct FlagsEarly;
impl QueueDefects for FlagsEarly {
    const FLAGS_EARLY: bool = true;
}

struct ClosesLate;
impl QueueDefects for ClosesLate {
    const CLOSES_LATE: bool = true;
}

#[test]
fn the_models_notice_a_flag_that_comes_before_its_order() {
    assert_fails(orders_of_one_thread::<FlagsEarly>);
}

#[test]
fn the_models_notice_a_list_that_is_emptied_before_it_is_closed() {
    let model = AssertUnwindSafe(an_order_at_the_end::<ClosesLate>);
    catch_unwind(model).expect_err("the defect goes unnoticed");
}

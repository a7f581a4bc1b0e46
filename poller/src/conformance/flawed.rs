//! Backends with one planted defect each, and the tests of the suite that fail on them.
//!
//! A test that cannot fail is worse than none: here each promise is broken once.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::worlds::{HELPER, InMemory, Read, Simulated, World};
use super::{readiness, scale, stages, wakes};
use crate::afd::StateMoves;
use crate::sys::{Backend, Fate, Sealed};
use crate::waker::Signal;
use crate::{Event, Events, Interest, Key};

/// Interest once declared is never withdrawn, so that hang-up is reported to nobody's use.
const KEEPS_INTEREST: u8 = 0;
/// What was reported once is not reported again until it is declared again: edges, not levels.
const REPORTS_EDGES: u8 = 1;
/// The signal goes nowhere.
const LOSES_WAKES: u8 = 2;
/// What was reported of a source is reported once more, of whoever has its index now.
const CONFUSES_SUCCESSORS: u8 = 3;
/// Everything is reported as ready for everything.
const REPORTS_UNWANTED: u8 = 4;
/// Every wait asks about every source.
const ASKS_FOR_ALL: u8 = 5;
/// A source that cannot be polled is everybody's trouble.
const FAILS_FOR_ONE: u8 = 6;
/// The wait ends as if woken.
const WAKES_BY_ITSELF: u8 = 7;
/// Data that waited while there was no interest is forgotten.
const FORGETS_WITHDRAWN: u8 = 8;
/// Only the first event of a batch gets through.
const LOSES_EVENTS: u8 = 9;
/// The system is told at once what is declared.
const TELLS_AT_ONCE: u8 = 10;
/// A source that cannot be polled is reported for ever.
const REPEATS_FAILURES: u8 = 11;
/// A source that cannot be polled is reported as if it were ready.
const HIDES_REFUSALS: u8 = 12;

struct Flawed<B, const DEFECT: u8> {
    inner: B,
    keys: HashMap<Key, Interest>,
    reported: HashMap<Key, Interest>,
    refused: Vec<Event>,
    extra_calls: u64,
}

struct Deaf;

impl Signal for Deaf {
    fn send(&self) -> io::Result<()> {
        Ok(())
    }
}

impl<B, const DEFECT: u8> Sealed for Flawed<B, DEFECT> {}

impl<B: Backend, const DEFECT: u8> Backend for Flawed<B, DEFECT> {
    type Handle = B::Handle;

    fn new() -> io::Result<Self> {
        Ok(Flawed {
            inner: B::new()?,
            keys: HashMap::new(),
            reported: HashMap::new(),
            refused: Vec::new(),
            extra_calls: 0,
        })
    }

    fn signal(&self) -> Arc<dyn Signal> {
        match DEFECT {
            LOSES_WAKES => Arc::new(Deaf),
            _ => self.inner.signal(),
        }
    }

    fn register(&mut self, key: Key, handle: B::Handle) -> io::Result<()> {
        self.keys.insert(key, Interest::NONE);
        self.inner.register(key, handle)
    }

    fn declare(&mut self, key: Key, interest: Interest) {
        if DEFECT == TELLS_AT_ONCE {
            self.extra_calls += 1;
        }
        if DEFECT == KEEPS_INTEREST && interest.is_empty() {
            return;
        }
        if DEFECT == REPORTS_EDGES {
            self.reported.remove(&key);
        }
        self.keys.insert(key, interest);
        self.inner.declare(key, interest);
    }

    fn deregister(&mut self, key: Key, fate: Fate) {
        self.keys.remove(&key);
        self.inner.deregister(key, fate);
    }

    fn reconcile(&mut self, events: &mut Events) -> io::Result<()> {
        self.inner.reconcile(events)?;
        if DEFECT == FAILS_FOR_ONE && !events.is_empty() {
            return Err(io::ErrorKind::Other.into());
        }
        if DEFECT == REPEATS_FAILURES {
            let batch = drain(events);
            self.refused.retain(|event| {
                let is_refused_anew = batch.iter().any(|new| new.key() == event.key());
                self.keys.contains_key(&event.key()) && !is_refused_anew
            });
            self.refused.extend(batch);
            for event in &self.refused {
                events.push(*event);
            }
        }
        if DEFECT == HIDES_REFUSALS {
            for event in drain(events) {
                events.push(Event::new(event.key(), event.readiness()));
            }
        }
        Ok(())
    }

    fn collect(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<bool> {
        if DEFECT == WAKES_BY_ITSELF {
            return Ok(true);
        }
        if DEFECT == ASKS_FOR_ALL {
            self.extra_calls += self.keys.len() as u64;
        }
        let was_signalled = self.inner.collect(events, timeout)?;
        let batch = drain(events);
        for event in batch {
            let (key, readiness) = (event.key(), event.readiness());
            let is_known = self.reported.insert(key, readiness) == Some(readiness);
            match DEFECT {
                REPORTS_EDGES | FORGETS_WITHDRAWN if is_known => {}
                REPORTS_UNWANTED => events.push(Event::new(key, Interest::BOTH)),
                _ => events.push(event),
            }
            if DEFECT == LOSES_EVENTS {
                break;
            }
        }
        if DEFECT == CONFUSES_SUCCESSORS {
            let is_successor = |old: &Key, new: &Key| old.index == new.index && old != new;
            for (new, wanted) in &self.keys {
                if self.reported.keys().any(|old| is_successor(old, new)) {
                    events.push(Event::new(*new, *wanted));
                }
            }
        }
        Ok(was_signalled)
    }

    fn calls(&self) -> u64 {
        self.inner.calls() + self.extra_calls
    }
}

fn drain(events: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| events.pop()).collect()
}

struct FlawedWorld<W, const DEFECT: u8>(W);

impl<W: World, const DEFECT: u8> World for FlawedWorld<W, DEFECT> {
    type Backend = Flawed<W::Backend, DEFECT>;
    type Socket = W::Socket;
    const PATIENCE: Duration = Duration::from_millis(100);

    fn new() -> Self {
        FlawedWorld(W::new())
    }
    fn pair(&self) -> (W::Socket, W::Socket) {
        self.0.pair()
    }
    fn listen(&self) -> W::Socket {
        self.0.listen()
    }
    fn connect(&self, listener: &W::Socket) -> W::Socket {
        self.0.connect(listener)
    }
    fn accept(&self, listener: &W::Socket) -> Option<W::Socket> {
        self.0.accept(listener)
    }
    fn refuse(&self) -> Option<W::Socket> {
        self.0.refuse()
    }
    fn outcome(&self, socket: &W::Socket) -> Option<bool> {
        self.0.outcome(socket)
    }
    fn read(&self, socket: &W::Socket, length: usize) -> Read {
        self.0.read(socket, length)
    }
    fn write(&self, socket: &W::Socket, length: usize) -> usize {
        self.0.write(socket, length)
    }
    fn shutdown(&self, socket: &W::Socket) {
        self.0.shutdown(socket);
    }
    fn reset(&self, ours: &W::Socket, theirs: W::Socket) {
        self.0.reset(ours, theirs);
    }
    fn await_readable(&self, socket: &W::Socket) {
        self.0.await_readable(socket);
    }
    fn await_hang_up(&self, socket: &W::Socket) {
        self.0.await_hang_up(socket);
    }
    fn idle(&self) -> W::Socket {
        self.0.idle()
    }
    fn idle_limit(&self) -> usize {
        100
    }
    fn unpollable(&self) -> Result<W::Socket, &'static str> {
        self.0.unpollable()
    }
}

#[track_caller]
fn assert_noticed(test: fn()) {
    let outcome = catch_unwind(AssertUnwindSafe(test));
    assert!(outcome.is_err(), "the test does not notice the defect");
}

#[test]
fn state_that_moves_is_noticed_while_tables_grow() {
    assert_noticed(
        stages::what_is_polled_stays_while_tables_grow_and_shrink::<Simulated<HELPER, StateMoves>>,
    );
}

/// On the system's own calls the kernel writes to memory that was freed: in a process of its own, whose
/// end, however it comes, is what notices it.
#[cfg(windows)]
#[test]
fn state_that_moves_is_noticed_on_the_systems_own_calls() {
    use super::worlds::Tcp;
    use crate::afd::{Port, Sound};
    use crate::nt::real::Windows;

    const VARIABLE: &str = "AMPE_STATE_MOVES";
    const NAME: &str = "conformance::flawed::state_that_moves_is_noticed_on_the_systems_own_calls";
    type World<D> = Tcp<HELPER, Port<Windows, D>>;
    if std::env::var_os(VARIABLE).is_some() {
        // What was written to may be what the process would need to end.
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_secs(300));
            std::process::abort();
        });
    }
    match std::env::var(VARIABLE).as_deref() {
        Ok("true") => {
            return stages::what_is_polled_stays_while_tables_grow_and_shrink::<World<StateMoves>>(
            );
        }
        Ok(_) => {
            return stages::what_is_polled_stays_while_tables_grow_and_shrink::<World<Sound>>();
        }
        Err(_) => {}
    }
    let run = |moves: bool| {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(VARIABLE, moves.to_string())
            .output()
            .unwrap()
    };
    let sound = run(false);
    assert!(sound.status.success(), "{sound:?}");
    let moving = run(true);
    assert!(!moving.status.success(), "{moving:?}");
    let error = String::from_utf8_lossy(&moving.stderr);
    let error = error.lines().find(|line| !line.trim().is_empty());
    println!("it ends with {}, and {error:?}", moving.status);
}

/// The in-memory world suffices: it is the tests that are on trial here.
type Lab<const DEFECT: u8> = FlawedWorld<InMemory, DEFECT>;

/// One test for each pair of a defect and a test of the suite that has to notice it.
macro_rules! noticed {
    ($($name:ident: $module:ident :: $test:ident on $defect:ident,)*) => {
        $(#[test]
        fn $name() {
            assert_noticed($module::$test::<Lab<$defect>>);
        })*
    };
}

noticed! {
    confused_successors_are_noticed_among_short_connections:
        stages::ten_thousand_short_connections_lose_and_confuse_nothing on CONFUSES_SUCCESSORS,
    forgotten_data_is_noticed_in_a_crowd:
        stages::a_thousand_connections_outlive_storms_of_cancels on FORGETS_WITHDRAWN,
    kept_interest_is_noticed_at_a_close:
        readiness::a_source_without_interest_is_silent_when_its_peer_closes on KEEPS_INTEREST,
    kept_interest_is_noticed_with_data_waiting:
        readiness::withdrawn_interest_loses_nothing on KEEPS_INTEREST,
    edges_are_noticed: readiness::what_is_left_is_reported_again on REPORTS_EDGES,
    edges_are_noticed_at_a_listener:
        readiness::a_listener_is_readable_while_its_backlog_is_not_empty on REPORTS_EDGES,
    edges_are_noticed_at_a_hang_up: readiness::hang_up_is_what_is_wanted on REPORTS_EDGES,
    lost_wakes_are_noticed: wakes::a_wake_ends_a_wait_without_end on LOSES_WAKES,
    lost_wakes_of_many_threads_are_noticed:
        wakes::wakes_of_many_threads_are_never_lost on LOSES_WAKES,
    confused_successors_are_noticed:
        readiness::a_successor_never_gets_its_predecessors_event on CONFUSES_SUCCESSORS,
    unwanted_readiness_is_noticed:
        readiness::what_is_wanted_and_ready_is_reported on REPORTS_UNWANTED,
    asking_for_all_is_noticed: scale::calls_do_not_grow_with_the_idle on ASKS_FOR_ALL,
    a_failure_that_spreads_is_noticed:
        readiness::a_source_that_cannot_be_polled_is_reported_once_with_the_error on FAILS_FOR_ONE,
    a_failure_that_repeats_is_noticed:
        readiness::a_source_that_cannot_be_polled_is_reported_once_with_the_error on REPEATS_FAILURES,
    a_hidden_refusal_is_noticed:
        readiness::a_source_that_cannot_be_polled_is_reported_once_with_the_error on HIDES_REFUSALS,
    waking_by_itself_is_noticed: wakes::timeouts_are_never_cut_short on WAKES_BY_ITSELF,
    waking_by_itself_is_noticed_without_a_timeout:
        wakes::a_zero_timeout_does_not_wait on WAKES_BY_ITSELF,
    forgotten_data_is_noticed: readiness::withdrawn_interest_loses_nothing on FORGETS_WITHDRAWN,
    lost_events_are_noticed:
        readiness::a_source_that_cannot_be_polled_is_reported_once_with_the_error on LOSES_EVENTS,
    lost_events_of_a_crowd_are_noticed:
        scale::calls_do_not_grow_with_the_idle on LOSES_EVENTS,
    telling_at_once_is_noticed: scale::declaring_makes_no_call on TELLS_AT_ONCE,
}

#[test]
fn without_a_defect_the_same_tests_pass() {
    const NO_DEFECT: u8 = u8::MAX;
    readiness::a_source_without_interest_is_silent_when_its_peer_closes::<Lab<NO_DEFECT>>();
    readiness::withdrawn_interest_loses_nothing::<Lab<NO_DEFECT>>();
    readiness::what_is_left_is_reported_again::<Lab<NO_DEFECT>>();
    readiness::a_listener_is_readable_while_its_backlog_is_not_empty::<Lab<NO_DEFECT>>();
    readiness::hang_up_is_what_is_wanted::<Lab<NO_DEFECT>>();
    readiness::a_successor_never_gets_its_predecessors_event::<Lab<NO_DEFECT>>();
    readiness::what_is_wanted_and_ready_is_reported::<Lab<NO_DEFECT>>();
    readiness::a_source_that_cannot_be_polled_is_reported_once_with_the_error::<Lab<NO_DEFECT>>();
    wakes::timeouts_are_never_cut_short::<Lab<NO_DEFECT>>();
    wakes::a_zero_timeout_does_not_wait::<Lab<NO_DEFECT>>();
    scale::calls_do_not_grow_with_the_idle::<Lab<NO_DEFECT>>();
    scale::declaring_makes_no_call::<Lab<NO_DEFECT>>();
}

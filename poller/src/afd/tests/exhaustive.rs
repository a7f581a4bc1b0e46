//! Everything that can happen to a port with one or two sources.
//!
//! Drives the real code with its real memory: nothing is copied, so every branch is replayed from
//! the start. A state is what [`Lab::digest`] writes; two runs that lead to the same state are
//! continued once. Breadth first, so a failure comes with a shortest run that leads to it.
//!
//! In every state the run is brought to rest, where everything that is ready must have been
//! reported and nothing else; and after every step the port is torn down, so that it has been torn
//! down at every point.

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::thread;

use super::super::defects::Defects;
use super::super::port::PollingMode;
use super::canaries::{IgnoresFlight, Small};
use super::lab::{Act, BELIEVED, Choice, Lab, Oracle, Setup, WEAK};
use super::{IS_PARTIAL, guarded};
use crate::Interest;
use crate::nt::flag;

/// How much was explored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Explored {
    pub(super) states: usize,
    pub(super) transitions: u64,
    /// The longest of the shortest runs.
    pub(super) depth: usize,
    /// Nothing is left to explore.
    pub(super) is_closed: bool,
}

/// A run that an oracle has stopped.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) oracle: Oracle,
    pub(super) run: Vec<Act>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}, after:", self.oracle)?;
        self.run
            .iter()
            .try_for_each(|action| writeln!(f, "    {action:?}"))
    }
}

/// A state, by the last step of a shortest run to it.
struct Node {
    parent: u32,
    action: Act,
}

/// How a state is told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    ByAll,
    /// A defect of the exploration, to plant: what is in the kernel is left out.
    WithoutKernel,
}

/// 128 bits of a state: two in a billion states agree by chance once in a hundred billion times.
fn hash(bytes: &[u8]) -> u128 {
    let mut hash = 0;
    for salt in [1, 2] {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write(bytes);
        hash = hash << 64 | u128::from(hasher.finish());
    }
    hash
}

/// Runs from the start. The lab is lost if an oracle stops it, since its memory may be in any state.
fn replay<D: Defects, T>(
    setup: &Setup,
    run: &[Act],
    then: impl FnOnce(&mut Lab<D>) -> Result<T, Oracle>,
) -> Result<T, Oracle> {
    let mut lab = std::mem::ManuallyDrop::new(Lab::<D>::new(setup));
    let outcome = guarded(|| {
        for action in run {
            lab.act(*action)?;
        }
        then(&mut lab)
    });
    if outcome.is_ok() {
        drop(std::mem::ManuallyDrop::into_inner(lab));
    }
    outcome
}

/// What can happen in the state after a run, once it was brought to rest.
fn expand<D: Defects>(
    setup: &Setup,
    run: &[Act],
    telling: Telling,
) -> Result<Vec<(Act, u128)>, Failure> {
    let fail = |oracle, last: Option<Act>| Failure {
        oracle,
        run: run.iter().copied().chain(last).collect(),
    };
    let enabled = replay::<D, _>(setup, run, |lab| {
        let enabled = lab.enabled();
        lab.settle()?;
        lab.tear_down()?;
        Ok(enabled)
    });
    let enabled = enabled.map_err(|oracle| fail(oracle, None))?;
    let mut found = Vec::with_capacity(enabled.len());
    let mut bytes = Vec::with_capacity(256);
    for action in enabled {
        let state = replay::<D, _>(setup, run, |lab| {
            lab.act(action)?;
            bytes.clear();
            lab.digest(&mut bytes, telling == Telling::ByAll);
            lab.tear_down()
        });
        state.map_err(|oracle| fail(oracle, Some(action)))?;
        found.push((action, hash(&bytes)));
    }
    Ok(found)
}

fn run_to(nodes: &[Node], mut at: u32) -> Vec<Act> {
    let mut run = Vec::new();
    while at > 0 {
        run.push(nodes[at as usize].action);
        at = nodes[at as usize].parent;
    }
    run.reverse();
    run
}

/// Explores until nothing is left, or there are as many states.
pub(super) fn explore<D: Defects>(
    setup: &Setup,
    states_max: usize,
    telling: Telling,
) -> Result<Explored, Failure> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut nodes = vec![Node {
        parent: 0,
        action: Act::Take,
    }];
    let mut known = HashSet::new();
    let mut explored = Explored::default();
    let mut level = vec![0u32];
    while !level.is_empty() {
        let mut next = Vec::new();
        for chunk in level.chunks(4096) {
            let share = chunk.len().div_ceil(threads);
            let expansions: Vec<_> = thread::scope(|scope| {
                let workers: Vec<_> = chunk
                    .chunks(share)
                    .map(|part| {
                        let nodes = &nodes;
                        scope.spawn(move || {
                            let expand = |at| expand::<D>(setup, &run_to(nodes, at), telling);
                            part.iter().map(|at| expand(*at)).collect::<Vec<_>>()
                        })
                    })
                    .collect();
                let done = workers.into_iter().map(|worker| worker.join().unwrap());
                done.flatten().collect()
            });
            for (at, expansion) in chunk.iter().zip(expansions) {
                for (action, state) in expansion? {
                    explored.transitions += 1;
                    if known.insert(state) {
                        nodes.push(Node {
                            parent: *at,
                            action,
                        });
                        next.push(nodes.len() as u32 - 1);
                    }
                }
            }
            if nodes.len() >= states_max {
                explored.states = nodes.len();
                return Ok(explored);
            }
        }
        explored.depth += usize::from(!next.is_empty());
        level = next;
    }
    explored.states = nodes.len();
    explored.is_closed = true;
    Ok(explored)
}

const RECEIVE: u16 = flag::RECEIVE as u16;
const SEND: u16 = flag::SEND as u16;
const DISCONNECT: u16 = flag::DISCONNECT as u16;
const ABORT: u16 = flag::ABORT as u16;
const ACCEPT: u16 = flag::ACCEPT as u16;
const CONNECT_FAIL: u16 = flag::CONNECT_FAIL as u16;

const INTERESTS: &[Interest] = &[
    Interest::NONE,
    Interest::READABLE,
    Interest::WRITABLE,
    Interest::BOTH,
];

const ALL_FLAGS: &[u16] = &[
    0,
    RECEIVE,
    SEND,
    RECEIVE | SEND,
    SEND | DISCONNECT,
    ABORT,
    ACCEPT,
    CONNECT_FAIL,
];
/// One of each: what may be read, what may be written.
const FEW_FLAGS: &[u16] = &[0, RECEIVE, SEND];
/// Something or nothing.
const TWO_FLAGS: &[u16] = &[0, RECEIVE];
const TWO_INTERESTS: &[Interest] = &[Interest::NONE, Interest::READABLE];
const FEW_INTERESTS: &[Interest] = &[Interest::NONE, Interest::READABLE, Interest::BOTH];

/// As many sources, readiness that comes and goes, and no trouble.
fn plain(sources: u8, mode: PollingMode) -> Setup {
    Setup {
        sources,
        mode,
        writes_early: mode == PollingMode::Helper,
        flags: FEW_FLAGS,
        interests: FEW_INTERESTS,
        operations_max: 1 + usize::from(sources),
        has_duplicates: false,
        has_failures: false,
        has_wakes: false,
        has_foreign: false,
        has_sleeps: false,
        kernel: BELIEVED,
    }
}

fn with_strangers(setup: Setup) -> Setup {
    Setup {
        has_foreign: true,
        has_wakes: true,
        ..setup
    }
}

fn with_trouble(setup: Setup) -> Setup {
    Setup {
        has_duplicates: true,
        has_failures: true,
        has_sleeps: true,
        ..setup
    }
}

fn weak(kernel: usize, sources: u8, mode: PollingMode) -> Setup {
    Setup {
        kernel: WEAK[kernel],
        ..with_trouble(plain(sources, mode))
    }
}

/// How many states a part of the runs has time for.
const STATES_MAX: usize = if cfg!(ampe_poison) { 2_000 } else { 20_000 };

/// What a mutation run has time for.
pub(super) fn quick<D: Defects>() -> Result<(), Failure> {
    use PollingMode::{Auto, Direct, Helper};
    let setups = [
        with_trouble(plain(1, Direct)),
        with_trouble(plain(1, Helper)),
        with_trouble(plain(1, Auto)),
        Setup {
            flags: &[0],
            interests: TWO_INTERESTS,
            has_duplicates: true,
            ..plain(2, Helper)
        },
        with_strangers(plain(1, Direct)),
        with_strangers(plain(2, Helper)),
        plain(2, Direct),
        weak(0, 1, Auto),
        weak(2, 1, Helper),
        weak(4, 1, Helper),
    ];
    for setup in setups {
        explore::<D>(&setup, STATES_MAX, Telling::ByAll)?;
    }
    Ok(())
}

/// The same with wakes alone.
#[cfg(not(any(ampe_poison, ampe_mutants, windows, debug_assertions)))]
pub(super) fn quick_with_wakes<D: Defects>() -> Result<(), Failure> {
    let setup = Setup {
        has_wakes: true,
        ..plain(1, PollingMode::Helper)
    };
    explore::<D>(&setup, STATES_MAX, Telling::ByAll).map(drop)
}

/// Explores and prints; only so far as time allows, if that is so.
fn prove(name: &str, setup: &Setup, states_max: usize) -> Explored {
    let states_max = if IS_PARTIAL {
        states_max.min(STATES_MAX / 2)
    } else {
        states_max
    };
    let explored = explore::<Small>(setup, states_max, Telling::ByAll);
    let explored = explored.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    let closure = match explored.is_closed {
        true => "which are all",
        false => "and there are more",
    };
    println!(
        "{name}: {} distinct states, {closure}; {} transitions, within {} steps",
        explored.states, explored.transitions, explored.depth
    );
    explored
}

const CLOSURE: usize = usize::MAX;

#[track_caller]
fn prove_all(name: &str, setup: &Setup) {
    let explored = prove(name, setup, CLOSURE);
    assert!(explored.is_closed || IS_PARTIAL, "there are more states");
}

#[test]
fn all_that_can_happen_to_one_source_polled_directly() {
    let setup = Setup {
        flags: TWO_FLAGS,
        ..plain(1, PollingMode::Direct)
    };
    prove_all("one source, directly", &setup);
}

#[test]
fn all_that_can_happen_to_one_source_polled_by_a_helper() {
    let setup = plain(1, PollingMode::Helper);
    prove_all("one source, by a helper", &setup);
}

/// All of it takes a quarter of an hour.
#[test]
fn much_that_can_happen_to_one_source_with_failures() {
    let setup = Setup {
        flags: TWO_FLAGS,
        has_failures: true,
        ..plain(1, PollingMode::Helper)
    };
    prove("one source with failures, by a helper", &setup, 1_000_000);
}

#[test]
fn all_that_can_happen_to_one_source_with_wakes() {
    let setup = Setup {
        flags: TWO_FLAGS,
        has_wakes: true,
        ..plain(1, PollingMode::Helper)
    };
    prove_all("one source with wakes, by a helper", &setup);
}

#[test]
fn much_that_can_happen_to_one_source_with_everything() {
    for mode in [PollingMode::Auto, PollingMode::Direct, PollingMode::Helper] {
        let setup = Setup {
            flags: ALL_FLAGS,
            interests: INTERESTS,
            ..with_strangers(with_trouble(plain(1, mode)))
        };
        prove(
            &format!("one source with everything, {mode:?}"),
            &setup,
            150_000,
        );
    }
}

#[test]
fn much_that_can_happen_on_weak_kernels() {
    let states_max = if IS_PARTIAL { 8_000 } else { 30_000 };
    for kernel in 0..WEAK.len() {
        for (sources, mode) in [
            (1, PollingMode::Helper),
            (1, PollingMode::Direct),
            (2, PollingMode::Auto),
        ] {
            let setup = weak(kernel, sources, mode);
            let name = format!("weak kernel {kernel}, {sources} sources, {mode:?}");
            prove(&name, &setup, states_max);
        }
    }
}

#[test]
fn a_million_states_of_two_sources() {
    let explored = prove("two sources", &plain(2, PollingMode::Helper), 1_000_000);
    assert!(explored.states >= 1_000_000 || IS_PARTIAL);
}

#[test]
fn much_that_can_happen_to_two_sources_of_one_helper() {
    let setup = with_strangers(with_trouble(plain(2, PollingMode::Helper)));
    prove("two sources of one helper with everything", &setup, 150_000);
}

#[test]
fn much_that_can_happen_to_two_sources_polled_directly() {
    let setup = with_strangers(with_trouble(plain(2, PollingMode::Direct)));
    prove(
        "two sources polled directly with everything",
        &setup,
        150_000,
    );
}

/// If the exploration took different states for one, it would miss things: here it does.
#[test]
#[cfg_attr(ampe_poison, ignore = "the sanitizer ends what looks at a free slot")]
fn an_exploration_that_merges_states_loses_a_defect() {
    let setup = with_strangers(plain(1, PollingMode::Helper));
    let told = explore::<IgnoresFlight>(&setup, 20_000, Telling::ByAll);
    assert!(
        told.is_err(),
        "the defect is not found by an honest exploration"
    );
    let merged = explore::<IgnoresFlight>(&setup, 20_000, Telling::WithoutKernel);
    let merged = merged.unwrap_or_else(|failure| panic!("it is found all the same: {failure}"));
    assert!(merged.is_closed, "it might yet have been found");
}

/// A packet that was dequeued for the sake of another source keeps its answer in its slot alone.
#[test]
fn states_that_differ_in_an_answer_kept_for_later_are_told_apart() {
    let digest = |flags| {
        let run = [
            Act::Insert(0),
            Act::Insert(1),
            Act::Declare(0, Interest::BOTH),
            Act::Declare(1, Interest::READABLE),
            Act::Wait(Choice::Plain),
            Act::Become(0, flags),
            Act::Deliver(0),
            Act::Become(0, 0),
            Act::Remove(1),
        ];
        let mut bytes = Vec::new();
        let setup = plain(2, PollingMode::Direct);
        replay::<Small, _>(&setup, &run, |lab| {
            lab.digest(&mut bytes, true);
            lab.tear_down()
        })
        .unwrap();
        bytes
    };
    assert_ne!(digest(RECEIVE), digest(SEND));
}

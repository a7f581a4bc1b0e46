//! Proofs that no order of steps breaks what the engine's threads share.
//!
//! The production files are included as they are, with primitives in their `crate::sync` whose
//! interleavings loom explores. Each model says what it claims; each is exhaustive unless it states
//! a bound on preemptions. Beside each model stand canaries: the same model with one step wrong, in
//! the production file (a `Decision` that is always taken one way) or in the threads around it, which
//! loom must find. A model that cannot fail proves nothing.

// A panic cannot unwind loom's stacks on Windows, and no system matters to what is explored.
#![cfg(not(windows))]
#![allow(
    dead_code,
    reason = "the models use the part of the production files that threads share"
)]
#![allow(clippy::unwrap_used, reason = "a model's threads are part of a test")]

#[allow(
    unused_imports,
    reason = "the models use a part of what the folder offers"
)]
#[path = "../src/between/mod.rs"]
mod between;
#[allow(unreachable_pub, reason = "public in the library")]
#[path = "../src/channel.rs"]
mod channel;
#[allow(
    unused_imports,
    reason = "the models use a part of what the folder offers"
)]
#[path = "../src/storage/mod.rs"]
mod storage;
/// Loom's primitives, in the place of `src/between/sync.rs`.
#[path = "loom/sync.rs"]
mod sync;
#[allow(unreachable_pub, reason = "public in the library")]
#[path = "../src/traffic.rs"]
mod traffic;

#[path = "loom/credit_models.rs"]
mod credit_models;
#[path = "loom/flush_models.rs"]
mod flush_models;
#[path = "loom/line_models.rs"]
mod line_models;
#[path = "loom/mailbox_models.rs"]
mod mailbox_models;
#[path = "loom/pool_models.rs"]
mod pool_models;
#[path = "loom/queue_models.rs"]
mod queue_models;
#[path = "loom/room_models.rs"]
mod room_models;
#[path = "loom/seat_models.rs"]
mod seat_models;
#[path = "loom/task_models.rs"]
mod task_models;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::between::decision::Decision;
use crate::between::queue::Queue;
use crate::between::registry::{Credit, Denied, GroupId, Kind, Registry, Role};
use crate::between::wake::Wake;
use crate::channel::Channel;

/// The reactor's queue in these models: a post is its channel and a tag.
type Posts = Queue<Vec<(Channel, u32)>, ()>;

const GROUP: GroupId = 7;

/// What the reactor sleeps on: a wake is kept until the next sleep, as the poller keeps it. (The
/// poller has a model of its own for how.)
struct Sleeper {
    is_awake: sync::Mutex<bool>,
    woken: sync::Condvar,
}

impl Sleeper {
    fn new() -> Arc<Self> {
        Arc::new(Sleeper {
            is_awake: sync::Mutex::new(false),
            woken: sync::Condvar::new(),
        })
    }

    fn wake(&self) {
        *sync::lock(&self.is_awake) = true;
        self.woken.notify_one();
    }

    fn sleep(&self) {
        let mut is_awake = sync::lock(&self.is_awake);
        while !*is_awake {
            is_awake = self.woken.wait(is_awake).unwrap();
        }
        *is_awake = false;
    }
}

/// The waker of a [`Sleeper`], or of nobody where a model has no sleeper.
struct Alarm(Option<Arc<Sleeper>>);

impl Wake for Alarm {
    fn wake(&self) {
        if let Some(sleeper) = &self.0 {
            sleeper.wake();
        }
    }
}

/// A queue over a registry whose numbers are used again at once, with room for two messages of the
/// largest size in each channel and in the engine.
fn queue_waking(sleeper: Option<Arc<Sleeper>>) -> Arc<Posts> {
    let budget = 2 * storage::MESSAGE_COST_MAX;
    let credit = Credit {
        channel: budget,
        engine: budget,
    };
    let mut registry = Registry::with_quarantine(credit, 0);
    registry.open_group(GROUP, 0);
    Arc::new(Queue::new(registry, Box::new(Alarm(sleeper))))
}

/// What the reactor does with the queue in a pass; tasks that it has told are woken after it.
fn exchange<T, E: Copy, R>(
    queue: &Queue<Vec<T>, E>,
    batch: &mut Vec<T>,
    settle: impl FnOnce(&mut Registry) -> R,
) -> R {
    let result = queue.exchange(batch, settle);
    if queue.has_told() {
        queue.wake_tasks();
    }
    result
}

fn open(queue: &Posts) -> Channel {
    queue
        .with_registry(|registry| registry.open(GROUP, Kind::Connection))
        .unwrap()
}

/// Posts as the engine does: admission and queueing under one lock.
fn post(queue: &Posts, channel: Channel, tag: u32, cost: usize) -> Result<(), Denied> {
    post_by(queue, GROUP, channel, tag, cost)
}

fn post_by(
    queue: &Posts,
    group: GroupId,
    channel: Channel,
    tag: u32,
    cost: usize,
) -> Result<(), Denied> {
    let submitted = queue.submit(|registry, items| {
        registry.admit(channel, group, Role::Data, cost, None)?;
        items.push((channel, tag));
        Ok(())
    });
    submitted.unwrap_or(Err(Denied::Closed))
}

/// Runs a model under every order of its threads' steps, or those with at most `preemptions`
/// switches away from a thread that could have gone on, and returns how many there were.
fn explore(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) -> usize {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        sync::Instant::reset();
        model();
    });
    executions.load(Ordering::Relaxed)
}

/// Explores a model that holds, and expects so many executions at least: fewer would mean that its
/// threads no longer meet.
fn proves(
    name: &str,
    preemptions: Option<usize>,
    executions_min: usize,
    model: impl Fn() + Send + Sync + 'static,
) {
    let executions = explore(preemptions, model);
    println!("{name}: {executions} executions, preemptions {preemptions:?}");
    assert!(
        executions >= executions_min,
        "{name} explored only {executions} executions"
    );
}

/// As [`finds`], with a decision of the production files that is always taken one way.
fn finds_always(
    decision: Decision,
    outcome: bool,
    symptom: &str,
    preemptions: Option<usize>,
    model: impl Fn() + Send + Sync + 'static,
) {
    sync::always_decide(decision, outcome);
    finds(symptom, preemptions, model);
}

/// Explores a model with a defect in it, and expects loom to find an execution that fails with a
/// message that contains `symptom`.
fn finds(symptom: &str, preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let outcome = catch_unwind(AssertUnwindSafe(|| explore(preemptions, model)));
    sync::decide_rightly(); // the next test may run on the same thread
    let Err(panic) = outcome else {
        panic!("the defect was not found");
    };
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("");
    assert!(
        message.contains(symptom),
        "found {message:?}, not {symptom:?}"
    );
}

/// What loom reports when nobody can go on: somebody was not woken.
const NOBODY_CAN_GO_ON: &str = "deadlock";

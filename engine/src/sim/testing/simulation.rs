//! A simulation: engines and tasks on one network and one clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::clock;
use crate::engine::Engine;
use crate::error::{Ended, StartError};
use crate::handles::reactor_thread;
use crate::options::{Options, after};

use super::super::net::{Net, SharedNet};
use super::super::rng::Rng;
use super::conditions::Conditions;
use super::node::Node;
use super::tasks::{LocalFuture, Task, Tasks, task};

/// A run that takes more steps than this does not end.
const STEPS_MAX: u64 = 20_000_000;

/// Engines, a network and a clock, all in this thread. What it is made of is drawn from a seed: the same seed gives
/// the same run.
///
/// All of [`Handle`] can be done with it.
///
/// # Panics
///
/// Making a second one while the first lives in the same thread panics.
pub struct Simulation {
    handle: Handle,
    tasks: Tasks,
}

/// What tasks have of their simulation. Clones are the same.
#[derive(Clone)]
pub struct Handle(Rc<RefCell<Inside>>);

struct Inside {
    seed: u64,
    now: Instant,
    net: SharedNet,
    nodes: Vec<Node>,
    rng: Rng,
    /// Tasks that have not been polled yet.
    spawned: Vec<LocalFuture>,
    /// The simulation was dropped.
    is_over: bool,
    /// Who sleeps until when.
    sleeping: BTreeMap<(Instant, u64), Waker>,
    sleep_next: u64,
    steps: u64,
}

impl Simulation {
    /// One with conditions by chance.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let conditions = Conditions::draw(&mut rng);
        Simulation::over(seed, &conditions, rng)
    }

    /// One with these conditions.
    pub fn with(seed: u64, conditions: Conditions) -> Self {
        Simulation::over(seed, &conditions, Rng::new(seed))
    }

    fn over(seed: u64, conditions: &Conditions, mut rng: Rng) -> Self {
        assert!(
            !reactor_thread::is_here(),
            "this thread has a simulation already, or is an engine's own"
        );
        let net = Net::new(rng.fork(), conditions.temper());
        let inside = Inside {
            seed,
            now: net.now,
            net: Rc::new(RefCell::new(net)),
            nodes: Vec::new(),
            rng,
            spawned: Vec::new(),
            is_over: false,
            sleeping: BTreeMap::new(),
            sleep_next: 0,
            steps: 0,
        };
        reactor_thread::enter();
        clock::simulate(Some(inside.now));
        Simulation {
            handle: Handle(Rc::new(RefCell::new(inside))),
            tasks: Tasks::default(),
        }
    }

    /// What tasks need of it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until this is done, with all that was spawned beside it. What still runs then stays as it is, until the
    /// next run.
    ///
    /// # Panics
    ///
    /// - It panics itself, or another task does.
    /// - It waits, and nothing can happen any more: no engine, no task and no timer is left that could do something.
    /// - It has no end: 20 million steps were taken.
    pub fn run<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> T {
        let (polled, outcome) = task(future);
        self.tasks.add(polled);
        loop {
            if let Some(value) = outcome.take() {
                return value;
            }
            assert!(
                self.step(None),
                "nothing can happen any more, and {} tasks wait (seed {})",
                self.tasks.len(),
                self.seed()
            );
        }
    }

    /// Lets everything go on for so long.
    pub fn run_for(&mut self, time: Duration) {
        let until = after(self.now(), time);
        while self.now() < until {
            self.step(Some(until));
        }
    }

    /// Lets one that can do something do it, or else time go on, to `until` at the latest. Returns whether anything can
    /// still happen by itself.
    fn step(&mut self, until: Option<Instant>) -> bool {
        let spawned = std::mem::take(&mut self.handle.0.borrow_mut().spawned);
        spawned.into_iter().for_each(|it| self.tasks.add(it));
        let tasks = self.tasks.ready();
        let chosen = self.handle.0.borrow_mut().choose(&tasks);
        match chosen {
            // Nothing of the simulation is borrowed meanwhile: a task may do whatever it likes.
            Some(Chosen::Task(index)) => self.tasks.poll(index),
            Some(Chosen::Node(index)) => self.pass(index),
            None => {
                let Some(woken) = self.handle.0.borrow_mut().let_time_go_on(until) else {
                    return false;
                };
                woken.into_iter().for_each(Waker::wake);
            }
        }
        true
    }

    /// Has an engine make a pass.
    fn pass(&self, index: usize) {
        let mut inside = self.handle.0.borrow_mut();
        let node = &mut inside.nodes[index];
        let (ending, shared) = (node.pass(), Arc::clone(&node.shared));
        drop(inside);
        shared.queue.wake_tasks();
        drop(ending);
    }
}

enum Chosen {
    Task(usize),
    Node(usize),
}

impl Inside {
    /// Who does something next, of the tasks and engines that can.
    fn choose(&mut self, tasks: &[usize]) -> Option<Chosen> {
        self.steps += 1;
        assert!(
            self.steps < STEPS_MAX,
            "no end after {STEPS_MAX} steps (seed {})",
            self.seed
        );
        self.net.borrow_mut().tick(self.now);
        self.nodes.iter_mut().for_each(|node| node.tick(self.now));
        let nodes = (0..self.nodes.len()).filter(|&node| self.nodes[node].is_ready(self.now));
        let tasks = tasks.iter().map(|&task| Chosen::Task(task));
        let mut ready: Vec<Chosen> = tasks.chain(nodes.map(Chosen::Node)).collect();
        let index = self.rng.index(ready.len())?;
        Some(ready.swap_remove(index))
    }

    /// Returns who has slept until then, or `None` if nobody is left who could do anything.
    fn let_time_go_on(&mut self, until: Option<Instant>) -> Option<Vec<Waker>> {
        let sleeping = self.sleeping.keys().next().map(|&(at, _)| at);
        let times = self.nodes.iter().filter_map(Node::next_time);
        let times = times.chain(self.net.borrow().next_time(self.now));
        let next = times.chain(sleeping).chain(until).min()?;
        assert!(next > self.now, "whoever is due now was ready");
        self.now = next;
        self.net.borrow_mut().now = next;
        clock::simulate(Some(next));
        let later = self.sleeping.split_off(&(next, u64::MAX));
        let woken = std::mem::replace(&mut self.sleeping, later);
        Some(woken.into_values().collect())
    }

    fn check(&self) {
        assert!(!self.is_over, "this simulation was dropped");
    }

    fn node(&mut self, engine: &Engine) -> &mut Node {
        let node = self.nodes.iter_mut();
        let mut node = node.filter(|node| Arc::ptr_eq(&node.shared, engine.shared()));
        node.next().expect("an engine of this simulation")
    }
}

impl Handle {
    /// What the run is drawn from.
    pub fn seed(&self) -> u64 {
        self.0.borrow().seed
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.0.borrow().now
    }

    /// Starts an engine: a process of its own, as far as others can tell.
    ///
    /// # Errors
    ///
    /// [`StartError::Options`] if a limit is too low to work with.
    ///
    /// # Panics
    ///
    /// The simulation was dropped.
    pub fn engine(&self, options: Options) -> Result<Engine, StartError> {
        options.check()?;
        let mut inside = self.0.borrow_mut();
        inside.check();
        let rng = inside.rng.fork();
        let node = Node::new(options, &inside.net, rng);
        let engine = Engine::over(Arc::clone(&node.shared), None);
        inside.nodes.push(node);
        Ok(engine)
    }

    /// Starts a task, which is polled whenever it was woken, while the simulation runs.
    ///
    /// # Panics
    ///
    /// The simulation was dropped.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        let (polled, outcome) = task(future);
        let mut inside = self.0.borrow_mut();
        inside.check();
        inside.spawned.push(polled);
        outcome
    }

    /// Waits, by the clock of the simulation.
    pub fn sleep(&self, time: Duration) -> Sleep {
        Sleep {
            handle: self.clone(),
            until: after(self.now(), time),
            place: None,
        }
    }

    /// Kills an engine, as `kill -9` does a process: it says nothing any more, and its system closes its sockets.
    /// Whoever uses it finds [`Ended::EngineFailed`].
    ///
    /// # Panics
    ///
    /// The engine is none of this simulation.
    pub fn kill(&self, engine: &Engine) {
        let ending = self.0.borrow_mut().node(engine).end(Ended::EngineFailed);
        drop(ending); // it wakes tasks, which may use the simulation
    }

    /// Stops an engine for a while, as `SIGSTOP` does a process, or a machine that swaps: it neither reads nor writes,
    /// and its timers wait. Tasks that use it go on.
    ///
    /// # Panics
    ///
    /// The engine is none of this simulation.
    pub fn pause(&self, engine: &Engine, time: Duration) {
        let mut inside = self.0.borrow_mut();
        let until = after(inside.now, time);
        inside.node(engine).pause(until);
    }

    /// Breaks every connection that stands, as a firewall that was restarted does: both sides find it reset.
    pub fn break_connections(&self) {
        let inside = self.0.borrow();
        inside.net.borrow_mut().break_all();
    }
}

impl Deref for Simulation {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Simulation")
            .field("handle", &self.handle)
            .field("tasks", &self.tasks.len())
            .finish()
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Handle");
        match self.0.try_borrow() {
            Ok(inside) => shown.field("seed", &inside.seed).finish_non_exhaustive(),
            Err(_) => shown.finish_non_exhaustive(),
        }
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        let _leaves = Leaves(self.handle());
        // What tasks hold ends while its engines are there: an inbox that is dropped closes its group.
        self.tasks = Tasks::default();
        loop {
            let spawned = std::mem::take(&mut self.handle.0.borrow_mut().spawned);
            if spawned.is_empty() {
                break;
            }
        }
        let mut inside = self.handle.0.borrow_mut();
        let nodes = std::mem::take(&mut inside.nodes);
        let sleeping = std::mem::take(&mut inside.sleeping);
        drop(inside);
        drop((nodes, sleeping));
    }
}

/// Has this thread be one like any other again, also where the drop of a task panics.
struct Leaves(Handle);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.0.borrow_mut().is_over = true;
        clock::simulate(None);
        reactor_thread::leave();
    }
}

/// A wait by the clock of a simulation: [`Handle::sleep`].
#[derive(Debug)]
#[must_use = "it waits when it is awaited"]
pub struct Sleep {
    handle: Handle,
    until: Instant,
    /// Where its waker is.
    place: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let until = self.until;
        // Wakers may be whatever the application has made: nothing is borrowed while one is cloned or dropped.
        let waker = context.waker().clone();
        let mut inside = self.handle.0.borrow_mut();
        if until <= inside.now {
            return Poll::Ready(());
        }
        let place = self.place.unwrap_or(inside.sleep_next);
        inside.sleep_next = inside.sleep_next.max(place + 1);
        let before = inside.sleeping.insert((until, place), waker);
        drop(inside);
        drop(before);
        self.place = Some(place);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut inside = self.handle.0.borrow_mut();
            let waker = inside.sleeping.remove(&(self.until, place));
            drop(inside);
            drop(waker);
        }
    }
}

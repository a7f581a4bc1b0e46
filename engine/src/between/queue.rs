//! What applications hand to the reactor: one batch behind one lock, and the wake that goes with it.

use std::task::Waker;

use super::decision::Decision;
use super::expected::Expected;
use super::registry::Registry;
use super::waiting::wake_all;
use super::wake::Wake;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, decide, lock};

/// What is posted between two exchanges.
pub(crate) trait Batch: Default {
    /// How much was posted.
    fn len(&self) -> usize;
}

impl<T> Batch for Vec<T> {
    fn len(&self) -> usize {
        Vec::len(self)
    }
}

/// The queue from many posting threads to the one reactor.
///
/// The registry lives behind the same lock, so admission and queueing are one step. That is what
/// makes accounts exact: once a channel was closed under this lock, everything admitted to it is in
/// the batch taken under the same lock, and nothing can follow.
pub(crate) struct Queue<B, E> {
    state: Mutex<State<B, E>>,
    waker: Box<dyn Wake>,
    /// The number of the batch whose first post has not woken the reactor yet; 0, or a number from
    /// the past, where there is none.
    unwoken: AtomicU64,
    /// How many tasks the reactor has told that nobody has woken yet.
    told: AtomicU64,
}

const NONE: u64 = 0;

/// Memory for so many tasks that are told is kept.
const TOLD_KEPT: usize = 1024;

struct State<B, E> {
    registry: Registry,
    posted: B,
    /// The number of the batch that is being posted: they count from 1.
    batch: u64,
    /// Why nothing is accepted any more.
    ended: Option<E>,
    /// Wakers of tasks that the reactor has told of something.
    told: Vec<Waker>,
    /// With how many posts the batch wakes the reactor.
    expected: Expected,
}

impl<B: Batch, E: Copy> Queue<B, E> {
    pub(crate) fn new(registry: Registry, waker: Box<dyn Wake>) -> Self {
        Queue {
            state: Mutex::new(State {
                registry,
                posted: B::default(),
                batch: 1,
                ended: None,
                told: Vec::new(),
                expected: Expected::default(),
            }),
            waker,
            unwoken: AtomicU64::new(NONE),
            told: AtomicU64::new(0),
        }
    }

    /// Runs `submit` on the registry and the batch, and wakes the reactor if the batch has now as many posts as it
    /// waits for: mostly, if it was empty before. Whoever comes later finds the wake made, or makes it as well: the
    /// thread that is to make it may have been put to sleep behind its post.
    ///
    /// # Errors
    ///
    /// The reactor has ended, for the reason returned.
    pub(crate) fn submit<R>(
        &self,
        submit: impl FnOnce(&mut Registry, &mut B) -> R,
    ) -> Result<R, E> {
        self.submit_and(submit, |waker| waker.wake())
    }

    /// The same, where the reactor is made to look at the batch by `wake`.
    pub(crate) fn submit_and<R>(
        &self,
        submit: impl FnOnce(&mut Registry, &mut B) -> R,
        wake: impl FnOnce(&dyn Wake),
    ) -> Result<R, E> {
        let mut state = lock(&self.state);
        if let Some(ended) = state.ended {
            return Err(ended);
        }
        let before = state.posted.len();
        let State {
            registry, posted, ..
        } = &mut *state;
        let result = submit(registry, posted);
        let (batch, has_posted) = (state.batch, state.posted.len() > before);
        let expected = state.expected.posts();
        let is_reached = before < expected && expected <= state.posted.len();
        let is_due = has_posted && decide(Decision::BatchIsDue, is_reached);
        if is_due {
            self.unwoken.store(batch, Ordering::Release);
        }
        let told = state.registry.take_told();
        drop(state);
        if is_due || (has_posted && self.is_unwoken(batch)) {
            wake(&*self.waker);
            // Not the wake of a later batch, whose first post has come meanwhile.
            let (from, to) = (Ordering::AcqRel, Ordering::Relaxed);
            let _ = self.unwoken.compare_exchange(batch, NONE, from, to);
        }
        if !told.is_empty() {
            wake_all(told); // mostly there are none, and an empty list need not be moved
        }
        Ok(result)
    }

    fn is_unwoken(&self, batch: u64) -> bool {
        let is_unwoken = self.unwoken.load(Ordering::Acquire) == batch;
        decide(Decision::WakeIsOutstanding, is_unwoken)
    }

    /// The reactor's side: takes all that was posted, in one swap, and settles with the registry
    /// under the same lock. `batch` must be empty; its storage becomes the next batch's.
    pub(crate) fn exchange<R>(&self, batch: &mut B, settle: impl FnOnce(&mut Registry) -> R) -> R {
        assert!(batch.len() == 0, "the batch before was handled");
        let mut state = lock(&self.state);
        std::mem::swap(&mut state.posted, batch);
        state.batch += 1;
        if decide(Decision::ExpectationEnds, true) {
            state.expected.end(batch.len());
        }
        self.settle_in(state, settle)
    }

    /// The reactor's side: settles with the registry once more.
    pub(crate) fn settle<R>(&self, settle: impl FnOnce(&mut Registry) -> R) -> R {
        self.settle_in(lock(&self.state), settle)
    }

    /// Wakers are the application's code. A pass may be made in the midst of a receive or a post, where the
    /// application may hold locks, so what it tells is kept for [`wake_tasks`](Self::wake_tasks).
    fn settle_in<R>(
        &self,
        mut state: MutexGuard<'_, State<B, E>>,
        settle: impl FnOnce(&mut Registry) -> R,
    ) -> R {
        let result = settle(&mut state.registry);
        self.keep_told(&mut state);
        result
    }

    fn keep_told(&self, state: &mut State<B, E>) {
        let mut told = state.registry.take_told();
        if !told.is_empty() {
            state.told.append(&mut told);
            self.told.store(state.told.len() as u64, Ordering::Relaxed);
        }
    }

    /// Has tasks woken behind the pass, if there are any, by [`wake_tasks`](Self::wake_tasks).
    pub(crate) fn tell(&self, tasks: impl IntoIterator<Item = Waker>) {
        let mut tasks = tasks.into_iter().peekable();
        if tasks.peek().is_none() {
            return;
        }
        let mut state = lock(&self.state);
        state.told.extend(tasks);
        self.told.store(state.told.len() as u64, Ordering::Relaxed);
    }

    /// Whether the reactor has told tasks that are to be woken.
    pub(crate) fn has_told(&self) -> bool {
        self.told() > 0
    }

    /// How many tasks the reactor has told that are to be woken.
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// Wakes the tasks that the reactor has told of something.
    pub(crate) fn wake_tasks(&self) {
        let mut state = lock(&self.state);
        let mut told = std::mem::take(&mut state.told);
        self.told.store(0, Ordering::Relaxed);
        drop(state);
        wake_all(told.drain(..));
        if (1..=TOLD_KEPT).contains(&told.capacity()) {
            let mut state = lock(&self.state);
            if state.told.capacity() == 0 {
                state.told = told;
            }
        }
    }

    /// Has what the tasks post that are to be woken wake the reactor together, where its next wait ends before
    /// long. Returns whether that is waited for. What was posted already has made its wake.
    pub(crate) fn expect_posts(&self) -> bool {
        let mut state = lock(&self.state);
        let tasks = state.told.len();
        state.expected.begin(tasks)
    }

    /// The reactor has waited for them as long as it may.
    pub(crate) fn expect_no_more(&self) {
        lock(&self.state).expected.run_out();
    }

    /// Uses the registry from outside the reactor, with no item to submit: valid after the end too.
    pub(crate) fn with_registry<R>(&self, settle: impl FnOnce(&mut Registry) -> R) -> R {
        let mut state = lock(&self.state);
        let result = settle(&mut state.registry);
        unlock(state);
        result
    }

    /// Asks the registry, and has the reactor come for another exchange: who asks again sees what is newer.
    pub(crate) fn ask<R>(&self, question: impl FnOnce(&mut Registry) -> R) -> R {
        let answer = self.with_registry(question);
        self.wake();
        answer
    }

    /// Refuses all that follows, wakes every task that waits, and hands back what was accepted
    /// before.
    pub(crate) fn end(&self, reason: E) -> B {
        let left = self.refuse(reason);
        self.wake_tasks();
        left
    }

    /// The same, in a pass: the tasks are woken behind it.
    pub(crate) fn refuse(&self, reason: E) -> B {
        let mut state = lock(&self.state);
        state.ended.get_or_insert(reason);
        if decide(Decision::EndWakesTasks, true) {
            state.registry.tell_everybody();
        }
        let left = std::mem::take(&mut state.posted);
        self.keep_told(&mut state);
        left
    }

    /// Wakes the reactor though nothing was queued.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }
}

/// Lets the lock go, and wakes the tasks that were told meanwhile.
fn unlock<B, E>(mut state: MutexGuard<'_, State<B, E>>) {
    let told = state.registry.take_told();
    drop(state);
    wake_all(told);
}

//! What applications hand to the reactor: one batch behind one lock, and the wake that goes with it.

use super::decision::Decision;
use super::registry::Registry;
use super::waiting::wake_all;
use super::wake::Wake;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, decide, lock};

/// The queue from many posting threads to the one reactor.
///
/// The registry lives behind the same lock, so admission and queueing are one step. That is what
/// makes accounts exact: once a channel was closed under this lock, everything admitted to it is in
/// the batch taken under the same lock, and nothing can follow.
pub(crate) struct Queue<T, E> {
    state: Mutex<State<T, E>>,
    waker: Box<dyn Wake>,
    /// The number of the batch whose first post has not woken the reactor yet; 0, or a number from
    /// the past, where there is none.
    unwoken: AtomicU64,
}

const NONE: u64 = 0;

struct State<T, E> {
    registry: Registry,
    items: Vec<T>,
    /// The number of the batch that `items` are: they count from 1.
    batch: u64,
    /// Why nothing is accepted any more.
    ended: Option<E>,
}

impl<T, E: Copy> Queue<T, E> {
    pub(crate) fn new(registry: Registry, waker: Box<dyn Wake>) -> Self {
        Queue {
            state: Mutex::new(State {
                registry,
                items: Vec::new(),
                batch: 1,
                ended: None,
            }),
            waker,
            unwoken: AtomicU64::new(NONE),
        }
    }

    /// Runs `submit` on the registry and the batch, and wakes the reactor if the batch was empty
    /// before and no longer is. Whoever comes later finds the wake made, or makes it as well: the
    /// thread that is to make it may have been put to sleep behind its post.
    ///
    /// # Errors
    ///
    /// The reactor has ended, for the reason returned.
    pub(crate) fn submit<R>(
        &self,
        submit: impl FnOnce(&mut Registry, &mut Vec<T>) -> R,
    ) -> Result<R, E> {
        let mut state = lock(&self.state);
        if let Some(ended) = state.ended {
            return Err(ended);
        }
        let before = state.items.len();
        let State {
            registry, items, ..
        } = &mut *state;
        let result = submit(registry, items);
        let (batch, has_posted) = (state.batch, state.items.len() > before);
        let is_first = has_posted && decide(Decision::BatchWasEmpty, before == 0);
        if is_first {
            self.unwoken.store(batch, Ordering::Release);
        }
        let told = state.registry.take_told();
        drop(state);
        if is_first || (has_posted && self.is_unwoken(batch)) {
            self.waker.wake();
            // Not the wake of a later batch, whose first post has come meanwhile.
            let (from, to) = (Ordering::AcqRel, Ordering::Relaxed);
            let _ = self.unwoken.compare_exchange(batch, NONE, from, to);
        }
        wake_all(told);
        Ok(result)
    }

    fn is_unwoken(&self, batch: u64) -> bool {
        let is_unwoken = self.unwoken.load(Ordering::Acquire) == batch;
        decide(Decision::WakeIsOutstanding, is_unwoken)
    }

    /// The reactor's side: takes all that was posted, in one swap, and settles with the registry
    /// under the same lock. `batch` must be empty; its storage becomes the next batch's.
    pub(crate) fn exchange<R>(
        &self,
        batch: &mut Vec<T>,
        settle: impl FnOnce(&mut Registry) -> R,
    ) -> R {
        assert!(batch.is_empty(), "the batch before was handled");
        let mut state = lock(&self.state);
        std::mem::swap(&mut state.items, batch);
        state.batch += 1;
        let result = settle(&mut state.registry);
        unlock(state);
        result
    }

    /// Uses the registry from outside the reactor, with no item to submit: valid after the end too.
    pub(crate) fn with_registry<R>(&self, settle: impl FnOnce(&mut Registry) -> R) -> R {
        let mut state = lock(&self.state);
        let result = settle(&mut state.registry);
        unlock(state);
        result
    }

    /// Refuses all that follows, wakes every task that waits, and hands back what was accepted
    /// before.
    pub(crate) fn end(&self, reason: E) -> Vec<T> {
        let mut state = lock(&self.state);
        state.ended.get_or_insert(reason);
        if decide(Decision::EndWakesTasks, true) {
            state.registry.tell_everybody();
        }
        let left = std::mem::take(&mut state.items);
        unlock(state);
        left
    }

    /// Wakes the reactor though nothing was queued.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }
}

/// Lets the lock go, and wakes the tasks that were told meanwhile.
fn unlock<T, E>(mut state: MutexGuard<'_, State<T, E>>) {
    let told = state.registry.take_told();
    drop(state);
    wake_all(told);
}

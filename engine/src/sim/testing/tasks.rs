//! The tasks of a simulation: polled one at a time, in an order that is drawn.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

pub(super) type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Whether a task was woken. Wakers may be called in any thread.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

struct Running {
    future: LocalFuture,
    woken: Arc<Woken>,
    waker: Waker,
}

impl Running {
    fn is_ready(&self) -> bool {
        self.woken.0.load(Ordering::Acquire)
    }
}

#[derive(Default)]
pub(super) struct Tasks(Vec<Running>);

impl Tasks {
    pub(super) fn add(&mut self, future: LocalFuture) {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.0.push(Running {
            future,
            waker: Waker::from(Arc::clone(&woken)),
            woken,
        });
    }

    /// Those that were woken.
    pub(super) fn ready(&self) -> Vec<usize> {
        let indexes = self.0.iter().enumerate();
        let ready = indexes.filter(|(_, task)| task.is_ready());
        ready.map(|(index, _)| index).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn poll(&mut self, index: usize) {
        let task = &mut self.0[index];
        task.woken.0.store(false, Ordering::Release);
        let polled = task
            .future
            .as_mut()
            .poll(&mut Context::from_waker(&task.waker));
        if polled.is_ready() {
            drop(self.0.swap_remove(index));
        }
    }
}

/// What a task will give. Awaited, it is that; dropped, the task goes on.
#[derive(Debug)]
pub struct Task<T>(Rc<RefCell<Outcome<T>>>);

#[derive(Debug)]
struct Outcome<T> {
    value: Option<T>,
    waiting: Option<Waker>,
}

/// A future to be polled, and where what it gives is found.
pub(super) fn task<T: 'static>(
    future: impl Future<Output = T> + 'static,
) -> (LocalFuture, Task<T>) {
    let outcome = Rc::new(RefCell::new(Outcome {
        value: None,
        waiting: None,
    }));
    let told = Rc::clone(&outcome);
    let polled = Box::pin(async move {
        let value = future.await;
        let mut outcome = told.borrow_mut();
        outcome.value = Some(value);
        let waiting = outcome.waiting.take();
        drop(outcome);
        waiting.into_iter().for_each(Waker::wake);
    });
    (polled, Task(outcome))
}

impl<T> Task<T> {
    pub(super) fn take(&self) -> Option<T> {
        self.0.borrow_mut().value.take()
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let Some(value) = self.take() {
            return Poll::Ready(value);
        }
        // Wakers may be whatever the application has made: nothing is borrowed while one is cloned or dropped.
        let waker = context.waker().clone();
        let before = self.0.borrow_mut().waiting.replace(waker);
        drop(before);
        Poll::Pending
    }
}

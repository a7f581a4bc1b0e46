//! Waiting for a future in a thread.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use crate::handles::reactor_thread;
use crate::storage::give_back_dropped;

/// What the future ends with, if it ends until `deadline`. In a waker that an engine calls, this does not
/// wait.
pub(crate) fn wait_until<F: Future>(future: F, deadline: Instant) -> Option<F::Output> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
            return Some(outcome);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || reactor_thread::is_here() {
            return None;
        }
        give_back_dropped(); // of a batch that this thread has not finished
        thread::park_timeout(left);
    }
}

/// The waker of a thread that sleeps.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

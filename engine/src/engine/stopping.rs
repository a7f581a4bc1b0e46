//! Stopping, waited for in a task.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::sync::lock;

use super::{Engine, Inner};

/// Whether the wait of another thread is over, and the task that wants to know.
#[derive(Default)]
struct Wait(Mutex<(bool, Option<Waker>)>);

impl Wait {
    fn end(&self) {
        let mut state = lock(&self.0);
        state.0 = true;
        let task = state.1.take();
        drop(state);
        task.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker().clone(); // made while no lock is held
        let mut state = lock(&self.0);
        if state.0 {
            return Poll::Ready(());
        }
        let before = state.1.replace(waker);
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Engine {
    /// As [`stop`](Engine::stop), in a task: another thread waits meanwhile, which the first poll starts.
    /// Dropping the future after that changes nothing: the engine stops. Where no thread can be started, the poll
    /// blocks.
    pub fn stop_async(&self, within: Duration) -> impl Future<Output = ()> + Send + 'static {
        let mut inner = Some(Arc::clone(&self.inner));
        let wait = Arc::new(Wait::default());
        poll_fn(move |context| {
            if let Some(inner) = inner.take() {
                begin(&inner, within, &wait);
            }
            wait.poll(context)
        })
    }
}

fn begin(inner: &Arc<Inner>, within: Duration, wait: &Arc<Wait>) {
    #[cfg(any(test, feature = "testing"))]
    if crate::clock::is_simulated() {
        inner.stop(within); // waits for nothing there
        let told = Arc::clone(wait);
        return inner.shared.at_end(Box::new(move || told.end()));
    }
    let thread = thread::Builder::new().name("ampe-stop".into());
    let (stopped, told) = (Arc::clone(inner), Arc::clone(wait));
    let spawned = thread.spawn(move || {
        stopped.stop(within);
        drop(stopped); // nothing of the engine is held here when the task goes on
        told.end();
    });
    if spawned.is_err() {
        inner.stop(within);
        wait.end();
    }
}

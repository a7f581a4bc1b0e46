//! An engine's passes in a task of tokio.

use std::future::Future;
use std::io;

use crate::engine::Engine;

impl Engine {
    /// Has a task of tokio make the engine's passes, until the engine has ended: spawn this in the runtime whose tasks
    /// post and receive. What they post and receive needs no other thread then: calls from one task, and from
    /// a thousand, take a little more than half of the processor time that they take otherwise
    /// (`docs/performance.md` has figures).
    ///
    /// ```
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let engine = ampe::Engine::start(ampe::Options::default())?;
    /// tokio::spawn(engine.run_in_tokio());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A runtime of one thread gains most. Where the runtime is busy or ends, the engine's own thread makes the
    /// passes, as it does where this is dropped or fails: so nothing depends on the outcome. It does not keep
    /// the engine alive. `Engine::reactor_task` says what goes on.
    ///
    /// # Errors
    ///
    /// - [`Unsupported`](io::ErrorKind::Unsupported), at once, anywhere but on Linux and Android, which have epoll.
    /// - [`ResourceBusy`](io::ErrorKind::ResourceBusy) if a task makes the engine's passes already.
    /// - Whatever the system says to a process that has no descriptor left.
    ///
    /// # Panics
    ///
    /// Polled outside of a tokio runtime, or in one whose builder did not
    /// [`enable_io`](https://docs.rs/tokio/latest/tokio/runtime/struct.Builder.html#method.enable_io).
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn run_in_tokio(&self) -> impl Future<Output = io::Result<()>> + Send + use<> {
        #[cfg(unix)]
        let task = self.reactor_task();
        async {
            #[cfg(unix)]
            return passes::make(task?).await;
            #[cfg(not(unix))]
            return Err(io::ErrorKind::Unsupported.into());
        }
    }
}

#[cfg(unix)]
mod passes {
    use std::future::poll_fn;
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::task::{Context, Poll};

    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use crate::reactor_task::{Pass, ReactorTask};

    pub(super) async fn make(mut task: ReactorTask) -> io::Result<()> {
        let watched = watch(task.as_fd().try_clone_to_owned()?)?;
        poll_fn(move |context| poll(&mut task, &watched, context)).await
    }

    #[allow(
        deprecated,
        reason = "what is there in its place is unsafe, for types that do not own what they say they do"
    )]
    fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
        AsyncFd::with_interest(descriptor, Interest::READABLE)
    }

    /// Makes a pass, and another as long as the runtime says that there is something.
    fn poll(
        task: &mut ReactorTask,
        watched: &AsyncFd<OwnedFd>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut readable = watched.poll_read_ready(context)?;
        loop {
            match (task.pass(context, readable.is_ready()), readable) {
                (Pass::Ended, _) => return Poll::Ready(Ok(())),
                (Pass::Idle, Poll::Ready(mut seen)) => seen.clear_ready(),
                (Pass::Idle, Poll::Pending) | (Pass::LeavesReady, _) => return Poll::Pending,
            }
            // So that the runtime says when there is something again.
            readable = watched.poll_read_ready(context)?;
            if readable.is_pending() {
                return Poll::Pending;
            }
        }
    }
}

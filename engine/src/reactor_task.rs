//! Making an engine's passes in a task.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::Context;

use crate::engine::Engine;
use crate::handles::{Passed, Reads, Shared};

/// The right to make an engine's passes in a task: from [`Engine::reactor_task`].
#[must_use = "a task that makes no passes delays all messages by a millisecond"]
pub struct ReactorTask {
    shared: Arc<Shared>,
    watched: OwnedFd,
    /// The next pass is to receive, whatever the descriptor says: the one before came while another thread made
    /// passes, or did not receive all.
    has_to_read: bool,
}

/// What a [pass](ReactorTask::pass) has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pass {
    /// All was received that was there, or another thread sees to it. Wait until the descriptor becomes readable;
    /// the task is woken when it is wanted for anything else.
    Idle,
    /// Not all was received that was there. The descriptor may stay readable without becoming so anew, and
    /// the task has been woken to make another pass, when others have had their turn.
    LeavesReady,
    /// The engine has ended: there is nothing more to do.
    Ended,
}

impl Engine {
    /// Has a task make the engine's passes, in the thread of its runtime, in which the tasks run that post and
    /// receive: so no thread has to be woken for them. `Engine::run_in_tokio` (feature `tokio`)
    /// does all that is to be done with this under tokio; other runtimes take a dozen lines:
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use std::io;
    /// use std::os::fd::AsFd;
    /// use std::task::{Poll, ready};
    ///
    /// use ampe::{Engine, Pass};
    /// use smol::Async;
    ///
    /// async fn run(engine: Engine) -> io::Result<()> {
    ///     let mut task = engine.reactor_task()?;
    ///     drop(engine); // it would never end
    ///     let descriptor = Async::new(task.as_fd().try_clone_to_owned()?)?;
    ///     poll_fn(move |context| {
    ///         loop {
    ///             let readable = descriptor.poll_readable(context)?;
    ///             match task.pass(context, readable.is_ready()) {
    ///                 Pass::Ended => return Poll::Ready(Ok(())),
    ///                 Pass::LeavesReady => return Poll::Pending,
    ///                 Pass::Idle => ready!(readable.map(|_| ())), // until it is pending: then it wakes the task
    ///             }
    ///         }
    ///     })
    ///     .await
    /// }
    /// ```
    ///
    /// Until the [`ReactorTask`] is dropped, the task is called in the place of the engine's own thread. That makes only
    /// the passes for which the task does not come within a millisecond: where the runtime is busy or has
    /// ended, messages are late by that much, and none is lost. Threads that receive make passes as ever.
    ///
    /// # Errors
    ///
    /// - [`Unsupported`](io::ErrorKind::Unsupported) where the system offers no descriptor that a runtime can watch
    ///   in place of the sockets: anywhere but on Linux and Android, which have epoll. The engine's own
    ///   thread makes its passes, as ever.
    /// - [`ResourceBusy`](io::ErrorKind::ResourceBusy) while another task has this right.
    /// - Whatever the system says to a process that has no descriptor left.
    pub fn reactor_task(&self) -> io::Result<ReactorTask> {
        let shared = Arc::clone(self.shared());
        let watched = shared.seat.watched()?.ok_or_else(unsupported)?;
        if !shared.begin_task() {
            let why = "a task makes the engine's passes already";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        Ok(ReactorTask {
            shared,
            watched,
            has_to_read: true,
        })
    }
}

fn unsupported() -> io::Error {
    let why = "a runtime can watch an engine by its epoll only: here the engine's own thread makes its passes";
    io::Error::new(io::ErrorKind::Unsupported, why)
}

impl ReactorTask {
    /// Makes a pass, unless another thread is making one: it writes what was posted and, if `is_readable`,
    /// receives what has come. The task of `context` is woken when it is wanted for another; that the
    /// [descriptor](AsFd) becomes readable is for the caller to learn.
    ///
    /// It does not block. It wakes those tasks of the application for which there is something: call it where no
    /// lock is held that a waker may take. The waker of `context` is called by whoever posts, receives, or drops a
    /// message, under whatever locks they hold: it must only have the task polled, as those of runtimes do.
    pub fn pass(&mut self, context: &mut Context<'_>, is_readable: bool) -> Pass {
        let reads = match is_readable || self.has_to_read {
            true => Reads::Yes,
            false => Reads::No,
        };
        let passed = self.shared.pass_in_task(context.waker(), reads);
        self.has_to_read = match passed {
            Passed::Later => reads == Reads::Yes,
            Passed::LeavesReady => true,
            Passed::All | Passed::Over => false,
        };
        match passed {
            Passed::LeavesReady => Pass::LeavesReady,
            Passed::All | Passed::Later => Pass::Idle,
            Passed::Over => Pass::Ended,
        }
    }
}

/// Readable while a pass would receive something.
impl AsFd for ReactorTask {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watched.as_fd()
    }
}

impl Drop for ReactorTask {
    /// The engine's own thread makes the passes again.
    fn drop(&mut self) {
        self.shared.end_task();
    }
}

impl fmt::Debug for ReactorTask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ReactorTask")
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests;

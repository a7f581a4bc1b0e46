//! Receiving in the event loop of somebody else.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use ampe_poller::WaitableFlag;

use crate::error::Ended;
use crate::event::Event;

use super::Inbox;

/// What other event loops wait for until an inbox has events: epoll, mio, glib, the loop of a GUI. From
/// [`Inbox::readiness`].
///
/// On Unix it is a descriptor ([`AsFd`](std::os::fd::AsFd)) that is readable, on Windows an event object
/// (`AsHandle`) that is set, while there is something to receive, and from when nothing more will come: take it
/// out of the loop then. Nobody may read from it or set it. A clone is the same descriptor.
#[doc(alias = "ZMQ_FD")]
#[doc(alias = "NNG_OPT_RECVFD")]
#[doc(alias = "eventfd")]
#[derive(Clone)]
pub struct Readiness(Arc<WaitableFlag>);

impl Wake for Readiness {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let _ = self.0.raise(); // a counter takes one more, and an event may be set again
    }
}

impl Inbox {
    /// Something that a loop can wait for, and that is ready while there are events in this inbox. From then on
    /// receive by [`try_recv`](Inbox::try_recv) until it finds nothing, each time that the loop says so; the
    /// first time at once. It may be ready for nothing, as after any other method has waited for an event.
    ///
    /// The thread of that loop makes no passes, and is served like a [task](Inbox::recv_async): by the
    /// engine's own thread.
    ///
    /// ```no_run
    /// # #[cfg(unix)] fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use rustix::event::{PollFd, PollFlags, poll};
    ///
    /// # let engine = ampe::Engine::start(ampe::Options::default())?;
    /// # let (group, mut inbox) = engine.group(ampe::GroupOptions::default())?;
    /// let ready = inbox.readiness()?;
    /// let input = std::io::stdin();
    /// loop {
    ///     let mut both = [PollFd::new(&ready, PollFlags::IN), PollFd::new(&input, PollFlags::IN)];
    ///     poll(&mut both, None)?;
    ///     while let Some(event) = inbox.try_recv()? {
    ///         println!("{event}");
    ///     }
    ///     // and what was typed
    /// }
    /// # }
    /// # #[cfg(not(unix))] fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// The process or the system has no descriptor left.
    pub fn readiness(&mut self) -> io::Result<Readiness> {
        if let Some(readiness) = &self.readiness {
            return Ok(Readiness::clone(readiness));
        }
        let flag = WaitableFlag::new()?;
        flag.raise()?; // there may be events already
        let readiness = Readiness(Arc::new(flag));
        self.readiness = Some(Arc::new(readiness.clone()));
        Ok(readiness)
    }

    /// The next event if there is one; else lowers the flag, which is raised when there is.
    pub(super) fn try_recv_for(
        &mut self,
        readiness: &Arc<Readiness>,
    ) -> Result<Option<Event>, Ended> {
        let waker = Waker::from(Arc::clone(readiness));
        let mut context = Context::from_waker(&waker);
        if let Poll::Ready(event) = self.poll_for(&mut context) {
            return event.map(Some);
        }
        self.is_loop_waiting = true;
        let _ = readiness.0.lower(); // if it stays raised, the loop asks once more than it had to
        // What came before it was lowered may have raised it.
        match self.poll_for(&mut context) {
            Poll::Ready(event) => {
                self.leave_loop();
                event.map(Some)
            }
            Poll::Pending => Ok(None),
        }
    }

    /// What comes from now on raises no flag, so that it is raised here: the loop asks, and finds what there
    /// is, or lowers it again.
    pub(super) fn leave_loop(&mut self) {
        if std::mem::replace(&mut self.is_loop_waiting, false)
            && let Some(readiness) = &self.readiness
        {
            let _ = readiness.0.raise(); // as in a wake
        }
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Readiness {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for Readiness {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsFd::as_fd(self).as_raw_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsHandle for Readiness {
    fn as_handle(&self) -> std::os::windows::io::BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsRawHandle for Readiness {
    fn as_raw_handle(&self) -> std::os::windows::io::RawHandle {
        std::os::windows::io::AsHandle::as_handle(self).as_raw_handle()
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Readiness").finish_non_exhaustive()
    }
}

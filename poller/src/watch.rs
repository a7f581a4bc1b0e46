//! Seeing from another thread that there is something to wait for.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::timeout::Deadline;

/// What a backend offers for a [`Watch`].
#[doc(hidden)]
pub trait Lookout: Send + Sync {
    /// Has the next moment at which there is something end a wait, or has none.
    ///
    /// # Errors
    ///
    /// The system refuses.
    fn arm(&self, is_armed: bool) -> io::Result<()>;

    /// Sleeps at most for the timeout.
    ///
    /// # Errors
    ///
    /// The system's waiting call fails, or was interrupted.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<Seen>;

    /// Ends a wait, or the next one.
    ///
    /// # Errors
    ///
    /// The system refuses.
    fn wake(&self) -> io::Result<()>;

    /// The descriptor of what is watched.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn watched(&self) -> std::os::fd::BorrowedFd<'_>;
}

/// What ended a [wait](Watch::wait) of a watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The poller's wait would have found something. The watch is no longer armed.
    Something,
    /// A [wake](Watch::wake), the deadline, or nothing at all.
    Nothing,
}

/// Sees from another thread that a [wait](crate::Poller::wait) of the poller would find something, and
/// takes nothing of it away.
///
/// So a thread can sleep until a poller is worth having that lies somewhere for whoever wants it. It sees
/// what the poller [has told the system](crate::Poller::settle), and is seen by nobody: wakes of the
/// poller do not reach it while nobody waits with the poller. It has [wakes of its own](Watch::wake).
///
/// A watch is armed or not, and not at first. While it is not, it sees nothing, and its thread sleeps on
/// however busy the poller is. What it has seen disarms it: so it does not see the same for ever while
/// somebody else is about to read it. Arming costs a system call, and sees what there is already.
///
/// # Examples
///
/// ```
/// # #[cfg(any(target_os = "linux", target_os = "android"))] {
/// use std::io::IoSlice;
/// use std::time::{Duration, Instant};
///
/// use ampe_poller::{Events, Interest, Poller, Seen, socket::Stream};
///
/// let mut poller = Poller::new()?;
/// let watch = poller.watch()?.expect("epoll can be watched");
/// let (ours, theirs) = Stream::pair()?;
/// let ours = poller.insert(ours)?;
/// poller.set_interest(ours, Interest::READABLE);
/// assert!(poller.settle());
/// watch.arm()?;
/// assert_eq!(watch.wait(Some(Instant::now()))?, Seen::Nothing);
/// theirs.send_vectored(&[IoSlice::new(b"hello")])?;
/// assert_eq!(watch.wait(None)?, Seen::Something);
///
/// let mut events = Events::with_capacity(8);
/// poller.wait(&mut events, Some(Duration::ZERO))?;
/// assert_eq!(poller.next_event(&mut events).map(|event| event.key()), Some(ours));
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Watch(Arc<dyn Lookout>);

impl Watch {
    pub(crate) fn new(lookout: Arc<dyn Lookout>) -> Watch {
        Watch(lookout)
    }

    /// Sleeps until an armed watch sees something, until it is woken, or until `deadline`; without one
    /// for as long as it takes. It may end before that for no reason.
    ///
    /// One thread waits at a time: of several, only one would be told.
    ///
    /// # Errors
    ///
    /// The system's waiting call fails. Interruption by a signal is no failure.
    pub fn wait(&self, deadline: Option<Instant>) -> io::Result<Seen> {
        let deadline = deadline.map_or(Deadline::Never, Deadline::At);
        match self.0.wait(deadline.remaining()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Seen::Nothing),
            outcome => outcome,
        }
    }

    /// Has the watch see what there is, or the next that comes.
    ///
    /// # Errors
    ///
    /// The system refuses: the watch sees nothing.
    pub fn arm(&self) -> io::Result<()> {
        self.0.arm(true)
    }

    /// Has the watch see nothing.
    ///
    /// # Errors
    ///
    /// The system refuses: the watch may see something once.
    pub fn disarm(&self) -> io::Result<()> {
        self.0.arm(false)
    }

    /// Ends a wait that goes on, or else the next one.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn wake(&self) -> io::Result<()> {
        self.0.wake()
    }
}

/// The descriptor of the watched set, for another loop: it is readable while a wait of the poller would find
/// something, whether the watch is armed or not. As with the poller's own, it knows what the poller
/// [has told the system](crate::Poller::settle), and stays the same as long as no source's descriptor is closed
/// behind the poller's back.
#[cfg(any(target_os = "linux", target_os = "android"))]
impl std::os::fd::AsFd for Watch {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.watched()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

//! What a backend is, and which ones this system has.
//!
//! A backend turns declared interest into whatever its system offers, and is free in how: it is
//! told what is wanted, decides itself what to arm and when, and reports by key. Its order of
//! calls is fixed: [`reconcile`](Backend::reconcile) and then [`collect`](Backend::collect) for
//! every pass of a wait, all else in between.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Events, Key};
use crate::interest::Interest;
use crate::waker::Signal;
use crate::watch::Lookout;

#[cfg(windows)]
pub(crate) mod afd;
#[cfg(unix)]
mod descriptor;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod epoll;
#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd",
    all(test, any(target_os = "linux", target_os = "android"))
))]
pub(crate) mod kqueue;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod lookout;
#[cfg(unix)]
pub(crate) mod poll;
#[cfg(any(unix, test))]
mod registrations;
#[cfg(test)]
pub(crate) mod scripted;
#[cfg(unix)]
mod signal;
#[cfg(unix)]
#[cfg(test)]
mod tests;
#[cfg(not(any(unix, windows)))]
pub(crate) mod unsupported;

#[cfg(all(test, unix))]
pub(crate) use self::signal::Pipe;
#[cfg(unix)]
pub(crate) use self::signal::{SystemSignal, WakeSource};

#[cfg(windows)]
pub use self::afd::Afd as DefaultBackend;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use self::epoll::Epoll as DefaultBackend;
#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd"
))]
pub use self::kqueue::Kqueue as DefaultBackend;
#[cfg(all(
    unix,
    not(any(
        target_os = "linux",
        target_os = "android",
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "netbsd",
        target_os = "openbsd"
    ))
))]
pub use self::poll::Poll as DefaultBackend;
#[cfg(not(any(unix, windows)))]
pub use self::unsupported::Unsupported as DefaultBackend;

/// What becomes of a source that is no longer polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(hidden)]
pub enum Fate {
    /// Its owner takes it back: whatever the system has in flight for it has to be undone.
    Kept,
    /// It is closed right after, by which some systems undo it themselves.
    Closed,
}

/// A mechanism by which the system tells what is ready.
///
/// Only this crate's backends implement it; it is public to be named as a bound.
pub trait Backend: Sealed + Send + Sync + Sized {
    /// By what the backend knows a source: on Unix, a descriptor's number.
    type Handle: Clone;

    /// What people call it.
    const NAME: &'static str = "none";

    /// A defect to plant: events are delivered even if their source was removed meanwhile.
    #[doc(hidden)]
    const DELIVERS_STALE: bool = false;

    /// Whether events [hint](crate::Event::is_failed) at failures, and at hang-ups whatever is wanted.
    #[doc(hidden)]
    const TELLS_FAILURES: bool = true;

    /// A backend that polls nothing yet.
    ///
    /// # Errors
    ///
    /// The system has no resources for it, or does not have the mechanism.
    #[doc(hidden)]
    fn new() -> io::Result<Self>;

    /// What ends [`collect`](Self::collect)'s sleep. It works while and after the backend lives.
    #[doc(hidden)]
    fn signal(&self) -> Arc<dyn Signal>;

    /// A source is there, wanted for nothing. No other source has its index.
    ///
    /// # Errors
    ///
    /// The source can never be polled.
    #[doc(hidden)]
    fn register(&mut self, key: Key, handle: Self::Handle) -> io::Result<()>;

    /// The source is wanted for this now. No system call: [`reconcile`](Self::reconcile) sees
    /// to it.
    #[doc(hidden)]
    fn declare(&mut self, key: Key, interest: Interest);

    /// The source goes. From here on nothing may be reported under its key, and nothing that the
    /// system still knows of it may be reported under the next key with its index.
    #[doc(hidden)]
    fn deregister(&mut self, key: Key, fate: Fate);

    /// Tells the system what has changed, for the sources that were touched since the last pass,
    /// and adds to the batch what comes of it at once: a source that the system refuses to arm is
    /// reported [as refused](crate::Event::error), once per declaration, and rests until the next.
    ///
    /// # Errors
    ///
    /// The backend as a whole is out of order. Never the matter of one source.
    #[doc(hidden)]
    fn reconcile(&mut self, events: &mut Events) -> io::Result<()>;

    /// Asks the system once what is ready, sleeping at most for the timeout, and adds it to the
    /// batch: only sources that are registered, and only what they are wanted for. Returns whether
    /// the signal was received.
    ///
    /// # Errors
    ///
    /// The system's waiting call fails, or was interrupted.
    #[doc(hidden)]
    fn collect(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<bool>;

    /// What sees from another thread that [`collect`](Self::collect) would find something; `None` where
    /// the system has no such thing.
    ///
    /// # Errors
    ///
    /// The system has no resources for it.
    #[doc(hidden)]
    fn watch(&mut self) -> io::Result<Option<Arc<dyn Lookout>>> {
        Ok(None)
    }

    /// Tells the system what has changed. Returns whether the watch sees all that
    /// [`collect`](Self::collect) would find, and [`reconcile`](Self::reconcile) has nothing to report.
    #[doc(hidden)]
    fn settle(&mut self) -> bool {
        false
    }

    /// How many system calls were made.
    #[doc(hidden)]
    fn calls(&self) -> u64;

    /// Ends whatever the system has in flight. Nothing is called after it.
    ///
    /// # Errors
    ///
    /// Something could not be ended, and was left behind.
    #[doc(hidden)]
    fn shut_down(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps [`Backend`] to this crate.
#[doc(hidden)]
pub trait Sealed {}

/// Keeps [`Source`](crate::Source) to what promises that its handle stays open.
#[doc(hidden)]
pub trait SealedSource<H> {}

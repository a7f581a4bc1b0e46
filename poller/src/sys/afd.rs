//! AFD and a completion port, under the name that users see.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Backend, Fate, Sealed};
pub use crate::afd::PollingMode;
use crate::afd::Port;
use crate::event::{Events, Key};
use crate::interest::Interest;
use crate::nt::{Handle, Nt, real::Windows};
use crate::poller::{Poller, Source};
use crate::waker::Signal;

/// Windows' socket driver, AFD, and a completion port: a wait costs in proportion to what changed
/// and what is ready.
///
/// # Platform notes
///
/// - Windows 8.1 and later; Wine 8 and later.
/// - Polls are issued on handles of the driver's, helpers, that up to 32 sockets share; one that nobody
///   uses is kept. They leave no marks on a socket, whoever else uses it, and whatever port it has.
/// - The handles of one socket may be in one poller as several sources. They are polled together, as Windows
///   before 11 and Server 2022 mixes up the answers of two polls of one socket. To find them costs a comparison
///   with each other source, for a source whose socket has further handles.
/// - For the same reason a socket that two pollers or two processes poll may be reported up to 250 ms late, if
///   each holds a handle of its own that was there before the first poll. If they hold the same handle, or one
///   was duplicated later, it may not be reported at all there.
/// - Where no helper can be opened, or with [`PollingMode::Direct`], a socket is polled on itself.
///   That associates it with the poller's port, and has it queue no packet for what succeeds at once. Both
///   are marks on the socket itself, which its duplicates share: the socket's own overlapped operations
///   report to the poller's port, where they are thrown away. [`Poller::remove`] has the system take the
///   marks off; Wine takes none off, and whether Windows takes both is not known. A socket that has a port, be it this poller's, cannot be
///   polled so, nor can one below layered service providers.
/// - There is no handle by which another loop could watch it: that of a completion port does not say that there
///   are packets, and polls are begun by a wait.
/// - A socket whose layered service provider hides what is below it cannot be polled:
///   [`Poller::insert`] refuses it.
/// - A report may be of what was ready a moment ago, and eighteen waits together report all that is
///   ready.
pub struct Afd(Port<Windows>);

impl std::fmt::Debug for Afd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Afd").finish_non_exhaustive()
    }
}

impl<S: Source<Handle>> Poller<S> {
    /// A poller that issues its polls on handles of this kind.
    ///
    /// # Errors
    ///
    /// The system has no resources for it.
    pub fn with_mode(mode: PollingMode) -> io::Result<Self> {
        Self::with_mode_and_data(mode)
    }
}

impl<S: Source<Handle>, T> Poller<S, T> {
    /// The same, which keeps a `T` beside each source.
    ///
    /// # Errors
    ///
    /// The system has no resources for it.
    pub fn with_mode_and_data(mode: PollingMode) -> io::Result<Self> {
        Ok(Poller::over(Afd(Port::with_mode(Windows::new()?, mode)?)))
    }
}

impl Sealed for Afd {}

impl Backend for Afd {
    type Handle = Handle;
    const NAME: &'static str = "AFD";

    fn new() -> io::Result<Self> {
        Ok(Afd(Port::new()?))
    }

    fn signal(&self) -> Arc<dyn Signal> {
        self.0.signal()
    }

    fn register(&mut self, key: Key, handle: Handle) -> io::Result<()> {
        self.0.register(key, handle)
    }

    fn declare(&mut self, key: Key, interest: Interest) {
        self.0.declare(key, interest);
    }

    fn deregister(&mut self, key: Key, fate: Fate) {
        self.0.deregister(key, fate);
    }

    fn reconcile(&mut self, events: &mut Events) -> io::Result<()> {
        self.0.reconcile(events)
    }

    fn collect(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<bool> {
        self.0.collect(events, timeout)
    }

    fn calls(&self) -> u64 {
        self.0.calls()
    }

    fn shut_down(&mut self) -> io::Result<()> {
        self.0.shut_down()
    }
}

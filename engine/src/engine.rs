//! Starting and stopping; where the caller's thread ends.

mod stopping;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::between::seat::NOBODY;
use crate::clock;
use crate::driver;
use crate::error::{Ended, StartError};
use crate::group::{self, ChannelGroup};
use crate::handles::{GroupShared, Shared, Submission, reactor_thread};
use crate::inbox::Inbox;
use crate::message::Message;
use crate::options::{DROP_WITHIN, GroupOptions, Options, after};
use crate::statistics::Statistics;
use crate::storage::{MESSAGE_COST_MAX, give_back_dropped, give_back_spare};
use crate::sync::lock;

/// An engine: one reactor that owns every socket of its groups.
///
/// One thread at a time makes the reactor's passes: reads, writes, and delivers. A thread that waits in
/// [`Inbox::recv`](crate::Inbox::recv) does it itself until it has an event, and the first
/// [`post`](crate::ChannelGroup::post) of a thread that has just received is written by that thread, so that no
/// other has to be woken; so is half a mebibyte that was posted and waits to be written. The engine's own
/// thread stands in wherever no receiver waits: at once where something was posted by another thread or a task
/// waits, else within a millisecond (on Windows within a tick of the system's clock, mostly 16 ms). So
/// everything goes on whatever the application does with what it received. Wakers of tasks that the reactor
/// tells of something are called in the engine's own thread alone, or by a task that makes passes
/// (`reactor_task`). The waker of that task itself is called in whatever thread posts, receives, or drops a
/// message.
///
/// Clones share the engine. Several engines may run in one process; they share nothing.
///
/// **Dropping the last clone stops the engine** as [`stop`](Engine::stop) does within one second:
/// groups and inboxes do not keep it alive. What was posted is sent, as far as the peers read it
/// in that time. The drop blocks meanwhile, mostly for well under a millisecond, for the whole second
/// where a peer does not read or does not close its side. Call [`stop`](Engine::stop) to give it
/// another time, and [`Inbox::close`] to learn what was not sent.
#[doc(alias = "Ampe")]
#[doc(alias = "Reactor")]
#[doc(alias = "zmq_ctx_new")]
#[doc(alias = "Context")]
#[derive(Clone)]
#[must_use = "dropping the last handle of an engine stops it, with all its groups"]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    group_next: AtomicU64,
    reactor: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Starts an engine and its own thread.
    ///
    /// # Errors
    ///
    /// [`StartError::Options`] if a limit is too low to work with; [`StartError::System`] if the
    /// system refuses a poller or a thread.
    ///
    /// # Panics
    ///
    /// With the feature `testing`, in a thread that has a simulation, which makes its engines itself.
    #[doc(alias = "zmq_ctx_new")]
    #[doc(alias = "nng_init")]
    pub fn start(options: Options) -> Result<Engine, StartError> {
        #[cfg(feature = "testing")]
        assert!(
            !clock::is_simulated(),
            "this thread has a simulation, whose engines it makes by itself"
        );
        options.check()?;
        let (shared, reactor) = driver::start(options)?;
        Ok(Engine::over(shared, Some(reactor)))
    }

    /// One whose reactor runs in that thread, or in a simulation.
    pub(crate) fn over(shared: Arc<Shared>, reactor: Option<JoinHandle<()>>) -> Engine {
        let inner = Inner {
            shared,
            group_next: AtomicU64::new(1),
            reactor: Mutex::new(reactor),
        };
        Engine {
            inner: Arc::new(inner),
        }
    }

    #[cfg(any(unix, test, feature = "testing"))]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Creates a group: the side that posts and the side that receives. They do not keep the engine
    /// alive: it has to be kept as long as they are used.
    ///
    /// # Errors
    ///
    /// [`Ended`] if the engine was stopped or has failed.
    #[doc(alias = "create")]
    pub fn group(&self, options: GroupOptions) -> Result<(ChannelGroup, Inbox), Ended> {
        let id = self.inner.group_next.fetch_add(1, Ordering::Relaxed);
        let inbound = options.inbound_reserve.max(MESSAGE_COST_MAX);
        let outbound = options.outbound_reserve.max(MESSAGE_COST_MAX);
        let group = GroupShared::new(id, inbound, outbound);
        #[cfg(feature = "tls")]
        let group = group.secured_by(options.tls.as_ref().map(crate::tls::Tls::security));
        let group = Arc::new(group);
        self.inner.shared.open_group(&group)?;
        Ok(group::pair(Arc::clone(&self.inner.shared), group))
    }

    /// An empty message, with storage from the engine's pool.
    #[doc(alias = "zmq_msg_init")]
    #[doc(alias = "nng_msg_alloc")]
    #[doc(alias = "get")]
    pub fn message(&self) -> Message {
        Message::new(&self.inner.shared.pool)
    }

    /// Stops the engine: closes every group as [`Inbox::close`] does, all within the same time, and
    /// ends the reactor. Returns when the reactor has ended, one pass after `within` at the latest.
    /// What was not sent, and every `Closed`, is in the inboxes, which end after it. Unlike closing
    /// an inbox, this answers no goodbye of a peer that waits in one, and a peer whose messages found
    /// no more room in a full one is waited for until `within` has passed: close the inboxes first. Over `tls://` it is
    /// also waited for that the system takes the end of a connection (close_notify) whose peer reads slowly.
    /// It blocks; a task of an asynchronous runtime awaits [`stop_async`](Engine::stop_async).
    ///
    /// In a waker that an engine calls, this, like the drop of the last `Engine`, does not wait: the
    /// reactor ends when the waker has returned.
    #[doc(alias = "destroy")]
    #[doc(alias = "zmq_ctx_term")]
    #[doc(alias = "shutdown")]
    pub fn stop(&self, within: Duration) {
        self.inner.stop(within);
    }

    /// How the engine stands, and what it counted since it started. What the reactor knows is as of its last
    /// pass; asking has it make another, so who asks again sees what is newer. It walks through all channel
    /// numbers that were ever in use, under the lock that posts take: ask once a second, not for each message.
    pub fn statistics(&self) -> Statistics {
        Statistics::of(&self.inner.shared)
    }

    #[cfg(test)]
    pub(crate) fn plant_panic(&self) {
        let _ = self
            .inner
            .shared
            .queue
            .submit(|_, items| items.push(Submission::Panic));
    }
}

impl Inner {
    fn stop(&self, within: Duration) {
        let stop = Submission::Stop {
            deadline: after(clock::now(), within),
        };
        // A reactor that has ended is stopped.
        let _ = self.shared.queue.submit(|_, items| items.push(stop));
        // This thread may have left the seat last, and is not coming back to receive.
        self.shared.seat.call(NOBODY);
        if reactor_thread::is_here() {
            return;
        }
        give_back_dropped();
        give_back_spare();
        // Locked until the reactor has ended: whoever else stops it returns no sooner.
        let mut reactor = lock(&self.reactor);
        if let Some(reactor) = reactor.take() {
            // Its panics were caught, and reported to every group.
            let _ = reactor.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop(DROP_WITHIN);
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

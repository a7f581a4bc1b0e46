use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::event::{Event, Events, Key};
use crate::insert_error::InsertError;
use crate::interest::Interest;
use crate::remote::{Inbox, Order, Remote};
use crate::sys::{Backend, DefaultBackend, Fate};
use crate::timeout::Deadline;
use crate::waker::{CAPPED_SLEEP, Waker};
use crate::watch::Watch;

/// One for every source ever inserted into any poller of this process.
static GENERATION: AtomicU64 = AtomicU64::new(1);

pub(crate) fn next_generation() -> u64 {
    GENERATION.fetch_add(1, Ordering::Relaxed)
}

/// What a poller can hold: something with a handle that `H`, a backend's kind of handle, can name.
///
/// On Unix, everything that implements [`AsFd`](std::os::fd::AsFd) is a source, and nothing else
/// can be: that trait promises that the descriptor stays open for as long as the source is only
/// lent. The poller asks for the handle once, when the source is inserted.
pub trait Source<H>: crate::sys::SealedSource<H> {
    /// The handle that is polled.
    fn handle(&self) -> H;
}

/// Owns sources, and tells which of them may be read from or written to.
///
/// # What is promised
///
/// - **Level-triggered**: what is ready and wanted is reported by every wait until it is no longer
///   ready, or no longer wanted.
/// - **Declared interest**: [`set_interest`](Self::set_interest) says what a source is wanted for
///   and makes no system call. The next wait tells the system what has really changed.
/// - **Silence without interest**: a source that is wanted for nothing reports nothing, not even
///   an error or its peer's hanging up, and costs nothing.
/// - **Errors are readiness**: an error and the peer's hanging up are reported as readable or
///   writable, whichever is wanted.
/// - **A refusal is an event**: if the system refuses to poll a source, because of what it is or
///   because there is no memory for it, that is reported once, as readiness for what it is wanted
///   for [with the system's error](Event::error). The source then rests, whatever happens to it,
///   until interest is declared again. It ends no wait and holds up no other source.
/// - **No mistaken identity**: an event never reaches a source other than the one that it is
///   about, even if the source was removed while its event was already in the batch, and whatever
///   took its place or its descriptor since.
///
/// A report is a hint: the read or write may still say that it would block.
///
/// # Cost
///
/// A wait costs in proportion to the sources that changed or are ready, however many there are.
/// The exception is the [`Poll`](crate::backend::Poll) backend, which asks for all of them each
/// time.
///
/// # Ownership
///
/// The poller owns what it polls and lends it out as `&S` only, so no source can be closed, or
/// exchanged for another, behind its back. Reading and writing do not need more: sockets implement
/// both on references.
///
/// Beside each source it keeps a `T` of the user's, which [`get_mut`](Self::get_mut) lends out to be changed: what
/// the source is, where in a protocol it stands. So a stream that was connecting becomes one that is connected by
/// a change of its data, and is not registered anew.
pub struct Poller<S, T = (), B: Backend = DefaultBackend> {
    /// Dropped before the sources: what the system has in flight for them can be ended only while
    /// they are open.
    backend: B,
    places: Vec<Place<S, T>>,
    /// The places that hold no source and are not left to other threads.
    vacant: Vec<u32>,
    /// How many places hold one.
    len: usize,
    /// Sources of other threads that the backend refused.
    refused: VecDeque<(Key, InsertError<S, T>)>,
    waker: Waker,
    inbox: Inbox<S, T>,
}

struct Place<S, T> {
    generation: u64,
    held: Option<(S, T)>,
}

impl<S, T> Place<S, T> {
    const VACANT: Self = Place {
        generation: 0,
        held: None,
    };
}

impl<S: Source<DefaultHandle>> Poller<S> {
    /// A poller over the system's best mechanism.
    ///
    /// # Errors
    ///
    /// - The process or the system has no descriptor left.
    /// - The system has no mechanism that this crate knows ([`io::ErrorKind::Unsupported`]).
    pub fn new() -> io::Result<Self> {
        Self::with_backend()
    }
}

impl<S: Source<DefaultHandle>, T> Poller<S, T> {
    /// A poller over the system's best mechanism that keeps a `T` beside each source.
    ///
    /// # Errors
    ///
    /// As [`new`](Poller::new).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ampe_poller::{Poller, socket::Stream};
    ///
    /// let mut poller: Poller<Stream, u64> = Poller::with_data()?;
    /// let (ours, _theirs) = Stream::pair()?;
    /// let key = poller.insert_with(ours, 0)?;
    /// if let Some((stream, received)) = poller.get_mut(key) {
    ///     *received += stream.recv(&mut [0; 16]).unwrap_or(0) as u64;
    /// }
    /// assert_eq!(poller.data(key), Some(&0));
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn with_data() -> io::Result<Self> {
        Self::with_backend()
    }
}

type DefaultHandle = <DefaultBackend as Backend>::Handle;

impl<S, T, B: Backend> Poller<S, T, B> {
    #[allow(dead_code, reason = "not every backend has something to lend")]
    pub(crate) fn backend(&self) -> &B {
        &self.backend
    }
}

impl<S: Source<B::Handle>, T, B: Backend> Poller<S, T, B> {
    /// A poller over the mechanism that the type names.
    ///
    /// # Errors
    ///
    /// The process or the system has no descriptor left.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ampe_poller::{Poller, backend::Poll, socket::Stream};
    ///
    /// let poller = Poller::<Stream, (), Poll>::with_backend()?;
    /// assert!(poller.is_empty());
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn with_backend() -> io::Result<Self> {
        Ok(Self::over(B::new()?))
    }

    pub(crate) fn over(backend: B) -> Self {
        Poller {
            places: Vec::new(),
            vacant: Vec::new(),
            len: 0,
            refused: VecDeque::new(),
            waker: Waker::new(backend.signal()),
            inbox: Inbox::new(),
            backend,
        }
    }

    /// Takes a source in, beside the default of the user's data. It is wanted for nothing until
    /// [`set_interest`](Self::set_interest).
    ///
    /// A handle is meant to be held once. Of two sources with the same handle in one poller, epoll polls
    /// one, and reports an [event with an error](Event::error) of the other as soon as both are wanted
    /// for something. Other systems poll both. Two handles of one socket, duplicates, are sources like any
    /// others. To poll one socket in two pollers, give each a handle of its own, and make it before either has
    /// polled: Windows before 11 and Server 2022 mixes up two polls of one socket, and reports may come up to
    /// 250 ms late, and otherwise not at all.
    ///
    /// # Errors
    ///
    /// In each case the source is handed back.
    ///
    /// - The backend refuses the source. Epoll and poll(2) refuse none here: what they cannot poll
    ///   shows as that source's [event](Event::error). On Windows a layered service provider that
    ///   hides the socket below it is named ([`io::ErrorKind::Unsupported`]).
    /// - The poller holds 4,294,967,295 sources.
    pub fn insert(&mut self, source: S) -> Result<Key, InsertError<S, T>>
    where
        T: Default,
    {
        self.insert_with(source, T::default())
    }

    /// Takes a source in, beside data of the user's.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert). The data is handed back, too.
    pub fn insert_with(&mut self, source: S, data: T) -> Result<Key, InsertError<S, T>> {
        let vacant = self.vacant.pop();
        let Some(index) = vacant.or_else(|| self.inbox.0.indices.fresh()) else {
            let error = io::ErrorKind::OutOfMemory.into();
            return Err(InsertError::new(source, data, error));
        };
        let generation = next_generation();
        let key = Key { index, generation };
        match self.hold(key, source, data) {
            Ok(()) => Ok(key),
            Err(refused) => {
                self.vacant.push(index);
                Err(refused)
            }
        }
    }

    /// Puts a source in its place, which holds none.
    fn hold(&mut self, key: Key, source: S, data: T) -> Result<(), InsertError<S, T>> {
        if let Err(error) = self.backend.register(key, source.handle()) {
            return Err(InsertError::new(source, data, error));
        }
        let index = key.index as usize;
        if self.places.len() <= index {
            self.places.resize_with(index + 1, || Place::VACANT);
        }
        self.places[index] = Place {
            generation: key.generation,
            held: Some((source, data)),
        };
        self.len += 1;
        Ok(())
    }

    fn held(&self, key: Key) -> Option<&(S, T)> {
        let place = self.places.get(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        place.held.as_ref()
    }

    /// The source, unless it was removed.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&S> {
        self.held(key).map(|(source, _)| source)
    }

    /// What the user keeps beside a source, unless that was removed.
    #[must_use]
    pub fn data(&self, key: Key) -> Option<&T> {
        self.held(key).map(|(_, data)| data)
    }

    /// The source, and what the user keeps beside it, to be changed; unless it was removed.
    ///
    /// The source itself is never lent out to be changed: another one in its place would not be polled, and this
    /// one be closed while it is.
    #[must_use]
    pub fn get_mut(&mut self, key: Key) -> Option<(&S, &mut T)> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        place.held.as_mut().map(|(source, data)| (&*source, data))
    }

    /// Stops polling a source and gives it back; its data is dropped.
    ///
    /// Events of the current batch that are about it are dropped.
    pub fn remove(&mut self, key: Key) -> Option<S> {
        self.remove_with_data(key).map(|(source, _)| source)
    }

    /// Stops polling a source and gives it back, with its data.
    ///
    /// Events of the current batch that are about it are dropped.
    pub fn remove_with_data(&mut self, key: Key) -> Option<(S, T)> {
        self.take(key, Fate::Kept)
    }

    /// Stops polling a source and closes it. `false` if it had been removed before.
    ///
    /// Events of the current batch that are about it are dropped.
    pub fn close(&mut self, key: Key) -> bool {
        self.take(key, Fate::Closed).is_some()
    }

    fn take(&mut self, key: Key, fate: Fate) -> Option<(S, T)> {
        self.held(key)?;
        // Before the handle can be closed, and before the place can be taken by another.
        self.backend.deregister(key, fate);
        self.vacant.push(key.index);
        self.len -= 1;
        self.places[key.index as usize].held.take()
    }

    /// By which other threads have this poller take sources in, declare interest and let sources go.
    #[must_use]
    pub fn remote(&self) -> Remote<S, T> {
        Remote::new(&self.inbox, self.waker())
    }

    /// The next source of a [`Remote`] that the backend refused, with what it has said; where
    /// [`insert`](Self::insert) would have. A wait that has met some ends as one that was
    /// [woken](Events::woken). It is held, unpolled, until it is taken from here.
    pub fn next_refused(&mut self) -> Option<(Key, InsertError<S, T>)> {
        self.refused.pop_front()
    }

    /// Does what other threads have asked for.
    fn take_orders(&mut self) {
        for order in self.inbox.0.orders.take() {
            match order {
                Order::Insert(key, source, data, interest) => {
                    // In exchange for the place that was taken.
                    self.inbox.0.indices.leave(self.vacant.pop().into_iter());
                    match self.hold(key, source, data) {
                        Ok(()) => self.backend.declare(key, interest),
                        Err(refused) => {
                            self.vacant.push(key.index);
                            self.refused.push_back((key, refused));
                        }
                    }
                }
                Order::Declare(key, interest) => drop(self.set_interest(key, interest)),
                Order::Close(key) => drop(self.close(key)),
                Order::Remove(key, then) => {
                    if let Some((source, data)) = self.remove_with_data(key) {
                        then(source, data);
                    }
                }
            }
        }
    }

    /// Declares what a source is wanted for. `false` if it was removed.
    ///
    /// Makes no system call: what has really changed by the next wait is told to the system then.
    pub fn set_interest(&mut self, key: Key, interest: Interest) -> bool {
        let is_held = self.get(key).is_some();
        if is_held {
            self.backend.declare(key, interest);
        }
        is_held
    }

    /// Waits until a wanted source is ready, a [`Waker`] wakes, or the timeout has passed, and
    /// fills the batch with what is ready.
    ///
    /// `None` waits without end, zero does not wait. The timeout is kept as a lower bound: the
    /// wait never ends before it with nothing to report.
    ///
    /// # Errors
    ///
    /// The system's waiting call fails. It is not a matter of any one source, and interruption by
    /// a signal is none: the wait goes on. The batch is empty, and nothing is lost: a wake that came
    /// meanwhile is reported by the next wait, which also asks again for what the system has refused.
    pub fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let deadline = Deadline::after(timeout);
        loop {
            let outcome = self.pass(events, deadline);
            if outcome.is_err() {
                events.clear();
            }
            let is_interrupted = outcome?;
            let is_over = !is_interrupted && deadline.remaining() == Some(Duration::ZERO);
            if is_over || events.woken() || !events.is_empty() {
                return Ok(());
            }
        }
    }

    /// The batch will not be delivered: refusals, which would not come again by themselves, are asked for again.
    fn ask_again(&mut self, events: &Events) {
        for event in events.iter().filter(|event| event.error().is_some()) {
            self.backend.declare(event.key(), event.readiness());
        }
    }

    /// Tells the system what changed and asks it once. Says whether it was interrupted.
    fn pass(&mut self, events: &mut Events, deadline: Deadline) -> io::Result<bool> {
        self.take_orders();
        if !self.refused.is_empty() {
            events.set_woken();
        }
        self.backend.reconcile(events)?;
        let mut timeout = deadline.remaining();
        if !events.is_empty() || events.woken() {
            timeout = Some(Duration::ZERO);
        }
        let is_capped = self.waker.state().word.has_been_refused()
            && timeout.is_none_or(|timeout| timeout > CAPPED_SLEEP);
        if is_capped {
            timeout = Some(CAPPED_SLEEP);
        }
        let is_interrupted = self.collect(events, timeout)?;
        if is_capped && !is_interrupted {
            events.set_woken();
        }
        Ok(is_interrupted)
    }

    fn collect(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<bool> {
        let word = &self.waker.state().word;
        let would_sleep = timeout != Some(Duration::ZERO);
        let may_sleep = would_sleep && word.fall_asleep();
        // Not one early return until the word says again that the thread is up.
        let timeout = if may_sleep {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        let outcome = match self.backend.collect(events, timeout) {
            Ok(was_signalled) => Ok((was_signalled, false)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok((false, true)),
            Err(error) => Err(error),
        };
        // Kept from sleeping is notified too: a refused signal may have hidden the wake itself.
        let was_notified = word.get_up() || (would_sleep && !may_sleep);
        match outcome {
            Ok((was_signalled, is_interrupted)) => {
                if was_notified || was_signalled {
                    events.set_woken();
                }
                Ok(is_interrupted)
            }
            Err(error) => {
                if was_notified {
                    // Nobody is told of it now: the next wait has to find it again.
                    word.notify();
                }
                self.ask_again(events);
                Err(error)
            }
        }
    }

    /// Takes the next event out of the batch, passing over those about sources that were removed
    /// since the wait.
    pub fn next_event(&self, events: &mut Events) -> Option<Event> {
        loop {
            let event = events.pop()?;
            if B::DELIVERS_STALE || self.held(event.key()).is_some() {
                return Some(event);
            }
        }
    }

    /// What wakes this poller's wait from other threads.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// What sees from another thread that a [`wait`](Self::wait) would find something. `None` where the
    /// system has nothing of the kind: on Windows, and with poll(2).
    ///
    /// # Errors
    ///
    /// The process or the system has no descriptor left: this takes two.
    pub fn watch(&mut self) -> io::Result<Option<Watch>> {
        Ok(self.backend.watch()?.map(Watch::new))
    }

    /// Tells the system now what the next [`wait`](Self::wait) would tell it, so that a
    /// [watch](Self::watch) sees it. Whoever leaves the poller to others calls this.
    ///
    /// Returns whether the watch sees all that the next wait would find. If not, somebody has to wait
    /// with the poller itself: there is no watch, the system refuses to poll a source, which the next wait
    /// reports, or a descriptor was closed behind the poller's back. A [wake](Waker::wake) is never seen.
    pub fn settle(&mut self) -> bool {
        self.take_orders();
        self.refused.is_empty() && self.backend.settle()
    }

    /// How many sources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no source.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all polling and closes all sources, and says if something had to be left behind.
    ///
    /// Dropping does the same and tells nobody.
    ///
    /// # Errors
    ///
    /// On Windows, some polls could not be ended, because the handles of their sources were closed
    /// behind the poller's back while duplicates are open. The memory that the system may still write to is leaked, never freed.
    pub fn shut_down(mut self) -> io::Result<()> {
        self.backend.shut_down()
    }

    /// One pass of a wait that has time, however little comes of it.
    #[cfg(test)]
    pub(crate) fn wait_once(&mut self, events: &mut Events, time: Duration) -> io::Result<()> {
        events.clear();
        self.pass(events, Deadline::after(Some(time))).map(drop)
    }

    /// What a state is made of, for tests that explore all of them.
    #[cfg(test)]
    pub(crate) fn parts(&self) -> (&B, &[u32]) {
        (&self.backend, &self.vacant)
    }

    /// How many system calls this poller has made, without those of its wakers.
    #[doc(hidden)]
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.backend.calls()
    }

    /// How many system calls its wakers have made.
    #[doc(hidden)]
    #[must_use]
    pub fn signals(&self) -> u64 {
        self.waker.state().signals()
    }
}

impl<S, T, B: Backend> fmt::Debug for Poller<S, T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

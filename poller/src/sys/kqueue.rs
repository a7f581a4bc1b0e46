//! kqueue, level-triggered, told only what changed.
//!
//! The queue knows *filters*: that a descriptor is readable and that it is writable are two, and each report is about
//! one. A source without interest has none, so it is silent whatever happens to it.
//!
//! # Why no event reaches the wrong source
//!
//! A report carries the index that its filter was added with. Filters are deleted when their source is
//! deregistered, before its index can be given to another. If the descriptor was closed behind the poller's back, the
//! system has deleted them itself, whatever duplicates there are: it keeps them with the descriptor, not with what
//! that is open on. Two sources with the same descriptor would share its filters, and the later one take the
//! reports of the earlier: so it is refused, as epoll refuses it.
//!
//! The logic is here, the calls are in `kqueue/calls.rs`, and elsewhere a simulation of them is in `kqueue/simulated.rs`.

#![allow(unreachable_pub, reason = "on Linux it is there for the tests alone")]

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::registrations::Registrations;
use super::{Backend, Fate, Sealed};
use crate::event::{Event, Events, Hints, Key};
use crate::interest::Interest;
use crate::timeout::LONGEST;
use crate::waker::Signal;

#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd"
))]
mod calls;
#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
pub(crate) mod simulated;

#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd"
))]
pub use self::calls::System;
#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
pub(crate) use self::simulated::Simulated as System;

/// The most events asked for at a time.
const BATCH: usize = 1024;

/// What a filter tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filter {
    /// `EVFILT_READ`.
    Read,
    /// `EVFILT_WRITE`.
    Write,
}

/// A filter to add or to delete.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// The descriptor.
    pub descriptor: RawFd,
    /// What of it.
    pub filter: Filter,
    /// The index that its reports shall carry, if it is added; else it is deleted.
    pub added_as: Option<u32>,
}

/// One report of the queue.
#[derive(Clone, Copy, Debug)]
pub enum Report {
    /// The wake was triggered, since it was reported last.
    Wake,
    /// A filter's descriptor is ready.
    Ready {
        /// The index that the filter was added with.
        index: u32,
        /// Which of its filters.
        filter: Filter,
        /// `EV_EOF`: the end of that direction.
        is_end: bool,
    },
}

/// The calls of a queue. A parameter, so that the logic runs where there is no kqueue.
pub trait KqueueCalls: Send + Sync + Sized + 'static {
    /// A queue with a wake in it.
    ///
    /// # Errors
    ///
    /// There is no descriptor or memory left.
    fn create() -> io::Result<Self>;

    /// Makes each change, by one call, and says in turn what came of it.
    ///
    /// # Errors
    ///
    /// Nothing was changed.
    fn change(&self, changes: &[Change]) -> Result<Vec<Result<(), Errno>>, Errno>;

    /// Adds at most so many reports, sleeping at most for the timeout.
    ///
    /// # Errors
    ///
    /// The call fails, or was interrupted.
    fn wait(
        &self,
        reports: &mut Vec<Report>,
        limit: usize,
        timeout: Option<Duration>,
    ) -> Result<(), Errno>;

    /// Has the wake be reported.
    ///
    /// # Errors
    ///
    /// The system refuses.
    fn wake(&self) -> io::Result<()>;
}

/// The kqueue of macOS and the BSDs: a wait costs in proportion to what changed and what is ready.
///
/// # Platform notes
///
/// - macOS and other systems of Apple's, FreeBSD, DragonFly, NetBSD, OpenBSD.
/// - All that changed is told by one call before that which waits. Timeouts count nanoseconds.
/// - A descriptor is held once: of two sources with the same, the later to be wanted is reported with
///   [an error](crate::Event::error) (EEXIST).
/// - Files are polled, too: they are readable unless at their end.
/// - At most 1,024 reports are asked for at a time; that one source is readable and that it is writable are two.
#[derive(Debug)]
pub struct Kqueue<C: KqueueCalls = System> {
    queue: Arc<Queue<C>>,
    /// Here `armed` is what there are filters for.
    registrations: Registrations<RawFd>,
    /// Whose filters a descriptor has.
    owners: HashMap<RawFd, Key>,
    /// Kept for their memory.
    changes: Vec<Change>,
    reports: Vec<Report>,
    calls: u64,
}

#[derive(Debug)]
struct Queue<C>(C);

impl<C: KqueueCalls> Signal for Queue<C> {
    fn send(&self) -> io::Result<()> {
        self.0.wake()
    }
}

impl<C: KqueueCalls> Sealed for Kqueue<C> {}

impl<C: KqueueCalls> Backend for Kqueue<C> {
    type Handle = RawFd;
    const NAME: &'static str = "kqueue";

    const TELLS_FAILURES: bool = false;

    fn new() -> io::Result<Self> {
        Ok(Kqueue {
            queue: Arc::new(Queue(C::create()?)),
            registrations: Registrations::new(),
            owners: HashMap::new(),
            changes: Vec::new(),
            reports: Vec::new(),
            calls: 0,
        })
    }

    fn signal(&self) -> Arc<dyn Signal> {
        Arc::clone(&self.queue) as Arc<dyn Signal>
    }

    fn register(&mut self, key: Key, handle: RawFd) -> io::Result<()> {
        self.registrations.insert(key, handle);
        Ok(())
    }

    fn declare(&mut self, key: Key, interest: Interest) {
        self.registrations.declare(key, interest);
    }

    fn deregister(&mut self, key: Key, _fate: Fate) {
        let Some(found) = self.registrations.remove(key) else {
            return;
        };
        if found.armed.is_empty() {
            return;
        }
        // Not left to the closing: the source may lend a descriptor that stays open.
        self.owners.remove(&found.handle);
        self.calls += 1;
        let changes = differences(found.handle, key.index, found.armed, Interest::NONE);
        // What cannot be deleted is not there: its descriptor was closed behind the poller's back.
        let _ = self.queue.0.change(&changes);
    }

    fn reconcile(&mut self, events: &mut Events) -> io::Result<()> {
        let mut changes = std::mem::take(&mut self.changes);
        changes.clear();
        let mut changed = Vec::new();
        while let Some(index) = self.registrations.next_touched() {
            let Some(found) = self.registrations.at(index) else {
                continue;
            };
            let owner = self.owners.get(&found.handle);
            if owner.is_some_and(|owner| *owner != found.key) {
                events.push(refusal(found.key, found.wanted, Errno::EXIST));
                continue;
            }
            self.owners.insert(found.handle, found.key);
            let ours = differences(found.handle, index, found.armed, found.wanted);
            changed.push((index, ours.len()));
            changes.extend(ours);
        }
        if !changes.is_empty() {
            self.calls += 1;
            let outcomes = self.queue.0.change(&changes);
            let outcomes = outcomes.unwrap_or_else(|error| vec![Err(error); changes.len()]);
            let mut first = 0;
            for (index, count) in changed {
                let ours = first..first + count;
                self.apply(index, &changes[ours.clone()], &outcomes[ours], events);
                first += count;
            }
        }
        self.changes = changes;
        Ok(())
    }

    fn collect(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<bool> {
        self.calls += 1;
        self.reports.clear();
        let limit = events.limit().min(BATCH);
        let timeout = timeout.map(|timeout| timeout.min(LONGEST));
        self.queue.0.wait(&mut self.reports, limit, timeout)?;
        // So that both filters of a source are one event.
        self.reports.sort_unstable_by_key(|report| match report {
            Report::Ready { index, filter, .. } => (*index, *filter),
            Report::Wake => (u32::MAX, Filter::Read),
        });
        let mut was_signalled = false;
        let mut last: Option<(u32, Interest, Hints)> = None;
        for at in 0..self.reports.len() {
            let Report::Ready {
                index,
                filter,
                is_end,
            } = self.reports[at]
            else {
                was_signalled = true;
                continue;
            };
            let (readiness, hints) = told(filter, is_end);
            last = match last {
                Some((same, before, known)) if same == index => {
                    Some((index, before | readiness, known.and(hints, true)))
                }
                before => {
                    self.report(before, events);
                    Some((index, readiness, hints))
                }
            };
        }
        self.report(last, events);
        Ok(was_signalled)
    }

    fn calls(&self) -> u64 {
        self.calls
    }
}

impl<C: KqueueCalls> Kqueue<C> {
    /// Notes what came of one source's changes.
    fn apply(
        &mut self,
        index: u32,
        changes: &[Change],
        outcomes: &[Result<(), Errno>],
        events: &mut Events,
    ) {
        let Some(found) = self.registrations.at(index) else {
            return;
        };
        found.armed = filters_after(found.armed, changes, outcomes);
        let mut outcomes = changes.iter().zip(outcomes);
        let refused = outcomes.find_map(|(change, outcome)| change.added_as.and(outcome.err()));
        if let Some(error) = refused {
            events.push(refusal(found.key, found.wanted, error));
            // It rests until it is declared again.
            found.wanted = Interest::NONE;
        }
        // The other one of them may have been added, or have been there before.
        if refused.is_some() && !found.armed.is_empty() {
            let left = differences(found.handle, index, found.armed, Interest::NONE);
            self.calls += 1;
            let outcomes = self.queue.0.change(&left);
            let outcomes = outcomes.unwrap_or_else(|error| vec![Err(error); left.len()]);
            found.armed = filters_after(found.armed, &left, &outcomes);
        }
        if found.armed.is_empty() {
            self.owners.remove(&found.handle);
        } else if found.armed != found.wanted {
            // One that nobody wants could not be deleted.
            self.registrations.touch(index);
        }
    }

    fn report(&mut self, found: Option<(u32, Interest, Hints)>, events: &mut Events) {
        let Some((index, readiness, hints)) = found else {
            return;
        };
        if let Some(found) = self.registrations.at(index) {
            let readiness = readiness & found.wanted;
            if !readiness.is_empty() {
                events.push(Event::new(found.key, readiness).with_hints(hints));
            }
        }
    }
}

fn refusal(key: Key, wanted: Interest, error: Errno) -> Event {
    Event::refused(key, wanted, error.raw_os_error())
}

/// What has to be told so that there are filters for what is wanted.
fn differences(descriptor: RawFd, index: u32, armed: Interest, wanted: Interest) -> Vec<Change> {
    let filters = [
        (Filter::Read, armed.is_readable(), wanted.is_readable()),
        (Filter::Write, armed.is_writable(), wanted.is_writable()),
    ];
    let changed = filters.into_iter().filter(|(_, is, shall)| is != shall);
    let change = |(filter, _, shall): (Filter, bool, bool)| Change {
        descriptor,
        filter,
        added_as: shall.then_some(index),
    };
    changed.map(change).collect()
}

/// What there are filters for once changes have had these outcomes.
fn filters_after(before: Interest, changes: &[Change], outcomes: &[Result<(), Errno>]) -> Interest {
    let mut after = [before.is_readable(), before.is_writable()];
    for (change, outcome) in changes.iter().zip(outcomes) {
        let is_there = &mut after[change.filter as usize];
        match outcome {
            Ok(()) => *is_there = change.added_as.is_some(),
            // What is not there need not be deleted.
            Err(Errno::NOENT | Errno::BADF) => *is_there = false,
            Err(_) => {}
        }
    }
    let [read, write] = after;
    let read = if read {
        Interest::READABLE
    } else {
        Interest::NONE
    };
    let write = if write {
        Interest::WRITABLE
    } else {
        Interest::NONE
    };
    read | write
}

/// What a report says of a source.
fn told(filter: Filter, is_end: bool) -> (Interest, Hints) {
    match filter {
        Filter::Read => (
            Interest::READABLE,
            Hints::NONE.and(Hints::PEER_CLOSED, is_end),
        ),
        Filter::Write => (Interest::WRITABLE, Hints::NONE.and(Hints::HUNG_UP, is_end)),
    }
}

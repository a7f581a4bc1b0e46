//! epoll, level-triggered, told only what changed.
//!
//! # Why no event reaches the wrong source
//!
//! The system's report carries a source's index and nothing else, and that is enough: the set
//! never holds anything for an index but the registration that has the index now, because
//! deregistering takes a source out of the set before its index can be given to another, and a
//! source that cannot be taken out (its descriptor was closed behind the poller's back while a
//! duplicate keeps it open) has the whole set replaced before it is asked again. What
//! `epoll_wait` returned is translated into full keys at once, while nothing can be deregistered;
//! from there on the generation, which is never used twice, tells a source from its successor.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::descriptor::{borrow, timespec};
use super::registrations::Registrations;
use super::signal::{SystemSignal, WakeSource};
use super::{Backend, Fate, Sealed};
use crate::event::{Event, Events, Key};
use crate::interest::Interest;
use crate::waker::Signal;

/// The index of the signal; sources never have it.
const SIGNAL: u64 = u32::MAX as u64;

/// The most events asked for at a time: 12 KiB of stack.
const BATCH: usize = 1024;

/// Linux's epoll: a wait costs in proportion to what changed and what is ready.
///
/// # Platform notes
///
/// - Linux and Android only.
/// - A source without interest is not in epoll's set, since the set reports errors and hang-up
///   unasked. Declaring the first interest adds it, withdrawing the last removes it.
/// - At most 1,024 events are asked for at a time.
/// - Timeouts are rounded up to whole milliseconds.
#[derive(Debug)]
pub struct Epoll {
    set: OwnedFd,
    signal: Arc<SystemSignal>,
    registrations: Registrations<RawFd>,
    /// The set may hold something that was deregistered: replace it before it is asked again.
    is_tainted: bool,
    calls: u64,
}

impl Sealed for Epoll {}

impl Backend for Epoll {
    type Handle = RawFd;

    fn new() -> io::Result<Self> {
        let signal = Arc::new(SystemSignal::new()?);
        Ok(Epoll {
            set: new_set(&signal)?,
            signal,
            registrations: Registrations::new(),
            is_tainted: false,
            calls: 0,
        })
    }

    fn signal(&self) -> Arc<dyn Signal> {
        Arc::clone(&self.signal) as Arc<dyn Signal>
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
        // Closing is not enough: while a duplicate of the descriptor is open, the set keeps it.
        if !found.armed.is_empty() {
            self.calls += 1;
            self.is_tainted |= epoll::delete(&self.set, borrow(found.handle)).is_err();
        }
    }

    fn reconcile(&mut self, events: &mut Events) -> io::Result<()> {
        if self.is_tainted {
            self.replace_set()?;
        }
        while let Some(index) = self.registrations.next_touched() {
            self.arm(index, events);
        }
        Ok(())
    }

    fn collect(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.map(timespec);
        let mut buffer = [const { MaybeUninit::uninit() }; BATCH];
        let limit = events.limit().min(BATCH);
        self.calls += 1;
        let (reports, _) = epoll::wait(&self.set, &mut buffer[..limit], timeout.as_ref())?;
        let mut was_signalled = false;
        for report in reports {
            let (data, flags) = (report.data, report.flags);
            match u32::try_from(data.u64()) {
                Ok(index) if data.u64() != SIGNAL => {
                    if let Some(found) = self.registrations.at(index) {
                        let readiness = readiness(flags) & found.wanted;
                        if !readiness.is_empty() {
                            events.push(Event::new(found.key, readiness));
                        }
                    }
                }
                _ => was_signalled = true,
            }
        }
        Ok(was_signalled)
    }

    fn calls(&self) -> u64 {
        self.calls
    }
}

impl Epoll {
    /// Makes the set hold what is wanted of one source.
    fn arm(&mut self, index: u32, events: &mut Events) {
        let Some(found) = self.registrations.at(index) else {
            return;
        };
        let source = borrow(found.handle);
        let data = EventData::new_u64(u64::from(index));
        let flags = flags(found.wanted);
        self.calls += 1;
        let outcome = if found.armed.is_empty() {
            epoll::add(&self.set, source, data, flags)
        } else if found.wanted.is_empty() {
            epoll::delete(&self.set, source)
        } else {
            epoll::modify(&self.set, source, data, flags)
        };
        if outcome.is_ok() {
            found.armed = found.wanted;
            return;
        }
        if !found.armed.is_empty() {
            // What it was armed for it may report for ever, and nobody wants that any more.
            self.calls += 1;
            self.is_tainted |= epoll::delete(&self.set, source).is_err();
            found.armed = Interest::NONE;
        }
        if !found.wanted.is_empty() {
            events.push(Event::new(found.key, found.wanted));
        }
    }

    /// Gets rid of what cannot be taken out of the set, at the price of all the others.
    fn replace_set(&mut self) -> io::Result<()> {
        self.calls += 2;
        self.set = new_set(&self.signal)?;
        self.is_tainted = false;
        let mut armed = Vec::new();
        for found in self.registrations.iter_mut() {
            found.armed = Interest::NONE;
            if !found.wanted.is_empty() {
                armed.push(found.key.index);
            }
        }
        for index in armed {
            self.registrations.touch(index);
        }
        Ok(())
    }
}

/// A set that holds the signal, which is always armed. Edge-triggered: a report is enough, and
/// saves reading the counter back.
fn new_set(signal: &SystemSignal) -> io::Result<OwnedFd> {
    let set = epoll::create(CreateFlags::CLOEXEC)?;
    let data = EventData::new_u64(SIGNAL);
    epoll::add(
        &set,
        signal.receiver(),
        data,
        EventFlags::IN | EventFlags::ET,
    )?;
    Ok(set)
}

fn flags(interest: Interest) -> EventFlags {
    let mut flags = EventFlags::empty();
    if interest.is_readable() {
        flags |= EventFlags::IN;
    }
    if interest.is_writable() {
        flags |= EventFlags::OUT;
    }
    flags
}

fn readiness(flags: EventFlags) -> Interest {
    let mut readiness = Interest::NONE;
    if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
        readiness = Interest::BOTH;
    }
    if flags.contains(EventFlags::IN) {
        readiness |= Interest::READABLE;
    }
    if flags.contains(EventFlags::OUT) {
        readiness |= Interest::WRITABLE;
    }
    readiness
}

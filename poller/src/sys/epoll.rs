//! epoll, level-triggered, told only what changed.
//!
//! # Why no event reaches the wrong source
//!
//! The system's report carries a source's index and nothing else, and that is enough: the set
//! never holds anything for an index but the registration that has the index now, because
//! deregistering takes a source out of the set before its index can be given to another, and a
//! source that cannot be taken out (its descriptor was closed behind the poller's back while a
//! duplicate keeps it open) has the whole set replaced before it is asked again. While the system
//! has no descriptor for another set, poll(2) is asked instead, which needs none. What `epoll_wait`
//! returned is translated into full keys at once, while nothing can be deregistered;
//! from there on the generation, which is never used twice, tells a source from its successor.

use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::descriptor::{borrow, timespec};
use super::lookout::SetLookout;
use super::poll::List;
use super::registrations::Registrations;
use super::signal::{SystemSignal, WakeSource};
use super::{Backend, Fate, Sealed};
use crate::event::{Event, Events, Hints, Key};
use crate::interest::Interest;
use crate::poller::Poller;
use crate::waker::{CAPPED_SLEEP, Signal};
use crate::watch::Lookout;

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
/// - The last fraction of a millisecond of a timeout costs a call of poll(2).
/// - The system refuses to poll what knows no readiness (files and directories: EPERM), and
///   anything at all beyond the user's share of `/proc/sys/fs/epoll/max_user_watches` (ENOSPC) or
///   without memory (ENOMEM).
#[derive(Debug)]
pub struct Epoll<C: EpollCalls = System> {
    set: Arc<OwnedFd>,
    signal: Arc<SystemSignal>,
    /// Here `armed` is what the set holds, or, while that is tainted, what poll(2) is asked for.
    registrations: Registrations<RawFd>,
    /// The set may hold something that was deregistered: it is never asked again, only replaced.
    is_tainted: bool,
    /// There is a watch of the set, and the set was never replaced.
    is_watched: bool,
    /// What is asked until it is.
    list: List,
    /// What `settle` finds, kept for its memory.
    refusals: Option<Events>,
    calls: u64,
    control: PhantomData<C>,
}

/// What makes and changes sets. A parameter, so that tests can refuse as the system may.
pub trait EpollCalls: Send + Sync + 'static {
    /// Makes a set.
    ///
    /// # Errors
    ///
    /// There is no descriptor or memory left.
    fn create() -> Result<OwnedFd, Errno> {
        epoll::create(CreateFlags::CLOEXEC)
    }

    /// Has the set hold a source.
    ///
    /// # Errors
    ///
    /// The source cannot be polled, or there is no room or memory left.
    fn add(
        set: &OwnedFd,
        source: BorrowedFd<'_>,
        data: EventData,
        flags: EventFlags,
    ) -> Result<(), Errno> {
        epoll::add(set, source, data, flags)
    }
}

/// The system itself.
#[derive(Debug)]
pub struct System;

impl EpollCalls for System {}

/// The descriptor of the set, for another loop to watch: it is readable while a [wait](Poller::wait) of no time
/// would find something.
///
/// It knows what the last wait has told the system: so wait, if only for no time, after declaring interest and
/// before leaving the poller to the other loop. Wakes and orders of other threads do not show, since nobody
/// sleeps in the poller: whoever gives them has to wake the other loop. The descriptor stays the same as long as
/// no source's descriptor is closed behind the poller's back.
///
/// poll(2) has no such descriptor, and on Windows there is no handle of the kind: that of a completion port does
/// not say that it has packets, and polls are begun by a wait.
impl<S, T, C: EpollCalls> AsFd for Poller<S, T, Epoll<C>> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.backend().set.as_fd()
    }
}

impl<C: EpollCalls> Sealed for Epoll<C> {}

impl<C: EpollCalls> Backend for Epoll<C> {
    type Handle = RawFd;
    const NAME: &'static str = "epoll";

    fn new() -> io::Result<Self> {
        let signal = Arc::new(SystemSignal::new()?);
        Ok(Epoll {
            set: Arc::new(new_set::<C>(&signal)?),
            signal,
            registrations: Registrations::new(),
            is_tainted: false,
            is_watched: false,
            list: List::default(),
            refusals: None,
            calls: 0,
            control: PhantomData,
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
        if !self.is_tainted && !found.armed.is_empty() {
            self.calls += 1;
            self.is_tainted |= epoll::delete(&self.set, borrow(found.handle)).is_err();
        }
    }

    fn reconcile(&mut self, events: &mut Events) -> io::Result<()> {
        if self.is_tainted {
            self.replace_set();
        }
        while let Some(index) = self.registrations.next_touched() {
            if self.is_tainted {
                self.registrations.arm_as_wanted(index);
            } else {
                self.arm(index, events);
            }
        }
        Ok(())
    }

    fn collect(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<bool> {
        if self.is_tainted {
            return self.collect_without_set(events, timeout);
        }
        let mut buffer = [const { MaybeUninit::uninit() }; BATCH];
        let limit = events.limit().min(BATCH);
        let reports = wait(&self.set, &mut buffer[..limit], timeout, &mut self.calls)?;
        let mut was_signalled = false;
        for report in reports {
            let (data, flags) = (report.data, report.flags);
            match u32::try_from(data.u64()) {
                Ok(index) if data.u64() != SIGNAL => {
                    if let Some(found) = self.registrations.at(index) {
                        let readiness = readiness(flags) & found.wanted;
                        if !readiness.is_empty() {
                            let event = Event::new(found.key, readiness);
                            events.push(event.with_hints(hints(flags)));
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

    fn watch(&mut self) -> io::Result<Option<Arc<dyn Lookout>>> {
        let lookout = SetLookout::new(Arc::clone(&self.set))?;
        self.is_watched = true;
        Ok(Some(Arc::new(lookout)))
    }

    fn settle(&mut self) -> bool {
        if !self.is_watched || self.is_tainted {
            return false;
        }
        if !self.registrations.has_touched() {
            return true;
        }
        let mut refusals = self
            .refusals
            .take()
            .unwrap_or_else(|| Events::with_capacity(1));
        // Which never fails.
        let is_told = self.reconcile(&mut refusals).is_ok() && refusals.is_empty();
        while let Some(refusal) = refusals.pop() {
            // The next wait has to report it.
            self.registrations.touch(refusal.key().index);
        }
        self.refusals = Some(refusals);
        is_told && !self.is_tainted
    }
}

impl<C: EpollCalls> Epoll<C> {
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
            C::add(&self.set, source, data, flags)
        } else if found.wanted.is_empty() {
            epoll::delete(&self.set, source)
        } else {
            epoll::modify(&self.set, source, data, flags)
        };
        let Err(refusal) = outcome else {
            found.armed = found.wanted;
            return;
        };
        if !found.armed.is_empty() {
            // What it was armed for it may report for ever, and nobody wants that any more.
            self.calls += 1;
            self.is_tainted |= epoll::delete(&self.set, source).is_err();
            found.armed = Interest::NONE;
        }
        if !found.wanted.is_empty() {
            let refusal = refusal.raw_os_error();
            events.push(Event::refused(found.key, found.wanted, refusal));
        }
    }

    /// Gets rid of what cannot be taken out of the set, at the price of all the others: they are
    /// armed anew. Without a descriptor for another set it is tried again in the next pass.
    fn replace_set(&mut self) {
        self.calls += 2;
        let Ok(set) = new_set::<C>(&self.signal) else {
            return;
        };
        self.set = Arc::new(set);
        self.is_tainted = false;
        self.is_watched = false; // what watches sees the other
        let mut armed = Vec::new();
        // Not those that were refused: they wait to be declared again.
        for found in self.registrations.iter_mut() {
            if !found.armed.is_empty() {
                found.armed = Interest::NONE;
                armed.push(found.key.index);
            }
        }
        for index in armed {
            self.registrations.touch(index);
        }
    }

    /// Asks as poll(2) does. The sleep is capped: what made the system run out of descriptors may
    /// be over soon, and asking for everything is dear.
    fn collect_without_set(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let timeout = timeout.map_or(CAPPED_SLEEP, |timeout| timeout.min(CAPPED_SLEEP));
        self.calls += 1;
        let registrations = &mut self.registrations;
        let was_signalled = self
            .list
            .ask(&*self.signal, registrations, events, Some(timeout))?;
        self.calls += u64::from(was_signalled);
        Ok(was_signalled)
    }
}

/// Asks a set, sleeping at most for the timeout, and counts the system calls.
pub(super) fn wait<'a>(
    set: &OwnedFd,
    buffer: &'a mut [MaybeUninit<epoll::Event>],
    timeout: Option<Duration>,
    calls: &mut u64,
) -> Result<&'a mut [epoll::Event], Errno> {
    let mut sleep = timeout.map(whole_or_rest);
    if let Some(rest) = sleep.filter(|sleep| sleep.subsec_nanos() % NANOS_PER_MILLI > 0) {
        let rest = Timespec {
            tv_sec: 0,
            tv_nsec: rest.subsec_nanos() as _,
        };
        *calls += 1;
        if poll(&mut [PollFd::new(set, PollFlags::IN)], Some(&rest))? == 0 {
            return Ok(&mut []);
        }
        sleep = Some(Duration::ZERO);
    }
    let sleep = sleep.map(timespec);
    *calls += 1;
    let (reports, _) = epoll::wait(set, buffer, sleep.as_ref())?;
    Ok(reports)
}

const NANOS_PER_MILLI: u32 = 1_000_000;

/// For how long to sleep at once: epoll counts whole milliseconds, and poll(2), which is asked for the set
/// in its place, may sleep for what is left of them. (`epoll_pwait2` counts as finely, but there are
/// sandboxes that end a process for calls that they do not know.)
fn whole_or_rest(timeout: Duration) -> Duration {
    let rest = Duration::from_nanos((timeout.subsec_nanos() % NANOS_PER_MILLI).into());
    let whole = timeout.saturating_sub(rest);
    if whole.is_zero() { rest } else { whole }
}

/// A set that holds the signal, which is always armed. Edge-triggered: a report is enough, and
/// saves reading the counter back.
fn new_set<C: EpollCalls>(signal: &SystemSignal) -> Result<OwnedFd, Errno> {
    let set = C::create()?;
    let data = EventData::new_u64(SIGNAL);
    let flags = EventFlags::IN | EventFlags::ET;
    C::add(&set, signal.receiver(), data, flags)?;
    Ok(set)
}

fn flags(interest: Interest) -> EventFlags {
    let mut flags = EventFlags::empty();
    if interest.is_readable() {
        // The peer's end of sending is readable, too: it makes no more reports.
        flags |= EventFlags::IN | EventFlags::RDHUP;
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

fn hints(flags: EventFlags) -> Hints {
    let is_closed = flags.intersects(EventFlags::RDHUP | EventFlags::HUP);
    Hints::NONE
        .and(Hints::PEER_CLOSED, is_closed)
        .and(Hints::HUNG_UP, flags.contains(EventFlags::HUP))
        .and(Hints::FAILED, flags.contains(EventFlags::ERR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_with_what_is_left_of_a_millisecond() {
        for (timeout, sleep) in [
            (0, 0),
            (1, 1),
            (999_999, 999_999),
            (1_000_000, 1_000_000),
            (1_000_001, 1_000_000),
            (2_700_000_000, 2_700_000_000),
            (2_700_400_000, 2_700_000_000),
        ] {
            let sleeps = whole_or_rest(Duration::from_nanos(timeout));
            assert_eq!(sleeps, Duration::from_nanos(sleep), "{timeout}");
        }
        assert!(whole_or_rest(Duration::MAX) > Duration::from_secs(u64::MAX - 1));
    }

    /// Each by itself, as some systems and some kinds of files tell it.
    #[test]
    fn each_flag_is_ready_for_what_would_not_block() {
        let (read, write, both) = (Interest::READABLE, Interest::WRITABLE, Interest::BOTH);
        let hung_up = Hints::PEER_CLOSED.and(Hints::HUNG_UP, true);
        for (flag, expected, told) in [
            (EventFlags::IN, read, Hints::NONE),
            (EventFlags::OUT, write, Hints::NONE),
            (EventFlags::HUP, both, hung_up),
            (EventFlags::ERR, both, Hints::FAILED),
            (EventFlags::RDHUP, Interest::NONE, Hints::PEER_CLOSED),
            (EventFlags::PRI, Interest::NONE, Hints::NONE),
        ] {
            assert_eq!((readiness(flag), hints(flag)), (expected, told), "{flag:?}");
        }
        let all = EventFlags::HUP | EventFlags::ERR;
        assert_eq!(readiness(all), both);
        assert_eq!(hints(all), Hints::RESET);
        assert_eq!(readiness(EventFlags::IN | EventFlags::OUT), both);
    }
}

//! poll(2): asks for everything, every time, and so never has to be told what changed.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::descriptor::{borrow, fine_timespec};
use super::registrations::Registrations;
use super::signal::{SystemSignal, WakeSource};
use super::{Backend, Fate, Sealed};
use crate::event::{Event, Events, Hints, Key};
use crate::interest::Interest;
use crate::waker::Signal;

/// poll(2): there on every Unix, at a cost that grows with the number of sources.
///
/// # Platform notes
///
/// - Every wait builds a list of all sources that are wanted for something, and the system looks
///   at each: the cost is O(sources), where epoll's is O(ready sources).
/// - A source without interest is not in the list, since the list reports errors and hang-up
///   unasked.
/// - There is no descriptor by which another loop could watch it.
/// - The [limit](crate::Events::with_capacity) of a batch does not apply.
/// - Timeouts count nanoseconds on Linux, FreeBSD, DragonFly and NetBSD, which have `ppoll`; elsewhere they are
///   rounded up to whole milliseconds.
#[derive(Debug)]
pub struct Poll<G: WakeSource = SystemSignal> {
    signal: Arc<G>,
    /// Here `armed` is what the list asks for: what is wanted, or nothing after a failure.
    registrations: Registrations<RawFd>,
    list: List,
    calls: u64,
}

impl<G: WakeSource> Sealed for Poll<G> {}

impl<G: WakeSource> Backend for Poll<G> {
    type Handle = RawFd;
    const NAME: &'static str = "poll";

    fn new() -> io::Result<Self> {
        Ok(Poll {
            signal: Arc::new(G::new()?),
            registrations: Registrations::new(),
            list: List::default(),
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
        self.registrations.remove(key);
    }

    fn reconcile(&mut self, _events: &mut Events) -> io::Result<()> {
        while let Some(index) = self.registrations.next_touched() {
            self.registrations.arm_as_wanted(index);
        }
        Ok(())
    }

    fn collect(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<bool> {
        self.calls += 1;
        let registrations = &mut self.registrations;
        let was_signalled = self
            .list
            .ask(&*self.signal, registrations, events, timeout)?;
        // Drained by another call.
        self.calls += u64::from(was_signalled);
        Ok(was_signalled)
    }

    fn calls(&self) -> u64 {
        self.calls
    }
}

/// What poll(2) is asked for.
#[derive(Debug, Default)]
pub(super) struct List {
    /// Whose each entry is.
    keys: Vec<Key>,
}

impl List {
    /// Asks once for all that is armed, and for the signal, which is drained if it was sent.
    pub(super) fn ask<G: WakeSource>(
        &mut self,
        signal: &G,
        registrations: &mut Registrations<RawFd>,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let timeout = timeout.map(fine_timespec);
        let mut list = vec![PollFd::from_borrowed_fd(signal.receiver(), PollFlags::IN)];
        self.keys.clear();
        for found in registrations.iter_mut() {
            if !found.armed.is_empty() {
                self.keys.push(found.key);
                let flags = flags(found.armed);
                list.push(PollFd::from_borrowed_fd(borrow(found.handle), flags));
            }
        }
        poll(&mut list, timeout.as_ref())?;
        let was_signalled = !list[0].revents().is_empty();
        if was_signalled {
            signal.drain()?;
        }
        for (entry, key) in list[1..].iter().zip(&self.keys) {
            let flags = entry.revents();
            let Some(found) = registrations.at(key.index) else {
                continue;
            };
            if flags.contains(PollFlags::NVAL) {
                // Reported this once; asking again would have the same answer for ever.
                found.armed = Interest::NONE;
                let refusal = Errno::BADF.raw_os_error();
                events.push(Event::refused(*key, found.wanted, refusal));
                continue;
            }
            let readiness = readiness(flags) & found.wanted;
            if !readiness.is_empty() {
                events.push(Event::new(*key, readiness).with_hints(hints(flags)));
            }
        }
        Ok(was_signalled)
    }
}

/// The peer's end of sending, where the system tells it by itself. It is readable, too.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
const PEER_CLOSED: PollFlags = PollFlags::RDHUP;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
const PEER_CLOSED: PollFlags = PollFlags::empty();

fn hints(flags: PollFlags) -> Hints {
    let is_closed = flags.intersects(PEER_CLOSED | PollFlags::HUP);
    Hints::NONE
        .and(Hints::PEER_CLOSED, is_closed)
        .and(Hints::HUNG_UP, flags.contains(PollFlags::HUP))
        .and(Hints::FAILED, flags.contains(PollFlags::ERR))
}

fn flags(interest: Interest) -> PollFlags {
    let mut flags = PollFlags::empty();
    if interest.is_readable() {
        flags |= PollFlags::IN | PEER_CLOSED;
    }
    if interest.is_writable() {
        flags |= PollFlags::OUT;
    }
    flags
}

fn readiness(flags: PollFlags) -> Interest {
    let mut readiness = Interest::NONE;
    if flags.intersects(PollFlags::ERR | PollFlags::HUP) {
        readiness = Interest::BOTH;
    }
    if flags.contains(PollFlags::IN) {
        readiness |= Interest::READABLE;
    }
    if flags.contains(PollFlags::OUT) {
        readiness |= Interest::WRITABLE;
    }
    readiness
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each by itself, as some systems and some kinds of files tell it.
    #[test]
    fn each_flag_is_ready_for_what_would_not_block() {
        let (read, write, both) = (Interest::READABLE, Interest::WRITABLE, Interest::BOTH);
        let hung_up = Hints::PEER_CLOSED.and(Hints::HUNG_UP, true);
        for (flag, expected, told) in [
            (PollFlags::IN, read, Hints::NONE),
            (PollFlags::OUT, write, Hints::NONE),
            (PollFlags::HUP, both, hung_up),
            (PollFlags::ERR, both, Hints::FAILED),
            (PollFlags::PRI, Interest::NONE, Hints::NONE),
        ] {
            assert_eq!((readiness(flag), hints(flag)), (expected, told), "{flag:?}");
        }
        let all = PollFlags::HUP | PollFlags::ERR;
        assert_eq!(readiness(all), both);
        assert_eq!(hints(all), Hints::RESET);
        assert_eq!(readiness(PollFlags::IN | PollFlags::OUT), both);
    }
}

//! kqueue's own calls, by `kevent`.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use rustix::event::kqueue::{Event, EventFilter, EventFlags, kevent, kqueue};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use super::{BATCH, Change, Filter, Kqueue, KqueueCalls, Report};
use crate::poller::Poller;

/// The index of the wake; sources never have it.
const WAKE: u32 = u32::MAX;

/// The system itself.
#[derive(Debug)]
pub struct System {
    queue: OwnedFd,
    wake: Wake,
}

/// The descriptor of the queue, for another loop to watch: it is readable while a wait of no time would find
/// something of what the last wait has told the system. Wakes and orders of other threads do not show, since nobody
/// sleeps in the poller.
impl<S, T> AsFd for Poller<S, T, Kqueue<System>> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.backend().queue.0.queue.as_fd()
    }
}

fn udata(index: u32) -> *mut core::ffi::c_void {
    ptr::without_provenance_mut(index as usize)
}

/// One call of `kevent`: the changes first, then what it tells.
fn call(
    queue: &OwnedFd,
    changes: &[Event],
    buffer: &mut [MaybeUninit<Event>],
    timeout: Option<Duration>,
) -> Result<usize, Errno> {
    // SAFETY: a descriptor is named by a change only while the poller holds the source that it is of, or
    // this queue its own wake; the system itself deletes the filters of one that is closed.
    let (told, _) = unsafe { kevent(queue, changes, buffer, timeout)? };
    Ok(told.len())
}

fn uninitialised<const LENGTH: usize>() -> [MaybeUninit<Event>; LENGTH] {
    [const { MaybeUninit::uninit() }; LENGTH]
}

impl KqueueCalls for System {
    fn create() -> io::Result<Self> {
        let queue = kqueue()?;
        fcntl_setfd(&queue, FdFlags::CLOEXEC)?;
        let wake = Wake::new(&queue)?;
        Ok(System { queue, wake })
    }

    fn change(&self, changes: &[Change]) -> Result<Vec<Result<(), Errno>>, Errno> {
        let event = |change: &Change| {
            let filter = match change.filter {
                Filter::Read => EventFilter::Read(change.descriptor),
                Filter::Write => EventFilter::Write(change.descriptor),
            };
            // A receipt for each: else the first error would end the list.
            let (flags, index) = match change.added_as {
                Some(index) => (EventFlags::ADD | EventFlags::RECEIPT, index),
                None => (EventFlags::DELETE | EventFlags::RECEIPT, 0),
            };
            Event::new(filter, flags, udata(index))
        };
        let mut outcomes = Vec::with_capacity(changes.len());
        for some in changes.chunks(BATCH) {
            let events: Vec<Event> = some.iter().map(event).collect();
            let mut buffer = uninitialised::<BATCH>();
            // SAFETY: as in `call`.
            let outcome = unsafe {
                kevent(
                    &self.queue,
                    &events,
                    &mut buffer[..some.len()],
                    Some(Duration::ZERO),
                )
            };
            match outcome {
                Ok((receipts, _)) => outcomes.extend(receipts.iter().map(outcome_of)),
                // The first lot tells that nothing was changed.
                Err(error) if outcomes.is_empty() => return Err(error),
                Err(error) => outcomes.resize(outcomes.len() + some.len(), Err(error)),
            }
        }
        // A system that gives no receipt has refused nothing.
        outcomes.resize(changes.len(), Ok(()));
        Ok(outcomes)
    }

    fn wait(
        &self,
        reports: &mut Vec<Report>,
        limit: usize,
        timeout: Option<Duration>,
    ) -> Result<(), Errno> {
        let mut buffer = uninitialised::<BATCH>();
        // SAFETY: no change is made.
        let (told, _) = unsafe { kevent(&self.queue, &[], &mut buffer[..limit], timeout)? };
        for event in told.iter() {
            let index = event.udata().addr() as u32;
            if index == WAKE {
                self.wake.take()?;
                reports.push(Report::Wake);
                continue;
            }
            let filter = match event.filter() {
                EventFilter::Read(_) => Filter::Read,
                EventFilter::Write(_) => Filter::Write,
                _ => continue,
            };
            reports.push(Report::Ready {
                index,
                filter,
                is_end: event.flags().contains(EventFlags::EOF),
            });
        }
        Ok(())
    }

    fn wake(&self) -> io::Result<()> {
        self.wake.trigger(&self.queue)
    }
}

/// What a receipt says.
fn outcome_of(receipt: &Event) -> Result<(), Errno> {
    match receipt.data() {
        0 => Ok(()),
        number => Err(Errno::from_raw_os_error(number as i32)),
    }
}

/// A filter of its own kind, which belongs to no descriptor.
#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly"
))]
#[derive(Debug)]
struct Wake;

#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly"
))]
impl Wake {
    fn new(queue: &OwnedFd) -> io::Result<Wake> {
        // Reported once for each time that it was triggered since.
        Self::change(queue, EventFlags::ADD | EventFlags::CLEAR, false)?;
        Ok(Wake)
    }

    fn change(queue: &OwnedFd, flags: EventFlags, is_triggered: bool) -> Result<(), Errno> {
        use rustix::event::kqueue::{UserDefinedFlags, UserFlags};
        let filter = EventFilter::User {
            ident: 0,
            flags: match is_triggered {
                true => UserFlags::TRIGGER,
                false => UserFlags::NOINPUT,
            },
            user_flags: UserDefinedFlags::new(0),
        };
        let change = Event::new(filter, flags, udata(WAKE));
        call(
            queue,
            &[change],
            &mut uninitialised::<0>(),
            Some(Duration::ZERO),
        )
        .map(drop)
    }

    fn trigger(&self, queue: &OwnedFd) -> io::Result<()> {
        Ok(Self::change(queue, EventFlags::empty(), true)?)
    }

    #[expect(clippy::unused_self, reason = "as where there is something to take")]
    #[expect(clippy::unnecessary_wraps, reason = "as where it can fail")]
    fn take(&self) -> Result<(), Errno> {
        Ok(())
    }
}

/// A pipe, where there is no such filter.
#[cfg(not(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly"
)))]
#[derive(Debug)]
struct Wake {
    pipe: crate::sys::signal::Pipe,
}

#[cfg(not(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly"
)))]
impl Wake {
    fn new(queue: &OwnedFd) -> io::Result<Wake> {
        use crate::sys::signal::WakeSource;
        use std::os::fd::AsRawFd;
        let pipe = crate::sys::signal::Pipe::new()?;
        let filter = EventFilter::Read(pipe.receiver().as_raw_fd());
        let change = Event::new(filter, EventFlags::ADD, udata(WAKE));
        call(
            queue,
            &[change],
            &mut uninitialised::<0>(),
            Some(Duration::ZERO),
        )?;
        Ok(Wake { pipe })
    }

    fn trigger(&self, _queue: &OwnedFd) -> io::Result<()> {
        use crate::waker::Signal;
        self.pipe.send()
    }

    fn take(&self) -> Result<(), Errno> {
        use crate::sys::signal::WakeSource;
        // What is not taken now is reported again.
        let _ = self.pipe.drain();
        Ok(())
    }
}

//! A kqueue simulated over poll(2), so that the logic above it runs where there is none.
//!
//! It has what the logic relies on: filters by descriptor, one of each kind, which carry an index and are
//! replaced when they are added again; a change of each filter by itself, with its own outcome; filters that go
//! when their descriptor is closed; level-triggered reports, of one filter each, that come to everybody in turn; and
//! no sleep of any length.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::{Change, Filter, KqueueCalls, Report};
use crate::sys::descriptor::{borrow, fine_timespec};
use crate::sys::signal::{SystemSignal, WakeSource};
use crate::timeout::LONGEST;
use crate::waker::Signal;

thread_local! {
    /// Whether this thread's test has the system refuse to add filters for writing.
    pub(crate) static REFUSES_WRITING: Cell<bool> = const { Cell::new(false) };
    /// With what this thread's test has the system refuse to change anything.
    pub(crate) static REFUSES_ALL: Cell<Option<Errno>> = const { Cell::new(None) };
}

#[derive(Debug)]
pub(crate) struct Simulated {
    /// By descriptor and kind, with the index that each carries.
    filters: Mutex<BTreeMap<(RawFd, Filter), u32>>,
    /// Whose turn it is first.
    turn: Mutex<(RawFd, Filter)>,
    wake: SystemSignal,
}

impl Simulated {
    fn filters(&self) -> MutexGuard<'_, BTreeMap<(RawFd, Filter), u32>> {
        self.filters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(filters: &mut BTreeMap<(RawFd, Filter), u32>, change: &Change) -> Result<(), Errno> {
        let at = (change.descriptor, change.filter);
        match change.added_as {
            Some(index) => {
                rustix::io::fcntl_getfd(borrow(change.descriptor))?;
                if change.filter == Filter::Write && REFUSES_WRITING.get() {
                    return Err(Errno::NOMEM);
                }
                filters.insert(at, index);
                Ok(())
            }
            None => filters.remove(&at).map(drop).ok_or(Errno::NOENT),
        }
    }
}

fn flags(filter: Filter) -> PollFlags {
    match filter {
        Filter::Read => PollFlags::IN | PollFlags::RDHUP,
        Filter::Write => PollFlags::OUT,
    }
}

impl KqueueCalls for Simulated {
    fn create() -> io::Result<Self> {
        Ok(Simulated {
            filters: Mutex::default(),
            turn: Mutex::new((0, Filter::Read)),
            wake: SystemSignal::new()?,
        })
    }

    fn change(&self, changes: &[Change]) -> Result<Vec<Result<(), Errno>>, Errno> {
        REFUSES_ALL.get().map_or(Ok(()), Err)?;
        let mut filters = self.filters();
        let outcomes = changes.iter().map(|it| Self::apply(&mut filters, it));
        Ok(outcomes.collect())
    }

    fn wait(
        &self,
        reports: &mut Vec<Report>,
        limit: usize,
        timeout: Option<Duration>,
    ) -> Result<(), Errno> {
        if timeout.is_some_and(|timeout| timeout > LONGEST) {
            return Err(Errno::INVAL);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let mut known: Vec<_> = self
                .filters()
                .iter()
                .map(|(at, index)| (*at, *index))
                .collect();
            let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let first = known.partition_point(|(at, _)| *at < *turn);
            known.rotate_left(first);
            let descriptor = |at: RawFd| -> BorrowedFd<'static> { borrow(at) };
            let mut list = vec![PollFd::from_borrowed_fd(
                self.wake.receiver(),
                PollFlags::IN,
            )];
            list.extend(known.iter().map(|((at, filter), _)| {
                PollFd::from_borrowed_fd(descriptor(*at), flags(*filter))
            }));
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let left = timeout.and(left);
            poll(&mut list, left.map(fine_timespec).as_ref())?;
            if !list[0].revents().is_empty() {
                self.wake.drain().map_err(|_| Errno::IO)?;
                reports.push(Report::Wake);
            }
            for (entry, ((at, filter), index)) in list[1..].iter().zip(&known) {
                let found = entry.revents();
                if found.contains(PollFlags::NVAL) {
                    self.filters().remove(&(*at, *filter));
                } else if !found.is_empty() && reports.len() < limit {
                    let ends = match filter {
                        Filter::Read => PollFlags::RDHUP | PollFlags::HUP,
                        Filter::Write => PollFlags::HUP | PollFlags::ERR,
                    };
                    reports.push(Report::Ready {
                        index: *index,
                        filter: *filter,
                        is_end: found.intersects(ends),
                    });
                    *turn = match filter {
                        Filter::Read => (*at, Filter::Write),
                        Filter::Write => (*at + 1, Filter::Read),
                    };
                }
            }
            if !reports.is_empty() || left == Some(Duration::ZERO) {
                return Ok(());
            }
        }
    }

    fn wake(&self) -> io::Result<()> {
        self.wake.send()
    }
}

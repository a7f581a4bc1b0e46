//! Watching an epoll set by another one that holds it: a set is readable while it has something to report,
//! and being asked for that takes nothing out of it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::epoll::wait;
use super::signal::{EventFd, WakeSource};
use crate::waker::Signal;
use crate::watch::{Lookout, Seen};

/// What the entries of the outer set are known by.
const WATCHED: u64 = 0;
const SIGNAL: u64 = 1;

#[derive(Debug)]
pub(super) struct SetLookout {
    outer: OwnedFd,
    watched: Arc<OwnedFd>,
    signal: EventFd,
}

impl SetLookout {
    pub(super) fn new(watched: Arc<OwnedFd>) -> io::Result<SetLookout> {
        let outer = epoll::create(CreateFlags::CLOEXEC)?;
        let signal = EventFd::new()?;
        // Edge-triggered: a report is enough, and saves reading the counter back.
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&outer, signal.receiver(), EventData::new_u64(SIGNAL), flags)?;
        let data = EventData::new_u64(WATCHED);
        epoll::add(&outer, watched.as_fd(), data, EventFlags::empty())?;
        Ok(SetLookout {
            outer,
            watched,
            signal,
        })
    }
}

impl Lookout for SetLookout {
    fn arm(&self, is_armed: bool) -> io::Result<()> {
        let flags = if is_armed {
            EventFlags::IN | EventFlags::ONESHOT
        } else {
            EventFlags::empty()
        };
        let data = EventData::new_u64(WATCHED);
        Ok(epoll::modify(&self.outer, &*self.watched, data, flags)?)
    }

    fn wait(&self, timeout: Option<Duration>) -> io::Result<Seen> {
        let mut buffer = [const { MaybeUninit::uninit() }; 2];
        let reports = wait(&self.outer, &mut buffer, timeout, &mut 0)?;
        let is_seen = reports.iter().any(|report| {
            let data = report.data;
            data.u64() == WATCHED
        });
        Ok(if is_seen {
            Seen::Something
        } else {
            Seen::Nothing
        })
    }

    fn wake(&self) -> io::Result<()> {
        self.signal.send()
    }

    fn watched(&self) -> BorrowedFd<'_> {
        (*self.watched).as_fd()
    }
}

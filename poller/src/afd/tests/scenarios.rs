//! Named runs: each tells one story, step by step, on the real port and the simulated kernel.
//!
//! A story that a planted defect must change is told by a function over the variants of the
//! backend; its tests say what comes of it in production, and what with the defect.

mod blocks;
mod closing;
mod direct;
mod end;
mod identity;
mod interest;
mod starvation;
mod trouble;
mod weak;

use std::sync::Arc;
use std::time::Duration;

use super::super::defects::{Defects, Sound};
use super::super::pinned::Ours;
use super::super::poll_file::PollFile;
use super::super::port::{PollingMode, Port};
use crate::event::Event;
use crate::nt::sim::{Counts, Kernel, Sim, Socket, Violation};
use crate::nt::{Handle, Status};
use crate::{Events, Interest, Key, Poller};

/// How long to wait for what is due. Only a failing test ever waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A poller on a kernel of its own.
struct Scenario<D: Defects = Sound> {
    kernel: Arc<Kernel>,
    poller: Poller<Socket, (), Port<Sim, D>>,
    events: Events,
}

impl<D: Defects> Scenario<D> {
    fn new(mode: PollingMode) -> Self {
        Self::on(&Arc::default(), mode)
    }

    fn on(kernel: &Arc<Kernel>, mode: PollingMode) -> Self {
        let port = Port::with_mode(Sim::new(kernel), mode).unwrap();
        Scenario {
            kernel: Arc::clone(kernel),
            poller: Poller::over(port),
            events: Events::with_capacity(1024),
        }
    }

    /// Packets are queued only by `deliver` from here on, or by themselves again.
    fn be_slow(&self, is_slow: bool) {
        self.kernel.state().mood.is_slow = is_slow;
    }

    /// Whether helpers can be opened, from here on.
    fn have_helpers(&self, are_there: bool) {
        self.kernel.state().mood.has_no_helpers = !are_there;
    }

    fn insert(&mut self, socket: Socket, interest: Interest) -> (Key, Handle) {
        let handle = socket.handle();
        let key = self.poller.insert(socket).unwrap();
        assert!(self.poller.set_interest(key, interest));
        (key, handle)
    }

    /// A new socket, of which nothing is true yet.
    fn add(&mut self, interest: Interest) -> (Key, Handle) {
        let socket = Socket::bare(&self.kernel);
        self.insert(socket, interest)
    }

    fn declare(&mut self, key: Key, interest: Interest) {
        assert!(self.poller.set_interest(key, interest));
    }

    fn become_ready(&self, socket: Handle, flags: u32) {
        self.kernel.set_events(socket, flags);
    }

    fn deliver_all(&self) {
        while self.kernel.in_transit() > 0 {
            self.kernel.deliver(0);
        }
    }

    /// What one wait reports that does not sleep.
    fn wait(&mut self) -> Vec<Event> {
        self.wait_for(Duration::ZERO)
    }

    fn wait_for(&mut self, timeout: Duration) -> Vec<Event> {
        self.poller.wait(&mut self.events, Some(timeout)).unwrap();
        let mut events = Vec::new();
        while let Some(event) = self.poller.next_event(&mut self.events) {
            events.push(event);
        }
        events
    }

    fn port(&self) -> &Port<Sim, D> {
        self.poller.parts().0
    }

    /// The half that is ours of a source's slot.
    #[track_caller]
    fn slot(&self, key: Key) -> &Ours {
        assert_eq!(self.port().table.at(key.index).unwrap().key, key);
        let object = self.port().table.object_of(key.index).unwrap();
        self.port().slots.ours(object.slot.unwrap())
    }

    /// How many slots are taken, and how many of them are in flight.
    fn slots(&self) -> (usize, usize) {
        let slots = &self.port().slots;
        (slots.taken().len(), slots.in_flight())
    }

    /// How many registrations each helper has, by its number.
    fn helpers(&self) -> Vec<Option<u32>> {
        self.port().helpers.users().collect()
    }

    /// Whether polls of the source are issued on its own socket.
    #[track_caller]
    fn is_direct(&self, key: Key) -> bool {
        let entry = self.port().table.at(key.index).unwrap();
        let ours = self.slot(key);
        let is_direct = ours.file.map(PollFile::handle) == Some(entry.socket);
        assert_eq!(is_direct, ours.group.is_none());
        let object = self.port().table.object_of(key.index).unwrap();
        assert_eq!(is_direct, object.is_associated);
        is_direct
    }

    /// The context of the operation that was submitted last.
    fn newest_context(&self) -> usize {
        self.kernel.contexts().pop().unwrap()
    }

    /// What the kernel has been asked since.
    fn spent_since(&self, before: Counts) -> Spent {
        let now = self.counts();
        let cancels =
            |counts: Counts| counts.cancelled + counts.cancels_not_found + counts.cancels_too_late;
        Spent {
            submits: now.submitted - before.submitted,
            cancels: cancels(now) - cancels(before),
            calls: now.calls - before.calls,
        }
    }

    fn counts(&self) -> Counts {
        self.kernel.state().counts
    }

    /// The sockets and masks that were polled since this was asked last.
    fn polled(&self) -> Vec<(Handle, u32)> {
        std::mem::take(&mut self.kernel.state().submissions)
    }

    fn violations(&self) -> Vec<Violation> {
        self.kernel.state().violations.clone()
    }

    /// Ends it; nothing may be left, and the kernel has nothing to complain of.
    #[track_caller]
    fn end(self) {
        self.poller.shut_down().unwrap();
        assert_eq!(self.kernel.operations(), 0);
        let state = self.kernel.state();
        assert_eq!(state.violations, []);
    }
}

/// Calls, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spent {
    submits: u64,
    cancels: u64,
    /// Of every kind.
    calls: u64,
}

fn ready(key: Key, readiness: Interest) -> Event {
    Event::new(key, readiness)
}

fn refused(key: Key, wanted: Interest, status: Status) -> Event {
    // The simulated kernel's errors have its own numbers.
    Event::refused(key, wanted, status.0)
}

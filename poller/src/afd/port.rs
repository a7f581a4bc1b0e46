//! The backend: registrations, arming, dequeuing, and the end.
//!
//! # Why no packet reaches the wrong source
//!
//! A packet names a slot and the number of an operation. `Slots::claim` lets through only what is
//! in flight; a slot is in flight from its submission until its own packet was dequeued, and is not
//! used for anything else in between. The slot names the index of its source and the source's
//! generation, which no other source ever had. If the source at the index has another generation, or
//! there is none, the slot's own source is gone, and all that the packet does is to free the slot.

mod choice;
mod lingering;
mod shared;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::lingering::Lingering;
use self::shared::SharedPort;
use super::control::OPERATION_KEY;
use super::defects::{Defects, Sound};
use super::helpers::Helpers;
use super::machine::{Action, Input, Operation, Registration, State, next};
use super::masks::{mask, readiness};
use super::pinned::{Ours, Outcome, Slot, Slots};
use super::table::{Entry, Table};
use crate::event::{Event, Events, Key};
use crate::interest::Interest;
use crate::nt::{Handle, Nt, Packet, Status, flag};
use crate::sys::{Backend, Fate, Sealed};
use crate::waker::Signal;

/// The key of wakes' packets. No file is associated with it.
pub(super) const WAKE_KEY: usize = 1;

/// How long one dequeue of the end waits, and how many such waits without a packet it takes.
const DRAIN_WAIT: Duration = Duration::from_millis(100);
const DRAIN_WAITS_MAX: u32 = 10;

/// On which handle a source's polls are issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(unreachable_pub, reason = "public on Windows")]
pub enum ControlMode {
    /// On a handle of AFD's that sources share, a helper; on the socket itself where no helper can be
    /// opened.
    Auto,
    /// On the socket itself; what does not allow that is refused.
    Direct,
    /// On a helper; where none can be opened sources are refused.
    Helper,
}

/// Polls sockets by AFD, with one operation in flight for each at most.
pub(crate) struct Port<N: Nt, D: Defects = Sound> {
    shared: Arc<SharedPort<N, D>>,
    mode: ControlMode,
    pub(super) table: Table,
    pub(super) slots: Slots<D>,
    pub(super) helpers: Helpers,
    /// The list of the current pass, kept for its memory.
    touched: Vec<u32>,
    packets: Vec<Packet>,
    /// Packets that were dequeued while a source was removed, and are about others.
    pub(super) early: VecDeque<Packet>,
    pub(super) lingering: Lingering,
    /// How many waits running have left the port alone.
    pub(super) skips: u8,
    /// Packets that were nobody's.
    pub(super) strays: u64,
    calls: u64,
}

impl<N: Nt, D: Defects> Sealed for Port<N, D> {}

impl<N: Nt, D: Defects> Backend for Port<N, D> {
    type Handle = Handle;

    const DELIVERS_STALE: bool = D::DELIVERS_STALE;

    fn new() -> io::Result<Self> {
        Self::with_mode(N::new()?, ControlMode::Auto)
    }

    fn signal(&self) -> Arc<dyn Signal> {
        Arc::clone(&self.shared) as Arc<dyn Signal>
    }

    fn register(&mut self, key: Key, socket: Handle) -> io::Result<()> {
        let base = self.nt().base_socket(socket)?;
        self.table.insert(Entry {
            key,
            socket,
            base,
            wanted: Interest::NONE,
            is_parked: false,
            is_closed: false,
            is_associated: false,
            slot: None,
        });
        Ok(())
    }

    fn declare(&mut self, key: Key, interest: Interest) {
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        entry.wanted = interest;
        self.step(key.index, Input::Declare);
        self.table.touch(key.index);
    }

    fn deregister(&mut self, key: Key, fate: Fate) {
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        // What is polled on the socket itself cannot be cancelled any more once that is closed.
        let fate_of_poll = match entry.is_associated {
            true => Fate::Kept,
            false => fate,
        };
        let action = self.step(key.index, Input::Remove(fate_of_poll));
        let Some(entry) = self.table.remove(key) else {
            return;
        };
        let Some(slot) = entry.slot else { return };
        match action {
            Action::Free => self.free(slot, false),
            Action::Cancel if D::FREES_ON_CANCEL => {
                self.cancel(slot);
                self.slots.take_back_early(slot);
                self.free(slot, false);
            }
            _ => self.begin_to_leave(slot, action),
        }
        if fate == Fate::Kept && entry.is_associated && !entry.is_closed {
            let is_over = action == Action::Free || self.await_packet(slot);
            self.dissociate(entry.socket, is_over);
        }
    }

    fn reconcile(&mut self, events: &mut Events) -> io::Result<()> {
        let mut touched = std::mem::take(&mut self.touched);
        self.table.take_touched(&mut touched);
        for index in &touched {
            self.look(*index, events);
        }
        self.touched = touched;
        Ok(())
    }

    fn collect(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<bool> {
        let has_answers = timeout == Some(Duration::ZERO) && !events.is_empty();
        if has_answers && (self.skips < D::SKIPS_MAX || D::SKIPS_WITHOUT_END) {
            self.skips = self.skips.saturating_add(1);
            return Ok(false);
        }
        self.skips = 0;
        let outcome = self.dequeue(events, timeout);
        if outcome.is_err() {
            self.report_again(events);
        }
        let was_signalled = outcome?;
        if events.is_empty() && !was_signalled {
            // A poll that had to end for a wider one leaves nothing to report, yet the wider one
            // may have its answer at once.
            self.reconcile(events)?;
        }
        Ok(was_signalled)
    }

    fn calls(&self) -> u64 {
        self.calls + self.helpers.calls
    }

    fn shut_down(&mut self) -> io::Result<()> {
        self.end()
    }
}

impl<N: Nt, D: Defects> Port<N, D> {
    pub(crate) fn with_mode(nt: N, mode: ControlMode) -> io::Result<Self> {
        let slots = Slots::new();
        #[cfg(test)]
        nt.watch(slots.held());
        let handle = nt.create_port();
        let handle = handle.map_err(|status| io::Error::from_raw_os_error(nt.os_error(status)))?;
        Ok(Port {
            shared: Arc::new(SharedPort {
                nt,
                handle,
                defects: std::marker::PhantomData,
            }),
            mode,
            table: Table::default(),
            slots,
            helpers: Helpers::new(D::SPARE_HELPERS_MAX),
            touched: Vec::new(),
            packets: vec![Packet::EMPTY; D::BATCH],
            early: VecDeque::new(),
            lingering: Lingering::default(),
            skips: 0,
            strays: 0,
            calls: 0,
        })
    }

    fn nt(&self) -> &N {
        &self.shared.nt
    }

    /// Takes the source of an index to its next state.
    fn step(&mut self, index: u32, input: Input) -> Action {
        let Some(entry) = self.table.at_mut(index) else {
            return Action::Nothing;
        };
        let registration = entry.registration();
        let (after, action) = match entry.slot {
            Some(slot) => self.slots.step(slot, registration, input),
            None => {
                let operation = Operation::None;
                let state = State {
                    registration,
                    operation,
                };
                let (after, action) = next(state, input);
                (after.registration, action)
            }
        };
        entry.set_registration::<D>(after);
        action
    }

    /// Does what a source needs before the next wait.
    fn look(&mut self, index: u32, events: &mut Events) {
        let Some(entry) = self.table.at_mut(index) else {
            return;
        };
        if D::ARMS_WITHOUT_INTEREST && entry.wanted.is_empty() {
            entry.wanted = Interest::READABLE;
        }
        let polled = entry.slot.map_or(0, |slot| self.slots.ours(slot).mask);
        let need = entry.need(polled);
        match self.step(index, Input::Look(need)) {
            Action::TakeSlot => self.take_slot(index, events),
            Action::Submit => self.submit(index, events),
            Action::Cancel => {
                if let Some(slot) = self.table.at(index).and_then(|entry| entry.slot) {
                    self.cancel(slot);
                }
            }
            _ => {}
        }
    }

    fn take_slot(&mut self, index: u32, events: &mut Events) {
        let Some(entry) = self.table.at_mut(index) else {
            return;
        };
        entry.slot = self.slots.take(index, entry.key.generation);
        if entry.slot.is_some() {
            self.look(index, events);
        } else {
            self.step(index, Input::Refused);
            self.report_error(index, Status::NO_MEMORY, events);
        }
    }

    /// Polls for what is wanted now. The slot is being submitted, by its state.
    fn submit(&mut self, index: u32, events: &mut Events) {
        let outcome = match self.try_submit(index) {
            Ok(outcome) => outcome,
            Err(status) => {
                self.step(index, Input::Refused);
                return self.report_error(index, status, events);
            }
        };
        self.set_registration(index, outcome.registration);
        match outcome.action {
            Action::ReportError => self.report_error(index, outcome.status, events),
            Action::Report if readiness(outcome.events).is_empty() => {
                // An answer without anything that was asked for would come again and again.
                self.set_registration(index, Registration::Parked);
                self.report_error(index, Status::INVALID_HANDLE, events);
            }
            Action::Report => self.report(index, outcome.events, events),
            _ => {}
        }
    }

    fn try_submit(&mut self, index: u32) -> Result<Outcome, Status> {
        let Some(entry) = self.table.at(index) else {
            return Err(Status::INVALID_HANDLE);
        };
        let (Some(slot), false) = (entry.slot, entry.is_closed) else {
            return Err(Status::INVALID_HANDLE);
        };
        let (base, wanted) = (entry.base, mask(entry.wanted));
        let registration = entry.registration();
        if self.slots.ours(slot).control.is_none() {
            self.choose_control(index, slot)?;
        }
        self.calls += 1;
        let nt = &self.shared.nt;
        Ok(self.slots.submit(nt, slot, registration, base, wanted))
    }

    fn cancel(&mut self, slot: Slot) {
        self.calls += 1;
        self.slots.cancel(&self.shared.nt, slot);
    }

    /// The source of a slot is gone, and its operation is in flight.
    fn begin_to_leave(&mut self, slot: Slot, action: Action) {
        match action {
            Action::Cancel => self.cancel(slot),
            Action::Linger => self.linger(slot),
            // It was told to end before.
            _ => {}
        }
        if let (Some(group), false) = (self.slots.ours(slot).group, D::SHARES_WITH_LEAVING) {
            self.helpers.begin_to_leave(group);
        }
    }

    /// Gives a slot back whose operation is over, if there was one when its source went.
    fn free(&mut self, slot: Slot, was_in_flight: bool) {
        if let Some(group) = self.slots.ours(slot).group {
            let has_begun = was_in_flight && !D::SHARES_WITH_LEAVING;
            self.helpers.leave(&self.shared.nt, group, has_begun);
        }
        self.slots.release(slot);
    }

    /// Looks for the packet of a slot whose source was removed. Whether its operation is over, and
    /// the source's handle was still its own when it ended.
    fn await_packet(&mut self, slot: Slot) -> bool {
        // So that removing many sources is not the square of their number.
        if self.early.len() >= D::BATCH {
            return false;
        }
        let found = self.fetch(Some(Duration::ZERO), D::BATCH).unwrap_or(0);
        self.early.extend(&self.packets[..found]);
        let is_its = |packet: &Packet| {
            packet.key == OPERATION_KEY && self.slots.claim(packet.context) == Some(slot)
        };
        let at = self.early.iter().position(is_its);
        let Some(packet) = at.and_then(|at| self.early.remove(at)) else {
            return false;
        };
        let Some(outcome) = self.slots.complete(&packet, gone) else {
            return false;
        };
        self.free(slot, true);
        outcome.is_open
    }

    fn fetch(&mut self, timeout: Option<Duration>, limit: usize) -> Result<usize, Status> {
        self.calls += 1;
        let (nt, port) = (&self.shared.nt, self.shared.handle);
        nt.dequeue(port, &mut self.packets[..limit], timeout)
    }

    /// Takes packets out of the port, sleeping at most for the timeout. Whether there was a wake.
    fn dequeue(&mut self, events: &mut Events, mut timeout: Option<Duration>) -> io::Result<bool> {
        let mut was_signalled = false;
        while let Some(packet) = self.early.pop_front() {
            was_signalled |= self.dispatch(&packet, events);
            timeout = Some(Duration::ZERO);
        }
        let limit = events.limit().min(D::BATCH);
        let found = self
            .fetch(timeout, limit)
            .map_err(|status| io::Error::from_raw_os_error(self.nt().os_error(status)))?;
        for at in 0..found {
            let packet = self.packets[at];
            was_signalled |= self.dispatch(&packet, events);
        }
        self.end_lingering(found < limit);
        Ok(was_signalled)
    }

    /// Gives a packet to whom it belongs. Whether it is a wake.
    fn dispatch(&mut self, packet: &Packet, events: &mut Events) -> bool {
        if packet.key == WAKE_KEY {
            return true;
        }
        let Some(outcome) = self.complete(packet) else {
            self.strays += 1;
            return false;
        };
        let index = self.slots.ours(outcome.slot).index;
        match outcome.action {
            Action::Free => self.free(outcome.slot, true),
            Action::ReportError => {
                self.set_registration(index, outcome.registration);
                self.report_error(index, outcome.status, events);
            }
            _ => self.report(index, outcome.events, events),
        }
        false
    }

    /// Takes a packet's slot back from the kernel, if there is one.
    fn complete(&mut self, packet: &Packet) -> Option<Outcome> {
        let packet = self.own(packet)?;
        let table = &self.table;
        self.slots.complete(&packet, |ours| {
            // The source that the slot was armed for, or another one in its place?
            let is_same =
                |entry: &&Entry| entry.key.generation == ours.generation || D::IGNORES_GENERATION;
            let entry = table.at(ours.index).filter(is_same);
            entry.map_or(Registration::Removed, Entry::registration)
        })
    }

    /// A packet that may be an operation's.
    fn own(&self, packet: &Packet) -> Option<Packet> {
        let mut packet = (packet.key == OPERATION_KEY).then_some(*packet)?;
        if D::INDEX_AS_CONTEXT {
            let index = u32::try_from(packet.context.checked_sub(1)?).ok()?;
            packet.context = self.slots.context(self.table.at(index)?.slot?);
        }
        Some(packet)
    }

    fn set_registration(&mut self, index: u32, registration: Registration) {
        if let Some(entry) = self.table.at_mut(index) {
            entry.set_registration::<D>(registration);
        }
    }

    /// Reports what was found, as far as it is wanted now, and has the next pass look again.
    fn report(&mut self, index: u32, found: u32, events: &mut Events) {
        let Some(entry) = self.table.at_mut(index) else {
            return;
        };
        entry.is_closed |= found & flag::LOCAL_CLOSE != 0;
        let readiness = readiness(found) & entry.wanted;
        if !readiness.is_empty() {
            events.push(Event::new(entry.key, readiness));
        }
        self.table.touch(index);
    }

    /// The batch will not be delivered: what would not come again by itself is tried again.
    fn report_again(&mut self, events: &Events) {
        for event in events.iter().filter(|event| event.error().is_some()) {
            if let Some(entry) = self.table.get_mut(event.key()) {
                entry.is_parked = false;
                self.table.touch(event.key().index);
            }
        }
    }

    fn report_error(&mut self, index: u32, status: Status, events: &mut Events) {
        let error = self.nt().os_error(status);
        if let Some(entry) = self
            .table
            .at(index)
            .filter(|entry| !entry.wanted.is_empty())
        {
            events.push(Event::refused(entry.key, entry.wanted, error));
        }
        if D::PARKS_NOTHING {
            self.table.touch(index);
        }
    }

    /// Ends all that is in flight, and waits until the kernel has given everything back. The second
    /// time there is nothing to do.
    fn end(&mut self) -> io::Result<()> {
        if D::FREES_AT_SHUTDOWN {
            return Ok(());
        }
        self.cancel_all();
        let mut waits = 0;
        while self.slots.in_flight() > 0 && waits < DRAIN_WAITS_MAX {
            let mut found: Vec<Packet> = self.early.drain(..).collect();
            if found.is_empty() {
                // A port that refuses is as one without packets: the bound holds for both.
                let count = self.fetch(Some(DRAIN_WAIT), D::BATCH).unwrap_or(0);
                found.extend(&self.packets[..count]);
            }
            waits += 1;
            for packet in found {
                // What is nobody's must not keep this going.
                let own = self.own(&packet);
                let outcome = own.and_then(|packet| self.slots.complete(&packet, gone));
                if outcome.is_some() {
                    waits = 0;
                }
            }
        }
        let left = self.slots.in_flight();
        if left > 0 {
            self.slots.leak();
        }
        self.helpers.close(&self.shared.nt);
        if left > 0 {
            return Err(io::Error::other(format!(
                "{left} polls could not be ended, probably of sockets whose handles were closed \
                 behind the poller's back: the memory that the system may still write to is left \
                 behind"
            )));
        }
        Ok(())
    }

    /// Cancels what is in flight and was not cancelled yet.
    fn cancel_all(&mut self) {
        for slot in self.slots.taken() {
            if self.slots.ours(slot).operation == Operation::InFlight {
                self.cancel(slot);
            }
        }
    }
}

/// What a source is about which nothing more is to be reported.
fn gone(_: &Ours) -> Registration {
    Registration::Removed
}

impl<N: Nt, D: Defects> Drop for Port<N, D> {
    fn drop(&mut self) {
        // Who wants to know calls `shut_down`.
        let _ = self.end();
    }
}

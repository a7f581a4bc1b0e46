//! The backend: registrations, arming, dequeuing, and the end.
//!
//! # Why no packet reaches the wrong source
//!
//! A packet names a slot and the number of an operation. `Slots::claim` lets through only what is
//! in flight; a slot is in flight from its submission until its own packet was dequeued, and is not
//! used for anything else in between. The slot names the place of its object and the object's
//! generation, which no other object ever had. If the object in the place has another generation, or
//! there is none, the slot's own object is gone, and all that the packet does is to free the slot.

mod begin;
mod choice;
mod end;
mod lingering;
mod shared;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::begin::Zombies;
pub(super) use self::lingering::Lingering;
use self::shared::SharedPort;
use super::control::OPERATION_KEY;
use super::defects::{Defects, Sound};
use super::helpers::Helpers;
use super::machine::{Action, Input, Need, Operation, Registration, State, next};
use super::masks::{hints, readiness};
use super::pinned::{Ours, Outcome, Question, Slot, Slots};
use super::table::{Entry, Object, Others, Table};
use crate::event::{Event, Events, Key};
use crate::interest::Interest;
use crate::nt::{Handle, Nt, Packet, Status, flag};
use crate::sys::{Backend, Fate, Sealed};
use crate::waker::Signal;

/// The key of wakes' packets. No file is associated with it.
pub(super) const WAKE_KEY: usize = 1;

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

/// Polls socket objects by AFD, with one operation in flight for each at most.
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
    pub(super) zombies: Zombies,
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
        self.table.insert(key, socket, base);
        Ok(())
    }

    fn declare(&mut self, key: Key, interest: Interest) {
        let Some(object) = self.table.get(key).map(|entry| entry.object) else {
            return;
        };
        self.step(object, Input::Declare);
        if let Some(entry) = self.table.get_mut(key) {
            (entry.wanted, entry.is_parked) = (interest, false);
        }
        self.table.touch(object);
    }

    fn deregister(&mut self, key: Key, fate: Fate) {
        let Some(object) = self.table.get(key).map(|entry| entry.object) else {
            return;
        };
        if self.table.sources(object).count() > 1 {
            return self.deregister_one_of_several(key);
        }
        // What is polled on the socket itself cannot be cancelled any more once that is closed.
        let is_associated = |object: &Object| object.is_associated;
        let fate_of_poll = match self.table.object(object).is_some_and(is_associated) {
            true => Fate::Kept,
            false => fate,
        };
        let action = self.step(object, Input::Remove(fate_of_poll));
        self.zombies.wait_no_longer(object);
        let Some((entry, Some(object))) = self.table.remove(key) else {
            return;
        };
        let Some(slot) = object.slot else { return };
        match action {
            Action::Free => self.free(slot),
            Action::Cancel if D::FREES_ON_CANCEL => {
                self.cancel(slot);
                self.slots.take_back_early(slot);
                self.free(slot);
            }
            _ => self.begin_to_leave(slot, action),
        }
        if fate == Fate::Kept && object.is_associated && !object.is_closed {
            let is_over = action == Action::Free || self.await_packet(slot);
            self.dissociate(entry.socket, is_over);
        }
    }

    fn reconcile(&mut self, events: &mut Events) -> io::Result<()> {
        let mut touched = std::mem::take(&mut self.touched);
        self.table.take_touched(&mut touched);
        for object in &touched {
            self.look(*object, events);
        }
        self.touched = touched;
        Ok(())
    }

    fn collect(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<bool> {
        let has_answers = timeout == Some(Duration::ZERO) && !events.is_empty();
        let has_answers = has_answers && !self.zombies.are_awaited();
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
            helpers: Helpers::default(),
            touched: Vec::new(),
            packets: vec![Packet::EMPTY; D::BATCH],
            early: VecDeque::new(),
            lingering: Lingering::default(),
            zombies: Zombies::default(),
            skips: 0,
            strays: 0,
            calls: 0,
        })
    }

    fn nt(&self) -> &N {
        &self.shared.nt
    }

    /// Takes an object to its next state. That it is parked from there on is said to its sources by
    /// [`refuse`](Self::refuse).
    fn step(&mut self, object: u32, input: Input) -> Action {
        let Some(slot) = self.table.object(object).map(|object| object.slot) else {
            return Action::Nothing;
        };
        let registration = self.registration(object);
        match slot {
            Some(slot) => self.slots.step(slot, registration, input).1,
            None => {
                let operation = Operation::None;
                let state = State {
                    registration,
                    operation,
                };
                next(state, input).1
            }
        }
    }

    /// Whether an object is polled with a time limit: what it waits for may be told to somebody else.
    fn is_bounded(&self, object: u32) -> bool {
        let object = self.table.object(object);
        object.is_some_and(|object| object.others == Others::Some) && !D::WAITS_WITHOUT_END
    }

    fn ours(&self, object: u32) -> Option<&Ours> {
        let slot = self.table.object(object)?.slot?;
        Some(self.slots.ours(slot))
    }

    fn registration(&self, object: u32) -> Registration {
        let ours = self.ours(object);
        let is_in_flight = ours.is_some_and(|ours| ours.operation.is_in_flight());
        self.table.registration(object, is_in_flight)
    }

    /// Does what an object needs before the next wait.
    fn look(&mut self, object: u32, events: &mut Events) {
        if self.table.object(object).is_none() {
            return;
        }
        if D::ARMS_WITHOUT_INTEREST {
            self.want_something(object);
        }
        let is_bounded = self.is_bounded(object);
        let need = self.table.need(object, self.ours(object), is_bounded);
        let is_new = self.ours(object).is_none();
        let is_live = self.registration(object) == Registration::Live;
        if is_new && is_live && need == Need::More {
            match self.begin(object) {
                Ok(true) => {}
                Ok(false) => return,
                Err(other) => return self.look(other, events),
            }
        }
        match self.step(object, Input::Look(need)) {
            Action::TakeSlot => self.take_slot(object, events),
            Action::Submit => self.submit(object, events),
            Action::Cancel => {
                if let Some(slot) = self.table.object(object).and_then(|object| object.slot) {
                    self.cancel(slot);
                }
            }
            _ => {}
        }
    }

    fn want_something(&mut self, object: u32) {
        let source = self.table.nth_source(object, 0);
        if let Some(entry) = source.and_then(|index| self.table.at_mut(index))
            && entry.wanted.is_empty()
        {
            entry.wanted = Interest::READABLE;
        }
    }

    fn take_slot(&mut self, at: u32, events: &mut Events) {
        let Some(object) = self.table.object_mut(at) else {
            return;
        };
        object.slot = self.slots.take(at, object.generation);
        if object.slot.is_some() {
            self.look(at, events);
        } else {
            self.step(at, Input::Refused);
            self.refuse(at, Status::NO_MEMORY, events);
        }
    }

    /// Polls for what is wanted now. The slot is being submitted, by its state.
    fn submit(&mut self, object: u32, events: &mut Events) {
        let outcome = match self.try_submit(object) {
            Ok(outcome) => outcome,
            Err(status) => {
                self.step(object, Input::Refused);
                return self.refuse(object, status, events);
            }
        };
        match outcome.action {
            Action::ReportError => self.refuse(object, outcome.status, events),
            // An answer without anything that was asked for would come again and again.
            Action::Report if readiness(outcome.events).is_empty() => {
                self.refuse(object, Status::INVALID_HANDLE, events);
            }
            Action::Report => self.report(object, outcome.events, events),
            _ => {}
        }
    }

    fn try_submit(&mut self, at: u32) -> Result<Outcome, Status> {
        let Some(object) = self.table.object(at) else {
            return Err(Status::INVALID_HANDLE);
        };
        let (Some(slot), false) = (object.slot, object.is_closed) else {
            return Err(Status::INVALID_HANDLE);
        };
        let Some(entry) = self.table.sources(at).next() else {
            return Err(Status::INVALID_HANDLE);
        };
        let base = entry.base;
        match self.slots.ours(slot).control {
            None => self.choose_control(at, slot)?,
            Some(_) if object.is_associated && object.is_doubted => {
                if let Some(control) = self.associate(base) {
                    self.slots.set_control(slot, control, None);
                }
            }
            // The handle that it was known by may be closed.
            Some(control) if object.is_associated => {
                self.slots.set_control(slot, control.by(base), None);
            }
            Some(_) => {}
        }
        if let Some(object) = self.table.object_mut(at) {
            object.is_doubted = false;
        }
        let question = Question {
            socket: base,
            mask: self.table.wanted(at),
            is_endless: !self.is_bounded(at),
        };
        let registration = Registration::Live;
        self.calls += 1;
        let nt = &self.shared.nt;
        Ok(self.slots.submit(nt, slot, registration, question))
    }

    fn cancel(&mut self, slot: Slot) {
        self.calls += 1;
        self.slots.cancel(&self.shared.nt, slot);
    }

    /// The object has other sources, which are polled on.
    fn deregister_one_of_several(&mut self, key: Key) {
        let Some((entry, None)) = self.table.remove(key) else {
            return;
        };
        let Some(object) = self.table.object(entry.object) else {
            return;
        };
        let (Some(slot), is_associated) = (object.slot, object.is_associated) else {
            return;
        };
        let control = self.slots.ours(slot).control;
        let is_issued_on_it = control.is_some_and(|control| control.file() == entry.base);
        let is_in_flight = self.slots.ours(slot).operation == Operation::InFlight;
        if is_associated && is_issued_on_it && is_in_flight {
            // While the handle is open by which it can be.
            self.step(entry.object, Input::Look(Need::More));
            self.cancel(slot);
        }
        self.table.touch(entry.object);
    }

    /// The source of a slot is gone, and its operation is in flight.
    fn begin_to_leave(&mut self, slot: Slot, action: Action) {
        self.add_zombie(slot);
        match action {
            Action::Cancel => self.cancel(slot),
            Action::Linger => self.linger(slot),
            // It was told to end before.
            _ => {}
        }
    }

    /// Gives a slot back whose operation is over, if there was one when its source went.
    fn free(&mut self, slot: Slot) {
        self.end_zombie(slot);
        if let Some(group) = self.slots.ours(slot).group {
            self.helpers.leave(&self.shared.nt, group);
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
        self.free(slot);
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
        timeout = self.await_zombies(timeout);
        let limit = events.limit().min(D::BATCH);
        let found = self
            .fetch(timeout, limit)
            .map_err(|status| io::Error::from_raw_os_error(self.nt().os_error(status)))?;
        for at in 0..found {
            let packet = self.packets[at];
            was_signalled |= self.dispatch(&packet, events);
        }
        self.end_lingering(found < limit);
        self.end_awaiting(found < limit);
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
        let object = self.slots.ours(outcome.slot).index;
        match outcome.action {
            Action::Free => self.free(outcome.slot),
            Action::ReportError => self.refuse(object, outcome.status, events),
            _ => {
                if outcome.status == Status::TIMEOUT {
                    self.count_others(object);
                }
                self.report(object, outcome.events, events);
            }
        }
        false
    }

    /// Takes a packet's slot back from the kernel, if there is one.
    fn complete(&mut self, packet: &Packet) -> Option<Outcome> {
        let packet = self.own(packet)?;
        let table = &self.table;
        self.slots.complete(&packet, |ours| {
            // The object that the slot was armed for, or another one in its place?
            let is_same =
                |object: &&Object| object.generation == ours.generation || D::IGNORES_GENERATION;
            let object = table.object(ours.index).filter(is_same);
            let is_in_flight = ours.operation.is_in_flight();
            let registration = |_: &Object| table.registration(ours.index, is_in_flight);
            object.map_or(Registration::Removed, registration)
        })
    }

    /// A packet that may be an operation's.
    fn own(&self, packet: &Packet) -> Option<Packet> {
        let mut packet = (packet.key == OPERATION_KEY).then_some(*packet)?;
        if D::INDEX_AS_CONTEXT {
            let index = u32::try_from(packet.context.checked_sub(1)?).ok()?;
            packet.context = self.slots.context(self.table.object(index)?.slot?);
        }
        Some(packet)
    }

    /// Reports what was found to each source, as far as it is wanted now, and has the next pass look
    /// again.
    fn report(&mut self, at: u32, found: u32, events: &mut Events) {
        let Some(object) = self.table.object_mut(at) else {
            return;
        };
        object.is_closed |= found & flag::LOCAL_CLOSE != 0 && !object.is_doubted;
        for entry in self.table.sources(at).filter(|entry| !entry.is_parked) {
            let readiness = readiness(found) & entry.wanted;
            if !readiness.is_empty() {
                events.push(Event::new(entry.key, readiness).with_hints(hints(found)));
            }
        }
        self.table.touch(at);
    }

    /// The batch will not be delivered: what would not come again by itself is tried again.
    fn report_again(&mut self, events: &Events) {
        for event in events.iter().filter(|event| event.error().is_some()) {
            if let Some(entry) = self.table.get_mut(event.key()) {
                entry.is_parked = false;
                let object = entry.object;
                self.table.touch(object);
            }
        }
    }

    /// Reports the error to each source that wants anything, and parks it.
    fn refuse(&mut self, object: u32, status: Status, events: &mut Events) {
        let error = self.nt().os_error(status);
        let is_refused = |entry: &Entry| !entry.is_parked && !entry.wanted.is_empty();
        let mut n = 0;
        while let Some(index) = self.table.nth_source(object, n) {
            n += 1;
            let Some(entry) = self.table.at_mut(index) else {
                continue;
            };
            if is_refused(entry) {
                events.push(Event::refused(entry.key, entry.wanted, error));
                entry.is_parked = !D::PARKS_NOTHING;
            }
        }
        if D::PARKS_NOTHING {
            self.table.touch(object);
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

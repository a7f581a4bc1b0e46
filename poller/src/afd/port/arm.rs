//! Arming: before a wait, each object that was touched is polled for what is wanted of it now.

use super::Port;
use crate::afd::defects::Defects;
use crate::afd::machine::{Action, Input, Need, Registration};
use crate::afd::masks::readiness;
use crate::afd::pinned::{Ours, Outcome, Question, Slot};
use crate::afd::table::Others;
use crate::event::Events;
use crate::interest::Interest;
use crate::nt::{Nt, Status};

use super::PollingMode;

impl<N: Nt, D: Defects> Port<N, D> {
    /// Whether an object is polled with a time limit: what it waits for may be told to somebody else.
    pub(super) fn is_bounded(&self, object: u32) -> bool {
        let object = self.table.object(object);
        object.is_some_and(|object| object.others == Others::Some) && !D::WAITS_WITHOUT_END
    }

    fn ours(&self, object: u32) -> Option<&Ours> {
        let slot = self.table.object(object)?.slot?;
        Some(self.slots.ours(slot))
    }

    /// Does what an object needs before the next wait.
    pub(super) fn look(&mut self, object: u32, events: &mut Events) {
        if self.table.object(object).is_none() {
            return;
        }
        if D::ARMS_WITHOUT_INTEREST {
            self.want_something(object);
        }
        let is_bounded = self.is_bounded(object);
        let need = self.table.need(object, self.ours(object), is_bounded);
        let is_new = self.ours(object).is_none();
        let is_live = self
            .table
            .object(object)
            .is_some_and(|object| object.registration == Registration::Live);
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
        let (is_associated, is_doubted) = (object.is_associated, object.is_doubted);
        match self.slots.ours(slot).file {
            None => self.choose_file(at, slot)?,
            Some(file) if is_associated => self.renew_direct(slot, file, base, is_doubted),
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
        let Some(object) = self.table.object_mut(at) else {
            return Err(Status::INVALID_HANDLE);
        };
        self.calls += 1;
        let (nt, registration) = (&self.shared.nt, &mut object.registration);
        Ok(self.slots.submit(nt, slot, registration, question))
    }

    /// Settles on which file an object's polls are issued from now on: a helper if there is one to be
    /// had, else the socket itself, as far as the mode allows either.
    fn choose_file(&mut self, object: u32, slot: Slot) -> Result<(), Status> {
        let mut refusal = Status::INVALID_PARAMETER;
        if self.mode != PollingMode::Direct {
            let (nt, port) = (&self.shared.nt, self.shared.handle);
            match self.helpers.join(nt, port) {
                Ok((group, control)) => {
                    self.slots.set_file(slot, control, Some(group));
                    return Ok(());
                }
                Err(status) => refusal = status,
            }
        }
        match self.mode != PollingMode::Helper && self.choose_direct(object, slot) {
            true => Ok(()),
            false => Err(refusal),
        }
    }

    pub(super) fn cancel(&mut self, slot: Slot) {
        self.calls += 1;
        self.slots.cancel(&self.shared.nt, slot);
    }
}

//! What can happen next in a lab.

use super::super::super::port::ControlMode;
use super::*;

impl<D: Defects> Lab<D> {
    /// What may happen now.
    pub(in super::super) fn enabled(&self) -> Vec<Action> {
        let mut enabled = vec![Action::Wait(Choice::Plain), Action::Wait(Choice::OnePacket)];
        let operations = self.kernel.operations();
        for (at, place) in self.places.iter().enumerate() {
            self.enabled_at(at as u8, place, operations, &mut enabled);
        }
        if self.kernel.may_expire() {
            enabled.push(Action::Expire);
        }
        let in_transit = self.kernel.in_transit() as u8;
        enabled.extend((0..in_transit).map(Action::Deliver));
        if in_transit > 0 {
            enabled.push(Action::Wait(Choice::LateCancel));
            if self.setup.has_sleeps {
                enabled.push(Action::Wait(Choice::Sleep));
            }
        }
        if self.setup.has_failures {
            enabled.push(Action::Wait(Choice::Refuse));
            if self.setup.mode == ControlMode::Auto {
                enabled.push(Action::Wait(Choice::NoHelper));
            }
        }
        if self.setup.has_wakes && !self.is_wake_due {
            enabled.extend([Action::Wake, Action::WakeRefused]);
        }
        if self.setup.has_foreign && self.foreign_queued() == 0 {
            enabled.push(Action::Foreign);
            if operations > 0 {
                enabled.extend([Action::ForeignStale, Action::ForeignKey]);
            }
            if self.is_over() {
                enabled.push(Action::ForeignAgain);
            }
        }
        if !self.events.is_empty() {
            enabled.push(Action::Take);
        }
        enabled
    }

    fn enabled_at(&self, at: u8, place: &Place, operations: usize, enabled: &mut Vec<Action>) {
        if place.duplicate.is_some() {
            enabled.push(Action::CloseDuplicate(at));
            if self.vacant(at).is_some() {
                enabled.push(Action::InsertDuplicate(at));
            }
        }
        match &place.holding {
            Holding::Nothing | Holding::TakenBack(_) => {
                if operations < self.setup.operations_max {
                    enabled.push(Action::Insert(at));
                }
                if matches!(place.holding, Holding::TakenBack(_)) {
                    enabled.push(Action::Discard(at));
                }
                if self.setup.has_duplicates && self.handle(at).is_some() {
                    enabled.extend(self.becoming(at, place));
                }
            }
            Holding::Registered { wanted, .. } => {
                let others = self.setup.interests.iter().filter(|other| *other != wanted);
                enabled.extend(others.map(|other| Action::Declare(at, *other)));
                if place.has_failed {
                    enabled.push(Action::Declare(at, *wanted));
                }
                enabled.extend(self.becoming(at, place));
                enabled.extend([Action::Remove(at), Action::Close(at)]);
                if self.setup.has_failures {
                    enabled.extend([Action::CancelUnasked(at), Action::Fail(at)]);
                    enabled.extend([Action::EndInVain(at), Action::TimeOut(at)]);
                }
                if self.setup.has_duplicates {
                    if place.duplicate.is_none() {
                        enabled.push(Action::Duplicate(at));
                    }
                    if !place.is_shared {
                        enabled.push(Action::Share(at));
                    }
                    if self.may_steal(at) {
                        enabled.push(Action::Steal(at));
                    }
                }
            }
        }
    }

    fn may_steal(&self, at: u8) -> bool {
        let handle = self.handle(at);
        handle.is_some_and(|handle| self.kernel.may_steal(handle))
    }

    fn becoming(&self, at: u8, place: &Place) -> impl Iterator<Item = Action> {
        let now = place.flags;
        let others = self.setup.flags.iter().filter(move |flags| **flags != now);
        others.map(move |flags| Action::Become(at, *flags))
    }

    /// Whether an action would do anything.
    pub(in super::super) fn is_possible(&self, action: Action) -> bool {
        let place = |at: u8| &self.places[usize::from(at)];
        let is_registered = |at| self.key(at).is_some();
        match action {
            Action::Insert(at) => !is_registered(at),
            Action::Declare(at, _) | Action::Remove(at) | Action::Close(at) => is_registered(at),
            Action::CancelUnasked(at)
            | Action::Fail(at)
            | Action::EndInVain(at)
            | Action::TimeOut(at) => self.handle(at).is_some(),
            Action::Become(at, flags) => self.handle(at).is_some() && place(at).flags != flags,
            Action::Discard(at) => matches!(place(at).holding, Holding::TakenBack(_)),
            Action::Duplicate(at) => is_registered(at) && place(at).duplicate.is_none(),
            Action::CloseDuplicate(at) => place(at).duplicate.is_some(),
            Action::InsertDuplicate(at) => {
                place(at).duplicate.is_some() && self.vacant(at).is_some()
            }
            Action::Share(at) => is_registered(at) && !place(at).is_shared,
            Action::Steal(at) => is_registered(at) && self.may_steal(at),
            Action::Expire => self.kernel.may_expire(),
            Action::Deliver(at) => usize::from(at) < self.kernel.in_transit(),
            Action::Foreign | Action::ForeignStale | Action::ForeignKey => {
                self.foreign_queued() < 4
            }
            Action::ForeignAgain => self.foreign_queued() < 4 && self.is_over(),
            Action::Wake | Action::WakeRefused => !self.is_wake_due,
            Action::Wait(_) => true,
            Action::Take => !self.events.is_empty(),
        }
    }
}

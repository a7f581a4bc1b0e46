//! What can happen next in a lab.

use super::super::super::port::PollingMode;
use super::*;

impl<D: Defects> Lab<D> {
    /// What may happen now.
    pub(in super::super) fn enabled(&self) -> Vec<Act> {
        let mut enabled = vec![Act::Wait(Choice::Plain), Act::Wait(Choice::OnePacket)];
        let operations = self.kernel.operations();
        for (at, place) in self.places.iter().enumerate() {
            self.enabled_at(at as u8, place, operations, &mut enabled);
        }
        if self.kernel.may_expire() {
            enabled.push(Act::Expire);
        }
        let in_transit = self.kernel.in_transit() as u8;
        enabled.extend((0..in_transit).map(Act::Deliver));
        if in_transit > 0 {
            enabled.push(Act::Wait(Choice::LateCancel));
            if self.setup.has_sleeps {
                enabled.push(Act::Wait(Choice::Sleep));
            }
        }
        if self.setup.has_failures {
            enabled.push(Act::Wait(Choice::Refuse));
            if self.setup.mode == PollingMode::Auto {
                enabled.push(Act::Wait(Choice::NoHelper));
            }
        }
        if self.setup.has_wakes && !self.is_wake_due {
            enabled.extend([Act::Wake, Act::WakeRefused]);
        }
        if self.setup.has_foreign && self.foreign_queued() == 0 {
            enabled.push(Act::Foreign);
            if operations > 0 {
                enabled.extend([Act::ForeignStale, Act::ForeignKey]);
            }
            if self.is_over() {
                enabled.push(Act::ForeignAgain);
            }
        }
        if !self.events.is_empty() {
            enabled.push(Act::Take);
        }
        enabled
    }

    fn enabled_at(&self, at: u8, place: &Place, operations: usize, enabled: &mut Vec<Act>) {
        if place.duplicate.is_some() {
            enabled.push(Act::CloseDuplicate(at));
            if self.vacant(at).is_some() {
                enabled.push(Act::InsertDuplicate(at));
            }
        }
        match &place.holding {
            Holding::Nothing | Holding::TakenBack(_) => {
                if operations < self.setup.operations_max {
                    enabled.push(Act::Insert(at));
                }
                if matches!(place.holding, Holding::TakenBack(_)) {
                    enabled.push(Act::Discard(at));
                }
                if self.setup.has_duplicates && self.handle(at).is_some() {
                    enabled.extend(self.becoming(at, place));
                }
            }
            Holding::Registered { wanted, .. } => {
                let others = self.setup.interests.iter().filter(|other| *other != wanted);
                enabled.extend(others.map(|other| Act::Declare(at, *other)));
                if place.has_failed {
                    enabled.push(Act::Declare(at, *wanted));
                }
                enabled.extend(self.becoming(at, place));
                enabled.extend([Act::Remove(at), Act::Close(at)]);
                if self.setup.has_failures {
                    enabled.extend([Act::CancelUnasked(at), Act::Fail(at)]);
                    enabled.extend([Act::EndInVain(at), Act::TimeOut(at)]);
                }
                if self.setup.has_duplicates {
                    if place.duplicate.is_none() {
                        enabled.push(Act::Duplicate(at));
                    }
                    if !place.is_shared {
                        enabled.push(Act::Share(at));
                    }
                    if self.may_steal(at) {
                        enabled.push(Act::Steal(at));
                    }
                }
            }
        }
    }

    fn may_steal(&self, at: u8) -> bool {
        let handle = self.handle(at);
        handle.is_some_and(|handle| self.kernel.may_steal(handle))
    }

    fn becoming(&self, at: u8, place: &Place) -> impl Iterator<Item = Act> {
        let now = place.flags;
        let others = self.setup.flags.iter().filter(move |flags| **flags != now);
        others.map(move |flags| Act::Become(at, *flags))
    }

    /// Whether an action would do anything.
    pub(in super::super) fn is_possible(&self, action: Act) -> bool {
        let place = |at: u8| &self.places[usize::from(at)];
        let is_registered = |at| self.key(at).is_some();
        match action {
            Act::Insert(at) => !is_registered(at),
            Act::Declare(at, _) | Act::Remove(at) | Act::Close(at) => is_registered(at),
            Act::CancelUnasked(at) | Act::Fail(at) | Act::EndInVain(at) | Act::TimeOut(at) => {
                self.handle(at).is_some()
            }
            Act::Become(at, flags) => self.handle(at).is_some() && place(at).flags != flags,
            Act::Discard(at) => matches!(place(at).holding, Holding::TakenBack(_)),
            Act::Duplicate(at) => is_registered(at) && place(at).duplicate.is_none(),
            Act::CloseDuplicate(at) => place(at).duplicate.is_some(),
            Act::InsertDuplicate(at) => place(at).duplicate.is_some() && self.vacant(at).is_some(),
            Act::Share(at) => is_registered(at) && !place(at).is_shared,
            Act::Steal(at) => is_registered(at) && self.may_steal(at),
            Act::Expire => self.kernel.may_expire(),
            Act::Deliver(at) => usize::from(at) < self.kernel.in_transit(),
            Act::Foreign | Act::ForeignStale | Act::ForeignKey => self.foreign_queued() < 4,
            Act::ForeignAgain => self.foreign_queued() < 4 && self.is_over(),
            Act::Wake | Act::WakeRefused => !self.is_wake_due,
            Act::Wait(_) => true,
            Act::Take => !self.events.is_empty(),
        }
    }
}

//! What has to hold after every step, at rest, and at the end.

use super::{Act, Choice, Holding, Lab, Oracle, Place};
use crate::afd::defects::Defects;
use crate::afd::masks::{mask, readiness};
use crate::{Event, Interest};

impl<D: Defects> Lab<D> {
    pub(super) fn check_kernel(&self) -> Result<(), Oracle> {
        match self.kernel.state().violations.first() {
            Some(violation) => Err(Oracle::Kernel(*violation)),
            None => Ok(()),
        }
    }

    pub(super) fn check_wake(&mut self) -> Result<(), Oracle> {
        if self.events.woken() && !std::mem::take(&mut self.is_wake_due) {
            return Err(Oracle::UnsentWake);
        }
        Ok(())
    }

    /// Polls only for what is wanted by some source of the socket, and for none whose sources have all
    /// failed.
    pub(super) fn check_submissions(&mut self) -> Result<(), Oracle> {
        let submissions = std::mem::take(&mut self.kernel.state().submissions);
        for (socket, polled) in submissions {
            let object = self.kernel.object(socket);
            let mut awake = 0;
            let mut asleep = 0;
            let mut is_held = false;
            for place in &self.places {
                let Holding::Registered { handle, wanted, .. } = place.holding else {
                    continue;
                };
                is_held |= handle == socket;
                if self.kernel.object(handle) != object {
                    continue;
                }
                match place.has_failed {
                    false => awake |= mask(wanted),
                    true => asleep |= mask(wanted),
                }
            }
            if !is_held {
                return Err(Oracle::Misrouted);
            }
            if polled & !(awake | asleep) != 0 {
                return Err(Oracle::PollsUnwanted);
            }
            if polled & !awake != 0 {
                return Err(Oracle::PollsParked);
            }
        }
        Ok(())
    }

    /// Events are about registered sources, wanted, and what the kernel has said of their sockets.
    pub(super) fn check_events(&mut self) -> Result<(), Oracle> {
        let mut reported = Vec::new();
        for event in self.events.iter() {
            let place = find(&mut self.places, event).ok_or(Oracle::Misrouted)?;
            let Holding::Registered { handle, wanted, .. } = place.holding else {
                return Err(Oracle::Misrouted);
            };
            if !(event.readiness() & wanted == event.readiness()) || wanted.is_empty() {
                return Err(Oracle::Unwanted);
            }
            let answered = self.kernel.answered(handle);
            reported.push(handle);
            if event.error().is_some() {
                if !answered.has_failed {
                    return Err(Oracle::Misrouted);
                }
                place.has_failed = true;
            } else {
                if event.readiness() & readiness(answered.flags) != event.readiness() {
                    return Err(Oracle::Misrouted);
                }
                place.reported |= event.readiness();
            }
        }
        for handle in reported {
            self.kernel.forget_answered(handle);
        }
        let (port, _) = self.poller.as_ref().unwrap().parts();
        // What was dequeued and not looked at yet has to be reported later.
        if !port.has_early() {
            // What was answered and not wanted is no excuse for a later report.
            for place in &self.places {
                if let Holding::Registered { handle, .. } = place.holding {
                    self.kernel.forget_answered(handle);
                } else if let Holding::TakenBack(socket) = &place.holding {
                    self.kernel.forget_answered(socket.handle());
                }
            }
        }
        Ok(())
    }

    pub(super) fn take(&mut self) -> Result<(), Oracle> {
        let poller = self.poller.as_ref().unwrap();
        while let Some(event) = poller.next_event(&mut self.events) {
            find(&mut self.places, &event).ok_or(Oracle::Misrouted)?;
        }
        Ok(())
    }

    /// Where polls end in vain, that comes to an end, though some may have begun late: behind what they waited
    /// for, or anew without a time limit.
    fn come_to_rest(&mut self, waits: usize) -> Result<(), Oracle> {
        let is_vain = self.setup.kernel.ends_in_vain.is_some();
        for _ in 0..8 * waits {
            if !is_vain || self.kernel.in_transit() == 0 {
                return Ok(());
            }
            while self.kernel.in_transit() > 0 {
                self.kernel.deliver(0);
            }
            self.act(Act::Wait(Choice::Plain))?;
            self.act(Act::Take)?;
        }
        Err(Oracle::Spins)
    }

    /// Lets the kernel do all that it has begun, and checks that everything is told and nothing
    /// else, and that there is rest at the end.
    pub(in crate::afd::tests) fn settle(&mut self) -> Result<(), Oracle> {
        let waits = 4 * (usize::from(D::SKIPS_MAX) + 2);
        self.kernel.expire();
        for _ in 0..2 {
            for place in &mut self.places {
                place.reported = Interest::NONE;
            }
            for _ in 0..waits {
                while self.kernel.in_transit() > 0 {
                    self.kernel.deliver(0);
                }
                self.act(Act::Wait(Choice::Plain))?;
                self.act(Act::Take)?;
            }
        }
        if self.setup.kernel.queues_answers {
            // Packets that should not be there may be more than are ever dequeued: an axiom of liveness.
            return Ok(());
        }
        self.come_to_rest(waits)?;
        if self.is_wake_due {
            return Err(Oracle::LostWake);
        }
        let mut is_quiet = true;
        for place in &self.places {
            let Holding::Registered { wanted, .. } = place.holding else {
                continue;
            };
            let expected = readiness(u32::from(place.flags)) & wanted;
            if place.has_failed {
                continue;
            }
            if expected & place.reported != expected {
                return Err(Oracle::Lost);
            }
            if place.reported != expected {
                return Err(Oracle::Phantom);
            }
            is_quiet &= expected.is_empty();
        }
        if self.kernel.operations() > self.poller.as_ref().unwrap().parts().0.polled() {
            return Err(Oracle::StaysClosing);
        }
        let before = self.kernel.state().counts.calls;
        self.act(Act::Wait(Choice::Plain))?;
        let calls = self.kernel.state().counts.calls - before;
        if is_quiet && calls != 1 {
            return Err(Oracle::Restless);
        }
        Ok(())
    }

    /// The end, wherever it comes.
    pub(in crate::afd::tests) fn tear_down(&mut self) -> Result<(), Oracle> {
        let poller = self.poller.take().unwrap();
        let outcome = poller.shut_down();
        // Whatever the duplicates: what is cancelled while its handle is open comes to an end.
        if outcome.is_err() {
            return Err(Oracle::LeftBehind);
        }
        self.places.clear();
        self.signal = None;
        if self.kernel.handles() != 0 {
            return Err(Oracle::LeaksHandles);
        }
        let violations = self.kernel.state().violations.clone();
        match violations.first() {
            Some(violation) => Err(Oracle::Kernel(*violation)),
            None => Ok(()),
        }
    }
}

fn find<'a>(places: &'a mut [Place], event: &Event) -> Option<&'a mut Place> {
    places.iter_mut().find(
        |place| matches!(place.holding, Holding::Registered { key, .. } if key == event.key()),
    )
}

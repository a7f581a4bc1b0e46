//! Draining: packets are taken out of the port, and each is given to whom it belongs.

use std::io;
use std::time::Duration;

use super::{Port, WAKE_KEY};
use crate::afd::defects::Defects;
use crate::afd::machine::Action;
use crate::afd::pinned::Outcome;
use crate::afd::poll_file::OPERATION_KEY;
use crate::afd::table::Object;
use crate::event::Events;
use crate::nt::{Nt, Packet, Status};

/// Whether a packet is of a file that polls are issued on.
pub(super) fn is_of_operations(packet: &Packet) -> bool {
    packet.key == OPERATION_KEY
}

impl<N: Nt, D: Defects> Port<N, D> {
    pub(super) fn fetch(
        &mut self,
        timeout: Option<Duration>,
        limit: usize,
    ) -> Result<usize, Status> {
        self.calls += 1;
        let (nt, port) = (&self.shared.nt, self.shared.handle);
        nt.dequeue(port, &mut self.packets[..limit], timeout)
    }

    /// Takes packets out of the port, sleeping at most for the timeout. Whether there was a wake.
    pub(super) fn dequeue(
        &mut self,
        events: &mut Events,
        mut timeout: Option<Duration>,
    ) -> io::Result<bool> {
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
        self.end_closing(found < limit);
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
        let table = &mut self.table;
        self.slots.complete(&packet, |ours| {
            // The object that the slot was armed for, or another one in its place?
            let is_same = |object: &&mut Object| {
                object.generation == ours.generation || D::IGNORES_GENERATION
            };
            let object = table.object_mut(ours.index).filter(is_same)?;
            Some(&mut object.registration)
        })
    }

    /// A packet that may be an operation's.
    pub(super) fn own(&self, packet: &Packet) -> Option<Packet> {
        let mut packet = is_of_operations(packet).then_some(*packet)?;
        if D::INDEX_AS_CONTEXT {
            let index = u32::try_from(packet.context.checked_sub(1)?).ok()?;
            packet.context = self.slots.context(self.table.object(index)?.slot?);
        }
        Some(packet)
    }
}

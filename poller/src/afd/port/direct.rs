//! Polls that are issued on the socket itself, as the specification has it.
//!
//! It is what the port falls back on where no helper can be opened, and what
//! [`PollingMode::Direct`](super::PollingMode) asks for. It differs from helpers in this, which is all here:
//!
//! - The socket is associated with the port and told to queue no packet for what is answered at once. Both are
//!   marks on the socket, which its duplicates share, and a socket that has a port cannot be polled so; nor can
//!   one below a layered service provider, whose handle is another's.
//! - A poll can be cancelled only as long as the handle is open that it was issued by. So a source that is closed
//!   is cancelled first, and is never left to its closing.
//! - A source that is taken back gets the marks taken off, once nothing is in flight on it: so its packet is looked
//!   for at once, and packets of others that come with it wait in `early`.

use std::time::Duration;

use super::zombies::gone;
use super::{Port, drain::is_of_operations};
use crate::afd::defects::Defects;
use crate::afd::machine::{Input, Need, Operation};
use crate::afd::pinned::Slot;
use crate::afd::poll_file::PollFile;
use crate::nt::{Handle, Nt, Packet};
use crate::sys::Fate;

impl<N: Nt, D: Defects> Port<N, D> {
    /// What becomes of the poll of an object whose last source goes so.
    pub(super) fn fate_of_poll(&self, object: u32, fate: Fate) -> Fate {
        match self.table.object(object).is_some_and(|it| it.is_associated) {
            true => Fate::Kept,
            false => fate,
        }
    }

    /// Has an object be polled on its socket, if that is fit.
    pub(super) fn choose_direct(&mut self, object: u32, slot: Slot) -> bool {
        let entry = self.table.sources(object).next();
        let socket = entry.filter(|entry| entry.base == entry.socket);
        let Some(socket) = socket.map(|entry| entry.socket) else {
            return false;
        };
        let Some(file) = self.associate(socket) else {
            return false;
        };
        if let Some(object) = self.table.object_mut(object) {
            object.is_associated = true;
        }
        self.slots.set_file(slot, file, None);
        true
    }

    /// Has an object be polled by this handle from now on: the one that it was known by may be closed.
    pub(super) fn renew_direct(
        &mut self,
        slot: Slot,
        file: PollFile,
        base: Handle,
        is_doubted: bool,
    ) {
        if !is_doubted {
            self.slots.set_file(slot, file.by(base), None);
        } else if let Some(file) = self.associate(base) {
            self.slots.set_file(slot, file, None);
        }
    }

    /// A source goes whose object has others: cancels what is in flight by its handle, while that is open.
    pub(super) fn cancel_by_handle(&mut self, object: u32, base: Handle) {
        let Some(found) = self.table.object(object) else {
            return;
        };
        let (Some(slot), true) = (found.slot, found.is_associated) else {
            return;
        };
        let ours = self.slots.ours(slot);
        let is_issued_by_it = ours.file.is_some_and(|file| file.handle() == base);
        if is_issued_by_it && ours.operation == Operation::InFlight {
            self.step(object, Input::Look(Need::More));
            self.cancel(slot);
        }
    }

    /// Makes a socket fit to be polled directly, or leaves it as it was.
    fn associate(&mut self, socket: Handle) -> Option<PollFile> {
        let (nt, port) = (&self.shared.nt, self.shared.handle);
        match PollFile::new(nt, port, socket, &mut self.calls) {
            Ok(control) => Some(control),
            Err(unfit) => {
                if unfit.is_associated {
                    self.calls += 1;
                    // If even that fails the socket's own packets come here, and are strays.
                    let _ = nt.dissociate(socket);
                }
                None
            }
        }
    }

    /// Takes the marks of polling off a socket that its owner takes back. What was in flight on it
    /// has to be over. If its packet was not there yet it comes when the handle may already be
    /// another's; so then the marks stay.
    pub(super) fn dissociate(&mut self, socket: Handle, is_over: bool) {
        if is_over {
            self.calls += 1;
            // An older system cannot: then the marks stay too.
            let _ = self.nt().dissociate(socket);
        }
    }

    /// Looks for the packet of a slot whose source was removed. Whether its operation is over, and
    /// the source's handle was still its own when it ended.
    pub(super) fn await_packet(&mut self, slot: Slot) -> bool {
        // So that removing many sources is not the square of their number.
        if self.early.len() >= D::BATCH {
            return false;
        }
        let found = self.fetch(Some(Duration::ZERO), D::BATCH).unwrap_or(0);
        self.early.extend(&self.packets[..found]);
        let is_its = |packet: &Packet| {
            is_of_operations(packet) && self.slots.claim(packet.context) == Some(slot)
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
}

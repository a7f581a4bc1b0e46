//! On which file each object's polls are issued.

use super::{ControlMode, Port};
use crate::afd::control::Control;
use crate::afd::defects::Defects;
use crate::afd::pinned::Slot;
use crate::afd::table::Entry;
use crate::nt::{Handle, Nt, Status};

impl<N: Nt, D: Defects> Port<N, D> {
    /// Settles on which handle an object's polls are issued from now on: on a helper if there is one to be
    /// had, else on the socket itself, as far as the mode allows either.
    pub(super) fn choose_control(&mut self, object: u32, slot: Slot) -> Result<(), Status> {
        let mut refusal = Status::INVALID_PARAMETER;
        if self.mode != ControlMode::Direct {
            let (nt, port) = (&self.shared.nt, self.shared.handle);
            match self.helpers.join(nt, port) {
                Ok((group, control)) => {
                    self.slots.set_control(slot, control, Some(group));
                    return Ok(());
                }
                Err(status) => refusal = status,
            }
        }
        let is_layered = |entry: &Entry| entry.base != entry.socket;
        let entry = self.table.sources(object).next();
        let (socket, is_fit) = entry.map_or((Handle(0), false), |entry| {
            (
                entry.socket,
                !is_layered(entry) && self.mode != ControlMode::Helper,
            )
        });
        if is_fit && let Some(control) = self.associate(socket) {
            if let Some(object) = self.table.object_mut(object) {
                object.is_associated = true;
            }
            self.slots.set_control(slot, control, None);
            return Ok(());
        }
        Err(refusal)
    }

    /// Makes a socket fit to be polled directly, or leaves it as it was.
    pub(super) fn associate(&mut self, socket: Handle) -> Option<Control> {
        let (nt, port) = (&self.shared.nt, self.shared.handle);
        match Control::new(nt, port, socket, &mut self.calls) {
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
}

//! On which file each source's polls are issued.

use super::{ControlMode, Port};
use crate::afd::control::Control;
use crate::afd::defects::Defects;
use crate::afd::pinned::Slot;
use crate::nt::{Handle, Nt, Status};

impl<N: Nt, D: Defects> Port<N, D> {
    /// Settles on which handle a source's polls are issued from now on: on a helper if there is one to be
    /// had, else on the socket itself, as far as the mode allows either.
    pub(super) fn choose_control(&mut self, index: u32, slot: Slot) -> Result<(), Status> {
        let Some(entry) = self.table.at(index) else {
            return Err(Status::INVALID_HANDLE);
        };
        let (socket, base) = (entry.socket, entry.base);
        let mut refusal = Status::INVALID_PARAMETER;
        if self.mode != ControlMode::Direct {
            match self.join_helper(base) {
                Ok((group, control)) => {
                    self.slots.set_control(slot, control, Some(group));
                    return Ok(());
                }
                Err(status) => refusal = status,
            }
        }
        let may_be_direct = self.mode != ControlMode::Helper && base == socket;
        if may_be_direct && let Some(control) = self.associate(socket) {
            if let Some(entry) = self.table.at_mut(index) {
                entry.is_associated = true;
            }
            self.slots.set_control(slot, control, None);
            return Ok(());
        }
        Err(refusal)
    }

    /// A helper for one more registration, of this socket.
    fn join_helper(&mut self, base: Handle) -> Result<(u32, Control), Status> {
        let (nt, port, calls) = (&self.shared.nt, self.shared.handle, &mut self.calls);
        let is_held_twice = self.table.is_shared(base);
        let is_sole = || {
            if is_held_twice {
                return false;
            }
            *calls += 1;
            nt.count_handles(base) == Ok(1) || D::SHARES_ANYWAY
        };
        self.helpers.join(nt, port, is_sole)
    }

    /// Makes a socket fit to be polled directly, or leaves it as it was.
    fn associate(&mut self, socket: Handle) -> Option<Control> {
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

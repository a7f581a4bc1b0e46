//! Handles of the AFD device, on which polls are issued that cannot be issued on their socket.
//!
//! What a cancel costs grows with the operations in flight on the handle, so at most 32
//! registrations share one.

use super::control::Control;
use crate::nt::{Handle, Nt, Status};

/// How many registrations share a helper, at most.
const SHARED_MAX: u32 = 32;

#[derive(Debug)]
struct Helper {
    control: Control,
    users: u32,
}

#[derive(Debug, Default)]
pub(super) struct Helpers {
    /// By number; a number without a helper is used again.
    helpers: Vec<Option<Helper>>,
    /// Those that can take another user; the last one is asked next.
    with_room: Vec<u32>,
    /// How many have no user: at most one is kept.
    unused: usize,
    /// How many calls were made.
    pub(super) calls: u64,
}

impl Helpers {
    /// A helper for one more registration.
    pub(super) fn join<N: Nt>(&mut self, nt: &N, port: Handle) -> Result<(u32, Control), Status> {
        let number = match self.with_room.last() {
            Some(number) => *number,
            None => self.open(nt, port)?,
        };
        let Some(helper) = self.helpers[number as usize].as_mut() else {
            return Err(Status::INVALID_HANDLE);
        };
        self.unused -= usize::from(helper.users == 0);
        helper.users += 1;
        if helper.users == SHARED_MAX {
            self.with_room.pop();
        }
        Ok((number, helper.control))
    }

    fn open<N: Nt>(&mut self, nt: &N, port: Handle) -> Result<u32, Status> {
        self.calls += 1;
        let handle = nt.open_helper()?;
        let control = Control::new(nt, port, handle, &mut self.calls).map_err(|unfit| {
            self.calls += 1;
            nt.close(handle);
            unfit.status
        })?;
        let number = match self.helpers.iter().position(Option::is_none) {
            Some(number) => number,
            None => {
                self.helpers.push(None);
                self.helpers.len() - 1
            }
        };
        self.helpers[number] = Some(Helper { control, users: 0 });
        self.with_room.push(number as u32);
        self.unused += 1;
        Ok(number as u32)
    }

    /// One registration less, with nothing of it in flight.
    pub(super) fn leave<N: Nt>(&mut self, nt: &N, number: u32) {
        let Some(helper) = self.helpers[number as usize].as_mut() else {
            return;
        };
        if helper.users == SHARED_MAX {
            self.with_room.push(number);
        }
        helper.users -= 1;
        if helper.users > 0 {
            return;
        }
        self.unused += 1;
        if self.unused > 1 {
            self.unused -= 1;
            self.with_room.retain(|other| *other != number);
            self.calls += 1;
            nt.close(helper.control.file());
            self.helpers[number as usize] = None;
        }
    }

    /// Closes all of them. The polls in flight on them are over, or left to the kernel.
    pub(super) fn close<N: Nt>(&mut self, nt: &N) {
        for helper in self.helpers.drain(..).flatten() {
            self.calls += 1;
            nt.close(helper.control.file());
        }
        self.with_room.clear();
        self.unused = 0;
    }

    /// How many users each has, by number.
    #[cfg(test)]
    pub(super) fn users(&self) -> impl Iterator<Item = Option<u32>> {
        self.helpers
            .iter()
            .map(|helper| helper.as_ref().map(|helper| helper.users))
    }
}

//! Handles of the AFD device, on which polls are issued that are not issued on their socket.
//!
//! What a cancel costs grows with the operations in flight on the handle, so at most 32
//! registrations share one.
//!
//! Windows mixes up the answers of two polls of one socket that are in flight on one file (trio's
//! `afd-lab.py` shows it). A socket that has further handles may be registered by them too, so it gets
//! a helper to itself ([`Helpers::join_alone`]). And one that was closed may have had one: until
//! its poll is over, nobody joins the helper that has it ([`Helpers::linger`]).

use super::control::Control;
use crate::nt::{Handle, Nt, Status};

/// How many registrations share a helper, at most.
const SHARED_MAX: u32 = 32;

#[derive(Debug)]
struct Helper {
    control: Control,
    users: u32,
    /// How many of the users were closed with their polls in flight.
    lingering: u32,
    /// Its one user shares it with nobody.
    is_taken: bool,
}

impl Helper {
    fn has_room(&self) -> bool {
        self.users < SHARED_MAX && self.lingering == 0 && !self.is_taken
    }
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
        Ok((number, self.add_user(number, false)))
    }

    /// A helper that this registration shares with nobody.
    pub(super) fn join_alone<N: Nt>(
        &mut self,
        nt: &N,
        port: Handle,
    ) -> Result<(u32, Control), Status> {
        let is_unused = |number: &&u32| self.helper(**number).users == 0;
        let number = match self.with_room.iter().find(is_unused) {
            Some(number) => *number,
            None => self.open(nt, port)?,
        };
        Ok((number, self.add_user(number, true)))
    }

    fn add_user(&mut self, number: u32, is_alone: bool) -> Control {
        self.change(number, |helper| {
            helper.users += 1;
            helper.is_taken = is_alone;
        });
        self.helper(number).control
    }

    fn helper(&self, number: u32) -> &Helper {
        let helper = self.helpers[number as usize].as_ref();
        helper.expect("a helper with users is open")
    }

    /// Changes a helper and the lists that say how it is.
    fn change(&mut self, number: u32, change: impl FnOnce(&mut Helper)) {
        let helper = self.helpers[number as usize].as_mut();
        let helper = helper.expect("a helper with users is open");
        let (had_room, was_unused) = (helper.has_room(), helper.users == 0);
        change(helper);
        let (has_room, is_unused) = (helper.has_room(), helper.users == 0);
        match (had_room, has_room) {
            (false, true) => self.with_room.push(number),
            (true, false) => self.with_room.retain(|other| *other != number),
            _ => {}
        }
        self.unused = self.unused - usize::from(was_unused) + usize::from(is_unused);
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
        self.helpers[number] = Some(Helper {
            control,
            users: 0,
            lingering: 0,
            is_taken: false,
        });
        self.with_room.push(number as u32);
        self.unused += 1;
        Ok(number as u32)
    }

    /// The source of one registration was closed with its poll in flight.
    pub(super) fn linger(&mut self, number: u32) {
        self.change(number, |helper| helper.lingering += 1);
    }

    /// That poll is over, or was told to end.
    pub(super) fn linger_no_more(&mut self, number: u32) {
        self.change(number, |helper| helper.lingering -= 1);
    }

    /// One registration less, with nothing of it in flight.
    pub(super) fn leave<N: Nt>(&mut self, nt: &N, number: u32) {
        self.change(number, |helper| {
            helper.users -= 1;
            helper.is_taken = false;
        });
        if self.unused > 1 {
            self.close_one(nt, number);
        }
    }

    /// Closes one that has no user.
    fn close_one<N: Nt>(&mut self, nt: &N, number: u32) {
        let Some(helper) = self.helpers[number as usize].take() else {
            return;
        };
        self.unused -= 1;
        self.with_room.retain(|other| *other != number);
        self.calls += 1;
        nt.close(helper.control.file());
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
}

/// For tests.
#[cfg(test)]
impl Helpers {
    /// How many users each has, by number.
    pub(super) fn users(&self) -> impl Iterator<Item = Option<u32>> {
        let helpers = self.helpers.iter();
        helpers.map(|helper| helper.as_ref().map(|helper| helper.users))
    }

    /// All that decides what it does next.
    pub(super) fn digest(&self, bytes: &mut Vec<u8>) {
        for helper in &self.helpers {
            bytes.extend(helper.as_ref().map_or([0xFE; 3], |helper| {
                [
                    helper.users as u8,
                    helper.lingering as u8,
                    u8::from(helper.is_taken),
                ]
            }));
        }
        bytes.push(0xFF);
        bytes.extend(self.with_room.iter().map(|number| *number as u8));
        bytes.push(0xFF);
    }
}

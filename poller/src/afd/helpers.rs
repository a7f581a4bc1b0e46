//! Handles of the AFD device, on which polls are issued that are not issued on their socket.
//!
//! What a cancel costs grows with the operations in flight on the handle, so at most 32
//! registrations share one.
//!
//! Windows mixes up the answers of two polls of one socket that are in flight on one file (trio's
//! `afd-lab.py` shows it). So all users of a helper are of different sockets: who has another handle,
//! which may be registered too, begins with a helper that nobody uses ([`Helpers::join`]); and until
//! the poll of a socket that was closed is over nobody joins the helper that has it
//! ([`Helpers::linger`]), as the socket may have had another handle.

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
}

impl Helper {
    /// Has users and may have another one.
    fn has_room(&self) -> bool {
        (1..SHARED_MAX).contains(&self.users) && self.lingering == 0
    }

    /// Has users, and all of them are about to go.
    fn is_ending(&self) -> bool {
        self.users > 0 && self.lingering == self.users
    }
}

#[derive(Debug)]
pub(super) struct Helpers {
    /// By number; a number without a helper is used again.
    helpers: Vec<Option<Helper>>,
    /// Those with room; the last one is asked next.
    with_room: Vec<u32>,
    /// Those without users that are kept, and how many at most.
    spare: Vec<u32>,
    spare_max: usize,
    /// How many have users that are all about to go.
    ending: usize,
    /// How many calls were made.
    pub(super) calls: u64,
}

impl Helpers {
    /// Keeps at most so many that nobody uses.
    pub(super) fn new(spare_max: usize) -> Helpers {
        Helpers {
            helpers: Vec::new(),
            with_room: Vec::new(),
            spare: Vec::new(),
            spare_max,
            ending: 0,
            calls: 0,
        }
    }

    /// A helper for one more registration. Whether its socket has this handle only costs a call to ask,
    /// which is saved where nobody else is on the helper. So where sources come and go beside others
    /// that rest, a few helpers are for those in turn.
    pub(super) fn join<N: Nt>(
        &mut self,
        nt: &N,
        port: Handle,
        is_sole: impl FnOnce() -> bool,
    ) -> Result<(u32, Control), Status> {
        let is_turn_over = self.ending > 0 && self.ending < self.spare_max;
        let number = match (self.spare.pop(), self.with_room.last()) {
            (Some(number), _) => number,
            (None, Some(number)) if !is_turn_over && is_sole() => *number,
            _ => self.open(nt, port)?,
        };
        self.change(number, |helper| helper.users += 1);
        let helper = self.helpers[number as usize].as_ref();
        Ok((number, helper.expect("just joined").control))
    }

    /// Changes a helper, and what is known of all.
    fn change(&mut self, number: u32, change: impl FnOnce(&mut Helper)) {
        let helper = self.helpers[number as usize].as_mut();
        let helper = helper.expect("a helper with users is open");
        let (had_room, was_ending) = (helper.has_room(), helper.is_ending());
        change(helper);
        self.ending += usize::from(helper.is_ending());
        self.ending -= usize::from(was_ending);
        match (had_room, helper.has_room()) {
            (false, true) => self.with_room.push(number),
            (true, false) => self.with_room.retain(|other| *other != number),
            _ => {}
        }
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
        });
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
        self.change(number, |helper| helper.users -= 1);
        let place = &mut self.helpers[number as usize];
        if place.as_ref().is_none_or(|helper| helper.users > 0) {
            return;
        }
        if self.spare.len() < self.spare_max {
            self.spare.push(number);
        } else if let Some(helper) = place.take() {
            self.calls += 1;
            nt.close(helper.control.file());
        }
    }

    /// Closes all of them. The polls in flight on them are over, or left to the kernel.
    pub(super) fn close<N: Nt>(&mut self, nt: &N) {
        for helper in self.helpers.drain(..).flatten() {
            self.calls += 1;
            nt.close(helper.control.file());
        }
        self.with_room.clear();
        self.spare.clear();
        self.ending = 0;
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
            let parts = helper.as_ref();
            bytes.extend(parts.map_or([0xFE; 2], |helper| {
                [helper.users as u8, helper.lingering as u8]
            }));
        }
        bytes.push(0xFF);
        bytes.extend(self.with_room.iter().map(|number| *number as u8));
        bytes.push(0xFF);
        bytes.extend(self.spare.iter().map(|number| *number as u8));
        bytes.push(0xFF);
    }
}

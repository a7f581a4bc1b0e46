//! Handles of the AFD device, on which polls are issued that are not issued on their socket.
//!
//! What a cancel costs grows with the operations in flight on the handle, so at most 32
//! registrations share one.
//!
//! Windows mixes up the answers of two polls of one socket that are in flight on one file (trio's
//! `afd-lab.py` shows it). So all users of a helper are of different sockets. Who joins others
//! must have the only handle of its socket; everybody else begins with a helper that nobody uses
//! ([`Helpers::join`]). A duplicate that is made later is counted when it comes itself. And as long as
//! the poll of a source that is gone is in flight, nobody joins the helper that has it
//! ([`Helpers::begin_to_leave`]): the same socket may be registered anew.

use super::control::Control;
use crate::nt::{Handle, Nt, Status};

/// How many registrations share a helper, at most.
const SHARED_MAX: u32 = 32;

#[derive(Debug)]
struct Helper {
    control: Control,
    users: u32,
    /// How many of the users are gone, with their polls in flight.
    leaving: u32,
    /// Its place in the list of those with room.
    room_at: Option<usize>,
}

impl Helper {
    /// Has users and may have another one.
    fn has_room(&self) -> bool {
        (1..SHARED_MAX).contains(&self.users) && self.leaving == 0
    }

    /// Has users, and all of them are gone.
    fn is_ending(&self) -> bool {
        self.users > 0 && self.leaving == self.users
    }
}

#[derive(Debug)]
pub(super) struct Helpers {
    /// By number.
    helpers: Vec<Option<Helper>>,
    /// The numbers without a helper, to be used again.
    vacant: Vec<u32>,
    /// Those with room; the last one is asked next.
    with_room: Vec<u32>,
    /// Those without users that are kept, and how many at most.
    spare: Vec<u32>,
    spare_max: usize,
    /// How many have users that are all gone.
    ending: usize,
    /// How many calls were made.
    pub(super) calls: u64,
}

impl Helpers {
    /// Keeps at most so many that nobody uses.
    pub(super) fn new(spare_max: usize) -> Helpers {
        Helpers {
            helpers: Vec::new(),
            vacant: Vec::new(),
            with_room: Vec::new(),
            spare: Vec::new(),
            spare_max,
            ending: 0,
            calls: 0,
        }
    }

    /// A helper for one more registration. To ask whether its handle is the socket's only one costs a call,
    /// and is left out where nobody else is on the helper.
    pub(super) fn join<N: Nt>(
        &mut self,
        nt: &N,
        port: Handle,
        is_sole: impl FnOnce() -> bool,
    ) -> Result<(u32, Control), Status> {
        let number = match self.spare.pop() {
            Some(number) => number,
            None => self.find(nt, port, is_sole)?,
        };
        self.change(number, |helper| helper.users += 1);
        let helper = self.helpers[number as usize].as_ref();
        Ok((number, helper.expect("just joined").control))
    }

    /// One that others use if that may be, else a new one.
    fn find<N: Nt>(
        &mut self,
        nt: &N,
        port: Handle,
        is_sole: impl FnOnce() -> bool,
    ) -> Result<u32, Status> {
        let Some(room) = self.with_room.last().copied() else {
            return self.open(nt, port);
        };
        // Where sources come and go, a few helpers more are for them in turn, and nobody has to ask.
        let has_turnover =
            self.ending > 0 && self.ending.max(self.with_room.len()) < self.spare_max;
        let opened = has_turnover.then(|| self.open(nt, port));
        match opened {
            Some(Ok(number)) => Ok(number),
            _ if is_sole() => Ok(room),
            Some(refused) => refused,
            None => self.open(nt, port),
        }
    }

    /// Changes a helper, and what is known of all.
    fn change(&mut self, number: u32, change: impl FnOnce(&mut Helper)) {
        let helper = self.helpers[number as usize].as_mut();
        let helper = helper.expect("a helper with users is open");
        let was_ending = helper.is_ending();
        change(helper);
        self.ending += usize::from(helper.is_ending());
        self.ending -= usize::from(was_ending);
        match (helper.room_at, helper.has_room()) {
            (None, true) => {
                helper.room_at = Some(self.with_room.len());
                self.with_room.push(number);
            }
            (Some(at), false) => {
                helper.room_at = None;
                self.with_room.swap_remove(at);
                let moved = self.with_room.get(at).copied();
                let moved = moved.and_then(|number| self.helpers[number as usize].as_mut());
                if let Some(moved) = moved {
                    moved.room_at = Some(at);
                }
            }
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
        let number = self.vacant.pop().unwrap_or(self.helpers.len() as u32);
        if number as usize == self.helpers.len() {
            self.helpers.push(None);
        }
        self.helpers[number as usize] = Some(Helper {
            control,
            users: 0,
            leaving: 0,
            room_at: None,
        });
        Ok(number)
    }

    /// The source of a registration is gone, with its poll in flight.
    pub(super) fn begin_to_leave(&mut self, number: u32) {
        self.change(number, |helper| helper.leaving += 1);
    }

    /// One registration less, with nothing of it in flight, which may have begun to leave before.
    pub(super) fn leave<N: Nt>(&mut self, nt: &N, number: u32, has_begun: bool) {
        self.change(number, |helper| {
            helper.users -= 1;
            helper.leaving -= u32::from(has_begun);
        });
        let place = &mut self.helpers[number as usize];
        if place.as_ref().is_some_and(|helper| helper.users > 0) {
            return;
        }
        if self.spare.len() < self.spare_max {
            self.spare.push(number);
        } else if let Some(helper) = place.take() {
            self.vacant.push(number);
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
        self.vacant.clear();
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
            bytes.extend(helper.as_ref().map_or([0xFE; 3], |helper| {
                let file = helper.control.file().0;
                [helper.users as u8, helper.leaving as u8, file as u8]
            }));
        }
        for list in [&self.vacant, &self.with_room, &self.spare] {
            bytes.push(0xFF);
            bytes.extend(list.iter().map(|number| *number as u8));
        }
        bytes.push(0xFF);
    }
}

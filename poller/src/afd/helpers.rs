//! Handles of the AFD device, on which polls are issued that are not issued on their socket.
//!
//! What a cancel costs grows with the operations in flight on the handle, so at most 32 slots share one.
//! Which sockets they are about makes no difference.

use super::poll_file::PollFile;
use crate::nt::{Handle, Nt, Status};

/// How many slots share a helper, at most.
const SHARED_MAX: u32 = 32;

#[derive(Debug)]
struct Helper {
    control: PollFile,
    users: u32,
}

#[derive(Debug, Default)]
pub(super) struct Helpers {
    /// By number.
    helpers: Vec<Option<Helper>>,
    /// The numbers without a helper, to be used again.
    vacant: Vec<u32>,
    /// Those that have room; the last one is joined next. One without users is kept, as the first.
    with_room: Vec<u32>,
    /// How many calls were made.
    pub(super) calls: u64,
}

impl Helpers {
    /// A helper for one more slot.
    pub(super) fn join<N: Nt>(&mut self, nt: &N, port: Handle) -> Result<(u32, PollFile), Status> {
        let number = match self.with_room.last() {
            Some(number) => *number,
            None => self.open(nt, port)?,
        };
        let helper = self.helpers[number as usize].as_mut();
        let helper = helper.expect("a helper with room is open");
        helper.users += 1;
        let control = helper.control;
        if helper.users == SHARED_MAX {
            self.with_room.pop();
        }
        Ok((number, control))
    }

    fn open<N: Nt>(&mut self, nt: &N, port: Handle) -> Result<u32, Status> {
        self.calls += 1;
        let handle = nt.open_helper()?;
        let control = PollFile::new(nt, port, handle, &mut self.calls).map_err(|unfit| {
            self.calls += 1;
            nt.close(handle);
            unfit.status
        })?;
        let number = self.vacant.pop().unwrap_or(self.helpers.len() as u32);
        if number as usize == self.helpers.len() {
            self.helpers.push(None);
        }
        self.helpers[number as usize] = Some(Helper { control, users: 0 });
        self.with_room.push(number);
        Ok(number)
    }

    /// One slot less, with nothing of it in flight.
    pub(super) fn leave<N: Nt>(&mut self, nt: &N, number: u32) {
        let helper = self.helpers[number as usize].as_mut();
        let helper = helper.expect("a helper with users is open");
        if helper.users == SHARED_MAX {
            self.with_room.push(number);
        }
        helper.users -= 1;
        if helper.users > 0 {
            return;
        }
        self.with_room.retain(|other| *other != number);
        let is_empty = |first: &u32| {
            let helper = self.helpers[*first as usize].as_ref();
            helper.is_some_and(|helper| helper.users == 0)
        };
        if !self.with_room.first().is_some_and(is_empty) {
            self.with_room.insert(0, number);
        } else if let Some(helper) = self.helpers[number as usize].take() {
            self.vacant.push(number);
            self.calls += 1;
            nt.close(helper.control.handle());
        }
    }

    /// Whether none is open.
    pub(super) fn is_empty(&self) -> bool {
        self.helpers.iter().all(Option::is_none)
    }

    /// Closes all of them. The polls in flight on them are over, or left to the kernel.
    pub(super) fn close<N: Nt>(&mut self, nt: &N) {
        for helper in self.helpers.drain(..).flatten() {
            self.calls += 1;
            nt.close(helper.control.handle());
        }
        self.vacant.clear();
        self.with_room.clear();
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
            bytes.extend(helper.as_ref().map_or([0xFE; 2], |helper| {
                let file = helper.control.handle().0;
                [helper.users as u8, file as u8]
            }));
        }
        for list in [&self.vacant, &self.with_room] {
            bytes.push(0xFF);
            bytes.extend(list.iter().map(|number| *number as u8));
        }
        bytes.push(0xFF);
    }
}

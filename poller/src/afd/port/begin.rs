//! When an object is polled for the first time: whose it is, and what it waits for.
//!
//! Windows before 11 and Server 2022 mixes up two polls of one socket object, whatever handles they ask
//! about and whatever files they are issued on: one gets the answer of the other, which never ends. So there
//! is never more than one in flight for an object:
//!
//! - Sources with the same handle are of one object. Whether the socket of a new source has further handles
//!   the system is asked; if it has, those of the other sources are compared with it, and sources of one
//!   object are polled together.
//! - While a poll is in flight whose source is gone, nobody knows any more what other handles its socket
//!   has. So a new object waits for all such polls that are there when it is looked at first. Each ends soon:
//!   it was cancelled, or its socket closed, or it is cancelled once that has not ended it. What has not
//!   ended when the port was found empty a few times is waited for no longer.
//!
//! Who has further handles elsewhere may be polled by somebody else. It is polled with a time limit, and an
//! answer that somebody else was given is found when the time is over. So is, to begin with, who has waited in
//! vain.

use super::Port;
use crate::afd::defects::Defects;
use crate::afd::machine::Input;
use crate::afd::table::Others;
use crate::nt::{Nt, Status};

impl<N: Nt, D: Defects> Port<N, D> {
    /// Whether an object that was never polled may be polled now, or which object it turns out to be.
    pub(super) fn begin(&mut self, object: u32) -> Result<bool, u32> {
        if self
            .table
            .object(object)
            .is_some_and(|it| it.others == Others::Unknown)
        {
            self.ask_for_others(object)?;
        }
        let asked_at = self.table.object(object).map_or(0, |it| it.asked_at);
        if self.zombies.is_left(asked_at) && !D::IGNORES_ZOMBIES {
            self.zombies.waiting.insert(object);
            return Ok(false);
        }
        Ok(true)
    }

    fn ask_for_others(&mut self, object: u32) -> Result<(), u32> {
        let is_sole = self.count_others(object);
        if let Some(found) = self.table.object_mut(object) {
            found.asked_at = self.zombies.count;
        }
        if is_sole || D::SEPARATES_HANDLES {
            return Ok(());
        }
        let Some(base) = self.table.sources(object).next().map(|entry| entry.base) else {
            return Ok(());
        };
        for (other, handle) in self.table.others(object) {
            self.calls += 1;
            match self.nt().is_same(base, handle) {
                Ok(true) => {
                    self.table.merge(object, other);
                    // They want something, whatever was refused to the others.
                    self.step(other, Input::Declare);
                    // One that was not asked itself is when it is looked at.
                    if self
                        .table
                        .object(other)
                        .is_some_and(|it| it.others != Others::Unknown)
                    {
                        self.count_others(other);
                    }
                    self.table.touch(other);
                    return Err(other);
                }
                Err(Status::NOT_IMPLEMENTED) => break,
                Ok(false) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Asks whether an object has handles that none of its sources holds. Who does not know has some.
    pub(super) fn count_others(&mut self, object: u32) -> bool {
        let Some(base) = self.table.sources(object).next().map(|entry| entry.base) else {
            return true;
        };
        self.calls += 1;
        let count = self.nt().count_handles(base).ok();
        let is_sole = count.is_some_and(|count| count as usize <= self.table.handles(object));
        if let Some(object) = self.table.object_mut(object) {
            object.others = match is_sole {
                true => Others::None,
                false => Others::Some,
            };
        }
        is_sole
    }
}

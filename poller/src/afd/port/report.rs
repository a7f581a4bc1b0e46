//! What the sources of an object are told.

use super::Port;
use crate::afd::defects::Defects;
use crate::afd::machine::Input;
use crate::afd::masks::{hints, readiness};
use crate::afd::table::Entry;
use crate::event::{Event, Events};
use crate::nt::{Nt, Status, flag};

impl<N: Nt, D: Defects> Port<N, D> {
    /// Reports what was found to each source, as far as it is wanted now, and has the next pass look
    /// again.
    pub(super) fn report(&mut self, at: u32, found: u32, events: &mut Events) {
        let Some(object) = self.table.object_mut(at) else {
            return;
        };
        object.is_closed |= found & flag::LOCAL_CLOSE != 0 && !object.is_doubted;
        for entry in self.table.sources(at).filter(|entry| !entry.is_parked) {
            let readiness = readiness(found) & entry.wanted;
            if !readiness.is_empty() {
                events.push(Event::new(entry.key, readiness).with_hints(hints(found)));
            }
        }
        self.table.touch(at);
    }

    /// Reports the error to each source that wants anything, and parks it.
    pub(super) fn refuse(&mut self, object: u32, status: Status, events: &mut Events) {
        let error = self.nt().os_error(status);
        let is_refused = |entry: &Entry| !entry.is_parked && !entry.wanted.is_empty();
        let mut n = 0;
        while let Some(index) = self.table.nth_source(object, n) {
            n += 1;
            let Some(entry) = self.table.at_mut(index) else {
                continue;
            };
            if is_refused(entry) {
                events.push(Event::refused(entry.key, entry.wanted, error));
                entry.is_parked = !D::PARKS_NOTHING;
            }
        }
        if D::PARKS_NOTHING {
            self.step(object, Input::Declare);
            self.table.touch(object);
        }
    }
}

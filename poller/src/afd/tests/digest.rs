//! The port's part of a state, in bytes: all that decides what it can do next. Generations are left
//! out but for whether they agree, addresses are places, counters are left out.

use super::super::defects::Defects;
use super::super::machine::Operation;
use super::super::pinned::{Slot, Slots};
use super::super::port::Port;
use super::super::table::Others;
use crate::nt::Nt;

impl<N: Nt, D: Defects> Port<N, D> {
    pub(super) fn digest(&self, bytes: &mut Vec<u8>) {
        self.digest_table(bytes);
        self.helpers.digest(bytes);
        let (closing, dequeues) = self.zombies.closing();
        for slot in closing {
            // Those that are over count as well: until the port is emptied they are listed.
            let is_closing = |slot: &Slot| self.slots.ours(*slot).operation == Operation::InFlight;
            let slot = slot.filter(is_closing);
            bytes.push(slot.map_or(0xFE, |slot| self.slots.ordinal(slot)));
        }
        bytes.extend([0xFF, dequeues]);
        for packet in &self.early {
            bytes.push(packet.key as u8);
            bytes.extend(self.place_of(packet.context));
            bytes.push(packet.status.status.status.0 as u8);
            // The kernel has written the answer already, and has nothing of it any more.
            let slot = self.slots.claim(packet.context);
            let events = slot.map_or(0, |slot| self.slots.written(slot));
            bytes.extend([events as u8, (events >> 8) as u8]);
        }
        bytes.extend([0xFF, self.skips]);
    }

    fn digest_table(&self, bytes: &mut Vec<u8>) {
        for index in 0..self.table.len() {
            let Some(entry) = self.table.at(index) else {
                bytes.push(0xFE);
                continue;
            };
            bytes.push(
                u8::from(entry.is_parked)
                    | u8::from(entry.wanted.is_readable()) << 1
                    | u8::from(entry.wanted.is_writable()) << 2,
            );
            bytes.extend([entry.socket.0 as u8, entry.object as u8]);
        }
        bytes.push(0xFF);
        let (numbers, waiting, dequeues) = self.zombies.parts();
        for place in 0..self.table.places() {
            let Some(object) = self.table.object(place) else {
                bytes.push(0xFE);
                continue;
            };
            bytes.push(
                u8::from(object.is_closed)
                    | u8::from(object.is_associated) << 1
                    | u8::from(object.is_doubted) << 2
                    | (object.others as u8) << 3,
            );
            bytes.push(object.slot.map_or(0xFE, |slot| self.slots.ordinal(slot)));
            // Which of those that are left it has to wait for.
            let awaited = numbers.range(..=object.asked_at).count();
            bytes.push(match object.slot {
                Some(_) => 0,
                None => awaited as u8,
            });
            let sources = self.table.sources(place);
            bytes.extend(sources.map(|entry| entry.key.index as u8));
            bytes.push(0xFF);
        }
        bytes.extend(self.table.vacant().iter().map(|place| *place as u8));
        bytes.push(0xFF);
        bytes.extend(self.table.touched().iter().map(|place| *place as u8));
        bytes.push(0xFF);
        bytes.extend(waiting.iter().map(|place| *place as u8));
        bytes.extend([0xFF, dequeues]);
        let is_new = |place: &u32| {
            let object = self.table.object(*place);
            object.is_some_and(|object| object.slot.is_none() && object.others != Others::Unknown)
        };
        let matters = (0..self.table.places()).any(|place| is_new(&place));
        // In which order they went; and whether anybody still waits for them at all.
        let rank = |number: u64| match numbers.contains(&number) {
            true if matters => numbers.range(..number).count() as u8,
            true => 0xFD,
            false => 0xFE,
        };
        let is_there = |place, generation| {
            let object = self.table.object(place);
            object.is_some_and(|object| object.generation == generation)
        };
        self.slots.digest(bytes, is_there, rank);
    }

    /// How many sockets of sources have an operation in flight.
    pub(super) fn polled(&self) -> usize {
        let entries = (0..self.table.places()).filter_map(|place| self.table.object(place)?.slot);
        let is_polled = |slot: &Slot| self.slots.ours(*slot).operation.is_in_flight();
        entries.filter(is_polled).count()
    }

    /// Whether packets were dequeued that nobody has looked at.
    pub(super) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// The place of a context's slot, and how far behind the slot's operation its number is. Further
    /// back than one it makes no difference: it is not what is in flight, nor ever will be.
    pub(super) fn place_of(&self, context: usize) -> [u8; 2] {
        let place = self.slots.place_of(context);
        place.map_or([0xFE, 0], |(ordinal, behind)| [ordinal, behind.min(2)])
    }

    /// Whether a context names a slot, and is not so old that its number may come again soon.
    pub(super) fn is_recent(&self, context: usize) -> bool {
        let place = self.slots.place_of(context);
        place.is_some_and(|(_, behind)| behind < 64)
    }
}

impl<D: Defects> Slots<D> {
    fn digest(
        &self,
        bytes: &mut Vec<u8>,
        is_there: impl Fn(u32, u64) -> bool,
        rank: impl Fn(u64) -> u8,
    ) {
        bytes.extend(self.room().iter().map(|block| *block as u8));
        bytes.push(0xFF);
        for block in 0..self.blocks_len() {
            let Some(free) = self.free_places(block) else {
                bytes.push(0xFE);
                continue;
            };
            bytes.extend(free.iter().map(|place| *place as u8));
            bytes.push(0xFF);
        }
        for slot in self.taken() {
            let ours = self.ours(slot);
            bytes.push(self.ordinal(slot));
            bytes.push(ours.operation as u8);
            bytes.push(u8::from(ours.was_found) | u8::from(ours.is_endless) << 1);
            bytes.push(rank(ours.gone));
            bytes.push(ours.vain);
            bytes.push(u8::from(is_there(ours.index, ours.generation)));
            bytes.push(ours.index as u8);
            bytes.extend([ours.mask as u8, (ours.mask >> 8) as u8]);
            bytes.push(ours.file.map_or(0, |control| control.handle().0 as u8));
            bytes.push(ours.group.map_or(0xFE, |group| group as u8));
        }
        bytes.push(0xFF);
    }
}

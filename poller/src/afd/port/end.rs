//! The end of a port: everything that is in flight comes back, or is left to the kernel.

use std::io;
use std::time::Duration;

use super::Port;
use super::zombies::gone;
use crate::afd::defects::Defects;
use crate::afd::machine::Operation;
use crate::afd::pinned::Slot;
use crate::nt::{Nt, Packet};

/// How long one dequeue of the end waits, and how many such waits without a packet it takes.
const DRAIN_WAIT: Duration = Duration::from_millis(100);
const DRAIN_WAITS_MAX: u32 = 10;
/// How many dequeues without a packet of ours the end takes if they are all full of others'.
const DRAIN_ROUNDS_MAX: u32 = 10_000;

impl<N: Nt, D: Defects> Port<N, D> {
    /// Ends all that is in flight, and waits until the kernel has given everything back. The second
    /// time there is nothing to do.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if D::FREES_AT_SHUTDOWN {
            return Ok(());
        }
        self.cancel_all();
        self.drain();
        if self.slots.in_flight() > 0 && !self.helpers.is_empty() && !D::LEAKS_AT_ONCE {
            // What a cancel has not ended the last close of the file may.
            self.helpers.close(&self.shared.nt);
            self.drain();
        }
        let left = self.slots.in_flight();
        if left > 0 {
            self.slots.leak();
        }
        self.helpers.close(&self.shared.nt);
        if left > 0 {
            return Err(io::Error::other(format!(
                "{left} polls could not be ended, probably of sockets whose handles were closed \
                 behind the poller's back: the memory that the system may still write to is left \
                 behind"
            )));
        }
        Ok(())
    }

    /// Takes packets out of the port until nothing is in flight, or nothing of ours has come for a while.
    fn drain(&mut self) {
        let (mut waits, mut rounds) = (0, 0);
        while self.slots.in_flight() > 0 && waits < DRAIN_WAITS_MAX && rounds < DRAIN_ROUNDS_MAX {
            let mut found: Vec<Packet> = self.early.drain(..).collect();
            if found.is_empty() {
                // A port that refuses is as one without packets: the bound holds for both.
                let count = self.fetch(Some(DRAIN_WAIT), D::BATCH).unwrap_or(0);
                found.extend(&self.packets[..count]);
            }
            // Ours may be behind a batch that is full of others'.
            waits += u32::from(found.len() < D::BATCH);
            rounds += 1;
            for packet in found {
                // What is nobody's must not keep this going.
                let own = self.own(&packet);
                let outcome = own.and_then(|packet| self.slots.complete(&packet, gone));
                if outcome.is_some() {
                    (waits, rounds) = (0, 0);
                }
            }
        }
    }

    /// Cancels what is in flight and was not cancelled yet: of sources that are there, and of those that are gone.
    fn cancel_all(&mut self) {
        if self.slots.in_flight() == 0 {
            return; // the second time, what was left to the kernel is no longer there to ask
        }
        let slots: Vec<Slot> = self.table.slots().chain(self.zombies.slots()).collect();
        for slot in slots {
            if self.slots.ours(slot).operation == Operation::InFlight {
                self.cancel(slot);
            }
        }
    }
}

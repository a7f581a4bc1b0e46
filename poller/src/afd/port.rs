//! The backend: sources come and go here, and each wait goes through `arm.rs` and `drain.rs`; `end.rs` is the end.
//! What was found goes through `report.rs`, what is left of sources that are gone through `zombies.rs`. `begin.rs`
//! sees to it that a socket is polled once however many handles of it there are, and `direct.rs` is all that is
//! special of polls on the socket itself.
//!
//! # Why no packet reaches the wrong source
//!
//! A packet names a slot and the number of an operation. `Slots::claim` lets through only what is
//! in flight; a slot is in flight from its submission until its own packet was dequeued, and is not
//! used for anything else in between. The slot names the place of its object and the object's
//! generation, which no other object ever had. If the object in the place has another generation, or
//! there is none, the slot's own object is gone, and all that the packet does is to free the slot.

mod arm;
mod begin;
mod direct;
mod drain;
mod end;
mod report;
mod shared;
mod zombies;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use self::shared::SharedPort;
use self::zombies::Zombies;
use super::defects::{Defects, Sound};
use super::helpers::Helpers;
use super::machine::{Action, Input, Operation, State, next};
use super::pinned::Slots;
use super::table::{Entry, Others, Table};
use crate::event::{Events, Key};
use crate::interest::Interest;
use crate::nt::{Handle, Nt, Packet};
use crate::sys::{Backend, Fate, Sealed};
use crate::waker::Signal;

/// The key of wakes' packets. No file is associated with it.
pub(super) const WAKE_KEY: usize = 1;

/// On which handle a source's polls are issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(unreachable_pub, reason = "public on Windows")]
pub enum PollingMode {
    /// On a handle of AFD's that sources share, a helper; on the socket itself where no helper can be
    /// opened.
    Auto,
    /// On the socket itself; what does not allow that is refused.
    Direct,
    /// On a helper; where none can be opened sources are refused.
    Helper,
}

/// Polls socket objects by AFD, with one operation in flight for each at most.
pub(crate) struct Port<N: Nt, D: Defects = Sound> {
    shared: Arc<SharedPort<N, D>>,
    mode: PollingMode,
    pub(super) table: Table,
    pub(super) slots: Slots<D>,
    pub(super) helpers: Helpers,
    /// The list of the current pass, kept for its memory.
    touched: Vec<u32>,
    packets: Vec<Packet>,
    /// Packets that were dequeued while a source was removed, and are about others.
    pub(super) early: VecDeque<Packet>,
    pub(super) zombies: Zombies,
    /// How many waits running have left the port alone.
    pub(super) skips: u8,
    /// Packets that were nobody's.
    pub(super) strays: u64,
    calls: u64,
}

impl<N: Nt, D: Defects> Sealed for Port<N, D> {}

impl<N: Nt, D: Defects> Backend for Port<N, D> {
    type Handle = Handle;

    const DELIVERS_STALE: bool = D::DELIVERS_STALE;

    fn new() -> io::Result<Self> {
        Self::with_mode(N::new()?, PollingMode::Auto)
    }

    fn signal(&self) -> Arc<dyn Signal> {
        Arc::clone(&self.shared) as Arc<dyn Signal>
    }

    fn register(&mut self, key: Key, socket: Handle) -> io::Result<()> {
        let base = self.nt().base_socket(socket)?;
        self.table.insert(key, socket, base);
        Ok(())
    }

    fn declare(&mut self, key: Key, interest: Interest) {
        let Some(object) = self.table.get(key).map(|entry| entry.object) else {
            return;
        };
        self.step(object, Input::Declare);
        if let Some(entry) = self.table.get_mut(key) {
            (entry.wanted, entry.is_parked) = (interest, false);
        }
        self.table.touch(object);
    }

    fn deregister(&mut self, key: Key, fate: Fate) {
        let Some(object) = self.table.get(key).map(|entry| entry.object) else {
            return;
        };
        if self.table.sources(object).count() > 1 {
            return self.deregister_one_of_several(key, fate);
        }
        let action = self.step(object, Input::Remove(self.fate_of_poll(object, fate)));
        self.zombies.wait_no_longer(object);
        let Some((entry, Some(object))) = self.table.remove(key) else {
            return;
        };
        let Some(slot) = object.slot else { return };
        match action {
            Action::Free => self.free(slot),
            Action::Cancel if D::FREES_ON_CANCEL => {
                self.cancel(slot);
                self.slots.take_back_early(slot);
                self.free(slot);
            }
            _ => self.note_zombie(slot, action),
        }
        if fate == Fate::Kept && object.is_associated && !object.is_closed {
            let is_over = action == Action::Free || self.await_packet(slot);
            self.dissociate(entry.socket, is_over);
        }
    }

    fn reconcile(&mut self, events: &mut Events) -> io::Result<()> {
        let mut touched = std::mem::take(&mut self.touched);
        self.table.take_touched(&mut touched);
        for object in &touched {
            self.look(*object, events);
        }
        self.touched = touched;
        Ok(())
    }

    fn collect(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<bool> {
        let has_answers = timeout == Some(Duration::ZERO) && !events.is_empty();
        let has_answers = has_answers && !self.zombies.are_awaited();
        if has_answers && (self.skips < D::SKIPS_MAX || D::SKIPS_WITHOUT_END) {
            self.skips = self.skips.saturating_add(1);
            return Ok(false);
        }
        self.skips = 0;
        let was_signalled = self.dequeue(events, timeout)?;
        if events.is_empty() && !was_signalled {
            // A poll that had to end for a wider one leaves nothing to report, yet the wider one
            // may have its answer at once.
            self.reconcile(events)?;
        }
        Ok(was_signalled)
    }

    fn calls(&self) -> u64 {
        self.calls + self.helpers.calls
    }

    fn shut_down(&mut self) -> io::Result<()> {
        self.end()
    }
}

impl<N: Nt, D: Defects> Port<N, D> {
    pub(crate) fn with_mode(nt: N, mode: PollingMode) -> io::Result<Self> {
        let slots = Slots::new();
        #[cfg(test)]
        nt.watch(slots.held());
        let handle = nt.create_port();
        let handle = handle.map_err(|status| io::Error::from_raw_os_error(nt.os_error(status)))?;
        Ok(Port {
            shared: Arc::new(SharedPort {
                nt,
                handle,
                defects: std::marker::PhantomData,
            }),
            mode,
            table: Table::default(),
            slots,
            helpers: Helpers::default(),
            touched: Vec::new(),
            packets: vec![Packet::EMPTY; D::BATCH],
            early: VecDeque::new(),
            zombies: Zombies::default(),
            skips: 0,
            strays: 0,
            calls: 0,
        })
    }

    fn nt(&self) -> &N {
        &self.shared.nt
    }

    /// Takes an object to its next state: its registration is kept in the table, its operation in the slot if it
    /// has one.
    fn step(&mut self, object: u32, input: Input) -> Action {
        let Some(object) = self.table.object_mut(object) else {
            return Action::Nothing;
        };
        if let Some(slot) = object.slot {
            return self.slots.step(slot, &mut object.registration, input);
        }
        let state = State {
            registration: object.registration,
            operation: Operation::None,
        };
        let (after, action) = next(state, input);
        object.registration = after.registration;
        action
    }

    /// The object has other sources, which are polled on.
    fn deregister_one_of_several(&mut self, key: Key, fate: Fate) {
        let Some((entry, None)) = self.table.remove(key) else {
            return;
        };
        self.cancel_by_handle(entry.object, entry.base);
        let is_its = |other: &Entry| other.base == entry.base;
        let is_held = self.table.sources(entry.object).any(is_its);
        if fate == Fate::Kept
            && !is_held
            && let Some(object) = self.table.object_mut(entry.object)
            && object.others == Others::None
        {
            // Whoever has that handle now may poll it elsewhere.
            object.others = Others::Some;
            self.table.touch(entry.object);
        }
    }
}

impl<N: Nt, D: Defects> Drop for Port<N, D> {
    fn drop(&mut self) {
        // Who wants to know calls `shut_down`.
        let _ = self.end();
    }
}

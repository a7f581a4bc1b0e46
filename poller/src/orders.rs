//! What other threads have a poller do, until its next pass takes it.
//!
//! Orders are put down before the wake, and the poller looks before it may sleep. The flag saves a poller that
//! nobody gives orders the lock; it changes under the lock only, so it is never out of step with the list.

use std::marker::PhantomData;
use std::sync::PoisonError;

use super::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// Defects to plant, so that the models show that they would notice. None in production.
pub(crate) trait QueueDefects {
    /// The flag is set before the order is there.
    const FLAGS_EARLY: bool = false;
    /// The list is emptied first and closed afterwards.
    const CLOSES_LATE: bool = false;
}

#[derive(Debug)]
pub(crate) struct SoundQueue;

impl QueueDefects for SoundQueue {}

#[derive(Debug)]
pub(crate) struct Orders<O, D = SoundQueue> {
    /// There is something in the list.
    is_filled: AtomicBool,
    list: Mutex<List<O>>,
    defects: PhantomData<D>,
}

#[derive(Debug)]
struct List<O> {
    orders: Vec<O>,
    /// Nobody will take anything any more.
    is_closed: bool,
}

impl<O, D: QueueDefects> Orders<O, D> {
    pub(crate) fn new() -> Self {
        Orders {
            is_filled: AtomicBool::new(false),
            list: Mutex::new(List {
                orders: Vec::new(),
                is_closed: false,
            }),
            defects: PhantomData,
        }
    }

    fn list(&self) -> MutexGuard<'_, List<O>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an order down, or gives it back if the poller is gone. The caller wakes the poller afterwards.
    pub(crate) fn push(&self, order: O) -> Result<(), O> {
        if D::FLAGS_EARLY {
            self.is_filled.store(true, Ordering::Release);
        }
        let mut list = self.list();
        if list.is_closed {
            return Err(order);
        }
        list.orders.push(order);
        if !D::FLAGS_EARLY {
            self.is_filled.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Takes all orders, in the order in which they were put down.
    pub(crate) fn take(&self) -> Vec<O> {
        if !self.is_filled.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut list = self.list();
        self.is_filled.store(false, Ordering::Release);
        std::mem::take(&mut list.orders)
    }

    /// Takes no order from here on, and gives back those that were not taken.
    pub(crate) fn close(&self) -> Vec<O> {
        let mut list = self.list();
        let left = std::mem::take(&mut list.orders);
        if D::CLOSES_LATE {
            drop(list);
            list = self.list();
        }
        list.is_closed = true;
        left
    }
}

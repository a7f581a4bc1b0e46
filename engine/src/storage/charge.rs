//! Whose budget a message's memory counts against.

use crate::between::key::{GroupPlace, RecordKey};
use crate::sync::Arc;

/// To whom a message's memory is charged, and with how much: to the application, to the inbound budget as a part of
/// what a connection holds, or, after the message was returned, to the outbound budget.
///
/// Its fields are written one by one, where they stay. A charge that is put together elsewhere and moved here has
/// to be waited for: processors do not pass on to one load what several stores wrote a moment ago.
pub(crate) struct Charge {
    /// Who is given an outbound charge back.
    creditor: Option<SharedCreditor>,
    /// Which connection holds an inbound one.
    generation: u64,
    index: u32,
    /// 0, if it is the application's.
    cost: u32,
}

impl Charge {
    pub(crate) const NONE: Charge = Charge {
        creditor: None,
        generation: 0,
        index: 0,
        cost: 0,
    };

    /// What is charged to the inbound budget, and to whom.
    #[inline]
    pub(crate) fn inbound(&self) -> Option<(RecordKey, usize)> {
        (self.cost > 0 && self.creditor.is_none()).then_some((
            RecordKey {
                index: self.index,
                generation: self.generation,
            },
            self.cost as usize,
        ))
    }

    /// Whether it is charged to the outbound budget.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.creditor.is_some()
    }

    /// What is charged to the outbound budget, and which group holds it.
    pub(crate) fn held(&self) -> Option<(GroupPlace, usize)> {
        let creditor = self.creditor.as_ref()?;
        Some((creditor.group(), self.cost as usize))
    }

    /// Charges the inbound budget. What was charged before is to be settled by then.
    #[inline]
    pub(super) fn set_inbound(&mut self, key: RecordKey, cost: usize) {
        self.clear();
        self.generation = key.generation;
        self.index = key.index;
        self.cost = count(cost);
    }

    /// Takes a part of what is charged to the inbound budget away, which passes on to another.
    #[inline]
    pub(super) fn take_inbound(&mut self, cost: usize) -> RecordKey {
        let (key, _) = self.inbound().expect("it is charged for what it passes on");
        self.cost = self
            .cost
            .checked_sub(count(cost))
            .expect("no more is taken than is charged");
        key
    }

    pub(super) fn set_hold(&mut self, mut hold: Hold) {
        self.clear();
        self.cost = count(hold.cost);
        self.creditor = hold.creditor.take();
    }

    /// Takes an outbound charge away, to be settled by the caller.
    pub(super) fn take_hold(&mut self) -> Option<Hold> {
        let creditor = self.creditor.take()?;
        let cost = std::mem::take(&mut self.cost) as usize;
        Some(Hold {
            creditor: Some(creditor),
            cost,
        })
    }

    /// Makes it the application's. An outbound charge is given back.
    #[inline]
    pub(super) fn clear(&mut self) {
        if self.creditor.is_some() {
            self.settle();
        }
        self.cost = 0;
    }

    #[cold]
    fn settle(&mut self) {
        drop(self.take_hold());
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What a message is charged, in four bytes.
#[inline]
fn count(cost: usize) -> u32 {
    u32::try_from(cost).expect("no message costs more than the largest")
}

/// A part of the outbound budget that a group holds and that is given back on drop.
pub(crate) struct Hold {
    /// Where it is given back to, until then.
    creditor: Option<SharedCreditor>,
    cost: usize,
}

/// Where a [`Hold`] is given back to: one for each group.
pub(crate) trait Creditor: Send + Sync {
    fn release(&self, cost: usize);

    /// The group that holds it.
    fn group(&self) -> GroupPlace;

    /// Makes it one that many messages hold a part of.
    fn shared(self) -> SharedCreditor
    where
        Self: Sized + 'static,
    {
        Arc::new(Box::new(self))
    }
}

/// In one word, since each message has a place for it.
pub(crate) type SharedCreditor = Arc<Box<dyn Creditor>>;

impl Hold {
    pub(crate) fn new(creditor: SharedCreditor, cost: usize) -> Self {
        Hold {
            creditor: Some(creditor),
            cost,
        }
    }

    /// Ends the hold without giving anything back: the charge has passed on.
    pub(crate) fn pass_on(mut self) {
        self.cost = 0;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(creditor) = &self.creditor
            && self.cost > 0
        {
            creditor.release(self.cost);
        }
    }
}

//! Whose budget a message's memory counts against.

use crate::between::key::{GroupPlace, RecordKey};
use crate::sync::Arc;

/// To whom a message's memory is charged.
pub(crate) enum Charge {
    /// To the application.
    None,
    /// To the inbound budget, as part of what this connection holds, and with how much.
    Inbound(RecordKey, usize),
    /// To the outbound budget, after the message was returned.
    Returned(Hold),
}

/// A part of the outbound budget that a group holds and that is given back on drop.
pub(crate) struct Hold {
    creditor: Arc<dyn Creditor>,
    cost: usize,
}

/// Where a [`Hold`] is given back to: one for each group.
pub(crate) trait Creditor: Send + Sync {
    fn release(&self, cost: usize);

    /// The group that holds it.
    fn group(&self) -> GroupPlace;
}

impl Hold {
    pub(crate) fn new(creditor: Arc<dyn Creditor>, cost: usize) -> Self {
        Hold { creditor, cost }
    }

    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// Who holds it.
    pub(crate) fn group(&self) -> GroupPlace {
        self.creditor.group()
    }

    /// Ends the hold without giving anything back: the charge has passed on.
    pub(crate) fn pass_on(mut self) {
        self.cost = 0;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.cost > 0 {
            self.creditor.release(self.cost);
        }
    }
}

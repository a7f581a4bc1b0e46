//! The outbound budget: what all groups share, and what each has of its own.
//!
//! What a group holds, queued or returned, counts against its own reserve first, and beyond that
//! against the shared part. So a group that keeps what was returned to it cannot deny others their
//! posts for good.

use crate::between::key::GroupPlace;

/// A group's part of the budget.
pub(super) struct Part {
    /// Bytes that no other group can take.
    reserve: usize,
    /// Bytes charged to the group.
    used: usize,
}

impl Part {
    pub(super) fn new(reserve: usize) -> Part {
        Part { reserve, used: 0 }
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// What is left of the reserve.
    pub(super) fn free(&self) -> usize {
        self.reserve.saturating_sub(self.used)
    }

    /// What the group takes of the shared part.
    fn beyond_reserve(&self) -> usize {
        self.used.saturating_sub(self.reserve)
    }

    #[cfg(test)]
    pub(super) fn reserve(&self) -> usize {
        self.reserve
    }
}

/// What the groups share.
pub(super) struct Outbound {
    limit: usize,
    used: usize,
}

impl Outbound {
    pub(super) fn new(limit: usize) -> Outbound {
        Outbound { limit, used: 0 }
    }

    /// What is left of the shared part. Channels may have taken more than all of it for their own
    /// reserves.
    pub(super) fn free(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    #[inline]
    pub(super) fn charge(&mut self, part: &mut Part, cost: usize) {
        let before = part.beyond_reserve();
        part.used += cost;
        self.used += part.beyond_reserve() - before;
    }

    #[inline]
    pub(super) fn release(&mut self, part: &mut Part, cost: usize) {
        assert!(
            part.used >= cost,
            "no more credit is released than was charged"
        );
        let before = part.beyond_reserve();
        part.used -= cost;
        self.used -= before - part.beyond_reserve();
    }
}

/// What messages had been charged that are returned, and what they are from now on, which is no less.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ReturnedCost {
    pub(crate) queued: usize,
    pub(crate) returned: usize,
}

#[cfg(test)]
impl ReturnedCost {
    /// Of messages that were charged as much before.
    pub(crate) fn unchanged(cost: usize) -> Self {
        let (queued, returned) = (cost, cost);
        ReturnedCost { queued, returned }
    }
}

/// What a message holds already that was returned and is posted again.
#[derive(Clone, Copy)]
pub(crate) struct Holding {
    /// The group that it was returned to.
    pub(crate) group: GroupPlace,
    pub(crate) cost: usize,
}

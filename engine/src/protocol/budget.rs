//! The inbound budget: who may receive, and who waits for it in which order.
//!
//! Each group has a reserve that the others cannot take, and beyond it all share what the engine has.
//! Who finds no budget lines up: first come, first served, in each group, and among those who wait for
//! the shared part. A group that fits into its own reserve waits for nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use crate::between::key::RecordKey;

use super::decisions;

/// Bytes of received messages, charged when a frame's header has arrived, or its first part where the
/// budget runs short, and released when the message is dropped.
pub(super) struct Budget {
    /// What the groups share, beyond their reserves.
    limit: usize,
    /// What one connection may hold.
    share: usize,
    /// What is used of `limit`.
    used: usize,
    /// What is charged to all groups together, their reserves included.
    charged: usize,
    groups: Vec<GroupBudget>,
    /// Parts of groups that have ended and of which nothing is held any more.
    free: Vec<BudgetKey>,
    /// Connections that are gone, with their group's part and what the application still holds of them.
    departed: BTreeMap<RecordKey, (BudgetKey, usize)>,
    /// The groups in which somebody waits, by the first in line.
    heads: BTreeSet<(Ticket, BudgetKey)>,
    ticket_next: Ticket,
    /// Connections that wait, for budget or for their own share.
    starved: usize,
    /// A line has come to have nobody in it.
    has_line_emptied: bool,
}

/// A place in line.
pub(super) type Ticket = NonZeroU64;

/// Names a group's part of the budget.
pub(super) type BudgetKey = usize;

type Line = BTreeMap<Ticket, (RecordKey, usize)>;

#[derive(Default)]
struct GroupBudget {
    is_closed: bool,
    reserve: usize,
    used: usize,
    line: Line,
}

impl GroupBudget {
    /// What the group takes of the shared part if it uses so much.
    fn beyond_reserve(&self, used: usize) -> usize {
        used.saturating_sub(self.reserve)
    }

    /// How much more it would take of the shared part.
    fn shared_for(&self, cost: usize) -> usize {
        self.beyond_reserve(self.used + cost) - self.beyond_reserve(self.used)
    }
}

/// Why a frame cannot be received now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Starved {
    /// The connection holds its share already: it waits for its own messages to be dropped.
    ByShare,
    /// The budget is used up: the connection stands in line.
    InLine(Ticket),
}

/// Who asks for budget, and what it holds already.
pub(super) struct Asking<'a> {
    pub(super) key: RecordKey,
    pub(super) budget_key: BudgetKey,
    pub(super) held: &'a mut usize,
}

impl Budget {
    pub(super) fn new(limit: usize, share: usize) -> Self {
        Budget {
            limit,
            share,
            used: 0,
            charged: 0,
            groups: Vec::new(),
            free: Vec::new(),
            departed: BTreeMap::new(),
            heads: BTreeSet::new(),
            ticket_next: NonZeroU64::MIN,
            starved: 0,
            has_line_emptied: false,
        }
    }

    /// Opens a part for a group.
    pub(super) fn open(&mut self, reserve: usize) -> BudgetKey {
        let budget_key = self.free.pop().unwrap_or_else(|| {
            self.groups.push(GroupBudget::default());
            self.groups.len() - 1
        });
        self.groups[budget_key] = GroupBudget {
            reserve,
            ..GroupBudget::default()
        };
        budget_key
    }

    /// A group has ended, and its connections are gone. Its part stays until its application holds
    /// nothing more of it.
    pub(super) fn close(&mut self, budget_key: BudgetKey) {
        assert!(
            self.groups[budget_key].line.is_empty(),
            "nobody waits for a group that has ended"
        );
        self.groups[budget_key].is_closed = true;
        self.free_if_done(budget_key);
    }

    fn free_if_done(&mut self, budget_key: BudgetKey) {
        if self.groups[budget_key].is_closed && self.groups[budget_key].used == 0 {
            self.free.push(budget_key);
        }
    }

    /// Whether somebody of a group waits for budget.
    pub(super) fn has_line(&self, budget_key: BudgetKey) -> bool {
        !self.groups[budget_key].line.is_empty()
    }

    /// Whether nobody is left in some group's line, since this was last asked.
    pub(super) fn take_line_emptied(&mut self) -> bool {
        std::mem::take(&mut self.has_line_emptied)
    }

    /// As [`take_line_emptied`](Budget::take_line_emptied) will tell.
    #[cfg(test)]
    pub(super) fn has_line_emptied(&self) -> bool {
        self.has_line_emptied
    }

    /// Whether a frame may be charged though its header is all that is here: while at most half of what
    /// the groups share would be used then.
    pub(super) fn is_ample(&self, budget_key: BudgetKey, cost: usize) -> bool {
        self.used + self.groups[budget_key].shared_for(cost) <= self.limit / 2
    }

    /// Charges `cost`, or lines the connection up if there is none for it, unless it has to wait for
    /// its own share first.
    pub(super) fn charge(&mut self, asking: Asking<'_>, cost: usize) -> Result<(), Starved> {
        if !self.share_allows(*asking.held, cost) {
            self.starved += 1;
            return Err(Starved::ByShare);
        }
        let group = &self.groups[asking.budget_key];
        let must_wait = match group.shared_for(cost) {
            _ if !group.line.is_empty() => true,
            0 => false,
            shared => !self.heads.is_empty() || !self.fits(shared),
        };
        if must_wait {
            self.starved += 1;
            return Err(self.line_up(asking.key, asking.budget_key, cost));
        }
        *asking.held += cost;
        self.take(asking.budget_key, cost);
        Ok(())
    }

    /// How much may be charged to a connection that holds `held`, piece by piece or together, without
    /// waiting: by [`take`](Budget::take).
    pub(super) fn allowance(&self, budget_key: BudgetKey, held: usize) -> usize {
        let group = &self.groups[budget_key];
        if !group.line.is_empty() {
            return 0;
        }
        let shared = match self.heads.is_empty() {
            true => self.limit.saturating_sub(self.used),
            false => 0,
        };
        let own = group.reserve.saturating_sub(group.used);
        own.saturating_add(shared)
            .min(self.share.saturating_sub(held))
    }

    /// Charges a group what there is budget for.
    pub(super) fn take(&mut self, budget_key: BudgetKey, cost: usize) {
        let group = &mut self.groups[budget_key];
        self.used += group.shared_for(cost);
        group.used += cost;
        self.charged += cost;
    }

    /// A message that is larger than all of the shared part passes while nothing else is charged there.
    fn fits(&self, shared: usize) -> bool {
        self.used == 0 || self.used + shared <= self.limit
    }

    pub(super) fn release(&mut self, budget_key: BudgetKey, cost: usize) {
        let group = &mut self.groups[budget_key];
        assert!(
            group.used >= cost,
            "no more budget is released than was charged"
        );
        let before = group.beyond_reserve(group.used);
        group.used -= cost;
        self.charged -= cost;
        self.used -= before - group.beyond_reserve(group.used);
        self.free_if_done(budget_key);
    }

    /// A connection goes of which the application still holds so much.
    pub(super) fn depart(&mut self, key: RecordKey, budget_key: BudgetKey, held: usize) {
        if held > 0 {
            self.departed.insert(key, (budget_key, held));
        }
    }

    /// Releases what was held of a connection that is gone.
    pub(super) fn release_departed(&mut self, key: RecordKey, cost: usize) {
        let (budget_key, held) = self
            .departed
            .get_mut(&key)
            .expect("no more is released than was held of a connection that is gone");
        assert!(*held >= cost, "no more is released than was held");
        *held -= cost;
        let (budget_key, is_done) = (*budget_key, *held == 0);
        if is_done {
            self.departed.remove(&key);
        }
        self.release(budget_key, cost);
    }

    /// Puts a starved connection at the end of its group's line.
    pub(super) fn line_up(
        &mut self,
        key: RecordKey,
        budget_key: BudgetKey,
        cost: usize,
    ) -> Starved {
        let ticket = decisions::place_in_line(self.ticket_next);
        let next = self.ticket_next.checked_add(1);
        self.ticket_next = next.expect("2^64 tickets take centuries");
        self.change_line(budget_key, |line| line.insert(ticket, (key, cost)));
        Starved::InLine(ticket)
    }

    /// Whether a connection that holds `held` may have `cost` as far as its own share goes.
    pub(super) fn share_allows(&self, held: usize, cost: usize) -> bool {
        held == 0 || held + cost <= self.share
    }

    /// Notes that a connection ended that starved.
    pub(super) fn leave(&mut self, budget_key: BudgetKey, why: Starved) {
        self.starved -= 1;
        if let Starved::InLine(ticket) = why {
            let left = self.change_line(budget_key, |line| line.remove(&ticket));
            assert!(left.is_some(), "who waits stands in line");
        }
    }

    fn change_line<T>(&mut self, budget_key: BudgetKey, change: impl FnOnce(&mut Line) -> T) -> T {
        let line = &mut self.groups[budget_key].line;
        let before = line.first_key_value().map(|(&ticket, _)| ticket);
        let changed = change(line);
        let after = line.first_key_value().map(|(&ticket, _)| ticket);
        if before != after {
            before.map(|ticket| self.heads.remove(&(ticket, budget_key)));
            after.map(|ticket| self.heads.insert((ticket, budget_key)));
            self.has_line_emptied |= after.is_none();
        }
        changed
    }

    /// Takes the next in line for whom there is budget out of it, charged with what it waited for:
    /// its `held` is for the caller to raise.
    pub(super) fn serve_next(&mut self) -> Option<(RecordKey, usize)> {
        let mut is_shared_open = true;
        let served = self.heads.iter().find_map(|&(ticket, budget_key)| {
            let group = &self.groups[budget_key];
            let (_, cost) = group.line[&ticket];
            let shared = group.shared_for(cost);
            let is_served = shared == 0 || (is_shared_open && self.fits(shared));
            is_shared_open &= is_served;
            is_served.then_some((ticket, budget_key))
        });
        let (ticket, budget_key) = served?;
        let (key, cost) = self
            .change_line(budget_key, |line| line.remove(&ticket))
            .expect("the head of a line stands in it");
        self.take(budget_key, cost);
        self.starved -= 1;
        Some((key, cost))
    }

    /// How many bytes are worth looking up for who waits, while there are drops all the time.
    pub(super) fn hunger(&self) -> usize {
        self.limit.min(self.share) / 8
    }

    pub(super) fn is_starving(&self) -> bool {
        self.starved > 0
    }

    /// Bytes charged, reserves included.
    pub(super) fn charged(&self) -> usize {
        self.charged
    }

    /// Connections that wait for budget.
    pub(super) fn starved(&self) -> usize {
        self.starved
    }

    /// As [`charged`](Budget::charged), summed up anew.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        let sum = self.groups.iter().map(|group| group.used).sum();
        assert_eq!(self.charged, sum, "what is charged is known");
        sum
    }

    /// The most that may be charged: the shared part, and every reserve.
    #[cfg(test)]
    pub(super) fn most(&self) -> usize {
        let open = |group: &&GroupBudget| !group.is_closed || group.used > 0;
        let reserves = self.groups.iter().filter(open).map(|group| group.reserve);
        self.limit + reserves.sum::<usize>()
    }

    /// Asserts that nobody waits for whom there is something in its group's reserve.
    #[cfg(test)]
    pub(super) fn check_reserves(&self) {
        for group in &self.groups {
            if let Some((_, &(key, cost))) = group.line.first_key_value() {
                assert!(
                    group.used + cost > group.reserve,
                    "P6: {key:?} waits beside a reserve of {} of which {} are used",
                    group.reserve,
                    group.used
                );
            }
        }
    }

    /// Those in line, in the order of their tickets in each group.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> impl Iterator<Item = RecordKey> {
        let lines = self.groups.iter().flat_map(|group| group.line.values());
        lines.map(|&(key, _)| key)
    }
}

#[cfg(test)]
mod tests;

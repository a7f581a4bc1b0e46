//! Which channel numbers are free, and whether a group may have one.
//!
//! A number is taken from when its channel is opened until the application has received its `Closed`.
//! So a group that receives nothing keeps all that it gets, and a peer that says hello and goes, again
//! and again, gets it as many as there are. For that each group that is open has a *reserve* of numbers
//! that the others cannot take.
//!
//! Where fewer numbers are free than the reserves lack, because groups were opened after others had
//! taken them, all reserves are lowered to the one *level* up to which there is enough for everybody.

use std::collections::VecDeque;

use super::NUMBER_MAX;

/// A number rests here after its channel ended, so that a reader of logs meets it only once for a
/// while. Nothing relies on this distance: generations tell incarnations apart. A number that rests is
/// free: it is given out before its time where there is no other.
pub(super) const QUARANTINE: usize = 1024;

/// So many numbers each group can have whatever the others hold. Stated in the documentation of
/// `GroupOptions`.
pub(crate) const NUMBERS_RESERVED: usize = 64;

pub(crate) struct Numbers {
    /// The highest that there is.
    max: u16,
    /// How many rest before the first of them is used again.
    quarantine: usize,
    /// The most that is reserved for a group.
    reserve_max: usize,
    /// The highest that was ever given out.
    highest: u16,
    /// Those whose `Closed` was received, oldest first.
    resting: VecDeque<u16>,
    /// How many are taken.
    taken: usize,
    /// How many groups are open.
    groups: usize,
    /// How many of them hold none, one, two, and so on. Those with the whole reserve or more are not in
    /// it.
    holding: Vec<usize>,
}

/// What a group holds of the numbers.
pub(crate) struct Held {
    count: usize,
    /// It may still take some: its reserve counts.
    is_open: bool,
}

impl Held {
    /// Whether nothing of the group is left here.
    pub(crate) fn is_done(&self) -> bool {
        !self.is_open && self.count == 0
    }
}

impl Numbers {
    pub(crate) fn new(quarantine: usize) -> Self {
        Numbers::with_limits(NUMBER_MAX, quarantine, NUMBERS_RESERVED)
    }

    /// Numbers up to `max`: models cannot take 65,534.
    pub(crate) fn with_limits(max: u16, quarantine: usize, reserve_max: usize) -> Self {
        Numbers {
            max,
            quarantine,
            reserve_max,
            highest: 0,
            resting: VecDeque::new(),
            taken: 0,
            groups: 0,
            holding: vec![0; reserve_max],
        }
    }

    pub(crate) fn open_group(&mut self) -> Held {
        self.groups += 1;
        self.holding[0] += 1;
        Held {
            count: 0,
            is_open: true,
        }
    }

    /// A group takes no more numbers.
    pub(crate) fn end_group(&mut self, held: &mut Held) {
        assert!(held.is_open, "a group ends once");
        held.is_open = false;
        self.groups -= 1;
        if let Some(groups) = self.holding.get_mut(held.count) {
            *groups -= 1;
        }
    }

    /// Gives a number to a group, if there is one that no other group's reserve needs.
    pub(crate) fn take(&mut self, held: &mut Held) -> Option<u16> {
        assert!(held.is_open, "a group that has ended takes no number");
        if !self.may_take(held) {
            return None;
        }
        let number = self.next();
        self.taken += 1;
        self.count(held, held.count + 1);
        Some(number)
    }

    /// Lets a number rest: the application has taken its channel's `Closed`, or never will.
    pub(crate) fn rest(&mut self, held: &mut Held, number: u16) {
        self.resting.push_back(number);
        self.taken -= 1;
        self.count(held, held.count - 1);
    }

    fn count(&mut self, held: &mut Held, count: usize) {
        if held.is_open {
            if let Some(groups) = self.holding.get_mut(held.count) {
                *groups -= 1;
            }
            if let Some(groups) = self.holding.get_mut(count) {
                *groups += 1;
            }
        }
        held.count = count;
    }

    /// The free number that is used next. There is one.
    fn next(&mut self) -> u16 {
        let has_unused = self.highest < self.max;
        if self.resting.len() > self.quarantine || !has_unused {
            let rested = self.resting.pop_front();
            return rested.expect("a number is free that was used before");
        }
        self.highest += 1;
        self.highest
    }

    fn may_take(&self, held: &Held) -> bool {
        let reserve = self.reserve();
        let (level, left) = self.level(reserve);
        let is_for_anybody = level == reserve || held.count == level;
        held.count < level || (left > 0 && is_for_anybody)
    }

    /// What each group can have whatever the others hold. All groups together have half of the numbers
    /// at most, so that with very many groups one can still have many channels.
    fn reserve(&self) -> usize {
        let half = usize::from(self.max) / 2;
        (half / self.groups.max(1)).clamp(1, self.reserve_max)
    }

    /// Up to how many numbers there is enough for each group, `reserve` at most, and how many are free
    /// beyond that.
    fn level(&self, reserve: usize) -> (usize, usize) {
        let mut left = usize::from(self.max) - self.taken;
        let mut groups = 0;
        for level in 0..reserve {
            groups += self.holding[level]; // so many lack one to have more than the level
            match left.checked_sub(groups) {
                Some(rest) => left = rest,
                None => return (level, left),
            }
        }
        (reserve, left)
    }
}

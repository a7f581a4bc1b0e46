//! Posts to one channel, one right behind the other: what has to be looked at once is.

use crate::channel::Channel;

use super::slot::{Kind, State};
use super::{RESERVE_FOR_DATA, Registry};

/// Data for one channel, under one hold of the lock: charged when it ends.
pub(crate) struct Run {
    channel: Channel,
    /// What may still be admitted, in bytes.
    left: usize,
    cost: usize,
    count: u64,
}

impl Run {
    pub(crate) fn channel(&self) -> Channel {
        self.channel
    }

    /// Admits one more message, if there is room for it.
    #[inline]
    pub(crate) fn take(&mut self, cost: usize) -> bool {
        self.take_many(1, cost)
    }

    /// Admits so many more, if there is room for what they cost together.
    #[inline]
    pub(crate) fn take_many(&mut self, count: u32, cost: usize) -> bool {
        let has_room = cost <= self.left;
        if has_room {
            self.left -= cost;
            self.cost += cost;
            self.count += u64::from(count);
        }
        has_room
    }
}

impl Registry {
    /// Begins a run of data behind a post that was [admitted](Registry::admit) under the same hold of the
    /// lock, unless that was the last that the channel takes. In the registry nothing changes before
    /// [`end_run`](Registry::end_run).
    pub(crate) fn begin_run(&mut self, channel: Channel) -> Option<Run> {
        let credit = self.credit.channel;
        let slot = self.slot(channel)?;
        let takes_data = slot.state == State::Open
            && slot.kind == Kind::Connection
            && !slot.bye_request
            && !slot.bye_response;
        let (place, used) = (slot.place, slot.used);
        // As `admit` says of one message after the other.
        let by_reserve = RESERVE_FOR_DATA.saturating_sub(used);
        let left = self.room_of(place).max(by_reserve);
        takes_data.then(|| Run {
            channel,
            left: left.min(credit.saturating_sub(used)),
            cost: 0,
            count: 0,
        })
    }

    /// Charges what was admitted in a run.
    pub(crate) fn end_run(&mut self, run: Run) {
        if run.count == 0 {
            return;
        }
        let slot = &mut self.slots[usize::from(run.channel.number())];
        slot.used += run.cost;
        slot.progress.posted += run.count;
        let place = slot.place;
        self.charge_part(place, run.cost);
    }
}

//! Who is told of room, when, and in which order.
//!
//! A channel that wants room, and has used half of its own credit at most, stands in line until the
//! engine has room for what it wants. There are lines by how much that is, so that one that
//! wants little does not wait behind one that wants much; among those for whom there is room, the
//! one that has stood longest is told first. As many are told as there is room for: what one is told
//! of is *promised* to it until it posts. A promise binds nobody else's posts, only who is told; and
//! it lapses when the reactor says so, since not everybody who is told has still something to post.

use std::collections::VecDeque;
use std::task::{Poll, Waker};

use crate::between::decision::Decision;
use crate::between::waiting::RoomWait;
use crate::channel::Channel;
use crate::storage::{MESSAGE_COST_MAX, SMALLEST_COST, cost_of};
use crate::sync::decide;

use super::slot::{Denied, Kind, Slot, State};
use super::{GroupId, RESERVE_FOR_DATA, Registry};

/// The most that those in a line wait for: little, some pages, a full body, the largest message.
const WANTED: [usize; 5] = [
    SMALLEST_COST,
    cost_of(4096),
    cost_of(16 << 10),
    cost_of(65 << 10),
    MESSAGE_COST_MAX,
];

/// One line for those whose reserve takes what they want, and one for each of these.
const LINES: usize = 1 + WANTED.len();

/// How much room of the engine's those in a line wait for.
fn wanted_in(line: usize) -> usize {
    if line == 0 {
        0 // their own reserve
    } else {
        WANTED[line - 1]
    }
}

/// The line of a channel that wants so much.
fn line_of(slot: &Slot, wanted: usize) -> usize {
    if slot.used + wanted <= RESERVE_FOR_DATA {
        return 0;
    }
    let takes_it = |&line: &usize| wanted_in(line) >= wanted;
    (1..LINES)
        .find(takes_it)
        .expect("no message costs more than the largest")
}

#[derive(Default)]
pub(super) struct Room {
    /// Numbers in the order in which they came, which the first of each pair counts.
    lines: [VecDeque<(u64, u16)>; LINES],
    arrivals: u64,
    /// What was told of in this round, and not posted into yet.
    promised: usize,
    round: u64,
}

impl Room {
    fn line_up(&mut self, slot: &mut Slot, number: u16, line: usize) {
        let bit = 1 << line;
        if slot.lines & bit == 0 {
            slot.lines |= bit;
            self.arrivals += 1;
            self.lines[line].push_back((self.arrivals, number));
        }
    }

    /// Of the lines for which `free` bytes are enough, the one whose first has stood longest.
    fn first_line(&self, free: usize) -> Option<usize> {
        let fitting = (0..LINES).filter(|&line| wanted_in(line) <= free);
        let firsts = fitting.filter_map(|line| Some((self.lines[line].front()?.0, line)));
        firsts.min().map(|(_, line)| line)
    }

    fn promise(&mut self, slot: &mut Slot, room: usize) {
        self.end_promise(slot);
        slot.promised = room;
        slot.promise_round = self.round;
        self.promised += room;
    }

    /// The channel has posted, or will not any more.
    pub(super) fn end_promise(&mut self, slot: &mut Slot) {
        let promised = std::mem::take(&mut slot.promised);
        if slot.promise_round == self.round {
            self.promised -= promised;
        }
    }
}

impl Registry {
    /// Notes a channel that wants room and has used half of its own credit at most. Half, so that
    /// a channel at its limit is not told once per message.
    pub(super) fn line_up_for_room(&mut self, channel: Channel) {
        let wanted = self.wanted_room(channel);
        let limit = self.credit.channel / 2;
        let number = channel.number();
        let slot = &mut self.slots[usize::from(number)];
        let has_room = slot.state == State::Open && slot.used <= limit;
        if let Some(wanted) = wanted.filter(|_| has_room) {
            let line = line_of(slot, wanted);
            self.room.line_up(slot, number, line);
        }
    }

    /// The least for which the channel's threads were refused, and its tasks wait.
    fn wanted_room(&self, channel: Channel) -> Option<usize> {
        let by_event = self.slots[usize::from(channel.number())].wanted_by_event();
        let by_tasks = self.waiting.aims(channel).min();
        let by_tasks = by_tasks.filter(|_| decide(Decision::TaskIsLinedUp, true));
        by_event.into_iter().chain(by_tasks).min()
    }

    /// Whether [`take_room`](Registry::take_room) has somebody to tell, once promises have lapsed.
    pub(crate) fn room_is_wanted(&self) -> bool {
        self.room.first_line(self.engine_room()).is_some()
    }

    /// Whether [`take_room`](Registry::take_room) has somebody to tell now.
    pub(crate) fn can_tell_room(&self) -> bool {
        let free = self.engine_room().saturating_sub(self.room.promised);
        self.room.first_line(free).is_some()
    }

    /// What the engine's credit still takes.
    fn engine_room(&self) -> usize {
        self.credit.engine.saturating_sub(self.used)
    }

    /// Moves to `told` the channels that were refused and may post again what was refused: those that
    /// have used half of their own credit at most, as far as the engine's goes, in the order in which
    /// they were refused. Each is told once, however often it was refused since it was told last, and
    /// not again before its Room [was taken](Registry::room_taken). Has the tasks woken that wait for
    /// these channels.
    ///
    /// Call it after what was released, under the same lock. If [`room_is_wanted`](Self::room_is_wanted)
    /// after it, what was promised stands in the way: call it again once that [has
    /// lapsed](Registry::lapse_promises).
    pub(crate) fn take_room(&mut self, told: &mut Vec<Channel>) {
        let limit = self.credit.channel / 2;
        loop {
            let free = self.engine_room().saturating_sub(self.room.promised);
            let Some(line) = self.room.first_line(free) else {
                return;
            };
            let first = self.room.lines[line].pop_front();
            let (_, number) = first.expect("somebody stands in this line");
            let slot = &mut self.slots[usize::from(number)];
            assert!(slot.lines & 1 << line != 0, "a number is lined up once");
            slot.lines &= !(1 << line);
            // One that has posted meanwhile and has no room any more is lined up again when it has.
            if slot.state != State::Open || slot.used > limit {
                continue;
            }
            let channel = Channel::new(number, slot.generation);
            let Some(wanted) = self.wanted_room(channel) else {
                continue;
            };
            let slot = &mut self.slots[usize::from(number)];
            let line_now = line_of(slot, wanted);
            if line_now > line {
                // It wanted less when it lined up, or had more of its reserve left.
                self.room.line_up(slot, number, line_now);
                continue;
            }
            self.room.promise(slot, wanted_in(line_now));
            self.waiting.tell(channel);
            if decide(Decision::ThreadIsToldToo, slot.wanted_by_event().is_some()) {
                slot.wanted = None;
                slot.room_is_unread = true;
                told.push(channel);
            }
        }
    }

    /// Takes back what was promised, for others to be told: who was told had time to post.
    pub(crate) fn lapse_promises(&mut self) {
        self.room.promised = 0;
        self.room.round += 1;
    }

    /// The application has taken a channel's Room, and may be told again if it was refused since.
    /// Returns whether the reactor is to be woken for it.
    pub(crate) fn room_taken(&mut self, channel: Channel) -> bool {
        let Some(slot) = self.slot(channel) else {
            return false; // the channel has ended: nobody is told any more
        };
        slot.room_is_unread = false;
        let was_refused = slot.wanted.is_some();
        self.line_up_for_room(channel);
        was_refused && self.room_is_wanted()
    }

    /// Whether a channel has room for what it was refused last, or, never refused, for any message.
    /// If not, the task that asks is woken when it has, or when it ends; the task's waker is
    /// replaced, and the one before left in its place.
    pub(crate) fn poll_room(
        &mut self,
        channel: Channel,
        group: GroupId,
        task: &mut Option<RoomWait>,
        waker: &mut Option<Waker>,
    ) -> Poll<Result<(), Denied>> {
        let (limit, free) = (self.credit.channel / 2, self.engine_room());
        let slot = self.open_slot(channel, group)?;
        if slot.kind == Kind::Listener {
            return Poll::Ready(Err(Denied::IsListener));
        }
        if slot.bye_response {
            return Poll::Ready(Err(Denied::ByePosted));
        }
        let wanted = slot.refused_last.unwrap_or(MESSAGE_COST_MAX);
        let wanted = task.map_or(wanted, |wait| wait.aim);
        let has_room = slot.used <= limit && wanted_in(line_of(slot, wanted)) <= free;
        if decide(Decision::TaskFindsRoom, has_room) {
            return Poll::Ready(Ok(()));
        }
        let wait = *task.get_or_insert_with(|| self.waiting.begin(wanted));
        self.waiting.wait(channel, wait, waker);
        self.line_up_for_room(channel);
        Poll::Pending
    }

    /// Has a task wait for room no more, and hands back its waker if it did.
    #[must_use = "a waker is dropped when the lock is free"]
    pub(crate) fn leave(&mut self, channel: Channel, task: RoomWait) -> Option<Waker> {
        self.waiting.leave(channel, task)
    }

    /// Has every task woken that waits for a channel of this group: nothing more can be posted.
    pub(crate) fn tell_group(&mut self, group: GroupId) {
        let is_of_group =
            |channel: &Channel| self.slots[usize::from(channel.number())].group == group;
        let channels: Vec<Channel> = self.waiting.channels().filter(is_of_group).collect();
        channels
            .into_iter()
            .for_each(|channel| self.waiting.tell(channel));
    }

    /// What was promised and has not lapsed.
    #[cfg(test)]
    pub(crate) fn promised(&self) -> usize {
        self.room.promised
    }

    /// How many places in lines for room are taken.
    #[cfg(test)]
    pub(crate) fn lined_up(&self) -> usize {
        self.room.lines.iter().map(VecDeque::len).sum()
    }
}

//! Who is told of room, when, and in which order.
//!
//! A channel that wants room, and has used half of its own credit at most, stands in line until there
//! is room for what it wants: in its group's reserve, in what all groups share, or in both together. A
//! group has lines by how much that is, so that one that wants little does not wait behind one that
//! wants much; among those for whom there is room, the one that has stood longest is told first. As
//! many are told as there is room for: what one is told of is *promised* to it until it posts. A
//! promise binds nobody else's posts, only who is told; and it lapses when the reactor says so, since
//! not everybody who is told has still something to post.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Poll, Waker};

use crate::between::decision::Decision;
use crate::between::key::GroupPlace;
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

/// How much room of the group's and the engine's those in a line wait for.
fn wanted_in(line: usize) -> usize {
    if line == 0 {
        0 // the channel's own reserve
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

/// Where a channel stands.
#[derive(Clone, Copy)]
pub(super) struct InLine {
    line: usize,
    /// When it came.
    arrival: u64,
}

/// Room that a channel was told of: of its group's own, and of what all share.
#[derive(Clone, Copy, Default)]
pub(super) struct Promised {
    own: usize,
    shared: usize,
}

/// The channels of a group that want room.
#[derive(Default)]
pub(super) struct Lines {
    /// Their numbers, by when they came.
    lines: [BTreeMap<u64, u16>; LINES],
    /// What was told of the group's own in this round, and not posted into yet.
    promised: usize,
    round: u64,
}

impl Lines {
    fn is_empty(&self) -> bool {
        self.lines.iter().all(BTreeMap::is_empty)
    }

    /// Of those for whom `free` bytes are enough, the one that has stood longest, and since when.
    fn first(&self, free: usize) -> Option<(u64, u16)> {
        let fitting = (0..LINES).filter(|&line| wanted_in(line) <= free);
        let firsts = fitting.filter_map(|line| self.lines[line].first_key_value());
        firsts.min().map(|(&arrival, &number)| (arrival, number))
    }

    fn promised(&self, round: u64) -> usize {
        if self.round == round {
            self.promised
        } else {
            0
        }
    }

    fn promise(&mut self, own: usize, round: u64) {
        self.promised = self.promised(round) + own;
        self.round = round;
    }
}

#[derive(Default)]
pub(super) struct Room {
    /// The groups in which somebody stands in line.
    groups: BTreeSet<GroupPlace>,
    arrivals: u64,
    /// What was told of the shared part in this round, and not posted into yet.
    promised: usize,
    round: u64,
    /// The channels to which a goodbye was posted while tasks waited for room there.
    goodbyes: Vec<Channel>,
}

impl Registry {
    /// Notes a channel that wants room and has used half of its own credit at most. Half, so that
    /// a channel at its limit is not told once per message.
    pub(super) fn line_up_for_room(&mut self, channel: Channel) {
        let wanted = self.wanted_room(channel);
        let limit = self.credit.channel / 2;
        let number = channel.number();
        let slot = &self.slots[usize::from(number)];
        let has_room = slot.state == State::Open && slot.used <= limit;
        if let Some(wanted) = wanted.filter(|_| has_room) {
            let line = line_of(slot, wanted);
            self.line_up(number, line);
        }
    }

    /// Puts a channel into a line. One that stands in another goes there with its turn.
    fn line_up(&mut self, number: u16, line: usize) {
        let slot = &mut self.slots[usize::from(number)];
        let lines = &mut self.groups.get_mut(slot.place).lines;
        let arrival = match slot.in_line {
            Some(stands) if stands.line == line => return,
            Some(stands) => {
                lines.lines[stands.line].remove(&stands.arrival);
                stands.arrival
            }
            None => {
                self.room.arrivals += 1;
                self.room.groups.insert(slot.place);
                self.room.arrivals
            }
        };
        lines.lines[line].insert(arrival, number);
        slot.in_line = Some(InLine { line, arrival });
    }

    pub(super) fn leave_line(&mut self, number: u16) {
        let slot = &mut self.slots[usize::from(number)];
        let Some(stands) = slot.in_line.take() else {
            return;
        };
        let lines = &mut self.groups.get_mut(slot.place).lines;
        let left = lines.lines[stands.line].remove(&stands.arrival);
        assert_eq!(left, Some(number), "it stands where it says");
        if lines.is_empty() {
            self.room.groups.remove(&slot.place);
        }
    }

    fn promise(&mut self, channel: Channel, room: usize) {
        self.end_promise(channel);
        let slot = &mut self.slots[usize::from(channel.number())];
        let (round, group) = (self.room.round, self.groups.get_mut(slot.place));
        let own = group.outbound.free();
        let own = room.min(own.saturating_sub(group.lines.promised(round)));
        group.lines.promise(own, round);
        let shared = room - own;
        self.room.promised += shared;
        slot.promised = Promised { own, shared };
        slot.promise_round = round;
    }

    /// The channel has posted, or will not any more.
    #[inline]
    pub(super) fn end_promise(&mut self, channel: Channel) {
        let slot = &mut self.slots[usize::from(channel.number())];
        let Promised { own, shared } = std::mem::take(&mut slot.promised);
        if slot.promise_round != self.room.round {
            return;
        }
        self.room.promised -= shared;
        if own > 0 {
            self.groups.get_mut(slot.place).lines.promised -= own;
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
        self.first_in_line(Registry::room_of).is_some()
    }

    /// Whether [`take_room`](Registry::take_room) has somebody to tell now.
    pub(crate) fn can_tell_room(&self) -> bool {
        self.first_in_line(Registry::unpromised_room_of).is_some()
    }

    /// The channel that has stood longest, of those for whom there is room in their group or beyond it.
    /// It looks at each group in which somebody waits.
    fn first_in_line(&self, room_of: impl Fn(&Registry, GroupPlace) -> usize) -> Option<u16> {
        let first_of = |&group: &GroupPlace| {
            let lines = &self.groups.get(group).lines;
            lines.first(room_of(self, group))
        };
        let firsts = self.room.groups.iter().filter_map(first_of);
        firsts.min().map(|(_, number)| number)
    }

    /// What a group's reserve and the engine's credit still take.
    #[inline]
    pub(super) fn room_of(&self, group: GroupPlace) -> usize {
        let own = self.groups.get(group).outbound.free();
        own.saturating_add(self.outbound.free())
    }

    fn unpromised_room_of(&self, group: GroupPlace) -> usize {
        let group = self.groups.get(group);
        let promised = group.lines.promised(self.room.round);
        let own = group.outbound.free().saturating_sub(promised);
        let own = if decide(Decision::ReserveIsRoom, true) {
            own
        } else {
            0
        };
        own.saturating_add(self.outbound.free().saturating_sub(self.room.promised))
    }

    /// Moves to `told` the channels that were refused and may post again what was refused: those that
    /// have used half of their own credit at most, as far as their group's and the engine's go, in the
    /// order in which they were refused. Each is told once, however often it was refused since it was
    /// told last, and not again before its Room [was taken](Registry::room_taken). Has the tasks woken
    /// that wait for these channels.
    ///
    /// Call it after what was released, under the same lock. If [`room_is_wanted`](Self::room_is_wanted)
    /// after it, what was promised stands in the way: call it again once that [has
    /// lapsed](Registry::lapse_promises).
    pub(crate) fn take_room(&mut self, told: &mut Vec<Channel>) {
        let limit = self.credit.channel / 2;
        while let Some(number) = self.first_in_line(Registry::unpromised_room_of) {
            let slot = &self.slots[usize::from(number)];
            let channel = Channel::new(number, slot.generation);
            let stands = slot.in_line.expect("it was found in a line");
            // One that has posted meanwhile and has no room any more is lined up again when it has.
            let wanted = self.wanted_room(channel).filter(|_| slot.used <= limit);
            let Some(line) = wanted.map(|wanted| line_of(slot, wanted)) else {
                self.leave_line(number);
                continue;
            };
            if line > stands.line {
                // It wanted less when it lined up, or had more of its reserve left.
                self.line_up(number, line);
                continue;
            }
            self.leave_line(number);
            self.promise(channel, wanted_in(line));
            self.waiting.tell(channel);
            let slot = &mut self.slots[usize::from(number)];
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
        let limit = self.credit.channel / 2;
        self.check_open(channel, group)?;
        let slot = self.open_slot(channel, group)?;
        let wanted = task.map_or(slot.refused_last(), |wait| wait.aim);
        let (line, has_room) = (line_of(slot, wanted), slot.used <= limit);
        let place = slot.place;
        // Exactly, where who stands in a line is told of room for the most that those in it want.
        let has_room = has_room && (line == 0 || wanted <= self.room_of(place));
        if decide(Decision::TaskFindsRoom, has_room) {
            return Poll::Ready(Ok(()));
        }
        let wait = *task.get_or_insert_with(|| self.waiting.begin(wanted));
        self.waiting.wait(channel, wait, waker);
        self.line_up_for_room(channel);
        Poll::Pending
    }

    /// Whether anything may be posted to a channel of this group, as far as that does not depend on room.
    pub(crate) fn check_open(&mut self, channel: Channel, group: GroupId) -> Result<(), Denied> {
        let slot = self.open_slot(channel, group)?;
        if slot.kind == Kind::Listener {
            return Err(Denied::IsListener);
        }
        if slot.bye_response {
            return Err(Denied::ByePosted);
        }
        Ok(())
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

    /// Those who wait for room behind a goodbye may wait in vain.
    #[cold]
    pub(super) fn note_goodbye(&mut self, channel: Channel) {
        if self.waiting.aims(channel).next().is_some() {
            self.room.goodbyes.push(channel);
        }
    }

    /// Has them woken: by the reactor, as who drops a [`Bye`](crate::Bye) may hold a lock that a waker wants.
    pub(crate) fn tell_goodbyes(&mut self) {
        for channel in std::mem::take(&mut self.room.goodbyes) {
            self.waiting.tell(channel);
        }
    }

    /// What was promised and has not lapsed.
    #[cfg(test)]
    pub(crate) fn promised(&self) -> usize {
        let groups = self.groups.all();
        let own = groups.map(|group| group.lines.promised(self.room.round));
        self.room.promised + own.sum::<usize>()
    }

    /// What of that is a group's own.
    #[cfg(test)]
    pub(crate) fn promised_of(&self, group: GroupPlace) -> usize {
        self.groups.get(group).lines.promised(self.room.round)
    }

    /// How many places in lines for room are taken.
    #[cfg(test)]
    pub(crate) fn lined_up(&self) -> usize {
        let lines = self.groups.all().flat_map(|group| &group.lines.lines);
        lines.map(BTreeMap::len).sum()
    }
}

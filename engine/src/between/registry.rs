//! What `post` must know at once about a channel: whether it is open, whose it is, and how much
//! outbound credit is left.
//!
//! Plain data: the queue keeps it behind the lock that orders posts, so that "admitted" and
//! "queued" are one step, and so are "closed" and "everything admitted has been taken".

mod census;
mod groups;
mod numbers;
mod outbound;
mod progress;
mod room;
mod run;
mod slot;
mod withdrawals;

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use crate::channel::Channel;
use crate::storage::{MESSAGE_COST_MAX, SMALLEST_COST};
use crate::sync::decide;
use crate::traffic::Traffic;

use self::groups::{Group, Groups};
use self::numbers::QUARANTINE;
use self::outbound::{Outbound, Part};
use self::room::{Lines, Room};
use self::slot::{Slot, State};
use self::withdrawals::Withdrawals;
use super::decision::Decision;
use super::flushing::Flushing;
use super::key::GroupPlace;
use super::waiting::Waiting;

pub(crate) use self::census::Census;
pub(crate) use self::numbers::Numbers;
#[cfg(test)]
pub(crate) use self::numbers::{Held, NUMBERS_RESERVED};
pub(crate) use self::outbound::{Holding, ReturnedCost};
pub(crate) use self::progress::{Progress, Report};
pub(crate) use self::run::Run;
pub(crate) use self::slot::{Denied, Kind, Role};
#[cfg(test)]
pub(crate) use self::withdrawals::WITHDRAWALS_MAX;
pub(crate) use self::withdrawals::Withdrawal;

const NUMBER_MAX: u16 = 65534;

/// The generation of the next channel that anybody opens: one sequence for all engines of the
/// process, so that a channel of one is none of another's, whatever their numbers. Were a billion
/// opened in every second, it would last for five centuries.
static GENERATION_NEXT: AtomicU64 = AtomicU64::new(1);

/// Identifies a channel group within its engine; never used again.
pub(crate) type GroupId = u64;

/// Outbound limits in bytes, checked when `Options` are accepted: each at least two messages of the
/// largest size, so that a channel that has used half of its own can post any message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    /// For one channel.
    pub(crate) channel: usize,
    /// For the whole engine, apart from what each group has in reserve, and each channel in
    /// [`RESERVE`].
    pub(crate) engine: usize,
}

/// Bytes that a channel may have queued though its group's credit and the engine's are used up: hellos,
/// goodbyes and small answers always go. Stated in the documentation of `Options`.
pub(crate) const RESERVE: usize = 16 * 1024;

/// The rest of the reserve is for goodbyes: a small ByeRequest and a small ByeResponse are admitted
/// whatever is queued, once each.
pub(crate) const RESERVE_FOR_DATA: usize = RESERVE - 2 * SMALLEST_COST;

pub(crate) struct Registry {
    /// Indexed by number; grows with the highest number given out.
    slots: Vec<Slot>,
    numbers: Numbers,
    groups: Groups,
    credit: Credit,
    /// Every channel's messages, and those returned but not yet dropped.
    outbound: Outbound,
    /// Those that were refused or are waited for, and have room themselves: they are told when the
    /// group or the engine has room as well.
    room: Room,
    /// Tasks that wait for room.
    waiting: Waiting<usize>,
    /// Tasks that wait until something was sent.
    flushing: Flushing,
    message_id_next: u64,
    withdrawals: Withdrawals,
    /// What became of the messages of channels that are forgotten.
    ended: Traffic,
}

impl Registry {
    pub(crate) fn new(credit: Credit) -> Self {
        Registry::with_quarantine(credit, QUARANTINE)
    }

    /// A registry whose numbers rest for another while: models cannot wait for 1,024 others.
    pub(crate) fn with_quarantine(credit: Credit, quarantine: usize) -> Self {
        assert!(
            credit.channel.min(credit.engine) >= 2 * MESSAGE_COST_MAX,
            "half of any budget takes the largest message"
        );
        Registry {
            slots: Vec::new(),
            numbers: Numbers::new(quarantine),
            groups: Groups::default(),
            credit,
            outbound: Outbound::new(credit.engine),
            room: Room::default(),
            waiting: Waiting::default(),
            flushing: Flushing::default(),
            message_id_next: 1,
            withdrawals: Withdrawals::default(),
            ended: Traffic::default(),
        }
    }

    /// Opens a group, which channels can be opened for from now on, with a reserve of the outbound
    /// budget. What its messages hold is known by the place that this returns.
    pub(crate) fn open_group(&mut self, id: GroupId, outbound_reserve: usize) -> GroupPlace {
        let group = Group {
            numbers: self.numbers.open_group(),
            outbound: Part::new(outbound_reserve),
            lines: Lines::default(),
        };
        self.groups.insert(id, group)
    }

    /// No channel is opened for this group any more. What it holds of the numbers and of the budget it
    /// gives back as before.
    pub(crate) fn end_group(&mut self, id: GroupId) {
        let place = self.groups.end(id).expect("a group ends once");
        self.numbers
            .end_group(&mut self.groups.get_mut(place).numbers);
        self.groups.free_if_done(place);
    }

    /// Opens a channel for a group that is open, or says that there is no number for it: all 65,534
    /// are taken, or what is left is the reserve of other groups.
    pub(crate) fn open(&mut self, group: GroupId, kind: Kind) -> Option<Channel> {
        let place = self.groups.place_of(group);
        let place = place.expect("a channel is opened for a group that is open");
        let number = self.numbers.take(&mut self.groups.get_mut(place).numbers)?;
        let generation = GENERATION_NEXT.fetch_add(1, Ordering::Relaxed);
        while self.slots.len() <= usize::from(number) {
            self.slots.push(Slot::free()); // number 0 means "none" and stays free for ever
        }
        let slot = &mut self.slots[usize::from(number)];
        assert_eq!(
            slot.state,
            State::Free,
            "a number is given out only while it is free"
        );
        assert_eq!(slot.used, 0, "a free number is charged for nothing");
        *slot = Slot {
            generation,
            group,
            place,
            state: State::Open,
            kind,
            ..Slot::free()
        };
        Some(Channel::new(number, generation))
    }

    #[inline]
    fn slot(&mut self, channel: Channel) -> Option<&mut Slot> {
        self.slots
            .get_mut(usize::from(channel.number()))
            .filter(|slot| {
                let is_meant = slot.generation == channel.generation();
                decide(Decision::ChannelIsMeant, is_meant) && slot.state != State::Free
            })
    }

    /// The slot of a channel to which this group may post.
    #[inline]
    fn open_slot(&mut self, channel: Channel, group: GroupId) -> Result<&mut Slot, Denied> {
        let slot = self.slot(channel).ok_or(Denied::Closed)?;
        if slot.state == State::Closed {
            return Err(Denied::Closed);
        }
        if slot.group != group {
            return Err(Denied::OtherGroup);
        }
        Ok(slot)
    }

    /// The group of a channel, while posts are admitted.
    pub(crate) fn group_of(&mut self, channel: Channel) -> Option<GroupId> {
        self.slot(channel)
            .filter(|slot| slot.state == State::Open)
            .map(|slot| slot.group)
    }

    /// Admits a post of `cost` bytes. A message that was returned, and is posted again, brings along
    /// what it `held`.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        channel: Channel,
        group: GroupId,
        role: Role,
        cost: usize,
        held: Option<Holding>,
    ) -> Result<(), Denied> {
        let slot = self.open_slot(channel, group)?;
        if role == Role::ByeSignal {
            return Ok(());
        }
        if slot.kind == Kind::Listener {
            return Err(Denied::IsListener);
        }
        if slot.bye_response || (slot.bye_request && role != Role::ByeResponse) {
            return Err(Denied::ByePosted);
        }
        let (place, used) = (slot.place, slot.used + cost);
        if let Some(held) = held {
            self.release_part(held.group, held.cost);
        }
        let denied = if used > self.credit.channel {
            Some(Denied::ChannelFull)
        } else if cost > self.room_of(place) && used > RESERVE_FOR_DATA {
            Some(Denied::EngineFull)
        } else {
            None
        };
        // A Bye ends the need for credit.
        let is_small_bye = role != Role::Data && cost <= SMALLEST_COST;
        if let Some(denied) = denied.filter(|_| !is_small_bye) {
            if let Some(held) = held {
                self.charge_part(held.group, held.cost);
            }
            self.note_refusal(channel, cost);
            return Err(denied);
        }
        self.charge_part(place, cost);
        if let Some(held) = held {
            self.groups.free_if_done(held.group);
        }
        let slot = &mut self.slots[usize::from(channel.number())];
        slot.used = used;
        slot.progress.posted += 1;
        slot.bye_request |= role == Role::ByeRequest;
        slot.bye_response |= role == Role::ByeResponse;
        self.end_promise(channel);
        if role != Role::Data {
            self.note_goodbye(channel);
        }
        Ok(())
    }

    fn note_refusal(&mut self, channel: Channel, cost: usize) {
        let slot = &mut self.slots[usize::from(channel.number())];
        slot.progress.refused += 1;
        if decide(Decision::RefusalIsNoted, true) {
            slot.note_refusal(cost);
        }
        self.end_promise(channel);
        self.line_up_for_room(channel);
    }

    #[inline]
    fn charge_part(&mut self, group: GroupPlace, cost: usize) {
        let part = &mut self.groups.get_mut(group).outbound;
        self.outbound.charge(part, cost);
    }

    #[inline]
    fn release_part(&mut self, group: GroupPlace, cost: usize) {
        let part = &mut self.groups.get_mut(group).outbound;
        self.outbound.release(part, cost);
    }

    /// Notes that an admitted ByeSignal is about to be queued. Returns false if one is already: a
    /// second changes nothing, and costs nothing that a budget could bound.
    pub(crate) fn is_first_abort(&mut self, channel: Channel) -> bool {
        let slot = self
            .slot(channel)
            .expect("it was admitted under the same lock");
        !std::mem::replace(&mut slot.is_aborted, true)
    }

    /// Gives back what a channel's message was charged, because it was sent.
    pub(crate) fn release(&mut self, channel: Channel, cost: usize) {
        self.release_channel(channel, cost);
        let place = self.slots[usize::from(channel.number())].place;
        self.release_part(place, cost);
    }

    /// Gives back the channel's part alone: messages were returned, and stay charged to their group
    /// until the application drops them or posts them again. What they take more than they did while they were queued
    /// cannot be denied.
    pub(crate) fn release_returned(&mut self, channel: Channel, cost: ReturnedCost) {
        let ReturnedCost { queued, returned } = cost;
        self.release_channel(channel, queued);
        let place = self.slots[usize::from(channel.number())].place;
        self.charge_part(place, returned - queued);
    }

    /// Gives back the channel's part of what its messages were charged.
    pub(crate) fn release_channel(&mut self, channel: Channel, cost: usize) {
        let slot = self
            .slot(channel)
            .expect("credit is released before its channel is forgotten");
        assert!(
            slot.used >= cost,
            "no more credit is released than was charged"
        );
        slot.used -= cost;
        self.line_up_for_room(channel);
    }

    /// Gives back what a message held that was returned to this group, which may have ended since.
    pub(crate) fn release_group(&mut self, group: GroupPlace, cost: usize) {
        self.release_part(group, cost);
        self.groups.free_if_done(group);
    }

    /// Has every task woken: nothing is posted any more, to anybody.
    pub(crate) fn tell_everybody(&mut self) {
        self.waiting.tell_all();
        self.flushing.tell_all();
    }

    /// Takes the wakers to be called once the lock is free.
    #[inline]
    pub(crate) fn take_told(&mut self) -> Vec<Waker> {
        match self.waiting.has_told() || self.flushing.has_told() {
            true => self.take_all_told(),
            false => Vec::new(),
        }
    }

    fn take_all_told(&mut self) -> Vec<Waker> {
        let mut told = self.waiting.take_told();
        told.append(&mut self.flushing.take_told());
        told
    }

    /// The next message id of the engine, for posts that bring none: 1, 2, 3 and so on.
    pub(crate) fn next_message_id(&mut self) -> u64 {
        self.next_message_ids(1)
    }

    /// The first of so many of them.
    pub(crate) fn next_message_ids(&mut self, count: u32) -> u64 {
        let id = self.message_id_next;
        self.message_id_next += u64::from(count);
        id
    }

    /// Admits no more posts to this channel. Those admitted before are in the queue by now. Has the
    /// tasks woken that wait for room, and returns whether a thread was refused and waits to be told.
    pub(crate) fn close(&mut self, channel: Channel) -> bool {
        let slot = self
            .slot(channel)
            .expect("a channel is closed once, while it is open");
        assert_eq!(slot.state, State::Open, "a channel is closed once");
        slot.state = State::Closed;
        let room_is_due = slot.wanted_by_event().is_some();
        self.end_promise(channel);
        self.leave_line(channel.number());
        if decide(Decision::CloseWakesTasks, true) {
            self.waiting.tell(channel);
        }
        room_is_due
    }

    /// Lets a number rest: the application has taken its channel's `Closed`, or never will. Returns what has
    /// become of the channel's messages, which its group counts.
    pub(crate) fn forget(&mut self, channel: Channel) -> Traffic {
        let Some(slot) = self.slot(channel) else {
            return Traffic::default();
        };
        assert_eq!(
            slot.state,
            State::Closed,
            "a channel is forgotten after it was closed"
        );
        assert_eq!(
            slot.used, 0,
            "a channel is forgotten once its messages are accounted for"
        );
        slot.state = State::Free;
        let (place, traffic) = (slot.place, slot.progress.traffic());
        self.ended.add(traffic);
        let held = &mut self.groups.get_mut(place).numbers;
        self.numbers.rest(held, channel.number());
        self.groups.free_if_done(place);
        traffic
    }

    /// Bytes charged now, to all groups.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.groups.all().map(|group| group.outbound.used()).sum()
    }

    /// The reserves of all groups of which something is left, together.
    #[cfg(test)]
    pub(crate) fn reserves(&self) -> usize {
        let reserves = self.groups.all().map(|group| group.outbound.reserve());
        reserves.sum()
    }

    /// Of how many groups something is left.
    #[cfg(test)]
    pub(crate) fn groups(&self) -> usize {
        self.groups.all().count()
    }

    /// Whether tasks wait for anything.
    pub(crate) fn has_tasks(&self) -> bool {
        !self.waiting.is_empty() || !self.flushing.is_empty()
    }

    /// How many tasks wait for room.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

//! What `post` must know at once about a channel: whether it is open, whose it is, and how much
//! outbound credit is left.
//!
//! Plain data: the queue keeps it behind the lock that orders posts, so that "admitted" and
//! "queued" are one step, and so are "closed" and "everything admitted has been taken".

use std::collections::VecDeque;

use crate::channel::Channel;

/// A number rests here after its channel ended, so that a reader of logs meets it only once for a
/// while. Nothing relies on this distance: generations tell incarnations apart.
const QUARANTINE: usize = 1024;

const NUMBER_MAX: u16 = 65534;

/// Identifies a channel group within its engine; never used again.
pub(crate) type GroupId = u64;

/// What a channel is, as far as `post` is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Listener,
    Connection,
}

/// The part that a posted message plays in the life of its channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Request, Response, Signal, HelloResponse.
    Data,
    ByeRequest,
    ByeResponse,
    /// A local abort: never transmitted, always admitted while the channel is open.
    ByeSignal,
}

/// Why a post was not admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Denied {
    Closed,
    OtherGroup,
    IsListener,
    ByePosted,
    /// No credit is left; whether the channel's own or the engine's, there will be a Room.
    Full,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    Open,
    /// No post is admitted any more; the application has not yet taken the `Closed` event.
    Closed,
}

struct Slot {
    generation: u64,
    group: GroupId,
    /// Bytes charged to this channel for messages admitted and not yet sent or returned.
    used: usize,
    state: State,
    kind: Kind,
    bye_request: bool,
    bye_response: bool,
    room_wanted: bool,
}

/// Outbound limits in bytes, checked when `Options` are accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    /// For one channel.
    pub(crate) channel: usize,
    /// For the whole engine.
    pub(crate) engine: usize,
}

pub(crate) struct Registry {
    /// Indexed by number; grows with the highest number given out.
    slots: Vec<Slot>,
    /// Numbers whose `Closed` was taken, oldest first.
    resting: VecDeque<u16>,
    generation_next: u64,
    credit: Credit,
    /// Bytes charged to the engine: every channel's, and messages returned but not yet dropped.
    used: usize,
    /// Channels that were refused and have room again themselves; they are told once the engine
    /// has room as well.
    room: Vec<Channel>,
    message_id_next: u64,
}

impl Registry {
    pub(crate) fn new(credit: Credit) -> Self {
        Registry {
            slots: Vec::new(),
            resting: VecDeque::new(),
            generation_next: 1,
            credit,
            used: 0,
            room: Vec::new(),
            message_id_next: 1,
        }
    }

    /// Opens a channel, or says that all 65,534 numbers are taken.
    pub(crate) fn open(&mut self, group: GroupId, kind: Kind) -> Option<Channel> {
        let number = self.free_number()?;
        let generation = self.generation_next;
        self.generation_next += 1;
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
            state: State::Open,
            kind,
            ..Slot::free()
        };
        Some(Channel::new(number, generation))
    }

    fn free_number(&mut self) -> Option<u16> {
        if self.resting.len() > QUARANTINE {
            return self.resting.pop_front();
        }
        if self.slots.is_empty() {
            self.slots.push(Slot::free()); // number 0 means "none" and stays free for ever
        }
        if self.slots.len() <= usize::from(NUMBER_MAX) {
            self.slots.push(Slot::free());
            return u16::try_from(self.slots.len() - 1).ok();
        }
        self.resting.pop_front()
    }

    fn slot(&mut self, channel: Channel) -> Option<&mut Slot> {
        self.slots
            .get_mut(usize::from(channel.number()))
            .filter(|slot| slot.generation == channel.generation() && slot.state != State::Free)
    }

    /// The group of a channel, while posts are admitted.
    pub(crate) fn group_of(&mut self, channel: Channel) -> Option<GroupId> {
        self.slot(channel)
            .filter(|slot| slot.state == State::Open)
            .map(|slot| slot.group)
    }

    /// Admits a post of `cost` bytes, of which `held` are charged to the engine already (a message
    /// that was returned and is posted again).
    pub(crate) fn admit(
        &mut self,
        channel: Channel,
        group: GroupId,
        role: Role,
        cost: usize,
        held: usize,
    ) -> Result<(), Denied> {
        let (credit, engine_used) = (self.credit, self.used - held);
        let slot = self.slot(channel).ok_or(Denied::Closed)?;
        if slot.state == State::Closed {
            return Err(Denied::Closed);
        }
        if slot.group != group {
            return Err(Denied::OtherGroup);
        }
        if role == Role::ByeSignal {
            return Ok(());
        }
        if slot.kind == Kind::Listener {
            return Err(Denied::IsListener);
        }
        if slot.bye_response || (slot.bye_request && role != Role::ByeResponse) {
            return Err(Denied::ByePosted);
        }
        // A Bye ends the need for credit, so it is never refused for want of it.
        let full = slot.used + cost > credit.channel || engine_used + cost > credit.engine;
        if full && role == Role::Data {
            let has_room = slot.used <= credit.channel / 2;
            if !std::mem::replace(&mut slot.room_wanted, true) && has_room {
                self.room.push(channel);
            }
            return Err(Denied::Full);
        }
        slot.used += cost;
        slot.bye_request |= role == Role::ByeRequest;
        slot.bye_response |= role == Role::ByeResponse;
        self.used = engine_used + cost;
        Ok(())
    }

    /// Gives back what a channel's message was charged, because it was sent.
    pub(crate) fn release(&mut self, channel: Channel, cost: usize) {
        self.release_channel(channel, cost);
        self.release_engine(cost);
    }

    /// Gives back the channel's part alone: the message was returned, and stays charged to the
    /// engine until the application drops it or posts it again.
    pub(crate) fn release_channel(&mut self, channel: Channel, cost: usize) {
        let limit = self.credit.channel / 2;
        let slot = self
            .slot(channel)
            .expect("credit is released before its channel is forgotten");
        assert!(
            slot.used >= cost,
            "no more credit is released than was charged"
        );
        let had_room = slot.used <= limit;
        slot.used -= cost;
        if slot.room_wanted && !had_room && slot.used <= limit {
            self.room.push(channel);
        }
    }

    /// Gives back the engine's part.
    pub(crate) fn release_engine(&mut self, cost: usize) {
        assert!(
            self.used >= cost,
            "no more credit is released than was charged"
        );
        self.used -= cost;
    }

    /// Whether a channel waits only for room in the engine's budget.
    pub(crate) fn engine_room_is_wanted(&self) -> bool {
        !self.room.is_empty()
    }

    /// Moves to `told` the channels that were refused and may post again: those that have used
    /// half of their credit at most, once the engine has as well. Half, so that a channel at its
    /// limit is not told once per message.
    pub(crate) fn take_room(&mut self, told: &mut Vec<Channel>) {
        if self.room.is_empty() || self.used > self.credit.engine / 2 {
            return;
        }
        for channel in std::mem::take(&mut self.room) {
            let Some(slot) = self.slot(channel) else {
                continue;
            };
            if slot.state == State::Open && std::mem::replace(&mut slot.room_wanted, false) {
                told.push(channel);
            }
        }
    }

    /// The next message id of the engine, for posts that bring none: 1, 2, 3 and so on.
    pub(crate) fn next_message_id(&mut self) -> u64 {
        let id = self.message_id_next;
        self.message_id_next += 1;
        id
    }

    /// Admits no more posts to this channel. Those admitted before are in the queue by now.
    pub(crate) fn close(&mut self, channel: Channel) {
        let slot = self
            .slot(channel)
            .expect("a channel is closed once, while it is open");
        assert_eq!(slot.state, State::Open, "a channel is closed once");
        slot.state = State::Closed;
    }

    /// Lets a number rest: the application has taken its channel's `Closed`, or never will.
    pub(crate) fn forget(&mut self, channel: Channel) {
        let Some(slot) = self.slot(channel) else {
            return;
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
        self.resting.push_back(channel.number());
    }

    /// Bytes charged to the engine now.
    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

impl Slot {
    fn free() -> Self {
        Slot {
            generation: 0,
            group: 0,
            used: 0,
            state: State::Free,
            kind: Kind::Connection,
            bye_request: false,
            bye_response: false,
            room_wanted: false,
        }
    }
}

//! What `post` must know at once about a channel: whether it is open, whose it is, and how much
//! outbound credit is left.
//!
//! Plain data: the queue keeps it behind the lock that orders posts, so that "admitted" and
//! "queued" are one step, and so are "closed" and "everything admitted has been taken".

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};

use crate::channel::Channel;
use crate::storage::{MESSAGE_COST_MAX, SMALLEST_COST};
use crate::sync::planted;

use super::waiting::{TaskId, Waiting};

/// A number rests here after its channel ended, so that a reader of logs meets it only once for a
/// while. Nothing relies on this distance: generations tell incarnations apart.
const QUARANTINE: usize = 1024;

const NUMBER_MAX: u16 = 65534;

/// The generation of the next channel that anybody opens: one sequence for all engines of the
/// process, so that a channel of one is none of another's, whatever their numbers. Were a billion
/// opened in every second, it would last for five centuries.
static GENERATION_NEXT: AtomicU64 = AtomicU64::new(1);

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
    /// A ByeSignal is queued: the channel ends as soon as the reactor hears of it.
    is_aborted: bool,
    /// A post was refused for want of credit, and nobody was told of room since.
    room_wanted: bool,
    /// A Room was told and lies in the inbox. There is no second before it was taken, so that an
    /// inbox that nobody empties holds one for each channel at most.
    room_is_unread: bool,
    /// Whether the number is in [`Registry::room`]. It stays there when its channel ends, for the
    /// next to find, so that no sequence of refusals makes that list longer than the numbers are.
    is_in_room: bool,
}

/// Outbound limits in bytes, checked when `Options` are accepted: each at least two messages of the
/// largest size, so that a channel that has used half of its own can post any message.
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
    /// How many numbers rest before the first of them is used again.
    quarantine: usize,
    credit: Credit,
    /// Bytes charged to the engine: every channel's, and messages returned but not yet dropped.
    used: usize,
    /// Numbers of channels that were refused or are waited for, and have room themselves, each
    /// once; they are told when the engine has room as well.
    room: Vec<u16>,
    /// Tasks that wait for room.
    waiting: Waiting,
    message_id_next: u64,
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
            resting: VecDeque::new(),
            quarantine,
            credit,
            used: 0,
            room: Vec::new(),
            waiting: Waiting::default(),
            message_id_next: 1,
        }
    }

    /// Opens a channel, or says that all 65,534 numbers are taken.
    pub(crate) fn open(&mut self, group: GroupId, kind: Kind) -> Option<Channel> {
        let number = self.free_number()?;
        let generation = GENERATION_NEXT.fetch_add(1, Ordering::Relaxed);
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
            is_in_room: slot.is_in_room,
            ..Slot::free()
        };
        Some(Channel::new(number, generation))
    }

    fn free_number(&mut self) -> Option<u16> {
        if self.resting.len() > self.quarantine {
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
            .filter(|slot| {
                let is_meant = slot.generation == channel.generation()
                    || planted("a number alone names a channel");
                is_meant && slot.state != State::Free
            })
    }

    /// The slot of a channel to which this group may post.
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
        assert!(
            held <= self.used,
            "what is charged to the engine is part of its sum"
        );
        let (credit, engine_used) = (self.credit, self.used - held);
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
        // A Bye ends the need for credit, so a small one is never refused for want of it.
        let full = slot.used + cost > credit.channel || engine_used + cost > credit.engine;
        if full && (role == Role::Data || cost > SMALLEST_COST) {
            slot.room_wanted = !planted("a refusal is not noted");
            self.line_up_for_room(channel);
            return Err(Denied::Full);
        }
        slot.used += cost;
        slot.bye_request |= role == Role::ByeRequest;
        slot.bye_response |= role == Role::ByeResponse;
        self.used = engine_used + cost;
        Ok(())
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
        self.release_engine(cost);
    }

    /// Gives back the channel's part alone: the message was returned, and stays charged to the
    /// engine until the application drops it or posts it again.
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

    /// Notes a channel that wants room and has used half of its own credit at most. Half, so that
    /// a channel at its limit is not told once per message.
    fn line_up_for_room(&mut self, channel: Channel) {
        let limit = self.credit.channel / 2;
        let is_awaited = self.waiting.is_awaited(channel) && !planted("a task is not lined up");
        let slot = self.slot(channel).expect("the caller found it");
        let has_room = slot.state == State::Open && slot.used <= limit;
        let is_wanted = slot.may_be_told() || is_awaited;
        if has_room && is_wanted && !std::mem::replace(&mut slot.is_in_room, true) {
            self.room.push(channel.number());
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

    /// Whether [`take_room`](Registry::take_room) has somebody to tell.
    pub(crate) fn engine_room_is_wanted(&self) -> bool {
        !self.room.is_empty() && self.engine_has_room()
    }

    /// Room for any one message, and no more than that: a share of the budget would have to be
    /// freed by others first, and where those are peers that do not read, or messages returned that
    /// the application keeps, it never is.
    fn engine_has_room(&self) -> bool {
        self.used + MESSAGE_COST_MAX <= self.credit.engine
    }

    /// Moves to `told` the channels that were refused and may post any message again: those that
    /// have used half of their credit at most, once the engine has room as well. Each is told once,
    /// however often it was refused since it was told last, and not again before its Room
    /// [was taken](Registry::room_taken). Has the tasks woken that wait for these channels.
    ///
    /// Call it after what was released, under the same lock.
    pub(crate) fn take_room(&mut self, told: &mut Vec<Channel>) {
        if !self.engine_room_is_wanted() {
            return;
        }
        let limit = self.credit.channel / 2;
        for number in self.room.drain(..) {
            let slot = &mut self.slots[usize::from(number)];
            assert!(slot.is_in_room, "a number is lined up once");
            slot.is_in_room = false;
            // One that has posted meanwhile and has no room any more is lined up again when it has.
            if slot.state != State::Open || slot.used > limit {
                continue;
            }
            let channel = Channel::new(number, slot.generation);
            if self.waiting.is_awaited(channel) {
                self.waiting.tell(channel);
                slot.room_wanted &= !planted("a task is told in a thread's place");
            }
            if slot.may_be_told() {
                slot.room_wanted = false;
                slot.room_is_unread = true;
                told.push(channel);
            }
        }
    }

    /// The application has taken a channel's Room, and may be told again if it was refused since.
    /// Returns whether the reactor is to be woken for it.
    pub(crate) fn room_taken(&mut self, channel: Channel) -> bool {
        let Some(slot) = self.slot(channel) else {
            return false; // the channel has ended: nobody is told any more
        };
        slot.room_is_unread = false;
        self.line_up_for_room(channel);
        self.engine_room_is_wanted()
    }

    /// Whether a channel has room for any message. If not, the task that asks is woken when it has,
    /// or when it ends; the task's waker is replaced, and the one before left in its place.
    pub(crate) fn poll_room(
        &mut self,
        channel: Channel,
        group: GroupId,
        task: &mut Option<TaskId>,
        waker: &mut Option<Waker>,
    ) -> Poll<Result<(), Denied>> {
        let limit = self.credit.channel / 2;
        let slot = self.open_slot(channel, group)?;
        if slot.kind == Kind::Listener {
            return Poll::Ready(Err(Denied::IsListener));
        }
        if slot.bye_response {
            return Poll::Ready(Err(Denied::ByePosted));
        }
        let has_room = slot.used <= limit && self.engine_has_room();
        if has_room && !planted("a task does not look before it waits") {
            return Poll::Ready(Ok(()));
        }
        self.waiting.wait(channel, task, waker);
        self.line_up_for_room(channel);
        Poll::Pending
    }

    /// Has a task wait for room no more, and hands back its waker if it did.
    #[must_use = "a waker is dropped when the lock is free"]
    pub(crate) fn leave(&mut self, channel: Channel, task: TaskId) -> Option<Waker> {
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

    /// Has every task woken: nothing is posted any more, to anybody.
    pub(crate) fn tell_everybody(&mut self) {
        self.waiting.tell_all();
    }

    /// Takes the wakers to be called once the lock is free.
    pub(crate) fn take_told(&mut self) -> Vec<Waker> {
        self.waiting.take_told()
    }

    /// The next message id of the engine, for posts that bring none: 1, 2, 3 and so on.
    pub(crate) fn next_message_id(&mut self) -> u64 {
        let id = self.message_id_next;
        self.message_id_next += 1;
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
        let room_is_due = slot.may_be_told();
        if !planted("a closed channel leaves its tasks asleep") {
            self.waiting.tell(channel);
        }
        room_is_due
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
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// How many tasks wait for room.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many numbers are lined up to be told of room.
    #[cfg(test)]
    pub(crate) fn lined_up(&self) -> usize {
        self.room.len()
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
            is_aborted: false,
            room_wanted: false,
            room_is_unread: false,
            is_in_room: false,
        }
    }

    /// Whether a Room is due as soon as there is room.
    fn may_be_told(&self) -> bool {
        self.room_wanted && !self.room_is_unread
    }
}

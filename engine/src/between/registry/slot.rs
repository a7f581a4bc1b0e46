//! One channel, as far as posting is concerned.

use std::num::NonZeroUsize;

use crate::between::key::GroupPlace;
use crate::storage::MESSAGE_COST_MAX;

use super::GroupId;
use super::progress::Progress;
use super::room::{InLine, Promised};

/// What a channel is, as far as `post` is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Listener,
    Connection,
}

/// The part that a posted message plays in the life of its channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Request, Response, Signal, HelloRequest, HelloResponse.
    Data,
    ByeRequest,
    ByeResponse,
    /// A local abort: always admitted while the channel is open, and sent past all that is queued, if at
    /// all.
    ByeSignal,
}

/// Why a post was not admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Denied {
    Closed,
    OtherGroup,
    IsListener,
    ByePosted,
    /// The channel's own credit is used up. There will be a Room.
    ChannelFull,
    /// The engine's credit and the group's own are used up, and what this channel has queued is more
    /// than its reserve. There will be a Room.
    EngineFull,
    NoChannelNumber,
    GroupClosed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Free,
    Open,
    /// No post is admitted any more; the application has not yet taken the `Closed` event.
    Closed,
}

pub(super) struct Slot {
    pub(super) generation: u64,
    pub(super) group: GroupId,
    /// Where the registry has its group.
    pub(super) place: GroupPlace,
    /// Bytes charged to this channel for messages admitted and not yet sent or returned.
    pub(super) used: usize,
    pub(super) state: State,
    pub(super) kind: Kind,
    pub(super) bye_request: bool,
    pub(super) bye_response: bool,
    /// A ByeSignal is queued: the channel ends as soon as the reactor hears of it.
    pub(super) is_aborted: bool,
    /// The least cost of a post that was refused for want of credit, of those since somebody was
    /// last told of room.
    pub(super) wanted: Option<NonZeroUsize>,
    /// The cost of the post that was refused last: for so much room a task waits.
    pub(super) refused_last: Option<NonZeroUsize>,
    /// A Room was told and lies in the inbox. There is no second before it was taken, so that an
    /// inbox that nobody empties holds one for each channel at most.
    pub(super) room_is_unread: bool,
    /// Where in its group's lines for room the channel stands.
    pub(super) in_line: Option<InLine>,
    /// Room that this channel was told of and has not posted into, in which round of promises.
    pub(super) promised: Promised,
    pub(super) promise_round: u64,
    pub(super) progress: Progress,
}

impl Slot {
    pub(super) fn free() -> Self {
        Slot {
            generation: 0,
            group: 0,
            place: GroupPlace(0),
            used: 0,
            state: State::Free,
            kind: Kind::Connection,
            bye_request: false,
            bye_response: false,
            is_aborted: false,
            wanted: None,
            refused_last: None,
            room_is_unread: false,
            in_line: None,
            promised: Promised::default(),
            promise_round: 0,
            progress: Progress::default(),
        }
    }

    /// Remembers a post that was refused for want of credit.
    pub(super) fn note_refusal(&mut self, cost: usize) {
        let cost = NonZeroUsize::new(cost).expect("each message costs its records");
        self.wanted = Some(self.wanted.map_or(cost, |before| before.min(cost)));
        self.refused_last = Some(cost);
    }

    /// What the post costs that was refused last, or the most that any costs if none was.
    pub(super) fn refused_last(&self) -> usize {
        self.refused_last
            .map_or(MESSAGE_COST_MAX, NonZeroUsize::get)
    }

    /// For how much room a Room is due as soon as there is so much.
    pub(super) fn wanted_by_event(&self) -> Option<usize> {
        let wanted = self.wanted.filter(|_| !self.room_is_unread);
        wanted.map(NonZeroUsize::get)
    }
}

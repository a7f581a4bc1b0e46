//! Decisions on which the proofs in `tests/loom.rs` rest.
//!
//! Each is one line of production code that reads `decide(Decision::X, what is right)`. In the
//! library [`decide`](crate::sync::decide) returns what it is given. A model's canary has it return
//! something else for one decision, and must fail then: a model that cannot fail proves nothing.

/// A decision that a canary can take wrongly. Each variant says what is so when it is true.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    /// A handle's generation is that of the number's present channel.
    ChannelIsMeant,
    /// A refusal for want of credit is remembered until a Room was told.
    RefusalIsNoted,
    /// A channel for which a task waits is lined up for room, though no thread was refused.
    TaskIsLinedUp,
    /// What a group has left of its reserve is room that its channels are told of.
    ReserveIsRoom,
    /// A channel is told by an event, though a task of it was woken.
    ThreadIsToldToo,
    /// There is room at the moment at which a task begins to wait.
    TaskFindsRoom,
    /// All was sent already at the moment at which a task begins to wait for that.
    TaskFindsAllSent,
    /// Tasks that wait for a channel's sending are looked after when some was sent.
    SendingWakesTasks,
    /// Tasks that wait for a channel are woken when it closes.
    CloseWakesTasks,
    /// Tasks that wait are woken when the engine ends.
    EndWakesTasks,
    /// With a post there are as many as the reactor waits for, mostly one: it brings the wake.
    BatchIsDue,
    /// A batch is taken, and the next one's first post is not to wait for others.
    ExpectationEnds,
    /// The wake of the batch that a post went into has not been made yet.
    WakeIsOutstanding,
    /// A receiver says that it sleeps before it does.
    ReceiverIsAnnounced,
    /// A task that waits for events leaves its waker before it does.
    TaskIsAnnounced,
    /// Who waits to post to a channel and is not the first waits on.
    LineIsKept,
    /// Who leaves a line as its first wakes the next.
    NextInLineIsWoken,
    /// A receiver that may sleep in a pass is woken there by a notification.
    PassingReceiverIsWoken,
    /// Somebody who posts while another thread sits is remembered until a pass begins.
    CallIsNoted,
    /// A call is remembered though somebody has sat down since then, who may make no pass.
    CallOutlivesTaking,
    /// A seat is left by a thread that did not see to a call: the stand-in is called.
    NoteIsPassedOn,
    /// A receiver was offered the seat and does not take it: others are asked.
    OfferIsPassedOn,
    /// The stand-in says that it sleeps until the seat is left.
    StandInIsAnnounced,
    /// A post of the thread that left the seat last is remembered until a pass begins.
    ExpectedPostIsNoted,
    /// Who leaves the seat has the lookout of the stand-in that watches see what comes.
    LeaverArmsWatch,
    /// A lookout that has seen something is taken to be armed yet.
    WatchIsArmedAgain,
    /// The stand-in that watches looks around before what will be due.
    WatchEndsInTime,
    /// The task that makes passes is woken where the stand-in would be called.
    TaskIsCalled,
    /// The task that makes passes found the seat taken: it is woken when that is left.
    TurnedAwayIsNoted,
    /// The task makes no passes any more: the stand-in is called.
    TaskIsReplaced,
    /// The reactor wants to be woken by the next drop.
    ReactorIsHungry,
    /// A closed pool keeps no storage.
    PoolIsClosed,
}

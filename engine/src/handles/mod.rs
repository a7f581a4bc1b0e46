//! What stands behind the public handles, `Engine`, `ChannelGroup` and `Inbox`: the folder `between`
//! with the posts and events of an engine in it.

mod admission;
mod batch;
mod calls;
mod counters;
mod group_shared;
mod reactor;
pub(crate) mod reactor_thread;
mod shared;
mod shared_frame;
mod spare;
mod submission;

#[cfg(test)]
pub(crate) use self::admission::CHUNK;
pub(crate) use self::batch::{
    Batch, FrameCounts, Frames, JOINED_MAX, MixedFrames, RUN_BYTES, Stretch,
};
#[cfg(test)]
pub(crate) use self::batch::{PLENTY, SUBMISSIONS_KEPT, UNFILLED_BYTES};
pub(crate) use self::calls::{
    AbandonedCall, CallEvent, CallLine, CallMailbox, SpareMailboxes, next_receiver,
};
pub(crate) use self::counters::Counters;
pub(crate) use self::group_shared::GroupShared;
#[cfg(unix)]
pub(crate) use self::reactor::in_task::Passed;
pub(crate) use self::reactor::{Occupant, Reactor, Reads, Seat, this_sitter};
pub(crate) use self::shared::Shared;
pub(crate) use self::shared_frame::SharedFrame;
pub(crate) use self::spare::Spare;
#[cfg(test)]
pub(crate) use self::spare::{SPARE_BYTES, SPARE_MAX};
pub(crate) use self::submission::{BegunCall, Submission};

#[cfg(test)]
mod tests;

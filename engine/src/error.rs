//! Errors of calls, sorted by what the caller can do about them.

use std::{fmt, io};

use crate::options::OptionsError;

/// The engine could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An option is out of range.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The system refused a poller or a thread: mostly a limit of this process was reached.
    #[error("the system refused the reactor its resources: {0}")]
    System(#[from] io::Error),
}

/// Why no more can come from, or go to, an engine or a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The group's inbox was closed or dropped.
    #[error("the group was closed")]
    GroupClosed,
    /// The engine was stopped or dropped.
    #[error("the engine was stopped")]
    EngineStopped,
    /// The reactor failed, by a defect of its own or because the system failed it. All groups of
    /// the engine have ended; other engines and the process are unharmed. Channels that had not
    /// closed get no `Closed` event, and no account, then.
    /// A program that is built with `panic = "abort"` ends as a whole instead.
    #[error("the engine's reactor failed")]
    EngineFailed,
}

/// Whose budget was used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Budget {
    /// The channel's own, [`Options::outbound_bytes_per_channel`](crate::Options): the peer does not
    /// read as fast as the channel is posted to. Wait for room.
    Channel,
    /// The engine's, [`Options::outbound_bytes`](crate::Options), and the group's own reserve,
    /// [`GroupOptions::outbound_reserve`](crate::GroupOptions): other channels hold them, whose peers do
    /// not read, or messages that were returned and are kept. Drop those or post them again, or raise
    /// either option. What other groups hold denies nothing of the group's reserve, and each channel has
    /// a reserve that no other can deny.
    Engine,
    /// [`Options::notifications`](crate::Options), the limit of
    /// [`ChannelGroup::notify`](crate::ChannelGroup::notify): the group's inbox is not emptied as fast
    /// as it is filled. Receive.
    Notifications,
    /// What an [`Outbox`](crate::Outbox) keeps at most, for the channel or in all: the peer does not read as fast
    /// as it is posted to, and has not done so for a while.
    Outbox,
    /// How many [withdrawals](crate::ChannelGroup::withdraw) of all groups the engine's next pass looks at: withdraw
    /// again, a millisecond later.
    Withdrawals,
}

impl Budget {
    /// What gives room again.
    fn wanted(self) -> &'static str {
        match self {
            Budget::Channel => {
                "the peer does not read as fast as you post: post again after the channel's Room event"
            }
            Budget::Engine => {
                "other channels hold it and the group's reserve, or returned messages that you keep: \
                 drop or post those, raise Options::outbound_bytes or GroupOptions::outbound_reserve, \
                 or post again after the channel's Room event"
            }
            Budget::Outbox => "drop the post, or let go of a peer that does not read",
            Budget::Notifications => "receive the events that wait in the group's inbox",
            Budget::Withdrawals => "withdraw again a millisecond later",
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Budget::Channel => "the channel's outbound budget",
            Budget::Engine => "the engine's outbound budget",
            Budget::Notifications => "the room for notifications",
            Budget::Outbox => "the limit of the outbox",
            Budget::Withdrawals => "the number of withdrawals for one pass",
        })
    }
}

/// Why a post was refused.
#[doc(alias = "zmq_errno")]
#[doc(alias = "nng_strerror")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// A budget is used up; the [`Budget`] says which, and what gives room again.
    ///
    /// Of [`Budget::Channel`] and [`Budget::Engine`] an [`Event::Room`](crate::Event::Room) says when to try again, and
    /// so does [`ChannelGroup::room`](crate::ChannelGroup::room). A post that opens a channel is never refused
    /// so: the channel's reserve takes it.
    #[doc(alias = "EAGAIN")]
    #[doc(alias = "NNG_EAGAIN")]
    #[error("{0} is used up: {wanted}", wanted = .0.wanted())]
    Full(Budget),
    /// The channel has ended; its number may belong to another by now.
    #[error("the channel has ended")]
    ChannelClosed,
    /// The channel belongs to another group.
    #[error("the channel belongs to another group")]
    OtherGroup,
    /// The channel is a listener, which takes nothing but an abort.
    #[error("the channel is a listener: nothing can be sent to it")]
    IsListener,
    /// A ByeRequest or ByeResponse was posted before, and is the last of its channel.
    #[error("a Bye was posted before: nothing can follow it")]
    ByePosted,
    /// A response needs the id of its request.
    #[error("a response needs the id of its request, which is never 0")]
    ResponseWithoutId,
    /// `more` is for requests, responses and signals.
    #[error("`more` is for requests, responses and signals only")]
    InvalidMore,
    /// No channel number is free for this group. All 65,534 are in use, or their `Closed` events have
    /// not been received; those that are left are the [reserve](crate::GroupOptions) of other groups.
    #[error(
        "no channel number is free for this group: receive the Closed events that are waiting, or \
         end channels"
    )]
    NoChannelNumber,
    /// A HelloRequest has more content than a peer accepts from somebody it does not know yet.
    #[error(
        "a HelloRequest with {len} bytes of content is too long: at most 8192, the header with the \
         address among them; connect first, and post the content to the channel"
    )]
    HelloTooLong {
        /// The length of its text headers and body together.
        len: usize,
    },
    /// A ByeSignal has more to say than fits into its one frame, which has to go at once.
    #[error(
        "a ByeSignal with {len} bytes of content is too long: at most 1024; say it in fewer words, or \
         post the rest before, and a ByeRequest"
    )]
    AbortTooLong {
        /// The length of its text headers and body together.
        len: usize,
    },
    /// The group's inbox was closed or dropped.
    #[error("the group was closed")]
    GroupClosed,
    /// The engine was stopped, dropped, or has failed.
    #[error("the engine has ended")]
    EngineEnded,
}

/// Why not all was sent that had been posted to a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// So many of the messages came back, as [`Event::Returned`](crate::Event::Returned): the channel
    /// has ended, or cannot be written to any more. All before them were sent.
    #[error("{0} of the messages came back: post them elsewhere, or again once it is connected")]
    Returned(u64),
    /// The channel has ended and its `Closed` event was received, which has the account; or it belongs
    /// to another group.
    #[error("the channel has ended")]
    ChannelClosed,
    /// The deadline passed first. What was not sent is still queued.
    #[error("not all was sent in time: wait again, or abort the channel")]
    TimedOut,
    /// The engine has failed, or has ended and nothing is known of the channel any more.
    #[error("the engine has ended")]
    EngineEnded,
}

impl From<Ended> for PostError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::GroupClosed => PostError::GroupClosed,
            Ended::EngineStopped | Ended::EngineFailed => PostError::EngineEnded,
        }
    }
}

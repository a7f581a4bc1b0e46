//! What applications submit to the reactor.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::between::key::{GroupPlace, RecordKey};
use crate::between::registry::GroupId;
use crate::channel::Channel;
use crate::event::{Event, Received, Verdict};
use crate::post::Post;
use crate::storage::{RECORD_COST, SLOT_COST};

use super::batch::{Frames, MixedFrames};
use super::calls::{AbandonedCall, CallLine};
use super::group_shared::GroupShared;
use super::shared_frame::SharedFrame;

/// A call begins: a request was posted, or waits for room, whose answer goes to who called.
pub(crate) struct BegunCall {
    pub(crate) channel: Channel,
    pub(crate) id: u64,
    pub(crate) line: CallLine,
    /// Always there, once it is filled in.
    pub(crate) deadline: Option<Instant>,
}

impl BegunCall {
    /// To be filled in.
    pub(super) const BLANK: BegunCall = BegunCall {
        channel: Channel::NONE,
        id: 0,
        line: CallLine::NONE,
        deadline: None,
    };
}

/// One entry of the batch that the reactor takes.
pub(crate) enum Submission {
    Post {
        channel: Channel,
        group: GroupId,
        post: Post,
        cost: usize,
    },
    /// Small frames that were posted by value.
    Frames(Frames),
    /// Those of several channels, few of each.
    Mixed(MixedFrames),
    /// A frame with a shared body, and no text headers, that is not copied.
    SharedFrame {
        channel: Channel,
        frame: SharedFrame,
    },
    /// Nobody waits for the answer any more.
    AbandonCall(AbandonedCall),
    /// A message is to come back, if nothing of it was sent. The channel is of the group that asks.
    Withdraw {
        channel: Channel,
        id: u64,
    },
    /// What the application has decided of a connection that waits to be admitted.
    Verdict(Verdict),
    OpenGroup {
        group: Arc<GroupShared>,
        /// Where the registry has it.
        place: GroupPlace,
    },
    CloseGroup {
        group: GroupId,
        deadline: Instant,
    },
    Stop {
        deadline: Instant,
    },
    /// The resolver's answer for a connection or listener.
    Resolved {
        key: RecordKey,
        addresses: Vec<SocketAddr>,
    },
    #[cfg(test)]
    Panic,
}

impl Submission {
    /// Has the processor fetch the content, as [`Storage::fetch`](crate::storage::Storage::fetch) does.
    pub(crate) fn fetch(&self) {
        if let Submission::Post { post, .. } = self {
            post.message.storage().fetch();
        }
    }
}

// A container keeps its capacity and may be half empty, so a record counts twice in each that it
// passes through: posts in both sides of the swapped batch and in the core's nodes, events in three
// queues.
const _: () = {
    let node = size_of::<Post>();
    assert!(SLOT_COST + 4 * size_of::<Submission>() + 2 * node <= RECORD_COST);
    // Those of a channel's beginning and end have what was received apart.
    let apart = size_of::<Received>() + 16;
    assert!(SLOT_COST + 6 * size_of::<Event>() + apart <= RECORD_COST);
};

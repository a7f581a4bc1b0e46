//! What was posted since the reactor took the last of it.

use crate::between::queue;
use crate::channel::Channel;
use crate::wire::{Header, OpCode};

use super::spare::Spare;
use super::submission::Submission;

/// So many bytes of small frames lie together at most.
pub(crate) const RUN_BYTES: usize = 64 * 1024;

/// Small frames of one channel, one behind the other as they are sent: at most [`RUN_BYTES`].
pub(crate) struct Frames {
    pub(crate) channel: Channel,
    pub(crate) bytes: Vec<u8>,
    pub(crate) counts: FrameCounts,
}

/// What some frames are, so that they are moved on without being looked at one by one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct FrameCounts {
    pub(crate) messages: u32,
    /// How many of them are Requests.
    pub(crate) requests: u32,
}

impl FrameCounts {
    /// Of one frame.
    pub(crate) fn of(op_code: OpCode) -> FrameCounts {
        FrameCounts {
            messages: 1,
            requests: u32::from(op_code == OpCode::Request),
        }
    }

    pub(crate) fn add(&mut self, other: FrameCounts) {
        self.messages += other.messages;
        self.requests += other.requests;
    }

    pub(crate) fn remove(&mut self, other: FrameCounts) {
        self.messages -= other.messages;
        self.requests -= other.requests;
    }
}

/// Submissions in their order. Small frames are encoded as they will be sent when they are admitted, one
/// behind the other: the wire format is the queue.
#[derive(Default)]
pub(crate) struct Batch {
    submissions: Vec<Submission>,
    /// Empty buffers for frames.
    pub(crate) spare: Spare,
    /// How much was put in.
    len: usize,
}

impl queue::Batch for Batch {
    fn len(&self) -> usize {
        self.len
    }
}

impl Batch {
    pub(crate) fn push(&mut self, submission: Submission) {
        self.submissions.push(submission);
        self.len += 1;
    }

    /// What was put in last belongs to what was put in before.
    pub(crate) fn count_as_one(&mut self) {
        self.len -= 1;
    }

    /// The submission that was put in last.
    pub(crate) fn last_mut(&mut self) -> Option<&mut Submission> {
        self.submissions.last_mut()
    }

    /// Puts a frame in by value.
    #[inline]
    pub(crate) fn push_frame(&mut self, channel: Channel, header: &Header, content: [&[u8]; 2]) {
        let counts = FrameCounts::of(header.op_code);
        let len = header.frame_len();
        self.len += 1;
        if let Some(Submission::Frames(run)) = self.submissions.last_mut()
            && run.channel == channel
            && run.bytes.len() + len <= RUN_BYTES
        {
            run.counts.add(counts);
            return write(&mut run.bytes, header, content);
        }
        let mut bytes = self.spare.take();
        write(&mut bytes, header, content);
        self.submissions.push(Submission::Frames(Frames {
            channel,
            bytes,
            counts,
        }));
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> std::vec::Drain<'_, Submission> {
        self.len = 0;
        self.submissions.drain(..)
    }
}

#[inline(always)] // as often as it is named
fn write(bytes: &mut Vec<u8>, header: &Header, [content, shared]: [&[u8]; 2]) {
    bytes.reserve(header.frame_len());
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(content);
    if !shared.is_empty() {
        bytes.extend_from_slice(shared);
    }
}

#[cfg(test)]
impl Batch {
    /// What was put in, with frames as the posts that they were.
    pub(crate) fn into_submissions(mut self) -> Vec<Submission> {
        let mut all = Vec::new();
        for submission in self.take() {
            let Submission::Frames(run) = submission else {
                all.push(submission);
                continue;
            };
            let posts = tests::one_by_one(&run.bytes);
            all.extend(posts.map(|frame| tests::decode(run.channel, frame)));
        }
        all
    }
}

#[cfg(test)]
mod tests;

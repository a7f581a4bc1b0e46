//! What was posted since the reactor took the last of it.

use std::ops::Range;

use crate::between::queue;
use crate::channel::Channel;
use crate::wire::{Header, OpCode};

use super::submission::Submission;

/// The memory for small frames that a batch keeps when it is empty: there are two batches. What is in use is
/// bounded by what its messages are charged.
pub(crate) const FRAMES_KEPT: usize = 1 << 20;

/// So many bytes of small frames lie together at most.
pub(crate) const RUN_BYTES: usize = 64 * 1024;

/// Small frames of one channel in a batch, one behind the other.
pub(crate) struct FrameRun {
    channel: Channel,
    range: Range<usize>,
    counts: FrameCounts,
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
    frames: Vec<u8>,
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

    /// The submission that was put in last.
    pub(crate) fn last_mut(&mut self) -> Option<&mut Submission> {
        self.submissions.last_mut()
    }

    /// Puts a frame in by value.
    #[inline]
    pub(crate) fn push_frame(&mut self, channel: Channel, header: &Header, content: &[u8]) {
        let start = self.frames.len();
        self.frames.reserve(Header::LEN + content.len());
        self.frames.extend_from_slice(&header.encode());
        self.frames.extend_from_slice(content);
        let end = self.frames.len();
        let counts = FrameCounts::of(header.op_code);
        self.len += 1;
        if let Some(Submission::Frames(run)) = self.submissions.last_mut()
            && run.channel == channel
            && end - run.range.start <= RUN_BYTES
        {
            run.range.end = end;
            return run.counts.add(counts);
        }
        let range = start..end;
        self.submissions.push(Submission::Frames(FrameRun {
            channel,
            range,
            counts,
        }));
    }

    /// Takes everything out: the submissions, and the bytes that those of small frames tell of.
    pub(crate) fn take(&mut self) -> (std::vec::Drain<'_, Submission>, &[u8]) {
        self.len = 0;
        (self.submissions.drain(..), &self.frames)
    }

    /// Makes room for what comes next, behind [`take`](Batch::take).
    pub(crate) fn clear(&mut self) {
        self.submissions.clear();
        self.frames.clear();
        self.frames.shrink_to(FRAMES_KEPT);
        self.len = 0;
    }
}

impl FrameRun {
    /// Its frames, among those of the batch.
    pub(crate) fn frames<'a>(&self, of_batch: &'a [u8]) -> Frames<'a> {
        Frames {
            channel: self.channel,
            bytes: &of_batch[self.range.clone()],
            counts: self.counts,
        }
    }
}

/// Small frames of one channel, one behind the other as they are sent: at most [`RUN_BYTES`].
pub(crate) struct Frames<'a> {
    pub(crate) channel: Channel,
    pub(crate) bytes: &'a [u8],
    pub(crate) counts: FrameCounts,
}

#[cfg(test)]
impl Batch {
    /// What was put in, with frames as the posts that they were.
    pub(crate) fn into_submissions(mut self) -> Vec<Submission> {
        let (submissions, frames) = self.take();
        let mut all = Vec::new();
        for submission in submissions {
            let Submission::Frames(run) = submission else {
                all.push(submission);
                continue;
            };
            let posts = tests::one_by_one(run.frames(frames).bytes);
            all.extend(posts.map(|frame| tests::decode(run.channel, frame)));
        }
        all
    }
}

#[cfg(test)]
mod tests;

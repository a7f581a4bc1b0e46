//! What was posted since the reactor took the last of it.

use crate::between::queue;
use crate::channel::Channel;
use crate::wire::{Header, OpCode};

use super::spare::Spare;
use super::submission::{BegunCall, Submission};

/// So many bytes of small frames lie together at most.
pub(crate) const RUN_BYTES: usize = 64 * 1024;

/// With so much of it a poster writes what was posted, rather than leave it to the next pass: it is in the processor's
/// cache still, and no thread has to be woken. Writes of 64 KiB were slower over TCP, where each wakes the peer.
pub(crate) const PLENTY: usize = 512 * 1024;

/// So many bytes in a row for the same channel make a long write.
const LONG: usize = 32 * 1024;

/// Small frames of one channel, one behind the other as they are sent: at most [`RUN_BYTES`].
pub(crate) struct Frames {
    pub(crate) channel: Channel,
    pub(crate) bytes: Vec<u8>,
    pub(crate) counts: FrameCounts,
}

impl Frames {
    #[inline]
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.bytes.len() + len <= RUN_BYTES
    }

    // Where it is inlined the header stays in registers: encoding one that was written field by field has to wait.
    #[inline(always)]
    pub(crate) fn push(&mut self, header: &Header, [content, shared]: [&[u8]; 2]) {
        self.counts.add(FrameCounts::of(header.op_code));
        self.bytes.reserve(header.frame_len());
        self.bytes.extend_from_slice(&header.encode());
        self.bytes.extend_from_slice(content);
        if !shared.is_empty() {
            self.bytes.extend_from_slice(shared);
        }
    }
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

/// Submissions in their order, and the calls that begin before all of them. Small frames are encoded as they will be
/// sent when they are admitted, one behind the other: the wire format is the queue.
#[derive(Default)]
pub(crate) struct Batch {
    submissions: Vec<Submission>,
    /// Calls are begun before any submission is handled: so the frames of their requests lie together, with nothing
    /// in between. None of the submissions is about a call that has not begun: its id is given with it, once.
    calls: Vec<BegunCall>,
    /// Empty buffers for frames.
    pub(crate) spare: Spare,
    /// How much was put in.
    len: usize,
    /// How many bytes of messages that is, with the headers of small frames.
    bytes: usize,
    /// The channel of the last of them.
    channel: Option<Channel>,
    /// How many stretches they make of messages in a row for one channel.
    stretches: usize,
}

impl queue::Batch for Batch {
    fn len(&self) -> usize {
        self.len
    }
}

impl Batch {
    pub(crate) fn push(&mut self, submission: Submission) {
        if let Submission::Post { channel, post, .. } = &submission {
            self.bytes += post.message.content_len();
            self.continue_with(*channel);
        }
        self.submissions.push(submission);
        self.len += 1;
    }

    /// How many bytes of messages were put in, with the headers of small frames.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it has come to another [`PLENTY`] since there was `before`, in long writes. Of short writes to many
    /// channels more may be to come for each: those are left to the next pass.
    pub(crate) fn has_plenty(&self, before: usize) -> bool {
        before / PLENTY < self.bytes / PLENTY && self.bytes / self.stretches.max(1) >= LONG
    }

    fn continue_with(&mut self, channel: Channel) {
        self.stretches += usize::from(self.channel.replace(channel) != Some(channel));
    }

    /// Puts a call in, for a request that was put in, or for one that waits for room: then it counts by itself. It is
    /// filled in where it lies.
    pub(crate) fn push_call(&mut self, is_posted: bool) -> &mut BegunCall {
        self.calls.push(BegunCall::BLANK);
        self.len += usize::from(!is_posted);
        self.calls.last_mut().expect("it was put in a moment ago")
    }

    /// Takes the calls out, before [`take`](Batch::take) takes the rest.
    pub(crate) fn take_calls(&mut self) -> std::vec::Drain<'_, BegunCall> {
        self.calls.drain(..)
    }

    /// The submission that was put in last.
    pub(crate) fn last_mut(&mut self) -> Option<&mut Submission> {
        self.submissions.last_mut()
    }

    /// Puts a frame in by value.
    pub(crate) fn push_frame(&mut self, channel: Channel, header: &Header, content: [&[u8]; 2]) {
        self.frames_for(channel, header.frame_len())
            .push(header, content);
        self.count(1, header.frame_len());
    }

    /// So many frames, of so many bytes together, were put where [`frames_for`](Batch::frames_for) had said.
    pub(crate) fn count(&mut self, frames: usize, bytes: usize) {
        self.len += frames;
        self.bytes += bytes;
    }

    /// Where a frame of this length is put: what was put in last, if that is of the same channel and there is room.
    pub(crate) fn frames_for(&mut self, channel: Channel, len: usize) -> &mut Frames {
        let is_same = matches!(
            self.submissions.last(),
            Some(Submission::Frames(run)) if run.channel == channel && run.has_room(len)
        );
        if !is_same {
            self.continue_with(channel);
            self.submissions.push(Submission::Frames(Frames {
                channel,
                bytes: self.spare.take(),
                counts: FrameCounts::default(),
            }));
        }
        match self.submissions.last_mut() {
            Some(Submission::Frames(frames)) => frames,
            _ => unreachable!("it was looked at or put in a moment ago"),
        }
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> std::vec::Drain<'_, Submission> {
        assert!(
            self.calls.is_empty(),
            "calls begin before the rest is handled"
        );
        (self.len, self.bytes, self.stretches) = (0, 0, 0);
        self.channel = None;
        self.submissions.drain(..)
    }
}

#[cfg(test)]
impl Batch {
    /// What was put in, with frames as the posts that they were.
    pub(crate) fn into_submissions(mut self) -> Vec<Submission> {
        drop(self.take_calls());
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

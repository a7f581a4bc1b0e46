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

/// An empty batch keeps memory for so many submissions, for as many stretches of mixed frames, and as many calls.
pub(crate) const SUBMISSIONS_KEPT: usize = 4096;

/// What the buffers of small frames in one batch may take beyond their frames, all together. Beyond that they are cut to
/// their length: buffers grow by doubling, and nobody is charged for what is not filled.
pub(crate) const UNFILLED_BYTES: usize = 256 * 1024;

/// So many bytes in a row for the same channel make a long write.
pub(super) const LONG: usize = 32 * 1024;

/// Frames up to so many bytes are put together with those of other channels. Longer ones cost less where they are handed
/// over in a buffer of their own than where they are copied once more.
const MIXED_MAX: usize = 384;

/// Frames up to so many bytes in a row for one channel are copied to its queue. More of them are handed over in a
/// buffer of their own.
pub(crate) const JOINED_MAX: usize = 4096;

/// Small frames of one channel, one behind the other as they are sent: at most [`RUN_BYTES`].
pub(crate) struct Frames {
    pub(crate) channel: Channel,
    pub(crate) bytes: Vec<u8>,
    pub(crate) counts: FrameCounts,
}

/// Small frames that follow each other, those of one channel behind those of another.
pub(crate) struct MixedFrames {
    pub(crate) bytes: Vec<u8>,
    /// How many [stretches](Stretch) they make. Those lie in the batch, in their order.
    pub(crate) stretches: usize,
}

impl MixedFrames {
    /// Hands over each of its stretches with its bytes. They are the first of `stretches`, from which they are taken.
    pub(crate) fn for_each(
        &self,
        stretches: &mut std::vec::Drain<'_, Stretch>,
        mut act: impl FnMut(&Stretch, &[u8]),
    ) {
        let these = &stretches.as_slice()[..self.stretches];
        for (place, stretch) in these.iter().enumerate() {
            let end = these
                .get(place + 1)
                .map_or(self.bytes.len(), |next| next.start);
            act(stretch, &self.bytes[stretch.start..end]);
        }
        stretches.nth(self.stretches - 1);
    }
}

/// Small frames of one channel among those of others: at most [`JOINED_MAX`].
pub(crate) struct Stretch {
    pub(crate) channel: Channel,
    /// Where they begin. They end where the next one begins, or with what there is.
    pub(crate) start: usize,
    pub(crate) counts: FrameCounts,
}

/// Where a frame is put, and more for the same channel.
pub(crate) struct Place<'a> {
    bytes: &'a mut Vec<u8>,
    counts: &'a mut FrameCounts,
    /// So many bytes there may be.
    most: usize,
}

impl Place<'_> {
    #[inline]
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.bytes.len() + len <= self.most
    }

    /// Copies frames that are encoded already.
    fn join(&mut self, bytes: &[u8], counts: FrameCounts) {
        self.counts.add(counts);
        self.bytes.extend_from_slice(bytes);
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
    /// Of all [`MixedFrames`] among the submissions, in their order.
    mixed: Vec<Stretch>,
    /// Empty buffers for frames.
    pub(crate) spare: Spare,
    /// What the buffers of frames take beyond them, but for the last, which may be filled.
    unfilled: usize,
    /// How much was put in.
    len: usize,
    /// How many bytes of messages that is, with the headers of small frames.
    bytes: usize,
    /// The channel of the last of them.
    channel: Option<Channel>,
    /// How often they go on with another channel than the one before.
    turns: usize,
}

impl queue::Batch for Batch {
    fn len(&self) -> usize {
        self.len
    }
}

impl Batch {
    pub(crate) fn push(&mut self, submission: Submission) {
        let posted = match &submission {
            Submission::Post { channel, post, .. } => Some((*channel, post.message.content_len())),
            Submission::SharedFrame { channel, frame } => Some((*channel, frame.len())),
            _ => None,
        };
        if let Some((channel, bytes)) = posted {
            self.bytes += bytes;
            self.continue_with(channel);
        }
        self.end_frames();
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
        before / PLENTY < self.bytes / PLENTY && self.bytes / self.turns.max(1) >= LONG
    }

    fn continue_with(&mut self, channel: Channel) {
        self.turns += usize::from(self.channel.replace(channel) != Some(channel));
    }

    /// Puts a call in, for a request that was put in, or for one that waits for room: then it counts by itself. It is
    /// filled in where it lies.
    pub(crate) fn push_call(&mut self, is_posted: bool) -> &mut BegunCall {
        self.calls.push(BegunCall::BLANK);
        self.len += usize::from(!is_posted);
        self.calls.last_mut().expect("it was put in a moment ago")
    }

    pub(crate) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
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

    /// Puts a copy of frames in that were encoded elsewhere.
    pub(crate) fn push_copy(&mut self, channel: Channel, bytes: &[u8], counts: FrameCounts) {
        self.frames_for(channel, bytes.len()).join(bytes, counts);
        self.count(counts.messages as usize, bytes.len());
    }

    /// Puts frames in, in the buffer in which they were encoded elsewhere.
    pub(crate) fn push_whole(&mut self, channel: Channel, bytes: Vec<u8>, counts: FrameCounts) {
        self.count(counts.messages as usize, bytes.len());
        self.continue_with(channel);
        self.append(channel, bytes, counts);
    }

    fn append(&mut self, channel: Channel, bytes: Vec<u8>, counts: FrameCounts) {
        self.end_frames();
        self.submissions.push(Submission::Frames(Frames {
            channel,
            bytes,
            counts,
        }));
    }

    /// So many frames, of so many bytes together, were put where [`frames_for`](Batch::frames_for) had said.
    pub(crate) fn count(&mut self, frames: usize, bytes: usize) {
        self.len += frames;
        self.bytes += bytes;
    }

    /// Where a frame of this length is put: behind what was put in last, if that is of the same channel or short, and
    /// there is room.
    #[inline]
    pub(crate) fn frames_for(&mut self, channel: Channel, len: usize) -> Place<'_> {
        let joins = match self.submissions.last() {
            Some(Submission::Frames(run)) => {
                run.channel == channel && run.bytes.len() + len <= RUN_BYTES
            }
            Some(Submission::Mixed(mixed)) => self.mixed.last().is_some_and(|stretch| {
                let end = mixed.bytes.len() + len;
                stretch.channel == channel && end <= most_of(stretch.start)
            }),
            _ => false,
        };
        if !joins {
            self.begin_frames(channel, len);
        }
        match (self.submissions.last_mut(), self.mixed.last_mut()) {
            (Some(Submission::Frames(run)), _) => Place {
                bytes: &mut run.bytes,
                counts: &mut run.counts,
                most: RUN_BYTES,
            },
            (Some(Submission::Mixed(mixed)), Some(stretch)) => Place {
                most: most_of(stretch.start),
                bytes: &mut mixed.bytes,
                counts: &mut stretch.counts,
            },
            _ => unreachable!("it was looked at or put in a moment ago"),
        }
    }

    /// Begins frames of another channel than those before, or of the same where there is no room.
    // Once for many frames: inlined, it slows down what is done for each.
    #[inline(never)]
    fn begin_frames(&mut self, channel: Channel, len: usize) {
        self.continue_with(channel);
        let mixes = match self.submissions.last_mut() {
            Some(Submission::Frames(run)) => {
                run.channel != channel && run.bytes.len() <= JOINED_MAX && len <= MIXED_MAX
            }
            Some(Submission::Mixed(mixed)) => {
                let is_other = self.mixed.last().is_some_and(|it| it.channel != channel);
                is_other && mixed.bytes.len() + len <= RUN_BYTES && len <= MIXED_MAX
            }
            _ => false,
        };
        if !mixes {
            let bytes = self.spare.take();
            return self.append(channel, bytes, FrameCounts::default());
        }
        let last = self.submissions.last_mut().expect("it was looked at");
        if let Submission::Frames(run) = last {
            self.mixed.push(Stretch {
                channel: run.channel,
                start: 0,
                counts: run.counts,
            });
            *last = Submission::Mixed(MixedFrames {
                bytes: std::mem::take(&mut run.bytes),
                stretches: 1,
            });
        }
        if let Submission::Mixed(mixed) = last {
            self.mixed.push(Stretch {
                channel,
                start: mixed.bytes.len(),
                counts: FrameCounts::default(),
            });
            mixed.stretches += 1;
        }
    }

    /// Nothing follows in the buffer of the frames that were put in last, if that is what was.
    fn end_frames(&mut self) {
        let bytes = match self.submissions.last_mut() {
            Some(Submission::Frames(run)) => &mut run.bytes,
            Some(Submission::Mixed(mixed)) => &mut mixed.bytes,
            _ => return,
        };
        if self.unfilled + bytes.capacity() - bytes.len() > UNFILLED_BYTES {
            bytes.shrink_to_fit();
        }
        self.unfilled += bytes.capacity() - bytes.len();
    }

    /// Gives memory back where much was posted at once: a small message is charged for its place in one batch.
    pub(crate) fn shrink(&mut self) {
        self.submissions.shrink_to(SUBMISSIONS_KEPT);
        self.calls.shrink_to(SUBMISSIONS_KEPT);
        self.mixed.shrink_to(SUBMISSIONS_KEPT);
    }

    /// Takes everything out: the submissions, and the stretches of those that are [`MixedFrames`].
    pub(crate) fn take(
        &mut self,
    ) -> (
        std::vec::Drain<'_, Submission>,
        std::vec::Drain<'_, Stretch>,
    ) {
        assert!(
            self.calls.is_empty(),
            "calls begin before the rest is handled"
        );
        (self.len, self.bytes, self.turns) = (0, 0, 0);
        self.unfilled = 0;
        self.channel = None;
        (self.submissions.drain(..), self.mixed.drain(..))
    }
}

/// How many bytes there may be behind a stretch that starts here.
fn most_of(start: usize) -> usize {
    RUN_BYTES.min(start + JOINED_MAX)
}

#[cfg(test)]
impl Batch {
    /// What was put in, with frames as the posts that they were.
    pub(crate) fn into_submissions(mut self) -> Vec<Submission> {
        drop(self.take_calls());
        let mut all = Vec::new();
        let (submissions, mut stretches) = self.take();
        for submission in submissions {
            match submission {
                Submission::Frames(run) => {
                    assert_eq!(tests::counts_of(&run.bytes), run.counts);
                    let posts = tests::one_by_one(&run.bytes);
                    all.extend(posts.map(|frame| tests::decode(run.channel, frame)));
                }
                Submission::Mixed(mixed) => mixed.for_each(&mut stretches, |stretch, bytes| {
                    assert_eq!(tests::counts_of(bytes), stretch.counts);
                    let posts = tests::one_by_one(bytes);
                    all.extend(posts.map(|frame| tests::decode(stretch.channel, frame)));
                }),
                other => all.push(other),
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;

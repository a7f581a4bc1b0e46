//! What was posted since the reactor took the last of it.

use std::ops::Range;

use crate::between::queue;
use crate::channel::Channel;
use crate::wire::Header;

use super::submission::Submission;

/// The memory for small frames that a batch keeps when it is empty: there are two batches. What is in use is
/// bounded by what its messages are charged.
pub(crate) const FRAMES_KEPT: usize = 1 << 20;

/// What stands before each frame: the generation of its channel, of which the header has the number.
const GENERATION: usize = size_of::<u64>();

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
    pub(crate) fn push_frame(&mut self, channel: Channel, header: &Header, content: &[u8]) {
        let start = self.frames.len();
        self.frames
            .reserve(GENERATION + Header::LEN + content.len());
        self.frames
            .extend_from_slice(&channel.generation().to_ne_bytes());
        self.frames.extend_from_slice(&header.encode());
        self.frames.extend_from_slice(content);
        let end = self.frames.len();
        match self.submissions.last_mut() {
            Some(Submission::Frames(range)) => range.end = end,
            _ => self.submissions.push(Submission::Frames(start..end)),
        }
        self.len += 1;
    }

    /// Takes everything out: the submissions, and the frames that [`Submission::Frames`] tells of.
    pub(crate) fn take(&mut self) -> (std::vec::Drain<'_, Submission>, Frames<'_>) {
        self.len = 0;
        (self.submissions.drain(..), Frames(&self.frames))
    }

    /// Makes room for what comes next, behind [`take`](Batch::take).
    pub(crate) fn clear(&mut self) {
        self.submissions.clear();
        self.frames.clear();
        self.frames.shrink_to(FRAMES_KEPT);
        self.len = 0;
    }
}

/// The small frames of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Frames<'a>(&'a [u8]);

impl<'a> Frames<'a> {
    /// Those of a [`Submission::Frames`].
    pub(crate) fn part(self, range: Range<usize>) -> Frames<'a> {
        Frames(&self.0[range])
    }

    /// The channel of the first.
    pub(crate) fn channel(self) -> Option<Channel> {
        let (generation, rest) = self.0.split_first_chunk::<GENERATION>()?;
        let number = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
        Some(Channel::new(number, u64::from_ne_bytes(*generation)))
    }

    /// Takes the first frame, if it is one of this channel.
    pub(crate) fn next_of(&mut self, channel: Channel) -> Option<&'a [u8]> {
        if self.channel()? != channel {
            return None;
        }
        let rest = &self.0[GENERATION..];
        let (frame, rest) = rest.split_at(Header::frame_len_of(rest));
        self.0 = rest;
        Some(frame)
    }
}

#[cfg(test)]
impl Batch {
    /// What was put in, with frames as the posts that they were.
    pub(crate) fn into_submissions(mut self) -> Vec<Submission> {
        let (submissions, frames) = self.take();
        let mut all = Vec::new();
        for submission in submissions {
            let Submission::Frames(range) = submission else {
                all.push(submission);
                continue;
            };
            let mut part = frames.part(range);
            while let Some(channel) = part.channel() {
                let frame = part.next_of(channel).expect("it is one of its channel");
                all.push(tests::decode(channel, frame));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;

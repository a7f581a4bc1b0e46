//! Messages on their way out: a queue for each channel, in storage that all channels share. Small ones
//! that were posted by value lie in runs, as they are sent.

mod withdrawing;

use std::io::IoSlice;
use std::ops::Range;

use crate::handles::{
    FrameCounts, Frames, JOINED_MAX, RUN_BYTES, SharedFrame, Spare, Stretch, Submission,
};
use crate::message::Message;
use crate::storage::{Cache, QUEUED_COST, queued_cost_of};
use crate::wire::{Header, OpCode};

use super::decisions;

pub(super) use self::withdrawing::Kind as Withdrawn;

/// A frame up to this size is copied into the scratch buffer; a larger one goes from where it lies.
const PACKED_MAX: usize = 4096;

/// What the buffers of queued runs may take beyond the frames that are not sent yet, all together. Beyond that
/// a run gets a buffer of its own length: a buffer that is large must not be kept by one small frame.
pub(crate) const UNUSED_BYTES: usize = 4 << 20;

/// So many places are kept while nothing is queued.
const NODES_KEPT: usize = 8192;
#[cfg(test)]
pub(crate) const NODES_BYTES: usize = NODES_KEPT * size_of::<Node>();

/// What one gathering write takes at most, so that a busy channel leaves the others their turn.
pub(crate) const SCRATCH_BYTES: usize = 128 * 1024;
const GATHER_BYTES: usize = 512 * 1024;
const SLICES: usize = 32;

/// Buffers that frames are copied to have so many bytes: for the first few of a channel, and for more.
const COPY_SHORT: usize = 1024;
const COPY_LONG: usize = 8 * 1024;

const NONE: u32 = u32::MAX;

/// A message that was admitted and is neither sent nor returned.
pub(super) struct Outgoing {
    pub(super) message: Message,
    pub(super) op_code: OpCode,
    pub(super) more: bool,
    pub(super) id: u64,
    /// What the message was charged when it was admitted.
    pub(super) cost: usize,
    /// When it came to the reactor, as the [`Clock`](super::reports::Clock) counts.
    pub(super) queued_at: u32,
}

impl Outgoing {
    /// What lay in a queue as a frame with this header.
    fn of(header: &Header, message: Message, cost: usize, queued_at: u32) -> Outgoing {
        Outgoing {
            message,
            op_code: header.op_code,
            more: header.more,
            id: header.message_id,
            cost,
            queued_at,
        }
    }

    /// What it is charged once it is returned: as any message, also where it was queued in a run for less.
    pub(super) fn returned_cost(&self) -> usize {
        match self.cost {
            0 => 0, // what ends a channel is charged nothing
            cost => self.message.cost().max(cost),
        }
    }
}

/// Small frames that were posted by value and follow each other, as they are sent.
struct Run {
    bytes: Vec<u8>,
    /// The offset of the first frame that is neither sent nor returned.
    at: usize,
    /// The counts of the frames from `at` on.
    counts: FrameCounts,
    /// When they came to the reactor.
    queued_at: u32,
    /// Frames are copied to its buffer, which does not grow.
    is_copy: bool,
}

impl Run {
    fn left(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Moves the frames from `at` on to a buffer of their length, to which more may be joined. Hands back the one they
    /// were in, and whether that is one for copies.
    fn cut(&mut self) -> (Vec<u8>, bool) {
        let own = self.left().to_vec();
        self.at = 0;
        let before = std::mem::replace(&mut self.bytes, own);
        (before, std::mem::take(&mut self.is_copy))
    }

    /// What its buffer takes beyond the frames from `at` on.
    fn unused(&self) -> usize {
        self.bytes.capacity() - self.left().len()
    }

    fn first_len(&self) -> usize {
        Header::frame_len_of(self.left())
    }

    /// The header of the first frame.
    fn first(&self) -> Header {
        let header = self.left().first_chunk().expect("a frame has a header");
        Header::decode(header).expect("what was encoded here")
    }
}

/// What lies in a place of a queue.
enum Queued {
    Message(Outgoing),
    Run(Run),
    /// And when it came to the reactor.
    Shared(SharedFrame, u32),
}

impl Queued {
    /// What of it is not sent, from the beginning of a frame on, in the pieces in which it lies.
    fn pieces(&self) -> [&[u8]; 2] {
        match self {
            Queued::Message(outgoing) => outgoing.message.frame(),
            Queued::Run(run) => [run.left(), &[]],
            Queued::Shared(frame, _) => frame.pieces(),
        }
    }

    fn queued_at(&self) -> u32 {
        match self {
            Queued::Message(outgoing) => outgoing.queued_at,
            Queued::Run(run) => run.queued_at,
            Queued::Shared(_, queued_at) => *queued_at,
        }
    }
}

/// What was wholly sent.
pub(super) enum Sent {
    Message(Outgoing),
    Shared(SharedFrame),
    /// Small frames that were posted by value, with so many bytes.
    Frames {
        counts: FrameCounts,
        bytes: usize,
    },
}

/// A channel's queue, as a list through the shared nodes: an idle channel owns no storage.
#[derive(Clone, Copy)]
pub(super) struct Fifo {
    head: u32,
    tail: u32,
    /// How much of the first frame was sent.
    sent: usize,
}

impl Fifo {
    pub(super) fn new() -> Self {
        Fifo {
            head: NONE,
            tail: NONE,
            sent: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// Whether no frame was sent in part.
    pub(super) fn is_between_frames(&self) -> bool {
        self.sent == 0
    }
}

struct Node {
    queued: Option<Queued>,
    next: u32,
}

/// The nodes of all channels' queues. Grows to the most that were queued at once, which the
/// outbound budget bounds, until nothing is.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    free: u32,
    /// How many of them hold something.
    linked: usize,
    /// Buffers of runs that were sent, for posters.
    spare: Spare,
    /// The same, for runs that frames are copied to.
    copies_short: Spare,
    copies_long: Spare,
    /// What the buffers of runs take beyond the frames that are not sent yet.
    unused: usize,
}

/// The slices of one gathering write, in order.
pub(crate) struct Gather<'a> {
    slices: [IoSlice<'a>; SLICES],
    len: usize,
    bytes: usize,
}

impl<'a> Gather<'a> {
    pub(crate) fn slices(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.len]
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Bytes to send: small frames packed into scratch, or what lies where it is sent from, a large message or
/// many small frames.
#[derive(Clone)]
enum Segment {
    Packed(Range<usize>),
    InPlace {
        node: u32,
        piece: usize,
        from: usize,
    },
}

impl Nodes {
    pub(super) fn new() -> Self {
        Nodes {
            nodes: Vec::new(),
            free: NONE,
            linked: 0,
            spare: Spare::default(),
            copies_short: Spare::default(),
            copies_long: Spare::default(),
            unused: 0,
        }
    }

    /// Buffers of runs that were sent, for others.
    pub(super) fn spare(&mut self) -> &mut Spare {
        &mut self.spare
    }

    pub(super) fn push(&mut self, fifo: &mut Fifo, outgoing: Outgoing) {
        self.link(fifo, Queued::Message(outgoing));
    }

    pub(super) fn push_shared(&mut self, fifo: &mut Fifo, frame: SharedFrame, now: u32) {
        self.link(fifo, Queued::Shared(frame, now));
    }

    /// Queues small frames that were posted by value: in their buffer, or joined to others.
    pub(super) fn push_frames(&mut self, fifo: &mut Fifo, frames: Frames, now: u32) {
        if frames.bytes.len() <= JOINED_MAX && self.join(fifo, &frames.bytes, frames.counts, now) {
            return self.spare.give(frames.bytes);
        }
        self.link_run(fifo, frames.bytes, frames.counts, now, false);
    }

    /// Queues a copy of small frames that were posted by value.
    pub(super) fn push_stretch(
        &mut self,
        fifo: &mut Fifo,
        bytes: &[u8],
        counts: FrameCounts,
        now: u32,
    ) {
        if self.join(fifo, bytes, counts, now) {
            return;
        }
        let is_behind_run = matches!(self.at(fifo.tail), Some(Queued::Run(_)));
        let is_long = (is_behind_run && !fifo.is_empty()) || bytes.len() > COPY_SHORT;
        let mut copy = self.take_for_copy(is_long);
        copy.extend_from_slice(bytes);
        self.link_run(fifo, copy, counts, now, true);
    }

    /// Copies frames behind those that are last in a queue, if those came at the same time and there is room.
    fn join(&mut self, fifo: &Fifo, bytes: &[u8], counts: FrameCounts, now: u32) -> bool {
        if !fifo.is_empty()
            && let Some(Queued::Run(run)) = &mut self.nodes[fifo.tail as usize].queued
            && run.queued_at == now
            && run.bytes.len() + bytes.len() <= RUN_BYTES
            && (bytes.len() <= run.bytes.capacity() - run.bytes.len()
                || (!run.is_copy && self.unused <= UNUSED_BYTES))
        {
            run.counts.add(counts);
            self.unused -= run.unused();
            run.bytes.extend_from_slice(bytes);
            self.unused += run.unused();
            return true;
        }
        false
    }

    fn link_run(
        &mut self,
        fifo: &mut Fifo,
        bytes: Vec<u8>,
        counts: FrameCounts,
        now: u32,
        is_copy: bool,
    ) {
        let mut run = Run {
            bytes,
            at: 0,
            counts,
            queued_at: now,
            is_copy,
        };
        if self.unused + run.unused() > UNUSED_BYTES {
            let (cut, is_copy) = run.cut();
            self.give(cut, is_copy);
        }
        self.unused += run.unused();
        self.link(fifo, Queued::Run(run));
    }

    /// An empty buffer to copy frames to.
    fn take_for_copy(&mut self, is_long: bool) -> Vec<u8> {
        let (spare, len) = match is_long {
            true => (&mut self.copies_long, COPY_LONG),
            false => (&mut self.copies_short, COPY_SHORT),
        };
        let mut buffer = spare.take();
        buffer.reserve_exact(len); // nothing, unless there was none
        buffer
    }

    /// Keeps an empty buffer: for copies, or for posters.
    fn give(&mut self, bytes: Vec<u8>, is_copy: bool) {
        match (is_copy, bytes.capacity()) {
            (false, _) => self.spare.give(bytes),
            (true, COPY_LONG) => self.copies_long.give(bytes),
            (true, COPY_SHORT) => self.copies_short.give(bytes),
            (true, _) => {} // of the length of what was left in it
        }
    }

    #[inline]
    fn link(&mut self, fifo: &mut Fifo, queued: Queued) {
        let node = Node {
            queued: Some(queued),
            next: NONE,
        };
        let index = self.free;
        let index = if index == NONE {
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1).expect("the outbound budget is far smaller")
        } else {
            self.free = self.nodes[index as usize].next;
            self.nodes[index as usize] = node;
            index
        };
        if fifo.is_empty() {
            fifo.head = index;
        } else {
            self.nodes[fifo.tail as usize].next = index;
        }
        fifo.tail = index;
        self.linked += 1;
    }

    /// Takes the first place out of a queue.
    fn unlink(&mut self, fifo: &mut Fifo) -> Queued {
        let index = fifo.head;
        let node = &mut self.nodes[index as usize];
        let queued = node.queued.take().expect("a linked node holds something");
        fifo.head = node.next;
        self.free_place(index);
        queued
    }

    /// The place is for others. Once all are, many are not kept: what takes memory next may be something else.
    fn free_place(&mut self, index: u32) {
        self.nodes[index as usize].next = std::mem::replace(&mut self.free, index);
        self.linked -= 1;
        if self.linked == 0 && self.nodes.len() > NODES_KEPT {
            self.nodes.clear();
            self.nodes.shrink_to(NODES_KEPT);
            self.free = NONE;
        }
    }

    /// Goes on behind frames of the run that is first in a queue, which goes when it is empty.
    fn pass(&mut self, fifo: &mut Fifo, len: usize, counts: FrameCounts) {
        let node = &mut self.nodes[fifo.head as usize];
        let Some(Queued::Run(run)) = &mut node.queued else {
            unreachable!("the caller has looked at it");
        };
        run.at += len;
        run.counts.remove(counts);
        self.unused += len;
        if run.at == run.bytes.len() {
            let run = self.unlink(fifo);
            self.recycle(run);
        }
    }

    /// Keeps the buffer of a run of which nothing is left.
    fn recycle(&mut self, queued: Queued) {
        if let Queued::Run(run) = queued {
            self.unused -= run.unused();
            self.give(run.bytes, run.is_copy);
        }
    }

    /// The system takes no more for now of what is first in a queue: what was sent of it is not kept, if the
    /// buffers of all runs take too much.
    pub(super) fn cut_first(&mut self, fifo: &Fifo) {
        self.cut_if_much_is_unused(fifo.head);
    }

    /// Moves what is left of a run to a buffer of its length, if the buffers of all runs take too much.
    fn cut_if_much_is_unused(&mut self, index: u32) {
        if self.unused > UNUSED_BYTES
            && let Some(node) = self.nodes.get_mut(index as usize)
            && let Some(Queued::Run(run)) = &mut node.queued
        {
            self.unused -= run.unused();
            let (cut, is_copy) = run.cut();
            self.unused += run.unused();
            self.give(cut, is_copy);
        }
    }

    /// Takes the first message of a queue, which is to be returned. If it was posted by value it gets
    /// storage again.
    pub(super) fn pop(&mut self, fifo: &mut Fifo, cache: &mut Cache) -> Option<Outgoing> {
        let first = self.at(fifo.head)?;
        let decoded = match first {
            Queued::Message(_) | Queued::Shared(..) => None,
            Queued::Run(run) => Some(decode(run.left(), run.queued_at, cache)),
        };
        fifo.sent = 0;
        if let Some(outgoing) = decoded {
            let counts = FrameCounts::of(outgoing.op_code);
            self.pass(fifo, outgoing.message.frame_len(), counts);
            return Some(outgoing);
        }
        match self.unlink(fifo) {
            Queued::Message(outgoing) => Some(outgoing),
            Queued::Shared(frame, queued_at) => Some(message_of(frame, queued_at, cache)),
            Queued::Run(_) => unreachable!("it was decoded"),
        }
    }

    /// When the first of what is queued came.
    pub(super) fn first_queued_at(&self, fifo: &Fifo) -> Option<u32> {
        self.at(fifo.head).map(Queued::queued_at)
    }

    fn at(&self, index: u32) -> Option<&Queued> {
        self.nodes.get(index as usize)?.queued.as_ref()
    }

    /// Counts `bytes` of what is first in a queue as sent, and takes from the queue what now is wholly
    /// sent. Returns how many of the bytes belong to what follows.
    pub(super) fn advance(&mut self, fifo: &mut Fifo, bytes: usize) -> (Option<Sent>, usize) {
        let first = self.at(fifo.head);
        let first = first.expect("bytes were sent, so there was something to send");
        let (len, counts) = match first {
            Queued::Message(outgoing) => (outgoing.message.frame_len(), None),
            Queued::Shared(frame, _) => (frame.len(), None),
            // All of a run at once, or one frame.
            Queued::Run(run) => match run.left().len() {
                all if all - fifo.sent <= bytes => (all, Some(run.counts)),
                _ => (run.first_len(), Some(FrameCounts::of(run.first().op_code))),
            },
        };
        let rest = len - fifo.sent;
        if !decisions::is_wholly_sent(bytes, rest) {
            fifo.sent += bytes;
            return (None, 0);
        }
        let sent = match counts {
            Some(counts) => {
                self.pass(fifo, len, counts);
                Sent::Frames { counts, bytes: len }
            }
            None => match self.unlink(fifo) {
                Queued::Message(outgoing) => Sent::Message(outgoing),
                Queued::Shared(frame, _) => Sent::Shared(frame),
                Queued::Run(_) => unreachable!("it was looked at"),
            },
        };
        fifo.sent = 0;
        (Some(sent), bytes.saturating_sub(rest))
    }

    /// Gathers what can be written at once, without taking anything: only what
    /// [`advance`](Nodes::advance) is told was sent is sent.
    pub(super) fn gather<'a>(&'a self, fifo: &Fifo, scratch: &'a mut Vec<u8>) -> Gather<'a> {
        const EMPTY: Segment = Segment::Packed(0..0);
        let mut segments = [EMPTY; SLICES];
        let (mut len, mut bytes) = (0, 0);
        let (mut index, mut from) = (fifo.head, fifo.sent);
        scratch.clear();
        'gathered: while let Some(queued) = self.at(index) {
            for (piece, whole) in queued.pieces().into_iter().enumerate() {
                let Some(left) = whole.get(from..).filter(|left| !left.is_empty()) else {
                    from -= whole.len();
                    continue;
                };
                let packs = left.len() <= PACKED_MAX;
                let start = scratch.len();
                let last = &mut segments[len.max(1) - 1];
                let joins = packs && matches!(last, Segment::Packed(_)) && len > 0;
                let is_full =
                    bytes >= GATHER_BYTES || (packs && start + left.len() > SCRATCH_BYTES);
                if is_full || (!joins && len == SLICES) {
                    break 'gathered;
                }
                bytes += left.len();
                if packs {
                    scratch.extend_from_slice(left);
                    match last {
                        Segment::Packed(range) if joins => range.end = scratch.len(),
                        _ => {
                            segments[len] = Segment::Packed(start..scratch.len());
                            len += 1;
                        }
                    }
                } else {
                    segments[len] = Segment::InPlace {
                        node: index,
                        piece,
                        from,
                    };
                    len += 1;
                }
                from = 0;
            }
            index = self.nodes[index as usize].next;
        }
        let scratch: &'a [u8] = scratch;
        let mut slices = [IoSlice::new(&[]); SLICES];
        for (slice, segment) in slices.iter_mut().zip(&segments[..len]) {
            *slice = IoSlice::new(match segment {
                Segment::Packed(range) => &scratch[range.clone()],
                Segment::InPlace { node, piece, from } => {
                    let queued = self.at(*node).expect("gathered a moment ago");
                    &queued.pieces()[*piece][*from..]
                }
            });
        }
        Gather { slices, len, bytes }
    }
}

// What lies alone in a run counts twice in each container, which may be half empty: in the batch, which keeps little
// capacity, and here, with a buffer of its own length.
const _: () = {
    let posted = 2 * size_of::<Submission>();
    assert!(2 * size_of::<Stretch>() <= posted);
    let allocation = 16;
    assert!(posted + 2 * size_of::<Node>() + allocation <= QUEUED_COST);
};

/// The message of the first of these frames, as it was before it was posted.
fn decode(frames: &[u8], queued_at: u32, cache: &mut Cache) -> Outgoing {
    let header = frames.first_chunk().expect("a frame has a header");
    let header = Header::decode(header).expect("what was encoded here");
    let len = header.frame_len();
    let mut message = Message::receiving(cache.take(len), &header);
    message
        .content_mut()
        .copy_from_slice(&frames[Header::LEN..len]);
    Outgoing::of(&header, message, queued_cost_of(len), queued_at)
}

/// The same of a frame with a shared body.
fn message_of(frame: SharedFrame, queued_at: u32, cache: &mut Cache) -> Outgoing {
    let (header, cost) = (frame.header(), frame.cost());
    let message = frame.into_message(cache.take(Header::LEN));
    Outgoing::of(&header, message, cost, queued_at)
}

#[cfg(test)]
mod tests;

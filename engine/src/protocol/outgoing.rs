//! Messages on their way out: a queue for each channel, in storage that all channels share.

use std::io::IoSlice;
use std::ops::Range;

use crate::message::Message;
use crate::wire::OpCode;

use super::decisions;

/// A frame up to this size is copied into the scratch buffer; a larger one goes from where it lies.
const PACKED_MAX: usize = 4096;

/// What one gathering write takes at most, so that a busy channel leaves the others their turn.
pub(crate) const SCRATCH_BYTES: usize = 128 * 1024;
const GATHER_BYTES: usize = 512 * 1024;
const SLICES: usize = 32;

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
    outgoing: Option<Outgoing>,
    next: u32,
}

/// The nodes of all channels' queues. Grows to the most that were queued at once, which the
/// outbound budget bounds.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    free: u32,
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

/// A run of bytes to send: small frames packed into scratch, or a large one in its message.
#[derive(Clone)]
enum Segment {
    Packed(Range<usize>),
    InPlace { node: u32, from: usize },
}

impl Nodes {
    pub(super) fn new() -> Self {
        Nodes {
            nodes: Vec::new(),
            free: NONE,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, fifo: &mut Fifo, outgoing: Outgoing) {
        let node = Node {
            outgoing: Some(outgoing),
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
    }

    pub(super) fn pop(&mut self, fifo: &mut Fifo) -> Option<Outgoing> {
        if fifo.is_empty() {
            return None;
        }
        let index = fifo.head;
        let node = &mut self.nodes[index as usize];
        let outgoing = node.outgoing.take().expect("a linked node holds a message");
        fifo.head = node.next;
        node.next = self.free;
        self.free = index;
        fifo.sent = 0;
        Some(outgoing)
    }

    pub(super) fn front(&self, fifo: &Fifo) -> Option<&Outgoing> {
        self.at(fifo.head)
    }

    fn at(&self, index: u32) -> Option<&Outgoing> {
        self.nodes.get(index as usize)?.outgoing.as_ref()
    }

    /// Counts `bytes` of the first frame as sent, and takes it from the queue if it now is wholly
    /// sent. Returns how many of the bytes belong to later frames.
    pub(super) fn advance(&mut self, fifo: &mut Fifo, bytes: usize) -> (Option<Outgoing>, usize) {
        let first = self
            .front(fifo)
            .expect("bytes were sent, so there was something to send");
        let rest = first.message.frame_len() - fifo.sent;
        if !decisions::is_wholly_sent(bytes, rest) {
            fifo.sent += bytes;
            return (None, 0);
        }
        (self.pop(fifo), bytes.saturating_sub(rest))
    }

    /// Gathers what can be written at once, without taking anything: only what
    /// [`advance`](Nodes::advance) is told was sent is sent.
    pub(super) fn gather<'a>(&'a self, fifo: &Fifo, scratch: &'a mut Vec<u8>) -> Gather<'a> {
        const EMPTY: Segment = Segment::Packed(0..0);
        let mut segments = [EMPTY; SLICES];
        let (mut len, mut bytes) = (0, 0);
        let (mut index, mut from) = (fifo.head, fifo.sent);
        scratch.clear();
        while let Some(outgoing) = self.at(index) {
            let frame = &outgoing.message.frame()[from..];
            let packs = frame.len() <= PACKED_MAX;
            let start = scratch.len();
            let joins = packs && matches!(&segments[len.max(1) - 1], Segment::Packed(_)) && len > 0;
            let is_full = bytes >= GATHER_BYTES || (packs && start + frame.len() > SCRATCH_BYTES);
            if is_full || (!joins && len == SLICES) {
                break;
            }
            bytes += frame.len();
            if packs {
                scratch.extend_from_slice(frame);
                match &mut segments[len.max(1) - 1] {
                    Segment::Packed(range) if joins => range.end = scratch.len(),
                    _ => {
                        segments[len] = Segment::Packed(start..scratch.len());
                        len += 1;
                    }
                }
            } else {
                segments[len] = Segment::InPlace { node: index, from };
                len += 1;
            }
            (index, from) = (self.nodes[index as usize].next, 0);
        }
        let scratch: &'a [u8] = scratch;
        let mut slices = [IoSlice::new(&[]); SLICES];
        for (slice, segment) in slices.iter_mut().zip(&segments[..len]) {
            *slice = IoSlice::new(match segment {
                Segment::Packed(range) => &scratch[range.clone()],
                Segment::InPlace { node, from } => {
                    let outgoing = self.at(*node).expect("gathered a moment ago");
                    &outgoing.message.frame()[*from..]
                }
            });
        }
        Gather { slices, len, bytes }
    }
}

#[cfg(test)]
mod tests;

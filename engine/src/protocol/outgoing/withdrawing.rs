//! Taking a message out of the middle of a queue.

use crate::handles::FrameCounts;
use crate::storage::Cache;
use crate::wire::{Header, OpCode};

use super::{Fifo, NONE, Nodes, Outgoing, Queued, Run, decode, message_of};

/// What may be withdrawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::protocol) enum Kind {
    /// A call's request.
    Request,
    /// What an application names by its own id.
    RequestOrSignal,
}

impl Kind {
    fn takes(self, op_code: OpCode) -> bool {
        match self {
            Kind::Request => op_code == OpCode::Request,
            Kind::RequestOrSignal => matches!(op_code, OpCode::Request | OpCode::Signal),
        }
    }
}

impl Nodes {
    /// Takes the first Request or Signal with this id out of a queue, if no byte of it was sent, or is among the
    /// first `staged` of those that are to be sent next. Responses go by the ids that the peer has chosen, which
    /// may be the same. Costs what lies before it in the queue.
    pub(in crate::protocol) fn withdraw(
        &mut self,
        fifo: &mut Fifo,
        staged: usize,
        id: u64,
        kind: Kind,
        cache: &mut Cache,
    ) -> Option<Outgoing> {
        let (mut before, mut index) = (NONE, fifo.head);
        // A frame that begins before this was begun to be sent, or will be.
        let mut begun = fifo.sent + staged;
        while index != NONE {
            let node = &mut self.nodes[index as usize];
            let next = node.next;
            match node.queued.as_mut().expect("a linked node holds something") {
                Queued::Message(outgoing) => {
                    let is_free = begun == 0;
                    begun = begun.saturating_sub(outgoing.message.frame_len());
                    let is_it = outgoing.id == id && kind.takes(outgoing.op_code) && is_free;
                    if is_it && let Queued::Message(outgoing) = self.unlink_behind(fifo, before) {
                        return Some(outgoing);
                    }
                }
                Queued::Shared(frame, queued_at) => {
                    let (is_free, queued_at) = (begun == 0, *queued_at);
                    begun = begun.saturating_sub(frame.len());
                    let header = frame.header();
                    let is_it = header.message_id == id && kind.takes(header.op_code) && is_free;
                    if is_it && let Queued::Shared(frame, _) = self.unlink_behind(fifo, before) {
                        return Some(message_of(frame, queued_at, cache));
                    }
                }
                Queued::Run(run) => {
                    let first = begun;
                    begun = begun.saturating_sub(run.left().len());
                    if let Some(at) = run.find(id, kind, first) {
                        self.unused -= run.unused();
                        let outgoing = run.take_out(at, cache);
                        self.unused += run.unused();
                        if run.left().is_empty() {
                            let run = self.unlink_behind(fifo, before);
                            self.recycle(run);
                        } else {
                            self.cut_if_much_is_unused(index);
                        }
                        return Some(outgoing);
                    }
                }
            }
            (before, index) = (index, next);
        }
        None
    }

    /// Takes the place behind `before` out of a queue, or its first.
    fn unlink_behind(&mut self, fifo: &mut Fifo, before: u32) -> Queued {
        if before == NONE {
            return self.unlink(fifo);
        }
        let index = self.nodes[before as usize].next;
        let node = &mut self.nodes[index as usize];
        let queued = node.queued.take().expect("a linked node holds something");
        let next = node.next;
        self.nodes[before as usize].next = next;
        if next == NONE {
            fifo.tail = before;
        }
        self.free_place(index);
        queued
    }
}

impl Run {
    /// Where the first frame with this id begins, of those that begin behind the first `begun` bytes.
    fn find(&self, id: u64, kind: Kind, begun: usize) -> Option<usize> {
        let mut at = self.at;
        while let Some(header) = self.bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let header = Header::decode(header).expect("what was encoded here");
            let is_free = at - self.at >= begun;
            if is_free && header.message_id == id && kind.takes(header.op_code) {
                return Some(at);
            }
            at += header.frame_len();
        }
        None
    }

    /// Takes the frame that begins there out.
    fn take_out(&mut self, at: usize, cache: &mut Cache) -> Outgoing {
        let outgoing = decode(&self.bytes[at..], self.queued_at, cache);
        let len = outgoing.message.frame_len();
        self.bytes.drain(at..at + len);
        self.counts.remove(FrameCounts::of(outgoing.op_code));
        outgoing
    }
}

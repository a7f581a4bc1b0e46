//! Sending: what is queued, what the system took, what follows from what was sent.

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use crate::handles::{FrameCounts, Frames, SharedFrame};
use crate::message::Message;
use crate::options::after;
use crate::post::Post;
use crate::reason::Reason;
use crate::storage::{Cache, queued_cost_of_many};
use crate::wire::OpCode;

use super::{Connection, Context, Finishing, Origin, State, Unwritable};
use crate::protocol::outgoing::{Fifo, Gather, Nodes, Outgoing, Sent, Withdrawn};
use crate::protocol::{Action, decisions};

pub(super) struct Outbound {
    fifo: Fifo,
    /// The system took less than was offered: it says when it is writable.
    is_blocked: bool,
    /// Since when the system has taken nothing, while something waits to be sent.
    stuck_since: Option<Instant>,
    /// When it is to be seen whether the system has taken anything.
    look: Option<Instant>,
    /// So much of what is to be sent next is on its way below, for good.
    staged: usize,
    /// Credit of what was sent, to be given back at the end of the pass.
    released: usize,
}

impl Outbound {
    pub(super) fn new() -> Self {
        Outbound {
            fifo: Fifo::new(),
            is_blocked: false,
            stuck_since: None,
            look: None,
            staged: 0,
            released: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fifo.is_empty()
    }

    pub(super) fn first_queued_at(&self, nodes: &Nodes) -> Option<u32> {
        nodes.first_queued_at(&self.fifo)
    }

    pub(super) fn look(&self) -> Option<Instant> {
        self.look
    }

    pub(super) fn stop_looking(&mut self) {
        (self.stuck_since, self.look) = (None, None);
    }

    pub(super) fn pop(&mut self, nodes: &mut Nodes, cache: &mut Cache) -> Option<Outgoing> {
        nodes.pop(&mut self.fifo, cache)
    }

    /// Takes a message out of the queue of which nothing was sent.
    pub(super) fn withdraw(
        &mut self,
        id: u64,
        kind: Withdrawn,
        nodes: &mut Nodes,
        cache: &mut Cache,
    ) -> Option<Outgoing> {
        let withdrawn = nodes.withdraw(&mut self.fifo, self.staged, id, kind, cache);
        if self.is_empty() {
            self.stop_looking(); // nothing waits to be sent
        }
        withdrawn
    }

    /// Whether the system has taken nothing for as long as `timeout`. Looks again if not.
    pub(super) fn is_stuck(&mut self, now: Instant, timeout: Duration) -> bool {
        if self.look.is_none_or(|look| look > now) {
            return false;
        }
        self.look = self.stuck_since.map(|since| after(since, timeout));
        self.look.is_some_and(|look| look <= now)
    }

    fn set_stuck(&mut self, since: Instant, timeout: Duration) {
        self.stuck_since = Some(since);
        self.look.get_or_insert(after(since, timeout));
    }
}

impl Connection {
    /// Queues an admitted post. From here it is sent or returned.
    pub(in crate::protocol) fn enqueue(
        &mut self,
        mut post: Post,
        cost: usize,
        context: &mut Context<'_>,
    ) {
        self.write_header(&mut post);
        self.messages.posted += 1;
        let outgoing = Outgoing {
            message: post.message,
            op_code: post.op_code,
            more: post.more,
            id: post.message_id,
            cost,
            queued_at: context.millis,
        };
        context.nodes.push(&mut self.outbound.fifo, outgoing);
    }

    /// Queues small frames that were posted by value.
    pub(in crate::protocol) fn enqueue_frames(
        &mut self,
        frames: Frames,
        context: &mut Context<'_>,
    ) {
        self.messages.posted += u64::from(frames.counts.messages);
        let fifo = &mut self.outbound.fifo;
        context.nodes.push_frames(fifo, frames, context.millis);
    }

    /// Queues small frames that were posted by value, which lie among those of other channels.
    pub(in crate::protocol) fn enqueue_stretch(
        &mut self,
        bytes: &[u8],
        counts: FrameCounts,
        context: &mut Context<'_>,
    ) {
        self.messages.posted += u64::from(counts.messages);
        let fifo = &mut self.outbound.fifo;
        context
            .nodes
            .push_stretch(fifo, bytes, counts, context.millis);
    }

    /// Queues a frame with a shared body.
    pub(in crate::protocol) fn enqueue_shared(
        &mut self,
        frame: SharedFrame,
        context: &mut Context<'_>,
    ) {
        self.messages.posted += 1;
        let fifo = &mut self.outbound.fifo;
        context.nodes.push_shared(fifo, frame, context.millis);
    }

    fn write_header(&self, post: &mut Post) {
        let channel = self.channel.expect("only channels are posted to");
        let header = post.header(channel, post.message_id);
        post.message.encode_header(&header);
    }

    /// The frame of a ByeSignal with something to say, if it can be sent here and now: behind our hello,
    /// behind a whole frame, and ahead of what is queued, which comes back.
    pub(super) fn last_frame(&self, mut post: Post) -> Option<Message> {
        let has_greeted = match self.origin {
            Origin::Accepted { .. } => true,
            Origin::Opened(_) => self.messages.sent > 0,
        };
        let Outbound {
            fifo,
            is_blocked,
            staged,
            ..
        } = &self.outbound;
        let is_free = !is_blocked && fifo.is_between_frames() && *staged == 0;
        let has_words = post.message.content_len() > 0;
        (has_words && has_greeted && self.may_send() && is_free).then(|| {
            self.write_header(&mut post);
            post.message
        })
    }

    /// Whether there is something to write, and it may be written.
    pub(in crate::protocol) fn may_transmit(&self) -> bool {
        self.may_send() && !self.outbound.is_blocked && !self.outbound.is_empty()
    }

    /// What to write now.
    pub(in crate::protocol) fn gather<'a>(
        &self,
        nodes: &'a Nodes,
        scratch: &'a mut Vec<u8>,
    ) -> Option<Gather<'a>> {
        self.may_transmit()
            .then(|| nodes.gather(&self.outbound.fifo, scratch))
    }

    /// The system accepted `bytes` of the `offered` that [`gather`](Connection::gather) lent.
    pub(in crate::protocol) fn handle_transmitted(
        &mut self,
        bytes: usize,
        offered: usize,
        context: &mut Context<'_>,
    ) {
        let mut left = bytes;
        while left > 0 {
            let (sent, rest) = context.nodes.advance(&mut self.outbound.fifo, left);
            left = rest;
            if let Some(sent) = sent {
                self.on_sent(sent, context);
            }
        }
        if bytes < offered {
            context.nodes.cut_first(&self.outbound.fifo);
            self.outbound.is_blocked = true;
            let timeout = context.options.send_timeout;
            return self.outbound.set_stuck(context.now, timeout);
        }
        self.outbound.stuck_since = None;
        self.finish_sending_if_done(context);
    }

    /// The system accepts no more for now.
    pub(in crate::protocol) fn handle_blocked(&mut self, context: &Context<'_>) {
        self.outbound.is_blocked = true;
        let since = self.outbound.stuck_since.unwrap_or(context.now);
        self.outbound.set_stuck(since, context.options.send_timeout);
    }

    /// So much of what is to be sent next is on its way below, for good: it is not to be taken back.
    pub(in crate::protocol) fn set_staged(&mut self, bytes: usize) {
        self.outbound.staged = bytes;
    }

    /// Whether the system has to say first that it takes more.
    pub(in crate::protocol) fn is_blocked(&self) -> bool {
        self.outbound.is_blocked
    }

    /// The connection is writable again.
    pub(in crate::protocol) fn handle_writable(&mut self) {
        self.outbound.is_blocked = false;
    }

    /// Whole frames were accepted by the system.
    fn on_sent(&mut self, sent: Sent, context: &mut Context<'_>) {
        let sent = match sent {
            Sent::Frames { counts, bytes } => {
                self.messages.sent += u64::from(counts.messages);
                self.outbound.released += queued_cost_of_many(counts.messages, bytes);
                return self.goodbye.on_questions_sent(counts.requests.into());
            }
            Sent::Shared(frame) => {
                self.messages.sent += 1;
                self.outbound.released += frame.cost();
                let requests = FrameCounts::of(frame.header().op_code).requests;
                return self.goodbye.on_questions_sent(requests.into());
            }
            Sent::Message(sent) => sent,
        };
        self.messages.sent += 1;
        self.outbound.released += sent.cost;
        match sent.op_code {
            OpCode::Request | OpCode::HelloRequest => self.goodbye.on_questions_sent(1),
            OpCode::ByeRequest => self.on_bye_sent(sent.id, context),
            OpCode::ByeResponse => self.on_last_word_sent(context),
            _ => {}
        }
        context.cache.give_back(sent.message.into_storage());
    }

    /// Takes the credit of what was sent since this was asked last.
    pub(in crate::protocol) fn take_released(&mut self) -> usize {
        mem::take(&mut self.outbound.released)
    }

    /// Closes the sending side once a finishing connection has sent everything, and is not waiting
    /// for the answer to its goodbye.
    pub(super) fn finish_sending_if_done(&mut self, context: &mut Context<'_>) {
        let is_awaited = self.goodbye.is_awaited() && !self.has_seen_end();
        let has_more = !self.outbound.is_empty() || is_awaited;
        let State::Finishing(finishing) = &mut self.state else {
            return;
        };
        if has_more || mem::replace(&mut finishing.is_sending_side_closed, true) {
            return;
        }
        let (key, reason) = (self.key, finishing.reason);
        context.actions.push(Action::FinishSending { key });
        if self.has_seen_end() {
            self.end(reason, None, context);
        }
    }

    /// Writing failed. With the next exchange the channel is closed to posts and returns what is
    /// queued, which can never be sent. What the peer sent before is received; then the channel ends.
    pub(in crate::protocol) fn handle_write_error(
        &mut self,
        error: &io::Error,
        context: &mut Context<'_>,
    ) {
        if self.channel.is_none() {
            return self.end(Reason::ConnectionLost, Some(error.into()), context);
        }
        let has_peer_closed = error.kind() == io::ErrorKind::BrokenPipe;
        match self.state {
            // Its deadline is the last.
            State::Finishing(_) => self.put_off.stop(),
            State::Open if !self.goodbye.is_awaited() => self.begin_to_put_off(),
            _ => {}
        }
        let reason = match self.state {
            State::Open => self.unless_over(Reason::ConnectionLost),
            State::Finishing(Finishing { reason, .. }) => reason,
            State::Opening(_) | State::Unwritable(_) | State::Ended(_) => return,
        };
        self.state = State::Unwritable(Unwritable {
            reason,
            os_error: error.into(),
            has_peer_closed,
            posts: decisions::posts_after_failure(),
        });
        self.outbound.stop_looking();
        if self.has_seen_end() {
            return match has_peer_closed && reason == Reason::ConnectionLost {
                true => self.end(Reason::PeerDisconnected, None, context),
                false => self.end(reason, Some(error.into()), context),
            };
        }
        self.set_deadline_no_later(after(context.now, context.options.linger_timeout));
    }
}

//! Receiving: bytes in, events out, within the budget.

use std::io;
use std::mem;

use crate::channel::Channel;
use crate::event::SystemError;
use crate::message::Message;
use crate::options::after;
use crate::reason::{ProtocolViolation, Reason};
use crate::storage::{Storage, cost_of};
use crate::tls;
use crate::wire::{Header, OpCode};

use super::first_part::{FirstPart, copy};
use super::pace::FramePace;
use super::{Connection, Context, Origin, State};
use crate::protocol::ReadPlan;
use crate::protocol::budget::{Asking, Starved};
use crate::protocol::decisions;

/// A frame that lacks at least this much is read straight into its message.
const DIRECT_MIN: usize = 16 * 1024;

#[derive(Default)]
pub(in crate::protocol) struct Inbound {
    frame: Frame,
    /// What this connection's undropped messages are charged.
    pub(super) held: usize,
    pub(super) pace: FramePace,
}

/// What arrives next.
enum Frame {
    /// A header, as far as it is here.
    Header(PartialHeader),
    /// The first part of a frame, which is not charged yet.
    First(Header, FirstPart),
    /// Nothing: the frame with this header waits for budget, with what is here of it.
    Starved(Header, FirstPart, Starved),
    /// A frame's content.
    Content(Partial),
    /// Nothing: a whole HelloRequest waits for its connection to get a channel.
    Unnamed(Header, Message),
    /// Nothing ever: the peer has closed its sending side.
    None,
}

#[derive(Default)]
struct PartialHeader {
    bytes: [u8; Header::LEN],
    filled: usize,
}

/// A frame that is arriving.
struct Partial {
    header: Header,
    message: Message,
    /// How much of its text headers and body has arrived.
    filled: usize,
}

impl Default for Frame {
    fn default() -> Self {
        Frame::Header(PartialHeader::default())
    }
}

impl PartialHeader {
    fn lacking(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }
}

impl Inbound {
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// A whole HelloRequest waits for its connection to get a channel.
    pub(super) fn wait_for_channel(&mut self, header: Header, message: Message) {
        self.frame = Frame::Unnamed(header, message);
    }

    pub(super) fn is_starved(&self) -> bool {
        matches!(self.frame, Frame::Starved(..))
    }

    pub(super) fn is_in_content(&self) -> bool {
        matches!(self.frame, Frame::Content(_))
    }

    /// Whether a frame has arrived in part.
    pub(in crate::protocol) fn is_mid_frame(&self) -> bool {
        match &self.frame {
            Frame::Header(partial) => partial.filled > 0,
            Frame::First(..) | Frame::Starved(..) | Frame::Content(_) | Frame::Unnamed(..) => true,
            Frame::None => false,
        }
    }

    /// How much of the frame under way has arrived, and how long it is as far as that is known.
    pub(super) fn progress(&self) -> (usize, usize) {
        match &self.frame {
            Frame::Header(partial) => (partial.filled, Header::LEN),
            Frame::First(header, first) => (Header::LEN + first.bytes().len(), header.frame_len()),
            Frame::Content(partial) => (Header::LEN + partial.filled, partial.header.frame_len()),
            Frame::Starved(..) | Frame::Unnamed(..) | Frame::None => (0, 0),
        }
    }

    /// Why it waits for budget, if it does.
    #[cfg(test)]
    pub(in crate::protocol) fn starved(&self) -> Option<Starved> {
        match self.frame {
            Frame::Starved(_, _, why) => Some(why),
            _ => None,
        }
    }
}

impl Connection {
    /// Whether bytes of the peer are wanted.
    pub(in crate::protocol) fn may_receive(&self) -> bool {
        let waits_here = match self.inbound.frame {
            Frame::Header(_) | Frame::First(..) | Frame::Content(_) => false,
            Frame::Starved(..) | Frame::Unnamed(..) | Frame::None => true,
        };
        self.is_live() && self.is_admitted() && !waits_here
    }

    /// How to read what is there. `is_buffer_held`: the shared buffer holds another's bytes.
    pub(in crate::protocol) fn read_plan(&mut self, is_buffer_held: bool) -> ReadPlan<'_> {
        if !self.is_live() {
            return ReadPlan::Park;
        }
        if !self.is_admitted() {
            return self.plan_before_admission();
        }
        match &mut self.inbound.frame {
            Frame::Content(partial) => {
                let lacking = &mut partial.message.content_mut()[partial.filled..];
                if is_buffer_held || lacking.len() >= DIRECT_MIN {
                    return ReadPlan::Into(lacking);
                }
                ReadPlan::Shared
            }
            // No more than this frame's header.
            Frame::Header(partial) if is_buffer_held => ReadPlan::Into(partial.lacking()),
            Frame::First(header, first) if is_buffer_held => ReadPlan::Into(first.lacking(header)),
            Frame::Header(_) | Frame::First(..) => ReadPlan::Shared,
            Frame::Starved(..) | Frame::Unnamed(..) | Frame::None => ReadPlan::Park,
        }
    }

    /// Takes bytes, and returns how many: all, unless it has to wait for budget or for a channel.
    pub(in crate::protocol) fn receive(
        &mut self,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> usize {
        let mut used = 0;
        while used < bytes.len() {
            if !self.is_live() {
                used = bytes.len(); // the rest came behind the end of the conversation
                break;
            }
            let rest = &bytes[used..];
            match &mut self.inbound.frame {
                Frame::Header(partial) if partial.filled == 0 && rest.len() >= Header::LEN => {
                    let taken = self.receive_frames(rest, context);
                    used += taken;
                    if taken == 0 {
                        let (header, rest) = rest.split_first_chunk().expect("as long as that");
                        used += Header::LEN + self.begin_frame(header, rest, context);
                    }
                }
                Frame::Header(partial) => {
                    let count = copy(rest, partial.lacking());
                    used += count + self.fill_header(count, &rest[count..], context);
                }
                Frame::First(header, first) => {
                    let count = copy(rest, first.lacking(header));
                    used += count + self.fill_first_part(count, &rest[count..], context);
                }
                Frame::Content(partial) => {
                    let count = copy(rest, &mut partial.message.content_mut()[partial.filled..]);
                    used += count;
                    self.fill_content(count, context);
                }
                Frame::Starved(..) | Frame::Unnamed(..) => break,
                Frame::None => used = bytes.len(),
            }
        }
        self.pace_frame(context);
        used
    }

    /// So many bytes were read to where [`read_plan`](Connection::read_plan) had said.
    pub(in crate::protocol) fn handle_filled(&mut self, count: usize, context: &mut Context<'_>) {
        match self.inbound.frame {
            Frame::Header(_) => {
                self.fill_header(count, &[], context);
            }
            Frame::First(..) => {
                self.fill_first_part(count, &[], context);
            }
            Frame::Content(_) => self.fill_content(count, context),
            Frame::Starved(..) | Frame::Unnamed(..) | Frame::None => {}
        }
        self.pace_frame(context);
    }

    /// More of a header has arrived; `rest` follows. Returns how much of that was used.
    fn fill_header(&mut self, count: usize, rest: &[u8], context: &mut Context<'_>) -> usize {
        let Frame::Header(partial) = &mut self.inbound.frame else {
            return 0;
        };
        partial.filled += count;
        if !partial.lacking().is_empty() {
            return 0;
        }
        let header = mem::take(partial).bytes;
        self.begin_frame(&header, rest, context)
    }

    fn fill_content(&mut self, count: usize, context: &mut Context<'_>) {
        let Frame::Content(partial) = &mut self.inbound.frame else {
            return;
        };
        partial.filled += count;
        if partial.filled < partial.header.content_len() {
            return;
        }
        if let Frame::Content(whole) = mem::take(&mut self.inbound.frame) {
            self.handle_frame(whole.header, whole.message, context);
        }
    }

    /// A header is complete: checks it, and takes storage for what it announces. Returns how much of
    /// what follows it belongs to the frame.
    fn begin_frame(
        &mut self,
        header: &[u8; Header::LEN],
        rest: &[u8],
        context: &mut Context<'_>,
    ) -> usize {
        let checked = Header::decode(header).map_err(ProtocolViolation::from);
        let header = match checked.and_then(|header| self.check_header(header)) {
            Ok(header) => header,
            Err(violation) => {
                self.end(violation.into(), None, context);
                return 0;
            }
        };
        let cost = cost_of(header.frame_len());
        if FirstPart::is_wanted(&header, rest.len())
            && !context.budget.is_ample(self.budget_key, cost)
        {
            let first = FirstPart::begin(&header, rest, context.cache);
            self.inbound.frame = Frame::First(header, first);
            return rest.len();
        }
        self.charge_frame(header, FirstPart::none(), rest, context)
    }

    /// More of a frame's first part has arrived; `rest` follows. Returns how much of that was
    /// used.
    fn fill_first_part(&mut self, count: usize, rest: &[u8], context: &mut Context<'_>) -> usize {
        let Frame::First(header, first) = &mut self.inbound.frame else {
            return 0;
        };
        if !first.fill(header, count) {
            return 0;
        }
        match mem::take(&mut self.inbound.frame) {
            Frame::First(header, first) => self.charge_frame(header, first, rest, context),
            _ => unreachable!("it was a first part a moment ago"),
        }
    }

    /// Charges a frame, of which `first` is here and `rest` follows, or has it wait for budget. Returns
    /// how much of `rest` belongs to it and was used.
    fn charge_frame(
        &mut self,
        header: Header,
        first: FirstPart,
        rest: &[u8],
        context: &mut Context<'_>,
    ) -> usize {
        match self.charge(&header, context) {
            Ok(()) => self.start_frame(header, first, rest, context),
            Err(why) => {
                self.starve(header, first, why, context);
                0
            }
        }
    }

    fn starve(&mut self, header: Header, first: FirstPart, why: Starved, context: &Context<'_>) {
        self.inbound.frame = Frame::Starved(header, first, why);
        let look = after(context.now, context.options.frame_timeout);
        self.inbound.pace.stop();
        self.inbound.pace.look_no_later(look);
    }

    fn charge(&mut self, header: &Header, context: &mut Context<'_>) -> Result<(), Starved> {
        let asking = Asking {
            key: self.key,
            budget_key: self.budget_key,
            held: &mut self.inbound.held,
        };
        context.budget.charge(asking, cost_of(header.frame_len()))
    }

    /// What a frame that was charged is received into.
    #[inline]
    pub(super) fn storage_for(&self, header: &Header, context: &mut Context<'_>) -> Storage {
        let mut storage = context.cache.take(header.frame_len());
        storage.charge_inbound(self.key, cost_of(header.frame_len()));
        storage
    }

    /// Whether a peer may send this now.
    fn check_header(&mut self, header: Header) -> Result<Header, ProtocolViolation> {
        header.check_inbound()?;
        let is_first = self.channel.is_none();
        match (&mut self.origin, header.op_code) {
            (Origin::Accepted { .. }, op_code) if is_first => match op_code {
                OpCode::HelloRequest => Ok(header),
                _ => Err(ProtocolViolation::HelloExpected),
            },
            (_, OpCode::HelloRequest) | (Origin::Accepted { .. }, OpCode::HelloResponse) => {
                Err(ProtocolViolation::UnexpectedHello)
            }
            (Origin::Opened(hello), OpCode::HelloResponse) => {
                match mem::replace(&mut hello.is_answered, true) {
                    true => Err(ProtocolViolation::UnexpectedHello),
                    false => Ok(header),
                }
            }
            _ => Ok(header),
        }
    }

    /// Takes storage for a frame whose cost was charged and of which `first` is here, and as much of
    /// `rest` as belongs to it. Returns how much that is.
    fn start_frame(
        &mut self,
        header: Header,
        first: FirstPart,
        rest: &[u8],
        context: &mut Context<'_>,
    ) -> usize {
        let mut message = Message::receiving(self.storage_for(&header, context), &header);
        let content = message.content_mut();
        let before = copy(first.bytes(), content);
        context.cache.give_back(first.into_storage());
        let used = copy(rest, &mut content[before..]);
        let filled = before + used;
        if filled == content.len() {
            self.handle_frame(header, message, context);
        } else {
            self.inbound.frame = Frame::Content(Partial {
                header,
                message,
                filled,
            });
        }
        used
    }

    /// There is budget for the frame that waited for it, which was charged with `cost`.
    pub(in crate::protocol) fn serve(&mut self, cost: usize, context: &mut Context<'_>) {
        self.inbound.held += cost;
        if let Frame::Starved(header, first, _) = mem::take(&mut self.inbound.frame) {
            self.inbound.pace.stop();
            self.start_frame(header, first, &[], context);
        }
        self.pace_frame(context);
    }

    /// The application has dropped some of what was received.
    pub(in crate::protocol) fn release(&mut self, cost: usize, context: &mut Context<'_>) {
        context.budget.release(self.budget_key, cost);
        let inbound = &mut self.inbound;
        assert!(
            inbound.held >= cost,
            "no more is released than a connection holds"
        );
        inbound.held -= cost;
        if let Frame::Starved(header, _, why @ Starved::ByShare) = &mut inbound.frame {
            let cost = cost_of(header.frame_len());
            if context.budget.share_allows(inbound.held, cost) {
                *why = context.budget.line_up(self.key, self.budget_key, cost);
            }
        }
    }

    /// Whether it has said hello and waits for its channel.
    pub(in crate::protocol) fn is_unnamed(&self) -> bool {
        matches!(self.inbound.frame, Frame::Unnamed(..))
    }

    /// Gives an accepted connection its channel, now that it has said hello; without a number left it
    /// ends.
    pub(in crate::protocol) fn name(
        &mut self,
        channel: Option<Channel>,
        context: &mut Context<'_>,
    ) {
        let Some(channel) = channel else {
            return self.end(Reason::ConnectFailed, None, context);
        };
        self.channel = Some(channel);
        self.deadline = None;
        if let Frame::Unnamed(header, message) = mem::take(&mut self.inbound.frame) {
            self.handle_frame(header, message, context);
        }
    }

    /// The peer closed its sending side.
    pub(in crate::protocol) fn handle_end_of_stream(&mut self, context: &mut Context<'_>) {
        let is_broken_off = decisions::is_broken_off(self.inbound.is_mid_frame());
        if self.goodbye.is_owed() && self.may_send() && !is_broken_off {
            // It has asked for the last word, and gets all that is owed before it.
            self.inbound.frame = Frame::None;
            self.set_deadline_no_later(after(context.now, context.options.bye_timeout));
            return self.finish_sending_if_done(context);
        }
        if let State::Finishing(_) = self.state {
            self.confirm_by_end();
            if is_broken_off {
                return self.break_off(None, context);
            }
        }
        let reason = match is_broken_off {
            true => Reason::ConnectionLost,
            false => Reason::PeerDisconnected,
        };
        // As if reading had come first: behind a reset that writing found, this end tells nothing.
        if let State::Unwritable(it) = &self.state
            && it.has_peer_closed
            && it.reason == Reason::ConnectionLost
            && !is_broken_off
        {
            return self.end(reason, None, context);
        }
        self.end_unless_caused(reason, None, context);
    }

    /// Some peers close every connection by a reset: behind our last words that is an ordinary end,
    /// but it confirms nothing.
    pub(in crate::protocol) fn handle_read_error(
        &mut self,
        error: &io::Error,
        context: &mut Context<'_>,
    ) {
        if self.inbound.is_mid_frame() {
            return self.break_off(Some(error.into()), context);
        }
        let reason = tls::reason_of(error).unwrap_or(Reason::ConnectionLost);
        self.end_unless_caused(reason, Some(error.into()), context);
    }

    /// The stream ended within a frame. That is no goodbye, though both sides may have said theirs; a
    /// cause of our own it leaves as it is.
    fn break_off(&mut self, os_error: Option<SystemError>, context: &mut Context<'_>) {
        match &self.state {
            State::Finishing(it) if it.reason == Reason::Bye => {
                self.end(Reason::ConnectionLost, os_error, context);
            }
            _ => self.end_unless_caused(Reason::ConnectionLost, os_error, context),
        }
    }

    /// Whether the peer's end was seen already.
    pub(super) fn has_seen_end(&self) -> bool {
        matches!(self.inbound.frame, Frame::None)
    }

    /// The connection has ended: what was arriving is given up.
    pub(super) fn stop_receiving(&mut self, context: &mut Context<'_>) {
        if let Frame::Starved(_, _, why) = mem::replace(&mut self.inbound.frame, Frame::None) {
            context.budget.leave(self.budget_key, why);
        }
        self.inbound.pace.stop();
    }

    fn pace_frame(&mut self, context: &Context<'_>) {
        if self.is_up_to_peer() {
            let (arrived, _) = self.inbound.progress();
            let timeout = context.options.frame_timeout;
            self.inbound.pace.heard(arrived, context.now, timeout);
        }
    }

    /// Whether a frame has arrived in part and its rest is up to the peer, rather than to us.
    pub(super) fn is_up_to_peer(&self) -> bool {
        let waits_here = matches!(self.inbound.frame, Frame::Starved(..) | Frame::Unnamed(..));
        self.is_live() && decisions::is_up_to_peer(self.inbound.is_mid_frame(), waits_here)
    }

    #[cfg(test)]
    pub(in crate::protocol) fn inbound(&self) -> &Inbound {
        &self.inbound
    }
}

//! What a whole frame says, as an event.

use crate::channel::Channel;
use crate::delivery::{ReceivedFrames, Stretch, TOGETHER_BYTES, TOGETHER_MAX};
use crate::event::{AnswerOnDrop, Bye, Caller, Event, Hello, Received};
use crate::message::Message;
use crate::peer::Peer;
use crate::reason::Reason;
use crate::storage::{Storage, cost_of};
use crate::wire::{Header, OpCode};

use super::{Connection, Context, Origin};

/// The frame at the front of `bytes`, and its content, if it is a usual one: whole, of the conversation, and charged no
/// more than `allowance`.
#[inline(always)] // each of the two that use it does so for every message
fn usual_frame(bytes: &[u8], allowance: usize) -> Option<(Header, &[u8])> {
    let (header, rest) = bytes.split_first_chunk()?;
    // What is wrong with it is said by whoever looks next.
    let header = Header::decode(header).ok()?;
    let content = rest.get(..header.content_len())?;
    let is_usual = header.op_code.is_regular() && header.check_inbound().is_ok();
    (is_usual && cost_of(header.frame_len()) <= allowance).then_some((header, content))
}

/// The usual frames at the front of `bytes` that are handed over together.
fn frames_together(bytes: &[u8], allowance: usize, has_calls: bool) -> Stretch {
    let mut together = Stretch::default();
    while let Some((header, _)) = usual_frame(&bytes[together.bytes..], allowance - together.cost())
        && header.frame_len() <= TOGETHER_MAX
        && !(has_calls && header.op_code == OpCode::Response)
        && together.bytes + header.frame_len() <= TOGETHER_BYTES
    {
        together.add(&header);
    }
    together
}

impl Connection {
    /// A whole frame has arrived.
    #[inline]
    pub(super) fn handle_frame(
        &mut self,
        header: Header,
        message: Message,
        context: &mut Context<'_>,
    ) {
        let Some(channel) = self.channel else {
            return self.inbound.wait_for_channel(header, message);
        };
        self.inbound.pace.begin_anew();
        if !header.op_code.is_regular() {
            let mut received = Received::BLANK;
            received.fill(channel, &header, message.into_storage());
            return self.handle_rare(received, context);
        }
        self.messages.received += 1;
        self.deliver(channel, &header, message.into_storage(), context);
    }

    /// Queues the event of a Request, Response or Signal, whose frame is in `storage`.
    #[inline(always)] // each of the two that use it does so for every message
    fn deliver(
        &mut self,
        channel: Channel,
        header: &Header,
        storage: Storage,
        context: &mut Context<'_>,
    ) {
        context.events.push_message(channel, header, storage);
        if header.op_code == OpCode::Response && !header.more {
            self.goodbye.on_answer();
        }
    }

    /// Receives the frames at the front of `bytes` that are usual: whole ones of the conversation, for
    /// which there is budget. They are charged together. Returns how many bytes that were.
    pub(super) fn receive_frames(&mut self, bytes: &[u8], context: &mut Context<'_>) -> usize {
        let Some(channel) = self.channel else {
            return 0;
        };
        let allowance = context.budget.allowance(self.budget_key, self.inbound.held);
        // Who makes this pass and receives what it brings has it in its processor's cache as it is.
        let received = match context.is_received_here {
            true => self.receive_singly(channel, bytes, allowance, context),
            false => self.receive_together(channel, bytes, allowance, context),
        };
        if received.messages > 0 {
            context.budget.take(self.budget_key, received.cost());
            self.inbound.held += received.cost();
            self.messages.received += u64::from(received.messages);
            self.inbound.pace.begin_anew();
        }
        received.bytes
    }

    /// Receives usual frames, each into storage of its own.
    #[inline]
    fn receive_singly(
        &mut self,
        channel: Channel,
        bytes: &[u8],
        allowance: usize,
        context: &mut Context<'_>,
    ) -> Stretch {
        let mut received = Stretch::default();
        while let Some((header, content)) =
            usual_frame(&bytes[received.bytes..], allowance - received.cost())
        {
            self.receive_frame(channel, &header, content, context);
            received.add(&header);
        }
        received
    }

    /// Receives usual frames, small ones together.
    #[inline(never)] // so that what is done for every message is inlined where it is
    fn receive_together(
        &mut self,
        channel: Channel,
        bytes: &[u8],
        allowance: usize,
        context: &mut Context<'_>,
    ) -> Stretch {
        let mut received = Stretch::default();
        loop {
            let (rest, allowance) = (&bytes[received.bytes..], allowance - received.cost());
            let together = frames_together(rest, allowance, context.has_calls);
            if together.messages > 1 {
                self.deliver_together(channel, together, rest, context);
                received += together;
            } else if let Some((header, content)) = usual_frame(rest, allowance) {
                self.receive_frame(channel, &header, content, context);
                received.add(&header);
            } else {
                return received;
            }
        }
    }

    #[inline(always)] // it is done for every message
    fn receive_frame(
        &mut self,
        channel: Channel,
        header: &Header,
        content: &[u8],
        context: &mut Context<'_>,
    ) {
        let mut storage = self.storage_for(header, context);
        storage.bytes_mut()[Header::LEN..][..content.len()].copy_from_slice(content);
        self.deliver(channel, header, storage, context);
    }

    /// Queues the frames with which `bytes` begin.
    fn deliver_together(
        &mut self,
        channel: Channel,
        together: Stretch,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) {
        let storage = context.cache.take(together.bytes);
        let from = (channel, self.key);
        let frames = ReceivedFrames::new(from, together, bytes, storage);
        context.events.push_frames(frames);
        for _ in 0..together.answers {
            self.goodbye.on_answer();
        }
    }

    /// A frame has arrived by which the conversation begins or ends.
    #[inline(never)]
    fn handle_rare(&mut self, received: Received, context: &mut Context<'_>) {
        let (op_code, id) = (received.op_code, received.id);
        if op_code != OpCode::ByeSignal {
            self.messages.received += 1; // that one its sender does not count as sent
        }
        let event = self.event_of(received);
        context.events.push_back(event);
        match op_code {
            OpCode::HelloResponse => self.goodbye.on_answer(),
            OpCode::ByeRequest => self.goodbye.on_request_received(),
            OpCode::ByeResponse => self.on_bye_response(id, context),
            OpCode::ByeSignal => self.end(Reason::PeerAborted, None, context),
            _ => {}
        }
    }

    fn event_of(&self, received: Received) -> Event {
        match received.op_code {
            OpCode::HelloRequest => match (&self.origin, &self.peer) {
                (
                    &Origin::Accepted {
                        listener_channel, ..
                    },
                    Some(peer),
                ) => Event::Hello(Hello {
                    received: Box::new(received),
                    caller: Box::new(Caller {
                        listener: listener_channel,
                        peer: Peer::clone(peer),
                    }),
                }),
                _ => unreachable!("checked with the header: only accepted connections say hello"),
            },
            OpCode::HelloResponse => Event::Accepted(received),
            OpCode::ByeRequest => Event::Bye(Bye {
                received: Box::new(received),
                answer_on_drop: AnswerOnDrop::default(),
            }),
            OpCode::ByeResponse => Event::ByeResponse(received),
            OpCode::ByeSignal => Event::ByeSignal(received),
            OpCode::Request | OpCode::Response | OpCode::Signal => {
                unreachable!("these are frequent")
            }
            OpCode::WelcomeRequest | OpCode::WelcomeResponse => {
                unreachable!("checked with the header: no peer may send these")
            }
        }
    }
}

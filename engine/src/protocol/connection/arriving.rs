//! What a whole frame says, as an event.

use crate::channel::Channel;
use crate::event::{AnswerOnDrop, Bye, Caller, Event, Hello, Received, Request, Signal};
use crate::message::Message;
use crate::peer::Peer;
use crate::reason::Reason;
use crate::storage::{Storage, cost_of};
use crate::wire::{Header, OpCode};

use super::{Connection, Context, Origin};

/// Writes what a frame says, which is in `storage`, into what is to be delivered.
#[inline(always)] // it is done for every message
fn fill(received: &mut Received, channel: Channel, header: &Header, storage: Storage) {
    received.channel = channel;
    received.op_code = header.op_code;
    received.more = header.more;
    received.status = header.status;
    received.id = header.message_id;
    received.message.receive(storage, header);
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
            fill(&mut received, channel, &header, message.into_storage());
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
        // Written where it stays: one that is put together elsewhere and moved here as a whole has to be waited for.
        match header.op_code {
            OpCode::Signal => context
                .events
                .push_back(const { Event::Signal(Signal(Received::BLANK)) }),
            OpCode::Request => context
                .events
                .push_back(const { Event::Request(Request(Received::BLANK)) }),
            _ => context
                .events
                .push_back(const { Event::Response(Received::BLANK) }),
        }
        let Some(
            Event::Signal(Signal(received))
            | Event::Request(Request(received))
            | Event::Response(received),
        ) = context.events.back_mut()
        else {
            unreachable!("it was queued a moment ago")
        };
        fill(received, channel, header, storage);
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
        let (mut used, mut cost, mut count) = (0, 0, 0);
        while let Some((header, rest)) = bytes[used..].split_first_chunk() {
            let Ok(header) = Header::decode(header) else {
                break; // what is wrong with it is said by whoever looks next
            };
            let is_usual = header.op_code.is_regular() && header.check_inbound().is_ok();
            let with_this = cost + cost_of(header.frame_len());
            let content = rest.get(..header.content_len());
            let Some(content) = content.filter(|_| is_usual && with_this <= allowance) else {
                break;
            };
            let mut storage = self.storage_for(&header, context);
            storage.bytes_mut()[Header::LEN..][..content.len()].copy_from_slice(content);
            self.deliver(channel, &header, storage, context);
            (used, cost, count) = (used + header.frame_len(), with_this, count + 1);
        }
        if count > 0 {
            context.budget.take(self.budget_key, cost);
            self.inbound.held += cost;
            self.messages.received += count;
            self.inbound.pace.begin_anew();
        }
        used
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

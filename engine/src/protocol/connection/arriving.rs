//! What a whole frame says, as an event.

use crate::endpoint::Endpoint;
use crate::event::{AnswerOnDrop, Bye, Caller, Event, Hello, Received, Request, Signal};
use crate::message::Message;
use crate::reason::Reason;
use crate::wire::{Header, OpCode};

use super::{Connection, Context, Origin};

impl Connection {
    /// A whole frame has arrived. What is frequent is put together and queued here: an event that is written
    /// in parts, and right behind that moved on as a whole, has to be waited for.
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
        let received = |message| Received {
            channel,
            op_code: header.op_code,
            more: header.more,
            status: header.status,
            id: header.message_id,
            message,
        };
        let event = match header.op_code {
            OpCode::Signal => Event::Signal(Signal(received(message))),
            OpCode::Request => Event::Request(Request(received(message))),
            OpCode::Response => Event::Response(received(message)),
            _ => return self.handle_rare(received(message), context),
        };
        self.messages.received += 1;
        context.events.push_back(event);
        if header.op_code == OpCode::Response && !header.more {
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
                    received,
                    caller: Box::new(Caller {
                        listener: listener_channel,
                        peer: Endpoint::clone(peer),
                    }),
                }),
                _ => unreachable!("checked with the header: only accepted connections say hello"),
            },
            OpCode::HelloResponse => Event::Connected(received),
            OpCode::ByeRequest => Event::Bye(Bye {
                received,
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

//! Receiving: bytes in, events out, within the budget.

use std::io;
use std::mem;
use std::time::Instant;

use crate::between::registry::Kind;
use crate::event::{AnswerOnDrop, Bye, Event, Hello, Received, Request, Signal};
use crate::handles::Counters;
use crate::message::Message;
use crate::reason::{ProtocolViolation, Reason};
use crate::storage::{Charge, cost_of};
use crate::wire::{Header, OpCode};

use super::budget::Starved;
use super::flaws::{Flaw, planted};
use super::record::{Inbound, Origin, Partial, Phase, Record};
use super::{Action, Core, ReadPlan, RecordKey};

/// A frame that lacks at least this much is read straight into its message.
const DIRECT_MIN: usize = 16 * 1024;

impl Core {
    /// How to read from a connection that is readable.
    pub(crate) fn read_plan(&mut self, key: RecordKey) -> ReadPlan<'_> {
        let is_held = self.holder.is_some();
        if self.holder == Some(key) {
            return ReadPlan::Park; // what it sent before is offered again first
        }
        let Some(connection) = self.connection(key) else {
            return ReadPlan::Park;
        };
        if !connection.is_live() || connection.inbound.starved.is_some() {
            return ReadPlan::Park;
        }
        let Inbound {
            header,
            header_len,
            partial,
            ..
        } = &mut connection.inbound;
        match partial {
            Some(Partial {
                message, filled, ..
            }) => {
                let lacking = &mut message.content_mut()[*filled..];
                if is_held || lacking.len() >= DIRECT_MIN {
                    return ReadPlan::Into(lacking);
                }
                ReadPlan::Shared
            }
            // The shared buffer holds another's bytes: read no more than this frame's header.
            None if is_held => ReadPlan::Into(&mut header[*header_len..]),
            None => ReadPlan::Shared,
        }
    }

    /// Bytes were read into the shared buffer. Returns how many were used; the rest stays there,
    /// and [`Action::Resume`] asks for it again.
    pub(crate) fn handle_shared(&mut self, key: RecordKey, bytes: &[u8], now: Instant) -> usize {
        if self.holder == Some(key) {
            self.holder = None;
            self.touch(key);
        }
        let mut used = 0;
        while used < bytes.len() {
            let Some(connection) = self.connection(key) else {
                break;
            };
            if !connection.is_live() {
                break; // the rest came behind the end of the conversation
            }
            if connection.inbound.starved.is_some() {
                self.holder = Some(key);
                return used;
            }
            used += self.take_bytes(key, &bytes[used..]);
        }
        self.look_after_frame(key, now);
        bytes.len()
    }

    /// Takes bytes for the header or the content of the current frame.
    fn take_bytes(&mut self, key: RecordKey, bytes: &[u8]) -> usize {
        let inbound = &mut self.connection(key).expect("checked by the caller").inbound;
        let lacking = match &mut inbound.partial {
            Some(Partial {
                message, filled, ..
            }) => &mut message.content_mut()[*filled..],
            None => &mut inbound.header[inbound.header_len..],
        };
        let len = lacking.len().min(bytes.len());
        lacking[..len].copy_from_slice(&bytes[..len]);
        self.fill(key, len);
        len
    }

    /// `bytes` bytes were read to where [`read_plan`](Core::read_plan) had said.
    pub(crate) fn handle_filled(&mut self, key: RecordKey, bytes: usize, now: Instant) {
        self.fill(key, bytes);
        self.look_after_frame(key, now);
    }

    fn fill(&mut self, key: RecordKey, bytes: usize) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        let inbound = &mut connection.inbound;
        match &mut inbound.partial {
            Some(partial) => {
                partial.filled += bytes;
                self.finish_frame_if_whole(key);
            }
            None => {
                inbound.header_len += bytes;
                assert!(
                    inbound.header_len <= Header::LEN,
                    "no more was lent than the header lacks"
                );
                if inbound.header_len == Header::LEN {
                    self.handle_header(key);
                }
            }
        }
    }

    /// The header of the next frame is complete: checks it and takes storage for what it announces.
    fn handle_header(&mut self, key: RecordKey) {
        let Some(Record::Connection(connection)) = self.table.get_mut(key) else {
            return;
        };
        let header = match Header::decode(&connection.inbound.header) {
            Ok(header) => header,
            Err(error) => return self.end(key, ProtocolViolation::from(error).into(), None),
        };
        let is_first = connection.common.channel.is_none();
        let checked = header
            .check_inbound()
            .map_err(ProtocolViolation::from)
            .and_then(|()| {
                let is_hello = header.op_code == OpCode::HelloRequest;
                match (&mut connection.origin, header.op_code) {
                    (Origin::Accepted { .. }, _) if is_first && !is_hello => {
                        Err(ProtocolViolation::HelloExpected)
                    }
                    (_, OpCode::HelloRequest) if !is_first => {
                        Err(ProtocolViolation::UnexpectedHello)
                    }
                    (Origin::Accepted { .. }, OpCode::HelloResponse) => {
                        Err(ProtocolViolation::UnexpectedHello)
                    }
                    (Origin::Opened(opening), OpCode::HelloResponse) => {
                        let before = mem::replace(&mut opening.hello_answered, true);
                        if before {
                            Err(ProtocolViolation::UnexpectedHello)
                        } else {
                            Ok(())
                        }
                    }
                    _ => Ok(()),
                }
            });
        if let Err(violation) = checked {
            return self.end(key, violation.into(), None);
        }
        let cost = cost_of(header.frame_len());
        match self.budget.charge(&mut connection.inbound.held, cost) {
            Ok(()) => self.start_frame(key, header),
            Err(why) => {
                connection.inbound.starved = Some((why, cost));
                self.budget.park(key, why);
                self.touch(key);
            }
        }
    }

    /// Takes storage for a frame whose cost was charged.
    fn start_frame(&mut self, key: RecordKey, header: Header) {
        let mut storage = self.cache.take(header.frame_len());
        storage.charge = Charge::Inbound(key);
        let message = Message::receiving(storage, &header);
        let inbound = &mut self
            .connection(key)
            .expect("a connection was charged")
            .inbound;
        inbound.header_len = 0;
        inbound.partial = Some(Partial {
            header,
            message,
            filled: 0,
        });
        self.finish_frame_if_whole(key);
    }

    fn finish_frame_if_whole(&mut self, key: RecordKey) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        let is_whole = connection
            .inbound
            .partial
            .as_ref()
            .is_some_and(|partial| partial.filled == partial.header.frame_len() - Header::LEN);
        if is_whole && let Some(partial) = connection.inbound.partial.take() {
            self.handle_frame(key, &partial.header, partial.message);
        }
    }

    /// A whole frame has arrived.
    fn handle_frame(&mut self, key: RecordKey, header: &Header, message: Message) {
        if header.op_code == OpCode::HelloRequest && !self.name_accepted(key) {
            return;
        }
        let Some(Record::Connection(connection)) = self.table.get_mut(key) else {
            return;
        };
        connection.account.received += 1;
        self.reports.list(key, &mut connection.is_to_report);
        let group = connection.common.group;
        let channel = connection
            .common
            .channel
            .expect("the first frame gave it one");
        let received = Received {
            channel,
            op_code: header.op_code,
            more: header.more,
            status: header.status,
            id: header.message_id,
            message,
        };
        let event = match header.op_code {
            OpCode::Request => Event::Request(Request(received)),
            OpCode::Signal => Event::Signal(Signal(received)),
            OpCode::Response => {
                connection.answers_received += u64::from(!header.more);
                Event::Response(received)
            }
            OpCode::HelloRequest => match (&connection.origin, &connection.peer) {
                (
                    Origin::Accepted {
                        listener_channel, ..
                    },
                    Some(peer),
                ) => Event::Hello(Hello {
                    received,
                    listener: *listener_channel,
                    peer: peer.clone(),
                }),
                _ => unreachable!("checked with the header: only accepted connections say hello"),
            },
            OpCode::HelloResponse => {
                connection.answers_received += 1;
                Event::Connected(received)
            }
            OpCode::ByeRequest => {
                connection.bye.request_received = true;
                Event::Bye(Bye {
                    received,
                    answer_on_drop: AnswerOnDrop::default(),
                })
            }
            OpCode::ByeResponse => Event::ByeResponse(received),
            OpCode::ByeSignal => Event::ByeSignal(received),
            OpCode::WelcomeRequest | OpCode::WelcomeResponse => {
                unreachable!("checked with the header: no peer may send these")
            }
        };
        self.emit(group, event);
        match header.op_code {
            OpCode::ByeResponse => self.handle_bye_response(key, header.message_id),
            OpCode::ByeSignal => self.end(key, Reason::PeerAborted, None),
            _ => {}
        }
    }

    /// Gives an accepted connection its channel, now that it has said hello.
    fn name_accepted(&mut self, key: RecordKey) -> bool {
        let Some(connection) = self.connection(key) else {
            return false;
        };
        let index = connection.common.group;
        let id = self.group_id(index);
        let opened = self
            .shared
            .queue
            .with_registry(|registry| registry.open(id, Kind::Connection));
        let Some(channel) = opened else {
            Counters::count(&self.shared.counters.out_of_numbers);
            self.end(key, Reason::ConnectFailed, None);
            return false;
        };
        self.connection(key).expect("found above").common.channel = Some(channel);
        self.bind_number(channel, key);
        self.set_deadline(key, None);
        true
    }

    /// A ByeResponse came: the answer to our goodbye, or a refusal to go on that may have crossed
    /// it.
    fn handle_bye_response(&mut self, key: RecordKey, id: u64) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        let refuses_hello = match &connection.origin {
            Origin::Opened(opening) => !opening.hello_answered && opening.hello_id == id,
            Origin::Accepted { .. } => false,
        };
        let bye = &mut connection.bye;
        bye.response_received = true;
        let is_answer = bye.request_sent && bye.asked_id == id && !refuses_hello;
        if is_answer {
            bye.confirmed = bye.asked;
        }
        let have_crossed = bye.request_sent && bye.request_received;
        if !is_answer && !have_crossed {
            return self.end(key, Reason::Refused, None);
        }
        if have_crossed && !bye.response_sent {
            return; // both said goodbye at once: our answer goes out first
        }
        self.end(key, Reason::Bye, None);
    }

    /// The peer closed its sending side.
    pub(crate) fn handle_end_of_stream(&mut self, key: RecordKey) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        let inbound = &connection.inbound;
        let is_mid_frame = inbound.is_mid_frame();
        let (reason, os_error) = match connection.phase {
            // Behind our ByeResponse this is how the peer ends the conversation. It confirms nothing:
            // a peer that waits no longer may have closed its side before our last words arrived.
            Phase::Finishing(reason) => {
                if planted(Flaw::EndConfirms) {
                    connection.bye.confirmed = connection.account.sent;
                }
                (reason, None)
            }
            _ if is_mid_frame || planted(Flaw::OrderlyEndFails) => {
                connection.cause_of_end(Reason::ReceiveFailed, None)
            }
            _ => connection.cause_of_end(Reason::PeerDisconnected, None),
        };
        self.end(key, reason, os_error);
    }

    pub(crate) fn handle_read_error(&mut self, key: RecordKey, error: &io::Error) {
        self.fail_reading(key, Reason::ReceiveFailed, error);
    }

    pub(super) fn fail_reading(&mut self, key: RecordKey, reason: Reason, error: &io::Error) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        // Some peers close every connection by a reset: behind our ByeResponse that is an ordinary
        // end, but it confirms nothing.
        let (reason, os_error) = match connection.phase {
            Phase::Finishing(reason) => (reason, Some(error.into())),
            _ => connection.cause_of_end(reason, Some(error.into())),
        };
        self.end(key, reason, os_error);
    }

    /// Settles what applications have dropped since the last call, and lets those receive for whom
    /// there is budget again. Returns whether anything was dropped; if not, and some connection
    /// starves, the next drop wakes the reactor.
    pub(crate) fn settle_dropped(&mut self, now: Instant) -> bool {
        let mut released = mem::take(&mut self.released);
        self.shared
            .pool
            .take_released(&mut released, self.budget.is_starving());
        let any = !released.is_empty();
        for (key, cost) in released.drain(..) {
            self.release_inbound(key, cost);
        }
        self.released = released;
        self.serve_waiting(now);
        any
    }

    pub(super) fn release_inbound(&mut self, key: RecordKey, cost: usize) {
        self.budget.release(cost);
        let key = self.table.owner(key);
        let Some(Record::Connection(connection)) = self.table.get_mut(key) else {
            return;
        };
        let inbound = &mut connection.inbound;
        assert!(
            inbound.held >= cost,
            "no more is released than a connection holds"
        );
        inbound.held -= cost;
        if let Some((Starved::ByShare, wanted)) = inbound.starved
            && self.budget.share_allows(inbound.held, wanted)
        {
            inbound.starved = Some((Starved::ByEngine, wanted));
            self.budget.line_up(key);
        }
    }

    /// Serves those in line, first come first served, as far as the budget goes.
    fn serve_waiting(&mut self, now: Instant) {
        while let Some(key) = self.budget.first_waiting() {
            let Some(Record::Connection(connection)) = self.table.get_mut(key) else {
                self.budget.drop_first_waiting();
                continue;
            };
            let inbound = &mut connection.inbound;
            let Some((Starved::ByEngine, cost)) = inbound.starved else {
                self.budget.drop_first_waiting(); // it has ended meanwhile
                continue;
            };
            if !self.budget.serve_first(&mut inbound.held, cost) {
                break;
            }
            inbound.starved = None;
            let header = Header::decode(&inbound.header).expect("decoded before it starved");
            self.start_frame(key, header);
            self.look_after_frame(key, now);
            if !planted(Flaw::ServedIsNotRead) {
                self.touch(key);
            }
            if self.holder == Some(key) {
                self.actions.push_back(Action::Resume { key });
            }
        }
        self.compact_line();
    }

    /// Keeps the line of those who wait from growing by those who have ended.
    pub(super) fn compact_line(&mut self) {
        let table = &self.table;
        self.budget.compact(|key| match table.get(key) {
            Some(Record::Connection(connection)) => {
                matches!(connection.inbound.starved, Some((Starved::ByEngine, _)))
            }
            _ => false,
        });
    }
}

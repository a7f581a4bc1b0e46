//! Sending: what is queued, what the system took, what follows from a goodbye that was sent.

use std::io;
use std::time::Instant;

use crate::options::after;
use crate::reason::Reason;
use crate::wire::OpCode;

use super::flaws::{Flaw, planted};
use super::outgoing::{Gather, Outgoing};
use super::record::{Phase, Record, WriteFailure};
use super::{Action, Core, RecordKey};

/// How many times the end of a connection that cannot be written to is put off, by
/// [`Options::linger_timeout`](crate::Options::linger_timeout) each.
const EXTENSIONS_MAX: u32 = 11;

impl Core {
    /// Swaps in the list of those that have something to write; each may write once in this pass.
    pub(crate) fn take_transmit_list(&mut self, list: &mut Vec<RecordKey>) {
        assert!(list.is_empty(), "the list before was worked off");
        std::mem::swap(&mut self.transmit, list);
    }

    /// Notes that a connection has something to write and may write it.
    pub(super) fn list_for_transmit(&mut self, key: RecordKey) {
        let Some(Record::Connection(connection)) = self.table.get_mut(key) else {
            return;
        };
        let outbound = &connection.outbound;
        let idle = outbound.is_listed || outbound.is_blocked || outbound.fifo.is_empty();
        if idle || !connection.may_send() {
            return;
        }
        connection.outbound.is_listed = true;
        self.transmit.push(key);
    }

    /// What to write to a connection now, if there is anything.
    pub(crate) fn transmit<'a>(
        &'a mut self,
        key: RecordKey,
        scratch: &'a mut Vec<u8>,
    ) -> Option<Gather<'a>> {
        let Some(Record::Connection(connection)) = self.table.get_mut(key) else {
            return None;
        };
        connection.outbound.is_listed = false;
        let may_send = connection.may_send() && !connection.outbound.is_blocked;
        if !may_send || connection.outbound.fifo.is_empty() {
            return None;
        }
        Some(self.nodes.gather(&connection.outbound.fifo, scratch))
    }

    /// The system accepted `bytes` of the `offered` that [`transmit`](Core::transmit) lent.
    pub(crate) fn handle_transmitted(
        &mut self,
        key: RecordKey,
        bytes: usize,
        offered: usize,
        now: Instant,
    ) {
        let mut left = bytes;
        while left > 0 {
            let Some(Record::Connection(connection)) = self.table.get_mut(key) else {
                return;
            };
            let fifo = &mut connection.outbound.fifo;
            let (sent, rest) = self.nodes.advance(fifo, left);
            left = rest;
            if let Some(sent) = sent {
                self.on_sent(key, sent, now);
            }
        }
        if bytes < offered {
            return self.handle_blocked(key);
        }
        self.list_for_transmit(key);
        self.finish_sending_if_done(key);
    }

    /// The system accepts no more for now.
    pub(crate) fn handle_blocked(&mut self, key: RecordKey) {
        if let Some(connection) = self.connection(key) {
            connection.outbound.is_blocked = true;
        }
        self.touch(key);
    }

    /// The connection is writable again.
    pub(crate) fn handle_writable(&mut self, key: RecordKey) {
        if let Some(connection) = self.connection(key) {
            connection.outbound.is_blocked = false;
        }
        self.touch(key);
        self.list_for_transmit(key);
    }

    /// A whole frame was accepted by the system.
    fn on_sent(&mut self, key: RecordKey, sent: Outgoing, now: Instant) {
        let linger = after(now, self.shared.options.linger_timeout);
        let Some(Record::Connection(connection)) = self.table.get_mut(key) else {
            return;
        };
        connection.account.sent += 1;
        self.reports.list(key, &mut connection.is_to_report);
        let channel = connection
            .common
            .channel
            .expect("only channels are posted to");
        match self.releases.last_mut() {
            Some((last, sum)) if *last == channel => *sum += sent.cost,
            _ => self.releases.push((channel, sent.cost)),
        }
        match sent.op_code {
            OpCode::Request | OpCode::HelloRequest => connection.questions_sent += 1,
            OpCode::ByeRequest => {
                connection.bye.request_sent = true;
                connection.bye.asked_id = sent.id;
                connection.bye.asked = connection.account.sent;
            }
            OpCode::ByeResponse => {
                connection.bye.response_sent = true;
                let bye = &connection.bye;
                let is_bye = bye.request_received || bye.request_sent;
                let reason = if is_bye { Reason::Bye } else { Reason::Refused };
                connection.phase = Phase::Finishing(reason);
                self.set_deadline_no_later(key, linger);
            }
            _ => {}
        }
        self.cache.give_back(sent.message.into_storage());
    }

    /// Closes the sending side once a finishing connection has sent everything, and is not waiting
    /// for the answer to its goodbye.
    pub(super) fn finish_sending_if_done(&mut self, key: RecordKey) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        let bye = &connection.bye;
        let awaits_answer = bye.request_sent && !bye.response_received && !bye.response_sent;
        let is_done = matches!(connection.phase, Phase::Finishing(_))
            && !awaits_answer
            && connection.outbound.fifo.is_empty()
            && !connection.outbound.is_finished;
        if is_done {
            connection.outbound.is_finished = true;
            self.actions.push_back(Action::FinishSending { key });
            self.touch(key);
        }
    }

    pub(super) fn set_deadline_no_later(&mut self, key: RecordKey, at: Instant) {
        let before = self
            .table
            .get(key)
            .and_then(|record| record.common().deadline);
        self.set_deadline(key, Some(before.map_or(at, |before| before.min(at))));
    }

    /// Writing failed. With the next exchange the channel is closed to posts and returns what is
    /// queued, which can never be sent. What the peer sent before is received; then the channel ends.
    pub(crate) fn handle_write_error(&mut self, key: RecordKey, error: &io::Error, now: Instant) {
        let linger = after(now, self.shared.options.linger_timeout);
        let Some(connection) = self.connection(key) else {
            return;
        };
        let frames_started = connection.frames_started();
        let failure = WriteFailure {
            os_error: error.into(),
            extensions: 0,
            frames_started,
        };
        let before = connection.outbound.failure.replace(failure);
        assert!(before.is_none(), "what failed is not written to again");
        if !planted(Flaw::FailedTakesPosts) {
            self.failed.push(key);
        }
        self.set_deadline_no_later(key, linger);
        self.touch(key);
    }

    /// The time is up of a connection whose writing failed. What the system still yields is waited
    /// for as long as the application lets some of it be received, within bounds.
    pub(super) fn handle_failed_time(&mut self, key: RecordKey, now: Instant) {
        let linger = after(now, self.shared.options.linger_timeout);
        let waits_here = self.holder == Some(key);
        let Some(connection) = self.connection(key) else {
            return;
        };
        let frames_started = connection.frames_started();
        let waits_here = waits_here || connection.inbound.starved.is_some();
        let (reason, os_error) = connection.cause_of_end(Reason::SendFailed, None);
        if let Some(failure) = &mut connection.outbound.failure
            && waits_here
            && (failure.extensions < EXTENSIONS_MAX || planted(Flaw::FailedLivesOn))
            && (failure.frames_started != frames_started || planted(Flaw::FailedLivesOn))
        {
            failure.extensions += 1;
            failure.frames_started = frames_started;
            return self.set_deadline(key, Some(linger));
        }
        self.end(key, reason, os_error);
    }
}

//! What the application's side is told of channels while they are open: their accounts, and how long
//! something has been waiting to be sent.
//!
//! A channel is listed when its account changes, and reported with the next exchange. No pass is made
//! for that alone: whoever asks for an account wakes the reactor, and who waits for sending has the
//! exchange that gives credit back.

use std::mem;
use std::time::{Duration, Instant};

use crate::between::registry::{Registry, Report};

use super::outgoing::Nodes;
use super::record::{Connection, Record};
use super::{Core, RecordKey};

#[derive(Default)]
pub(super) struct Reports {
    listed: Vec<RecordKey>,
    /// When this pass looked at the clock, and the first did.
    now: Option<Instant>,
    started: Option<Instant>,
}

impl Reports {
    pub(super) fn note_time(&mut self, now: Instant) {
        self.now = Some(now);
        self.started.get_or_insert(now);
    }

    /// The time in milliseconds, which begins anew every 49 days.
    pub(super) fn clock(&self) -> u32 {
        let since = self.now.zip(self.started);
        let since = since.map(|(now, started)| now.saturating_duration_since(started));
        #[expect(clippy::cast_possible_truncation, reason = "it begins anew")]
        let clock = since.unwrap_or_default().as_millis() as u32;
        clock
    }

    /// Lists a connection whose account has changed, once.
    pub(super) fn list(&mut self, key: RecordKey, is_to_report: &mut bool) {
        if !mem::replace(is_to_report, true) {
            self.listed.push(key);
        }
    }

    /// What there is to say of a connection.
    pub(super) fn report(&self, connection: &Connection, nodes: &Nodes) -> Report {
        let age = nodes
            .front(&connection.outbound.fifo)
            .map(|first| self.clock().wrapping_sub(first.queued_at));
        let oldest =
            age.and_then(|age| self.now?.checked_sub(Duration::from_millis(u64::from(age))));
        Report {
            sent: connection.account.sent,
            confirmed: connection.confirmed(),
            received: connection.account.received,
            oldest,
        }
    }
}

impl Core {
    /// Reports what has changed, under the lock of an exchange.
    pub(super) fn report(&mut self, registry: &mut Registry) {
        let mut listed = mem::take(&mut self.reports.listed);
        for key in listed.drain(..) {
            let Some(Record::Connection(connection)) = self.table.get_mut(key) else {
                continue; // its end has reported the last
            };
            connection.is_to_report = false;
            if let Some(channel) = connection.common.channel {
                let report = self.reports.report(connection, &self.nodes);
                registry.report(channel, report);
            }
        }
        self.reports.listed = listed;
    }
}

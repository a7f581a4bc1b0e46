//! What the application's side is told of channels while they are open: their accounts, and how long
//! something has been waiting to be sent.
//!
//! Whatever was touched in a pass is reported at its end, with the credit that is given back there.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::between::registry::Report;

use super::Core;
use super::connection::Connection;
use super::outgoing::Nodes;

/// Counts milliseconds, which takes less memory in each message than a time does.
#[derive(Default)]
pub(super) struct Clock {
    started: Option<Instant>,
    /// The time asked for last, and the answer: a pass asks for one time again and again.
    last: Option<(Instant, u32)>,
}

impl Clock {
    /// The time in milliseconds, which begins anew every 49 days.
    pub(super) fn millis(&mut self, now: Instant) -> u32 {
        if let Some((last, millis)) = self.last
            && last == now
        {
            return millis;
        }
        let started = *self.started.get_or_insert(now);
        let since = now.saturating_duration_since(started);
        #[expect(clippy::cast_possible_truncation, reason = "it begins anew")]
        let millis = since.as_millis() as u32;
        self.last = Some((now, millis));
        millis
    }
}

impl Core {
    /// Says how the inbound budget stands.
    pub(crate) fn publish(&self) {
        let counters = &self.shared.counters;
        let (starved, bytes) = (self.budget.starved(), self.budget.charged());
        counters.starved.store(starved, Ordering::Relaxed);
        counters.inbound_bytes.store(bytes, Ordering::Relaxed);
    }
}

/// What there is to say of a connection, at `now`, which the clock calls `millis`.
pub(super) fn report(connection: &Connection, nodes: &Nodes, now: Instant, millis: u32) -> Report {
    let age = connection
        .first_queued_at(nodes)
        .map(|queued_at| millis.wrapping_sub(queued_at));
    let account = connection.account();
    Report {
        sent: account.sent,
        confirmed: account.confirmed,
        received: account.received,
        bytes_sent: connection.bytes_sent,
        bytes_received: connection.bytes_received,
        oldest: age.and_then(|age| now.checked_sub(Duration::from_millis(u64::from(age)))),
    }
}

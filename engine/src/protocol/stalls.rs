//! Frames that a peer began and does not finish: each holds a part of the inbound budget.
//!
//! A look is arranged when a frame is left unfinished, and not moved with each read: it finds how
//! long ago the last byte came, and is arranged again for when that will have been too long. So a
//! connection costs one timer per [`Options::frame_timeout`](crate::Options), not one per read.

use std::time::Instant;

use crate::options::after;
use crate::reason::Reason;

use super::flaws::{Flaw, planted};
use super::record::{Connection, Phase, Record};
use super::{Core, RecordKey};

impl Core {
    /// Something was received, or may be received again after a wait for budget: a frame that is
    /// under way has all its time from now.
    pub(super) fn look_after_frame(&mut self, key: RecordKey, now: Instant) {
        let timeout = self.shared.options.frame_timeout;
        let Some(connection) = self.connection(key) else {
            return;
        };
        if !is_up_to_peer(connection) {
            return;
        }
        connection.inbound.heard = Some(now);
        if connection.inbound.look.is_none() {
            self.look_at(key, Some(after(now, timeout)));
        }
    }

    fn look_at(&mut self, key: RecordKey, at: Option<Instant>) {
        if let Some(Record::Connection(connection)) = self.table.get_mut(key) {
            self.looks.set(key, &mut connection.inbound.look, at);
        }
    }

    /// The connection has ended: its frame, if there was one, is given up.
    pub(super) fn stop_looking(&mut self, key: RecordKey) {
        self.look_at(key, None);
    }

    /// Ends connections in the middle of whose frame nothing came for too long.
    pub(super) fn handle_frame_time(&mut self, now: Instant) {
        let timeout = self.shared.options.frame_timeout;
        while let Some(key) = self.looks.pop_due(now) {
            let Some(connection) = self.connection(key) else {
                continue;
            };
            connection.inbound.look = None;
            let heard = connection.inbound.heard.take();
            if !is_up_to_peer(connection) {
                continue; // whole by now, or waits here: it is looked after again once it goes on
            }
            let due = heard.map_or(now, |heard| after(heard, timeout));
            if due > now {
                connection.inbound.heard = heard;
                self.look_at(key, Some(due));
                continue;
            }
            let (reason, os_error) = match connection.phase {
                Phase::Finishing(reason) => (reason, None),
                _ => connection.cause_of_end(Reason::ReceiveTimedOut, None),
            };
            self.end(key, reason, os_error);
        }
    }
}

/// Whether a frame has arrived in part and its rest is up to the peer, rather than to the budget.
fn is_up_to_peer(connection: &Connection) -> bool {
    let inbound = &connection.inbound;
    let waits_here = inbound.starved.is_some() && !planted(Flaw::StarvedTimesOut);
    connection.is_live() && inbound.is_mid_frame() && !waits_here
}

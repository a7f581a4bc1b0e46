//! How fast a peer has to be: with a frame that it has begun, and with reading what is sent to it.
//!
//! A look is arranged when there is something to wait for, and not moved with each byte: it finds how
//! far things have come since, and is arranged again. So a connection costs one timer for each
//! timeout's length, not one for each read and write.

use std::time::{Duration, Instant};

use crate::options::after;
use crate::reason::Reason;

use super::{Connection, Context};

/// How soon a connection is looked at again whose time has come and that does not end for it: it waits
/// for budget, or still sends. Not at once, whatever the options say: the reactor would do nothing else.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// A frame that takes this many times [`Options::frame_timeout`](crate::Options::frame_timeout) is
/// just fast enough.
const FRAME_PERIODS: usize = 8;

/// How the frame comes along that is arriving.
#[derive(Default)]
pub(super) struct FramePace {
    /// When it is to be seen whether the frame has come any further, or whether it still waits for budget and
    /// the connection has broken meanwhile.
    look: Option<Instant>,
    /// When something of it was last received.
    heard: Option<Instant>,
    /// Since when its progress is measured, and how much had arrived then.
    since: Option<(Instant, usize)>,
}

impl FramePace {
    pub(super) fn look(&self) -> Option<Instant> {
        self.look
    }

    pub(super) fn heard(&mut self, arrived: usize, now: Instant, timeout: Duration) {
        self.heard = Some(now);
        self.since.get_or_insert((now, arrived));
        self.look_no_later(after(now, timeout));
    }

    pub(super) fn look_no_later(&mut self, at: Instant) {
        self.look = Some(self.look.map_or(at, |look| look.min(at)));
    }

    /// Another frame is next: its progress is measured from now.
    pub(super) fn begin_anew(&mut self) {
        self.since = None;
    }

    pub(super) fn stop(&mut self) {
        *self = FramePace::default();
    }
}

impl Connection {
    /// Ends the connection if its peer has begun a frame and does not go on with it, or too slowly:
    /// an eighth of it is due in each [`Options::frame_timeout`](crate::Options::frame_timeout). A frame that
    /// waits for budget is looked at again later: whether the connection broke was told before.
    pub(super) fn look_at_frame(&mut self, context: &mut Context<'_>) {
        let (now, timeout) = (context.now, context.options.frame_timeout);
        let pace = &mut self.inbound.pace;
        if pace.look.is_none_or(|look| look > now) {
            return;
        }
        let (heard, since) = (pace.heard, pace.since);
        pace.stop();
        if !self.is_up_to_peer() {
            if self.inbound.is_starved() {
                let again = after(now, timeout.max(AGAIN));
                self.inbound.pace.look_no_later(again);
            }
            return; // whole by now, or waits here: it is looked after again once it goes on
        }
        let (arrived, len) = self.inbound.progress();
        let stalls_at = heard.map_or(now, |heard| after(heard, timeout));
        let (since, before) = since.unwrap_or((now, arrived));
        let measured_at = after(since, timeout);
        let is_slow = measured_at <= now && (arrived - before.min(arrived)) * FRAME_PERIODS < len;
        if stalls_at <= now || is_slow {
            return self.end_unless_caused(Reason::ReceiveTimedOut, None, context);
        }
        let since = match measured_at <= now {
            true => (now, arrived),
            false => (since, before),
        };
        self.inbound.pace = FramePace {
            look: Some(stalls_at.min(after(since.0, timeout))),
            heard,
            since: Some(since),
        };
    }

    /// Ends the connection if the system has taken nothing for too long of what is queued.
    pub(super) fn look_at_sending(&mut self, context: &mut Context<'_>) {
        let timeout = context.options.send_timeout;
        if self.outbound.is_stuck(context.now, timeout) {
            self.end_unless_caused(Reason::SendTimedOut, None, context);
        }
    }
}

//! When a connection is due, and what becomes of it then.

use std::time::Instant;

use crate::options::after;
use crate::reason::Reason;

use super::{Connection, Context, Finishing, State, pace};
use crate::protocol::decisions;

/// How many times the end is put off of a connection that cannot be written to, or that waits for the
/// answer to its goodbye, by [`Options::linger_timeout`](crate::Options::linger_timeout) each.
const PUT_OFF_MAX: u32 = 11;

/// How often the end of a connection was put off because it went on receiving.
#[derive(Default)]
pub(super) struct PutOff {
    times: u32,
    /// How many frames had begun when that was last decided.
    frames_begun: u64,
}

impl PutOff {
    /// It is put off no more.
    pub(super) fn stop(&mut self) {
        self.times = PUT_OFF_MAX;
    }
}

impl Connection {
    /// When [`handle_time`](Connection::handle_time) is due.
    pub(in crate::protocol) fn due(&self) -> Option<Instant> {
        let paces = [
            self.inbound.pace.look(),
            self.outbound.look(),
            self.deadline,
        ];
        paces.into_iter().flatten().min()
    }

    /// Sees to everything for which it is time.
    pub(in crate::protocol) fn handle_time(&mut self, is_holder: bool, context: &mut Context<'_>) {
        self.look_at_frame(context);
        self.look_at_sending(context);
        if self.deadline.is_none_or(|deadline| deadline > context.now) {
            return;
        }
        self.deadline = None;
        let waits_here = self.inbound.is_starved() || is_holder;
        let listens_on = matches!(self.state, State::Unwritable(_) | State::Open);
        if waits_here && listens_on && self.channel.is_some() && self.is_put_off() {
            self.deadline = Some(after(context.now, context.options.linger_timeout));
            return;
        }
        match &self.state {
            State::Opening(_) => self.handle_opening_time(context),
            State::Unwritable(unwritable) => {
                let (reason, os_error) = (unwritable.reason, unwritable.os_error.clone());
                self.end(reason, Some(os_error), context);
            }
            // The peer did not close in time: this end confirms nothing.
            &State::Finishing(Finishing { reason, .. }) => self.end(reason, None, context),
            // It goes on sending what it owes to a peer that listens and says no more.
            State::Open if self.has_seen_end() && !self.outbound.is_empty() => {
                let wait = context.options.bye_timeout.max(pace::AGAIN);
                self.deadline = Some(after(context.now, wait));
            }
            State::Open if self.channel.is_some() => {
                self.end(self.unless_over(Reason::ByeTimedOut), None, context);
            }
            // It is not the peer that is late: its bytes are here and wait for budget.
            State::Open if waits_here => {
                self.deadline = Some(context.now + pace::AGAIN);
            }
            State::Open => self.end(Reason::PeerDisconnected, None, context),
            State::Ended(_) => {}
        }
    }

    /// Whether the end of a connection that waits for budget is put off once more: as long as the
    /// application lets some of what came be received, within bounds.
    fn is_put_off(&mut self) -> bool {
        let begun = self.frames_begun();
        let PutOff {
            times,
            frames_begun,
        } = &mut self.put_off;
        let went_on = std::mem::replace(frames_begun, begun) != begun;
        let is_put_off = decisions::is_put_off(*times, PUT_OFF_MAX, went_on);
        *times += u32::from(is_put_off);
        is_put_off
    }

    /// From now on it is counted how often the end is put off.
    pub(super) fn begin_to_put_off(&mut self) {
        self.put_off = PutOff {
            times: 0,
            frames_begun: self.frames_begun(),
        };
    }

    pub(super) fn set_deadline_no_later(&mut self, at: Instant) {
        self.deadline = Some(self.deadline.map_or(at, |before| before.min(at)));
    }
}

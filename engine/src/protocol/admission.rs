//! Connections that wait until the application admits them.

use std::time::Instant;

use crate::between::key::RecordKey;
use crate::event::Verdict;
use crate::handles::Counters;
use crate::options::after;
use crate::peer::Peer;
use crate::tls::Identity;

use super::Core;
use super::connection::Connection;
use super::record::Kind;

impl Core {
    /// Whether the listener's options let somebody connect. Who may not is counted, and its socket is to be closed.
    pub(crate) fn allows(&mut self, listener: RecordKey, peer: &Peer) -> bool {
        let is_allowed = match self.table.get(listener).map(|record| &record.kind) {
            Some(Kind::Listener(listener)) => listener.allows(peer),
            _ => true, // it is said below that there is none
        };
        if !is_allowed {
            let counters = &self.shared.counters;
            Counters::count(&counters.accepted);
            Counters::count(&counters.ended_before_hello);
            Counters::count(&counters.refused);
        }
        is_allowed
    }

    /// An accepted connection's peer has proven who it is, before it says anything.
    pub(crate) fn handle_identified(
        &mut self,
        key: RecordKey,
        identity: Option<Identity>,
        now: Instant,
    ) {
        self.with(key, now, |it, context| {
            it.handle_identified(identity, context)
        });
    }

    /// Something of a connection that waits to be admitted is there to be read.
    pub(crate) fn handle_spoken(&mut self, key: RecordKey, now: Instant) {
        self.with(key, now, |it, _| it.handle_spoken());
    }

    /// Asks the application about a connection of which all is known that will be.
    pub(super) fn ask(&mut self, key: RecordKey, now: Instant) {
        self.with(key, now, Connection::ask);
    }

    /// The application has decided, or let go of the question.
    pub(super) fn handle_verdict(&mut self, verdict: Verdict, now: Instant) {
        let deadline = after(now, self.shared.options.hello_timeout);
        let is_ended = self.with(verdict.connection, now, |it, context| {
            it.decide(verdict.is_admitted, deadline, context)
        });
        match is_ended {
            Some(true) => Counters::count(&self.shared.counters.refused),
            Some(false) => {}
            None => self.handle_question_settled(verdict.listener),
        }
    }
}

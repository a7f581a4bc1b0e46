//! Connections that wait until the application admits them.

use std::time::Instant;

use crate::between::key::RecordKey;
use crate::event::Verdict;
use crate::handles::Counters;
use crate::options::after;
use crate::tls::Identity;

use super::Core;
use super::connection::Connection;

impl Core {
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

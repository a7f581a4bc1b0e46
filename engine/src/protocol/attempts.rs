//! Attempts to connect. Those at a host with several addresses go on side by side, each with a place of
//! its own in the table and so with a key that is its socket's alone.

use std::io;
use std::time::Instant;

use crate::between::key::RecordKey;

use super::Core;
use super::record::{Kind, Record};

impl Core {
    /// Begins the next attempt of a connection.
    pub(super) fn start_attempt(&mut self, connection: RecordKey, now: Instant) {
        let Some(group) = self.table.get(connection).map(|record| record.group) else {
            return;
        };
        let record = |_| Record::new(group, Kind::Attempt(connection));
        let attempt = self.table.insert_with(record);
        self.with(connection, now, |it, context| {
            it.start_attempt(attempt, context);
        });
    }

    /// The connection that an attempt is made for, which may have ended; any other key stands for itself.
    pub(super) fn connection_of(&self, key: RecordKey) -> RecordKey {
        match self.table.get(key).map(|record| &record.kind) {
            Some(&Kind::Attempt(connection)) => connection,
            _ => key,
        }
    }

    /// The connection for which an attempt that has succeeded comes first: from now on its socket goes
    /// by that key. `None` if it comes too late.
    pub(crate) fn winner(&self, key: RecordKey) -> Option<RecordKey> {
        let winner = self.connection_of(key);
        self.connection(winner)?.awaits(key).then_some(winner)
    }

    /// An attempt failed: the next address is tried, or the others are waited for, or the channel ends.
    pub(crate) fn handle_connect_failed(
        &mut self,
        key: RecordKey,
        error: &io::Error,
        now: Instant,
    ) {
        self.with(self.connection_of(key), now, |it, context| {
            it.handle_connect_failed(key, error, context);
        });
    }

    /// The attempt could not even start because the peer's backlog is full: it is repeated until
    /// the connect timeout. Among several it fails: others are tried instead.
    pub(crate) fn handle_connect_deferred(
        &mut self,
        key: RecordKey,
        error: &io::Error,
        now: Instant,
    ) {
        if self.connection_of(key) != key {
            return self.handle_connect_failed(key, error, now);
        }
        self.with(key, now, |it, _| it.handle_connect_deferred(now));
    }
}

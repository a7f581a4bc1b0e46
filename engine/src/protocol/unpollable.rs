//! Sockets that the system does not let us poll.

use std::io;
use std::time::Instant;

use crate::reason::Reason;

use super::record::Record;
use super::{Core, RecordKey};

impl Core {
    /// The system refuses to poll a socket, which fails by that as by any other error of its own.
    /// Where asking again is in vain, the channel ends with a reason of its own.
    pub(crate) fn handle_unpollable(&mut self, key: RecordKey, error: &io::Error, now: Instant) {
        let is_for_good = error.kind() == io::ErrorKind::Unsupported;
        let or = |reason| {
            if is_for_good {
                Reason::CannotPoll
            } else {
                reason
            }
        };
        match self.table.get(key) {
            Some(Record::Connection(connection)) if connection.is_opening() => {
                self.fail_attempt(key, or(Reason::ConnectFailed), error);
            }
            Some(Record::Connection(_)) => {
                self.fail_reading(key, or(Reason::ReceiveFailed), error);
            }
            Some(Record::Listener(listener)) if is_for_good || listener.is_opening() => {
                self.end(key, or(Reason::ListenFailed), Some(error.into()));
            }
            // No memory now, some later: it asks again after a pause.
            Some(Record::Listener(_)) => self.handle_accept_failed(key, now),
            None => {}
        }
    }
}

//! Connections that are being opened: names, attempts, retries.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::endpoint::Endpoint;
use crate::error::Ended;

use crate::reason::Reason;

use super::record::{ListenerPhase, Opening, Origin, Phase, Record};
use super::{Action, Core, RecordKey, group_end, socket_address};

/// How soon a connection is tried again that found the peer's backlog full.
const RETRY: Duration = Duration::from_millis(10);

impl Core {
    /// Starts to open a connection whose record is in place.
    pub(super) fn start_opening(&mut self, key: RecordKey) {
        let Some((connection, opening)) = self.opening(key) else {
            return;
        };
        let action = match socket_address(&opening.address) {
            Some(address) => {
                *connection = Phase::Connecting;
                Action::Connect { key, address }
            }
            None => {
                *connection = Phase::Resolving;
                let host = opening
                    .address
                    .host()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let port = opening.address.port().unwrap_or_default();
                Action::Resolve { key, host, port }
            }
        };
        self.actions.push_back(action);
    }

    fn opening(&mut self, key: RecordKey) -> Option<(&mut Phase, &mut Opening)> {
        let connection = self.connection(key)?;
        if !connection.is_opening() {
            return None;
        }
        match &mut connection.origin {
            Origin::Opened(opening) => Some((&mut connection.phase, opening)),
            Origin::Accepted { .. } => None,
        }
    }

    /// The resolver's answer, empty if it found none.
    pub(super) fn handle_resolved(
        &mut self,
        key: RecordKey,
        addresses: Vec<SocketAddr>,
        now: Instant,
    ) {
        if let Some(Record::Listener(listener)) = self.table.get(key) {
            if listener.phase == ListenerPhase::Opening {
                self.handle_resolved_listener(key, addresses);
            }
            return;
        }
        let Some((phase, opening)) = self.opening(key) else {
            return;
        };
        if *phase != Phase::Resolving {
            return;
        }
        opening.untried = addresses.into();
        if opening.untried.is_empty() {
            return self.end(key, Reason::NameNotResolved, None);
        }
        self.try_next_address(key, now);
    }

    /// Tries the next of the host's addresses, whose time starts at `from`: an equal share of what is
    /// left, so that one that hangs leaves the others theirs. Returns whether there was one.
    fn try_next_address(&mut self, key: RecordKey, from: Instant) -> bool {
        let Some((phase, opening)) = self.opening(key) else {
            return false;
        };
        let shares = u32::try_from(opening.untried.len()).unwrap_or(u32::MAX);
        let Some(address) = opening.untried.pop_front() else {
            return false;
        };
        *phase = Phase::Connecting;
        let until = from + opening.give_up.saturating_duration_since(from) / shares;
        let address = Endpoint::Tcp(address);
        self.set_deadline(key, Some(until));
        self.actions.push_back(Action::Connect { key, address });
        self.touch(key);
        true
    }

    /// The connection is established.
    pub(crate) fn handle_connected(&mut self, key: RecordKey, peer: &Endpoint, now: Instant) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        if connection.phase != Phase::Connecting {
            return;
        }
        connection.phase = Phase::Open;
        connection.peer = Some(Box::new(peer.clone()));
        let group = connection.common.group;
        self.set_deadline(key, None);
        self.list_for_transmit(key);
        self.touch(key);
        let group = self.group(group);
        if let (Some(why), Some(deadline)) = (group.closing, group.deadline) {
            // What is queued is sent as far as the group's time goes.
            self.close_member(key, group_end(why == Ended::EngineStopped), deadline, now);
        }
    }

    /// An attempt failed: the next address is tried, or the channel ends.
    pub(crate) fn handle_connect_failed(&mut self, key: RecordKey, error: &io::Error) {
        let is_uds = self
            .opening(key)
            .is_some_and(|(_, opening)| opening.address.path().is_some());
        let reason = match error.kind() {
            io::ErrorKind::NotFound if is_uds => Reason::UdsPathNotFound,
            io::ErrorKind::Unsupported if is_uds => Reason::NoUnixSockets,
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Reason::InvalidAddress,
            _ => Reason::ConnectFailed,
        };
        self.fail_attempt(key, reason, error);
    }

    pub(super) fn fail_attempt(&mut self, key: RecordKey, reason: Reason, error: &io::Error) {
        // What is left of this attempt's share goes to the next.
        let until = self
            .table
            .get(key)
            .and_then(|record| record.common().deadline);
        let Some((_, opening)) = self.opening(key) else {
            return;
        };
        opening.os_error = Some(error.into());
        let from = until.unwrap_or(opening.give_up);
        if !self.try_next_address(key, from) {
            self.end(key, reason, Some(error.into()));
        }
    }

    /// The attempt could not even start because the peer's backlog is full: it is repeated until
    /// the connect timeout.
    pub(crate) fn handle_connect_deferred(&mut self, key: RecordKey, now: Instant) {
        let Some((phase, opening)) = self.opening(key) else {
            return;
        };
        *phase = Phase::Deferred;
        let at = opening.give_up.min(now + RETRY);
        self.set_deadline(key, Some(at));
    }

    pub(super) fn handle_opening_time(&mut self, key: RecordKey, now: Instant) {
        let Some((phase, opening)) = self.opening(key) else {
            return;
        };
        let (give_up, os_error) = (opening.give_up, opening.os_error.clone());
        if now < give_up && *phase == Phase::Deferred {
            self.set_deadline(key, Some(give_up));
            return self.start_opening(key);
        }
        if now < give_up {
            if !self.try_next_address(key, now) {
                self.set_deadline(key, Some(give_up));
            }
            return;
        }
        let group = self.table.get(key).map(|record| record.common().group);
        let closing = group.and_then(|group| self.group(group).closing);
        let reason = match closing {
            Some(why) => group_end(why == Ended::EngineStopped),
            None => Reason::ConnectTimedOut,
        };
        self.end(key, reason, os_error);
    }
}

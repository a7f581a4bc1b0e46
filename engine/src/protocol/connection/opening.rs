//! How a connection comes about: names, attempts, retries.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::endpoint::Endpoint;
use crate::event::SystemError;
use crate::reason::Reason;

use super::{Connection, Context, State};
use crate::protocol::Action;

/// How soon a connection is tried again that found the peer's backlog full.
const RETRY: Duration = Duration::from_millis(10);

/// How a connection is being opened.
pub(in crate::protocol) struct Opening {
    address: Address,
    attempt: Attempt,
    /// Addresses of the host that have not been tried yet.
    untried: VecDeque<SocketAddr>,
    /// When opening is given up; the connection's deadline may be an earlier retry, or the end of this
    /// attempt's share of the time.
    give_up: Instant,
    /// What ends it if it is given up: its time, or whoever closes it.
    why_given_up: Reason,
    /// The last attempt's failure.
    os_error: Option<SystemError>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// The host's name is being resolved.
    Resolving,
    /// An attempt to connect is under way.
    Connecting,
    /// Waits to try again: the peer's backlog was full.
    Deferred,
}

impl Opening {
    pub(in crate::protocol) fn new(address: Address, give_up: Instant) -> Self {
        Opening {
            address,
            attempt: Attempt::Resolving,
            untried: VecDeque::new(),
            give_up,
            why_given_up: Reason::ConnectTimedOut,
            os_error: None,
        }
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.attempt == Attempt::Connecting
    }

    /// Nobody waits for it longer than until `deadline`.
    pub(super) fn close(&mut self, reason: Reason, deadline: Instant) {
        self.give_up = self.give_up.min(deadline);
        self.why_given_up = reason;
    }
}

impl Connection {
    fn opening(&mut self) -> Option<&mut Opening> {
        match &mut self.state {
            State::Opening(opening) => Some(opening),
            _ => None,
        }
    }

    /// Starts to open the connection.
    pub(in crate::protocol) fn start_opening(&mut self, context: &mut Context<'_>) {
        let key = self.key;
        let Some(opening) = self.opening() else {
            return;
        };
        if opening.address.check_connect().is_err() {
            return self.end(Reason::InvalidAddress, None, context);
        }
        let action = match socket_address(&opening.address) {
            Some(address) => {
                opening.attempt = Attempt::Connecting;
                Action::Connect { key, address }
            }
            None => {
                opening.attempt = Attempt::Resolving;
                let host = opening.address.host().map(ToString::to_string);
                Action::Resolve {
                    key,
                    host: host.unwrap_or_default(),
                    port: opening.address.port().unwrap_or_default(),
                }
            }
        };
        self.deadline = Some(opening.give_up);
        context.actions.push(action);
    }

    /// The resolver's answer, empty if it found none.
    pub(in crate::protocol) fn handle_resolved(
        &mut self,
        addresses: Vec<SocketAddr>,
        context: &mut Context<'_>,
    ) {
        let Some(opening) = self.opening() else {
            return;
        };
        if opening.attempt != Attempt::Resolving {
            return;
        }
        opening.untried = addresses.into();
        if opening.untried.is_empty() {
            return self.end(Reason::NameNotResolved, None, context);
        }
        self.try_next_address(context.now, context);
    }

    /// Tries the next of the host's addresses, whose time starts at `from`: an equal share of what is
    /// left, so that one that hangs leaves the others theirs. Returns whether there was one.
    fn try_next_address(&mut self, from: Instant, context: &mut Context<'_>) -> bool {
        let key = self.key;
        let Some(opening) = self.opening() else {
            return false;
        };
        let shares = u32::try_from(opening.untried.len()).unwrap_or(u32::MAX);
        let Some(address) = opening.untried.pop_front() else {
            return false;
        };
        opening.attempt = Attempt::Connecting;
        let until = from + opening.give_up.saturating_duration_since(from) / shares;
        let address = Endpoint::Tcp(address);
        self.deadline = Some(until);
        context.actions.push(Action::Connect { key, address });
        true
    }

    /// The connection is established.
    pub(in crate::protocol) fn handle_connected(&mut self, peer: &Endpoint) {
        let Some(opening) = self.opening() else {
            return;
        };
        if opening.attempt != Attempt::Connecting {
            return;
        }
        self.state = State::Open;
        self.peer = Some(Box::new(peer.clone()));
        self.deadline = None;
    }

    /// An attempt failed: the next address is tried, or the channel ends.
    pub(in crate::protocol) fn handle_connect_failed(
        &mut self,
        error: &io::Error,
        context: &mut Context<'_>,
    ) {
        let Some(opening) = self.opening() else {
            return;
        };
        let is_uds = opening.address.path().is_some();
        let reason = match error.kind() {
            io::ErrorKind::NotFound if is_uds => Reason::UdsPathNotFound,
            io::ErrorKind::Unsupported if is_uds => Reason::NoUnixSockets,
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Reason::InvalidAddress,
            _ => Reason::ConnectFailed,
        };
        self.fail_attempt(reason, error, context);
    }

    pub(in crate::protocol) fn fail_attempt(
        &mut self,
        reason: Reason,
        error: &io::Error,
        context: &mut Context<'_>,
    ) {
        // What is left of this attempt's share goes to the next.
        let until = self.deadline;
        let Some(opening) = self.opening() else {
            return;
        };
        opening.os_error = Some(error.into());
        let from = until.unwrap_or(opening.give_up);
        if !self.try_next_address(from, context) {
            self.end(reason, Some(error.into()), context);
        }
    }

    /// The attempt could not even start because the peer's backlog is full: it is repeated until
    /// the connect timeout.
    pub(in crate::protocol) fn handle_connect_deferred(&mut self, now: Instant) {
        let Some(opening) = self.opening() else {
            return;
        };
        opening.attempt = Attempt::Deferred;
        self.deadline = Some(opening.give_up.min(now + RETRY));
    }

    pub(super) fn handle_opening_time(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let Some(opening) = self.opening() else {
            return;
        };
        let give_up = opening.give_up;
        if now >= give_up {
            let (reason, os_error) = (opening.why_given_up, opening.os_error.clone());
            return self.end(reason, os_error, context);
        }
        if opening.attempt == Attempt::Deferred {
            return self.start_opening(context);
        }
        if !self.try_next_address(now, context) {
            self.deadline = Some(give_up);
        }
    }
}

/// What an address means to the system, where no name has to be resolved.
pub(in crate::protocol) fn socket_address(address: &Address) -> Option<Endpoint> {
    if let Some(path) = address.path() {
        return Some(Endpoint::Uds(Some(PathBuf::from(path))));
    }
    address.socket_addr().map(Endpoint::Tcp)
}

//! How a connection comes about: names, attempts, retries.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::address::{Address, Host};
use crate::between::key::RecordKey;
use crate::endpoint::Endpoint;
use crate::event::{Event, Opened, SystemError};
use crate::handed_in::HandedIn;
use crate::peer::Peer;
use crate::post::Destination;
use crate::reason::Reason;
use crate::tls;

use super::{Connection, Context, State};
use crate::protocol::{Action, Actions, Closing, decisions};

/// How soon a connection is tried again that found the peer's backlog full.
const RETRY: Duration = Duration::from_millis(10);

/// How long an attempt is alone until the next begins beside it: what RFC 8305 recommends.
const STAGGER: Duration = Duration::from_millis(250);

/// How many attempts of one connection are under way at most. One more takes the place of the oldest,
/// which has had eight times the stagger by then.
pub(in crate::protocol) const ATTEMPTS_MAX: usize = 8;

/// How a connection is being opened.
pub(in crate::protocol) struct Opening {
    address: Address,
    /// What was handed in to connect over, until it is taken over.
    socket: Option<Box<HandedIn>>,
    stage: Stage,
    /// Addresses of a host that has several, which have not been tried yet.
    untried: VecDeque<SocketAddr>,
    /// The attempts at such a host that are under way, the oldest first. A single address is tried
    /// under the connection's own key.
    attempts: Vec<RecordKey>,
    /// The hub is to begin the next attempt.
    is_attempt_due: bool,
    /// When opening is given up; the connection's deadline may be earlier, for a retry or for the next
    /// attempt.
    give_up: Instant,
    /// What ends it if it is given up: its time, or whoever closes it.
    why_given_up: Reason,
    /// The last failure of an attempt.
    os_error: Option<SystemError>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The host's name is being resolved.
    Resolving,
    /// An attempt to connect is under way, or several.
    Connecting,
    /// Waits to try again: the peer's backlog was full.
    Deferred,
}

impl Opening {
    pub(in crate::protocol) fn new(destination: &mut Destination, give_up: Instant) -> Self {
        Opening {
            address: destination.address.clone(),
            socket: destination.socket.take(),
            stage: Stage::Resolving,
            untried: VecDeque::new(),
            attempts: Vec::new(),
            is_attempt_due: false,
            give_up,
            why_given_up: Reason::ConnectTimedOut,
            os_error: None,
        }
    }

    /// Whether the connection's own socket is being connected.
    pub(super) fn is_connecting(&self) -> bool {
        self.stage == Stage::Connecting && self.attempts.is_empty() && !self.is_attempt_due
    }

    /// Closes the sockets of all attempts.
    pub(super) fn close_attempts(&mut self, actions: &mut Actions) {
        for key in self.attempts.drain(..) {
            close_attempt(key, actions);
        }
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
        if let Some(socket) = opening.socket.take() {
            opening.stage = Stage::Connecting;
            self.deadline = Some(opening.give_up);
            return context.actions.push(Action::Adopt { key, socket });
        }
        if opening.address.check_connect().is_err() {
            return self.end(Reason::InvalidAddress, None, context);
        }
        let action = match socket_address(&opening.address) {
            Some(address) => {
                opening.stage = Stage::Connecting;
                Action::Connect { key, address }
            }
            None => {
                opening.stage = Stage::Resolving;
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
        let key = self.key;
        let Some(opening) = self.opening() else {
            return;
        };
        if opening.stage != Stage::Resolving {
            return;
        }
        match addresses[..] {
            [] => return self.end(Reason::NameNotResolved, None, context),
            [address] => {
                let address = Endpoint::Tcp(address);
                context.actions.push(Action::Connect { key, address });
            }
            _ => {
                opening.untried = interleave(addresses);
                opening.is_attempt_due = true;
            }
        }
        opening.stage = Stage::Connecting;
    }

    /// The host to whom it is to be secured, while it is being opened.
    pub(in crate::protocol) fn host_to_secure(&self) -> Option<&Host> {
        match &self.state {
            State::Opening(opening) if opening.address.is_tls() => opening.address.host(),
            _ => None,
        }
    }

    /// Whether the hub is to begin the next attempt.
    pub(in crate::protocol) fn is_attempt_due(&self) -> bool {
        match &self.state {
            State::Opening(opening) => opening.is_attempt_due,
            _ => false,
        }
    }

    /// The attempts under way at a host with several addresses.
    #[cfg(test)]
    pub(in crate::protocol) fn attempts(&self) -> &[RecordKey] {
        match &self.state {
            State::Opening(opening) => &opening.attempts,
            _ => &[],
        }
    }

    /// Begins the next attempt, under a key of its own.
    pub(in crate::protocol) fn start_attempt(&mut self, key: RecordKey, context: &mut Context<'_>) {
        let Some(opening) = self.opening() else {
            return close_attempt(key, context.actions);
        };
        opening.is_attempt_due = false;
        let Some(address) = opening.untried.pop_front() else {
            return close_attempt(key, context.actions);
        };
        if opening.attempts.len() == ATTEMPTS_MAX {
            close_attempt(opening.attempts.remove(0), context.actions);
        }
        opening.attempts.push(key);
        let is_last = opening.untried.is_empty();
        let next_at = (!is_last).then_some(context.now + STAGGER);
        self.deadline = next_at.into_iter().chain([opening.give_up]).min();
        let address = Endpoint::Tcp(address);
        context.actions.push(Action::Connect { key, address });
    }

    /// Whether an attempt under `key` is still of interest.
    pub(in crate::protocol) fn awaits(&self, key: RecordKey) -> bool {
        match &self.state {
            State::Opening(it) if key == self.key => it.is_connecting(),
            State::Opening(it) => it.attempts.contains(&key),
            _ => false,
        }
    }

    /// The connection is established, by whichever attempt. The others are closed.
    pub(in crate::protocol) fn handle_connected(&mut self, peer: Peer, context: &mut Context<'_>) {
        let Some(opening) = self.opening() else {
            return;
        };
        if opening.stage != Stage::Connecting {
            return;
        }
        if decisions::are_losers_closed() {
            opening.close_attempts(context.actions);
        }
        self.state = State::Open;
        self.peer = Some(peer.clone());
        self.deadline = None;
        if let Some(channel) = self.channel {
            let opened = Opened { channel, peer };
            context.events.push_back(Event::Opened(opened));
        }
    }

    /// An attempt failed: the next address is tried, or the others are waited for, or the channel ends.
    pub(in crate::protocol) fn handle_connect_failed(
        &mut self,
        key: RecordKey,
        error: &io::Error,
        context: &mut Context<'_>,
    ) {
        let Some(opening) = self.opening() else {
            return;
        };
        let is_uds = opening.address.path().is_some();
        let reason = match error.kind() {
            _ if let Some(reason) = tls::reason_of(error) => reason,
            io::ErrorKind::NotFound if is_uds => Reason::UdsPathNotFound,
            io::ErrorKind::Unsupported if is_uds => Reason::NoUnixSockets,
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Reason::InvalidAddress,
            _ => Reason::ConnectFailed,
        };
        self.fail_attempt(key, reason, error, context);
    }

    pub(in crate::protocol) fn fail_attempt(
        &mut self,
        key: RecordKey,
        reason: Reason,
        error: &io::Error,
        context: &mut Context<'_>,
    ) {
        if !self.awaits(key) {
            return;
        }
        let own_key = self.key;
        let Some(opening) = self.opening() else {
            return;
        };
        opening.os_error = Some(error.into());
        if key != own_key {
            opening.attempts.retain(|&attempt| attempt != key);
            close_attempt(key, context.actions);
        }
        if !opening.untried.is_empty() {
            opening.is_attempt_due = true;
        } else if opening.attempts.is_empty() {
            self.end(reason, Some(error.into()), context);
        }
    }

    /// The attempt could not even start because the peer's backlog is full: it is repeated until
    /// the connect timeout.
    pub(in crate::protocol) fn handle_connect_deferred(&mut self, now: Instant) {
        let Some(opening) = self.opening() else {
            return;
        };
        opening.stage = Stage::Deferred;
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
        if opening.stage == Stage::Deferred {
            return self.start_opening(context);
        }
        opening.is_attempt_due = !opening.untried.is_empty();
        self.deadline = Some(give_up); // an attempt that begins now sets its own
    }
}

/// An attempt's record goes with its socket.
fn close_attempt(key: RecordKey, actions: &mut Actions) {
    actions.push(Action::Close {
        key,
        how: Closing::Orderly,
    });
}

/// Puts addresses of both families in turn, the first one's first, each family in its own order: one
/// that does not work at all costs little then.
fn interleave(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let is_first_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (one, other): (VecDeque<_>, VecDeque<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv4() == is_first_v4);
    let (mut families, mut mixed) = ([one, other], VecDeque::new());
    while let Some(address) = families[0].pop_front() {
        mixed.push_back(address);
        if !families[1].is_empty() {
            families.swap(0, 1);
        }
    }
    mixed
}

/// What an address means to the system, where no name has to be resolved.
pub(in crate::protocol) fn socket_address(address: &Address) -> Option<Endpoint> {
    if let Some(path) = address.path() {
        return Some(Endpoint::Uds(Some(PathBuf::from(path))));
    }
    address.socket_addr().map(Endpoint::Tcp)
}

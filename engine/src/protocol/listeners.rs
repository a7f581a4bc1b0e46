//! Listeners: opening them, and the connections that they accept.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::endpoint::Endpoint;
use crate::event::{Event, Listening};
use crate::handles::Counters;
use crate::options::after;
use crate::reason::Reason;

use super::record::{Common, Connection, ListenerPhase, Origin, Phase, Record};
use super::{Action, Core, RecordKey, socket_address};

/// How soon it is tried again to listen beside somebody who binds in the same directory.
const RETRY: Duration = Duration::from_millis(10);

/// How long accepting pauses after the system refused a connection its resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Core {
    /// The listener listens, on `bound`.
    pub(crate) fn handle_listening(&mut self, key: RecordKey, bound: &Endpoint) {
        let Some(listener) = self.listener(key) else {
            return;
        };
        if !listener.is_opening() {
            return; // it has ended meanwhile, and the closing of its socket is under way
        }
        listener.phase = ListenerPhase::Listening;
        if let Endpoint::Tcp(bound) = bound {
            listener.address = Address::from(*bound);
        }
        let address = Box::new(listener.address.clone());
        let (group, channel) = (listener.common.group, listener.common.channel);
        let channel = channel.expect("listeners have a channel from the start");
        self.set_deadline(key, None);
        self.touch(key);
        self.emit(group, Event::Listening(Listening { channel, address }));
    }

    /// The resolver's answer, empty if it found none.
    pub(super) fn handle_resolved_listener(&mut self, key: RecordKey, addresses: Vec<SocketAddr>) {
        let Some(listener) = self.listener(key) else {
            return;
        };
        listener.untried = addresses.into();
        if !self.try_next_to_listen(key) {
            self.end(key, Reason::NameNotResolved, None);
        }
    }

    /// Tries to listen on the next of the host's addresses. Returns whether there was one.
    fn try_next_to_listen(&mut self, key: RecordKey) -> bool {
        let Some(listener) = self.listener(key).filter(|it| it.is_opening()) else {
            return false;
        };
        let Some(address) = listener.untried.pop_front() else {
            return false;
        };
        let address = Endpoint::Tcp(address);
        self.actions.push_back(Action::Listen { key, address });
        true
    }

    /// The address could not be listened on: the host's next one is tried, or the listener ends.
    pub(crate) fn handle_listen_failed(&mut self, key: RecordKey, error: &io::Error) {
        // Where somebody else listens, those who dial the name would reach them, not us.
        if error.kind() != io::ErrorKind::AddrInUse && self.try_next_to_listen(key) {
            return;
        }
        let is_uds = self
            .listener(key)
            .is_some_and(|it| it.address.path().is_some());
        let reason = match error.kind() {
            io::ErrorKind::Unsupported if is_uds => Reason::NoUnixSockets,
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Reason::InvalidAddress,
            _ => Reason::ListenFailed,
        };
        self.end(key, reason, Some(error.into()));
    }

    /// Listening could not even be tried, since somebody else binds in the socket's directory: it is
    /// repeated until the connect timeout.
    pub(crate) fn handle_listen_deferred(
        &mut self,
        key: RecordKey,
        error: &io::Error,
        now: Instant,
    ) {
        let give_up = after(now, self.shared.options.connect_timeout);
        let Some(listener) = self.listener(key) else {
            return;
        };
        let give_up = match listener.phase {
            ListenerPhase::Opening => give_up,
            ListenerPhase::Deferred { give_up } => give_up,
            _ => return,
        };
        listener.phase = ListenerPhase::Deferred { give_up };
        listener.os_error = Some(error.into());
        self.set_deadline(key, Some(give_up.min(now + RETRY)));
    }

    /// Whether the listener may accept one more connection.
    pub(crate) fn may_accept(&self, key: RecordKey) -> bool {
        match self.table.get(key) {
            Some(Record::Listener(listener)) => {
                let limit = self.shared.options.connections_per_listener;
                listener.phase == ListenerPhase::Listening && listener.connections < limit
            }
            _ => false,
        }
    }

    /// A connection was accepted. It has no channel until it says hello.
    pub(crate) fn handle_accepted(
        &mut self,
        listener_key: RecordKey,
        peer: &Endpoint,
        now: Instant,
    ) -> Option<RecordKey> {
        let deadline = after(now, self.shared.options.hello_timeout);
        let listener = self.listener(listener_key)?;
        listener.connections += 1;
        let group = listener.common.group;
        let listener_channel = listener.common.channel?;
        let origin = Origin::Accepted {
            listener: listener_key,
            listener_channel,
        };
        let common = Common::new(group, None);
        let mut connection = Connection::new(common, origin, Phase::Open);
        connection.peer = Some(Box::new(peer.clone()));
        let key = self.table.insert(Record::Connection(Box::new(connection)));
        self.join_group(group, key);
        Counters::count(&self.shared.counters.accepted);
        self.set_deadline(key, Some(deadline));
        self.touch(key);
        self.touch(listener_key);
        Some(key)
    }

    /// The system refused to accept: mostly it is out of descriptors. Accepting pauses, so that a
    /// backlog that cannot be served costs no time.
    pub(crate) fn handle_accept_failed(&mut self, key: RecordKey, now: Instant) {
        let Some(listener) = self.listener(key) else {
            return;
        };
        if listener.phase == ListenerPhase::Listening {
            listener.phase = ListenerPhase::Pausing;
            self.set_deadline(key, Some(now + ACCEPT_PAUSE));
            self.touch(key);
        }
        Counters::count(&self.shared.counters.accept_failures);
    }

    pub(super) fn handle_listener_time(&mut self, key: RecordKey, now: Instant) {
        let Some(listener) = self.listener(key) else {
            return;
        };
        match listener.phase {
            ListenerPhase::Pausing => {
                listener.phase = ListenerPhase::Listening;
                self.touch(key);
            }
            ListenerPhase::Deferred { give_up } => {
                let os_error = listener.os_error.clone();
                // Only Unix sockets are deferred, and their address is never a name.
                match socket_address(&listener.address).filter(|_| now < give_up) {
                    Some(address) => self.actions.push_back(Action::Listen { key, address }),
                    None => self.end(key, Reason::ListenFailed, os_error),
                }
            }
            // Only the resolving of a name takes time here.
            ListenerPhase::Opening => self.end(key, Reason::NameNotResolved, None),
            ListenerPhase::Listening | ListenerPhase::Ended => {}
        }
    }
}

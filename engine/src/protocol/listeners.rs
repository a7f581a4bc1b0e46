//! Listeners: opening them, and the connections that they accept.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::between::key::RecordKey;
use crate::channel::Channel;
use crate::endpoint::Endpoint;
use crate::event::{Closed, Event, Listening, SystemError};
use crate::handed_in::HandedIn;
use crate::handles::Counters;
use crate::options::{Admission as Admits, ListenOptions, after};
use crate::peer::{Peer, TELLS_CREDENTIALS};
use crate::post::Destination;
use crate::reason::Reason;
use crate::tls;

use super::connection::{Admission, Connection, Origin, Posts, socket_address};
use super::record::{Kind, Record};
use super::{Action, Closing, Core};

/// How soon it is tried again to listen beside somebody who binds in the same directory.
const RETRY: Duration = Duration::from_millis(10);

/// How many connections a listener accepts that have not said hello, while its group waits for budget:
/// they would say it in vain, and each holds a descriptor.
/// In tests there are few, so that the simulator gets there.
pub(super) const UNNAMED_MOST: usize = if cfg!(test) { 4 } else { 64 };

/// How long accepting pauses after the system refused a connection its resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Listener {
    key: RecordKey,
    pub(super) channel: Channel,
    address: Address,
    options: Arc<ListenOptions>,
    /// What was handed in to listen on, until it is taken over.
    socket: Option<Box<HandedIn>>,
    phase: Phase,
    /// Addresses of the host that have not been tried yet.
    untried: VecDeque<SocketAddr>,
    /// Accepted connections that exist now.
    pub(super) connections: usize,
    /// Those of them that have not said hello.
    unnamed: usize,
    /// Those that are gone, and about which the application was asked and has not answered.
    unanswered: usize,
    deadline: Option<Instant>,
    /// The last try's failure.
    os_error: Option<SystemError>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Its name is being resolved, or it is being bound.
    Opening,
    /// Waits to try again: somebody else binds in the socket's directory.
    Deferred {
        give_up: Instant,
    },
    Listening,
    /// Accepting pauses until the deadline.
    Pausing,
    /// Accepting rests while the group waits for budget, until one of those who have not said hello has
    /// said it or is gone.
    Crowded,
    Ended(Reason, Posts),
}

impl Listener {
    pub(super) fn new(key: RecordKey, channel: Channel, destination: &mut Destination) -> Self {
        Listener {
            key,
            channel,
            address: destination.address.clone(),
            options: Arc::new(std::mem::take(&mut destination.options)),
            socket: destination.socket.take(),
            phase: Phase::Opening,
            untried: VecDeque::new(),
            connections: 0,
            unnamed: 0,
            unanswered: 0,
            deadline: None,
            os_error: None,
        }
    }

    /// Whether what it accepts is secured.
    pub(super) fn is_secured(&self) -> bool {
        self.address.is_tls()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn is_opening(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Deferred { .. })
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(..))
    }

    pub(super) fn may_accept(&self, connections_max: usize) -> bool {
        let places = self.connections + self.unanswered;
        self.phase == Phase::Listening && places < connections_max
    }

    /// Whether its options let somebody connect.
    pub(super) fn allows(&self, peer: &Peer) -> bool {
        self.options.allows(peer)
    }

    /// How far a connection has come to be admitted that was accepted just now.
    fn admission(&self) -> Admission {
        match self.options.admission {
            Admits::All => Admission::Admitted,
            Admits::Ask if self.is_secured() => Admission::Handshake,
            Admits::Ask => Admission::Asked { has_spoken: false },
        }
    }

    pub(super) fn posts(&self) -> Posts {
        match self.phase {
            Phase::Ended(_, posts) => posts,
            _ => Posts::Admitted,
        }
    }

    pub(super) fn set_closed_to_posts(&mut self) {
        if let Phase::Ended(_, posts) = &mut self.phase {
            *posts = Posts::Closed;
        }
    }

    fn is_crowded(&self) -> bool {
        self.unnamed >= UNNAMED_MOST
    }

    /// Whether it can tell here whom its options allow.
    fn check(&self) -> io::Result<()> {
        self.options.check_address(&self.address, TELLS_CREDENTIALS)
    }

    /// What there is to do first: bind, or find the addresses of the host, until `give_up`.
    fn start(&mut self, give_up: Instant) -> Action {
        let (key, options) = (self.key, Arc::clone(&self.options));
        if let Some(socket) = self.socket.take() {
            return Action::Adopt { key, socket };
        }
        match socket_address(&self.address) {
            Some(address) => Action::Listen {
                key,
                address,
                options,
            },
            None => {
                self.deadline = Some(give_up);
                let host = self.address.host().map(ToString::to_string);
                Action::Resolve {
                    key,
                    host: host.unwrap_or_default(),
                    port: self.address.port().unwrap_or_default(),
                }
            }
        }
    }

    /// Ends. Returns false if it had ended before.
    fn end(&mut self, reason: Reason, os_error: Option<SystemError>) -> bool {
        if self.has_ended() {
            return false;
        }
        self.phase = Phase::Ended(reason, Posts::Closing);
        (self.deadline, self.os_error) = (None, os_error);
        true
    }

    /// Its last event.
    pub(super) fn closed(self) -> Closed {
        let Phase::Ended(reason, _) = self.phase else {
            unreachable!("only what has ended is settled")
        };
        Closed {
            channel: self.channel,
            reason,
            os_error: self.os_error,
            peer: None,
            account: Box::default(),
        }
    }
}

impl Core {
    fn listener(&mut self, key: RecordKey) -> Option<&mut Listener> {
        match self.table.get_mut(key).map(|record| &mut record.kind) {
            Some(Kind::Listener(listener)) => Some(listener),
            _ => None,
        }
    }

    /// Starts to listen.
    pub(super) fn start_listening(&mut self, key: RecordKey, now: Instant) {
        let give_up = after(now, self.shared.options.connect_timeout);
        let checked = self
            .listener(key)
            .map_or(Ok(()), |listener| listener.check());
        if let Err(error) = checked {
            return self.end_listener(key, Reason::ListenFailed, Some((&error).into()));
        }
        let action = self.listener(key).map(|listener| listener.start(give_up));
        if let Some(action) = action {
            self.actions.push(action);
        }
        self.touch(key);
    }

    pub(super) fn end_listener(
        &mut self,
        key: RecordKey,
        reason: Reason,
        os_error: Option<SystemError>,
    ) {
        let has_ended_now = self
            .listener(key)
            .is_some_and(|listener| listener.end(reason, os_error));
        if has_ended_now {
            let how = match reason {
                Reason::Aborted => Closing::Abortive,
                _ => Closing::Orderly,
            };
            self.actions.push(Action::Close { key, how });
            self.crowded.remove(&key);
            self.touch(key);
        }
    }

    /// The resolver's answer, empty if it found none.
    pub(super) fn handle_resolved_listener(&mut self, key: RecordKey, addresses: Vec<SocketAddr>) {
        let Some(listener) = self.listener(key).filter(|it| it.phase == Phase::Opening) else {
            return;
        };
        listener.untried = addresses.into();
        if !self.try_next_to_listen(key) {
            self.end_listener(key, Reason::NameNotResolved, None);
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
        let options = Arc::clone(&listener.options);
        let address = Endpoint::Tcp(address);
        self.actions.push(Action::Listen {
            key,
            address,
            options,
        });
        true
    }

    /// The listener listens, on `bound`.
    pub(crate) fn handle_listening(&mut self, key: RecordKey, bound: &Endpoint) {
        let Some(listener) = self.listener(key) else {
            return;
        };
        if !listener.is_opening() {
            return; // it has ended meanwhile, and the closing of its socket is under way
        }
        listener.phase = Phase::Listening;
        if let Endpoint::Tcp(bound) = bound {
            listener.address = match (Address::from(*bound), listener.address.is_tls()) {
                (Address::Tcp { host, port }, true) => Address::Tls { host, port },
                (address, _) => address,
            };
        }
        listener.deadline = None;
        let (channel, address) = (listener.channel, Box::new(listener.address.clone()));
        self.touch(key);
        self.emit_from(key, Event::Listening(Listening { channel, address }));
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
            _ if let Some(reason) = tls::reason_of(error) => reason,
            io::ErrorKind::Unsupported if is_uds => Reason::NoUnixSockets,
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Reason::InvalidAddress,
            _ => Reason::ListenFailed,
        };
        self.end_listener(key, reason, Some(error.into()));
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
            Phase::Opening => give_up,
            Phase::Deferred { give_up } => give_up,
            _ => return,
        };
        listener.phase = Phase::Deferred { give_up };
        listener.os_error = Some(error.into());
        listener.deadline = Some(give_up.min(now + RETRY));
        self.touch(key);
    }

    /// Whether the listener may accept one more connection.
    pub(crate) fn may_accept(&mut self, key: RecordKey) -> bool {
        let limit = self.shared.options.connections_per_listener;
        let may_accept = self.listener(key).is_some_and(|it| it.may_accept(limit));
        if may_accept && self.is_crowded_in_line(key) {
            self.crowded.insert(key);
            self.set_phase(key, Phase::Crowded);
            return false;
        }
        may_accept
    }

    /// Whether as many have been accepted that have not said hello as may be while somebody waits for
    /// budget, and somebody does.
    fn is_crowded_in_line(&self, key: RecordKey) -> bool {
        let Some(record) = self.table.get(key) else {
            return false;
        };
        let Kind::Listener(listener) = &record.kind else {
            return false;
        };
        listener.is_crowded()
            && self
                .budget
                .has_line(self.groups.get(record.group).budget_key())
    }

    /// Has those accept again whose group waits for budget no longer.
    pub(super) fn accept_where_no_line_is_left(&mut self) {
        if !self.budget.take_line_emptied() {
            return;
        }
        let crowded: Vec<_> = self.crowded.iter().copied().collect();
        for key in crowded {
            self.accept_unless_crowded(key);
        }
    }

    /// Asserts that no listener rests without need.
    #[cfg(test)]
    pub(super) fn check_crowded(&self) {
        for &key in &self.crowded {
            assert!(
                self.is_crowded_in_line(key) || self.budget.has_line_emptied(),
                "{key:?} accepts nobody, and nobody waits for budget"
            );
        }
    }

    /// Has a listener accept again that is crowded no longer.
    fn accept_unless_crowded(&mut self, key: RecordKey) {
        if !self.is_crowded_in_line(key) && self.crowded.remove(&key) {
            self.set_phase(key, Phase::Listening);
        }
    }

    fn set_phase(&mut self, key: RecordKey, phase: Phase) {
        if let Some(listener) = self.listener(key) {
            listener.phase = phase;
        }
        self.touch(key);
    }

    /// What waits is asked for again after a while.
    fn pause_accepting(&mut self, key: RecordKey, now: Instant) {
        let Some(listener) = self.listener(key) else {
            return;
        };
        if listener.phase == Phase::Listening {
            listener.phase = Phase::Pausing;
            listener.deadline = Some(now + ACCEPT_PAUSE);
            self.touch(key);
        }
    }

    /// A connection was accepted. It has no channel until it says hello.
    pub(crate) fn handle_accepted(
        &mut self,
        listener_key: RecordKey,
        peer: Peer,
        now: Instant,
    ) -> Option<RecordKey> {
        let deadline = after(now, self.shared.options.hello_timeout);
        let listener = self.listener(listener_key)?;
        listener.connections += 1;
        listener.unnamed += 1;
        let origin = Origin::Accepted {
            listener: listener_key,
            listener_channel: listener.channel,
        };
        let admission = listener.admission();
        let group = self.table.get(listener_key)?.group;
        let budget_key = self.group(group).budget_key();
        let key = self.table.insert_with(|key| {
            let connection =
                Connection::accepted(key, budget_key, origin, admission, peer, deadline);
            Record::new(group, Kind::Connection(Box::new(connection)))
        });
        self.join_group(group, key);
        Counters::count(&self.shared.counters.accepted);
        self.touch(key);
        self.touch(listener_key);
        if let Admission::Asked { .. } = admission {
            self.ask(key, now);
        }
        Some(key)
    }

    /// A connection that the listener accepted is gone. Where the application `is_asked` about it, its place is kept
    /// until that has answered: so many questions may be there as connections, and no more.
    pub(super) fn handle_accepted_gone(
        &mut self,
        listener_key: RecordKey,
        is_named: bool,
        is_asked: bool,
    ) {
        if let Some(listener) = self.listener(listener_key) {
            listener.connections -= 1;
            listener.unnamed -= usize::from(!is_named);
            listener.unanswered += usize::from(is_asked);
        }
        self.touch(listener_key);
        self.accept_unless_crowded(listener_key);
    }

    /// The application was asked about a connection that is gone, and has answered.
    pub(super) fn handle_question_settled(&mut self, listener_key: RecordKey) {
        if let Some(listener) = self.listener(listener_key) {
            listener.unanswered -= 1;
        }
        self.touch(listener_key);
    }

    /// A connection that a listener accepted has said hello, and has a channel.
    pub(super) fn handle_accepted_named(&mut self, listener_key: RecordKey) {
        if let Some(listener) = self.listener(listener_key) {
            listener.unnamed -= 1;
        }
        self.accept_unless_crowded(listener_key);
    }

    /// The system refused to accept: mostly it is out of descriptors. Accepting pauses, so that a
    /// backlog that cannot be served costs no time.
    pub(crate) fn handle_accept_failed(&mut self, key: RecordKey, now: Instant) {
        self.pause_accepting(key, now);
        Counters::count(&self.shared.counters.accept_failures);
    }

    /// The system does not let the listener be polled. No memory now, some later: it asks again after
    /// a pause, unless that is in vain.
    pub(super) fn handle_unpollable_listener(
        &mut self,
        key: RecordKey,
        error: &io::Error,
        is_for_good: bool,
        now: Instant,
    ) {
        let is_opening = self.listener(key).is_some_and(|it| it.is_opening());
        let reason = match is_for_good {
            true => Reason::CannotPoll,
            false => Reason::ListenFailed,
        };
        match is_for_good || is_opening {
            true => self.end_listener(key, reason, Some(error.into())),
            false => self.handle_accept_failed(key, now),
        }
    }

    pub(super) fn handle_listener_time(&mut self, key: RecordKey, now: Instant) {
        let Some(listener) = self.listener(key) else {
            return;
        };
        listener.deadline = None;
        let options = Arc::clone(&listener.options);
        match listener.phase {
            Phase::Pausing => listener.phase = Phase::Listening,
            Phase::Deferred { give_up } => {
                let os_error = listener.os_error.clone();
                // Only Unix sockets are deferred, and their address is never a name.
                match socket_address(&listener.address).filter(|_| now < give_up) {
                    Some(address) => self.actions.push(Action::Listen {
                        key,
                        address,
                        options,
                    }),
                    None => self.end_listener(key, Reason::ListenFailed, os_error),
                }
            }
            // Only the resolving of a name takes time here.
            Phase::Opening => self.end_listener(key, Reason::NameNotResolved, None),
            Phase::Listening | Phase::Crowded | Phase::Ended(..) => {}
        }
        self.touch(key);
    }
}

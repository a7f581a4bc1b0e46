//! The world as it is: the system's sockets, poller, clock and resolver.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ampe_poller::socket::{self, Buffers, ListenerOptions, SocketAddress, Stream};
use ampe_poller::{Events, Interest, Poller, Seen, Watch};

use crate::between::key::RecordKey;
use crate::between::seat::Lookout;
use crate::between::wake::Wake;
use crate::endpoint::Endpoint;
use crate::handed_in::HandedIn;
use crate::handles::{Seat, Shared, this_sitter};
use crate::options::{ListenOptions, Options};
use crate::peer::Peer;
use crate::protocol::Wanted;

use super::resolver::Resolver;
use super::sockets::{Owned, Role};
use super::world::{Adopted, Report, World};

/// One wait reports at most so much.
pub(super) const REPORTS: usize = 1024;

/// What the poller holds.
pub(super) struct Source {
    socket: Owned<Real>,
    /// What is polled instead: something that the system refuses to poll.
    #[cfg(all(test, target_os = "linux"))]
    decoy: Option<std::fs::File>,
}

#[cfg(unix)]
impl std::os::fd::AsFd for Source {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        #[cfg(all(test, target_os = "linux"))]
        if let Some(decoy) = &self.decoy {
            return decoy.as_fd();
        }
        match &self.socket {
            Owned::Listener(listener) => listener.as_fd(),
            Owned::Stream(stream) => stream.as_fd(),
        }
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Source {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        match &self.socket {
            Owned::Listener(listener) => listener.as_socket(),
            Owned::Stream(stream) => stream.as_socket(),
        }
    }
}

struct ReactorWaker {
    poller: ampe_poller::Waker,
    seat: Arc<Seat>,
}

impl Wake for ReactorWaker {
    fn wake(&self) {
        // A wake that the system refuses caps the reactor's sleep: it finds what was posted then.
        let _ = self.poller.wake();
        self.seat.call(this_sitter());
    }
}

impl Lookout for Watch {
    fn wait(&self, until: Option<Instant>) -> Option<bool> {
        let seen = Watch::wait(self, until).ok()?;
        Some(seen == Seen::Something)
    }

    fn arm(&self) -> bool {
        Watch::arm(self).is_ok()
    }

    fn disarm(&self) {
        let _ = Watch::disarm(self); // it may see something once, which whoever sits sees too
    }

    fn wake(&self) {
        let _ = Watch::wake(self); // a counter takes one more
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn watched(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        Some(std::os::fd::AsFd::as_fd(self))
    }
}

pub(super) struct Real {
    poller: Poller<Source, Role>,
    events: Events,
    pub(super) resolver: Resolver,
    /// How long a wait asks before it sleeps.
    spin: Duration,
    buffers: Buffers,
    /// Refuses to take in any source, in these words.
    #[cfg(test)]
    refusal: Option<(io::ErrorKind, &'static str)>,
}

impl Real {
    /// The world, and the engine's shared state, by which it is woken.
    pub(super) fn start(options: Options) -> io::Result<(Self, Arc<Shared>)> {
        let poller = Poller::with_data()?;
        let spin = options.spin;
        let buffers = Buffers {
            send: options.send_buffer,
            receive: options.receive_buffer,
        };
        let shared = Shared::new(options, |seat| {
            Box::new(ReactorWaker {
                poller: poller.waker(),
                seat: Arc::clone(seat),
            })
        });
        let real = Real {
            poller,
            events: Events::with_capacity(REPORTS),
            resolver: Resolver::new(&shared),
            spin,
            buffers,
            #[cfg(test)]
            refusal: None,
        };
        Ok((real, shared))
    }

    /// What sees for a thread without the seat that a wait would end, if the system has such a thing.
    pub(super) fn lookout(&mut self) -> io::Result<Option<Arc<dyn Lookout>>> {
        let watch = self.poller.watch()?;
        Ok(watch.map(|watch| Arc::new(watch) as Arc<dyn Lookout>))
    }

    /// Has the lookout see all that is wanted. Returns whether it does.
    pub(super) fn settle(&mut self) -> bool {
        self.poller.settle()
    }

    /// Asks the system again and again for a while. Returns whether there is something, or `until` has come.
    fn spin(&mut self, until: Option<Instant>) -> io::Result<bool> {
        let begun = Instant::now();
        loop {
            self.poller.wait(&mut self.events, Some(Duration::ZERO))?;
            let now = Instant::now();
            let is_due = until.is_some_and(|until| until <= now);
            if is_due || self.events.woken() || !self.events.is_empty() {
                return Ok(true);
            }
            if now.saturating_duration_since(begun) >= self.spin {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }

    fn insert_source(&mut self, source: Source, role: Role) -> io::Result<ampe_poller::Key> {
        #[cfg(test)]
        if let Some((kind, words)) = self.refusal {
            return Err(io::Error::new(kind, words)); // as the poller, whose error closes the source
        }
        self.poller
            .insert_with(source, role)
            .map_err(io::Error::from)
    }
}

impl World for Real {
    type Stream = Stream;
    /// Boxed: there are few, and it is far larger than a stream.
    type Listener = Box<socket::Listener>;
    type Place = ampe_poller::Key;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn connect(&self, address: Endpoint) -> io::Result<Stream> {
        Stream::connect_with(&address.into(), self.buffers)
    }

    fn finish_connect(&self, stream: &Stream) -> io::Result<bool> {
        stream.finish_connect()
    }

    fn listen(
        &self,
        address: Endpoint,
        backlog: u32,
        options: &ListenOptions,
    ) -> io::Result<(Self::Listener, Endpoint)> {
        let options = ListenerOptions {
            backlog,
            mode: options.unix_mode & 0o777,
            group: options.unix_group,
            buffers: self.buffers,
        };
        let listener = socket::Listener::bind_with(&address.into(), &options)?;
        let bound = listener.local_address()?.into();
        Ok((Box::new(listener), bound))
    }

    fn adopt(&self, socket: HandedIn) -> Adopted<Self> {
        match socket {
            HandedIn::Listener(listener, bound) => {
                Adopted::Listener(Box::new(listener), bound.into())
            }
            HandedIn::Stream(stream) => Adopted::Stream(stream),
        }
    }

    fn accept(&self, listener: &Self::Listener) -> io::Result<(Stream, Peer)> {
        let (stream, address) = listener.accept()?;
        let peer = peer_at(address, &stream);
        Ok((stream, peer))
    }

    fn peer(&self, stream: &Stream) -> io::Result<Peer> {
        Ok(peer_at(stream.peer_address()?, stream))
    }

    fn recv(&self, stream: &Stream, buffer: &mut [u8]) -> io::Result<usize> {
        stream.recv(buffer)
    }

    fn peek(&self, stream: &Stream) -> io::Result<usize> {
        stream.peek()
    }

    fn send_vectored(&self, stream: &Stream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        stream.send_vectored(slices)
    }

    fn failure(&self, stream: &Stream) -> Option<io::Error> {
        stream.failure()
    }

    fn shutdown_write(&self, stream: &Stream) -> io::Result<()> {
        stream.shutdown_write()
    }

    fn set_abortive(&self, stream: &Stream) -> io::Result<()> {
        stream.set_abortive()
    }

    fn set_keep_alive(&self, stream: &Stream, idle: Duration, give_up: Duration) -> io::Result<()> {
        stream.set_keep_alive(idle)?;
        stream.set_user_timeout(give_up)
    }

    fn insert(&mut self, socket: Owned<Self>, role: Role) -> io::Result<ampe_poller::Key> {
        let source = Source {
            socket,
            #[cfg(all(test, target_os = "linux"))]
            decoy: None,
        };
        self.insert_source(source, role)
    }

    fn get(&self, place: ampe_poller::Key) -> Option<(&Owned<Self>, &Role)> {
        let socket = &self.poller.get(place)?.socket;
        Some((socket, self.poller.data(place)?))
    }

    fn role_mut(&mut self, place: ampe_poller::Key) -> Option<&mut Role> {
        self.poller.get_mut(place).map(|(_, role)| role)
    }

    fn close(&mut self, place: ampe_poller::Key) {
        self.poller.close(place);
    }

    fn set_interest(&mut self, place: ampe_poller::Key, wanted: Wanted) {
        let mut interest = Interest::NONE;
        if wanted.readable {
            interest |= Interest::READABLE;
        }
        if wanted.writable {
            interest |= Interest::WRITABLE;
        }
        self.poller.set_interest(place, interest);
    }

    fn wait(&mut self, until: Option<Instant>) -> io::Result<bool> {
        if self.spin.is_zero() || !self.spin(until)? {
            let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
            self.poller.wait(&mut self.events, timeout)?;
        }
        Ok(self.events.woken())
    }

    fn next_report(&mut self) -> Option<Report> {
        let event = self.poller.next_event(&mut self.events)?;
        let role = self.poller.data(event.key())?;
        Some(Report {
            key: role.key,
            is_readable: event.is_readable(),
            is_writable: event.is_writable(),
            is_ended: event.is_peer_closed() || event.is_hung_up() || event.is_failed(),
            refusal: event.error(),
        })
    }

    fn resolve(&mut self, key: RecordKey, host: String, port: u16) {
        self.resolver.resolve(key, host, port);
    }

    fn forget(&mut self, key: RecordKey) {
        self.resolver.forget(key);
    }
}

/// Who is at the other end. What the system does not tell is no reason to end a connection.
fn peer_at(address: SocketAddress, stream: &Stream) -> Peer {
    let (local, credentials) = match address {
        SocketAddress::Tcp(SocketAddr::V4(_)) => {
            let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            (SocketAddress::Tcp(unknown), None)
        }
        SocketAddress::Tcp(SocketAddr::V6(_)) => {
            let unknown = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
            (SocketAddress::Tcp(unknown), None)
        }
        SocketAddress::Uds(_) => {
            let credentials = stream.peer_credentials();
            (SocketAddress::Uds(None), credentials.ok().flatten())
        }
    };
    let local = stream.local_address().unwrap_or(local);
    Peer::new(address.into(), local.into(), credentials)
}

#[cfg(test)]
impl Real {
    pub(super) fn waker(&self) -> ampe_poller::Waker {
        self.poller.waker()
    }

    /// Takes no source in any more, as where a layer below hides what has to be polled.
    pub(super) fn refuse(&mut self, kind: io::ErrorKind, words: &'static str) {
        self.refusal = Some((kind, words));
    }

    #[cfg(target_os = "linux")]
    /// Has something else polled in place of a socket, or the socket again.
    pub(super) fn set_decoy(
        &mut self,
        place: ampe_poller::Key,
        decoy: Option<std::fs::File>,
    ) -> ampe_poller::Key {
        let (mut source, role) = self.poller.remove_with_data(place).unwrap();
        source.decoy = decoy;
        self.insert_source(source, role).unwrap()
    }
}

impl From<SocketAddress> for Endpoint {
    fn from(address: SocketAddress) -> Self {
        match address {
            SocketAddress::Tcp(address) => Endpoint::Tcp(address),
            SocketAddress::Uds(path) => Endpoint::Uds(path),
        }
    }
}

impl From<Endpoint> for SocketAddress {
    fn from(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Tcp(address) => SocketAddress::Tcp(address),
            Endpoint::Uds(path) => SocketAddress::Uds(path),
        }
    }
}

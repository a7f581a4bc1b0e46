//! The reactor's sockets: found by the core's keys, polled by the poller's.

mod parting;

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use ampe_poller::socket::is_shortage;

use crate::between::key::RecordKey;
use crate::peer::Peer;
use crate::protocol::Wanted;
use crate::tls::{self, Codec, Identity};

use self::parting::Partings;
use super::rests::Resting;
use super::secure::{Secure, Wire};
use super::world::World;

/// A socket as the poller holds it.
pub(crate) enum Owned<W: World> {
    Listener(W::Listener),
    Stream(W::Stream),
}

/// What the poller keeps beside a socket: whose it is, and how far it has come.
#[derive(Clone, Copy)]
pub(crate) struct Role {
    pub(crate) key: RecordKey,
    /// Of a stream: whether its attempt to connect is decided.
    pub(crate) is_connected: bool,
}

/// A socket in its role.
pub(crate) enum Socket<'a, W: World> {
    Listener(&'a W::Listener),
    /// Writable, or in error, once the attempt is decided.
    Connecting(&'a W::Stream),
    Connected(&'a W::Stream),
}

impl<'a, W: World> Socket<'a, W> {
    pub(crate) fn new(owned: &'a Owned<W>, role: &Role) -> Self {
        match owned {
            Owned::Listener(listener) => Socket::Listener(listener),
            Owned::Stream(stream) if role.is_connected => Socket::Connected(stream),
            Owned::Stream(stream) => Socket::Connecting(stream),
        }
    }
}

/// Where the poller keeps a socket of the core's.
struct Registration<P> {
    generation: u64,
    place: P,
    /// What was declared last.
    wanted: Wanted,
    /// What the poller was told last.
    polled: Wanted,
    /// Its polling was refused, and rests.
    polling_rests: bool,
    resting: Resting,
    refused: Option<Box<Refused>>,
    /// What lies between the frames and the socket, if anything does.
    secure: Option<Box<Secure>>,
    /// Is in the list of those that may be read though their sockets have nothing.
    is_listed: bool,
}

/// Since when polling a socket has been refused, and when it was last.
struct Refused {
    since: Instant,
    last: Instant,
}

/// A socket, for what is sent and received below the frames.
pub(super) struct Raw<'a, W: World> {
    world: &'a W,
    stream: &'a W::Stream,
}

impl<W: World> Wire for Raw<'_, W> {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.world.recv(self.stream, buffer)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.world
            .send_vectored(self.stream, &[IoSlice::new(bytes)])
    }
}

/// A connected stream, to be read and written.
pub(super) enum Link<'a, W: World> {
    Plain(Raw<'a, W>),
    /// With the memory that ciphertext is read to.
    Secure(&'a mut Secure, Raw<'a, W>, &'a mut Vec<u8>),
}

impl<W: World> Link<'_, W> {
    /// Reads once.
    #[inline]
    pub(super) fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Link::Plain(raw) => raw.recv(buffer),
            Link::Secure(secure, raw, cipher) => secure.recv(raw, cipher, buffer),
        }
    }

    /// Writes once.
    #[inline]
    pub(super) fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Link::Plain(raw) => raw.world.send_vectored(raw.stream, slices),
            Link::Secure(secure, raw, _) => secure.send(raw, slices),
        }
    }

    /// How much was read below the frames since this was asked last.
    #[inline]
    pub(super) fn take_read_bytes(&mut self) -> usize {
        match self {
            Link::Plain(_) => 0,
            Link::Secure(secure, ..) => secure.take_read_bytes(),
        }
    }
}

/// Refusals that are so far apart have nothing to do with each other.
const CALM: Duration = Duration::from_secs(1);

pub(crate) struct Sockets<W: World> {
    pub(crate) world: W,
    /// By the index of the core's key.
    registrations: Vec<Option<Registration<W::Place>>>,
    /// Those that may be read though their sockets have nothing.
    ready: Vec<RecordKey>,
    /// Where ciphertext is read to.
    cipher: Vec<u8>,
    /// Those that the core has closed, and that have a word to say.
    partings: Partings<W::Place>,
    /// More is wanted of a socket that was wanted for something.
    is_widened: bool,
}

impl<W: World> Sockets<W> {
    pub(super) fn new(world: W) -> Self {
        Sockets {
            world,
            registrations: Vec::new(),
            ready: Vec::new(),
            cipher: Vec::new(),
            partings: Partings::new(),
            is_widened: false,
        }
    }

    fn registration(&self, key: RecordKey) -> Option<&Registration<W::Place>> {
        let registration = self.registrations.get(key.index as usize)?.as_ref();
        registration.filter(|registration| registration.generation == key.generation)
    }

    fn registration_mut(&mut self, key: RecordKey) -> Option<&mut Registration<W::Place>> {
        let registration = self.registrations.get_mut(key.index as usize)?.as_mut();
        registration.filter(|registration| registration.generation == key.generation)
    }

    pub(super) fn place(&self, key: RecordKey) -> Option<W::Place> {
        self.registration(key)
            .map(|registration| registration.place)
    }

    pub(crate) fn get(&self, key: RecordKey) -> Option<Socket<'_, W>> {
        let (owned, role) = self.place(key).and_then(|place| self.world.get(place))?;
        Some(Socket::new(owned, role))
    }

    pub(super) fn insert_listener(
        &mut self,
        key: RecordKey,
        listener: W::Listener,
    ) -> io::Result<()> {
        let is_connected = false;
        self.insert(Owned::Listener(listener), Role { key, is_connected })
    }

    pub(super) fn insert_stream(
        &mut self,
        key: RecordKey,
        stream: W::Stream,
        is_connected: bool,
    ) -> io::Result<()> {
        self.insert(Owned::Stream(stream), Role { key, is_connected })
    }

    /// Takes a socket in, which is closed if it cannot be polled.
    fn insert(&mut self, socket: Owned<W>, role: Role) -> io::Result<()> {
        self.make_room(role.key);
        let place = self.world.insert(socket, role)?;
        self.register(role.key, place);
        Ok(())
    }

    fn make_room(&mut self, key: RecordKey) {
        let index = key.index as usize;
        if self.registrations.len() <= index {
            self.registrations.resize_with(index + 1, || None);
        }
        assert!(
            self.registrations[index].is_none(),
            "a registration is taken once the socket before was closed"
        );
    }

    fn register(&mut self, key: RecordKey, place: W::Place) {
        self.registrations[key.index as usize] = Some(Registration {
            generation: key.generation,
            place,
            wanted: Wanted::default(),
            polled: Wanted::default(),
            polling_rests: false,
            resting: Resting::Nothing,
            refused: None,
            secure: None,
            is_listed: false,
        });
    }

    /// Has a stream send and receive by records, from its first byte on.
    pub(super) fn secure(&mut self, key: RecordKey, codec: Box<dyn Codec>) {
        if let Some(registration) = self.registration_mut(key) {
            registration.secure = Some(Box::new(Secure::new(codec)));
        }
    }

    /// A connected stream, to be read and written.
    #[inline]
    pub(super) fn link(&mut self, key: RecordKey) -> Option<Link<'_, W>> {
        let registration = self.registrations.get_mut(key.index as usize)?.as_mut();
        let registration = registration.filter(|it| it.generation == key.generation)?;
        let (Owned::Stream(stream), role) = self.world.get(registration.place)? else {
            return None;
        };
        let world = &self.world;
        let raw = role.is_connected.then_some(Raw { world, stream })?;
        Some(match &mut registration.secure {
            Some(secure) if tls::IS_POSSIBLE => Link::Secure(secure, raw, &mut self.cipher),
            _ => Link::Plain(raw),
        })
    }

    /// What secures a stream, whether it is connected or not.
    fn secured(&mut self, key: RecordKey) -> Option<(&mut Secure, Raw<'_, W>, &mut Vec<u8>)> {
        if !tls::IS_POSSIBLE {
            return None;
        }
        let registration = self.registrations.get_mut(key.index as usize)?.as_mut();
        let registration = registration.filter(|it| it.generation == key.generation)?;
        let secure = registration.secure.as_mut()?;
        let (Owned::Stream(stream), _) = self.world.get(registration.place)? else {
            return None;
        };
        let world = &self.world;
        Some((secure, Raw { world, stream }, &mut self.cipher))
    }

    /// Whether bytes that come from this socket are those of a handshake.
    #[inline]
    pub(super) fn is_handshaking(&self, key: RecordKey) -> bool {
        let secure = self.registration(key).and_then(|it| it.secure.as_ref());
        secure.is_some_and(|secure| secure.is_handshaking())
    }

    /// Goes on with the handshake of a stream that is being connected, if it has one. Returns the peer once it
    /// is done.
    pub(super) fn shake(&mut self, key: RecordKey, peer: Peer) -> io::Result<Option<Peer>> {
        let Some((secure, raw, cipher)) = self.secured(key) else {
            return Ok(Some(peer));
        };
        let is_done = match secure.shake(&raw, cipher) {
            Err(error) if is_shortage(&error) => {
                secure.shaking = Some(peer); // it is asked again
                return Err(error);
            }
            shaken => shaken?,
        };
        let identity = secure.take_identity().flatten();
        let done = match is_done {
            true => Some(peer.identified(identity)),
            false => {
                secure.shaking = Some(peer);
                None
            }
        };
        self.poll(key);
        Ok(done)
    }

    /// Goes on with the handshake of a stream that was accepted. Returns who the peer is, once, when it is done.
    pub(super) fn shake_accepted(
        &mut self,
        key: RecordKey,
    ) -> io::Result<Option<Option<Identity>>> {
        let Some((secure, raw, cipher)) = self.secured(key) else {
            return Ok(None); // it has not been said how it is secured
        };
        secure.shake(&raw, cipher)?;
        let identity = secure.take_identity();
        self.poll(key);
        Ok(identity)
    }

    /// Whether there is something to read, which stays where it is. Zero is the end.
    pub(super) fn peek(&mut self, key: RecordKey) -> io::Result<usize> {
        let (raw, holds_some) = match self.link(key) {
            Some(Link::Plain(raw)) => (raw, false),
            Some(Link::Secure(secure, raw, _)) => (raw, secure.holds_some()),
            None => return Err(io::ErrorKind::WouldBlock.into()),
        };
        match holds_some {
            true => Ok(1),
            false => raw.world.peek(raw.stream),
        }
    }

    /// Whether the handshake of a stream that is being connected goes on.
    pub(super) fn is_shaking(&mut self, key: RecordKey) -> bool {
        let secured = self.secured(key);
        secured.is_some_and(|(secure, ..)| secure.shaking.is_some())
    }

    /// Who is at the other end of a stream whose handshake goes on.
    pub(super) fn take_shaking_peer(&mut self, key: RecordKey) -> Option<Peer> {
        self.secured(key)?.0.shaking.take()
    }

    /// What has changed by a read below the frames: what is waited for. Returns who the peer is, once.
    pub(super) fn after_read(&mut self, key: RecordKey) -> Option<Option<Identity>> {
        let identity = self.secured(key)?.0.take_identity();
        self.list_if_ready(key);
        self.poll(key);
        identity
    }

    /// How much is staged of what is to be sent next. None where nothing ever is.
    pub(super) fn staged(&mut self, key: RecordKey) -> Option<usize> {
        self.secured(key).map(|(secure, ..)| secure.staged())
    }

    /// Offers the system what waits beside messages.
    pub(super) fn flush_aside(&mut self, key: RecordKey) -> io::Result<()> {
        let Some((secure, raw, _)) = self.secured(key) else {
            return Ok(());
        };
        let flushed = secure.flush_aside(&raw);
        if secure.has_said_end() {
            let _ = raw.world.shutdown_write(raw.stream);
        }
        self.poll(key);
        flushed
    }

    /// Ends what is sent in an orderly way.
    pub(super) fn finish_sending(&mut self, key: RecordKey) {
        if let Some((secure, raw, _)) = self.secured(key) {
            secure.close(&raw);
            if secure.has_said_end() {
                let _ = raw.world.shutdown_write(raw.stream);
            }
            return self.poll(key);
        }
        if let Some(Socket::Connected(stream)) = self.get(key) {
            // If it fails the connection is gone already, and reading says so.
            let _ = self.world.shutdown_write(stream);
        }
    }

    pub(super) fn list_if_ready(&mut self, key: RecordKey) {
        let Some(it) = self.registration_mut(key) else {
            return;
        };
        let is_ready = it.secure.as_ref().is_some_and(|secure| secure.is_ready());
        if is_ready && it.wanted.readable && !std::mem::replace(&mut it.is_listed, true) {
            self.ready.push(key);
        }
    }

    /// The next of those that may be read though their sockets have nothing.
    pub(super) fn next_ready(&mut self) -> Option<RecordKey> {
        while let Some(key) = self.ready.pop() {
            let Some(it) = self.registration_mut(key) else {
                continue;
            };
            it.is_listed = false;
            let is_ready = it.secure.as_ref().is_some_and(|secure| secure.is_ready());
            if is_ready && it.wanted.readable {
                return Some(key);
            }
        }
        None
    }

    /// Whether there are any.
    pub(super) fn has_ready(&mut self) -> bool {
        if let Some(key) = self.next_ready() {
            self.list_if_ready(key);
        }
        !self.ready.is_empty()
    }

    /// Turns a stream that was connecting as `from` into one that is connected as `to`: the same key, or
    /// one that has no socket. To the poller it is the same source, wanted for nothing. Returns whether there is such
    /// a stream.
    pub(super) fn promote(&mut self, from: RecordKey, to: RecordKey) -> bool {
        let Some(place) = self.place(from) else {
            return false;
        };
        match self.world.role_mut(place) {
            Some(role) if !role.is_connected => {
                (role.key, role.is_connected) = (to, true);
            }
            _ => return false,
        }
        let before = self.registrations[from.index as usize].take();
        self.make_room(to);
        self.register(to, place);
        if let Some(registration) = self.registration_mut(to) {
            registration.secure = before.and_then(|it| it.secure);
        }
        self.world.set_interest(place, Wanted::default());
        true
    }

    /// Closes a socket in an orderly way, if there is one. Where the system takes no more now, it has `until`
    /// to take TLS's end.
    pub(super) fn close_orderly(&mut self, key: RecordKey, until: Instant) {
        self.say_end(key);
        if !self.part(key, until) {
            self.let_go(key);
        }
    }

    /// Closes a socket at once, if there is one.
    pub(super) fn close(&mut self, key: RecordKey, abortive: bool) {
        if !abortive {
            self.say_end(key);
        } else if let Some(Socket::Connected(stream)) = self.get(key) {
            // Without it the peer sees an orderly end, which is less than it should know.
            let _ = self.world.set_abortive(stream);
        }
        self.let_go(key);
    }

    /// Says TLS's end, where there is TLS, as far as the system takes it now.
    fn say_end(&mut self, key: RecordKey) {
        if let Some(Link::Secure(secure, raw, _)) = self.link(key) {
            secure.close(&raw);
        }
    }

    fn let_go(&mut self, key: RecordKey) {
        if let Some(place) = self.place(key) {
            self.world.close(place);
            self.registrations[key.index as usize] = None;
        }
    }

    pub(super) fn declare(&mut self, key: RecordKey, wanted: Wanted) {
        if let Some(registration) = self.registration_mut(key) {
            registration.wanted = wanted;
            self.poll(key);
            if tls::IS_POSSIBLE {
                self.list_if_ready(key);
            }
        }
    }

    /// Has the poller know what is wanted, but for what rests.
    fn poll(&mut self, key: RecordKey) {
        let registration = self.registrations.get_mut(key.index as usize);
        let Some(registration) = registration
            .and_then(Option::as_mut)
            .filter(|it| it.generation == key.generation && !it.polling_rests)
        else {
            return;
        };
        let (place, mut wanted) = (registration.place, registration.wanted);
        if tls::IS_POSSIBLE
            && let Some(secure) = &registration.secure
        {
            wanted = secure.wanted(wanted);
        }
        match registration.resting {
            Resting::Nothing => {}
            Resting::Sending => wanted.writable = false,
            Resting::Handshake => wanted = Wanted::default(),
        }
        let before = std::mem::replace(&mut registration.polled, wanted);
        self.is_widened |= (before.readable && !before.writable && wanted.writable)
            || (before.writable && !before.readable && wanted.readable);
        self.world.set_interest(place, wanted);
    }

    /// The system refused to poll a connection, for a while. Returns whether it is to be asked again
    /// after a rest; not if it has refused for as long as `patience`.
    pub(super) fn rest_polling(
        &mut self,
        key: RecordKey,
        now: Instant,
        patience: Duration,
    ) -> bool {
        let Some(registration) = self.registration_mut(key) else {
            return false;
        };
        let first = || {
            Box::new(Refused {
                since: now,
                last: now,
            })
        };
        let refused = registration.refused.get_or_insert_with(first);
        if now.saturating_duration_since(refused.last) >= CALM {
            refused.since = now;
        }
        refused.last = now;
        if now.saturating_duration_since(refused.since) >= patience {
            return false;
        }
        registration.polling_rests = true;
        // Its interest may have been declared since the refusal, and then it is polled.
        let place = registration.place;
        self.world.set_interest(place, Wanted::default());
        true
    }

    /// Whether since this was asked last more was wanted of a socket that was polled already. An epoll that has
    /// reported it lately is not readable anew by that, though it has more to report.
    pub(super) fn take_widened(&mut self) -> bool {
        std::mem::take(&mut self.is_widened)
    }

    pub(super) fn go_on_polling(&mut self, key: RecordKey) {
        if let Some(registration) = self.registration_mut(key) {
            registration.polling_rests = false;
            self.poll(key);
        }
    }

    pub(super) fn set_resting(&mut self, key: RecordKey, resting: Resting) {
        if let Some(registration) = self.registration_mut(key) {
            registration.resting = resting;
            self.poll(key);
        }
    }

    pub(super) fn declare_writable(&mut self, key: RecordKey) {
        self.declare(key, Wanted::WRITABLE);
    }
}

#[cfg(test)]
impl<W: World> Sockets<W> {
    /// Those that there are.
    pub(crate) fn keys(&self) -> Vec<RecordKey> {
        let registrations = self.registrations.iter().flatten();
        let held = registrations.filter_map(|registration| self.world.get(registration.place));
        held.map(|(_, role)| role.key).collect()
    }

    /// Whether any is to be writable.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn wants_to_write(&self) -> bool {
        let mut registrations = self.registrations.iter().flatten();
        registrations.any(|registration| registration.polled.writable)
    }
}

#[cfg(all(test, target_os = "linux"))]
impl Sockets<super::real::Real> {
    /// Has something else polled in place of a socket, or the socket again.
    pub(super) fn set_decoy(&mut self, key: RecordKey, decoy: Option<std::fs::File>) {
        let place = self.place(key).expect("a socket");
        let place = self.world.set_decoy(place, decoy);
        let registration = self.registration_mut(key).expect("a socket");
        registration.place = place;
    }
}

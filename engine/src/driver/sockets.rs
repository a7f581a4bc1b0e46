//! The reactor's sockets: found by the core's keys, polled by the poller's.

use std::io;
use std::time::Duration;

use ampe_poller::socket::{Listener, SocketAddress, Stream};
use ampe_poller::{Event, Events, Interest, Poller};

use crate::between::key::RecordKey;
use crate::endpoint::Endpoint;
use crate::protocol::Wanted;

pub(super) enum Socket {
    Listener(Listener),
    /// Writable, or in error, once the attempt is decided.
    Connecting(Stream),
    Connected(Stream),
}

/// A socket and the key by which the core knows it.
pub(super) struct Entry {
    key: RecordKey,
    socket: Socket,
    /// What is polled instead: something that the system refuses to poll.
    #[cfg(all(test, target_os = "linux"))]
    decoy: Option<std::fs::File>,
}

#[cfg(unix)]
impl std::os::fd::AsFd for Entry {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        #[cfg(all(test, target_os = "linux"))]
        if let Some(decoy) = &self.decoy {
            return decoy.as_fd();
        }
        match &self.socket {
            Socket::Listener(listener) => listener.as_fd(),
            Socket::Connecting(stream) | Socket::Connected(stream) => stream.as_fd(),
        }
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Entry {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        match &self.socket {
            Socket::Listener(listener) => listener.as_socket(),
            Socket::Connecting(stream) | Socket::Connected(stream) => stream.as_socket(),
        }
    }
}

pub(super) struct Sockets {
    poller: Poller<Entry>,
    /// The poller's keys, by the index of the core's, with its generation.
    places: Vec<Option<(u64, ampe_poller::Key)>>,
    /// Refuses to take in any source, in these words.
    #[cfg(test)]
    refusal: Option<(io::ErrorKind, &'static str)>,
}

impl Sockets {
    pub(super) fn new(poller: Poller<Entry>) -> Self {
        Sockets {
            poller,
            places: Vec::new(),
            #[cfg(test)]
            refusal: None,
        }
    }

    fn place(&self, key: RecordKey) -> Option<ampe_poller::Key> {
        let place = self.places.get(key.index as usize).copied().flatten();
        place
            .filter(|&(generation, _)| generation == key.generation)
            .map(|(_, place)| place)
    }

    pub(super) fn get(&self, key: RecordKey) -> Option<&Socket> {
        self.place(key)
            .and_then(|place| self.poller.get(place))
            .map(|entry| &entry.socket)
    }

    pub(super) fn insert(&mut self, key: RecordKey, socket: Socket) -> io::Result<()> {
        self.insert_entry(Entry {
            key,
            socket,
            #[cfg(all(test, target_os = "linux"))]
            decoy: None,
        })
    }

    fn insert_entry(&mut self, entry: Entry) -> io::Result<()> {
        #[cfg(test)]
        if let Some((kind, words)) = self.refusal {
            return Err(io::Error::new(kind, words)); // as the poller, whose error closes the source
        }
        let key = entry.key;
        let place = self.poller.insert(entry).map_err(io::Error::from)?;
        let index = key.index as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, None);
        }
        self.places[index] = Some((key.generation, place));
        Ok(())
    }

    /// Turns a stream that was connecting into one that is connected.
    pub(super) fn promote(&mut self, key: RecordKey) -> io::Result<()> {
        let entry = self.place(key).and_then(|place| self.poller.remove(place));
        match entry {
            Some(Entry {
                socket: Socket::Connecting(stream),
                ..
            }) => self.insert(key, Socket::Connected(stream)),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    /// Closes a socket, if there is one.
    pub(super) fn close(&mut self, key: RecordKey, abortive: bool) {
        let Some(place) = self.place(key) else { return };
        if abortive && let Some(Socket::Connected(stream)) = self.get(key) {
            // Without it the peer sees an orderly end, which is less than it should know.
            let _ = stream.set_abortive();
        }
        self.poller.close(place);
        self.places[key.index as usize] = None;
    }

    pub(super) fn declare(&mut self, key: RecordKey, wanted: Wanted) {
        let mut interest = Interest::NONE;
        if wanted.readable {
            interest |= Interest::READABLE;
        }
        if wanted.writable {
            interest |= Interest::WRITABLE;
        }
        if let Some(place) = self.place(key) {
            self.poller.set_interest(place, interest);
        }
    }

    pub(super) fn declare_writable(&mut self, key: RecordKey) {
        self.declare(
            key,
            Wanted {
                readable: false,
                writable: true,
            },
        );
    }

    pub(super) fn wait(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        self.poller.wait(events, timeout)
    }

    pub(super) fn next_event(&self, events: &mut Events) -> Option<(Event, RecordKey)> {
        let event = self.poller.next_event(events)?;
        let entry = self.poller.get(event.key())?;
        Some((event, entry.key))
    }
}

#[cfg(test)]
impl Sockets {
    pub(super) fn waker(&self) -> ampe_poller::Waker {
        self.poller.waker()
    }

    /// Takes no source in any more, as where a layer below hides what has to be polled.
    pub(super) fn refuse(&mut self, kind: io::ErrorKind, words: &'static str) {
        self.refusal = Some((kind, words));
    }

    /// Those that there are.
    pub(super) fn keys(&self) -> Vec<RecordKey> {
        let places = self.places.iter().flatten();
        let entries = places.filter_map(|&(_, place)| self.poller.get(place));
        entries.map(|entry| entry.key).collect()
    }

    #[cfg(all(test, target_os = "linux"))]
    /// Has something else polled in place of a socket, or the socket again.
    pub(super) fn set_decoy(&mut self, key: RecordKey, decoy: Option<std::fs::File>) {
        let place = self.place(key).unwrap();
        let mut entry = self.poller.remove(place).unwrap();
        entry.decoy = decoy;
        self.insert_entry(entry).unwrap();
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

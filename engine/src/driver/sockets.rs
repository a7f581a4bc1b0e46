//! The reactor's sockets: found by the core's keys, polled by the poller's.

use std::io;

use crate::between::key::RecordKey;
use crate::protocol::Wanted;

use super::world::World;

pub(crate) enum Socket<W: World> {
    Listener(W::Listener),
    /// Writable, or in error, once the attempt is decided.
    Connecting(W::Stream),
    Connected(W::Stream),
}

/// A socket and the key by which the core knows it.
pub(crate) struct Entry<W: World> {
    pub(crate) key: RecordKey,
    pub(crate) socket: Socket<W>,
}

/// Where the poller keeps a socket of the core's.
struct Seat<P> {
    generation: u64,
    place: P,
}

pub(crate) struct Sockets<W: World> {
    pub(crate) world: W,
    /// By the index of the core's key.
    seats: Vec<Option<Seat<W::Place>>>,
}

impl<W: World> Sockets<W> {
    pub(super) fn new(world: W) -> Self {
        Sockets {
            world,
            seats: Vec::new(),
        }
    }

    fn seat(&self, key: RecordKey) -> Option<&Seat<W::Place>> {
        let seat = self.seats.get(key.index as usize)?.as_ref();
        seat.filter(|seat| seat.generation == key.generation)
    }

    fn place(&self, key: RecordKey) -> Option<W::Place> {
        self.seat(key).map(|seat| seat.place)
    }

    pub(crate) fn get(&self, key: RecordKey) -> Option<&Socket<W>> {
        self.place(key)
            .and_then(|place| self.world.get(place))
            .map(|entry| &entry.socket)
    }

    /// Takes a socket in, which is closed if it cannot be polled.
    pub(super) fn insert(&mut self, key: RecordKey, socket: Socket<W>) -> io::Result<()> {
        let index = key.index as usize;
        if self.seats.len() <= index {
            self.seats.resize_with(index + 1, || None);
        }
        assert!(
            self.seats[index].is_none(),
            "a seat is taken once the socket before was closed"
        );
        let place = self.world.insert(Entry { key, socket })?;
        self.seats[index] = Some(Seat {
            generation: key.generation,
            place,
        });
        Ok(())
    }

    /// Turns a stream that was connecting into one that is connected.
    pub(super) fn promote(&mut self, key: RecordKey) -> io::Result<()> {
        let place = self.place(key).ok_or(io::ErrorKind::NotFound)?;
        self.seats[key.index as usize] = None;
        match self.world.remove(place) {
            Some(Entry {
                socket: Socket::Connecting(stream),
                ..
            }) => self.insert(key, Socket::Connected(stream)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Closes a socket, if there is one.
    pub(super) fn close(&mut self, key: RecordKey, abortive: bool) {
        let Some(place) = self.place(key) else { return };
        if abortive && let Some(Socket::Connected(stream)) = self.get(key) {
            // Without it the peer sees an orderly end, which is less than it should know.
            let _ = self.world.set_abortive(stream);
        }
        self.world.close(place);
        self.seats[key.index as usize] = None;
    }

    pub(super) fn declare(&mut self, key: RecordKey, wanted: Wanted) {
        if let Some(place) = self.place(key) {
            self.world.set_interest(place, wanted);
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
}

#[cfg(test)]
impl<W: World> Sockets<W> {
    /// Those that there are.
    pub(crate) fn keys(&self) -> Vec<RecordKey> {
        let seats = self.seats.iter().flatten();
        let entries = seats.filter_map(|seat| self.world.get(seat.place));
        entries.map(|entry| entry.key).collect()
    }
}

#[cfg(all(test, target_os = "linux"))]
impl Sockets<super::real::Real> {
    /// Has something else polled in place of a socket, or the socket again.
    pub(super) fn set_decoy(&mut self, key: RecordKey, decoy: Option<std::fs::File>) {
        let place = self.place(key).unwrap();
        let place = self.world.set_decoy(place, decoy);
        self.seats[key.index as usize].as_mut().unwrap().place = place;
    }
}

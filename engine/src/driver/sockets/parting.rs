//! Sockets that the core is done with, and that stay until the system has taken TLS's orderly end: without it
//! the peer would call the end a cut. Without TLS the system itself sees to that.

use std::io;
use std::time::Instant;

use ampe_poller::socket::is_shortage;

use crate::between::key::RecordKey;
use crate::driver::rests::Rest;
use crate::driver::secure::Secure;
use crate::driver::world::World;
use crate::protocol::Wanted;

use super::{Owned, Raw, Sockets};

/// So many stay at once. For any more, the end of the one that has stayed longest is a cut.
const MOST: usize = 64;

/// No record of the core's has this index.
const INDEX: u32 = u32::MAX;

/// Sockets that part.
pub(super) struct Partings<P> {
    /// The oldest first.
    list: Vec<Parting<P>>,
    generation_next: u64,
}

struct Parting<P> {
    generation: u64,
    place: P,
    secure: Box<Secure>,
    /// Its end is given up then.
    until: Instant,
    /// The system had no memory for it, and is asked again then.
    rests_until: Option<Instant>,
}

impl<P> Partings<P> {
    pub(super) fn new() -> Self {
        Partings {
            list: Vec::new(),
            generation_next: 0,
        }
    }
}

impl<W: World> Sockets<W> {
    /// Keeps a socket until its orderly end is said, `until` at the latest. Returns false where it is to be
    /// closed now.
    pub(super) fn part(&mut self, key: RecordKey, until: Instant) -> bool {
        let secure = self.registration(key).and_then(|it| it.secure.as_ref());
        let is_saying_end = secure.is_some_and(|secure| secure.is_saying_end());
        let Some(place) = self.place(key).filter(|_| is_saying_end) else {
            return false;
        };
        if self.partings.list.len() >= MOST {
            let oldest = self.partings.list.remove(0);
            self.world.close(oldest.place);
        }
        let before = self.registrations[key.index as usize].take();
        let Some(secure) = before.and_then(|it| it.secure) else {
            return false;
        };
        let generation = self.partings.generation_next;
        self.partings.generation_next += 1;
        let index = INDEX;
        self.world.part(place, RecordKey { index, generation });
        self.world.set_interest(place, Wanted::WRITABLE);
        self.partings.list.push(Parting {
            generation,
            place,
            secure,
            until,
            rests_until: None,
        });
        true
    }

    /// Goes on with what a socket has to say that parts, if this is one. `is_refused` says that it cannot be
    /// polled.
    pub(in crate::driver) fn go_on_parting(
        &mut self,
        key: RecordKey,
        is_refused: bool,
        now: Instant,
    ) -> bool {
        if key.index != INDEX {
            return false;
        }
        let list = &mut self.partings.list;
        let Some(at) = list.iter().position(|it| it.generation == key.generation) else {
            return true;
        };
        let parting = &mut list[at];
        let flushed = match self.world.get(parting.place) {
            Some((Owned::Stream(stream), _)) => {
                let world = &self.world;
                parting.secure.flush_aside(&Raw { world, stream })
            }
            _ => Err(io::ErrorKind::NotConnected.into()),
        };
        if flushed.as_ref().is_err_and(is_shortage) {
            parting.rests_until = Some(now + Rest::Sending.time());
            self.world.set_interest(parting.place, Wanted::default());
            return true;
        }
        if is_refused || flushed.is_err() || !parting.secure.is_saying_end() {
            let place = list.remove(at).place;
            self.world.close(place);
        }
        true
    }

    /// Gives those up that had long enough, and goes on with those that have rested.
    pub(in crate::driver) fn see_to_partings(&mut self, now: Instant) {
        let world = &mut self.world;
        self.partings.list.retain_mut(|it| {
            let stays = it.until > now;
            if !stays {
                world.close(it.place);
            } else if it.rests_until.take_if(|until| *until <= now).is_some() {
                world.set_interest(it.place, Wanted::WRITABLE);
            }
            stays
        });
    }

    /// When the next of them is to be seen to.
    pub(in crate::driver) fn next_parting(&self) -> Option<Instant> {
        let partings = self.partings.list.iter();
        let times = partings.map(|it| it.rests_until.unwrap_or(it.until).min(it.until));
        times.min()
    }
}

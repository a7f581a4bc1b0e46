//! The world of one simulated engine: its sockets on the simulated network, a poller with the manners
//! of the real ones, and a resolver that takes its time.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Error, ErrorKind, IoSlice};
use std::time::{Duration, Instant};

use crate::between::key::RecordKey;
use crate::driver::sockets::{Owned, Role, Socket as Held};
use crate::driver::world::{Adopted, Report, World};
use crate::endpoint::Endpoint;
use crate::handed_in::HandedIn;
use crate::options::ListenOptions;
use crate::peer::Peer;
#[cfg(test)]
use crate::protocol::decisions::{Flaw, planted};
use crate::protocol::{Core, Wanted};

use super::faults::Faults;
use super::net::{SharedNet, Socket};
use super::rng::Rng;
use super::written::StreamRecord;

/// What is said of a socket that cannot be polled.
pub(super) const HIDDEN: &str = "a layer hides the socket below: remove the layer";

/// A socket of the network's. It is closed when it is dropped, as a descriptor is.
pub(super) struct Handle {
    pub(super) socket: Socket,
    net: SharedNet,
    is_abortive: Cell<bool>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // While a failed check unwinds nobody needs it.
        if let Ok(mut net) = self.net.try_borrow_mut() {
            let now = net.now;
            net.close(self.socket, self.is_abortive.get(), now);
        }
    }
}

/// What the network noted of a channel's connection, at its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkRecord {
    pub(super) own: StreamRecord,
    pub(super) peer: StreamRecord,
    /// For how long the network would have taken more bytes.
    pub(super) takes_for: Option<Duration>,
}

/// A socket that the poller holds.
struct Source {
    owned: Owned<Outside>,
    role: Role,
    wanted: Wanted,
    /// Nothing is reported of it until its interest is declared again.
    is_refused: bool,
}

impl Source {
    fn handle(&self) -> &Handle {
        match &self.owned {
            Owned::Listener(handle) | Owned::Stream(handle) => handle,
        }
    }

    fn held(&self) -> Held<'_, Outside> {
        Held::new(&self.owned, &self.role)
    }
}

pub(super) struct Outside {
    net: SharedNet,
    sources: BTreeMap<u64, Source>,
    place_next: u64,
    /// Places to arm before the next wait.
    touched: Vec<u64>,
    /// Refused, and not yet reported.
    refused: VecDeque<(u64, Error)>,
    batch: VecDeque<(u64, Report)>,
    rng: Rng,
    /// Names to resolve, and when that is done.
    pub(super) questions: Vec<(Instant, RecordKey, String, u16)>,
    /// What was noted of connections, when they were closed.
    pub(super) links: Vec<(RecordKey, LinkRecord)>,
    pub(super) faults: Faults,
    /// Who was to go on a pass ago.
    stale: Option<RecordKey>,
    /// How often it was asked to do something.
    pub(super) calls: Cell<u64>,
    pub(super) shortages: Cell<u64>,
}

impl Outside {
    pub(super) fn new(net: &SharedNet, rng: Rng) -> Self {
        Outside {
            net: SharedNet::clone(net),
            sources: BTreeMap::new(),
            place_next: 0,
            touched: Vec::new(),
            refused: VecDeque::new(),
            batch: VecDeque::new(),
            rng,
            questions: Vec::new(),
            links: Vec::new(),
            faults: Faults::default(),
            stale: None,
            calls: Cell::new(0),
            shortages: Cell::new(0),
        }
    }

    fn handle(&self, socket: Socket) -> Handle {
        Handle {
            socket,
            net: SharedNet::clone(&self.net),
            is_abortive: Cell::new(false),
        }
    }

    /// Has every connection armed anew.
    pub(super) fn touch_all(&mut self) {
        for (&place, source) in &self.sources {
            if let Held::Connected(_) = source.held() {
                self.touched.push(place);
            }
        }
        self.arm();
    }

    fn count_call(&self) {
        self.calls.set(self.calls.get() + 1);
    }

    /// Has the system poll what is wanted now, as a wait does first; it may refuse.
    pub(super) fn arm(&mut self) {
        let (chance, passing) = {
            let temper = &self.net.borrow().temper;
            (temper.refusals, temper.passing)
        };
        for place in std::mem::take(&mut self.touched) {
            let Some(source) = self.sources.get_mut(&place) else {
                continue;
            };
            let is_wanted = source.wanted != Wanted::default() && !source.is_refused;
            if !is_wanted || !self.rng.chance(chance) {
                continue;
            }
            source.is_refused = true;
            let for_now = [ErrorKind::OutOfMemory, ErrorKind::StorageFull];
            let for_good = [ErrorKind::Unsupported, ErrorKind::PermissionDenied];
            let is_for_now = self.rng.chance(passing);
            let kinds = if is_for_now { for_now } else { for_good };
            let kind = kinds[self.rng.below(kinds.len())];
            self.refused.push_back((place, Error::new(kind, HIDDEN)));
            match source.held() {
                Held::Connected(_) => {
                    self.faults.refused += 1;
                    self.faults.refused_for_now += u64::from(is_for_now);
                }
                _ => self.faults.refused_others += 1,
            }
        }
    }

    /// Whether a wait would return.
    pub(super) fn is_ready(&self) -> bool {
        let mut sources = self.sources.values();
        !self.refused.is_empty() || sources.any(|source| self.readiness(source) != (false, false))
    }

    fn readiness(&self, source: &Source) -> (bool, bool) {
        if source.is_refused {
            return (false, false);
        }
        let net = self.net.borrow();
        let (readable, writable) = net.readiness(source.handle().socket, net.now);
        let wanted = source.wanted;
        (readable && wanted.readable, writable && wanted.writable)
    }

    /// What is ready, with some that is not.
    fn collect(&mut self) -> Vec<(u64, Report)> {
        let chance = self.net.borrow().temper.spurious;
        let mut found: Vec<(u64, Report)> = Vec::new();
        for (place, error) in self.refused.drain(..) {
            let Some(source) = self.sources.get(&place).filter(|it| it.is_refused) else {
                continue;
            };
            let report = Report {
                key: source.role.key,
                is_readable: source.wanted.readable,
                is_writable: source.wanted.writable,
                is_ended: false,
                refusal: Some(error),
            };
            found.push((place, report));
        }
        for (&place, source) in &self.sources {
            let (mut is_readable, mut is_writable) = self.readiness(source);
            if !source.is_refused && self.rng.chance(chance) {
                let before = (is_readable, is_writable);
                let wanted = source.wanted;
                (is_readable, is_writable) = (wanted.readable, wanted.writable);
                if before != (is_readable, is_writable) {
                    match source.held() {
                        Held::Connecting(_) => self.faults.undecided += 1,
                        _ => self.faults.spurious += 1,
                    }
                }
            }
            if is_readable || is_writable {
                let key = source.role.key;
                let report = Report {
                    key,
                    is_readable,
                    is_writable,
                    is_ended: false,
                    refusal: None,
                };
                found.push((place, report));
            }
        }
        found
    }
}

impl Outside {
    /// Notes what became of a connection, as the core is done with it.
    fn note_link(&mut self, source: &Source) {
        let Held::Connected(handle) = source.held() else {
            return;
        };
        let mut net = self.net.borrow_mut();
        if let Some(peer) = net.peer(handle.socket) {
            let (own, peer) = (net.record(handle.socket), net.record(peer));
            let takes_for = net.takes_for(handle.socket);
            let link = LinkRecord {
                own,
                peer,
                takes_for,
            };
            self.links.push((source.role.key, link));
        }
    }
}

impl World for Outside {
    type Stream = Handle;
    type Listener = Handle;
    type Place = u64;

    fn now(&self) -> Instant {
        self.net.borrow().now
    }

    fn connect(&self, address: Endpoint) -> io::Result<Handle> {
        self.count_call();
        let mut net = self.net.borrow_mut();
        let now = net.now;
        let socket = net.connect(&address, now)?;
        drop(net);
        Ok(self.handle(socket))
    }

    fn finish_connect(&self, stream: &Handle) -> io::Result<bool> {
        self.net.borrow_mut().finish_connect(stream.socket)
    }

    fn listen(
        &self,
        address: Endpoint,
        backlog: u32,
        _: &ListenOptions,
    ) -> io::Result<(Handle, Endpoint)> {
        self.count_call();
        let mut net = self.net.borrow_mut();
        let socket = net.listen(&address, backlog as usize)?;
        let bound = net.bound(socket);
        drop(net);
        Ok((self.handle(socket), bound))
    }

    fn adopt(&self, _: HandedIn) -> Adopted<Self> {
        unreachable!("no simulation hands in a socket of the system's")
    }

    fn accept(&self, listener: &Handle) -> io::Result<(Handle, Peer)> {
        let mut net = self.net.borrow_mut();
        let socket = net.accept(listener.socket)?;
        let peer = Peer::at(net.remote(socket));
        drop(net);
        Ok((self.handle(socket), peer))
    }

    fn peer(&self, stream: &Handle) -> io::Result<Peer> {
        Ok(Peer::at(self.net.borrow_mut().remote(stream.socket)))
    }

    fn recv(&self, stream: &Handle, buffer: &mut [u8]) -> io::Result<usize> {
        let mut net = self.net.borrow_mut();
        let now = net.now;
        net.read(stream.socket, buffer, now)
    }

    fn peek(&self, stream: &Handle) -> io::Result<usize> {
        let mut net = self.net.borrow_mut();
        let now = net.now;
        net.peek(stream.socket, now)
    }

    fn send_vectored(&self, stream: &Handle, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut net = self.net.borrow_mut();
        let (now, chance) = (net.now, net.temper.shortages);
        if net.rng.chance(chance) {
            self.shortages.set(self.shortages.get() + 1);
            return Err(ErrorKind::OutOfMemory.into());
        }
        net.write(stream.socket, slices, now)
    }

    fn failure(&self, stream: &Handle) -> Option<io::Error> {
        let now = self.now();
        let is_reset = self.net.borrow_mut().is_reset(stream.socket, now);
        is_reset.then(|| ErrorKind::ConnectionReset.into())
    }

    fn shutdown_write(&self, stream: &Handle) -> io::Result<()> {
        let mut net = self.net.borrow_mut();
        let now = net.now;
        net.shut_write(stream.socket, now);
        Ok(())
    }

    fn set_abortive(&self, stream: &Handle) -> io::Result<()> {
        stream.is_abortive.set(true);
        Ok(())
    }

    fn set_keep_alive(
        &self,
        _stream: &Handle,
        _idle: Duration,
        _give_up: Duration,
    ) -> io::Result<()> {
        Ok(())
    }

    fn insert(&mut self, owned: Owned<Self>, role: Role) -> io::Result<u64> {
        self.count_call();
        if self.net.borrow_mut().hides_next() {
            self.faults.hidden += 1;
            return Err(Error::new(ErrorKind::Unsupported, HIDDEN));
        }
        let place = self.place_next;
        self.place_next += 1;
        let source = Source {
            owned,
            role,
            wanted: Wanted::default(),
            is_refused: false,
        };
        self.sources.insert(place, source);
        Ok(place)
    }

    fn get(&self, place: u64) -> Option<(&Owned<Self>, &Role)> {
        let source = self.sources.get(&place)?;
        Some((&source.owned, &source.role))
    }

    fn role_mut(&mut self, place: u64) -> Option<&mut Role> {
        self.sources.get_mut(&place).map(|source| &mut source.role)
    }

    fn close(&mut self, place: u64) {
        self.count_call();
        let Some(source) = self.sources.remove(&place) else {
            return;
        };
        if let Held::Connecting(handle) = source.held() {
            let outcome = self.net.borrow_mut().finish_connect(handle.socket);
            self.faults.beaten += u64::from(matches!(outcome, Ok(true)));
        }
        // Of one that has parted it was noted before, and the core knows no such key.
        self.note_link(&source);
    }

    fn part(&mut self, place: u64, key: RecordKey) {
        if let Some(mut source) = self.sources.remove(&place) {
            self.note_link(&source);
            source.role.key = key;
            self.sources.insert(place, source);
        }
    }

    fn set_interest(&mut self, place: u64, wanted: Wanted) {
        if let Some(source) = self.sources.get_mut(&place) {
            source.wanted = wanted;
            source.is_refused = false;
            // Once, however often its interest is declared.
            if !self.touched.contains(&place) {
                self.touched.push(place);
            }
        }
    }

    /// Never sleeps: it is called when there is something to wake up for.
    fn wait(&mut self, _until: Option<Instant>) -> io::Result<bool> {
        self.arm();
        let mut found = self.collect();
        self.rng.shuffle(&mut found);
        let (partial, rearms) = {
            let temper = &self.net.borrow().temper;
            (temper.partial, temper.rearms)
        };
        if found.len() > 1 && self.rng.chance(partial) {
            self.faults.partial += 1;
            let kept = self.rng.between(1, found.len() - 1);
            for (place, report) in found.split_off(kept) {
                // What is ready stays so; a refusal is said once.
                self.refused
                    .extend(report.refusal.map(|error| (place, error)));
            }
        }
        if rearms {
            self.touched.extend(found.iter().map(|&(place, _)| place));
        }
        self.batch = found.into();
        Ok(false)
    }

    fn next_report(&mut self) -> Option<Report> {
        loop {
            let (place, report) = self.batch.pop_front()?;
            if self.sources.contains_key(&place) {
                return Some(report);
            }
        }
    }

    fn resolve(&mut self, key: RecordKey, host: String, port: u16) {
        self.count_call();
        let within = Duration::from_micros(self.rng.between(1, 20_000) as u64);
        let at = self.now() + within;
        self.questions.push((at, key, host, port));
    }

    fn forget(&mut self, key: RecordKey) {
        self.questions.retain(|&(_, asked, ..)| asked != key);
    }

    fn to_resume(&mut self, core: &Core) -> Option<RecordKey> {
        let now = core.poll_resume();
        #[cfg(test)]
        if planted(Flaw::ResumeIsStale) {
            return std::mem::replace(&mut self.stale, now);
        }
        now
    }
}

//! A network of byte streams under a virtual clock, with the manners of the real ones: latency,
//! small buffers, reads and writes cut short, orderly ends, resets that swallow data, backlogs.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, IoSlice};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::endpoint::Endpoint;

use super::faults::Faults;
use super::pipe::Pipe;
use super::rng::Rng;
use super::temper::Temper;
use super::written::{StreamRecord, Written};

/// One end of a stream, or a listener. Never used again within a run.
pub(super) type Socket = usize;

/// Nobody answers at this port: attempts hang.
pub(super) const SILENT_PORT: u16 = 9;
/// Attempts at this port are refused.
pub(super) const REFUSING_PORT: u16 = 7;

/// When the first packet of an attempt is sent again. Real systems take a second; here it is as long as
/// the next of a host's addresses is waited with, so that two attempts succeed at once.
const SENT_AGAIN: Duration = Duration::from_millis(250);

/// The network as each engine's world has it.
pub(super) type SharedNet = Rc<RefCell<Net>>;

pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) rng: Rng,
    pub(super) temper: Temper,
    sockets: Vec<State>,
    places: BTreeMap<Place, Socket>,
    /// Streams whose attempt to connect is undecided.
    dialling: Vec<Socket>,
    /// How the next accepts fail.
    pub(super) accept_errors: VecDeque<ErrorKind>,
    port_next: u16,
    /// What the network did, so that an idle pass can be told from a useful one.
    pub(super) activity: u64,
    pub(super) faults: Faults,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    Port(u16),
    Path(PathBuf),
}

enum State {
    Listener(Listener),
    Stream(Box<Stream>),
}

struct Listener {
    is_open: bool,
    backlog: usize,
    waiting: VecDeque<Socket>,
    endpoint: Endpoint,
}

struct Stream {
    is_open: bool,
    peer: Option<Socket>,
    dial: Option<Dial>,
    arriving: Pipe,
    /// Where the peer is, for the side that connected.
    remote: Endpoint,
    has_shut: bool,
    record: StreamRecord,
    written: Written,
}

enum Dial {
    Pending { at: Instant, place: Option<Place> },
    Established,
    Failed(ErrorKind),
}

impl Net {
    pub(super) fn new(rng: Rng, temper: Temper) -> Self {
        Net {
            now: Instant::now() + Duration::from_secs(1000),
            rng,
            temper,
            sockets: Vec::new(),
            places: BTreeMap::new(),
            dialling: Vec::new(),
            accept_errors: VecDeque::new(),
            port_next: 1000,
            activity: 0,
            faults: Faults::default(),
        }
    }

    fn stream(&mut self, socket: Socket) -> &mut Stream {
        match &mut self.sockets[socket] {
            State::Stream(stream) => stream,
            State::Listener(_) => panic!("socket {socket} is a listener"),
        }
    }

    fn listener(&mut self, socket: Socket) -> &mut Listener {
        match &mut self.sockets[socket] {
            State::Listener(listener) => listener,
            State::Stream(_) => panic!("socket {socket} is a stream"),
        }
    }

    fn latency(&mut self) -> Duration {
        let most = self.temper.latency_most.as_micros() as usize;
        Duration::from_micros(self.rng.between(0, most) as u64)
    }

    pub(super) fn record(&mut self, socket: Socket) -> StreamRecord {
        self.stream(socket).record
    }

    pub(super) fn peer(&mut self, socket: Socket) -> Option<Socket> {
        self.stream(socket).peer
    }

    pub(super) fn listen(&mut self, endpoint: &Endpoint, backlog: usize) -> io::Result<Socket> {
        let (place, bound) = match endpoint {
            Endpoint::Tcp(address) => {
                let mut bound = *address;
                if bound.port() == 0 {
                    bound.set_port(self.port_next);
                    self.port_next += 1;
                }
                (Place::Port(bound.port()), Endpoint::Tcp(bound))
            }
            Endpoint::Uds(path) => {
                let path = path.clone().unwrap_or_default();
                (Place::Path(path), endpoint.clone())
            }
        };
        let is_taken = self.places.contains_key(&place);
        if is_taken || place == Place::Port(REFUSING_PORT) {
            return Err(ErrorKind::AddrInUse.into());
        }
        let socket = self.sockets.len();
        self.places.insert(place, socket);
        self.sockets.push(State::Listener(Listener {
            is_open: true,
            backlog,
            waiting: VecDeque::new(),
            endpoint: bound,
        }));
        Ok(socket)
    }

    pub(super) fn bound(&mut self, socket: Socket) -> Endpoint {
        self.listener(socket).endpoint.clone()
    }

    /// Starts to connect. Unix sockets decide at once, as they do on real systems.
    pub(super) fn connect(&mut self, endpoint: &Endpoint, now: Instant) -> io::Result<Socket> {
        self.activity += 1;
        let place = match endpoint {
            Endpoint::Tcp(address) => Place::Port(address.port()),
            Endpoint::Uds(path) => Place::Path(path.clone().unwrap_or_default()),
        };
        if let Place::Path(_) = place {
            let listener = self.places.get(&place).copied();
            let listener = listener.ok_or(io::Error::from(ErrorKind::NotFound))?;
            let state = self.listener(listener);
            if state.waiting.len() >= state.backlog {
                return Err(ErrorKind::WouldBlock.into());
            }
            let socket = self.new_stream(endpoint.clone(), Some(Dial::Established));
            self.establish(socket, listener);
            return Ok(socket);
        }
        let is_silent = place == Place::Port(SILENT_PORT);
        let mut at = now + self.latency();
        if self.temper.lost > 0 && self.rng.chance(self.temper.lost) {
            at += SENT_AGAIN;
        }
        let dial = Dial::Pending {
            at,
            place: (!is_silent).then_some(place),
        };
        let socket = self.new_stream(endpoint.clone(), Some(dial));
        self.dialling.push(socket);
        Ok(socket)
    }

    fn new_stream(&mut self, remote: Endpoint, dial: Option<Dial>) -> Socket {
        let stream = Stream {
            is_open: true,
            peer: None,
            dial,
            arriving: Pipe::new(),
            remote,
            has_shut: false,
            record: StreamRecord::default(),
            written: Written::default(),
        };
        self.sockets.push(State::Stream(Box::new(stream)));
        self.sockets.len() - 1
    }

    fn establish(&mut self, client: Socket, listener: Socket) {
        let remote = Endpoint::Tcp(([10, 0, 0, 1], 40_000).into());
        let server = self.new_stream(remote, None);
        self.stream(server).peer = Some(client);
        self.stream(client).peer = Some(server);
        self.listener(listener).waiting.push_back(server);
    }

    /// Decides the attempts to connect whose time has come.
    pub(super) fn tick(&mut self, now: Instant) {
        let mut dialling = std::mem::take(&mut self.dialling);
        dialling.retain(|&socket| !self.decide(socket, now));
        self.dialling = dialling;
    }

    /// Decides one attempt. Returns whether there is nothing more to decide about it.
    fn decide(&mut self, socket: Socket, now: Instant) -> bool {
        let stream = self.stream(socket);
        if !stream.is_open {
            return true;
        }
        let place = match &stream.dial {
            Some(Dial::Pending {
                at,
                place: Some(place),
            }) if *at <= now => place.clone(),
            _ => return false,
        };
        let Some(&listener) = self.places.get(&place) else {
            self.stream(socket).dial = Some(Dial::Failed(ErrorKind::ConnectionRefused));
            return true;
        };
        let state = self.listener(listener);
        if state.waiting.len() >= state.backlog {
            // Asks again, as systems do.
            let at = now + Duration::from_millis(5);
            let place = Some(place);
            self.stream(socket).dial = Some(Dial::Pending { at, place });
            return false;
        }
        self.establish(socket, listener);
        self.stream(socket).dial = Some(Dial::Established);
        true
    }

    /// `Ok(false)` while the attempt is undecided.
    pub(super) fn finish_connect(&mut self, socket: Socket) -> io::Result<bool> {
        match self.stream(socket).dial {
            None | Some(Dial::Established) => Ok(true),
            Some(Dial::Pending { .. }) => Ok(false),
            Some(Dial::Failed(kind)) => Err(kind.into()),
        }
    }

    pub(super) fn remote(&mut self, socket: Socket) -> Endpoint {
        self.stream(socket).remote.clone()
    }

    /// Whether the poller refuses a socket, as where a layer hides the one below that is polled.
    pub(super) fn hides_next(&mut self) -> bool {
        self.temper.hidden > 0 && self.rng.chance(self.temper.hidden)
    }

    pub(super) fn accept(&mut self, listener: Socket) -> io::Result<Socket> {
        let failures = self.temper.accept_failures;
        if self.listener(listener).waiting.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if let Some(kind) = self.accept_errors.pop_front() {
            return Err(kind.into());
        }
        if self.rng.chance(failures) {
            self.faults.accepts += 1;
            let kinds = [ErrorKind::Other, ErrorKind::ConnectionAborted];
            let kind = kinds[self.rng.below(2)];
            return Err(kind.into());
        }
        self.activity += 1;
        let waiting = self.listener(listener).waiting.pop_front();
        Ok(waiting.expect("checked above"))
    }

    pub(super) fn write(
        &mut self,
        socket: Socket,
        slices: &[IoSlice<'_>],
        now: Instant,
    ) -> io::Result<usize> {
        if self.stream(socket).arriving.is_reset(now) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        assert!(
            !self.stream(socket).has_shut,
            "nothing is written behind the end of the sending side"
        );
        let peer = self
            .stream(socket)
            .peer
            .expect("only what is connected is written to");
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let is_gone = !self.stream(peer).is_open;
        let capacity = self.temper.capacity;
        let free = if is_gone {
            offered
        } else {
            capacity.saturating_sub(self.stream(peer).arriving.len)
        };
        let mut len = offered.min(free);
        let is_full = len == 0;
        if is_full || self.rng.chance(self.temper.stall) {
            self.faults.stalled += u64::from(!is_full);
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.rng.chance(self.temper.cut) {
            self.faults.cut += 1;
            len = self.rng.between(1, len);
        }
        let mut bytes = Vec::with_capacity(len);
        for slice in slices {
            let left = len - bytes.len();
            bytes.extend_from_slice(&slice[..slice.len().min(left)]);
        }
        self.activity += 1;
        let stream = self.stream(socket);
        let is_first = !stream.written.has_begun();
        stream.written.count(&bytes, &mut stream.record);
        let is_secured = stream.written.is_secured();
        self.faults.secured += u64::from(is_first && is_secured);
        let at = self
            .stream(peer)
            .arriving
            .last_at
            .unwrap_or(now)
            .max(now + self.latency());
        if is_gone {
            let back = at + self.latency();
            self.reset(socket, back); // the peer's system knows of no such connection
            return Ok(len);
        }
        let pipe = &mut self.stream(peer).arriving;
        pipe.last_at = Some(at);
        pipe.len += len;
        pipe.chunks.push_back((at, bytes.into()));
        Ok(len)
    }

    fn reset(&mut self, socket: Socket, at: Instant) {
        self.faults.resets += 1;
        let stream = self.stream(socket);
        stream.record.was_reset = true;
        let before = stream.arriving.reset_at;
        stream.arriving.reset_at = Some(before.map_or(at, |before| before.min(at)));
    }

    pub(super) fn read(
        &mut self,
        socket: Socket,
        buffer: &mut [u8],
        now: Instant,
    ) -> io::Result<usize> {
        let swallows = self.temper.reset_swallows;
        let capacity = self.temper.capacity;
        let stalls = self.rng.chance(self.temper.stall);
        let cuts = self.rng.chance(self.temper.cut);
        let draw = self.rng.next() as usize;
        let stream = self.stream(socket);
        let is_reset = stream.arriving.is_reset(now);
        let reset_at = stream.arriving.reset_at;
        if is_reset && swallows {
            stream.arriving.clear();
            self.activity += 1;
            return Err(ErrorKind::ConnectionReset.into());
        }
        let survives =
            |at: Instant| at <= now && reset_at.is_none_or(|reset| at <= reset || !is_reset);
        let mut len = stream.arriving.available(survives).min(buffer.len());
        if len > 0 {
            if stalls {
                self.faults.stalled += 1;
                return Err(ErrorKind::WouldBlock.into());
            }
            if cuts {
                len = 1 + draw % len;
            }
            if stream.arriving.len >= capacity {
                stream.arriving.full_at = Some(now);
            }
            stream.arriving.take(&mut buffer[..len]);
            self.faults.cut += u64::from(cuts);
            self.activity += 1;
            return Ok(len);
        }
        if is_reset {
            self.activity += 1;
            return Err(ErrorKind::ConnectionReset.into());
        }
        if stream.arriving.end_at.is_some_and(|at| at <= now) && stream.arriving.chunks.is_empty() {
            stream.record.saw_end = true;
            self.activity += 1;
            return Ok(0);
        }
        Err(ErrorKind::WouldBlock.into())
    }

    /// As [`read`](Net::read) into one byte, which stays where it is.
    pub(super) fn peek(&mut self, socket: Socket, now: Instant) -> io::Result<usize> {
        let (readable, _) = self.readiness(socket, now);
        let swallows = self.temper.reset_swallows;
        let stream = self.stream(socket);
        let is_reset = stream.arriving.is_reset(now);
        if is_reset && (swallows || !stream.arriving.has_arrived(now)) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        match (readable, stream.arriving.has_arrived(now)) {
            (false, _) => Err(ErrorKind::WouldBlock.into()),
            (true, has_arrived) => Ok(usize::from(has_arrived)),
        }
    }

    pub(super) fn is_reset(&mut self, socket: Socket, now: Instant) -> bool {
        self.stream(socket).arriving.is_reset(now)
    }

    pub(super) fn shut_write(&mut self, socket: Socket, now: Instant) {
        self.activity += 1;
        if std::mem::replace(&mut self.stream(socket).has_shut, true) {
            return;
        }
        let at = now + self.latency();
        if let Some(peer) = self.stream(socket).peer {
            let pipe = &mut self.stream(peer).arriving;
            pipe.end_at = Some(pipe.last_at.map_or(at, |last| last.max(at)));
        }
    }

    /// Closes a stream as a system does: with an orderly end, or with a reset if it was asked for
    /// or something that had arrived was not read.
    pub(super) fn close(&mut self, socket: Socket, abortive: bool, now: Instant) {
        if let State::Listener(_) = self.sockets[socket] {
            return self.close_listener(socket, now);
        }
        let latency = self.latency();
        let stream = self.stream(socket);
        if !std::mem::replace(&mut stream.is_open, false) {
            return;
        }
        let has_unread = stream.arriving.has_arrived(now);
        let under_way = stream.arriving.last_at.filter(|_| stream.arriving.len > 0);
        stream.arriving.clear();
        let Some(peer) = stream.peer else { return };
        self.activity += 1;
        if abortive || has_unread {
            if self.rng.chance(50) {
                let pipe = &mut self.stream(peer).arriving;
                let kept = pipe.chunks.iter().take_while(|&&(at, _)| at <= now).count();
                pipe.chunks.truncate(kept);
                pipe.len = pipe.chunks.iter().map(|(_, bytes)| bytes.len()).sum();
            }
            return self.reset(peer, now + latency);
        }
        self.shut_write(socket, now);
        if let Some(at) = under_way {
            self.reset(peer, at + latency);
        }
    }

    fn close_listener(&mut self, socket: Socket, now: Instant) {
        self.places.retain(|_, listener| *listener != socket);
        let listener = self.listener(socket);
        listener.is_open = false;
        let waiting = std::mem::take(&mut listener.waiting);
        for server in waiting {
            self.close(server, true, now);
        }
    }

    /// Whether a socket can be read from or accepted from, and written to.
    pub(super) fn readiness(&self, socket: Socket, now: Instant) -> (bool, bool) {
        let stream = match &self.sockets[socket] {
            State::Listener(listener) => return (!listener.waiting.is_empty(), false),
            State::Stream(stream) => stream,
        };
        match stream.dial {
            Some(Dial::Pending { .. }) => return (false, false),
            Some(Dial::Failed(_)) => return (true, true),
            Some(Dial::Established) | None => {}
        }
        let pipe = &stream.arriving;
        let is_reset = pipe.is_reset(now);
        let ended = pipe.chunks.is_empty() && pipe.end_at.is_some_and(|at| at <= now);
        let is_writable = is_reset
            || stream.peer.is_none_or(|peer| match &self.sockets[peer] {
                State::Stream(peer) => !peer.is_open || peer.arriving.len < self.temper.capacity,
                State::Listener(_) => false,
            });
        (pipe.has_arrived(now) || ended || is_reset, is_writable)
    }

    /// Resets every connection that stands, for both of its ends.
    pub(super) fn break_all(&mut self) {
        let now = self.now;
        for socket in 0..self.sockets.len() {
            let stands = |state: &State| matches!(state, State::Stream(it) if it.is_open && it.peer.is_some());
            if stands(&self.sockets[socket]) {
                self.activity += 1;
                self.reset(socket, now);
            }
        }
    }

    /// Larger buffers, and no reads and writes cut short.
    pub(super) fn speed_up(&mut self) {
        self.temper.speed_up();
        for state in &mut self.sockets {
            if let State::Stream(stream) = state {
                stream.arriving.full_at = Some(self.now);
            }
        }
    }

    /// For how long it would have taken bytes that are sent to an open peer.
    pub(super) fn takes_for(&mut self, socket: Socket) -> Option<Duration> {
        let (now, capacity) = (self.now, self.temper.capacity);
        let peer = self.peer(socket)?;
        let peer = self.stream(peer);
        let pipe = &peer.arriving;
        let takes = peer.is_open && pipe.len < capacity;
        takes.then(|| pipe.full_at.map_or(Duration::ZERO, |at| now - at))
    }

    /// When something arrives next, or an attempt to connect is decided.
    pub(super) fn next_time(&self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut note = |at: Option<Instant>| {
            if let Some(at) = at.filter(|&at| at > now) {
                next = Some(next.map_or(at, |before| before.min(at)));
            }
        };
        for state in &self.sockets {
            let State::Stream(stream) = state else {
                continue;
            };
            if !stream.is_open {
                continue;
            }
            note(stream.arriving.chunks.front().map(|&(at, _)| at));
            note(stream.arriving.end_at);
            note(stream.arriving.reset_at);
            if let Some(Dial::Pending {
                at, place: Some(_), ..
            }) = stream.dial
            {
                note(Some(at));
            }
        }
        next
    }

    /// Bytes that are under way to a socket or wait to be read there.
    pub(super) fn unread(&mut self, socket: Socket) -> usize {
        self.stream(socket).arriving.len
    }
}

//! A network in memory and a backend over it, for tests.
//!
//! It shows that the contract asks for no descriptors, and no standing registrations either:
//! arming starts one operation, its completion ends it, and it is started again in the next pass
//! while the source is wanted.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::registrations::Registrations;
use super::{Backend, Fate, Sealed, SealedSource};
use crate::event::{Event, Events, Hints, Key};
use crate::interest::Interest;
use crate::poller::Source;
use crate::waker::Signal;

const CAPACITY: usize = 64;

/// The system's error at what cannot be polled: any number will do.
pub(crate) const REFUSAL: i32 = 1;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
pub(crate) struct Network {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By number; the lowest free number is used next, as with descriptors.
    ends: Vec<Option<End>>,
    bells: Vec<Weak<Bell>>,
}

enum End {
    Stream(Stream),
    Listener(Vec<u32>),
    /// Can be held, but not polled.
    Unpollable,
}

#[derive(Default)]
struct Stream {
    peer: Option<u32>,
    received: usize,
    /// The peer will send no more.
    is_ended: bool,
    is_broken: bool,
}

impl State {
    fn add(&mut self, end: End) -> u32 {
        let free = self.ends.iter().position(Option::is_none);
        let number = free.unwrap_or(self.ends.len());
        if number == self.ends.len() {
            self.ends.push(None);
        }
        self.ends[number] = Some(end);
        number as u32
    }

    fn stream(&mut self, number: u32) -> Option<&mut Stream> {
        match self.ends[number as usize].as_mut() {
            Some(End::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    fn add_pair(&mut self) -> (u32, u32) {
        let one = self.add(End::Stream(Stream::default()));
        let other = self.add(End::Stream(Stream {
            peer: Some(one),
            ..Stream::default()
        }));
        self.stream(one).unwrap().peer = Some(other);
        (one, other)
    }

    fn room(&mut self, number: u32) -> usize {
        let peer = self.stream(number).and_then(|stream| stream.peer);
        peer.and_then(|peer| self.stream(peer))
            .map_or(0, |peer| CAPACITY - peer.received)
    }

    fn readiness(&mut self, number: u32) -> Interest {
        let room = self.room(number);
        let mut readiness = Interest::NONE;
        match &self.ends[number as usize] {
            Some(End::Listener(backlog)) if !backlog.is_empty() => readiness = Interest::READABLE,
            Some(End::Stream(stream)) => {
                if stream.received > 0 || stream.is_ended {
                    readiness |= Interest::READABLE;
                }
                // Without a peer a write fails, and does not block.
                if room > 0 || stream.peer.is_none() {
                    readiness |= Interest::WRITABLE;
                }
                if stream.is_broken {
                    readiness = Interest::BOTH;
                }
            }
            _ => {}
        }
        readiness
    }
}

/// What is told of an end.
fn hints(end: Option<&End>) -> Hints {
    let Some(End::Stream(stream)) = end else {
        return Hints::NONE;
    };
    Hints::NONE
        .and(Hints::PEER_CLOSED, stream.is_ended)
        .and(Hints::RESET, stream.is_broken)
}

impl Network {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.state);
        let result = change(&mut state);
        state.bells.retain(|bell| bell.strong_count() > 0);
        let bells: Vec<_> = state.bells.iter().filter_map(Weak::upgrade).collect();
        drop(state);
        for bell in bells {
            lock(&bell.state).has_changed = true;
            bell.condition.notify_all();
        }
        result
    }
}

/// One end of a connection, or a listener.
pub(crate) struct Socket {
    handle: Handle,
}

#[derive(Clone)]
pub(crate) struct Handle {
    network: Arc<Network>,
    number: u32,
}

impl SealedSource<Handle> for Socket {}

impl Source<Handle> for Socket {
    fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Socket {
    fn new(network: &Arc<Network>, number: u32) -> Socket {
        let network = Arc::clone(network);
        Socket {
            handle: Handle { network, number },
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State, u32) -> T) -> T {
        let Handle { network, number } = &self.handle;
        network.change(|state| change(state, *number))
    }

    pub(crate) fn pair(network: &Arc<Network>) -> (Socket, Socket) {
        let (one, other) = network.change(State::add_pair);
        (Socket::new(network, one), Socket::new(network, other))
    }

    pub(crate) fn listen(network: &Arc<Network>) -> Socket {
        let number = network.change(|state| state.add(End::Listener(Vec::new())));
        Socket::new(network, number)
    }

    pub(crate) fn unpollable(network: &Arc<Network>) -> Socket {
        let number = network.change(|state| state.add(End::Unpollable));
        Socket::new(network, number)
    }

    pub(crate) fn connect(&self) -> Socket {
        let number = self.change(|state, listener| {
            let (one, other) = state.add_pair();
            if let Some(End::Listener(backlog)) = &mut state.ends[listener as usize] {
                backlog.push(other);
            }
            one
        });
        Socket::new(&self.handle.network, number)
    }

    pub(crate) fn refused(network: &Arc<Network>) -> Socket {
        let broken = Stream {
            is_broken: true,
            ..Stream::default()
        };
        let number = network.change(|state| state.add(End::Stream(broken)));
        Socket::new(network, number)
    }

    pub(crate) fn accept(&self) -> Option<Socket> {
        let number = self.change(|state, number| match &mut state.ends[number as usize] {
            Some(End::Listener(backlog)) if !backlog.is_empty() => Some(backlog.remove(0)),
            _ => None,
        })?;
        Some(Socket::new(&self.handle.network, number))
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.change(|state, number| state.stream(number).unwrap().is_broken)
    }

    /// Writes at most as much, and says how much.
    pub(crate) fn write(&self, length: usize) -> usize {
        self.change(|state, number| {
            let length = length.min(state.room(number));
            let peer = state.stream(number).and_then(|stream| stream.peer);
            if let Some(peer) = peer.and_then(|peer| state.stream(peer)) {
                peer.received += length;
            }
            length
        })
    }

    /// Reads at most as much; `None` if there is nothing yet.
    pub(crate) fn read(&self, length: usize) -> io::Result<Option<usize>> {
        self.change(|state, number| {
            let stream = state.stream(number).unwrap();
            if stream.is_broken {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let length = length.min(stream.received);
            stream.received -= length;
            Ok((length > 0 || stream.is_ended).then_some(length))
        })
    }

    pub(crate) fn shutdown(&self) {
        self.end(false);
    }

    pub(crate) fn reset(self) {
        self.end(true);
    }

    fn end(&self, breaks: bool) {
        self.change(|state, number| {
            let peer = state.stream(number).and_then(|stream| stream.peer);
            if let Some(peer) = peer.and_then(|peer| state.stream(peer)) {
                peer.is_ended = true;
                peer.is_broken |= breaks;
            }
        });
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.end(false);
        self.change(|state, number| {
            let peer = state.stream(number).and_then(|stream| stream.peer);
            if let Some(peer) = peer.and_then(|peer| state.stream(peer)) {
                peer.peer = None;
            }
            state.ends[number as usize] = None;
        });
    }
}

#[derive(Default)]
struct Bell {
    state: Mutex<BellState>,
    condition: Condvar,
}

#[derive(Default)]
struct BellState {
    was_signalled: bool,
    has_changed: bool,
}

impl Signal for Bell {
    fn send(&self) -> io::Result<()> {
        lock(&self.state).was_signalled = true;
        self.condition.notify_all();
        Ok(())
    }
}

/// Polls sockets of networks in memory, one operation at a time for each.
pub(crate) struct Scripted {
    bell: Arc<Bell>,
    /// Here `armed` is what the operation in flight asks for.
    registrations: Registrations<Handle>,
    calls: u64,
}

impl Sealed for Scripted {}

impl Backend for Scripted {
    type Handle = Handle;

    fn new() -> io::Result<Self> {
        Ok(Scripted {
            bell: Arc::default(),
            registrations: Registrations::new(),
            calls: 0,
        })
    }

    fn signal(&self) -> Arc<dyn Signal> {
        Arc::clone(&self.bell) as Arc<dyn Signal>
    }

    fn register(&mut self, key: Key, handle: Handle) -> io::Result<()> {
        let bell = Arc::downgrade(&self.bell);
        let mut state = lock(&handle.network.state);
        if !state.bells.iter().any(|known| known.ptr_eq(&bell)) {
            state.bells.push(bell);
        }
        drop(state);
        self.registrations.insert(key, handle);
        Ok(())
    }

    fn declare(&mut self, key: Key, interest: Interest) {
        self.registrations.declare(key, interest);
    }

    fn deregister(&mut self, key: Key, _fate: Fate) {
        self.registrations.remove(key);
    }

    fn reconcile(&mut self, events: &mut Events) -> io::Result<()> {
        while let Some(index) = self.registrations.next_touched() {
            let found = self.registrations.at(index).unwrap();
            self.calls += 1;
            let state = lock(&found.handle.network.state);
            let number = found.handle.number as usize;
            if matches!(state.ends[number], Some(End::Unpollable)) {
                if !found.wanted.is_empty() {
                    events.push(Event::refused(found.key, found.wanted, REFUSAL));
                }
            } else {
                found.armed = found.wanted;
            }
        }
        Ok(())
    }

    fn collect(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<bool> {
        self.calls += 1;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut bell = lock(&self.bell.state);
        loop {
            bell.has_changed = false;
            let was_signalled = std::mem::take(&mut bell.was_signalled);
            drop(bell);
            let mut completed = Vec::new();
            for found in self.registrations.iter_mut() {
                let mut state = lock(&found.handle.network.state);
                let readiness = state.readiness(found.handle.number);
                if !(readiness & found.armed).is_empty() {
                    let hints = hints(state.ends[found.handle.number as usize].as_ref());
                    let event = Event::new(found.key, readiness & found.armed);
                    events.push(event.with_hints(hints));
                    found.armed = Interest::NONE;
                    completed.push(found.key.index);
                }
            }
            let is_over = was_signalled || !completed.is_empty();
            for index in completed {
                self.registrations.touch(index);
            }
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            if is_over || left == Some(Duration::ZERO) {
                return Ok(was_signalled);
            }
            bell = lock(&self.bell.state);
            if !bell.has_changed && !bell.was_signalled {
                // Woken for no reason, it only looks once more.
                bell = match left {
                    None => self.bell.condition.wait(bell).unwrap(),
                    Some(left) => self.bell.condition.wait_timeout(bell, left).unwrap().0,
                };
            }
        }
    }

    fn calls(&self) -> u64 {
        self.calls
    }
}

//! Sockets of the simulated kernel: streams and listeners in memory.

use std::sync::Arc;

use super::{Endpoint, Handle, Kernel, Kind, State};
use crate::nt::flag;
use crate::poller::Source;
use crate::sys::SealedSource;

const CAPACITY: usize = 64;

/// What a socket is about, besides being polled.
#[derive(Debug, Default)]
pub(super) enum Connection {
    /// A socket whose flags the test sets itself.
    #[default]
    Bare,
    Stream(Stream),
    Listener(Vec<u32>),
}

impl Connection {
    /// Whether its peer still names it.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self, Connection::Stream(stream) if stream.is_named)
    }
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    peer: Option<u32>,
    /// The peer, or a backlog, names this one.
    is_named: bool,
    received: usize,
    is_ended: bool,
    is_broken: bool,
    is_refused: bool,
}

impl State {
    fn stream(&mut self, number: u32) -> Option<&mut Stream> {
        match &mut self.endpoint(number)?.connection {
            Connection::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    fn add(&mut self, connection: Connection) -> u32 {
        self.create(Kind::Endpoint(Endpoint {
            connection,
            ..Endpoint::default()
        }))
    }

    fn add_pair(&mut self) -> (u32, u32) {
        let new = || {
            Connection::Stream(Stream {
                is_named: true,
                ..Stream::default()
            })
        };
        let (one, other) = (self.add(new()), self.add(new()));
        self.stream(one).unwrap().peer = Some(other);
        self.stream(other).unwrap().peer = Some(one);
        (one, other)
    }

    fn peer(&mut self, number: u32) -> Option<u32> {
        self.stream(number)?.peer
    }

    fn room(&mut self, number: u32) -> usize {
        let peer = self.peer(number);
        peer.and_then(|peer| self.stream(peer))
            .map_or(0, |peer| CAPACITY - peer.received)
    }

    /// Computes the flags of a socket anew.
    fn refresh(&mut self, number: u32) {
        let room = self.room(number);
        let Some(endpoint) = self.endpoint(number) else {
            return;
        };
        let events = match &endpoint.connection {
            Connection::Bare => return,
            Connection::Listener(backlog) if backlog.is_empty() => 0,
            Connection::Listener(_) => flag::ACCEPT,
            Connection::Stream(stream) if stream.is_refused => flag::CONNECT_FAIL,
            Connection::Stream(stream) => {
                let mut events = 0;
                if stream.received > 0 {
                    events |= flag::RECEIVE;
                }
                if stream.is_ended {
                    events |= flag::DISCONNECT;
                }
                if stream.is_broken {
                    events |= flag::ABORT;
                }
                if room > 0 || stream.peer.is_none() {
                    events |= flag::SEND;
                }
                events
            }
        };
        self.set_events(number, events);
    }

    fn refresh_both(&mut self, number: u32) {
        self.refresh(number);
        if let Some(peer) = self.peer(number) {
            self.refresh(peer);
        }
    }

    /// The last handle of a socket was closed.
    pub(super) fn hang_up(&mut self, number: u32) {
        let Some(peer) = self.peer(number) else {
            return;
        };
        if let Some(stream) = self.stream(number) {
            stream.peer = None;
        }
        if let Some(stream) = self.stream(peer) {
            stream.peer = None;
            stream.is_named = false;
            // A reset is no end: AFD tells of the one or the other.
            stream.is_ended |= !stream.is_broken;
        }
        self.refresh(peer);
        if let Some(stream) = self.stream(number) {
            stream.is_named = false;
        }
        self.forget_file(peer);
    }
}

/// A socket of the simulated kernel, which it closes when it is dropped.
pub(crate) struct Socket {
    kernel: Arc<Kernel>,
    handle: Handle,
}

impl SealedSource<Handle> for Socket {}

impl Source<Handle> for Socket {
    fn handle(&self) -> Handle {
        self.handle
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.kernel.change(|state| state.close(self.handle));
    }
}

impl Socket {
    fn open(kernel: &Arc<Kernel>, file: u32) -> Socket {
        let handle = kernel.change(|state| state.open(file));
        let kernel = Arc::clone(kernel);
        Socket { kernel, handle }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State, u32) -> T) -> T {
        self.kernel.change(|state| {
            let number = state.number(self.handle).unwrap();
            change(state, number)
        })
    }

    /// A socket whose flags are set by hand.
    pub(crate) fn bare(kernel: &Arc<Kernel>) -> Socket {
        let file = kernel.change(|state| state.add(Connection::Bare));
        Socket::open(kernel, file)
    }

    /// The same below a layer of somebody else's.
    pub(crate) fn layered(kernel: &Arc<Kernel>) -> Socket {
        let socket = Socket::bare(kernel);
        socket.change(|state, number| state.endpoint(number).unwrap().is_layered = true);
        socket
    }

    /// One more handle for the socket of this one.
    pub(crate) fn another(kernel: &Arc<Kernel>, handle: Handle) -> Socket {
        let handle = kernel.duplicate(handle);
        let kernel = Arc::clone(kernel);
        Socket { kernel, handle }
    }

    /// One more handle for the same socket.
    pub(crate) fn duplicate(&self) -> Socket {
        Socket::another(&self.kernel, self.handle)
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }

    pub(crate) fn pair(kernel: &Arc<Kernel>) -> (Socket, Socket) {
        let (one, other) = kernel.change(State::add_pair);
        kernel.change(|state| state.refresh_both(one));
        (Socket::open(kernel, one), Socket::open(kernel, other))
    }

    pub(crate) fn listen(kernel: &Arc<Kernel>) -> Socket {
        let file = kernel.change(|state| state.add(Connection::Listener(Vec::new())));
        Socket::open(kernel, file)
    }

    /// Something that AFD does not poll.
    pub(crate) fn unpollable(kernel: &Arc<Kernel>) -> Socket {
        let file = kernel.change(|state| state.create(Kind::Other));
        Socket::open(kernel, file)
    }

    pub(crate) fn refused(kernel: &Arc<Kernel>) -> Socket {
        let refused = Stream {
            is_refused: true,
            ..Stream::default()
        };
        let file = kernel.change(|state| state.add(Connection::Stream(refused)));
        kernel.change(|state| state.refresh(file));
        Socket::open(kernel, file)
    }

    pub(crate) fn connect(&self) -> Socket {
        let file = self.change(|state, listener| {
            let (one, other) = state.add_pair();
            state.refresh_both(one);
            if let Some(endpoint) = state.endpoint(listener)
                && let Connection::Listener(backlog) = &mut endpoint.connection
            {
                backlog.push(other);
            }
            state.refresh(listener);
            one
        });
        Socket::open(&self.kernel, file)
    }

    pub(crate) fn accept(&self) -> Option<Socket> {
        let file = self.change(|state, listener| {
            let found = match &mut state.endpoint(listener)?.connection {
                Connection::Listener(backlog) if !backlog.is_empty() => Some(backlog.remove(0)),
                _ => None,
            };
            state.refresh(listener);
            found
        })?;
        Some(Socket::open(&self.kernel, file))
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.change(|state, number| state.stream(number).unwrap().is_refused)
    }

    /// Writes at most as much, and says how much.
    pub(crate) fn write(&self, length: usize) -> usize {
        self.change(|state, number| {
            let length = length.min(state.room(number));
            let peer = state.peer(number);
            if let Some(peer) = peer.and_then(|peer| state.stream(peer)) {
                peer.received += length;
            }
            state.refresh_both(number);
            length
        })
    }

    /// Reads at most as much. `Ok(None)` if there is nothing yet, `Err` if the connection is reset.
    pub(crate) fn read(&self, length: usize) -> Result<Option<usize>, ()> {
        self.change(|state, number| {
            let stream = state.stream(number).unwrap();
            if stream.is_broken {
                return Err(());
            }
            let length = length.min(stream.received);
            stream.received -= length;
            let is_ended = stream.is_ended;
            state.refresh_both(number);
            Ok((length > 0 || is_ended).then_some(length))
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
            let peer = state.peer(number);
            if let Some(peer) = peer.and_then(|peer| state.stream(peer)) {
                peer.is_ended |= !breaks;
                peer.is_broken |= breaks;
            }
            state.refresh_both(number);
        });
    }
}

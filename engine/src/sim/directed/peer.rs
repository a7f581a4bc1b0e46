//! A peer that does what a scenario says, byte by byte.

use std::io::{ErrorKind, IoSlice};

use crate::address::Address;
use crate::channel::Channel;
use crate::endpoint::Endpoint;
use crate::wire::test_frames::frame;
use crate::wire::{Header, OpCode};

use super::super::net::Socket;
use super::super::world::World;
use super::until;

/// A connection to the first engine of a world.
pub(super) struct Peer {
    socket: Socket,
    /// The channel that the engine made of it.
    pub(super) channel: Channel,
    /// Read, and not yet a whole frame.
    partial: Vec<u8>,
    /// The frames that it read.
    pub(super) frames: Vec<OpCode>,
    /// It read the end of the stream.
    pub(super) saw_end: bool,
}

impl Peer {
    /// Connects and says hello, and waits until the application has it.
    pub(super) fn greet(world: &mut World, address: &Address) -> Self {
        let mut peer = Peer::connect(world, address);
        let before = world.members[0].channels.len();
        let hello = frame(OpCode::HelloRequest, 1, b"");
        assert_eq!(peer.write(world, &hello), hello.len());
        until(world, |world| world.members[0].channels.len() > before);
        peer.channel = world.members[0].channels[before];
        peer
    }

    /// Connects, and says nothing.
    pub(super) fn connect(world: &mut World, address: &Address) -> Self {
        let peer = Peer::dial(world, address);
        until(world, |world| {
            world
                .net
                .borrow_mut()
                .finish_connect(peer.socket)
                .is_ok_and(|it| it)
        });
        peer
    }

    /// Begins to connect.
    pub(super) fn dial(world: &mut World, address: &Address) -> Self {
        let port = address.port().expect("a TCP address");
        let at = Endpoint::Tcp(([127, 0, 0, 1], port).into());
        let now = world.now;
        let socket = world.net.borrow_mut().connect(&at, now).expect("TCP waits");
        Peer {
            socket,
            channel: world.members[0].listeners[0],
            partial: Vec::new(),
            frames: Vec::new(),
            saw_end: false,
        }
    }

    /// Writes what the system takes, and returns how much that is.
    pub(super) fn write(&self, world: &mut World, bytes: &[u8]) -> usize {
        let now = world.now;
        let outcome = world
            .net
            .borrow_mut()
            .write(self.socket, &[IoSlice::new(bytes)], now);
        match outcome {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("the engine ended it: {error}"),
        }
    }

    /// Reads so much at most of what has arrived.
    pub(super) fn read(&mut self, world: &mut World, most: usize) {
        let now = world.now;
        let mut buffer = vec![0; most];
        match world.net.borrow_mut().read(self.socket, &mut buffer, now) {
            Ok(0) => self.saw_end = true,
            Ok(len) => self.partial.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("P2: the engine broke off: {error}"),
        }
        self.take_frames();
    }

    fn take_frames(&mut self) {
        while let Some(fixed) = self.partial.first_chunk::<{ Header::LEN }>() {
            let length = |at: usize| usize::from(u16::from_be_bytes([fixed[at], fixed[at + 1]]));
            let whole = Header::LEN + length(12) + length(14);
            let op_code = OpCode::ALL[usize::from(fixed[2] & 0x0F)];
            if self.partial.len() < whole {
                return;
            }
            self.frames.push(op_code);
            self.partial.drain(..whole);
        }
    }

    /// Reads all that has arrived, whatever it is.
    pub(super) fn take(&mut self, world: &mut World) -> Vec<u8> {
        let (mut taken, mut buffer) = (Vec::new(), [0; 1000]);
        loop {
            let now = world.now;
            match world.net.borrow_mut().read(self.socket, &mut buffer, now) {
                Ok(0) => self.saw_end = true,
                Ok(len) => {
                    taken.extend_from_slice(&buffer[..len]);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("the engine broke off: {error}"),
            }
            return taken;
        }
    }

    /// How much there is to read.
    pub(super) fn unread(&self, world: &World) -> usize {
        world.net.borrow_mut().unread(self.socket)
    }

    /// Reads to the end. Whether that was a reset.
    pub(super) fn was_reset(&mut self, world: &mut World) -> bool {
        let mut buffer = vec![0; 10_000];
        loop {
            let now = world.now;
            let outcome = world.net.borrow_mut().read(self.socket, &mut buffer, now);
            match outcome {
                Ok(0) => return false,
                Ok(len) => self.partial.extend_from_slice(&buffer[..len]),
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
            self.take_frames();
        }
    }

    /// Closes its sending side.
    pub(super) fn shut(&self, world: &mut World) {
        let now = world.now;
        world.net.borrow_mut().shut_write(self.socket, now);
    }

    pub(super) fn close(&self, world: &mut World, is_abortive: bool) {
        let now = world.now;
        world.net.borrow_mut().close(self.socket, is_abortive, now);
    }
}

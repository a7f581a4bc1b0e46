//! Strangers: peers that are no engines and keep to no rules.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::endpoint::Endpoint;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::net::{Net, Socket};
use super::rng::Rng;

pub(super) struct Stranger {
    listener: Option<Socket>,
    port: u16,
    socket: Option<Socket>,
    to_send: VecDeque<u8>,
    end: End,
    at: Option<Instant>,
    has_shut: bool,
    /// Reads what it is sent, at least now and then.
    reads: bool,
    /// When it has had enough.
    until: Instant,
}

const PATIENCE: Duration = Duration::from_secs(8);
const SILENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy)]
enum End {
    Orderly,
    Reset,
    /// Goes silent, for a while that outlasts every timeout.
    Silent,
    /// Closes its sending side, and reads on.
    HalfClosed,
}

impl Stranger {
    /// Connects to an engine.
    pub(super) fn dial(net: &mut Net, rng: &mut Rng, to: SocketAddr, now: Instant) -> Self {
        let socket = net.connect(&Endpoint::Tcp(to), now).ok();
        Stranger {
            listener: None,
            port: 0,
            socket,
            to_send: draw_script(rng, true).into(),
            end: draw_end(rng),
            at: Some(now),
            has_shut: false,
            reads: rng.chance(70),
            until: now + PATIENCE,
        }
    }

    /// Waits for an engine to connect.
    pub(super) fn serve(net: &mut Net, rng: &mut Rng, now: Instant) -> Self {
        let any = Endpoint::Tcp(([127, 0, 0, 1], 0).into());
        let listener = net.listen(&any, 4).unwrap();
        let Endpoint::Tcp(bound) = net.bound(listener) else {
            panic!("an internet address stays one");
        };
        Stranger {
            listener: Some(listener),
            port: bound.port(),
            socket: None,
            to_send: draw_script(rng, false).into(),
            end: draw_end(rng),
            at: Some(now),
            has_shut: false,
            reads: rng.chance(70),
            until: now + PATIENCE,
        }
    }

    pub(super) fn address(&self) -> Option<Address> {
        self.listener
            .and_then(|_| Address::tcp("127.0.0.1", self.port).ok())
    }

    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    pub(super) fn next_time(&self) -> Option<Instant> {
        self.at
    }

    pub(super) fn act(&mut self, net: &mut Net, rng: &mut Rng, now: Instant) {
        self.at = Some(now + Duration::from_micros(rng.between(10, 3000) as u64));
        let Some(socket) = self.socket else {
            self.socket = self.listener.and_then(|listener| net.accept(listener).ok());
            if now > self.until {
                self.finish(net, now);
            }
            return;
        };
        if now > self.until {
            return self.close(net, socket, false, now);
        }
        match net.finish_connect(socket) {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => return self.close(net, socket, false, now),
        }
        if self.reads {
            let mut sink = [0; 8192];
            while matches!(net.read(socket, &mut sink, now), Ok(1..)) {}
        }
        if self.has_shut {
            return;
        }
        let bytes = self.to_send.make_contiguous();
        let len = bytes.len().min(rng.between(1, 5000));
        match net.write(socket, &[IoSlice::new(&bytes[..len])], now) {
            Ok(sent) => drop(self.to_send.drain(..sent)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return self.close(net, socket, false, now),
        }
        if !self.to_send.is_empty() {
            return;
        }
        match self.end {
            End::Orderly => self.close(net, socket, false, now),
            End::Reset => self.close(net, socket, true, now),
            End::HalfClosed => {
                self.has_shut = true;
                net.shut_write(socket, now);
            }
            End::Silent => {
                self.end = End::Orderly;
                self.to_send.push_back(0);
                self.at = Some(now + SILENCE);
            }
        }
    }

    fn close(&mut self, net: &mut Net, socket: Socket, abortive: bool, now: Instant) {
        net.close(socket, abortive, now);
        self.finish(net, now);
    }

    fn finish(&mut self, net: &mut Net, now: Instant) {
        if let Some(listener) = self.listener.take() {
            net.close(listener, false, now);
        }
        self.at = None;
    }
}

fn draw_end(rng: &mut Rng) -> End {
    [End::Orderly, End::Reset, End::Silent, End::HalfClosed][rng.below(4)]
}

/// Bytes that begin well, mostly, and end badly.
fn draw_script(rng: &mut Rng, says_hello: bool) -> Vec<u8> {
    let mut script = Vec::new();
    if says_hello && rng.chance(70) {
        append(
            &mut script,
            OpCode::HelloRequest as u8,
            1,
            rng.between(0, 300),
        );
    }
    for id in 0..rng.below(6) {
        let op_code = [0, 2, 1, 5][rng.below(4)];
        append(&mut script, op_code, 1 + id as u64, rng.between(0, 2000));
    }
    match rng.below(9) {
        0 => append(&mut script, 10 + rng.below(6) as u8, 1, 0),
        1 => append(&mut script, 8 + rng.below(2) as u8, 1, 0),
        2 => append(&mut script, OpCode::HelloRequest as u8, 2, 10),
        3 => append(&mut script, OpCode::ByeSignal as u8, 2, 10),
        4 => append(&mut script, 0x10 | OpCode::Signal as u8, 2, 10),
        5 => append(&mut script, OpCode::ByeResponse as u8, 0, 0),
        6 => append(&mut script, OpCode::ByeRequest as u8, 9, 0),
        7 => script.extend((0..rng.between(1, 500)).map(|_| rng.next() as u8)),
        _ => {
            append(&mut script, OpCode::Request as u8, 3, 60_000);
            let len = script.len() - rng.between(1, 59_000);
            script.truncate(len); // ends in the middle of a frame
        }
    }
    script
}

fn append(script: &mut Vec<u8>, proto: u8, id: u64, body_len: usize) {
    let mut bytes = frame(OpCode::Request, id, &vec![0xA5; body_len]);
    bytes[2] = proto;
    script.extend_from_slice(&bytes);
}

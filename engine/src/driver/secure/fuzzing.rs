//! What a fuzzer calls of handshakes and records. An ordinary test calls the same functions, so that they cannot
//! fall into disrepair.
//!
//! Each takes any bytes and panics only where something is wrong here.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::sync::OnceLock;

use super::{EMPTY_BYTES, HANDSHAKE_BYTES, READ_LEAST, READ_MOST, Secure, Wire};
use crate::address::Host;
use crate::tls::{Tls, TlsOptions};

/// What the ends of an untouched connection say to each other.
const SAID: &[u8] = &[b'.'; 3000];

/// Both ends have the same certificate and pin it.
fn tls() -> &'static Tls {
    static TLS: OnceLock<Tls> = OnceLock::new();
    TLS.get_or_init(|| {
        let chain = include_bytes!("fuzzing/own.pem");
        let key = include_bytes!("fuzzing/own.key");
        let own = || {
            let options = TlsOptions::new();
            let options = options.certificate_pem(chain, key);
            options.expect("a certificate and its key")
        };
        let pin = own().build().ok().and_then(|tls| tls.own_key_hash());
        let options = own().pin(pin.expect("a certificate has a key"));
        options.build().expect("options that work")
    })
}

fn client() -> Secure {
    let host = Host::new("127.0.0.1").expect("a host");
    let codec = tls().security().client(&host);
    Secure::new(codec.expect("it has whom to trust"))
}

fn server() -> Secure {
    let codec = tls().security().server();
    Secure::new(codec.expect("it has a certificate"))
}

/// One end's view of a connection.
struct Ends<'a> {
    from: &'a Way,
    to: &'a Way,
}

/// One direction of a connection, some of whose bytes are changed on the way.
#[derive(Default)]
struct Way {
    bytes: RefCell<VecDeque<u8>>,
    is_over: Cell<bool>,
    /// How many bytes have come so far.
    passed: Cell<usize>,
    changes: Vec<Change>,
    has_changed: Cell<bool>,
}

#[derive(Clone, Copy)]
struct Change {
    at: usize,
    kind: u8,
    value: u8,
}

impl Way {
    fn pass(&self, bytes: &[u8]) {
        for &byte in bytes {
            let at = self.passed.replace(self.passed.get() + 1);
            let mut way = self.bytes.borrow_mut();
            let Some(change) = self.changes.iter().find(|change| change.at == at) else {
                way.push_back(byte);
                continue;
            };
            self.has_changed.set(true);
            match change.kind % 4 {
                0 => way.push_back(byte ^ change.value),
                1 => way.extend([byte, change.value]),
                2 => {} // it is lost
                _ => way.extend(std::iter::repeat_n(byte, 2 + usize::from(change.value))),
            }
        }
    }
}

impl Wire for Ends<'_> {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.from.bytes.borrow_mut().read(buffer)? {
            0 if !self.from.is_over.get() => Err(ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.to.pass(bytes);
        Ok(bytes.len())
    }
}

/// Reads of one end until there is nothing more now. Returns whether it has ended.
fn has_ended_behind(end: &mut Secure, wire: &Ends<'_>, read: &mut Vec<u8>) -> bool {
    let (mut cipher, mut buffer) = (Vec::new(), [0; 700]);
    loop {
        match end.recv(wire, &mut cipher, &mut buffer) {
            Ok(0) => return true,
            Ok(len) => read.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let is_empty = wire.from.bytes.borrow().is_empty() && !wire.from.is_over.get();
                if !end.is_ready() && is_empty {
                    return false;
                }
            }
            Err(_) => return true,
        }
        assert!(end.input.len() <= READ_MOST, "what is kept is bounded");
        assert!(end.handshake_bytes <= HANDSHAKE_BYTES + READ_LEAST);
        assert!(end.empty_bytes <= EMPTY_BYTES + READ_LEAST);
    }
}

/// What a client begins with.
pub fn client_hello() -> Vec<u8> {
    let mut hello = Vec::new();
    client().codec.take_output(&mut hello);
    hello
}

/// A server, and a client, whose peer sends just these bytes and leaves. Neither takes it for a peer that has proven
/// anything, and nothing is received of it.
///
/// # Panics
///
/// If a property that must hold whatever a peer sends does not.
pub fn handshake(bytes: &[u8]) {
    for mut end in [server(), client()] {
        let (from, to) = (Way::default(), Way::default());
        let wire = Ends {
            from: &from,
            to: &to,
        };
        from.pass(bytes);
        from.is_over.set(true);
        let mut read = Vec::new();
        assert!(has_ended_behind(&mut end, &wire, &mut read), "it ends");
        assert!(read.is_empty() && end.take_identity().is_none());
    }
}

/// A client and a server that talk to each other over a wire that does to their bytes what these say: four for each
/// change. What either receives is the beginning of what the other said, and all of it if nothing was changed.
///
/// # Panics
///
/// If a property that must hold whatever happens to the bytes does not.
pub fn changed(bytes: &[u8]) {
    let mut ways: [Way; 2] = Default::default();
    for change in bytes.chunks_exact(4) {
        ways[usize::from(change[0] & 1)].changes.push(Change {
            at: usize::from(u16::from_be_bytes([change[1], change[2]]) % 8192),
            kind: change[0] >> 1,
            value: change[3],
        });
    }
    let [up, down] = &ways;
    let wires = [Ends { from: down, to: up }, Ends { from: up, to: down }];
    let (mut ends, mut read) = ([client(), server()], [Vec::new(), Vec::new()]);
    let mut has_ended = [false; 2];
    let mut cipher = Vec::new();
    let mut has_said = [0; 2];
    let mut is_shaken = false;
    for _ in 0..20 {
        for at in 0..2 {
            let (end, wire) = (&mut ends[at], &wires[at]);
            if at == 0 && !is_shaken {
                match end.shake(wire, &mut cipher) {
                    Ok(is_done) => is_shaken = is_done,
                    Err(_) => has_ended[at] = true,
                }
            }
            if at == 1 || is_shaken {
                has_ended[at] = has_ended[at] || has_ended_behind(end, wire, &mut read[at]);
            }
            while !has_ended[at] && !end.is_handshaking() && has_said[at] < SAID.len() {
                match end.send(wire, &[IoSlice::new(&SAID[has_said[at]..])]) {
                    Ok(said) => has_said[at] += said,
                    Err(_) => break,
                }
            }
            if has_ended[at] {
                wire.to.is_over.set(true);
            }
        }
    }
    let is_untouched = ways.iter().all(|way| !way.has_changed.get());
    for read in read {
        assert!(SAID.starts_with(&read), "nothing else than what was said");
        assert!(!is_untouched || read.len() == SAID.len(), "all of it");
    }
}

//! Connections whose frames travel in records.

use std::io::{IoSlice, Read};
use std::sync::atomic::AtomicBool;

use super::*;
use crate::address::Host;
use crate::tls::fake::{self, FakeCodec};
use crate::tls::{Codec, Fault, Security, Suite};

/// A peer that has finished its handshake.
pub(super) struct Peer {
    pub(super) tcp: TcpStream,
    codec: FakeCodec,
}

impl Peer {
    /// The records of some bytes.
    pub(super) fn says(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.codec.seal(&[IoSlice::new(plain)], &mut bytes).unwrap();
        bytes
    }

    /// So many records that hold nothing.
    pub(super) fn pings(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..count {
            self.codec.ping();
            self.codec.take_output(&mut bytes);
        }
        bytes
    }
}

pub(super) fn bench(limits: Limits) -> Bench {
    bench_with(limits, fake::security())
}

fn bench_with(limits: Limits, security: Security) -> Bench {
    // So long that no timeout ends anything.
    let options = Options {
        hello_timeout: Duration::from_secs(3600),
        ..Options::default()
    };
    let group = GroupShared::new(1, 0, 0).secured_by(Some(security));
    Bench::of(options, limits, group)
}

fn dial(bench: &mut Bench) -> TcpStream {
    let any = "tls://127.0.0.1:0".parse().unwrap();
    bench.posting.listen(&any).unwrap();
    let Event::Listening(listening) = bench.event() else {
        panic!("it listens")
    };
    TcpStream::connect(listening.address().socket_addr().unwrap()).unwrap()
}

/// An accepted connection whose peer has said hello.
pub(super) fn greeted(bench: &mut Bench) -> (RecordKey, Peer) {
    let mut tcp = dial(bench);
    let mut codec = FakeCodec::client();
    let mut bytes = fake::client_says(&frame(OpCode::HelloRequest, 1, b""));
    tcp.write_all(&bytes).unwrap();
    assert!(matches!(bench.event(), Event::Hello(_)));
    let is_connected =
        |key: &RecordKey| matches!(bench.sockets.get(*key), Some(Socket::Connected(_)));
    let key = bench.sockets.keys().into_iter().find(is_connected).unwrap();
    // Its codec learns what the server had to say.
    bytes.resize(200, 0);
    while codec.is_handshaking() {
        let read = tcp.read(&mut bytes).unwrap();
        codec.feed(&bytes[..read]).unwrap();
    }
    codec.take_output(&mut Vec::new());
    (key, Peer { tcp, codec })
}

/// What holds no messages costs work as well.
#[test]
fn a_pass_counts_what_it_reads_below_the_frames() {
    let mut bench = bench(LIMITS);
    let (key, mut peer) = greeted(&mut bench);
    let bytes = [peer.pings(10), peer.says(b"")].concat();
    peer.tcp.write_all(&bytes).unwrap();
    await_arrived(&bench, key, bytes.len());
    bench.bytes_left = 1000;
    bench.read(key, Instant::now());
    assert_eq!(bench.bytes_left, 1000 - bytes.len());
}

fn nothing() -> std::io::Error {
    let fault = Fault::NotSetUp("there is nothing to secure it with");
    fault.of_kind(std::io::ErrorKind::Unsupported)
}

/// Has what it takes until somebody comes.
#[derive(Debug, Default)]
struct Once {
    was_asked: AtomicBool,
}

impl Suite for Once {
    fn client(&self, _: &Host) -> std::io::Result<Box<dyn Codec>> {
        unreachable!("nobody is dialled")
    }

    fn server(&self) -> std::io::Result<Box<dyn Codec>> {
        match self.was_asked.swap(true, Ordering::Relaxed) {
            false => Ok(Box::new(FakeCodec::server())),
            true => Err(nothing()),
        }
    }
}

/// Never has what it takes.
#[derive(Debug)]
struct Never;

impl Suite for Never {
    fn client(&self, _: &Host) -> std::io::Result<Box<dyn Codec>> {
        Err(nothing())
    }

    fn server(&self) -> std::io::Result<Box<dyn Codec>> {
        Err(nothing())
    }
}

#[test]
fn where_nothing_can_be_secured_nobody_listens_or_connects() {
    let mut bench = bench_with(LIMITS, Security(Arc::new(Never)));
    let address = "tls://127.0.0.1:0".parse().unwrap();
    bench.posting.listen(&address).unwrap();
    assert!(matches!(bench.event(), Event::Closed(it) if it.reason() == Reason::NoTls));
    let address = "tls://127.0.0.1:9".parse().unwrap();
    bench.posting.connect(&address).unwrap();
    assert!(matches!(bench.event(), Event::Returned(it) if it.reason() == Reason::NoTls));
    assert!(matches!(bench.event(), Event::Closed(it) if it.reason() == Reason::NoTls));
    assert!(bench.sockets.keys().is_empty());
}

#[test]
fn who_comes_and_cannot_be_secured_is_not_served_in_the_clear() {
    let mut bench = bench_with(LIMITS, Security(Arc::new(Once::default())));
    let mut peer = dial(&mut bench);
    peer.write_all(&frame(OpCode::HelloRequest, 1, b""))
        .unwrap();
    bench.pass_until("its end", |bench| {
        let event = bench.inbox.try_recv();
        assert!(matches!(event, Ok(None)), "{event:?}");
        let ended = &bench.shared.counters.ended_before_hello;
        ended.load(Ordering::Relaxed) == 1
    });
    assert!(!matches!(peer.read(&mut [0]), Ok(1..)));
}

//! What strangers have computed here keeps nobody waiting.

use std::io::Read;

use super::*;
use crate::tls::Codec as _;
use crate::tls::fake::{self, FakeCodec};

const COUNT: usize = 10;

/// An engine that has accepted peers, each of which has sent its hello.
fn greeted(limits: Limits) -> (Bench, Vec<TcpStream>) {
    let group = GroupShared::new(1, 0, 0).secured_by(Some(fake::security()));
    let mut bench = Bench::of(Options::default(), limits, group);
    bench
        .posting
        .listen(&"tls://127.0.0.1:0".parse().unwrap())
        .unwrap();
    let Event::Listening(listening) = bench.event() else {
        panic!("it listens")
    };
    let at = listening.address().socket_addr().unwrap();
    let peers: Vec<_> = (0..COUNT)
        .map(|_| TcpStream::connect(at).unwrap())
        .collect();
    bench.pass_until("all to be accepted", |bench| {
        bench.sockets.keys().len() == COUNT + 1
    });
    let mut hello = Vec::new();
    FakeCodec::client().take_output(&mut hello);
    for peer in &peers {
        (&*peer).write_all(&hello).unwrap();
        peer.set_nonblocking(true).unwrap();
    }
    (bench, peers)
}

/// How many peers were answered in each pass, until all were.
fn answered(bench: &mut Bench, mut peers: Vec<TcpStream>) -> Vec<usize> {
    let mut passes = Vec::new();
    bench.pass_until("all to be answered", |_| {
        let before = peers.len();
        peers.retain_mut(|peer| peer.read(&mut [0; 200]).is_err());
        passes.push(before - peers.len());
        peers.is_empty()
    });
    passes
}

#[test]
fn a_pass_goes_on_with_so_many_handshakes_and_later_ones_with_the_rest() {
    let limits = Limits {
        handshakes_per_pass: 3,
        handshakes_time: PATIENCE,
        ..LIMITS
    };
    let (mut bench, peers) = greeted(limits);
    let passes = answered(&mut bench, peers);
    assert!(passes.iter().all(|count| *count <= 3), "{passes:?}");
    assert!(passes.contains(&3), "{passes:?}");
}

#[test]
fn a_pass_goes_on_with_one_handshake_at_least_and_with_none_once_they_have_taken_their_time() {
    let limits = Limits {
        handshakes_time: Duration::from_nanos(1),
        ..LIMITS
    };
    let (mut bench, peers) = greeted(limits);
    let passes = answered(&mut bench, peers);
    assert!(passes.iter().all(|count| *count <= 1), "{passes:?}");
}

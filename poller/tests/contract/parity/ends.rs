//! Connections that come to nothing or to an end, and sources that are closed.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use ampe_poller::{Interest, Poller};
use socket2::{Domain, Socket, Type};

use super::bench::{Bench, is_over, pair, read};
use crate::common::{PATIENCE, nobody, skip};

#[test]
fn a_refused_connection_is_ready_for_whatever_is_wanted() {
    let (_keeper, address) = nobody();
    for interest in [Interest::BOTH, Interest::READABLE, Interest::WRITABLE] {
        let mut bench = Bench::new();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        // Put in before it connects, and not asked about meanwhile.
        let key = bench.add(socket, interest);
        let attempt = bench.get(key).connect(&address.into());
        if attempt.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            return skip("the system refuses at once");
        }
        bench.assert_reports(&[(key, interest)]);
        let error = bench.get(key).take_error().unwrap().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}

/// The peer's end, and then its closing with something unread, which resets.
#[test]
fn a_stream_that_rests_is_told_of_its_peers_end_once_it_asks() {
    let mut bench = Bench::new();
    let (ours, mut theirs) = pair();
    theirs.write_all(b"hello").unwrap();
    let key = bench.add(ours, Interest::READABLE);
    bench.assert_reports(&[(key, Interest::READABLE)]);
    bench.declare(key, Interest::NONE);
    assert_eq!(read(bench.get(key), 16), Some(5));
    bench.assert_quiet();
    theirs.write_all(b"unread").unwrap();
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    bench.assert_quiet();
    bench.declare(key, Interest::READABLE);
    bench.assert_reports(&[(key, Interest::READABLE)]);
    assert!(bench.poller.close(key));

    theirs.set_nonblocking(true).unwrap();
    let key = bench.add(theirs, Interest::NONE);
    bench.assert_quiet();
    for interest in [Interest::READABLE, Interest::BOTH] {
        bench.declare(key, interest);
        bench.assert_reports(&[(key, interest)]);
    }
    let outcome = bench.get(key).read(&mut [0; 16]);
    assert!(is_over(&outcome), "{outcome:?}");
}

#[test]
fn a_connection_that_its_acceptor_drops_is_read_to_its_end() {
    let mut bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = Socket::from(listener);
    let listening = bench.add(listener, Interest::READABLE);
    bench.assert_quiet();
    let client = Socket::from(TcpStream::connect(address).unwrap());
    client.set_nonblocking(true).unwrap();
    let client = bench.add(client, Interest::READABLE);
    bench.assert_reports(&[(listening, Interest::READABLE)]);
    drop(bench.get(listening).accept().unwrap());
    bench.assert_reports(&[(client, Interest::READABLE)]);
    assert_eq!(bench.get(client).read(&mut [0; 16]).unwrap(), 0);
}

/// What the system has in flight for a source must not keep its connection open.
#[test]
fn a_source_that_is_closed_ends_its_connection() {
    for interest in [Interest::NONE, Interest::READABLE, Interest::BOTH] {
        let mut bench = Bench::new();
        let (ours, mut theirs) = pair();
        let key = bench.add(ours, interest);
        bench.wait(Duration::ZERO);
        bench.wait(Duration::ZERO);
        assert!(bench.poller.close(key));
        assert_eq!(theirs.read(&mut [0; 16]).unwrap(), 0);
        bench.assert_quiet();
    }
}

#[test]
fn closed_sources_are_forgotten_in_whatever_state_they_were() {
    const READABLE: Interest = Interest::READABLE;
    const WRITABLE: Interest = Interest::WRITABLE;
    let mut bench = Bench::new();
    let keys = [READABLE, READABLE, WRITABLE, WRITABLE, Interest::NONE].map(|interest| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        bench.add(socket, interest)
    });
    let close = |poller: &mut Poller<Socket>, at: usize| {
        assert!(poller.close(keys[at]));
        assert!(poller.get(keys[at]).is_none());
        assert!(!poller.set_interest(keys[at], WRITABLE));
        assert!(poller.remove(keys[at]).is_none());
        assert!(!poller.close(keys[at]));
    };
    // Never asked about.
    close(&mut bench.poller, 0);
    bench.assert_reports(&[(keys[2], WRITABLE), (keys[3], WRITABLE)]);
    // Asked about and not ready; ready.
    close(&mut bench.poller, 1);
    close(&mut bench.poller, 2);
    // Ready, and no longer wanted.
    bench.declare(keys[3], Interest::NONE);
    bench.assert_quiet();
    close(&mut bench.poller, 3);
    // Never wanted.
    close(&mut bench.poller, 4);
    bench.assert_quiet();
    assert!(bench.poller.is_empty());
}

#[test]
fn a_listener_that_was_taken_out_is_not_reported() {
    let mut bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let key = bench.add(listener, Interest::READABLE);
    bench.assert_quiet();
    let _client = TcpStream::connect(address).unwrap();
    let _listener = bench.poller.remove(key).unwrap();
    let waker = bench.poller.waker();
    let waking = thread::spawn(move || waker.wake().unwrap());
    assert_eq!(bench.wait(PATIENCE), HashMap::new());
    assert!(bench.events.woken());
    waking.join().unwrap();
}

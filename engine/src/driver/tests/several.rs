//! A host with several addresses, over real sockets.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket as RawSocket, Type};

use crate::driver::resolver::Resolver;

use super::*;

/// Addresses of this machine's own.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A listener that nobody accepts from and that is full: the system drops all further attempts.
struct Full {
    _listener: RawSocket,
    _in_line: Vec<RawSocket>,
}

fn full(host: Ipv4Addr, port: u16) -> Full {
    let address = SocketAddr::from((host, port)).into();
    let stream = || RawSocket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let listener = stream();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let mut in_line = vec![stream()];
    in_line[0].connect(&address).unwrap();
    // One more than the system has to keep, should it keep one.
    for _ in 0..2 {
        let another = stream();
        another.set_nonblocking(true).unwrap();
        let _ = another.connect(&address); // under way
        in_line.push(another);
    }
    Full {
        _listener: listener,
        _in_line: in_line,
    }
}

/// A listener, and a full one at the same port.
fn beside_a_full_one() -> (TcpListener, Full) {
    let listener = TcpListener::bind((SECOND, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, full(FIRST, port))
}

/// Connects to a host that has both addresses, and waits until there is an attempt at each.
fn attempts(bench: &mut Bench, port: u16) {
    let lookup = |_: &str| vec![(FIRST, 0).into(), (SECOND, 0).into()];
    let shared = Arc::clone(&bench.shared);
    bench.sockets.world.resolver = Resolver::with_lookup(&shared, Arc::new(lookup), PATIENCE);
    let address = Address::tcp("some.example", port).unwrap();
    bench.posting.connect(&address).unwrap();
    bench.pass_until("two attempts", |bench| bench.sockets.keys().len() == 2);
}

#[test]
fn beside_an_address_that_swallows_attempts_the_next_answers() {
    let mut bench = Bench::new();
    let (listener, full) = beside_a_full_one();
    attempts(&mut bench, listener.local_addr().unwrap().port());
    let mut peer = listener.accept().unwrap().0;
    peer.set_nonblocking(true).unwrap();
    let mut hello = [0; Header::LEN];
    bench.pass_until("a hello", |_| peer.read_exact(&mut hello).is_ok());
    assert_eq!(
        Header::decode(&hello).unwrap().op_code,
        OpCode::HelloRequest
    );
    let key = bench.only_socket();
    assert!(matches!(bench.sockets.get(key), Some(Socket::Connected(_))));
    drop(full);
}

#[test]
fn an_attempt_that_cannot_be_polled_is_closed_and_the_other_goes_on() {
    let mut bench = Bench::new();
    let (listener, _first) = beside_a_full_one();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let _second = full(SECOND, port);
    attempts(&mut bench, port);
    let [refused, other] = bench.sockets.keys()[..] else {
        panic!("two attempts")
    };
    super::refused::refuse(&mut bench, refused);
    bench.sockets.declare_writable(refused);
    assert!(!bench.pass().unwrap());
    assert_eq!(bench.sockets.keys(), [other]);
    assert!(is_connecting(&bench, other));
    assert!(matches!(bench.inbox.try_recv(), Ok(None)));
}

//! Helpers of the tests that know the poller from outside.

use std::net::UdpSocket;
#[cfg(unix)]
pub(crate) use std::os::fd::AsFd as AsSource;
#[cfg(windows)]
pub(crate) use std::os::windows::io::AsSocket as AsSource;
use std::time::Duration;

use ampe_poller::socket::{Listener, SocketAddress, Stream};
use ampe_poller::{Events, Interest, Poller};

/// How long a test waits for what must come: a watchdog, not an expectation.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn any_port() -> SocketAddress {
    SocketAddress::Tcp(([127, 0, 0, 1], 0).into())
}

/// A socket for datagrams that does not block.
pub(crate) fn datagrams() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// An address where nobody listens, for as long as the socket lives that keeps it from others.
pub(crate) fn nobody() -> (socket2::Socket, std::net::SocketAddr) {
    let keeper = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    keeper.bind(&any.into()).unwrap();
    let address = keeper.local_addr().unwrap().as_socket().unwrap();
    (keeper, address)
}

/// Blocks until the socket is ready, with the poller of this crate.
#[track_caller]
pub(crate) fn await_ready<S: AsSource>(socket: &S, interest: Interest) {
    let mut poller = Poller::new().unwrap();
    let mut events = Events::with_capacity(1);
    let key = poller.insert(socket).unwrap();
    poller.set_interest(key, interest);
    poller.wait(&mut events, Some(PATIENCE)).unwrap();
    let event = poller.next_event(&mut events).expect("it is never ready");
    assert!(event.error().is_none(), "{:?}", event.error());
}

/// Two ends of a connection by way of an address that is free.
#[track_caller]
pub(crate) fn connected(address: &SocketAddress) -> (Stream, Stream) {
    let listener = Listener::bind(address, 1).unwrap();
    let client = Stream::connect(&listener.local_address().unwrap()).unwrap();
    await_ready(&client, Interest::WRITABLE);
    assert!(client.finish_connect().unwrap());
    await_ready(&listener, Interest::READABLE);
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

/// Says what cannot run here, past the capture of the test runner.
pub(crate) fn skip(reason: &str) {
    use std::io::Write;
    // In one piece: other tests write at the same time.
    let line = format!("skipped: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

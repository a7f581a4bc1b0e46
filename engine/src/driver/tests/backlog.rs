//! A peer whose backlog is full.

use socket2::{Domain, SockAddr, Socket as RawSocket, Type};

use super::*;

/// A socket that listens, and is not accepted from, with as many in line as fit.
fn full(path: &std::path::Path) -> (RawSocket, Vec<RawSocket>) {
    let address = SockAddr::unix(path).unwrap();
    let stream = || RawSocket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let listener = stream();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let mut in_line = Vec::new();
    loop {
        let another = stream();
        another.set_nonblocking(true).unwrap();
        if another.connect(&address).is_err() {
            return (listener, in_line);
        }
        in_line.push(another);
    }
}

#[test]
fn who_finds_a_full_backlog_tries_again_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("full");
    let (listener, in_line) = full(&path);
    let mut bench = Bench::new();
    let address = Address::uds(&path).unwrap();
    bench.posting.connect(&address).unwrap();
    for _ in 0..5 {
        assert!(!bench.pass().unwrap());
    }
    assert!(
        matches!(bench.inbox.try_recv(), Ok(None)),
        "it is tried again"
    );
    assert!(bench.sockets.keys().is_empty(), "there was no attempt");
    for _ in &in_line {
        listener.accept().unwrap();
    }
    listener.set_nonblocking(true).unwrap();
    let mut peer = None;
    bench.pass_until("a connection", |_| {
        peer = listener.accept().ok().map(|(peer, _)| peer);
        peer.is_some()
    });
    assert!(matches!(bench.inbox.try_recv(), Ok(None)));
    assert_eq!(bench.sockets.keys().len(), 1);
}

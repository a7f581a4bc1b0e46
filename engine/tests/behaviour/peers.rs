//! Who is at the other end: told when a connection comes about, and when it has ended.

use std::time::Instant;

use ampe::{Endpoint, Event, Peer};

use crate::common::*;

/// A client's connection to a listener at `address`: what either side is told of the other.
fn introduced(address: &ampe::Address) -> (Peer, Peer) {
    let engine = engine();
    let (mut server, mut client) = (group(&engine), group(&engine));
    let (_, bound) = listen(&server.0, &mut server.1, address);
    let channel = client.0.connect(&bound).unwrap();
    let first = client.1.recv_until(Instant::now() + PATIENCE).unwrap();
    let Some(Event::Opened(opened)) = first else {
        panic!("not opened: {first:?}")
    };
    assert_eq!(opened.channel(), channel);
    let hello = expect!(server.1, Hello);
    let theirs = hello.peer().clone();
    client.0.post(engine.message().bye(channel)).unwrap();
    drop(hello);
    drop(expect!(server.1, Bye));
    expect!(client.1, ByeResponse);
    assert_eq!(expect!(client.1, Closed).peer(), Some(opened.peer()));
    assert_eq!(expect!(server.1, Closed).peer(), Some(&theirs));
    (opened.peer().clone(), theirs)
}

#[test]
fn either_side_of_a_tcp_connection_knows_both_addresses() {
    let (server, client) = introduced(&"tcp://127.0.0.1:0".parse().unwrap());
    assert_eq!(server.address(), client.local_address());
    assert_eq!(client.address(), server.local_address());
    assert!(matches!(server.address(), Endpoint::Tcp(it) if it.ip().is_loopback()));
    assert_eq!((server.credentials(), client.credentials()), (None, None));
    assert_eq!(server.to_string(), server.address().to_string());
}

#[cfg(target_os = "linux")]
#[test]
fn a_unix_socket_tells_process_and_user() {
    use std::os::unix::fs::MetadataExt as _;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let (server, client) = introduced(&ampe::Address::uds(&path).unwrap());
    assert_eq!(server.address(), &Endpoint::Uds(Some(path.clone())));
    assert_eq!(client.local_address(), &Endpoint::Uds(Some(path)));
    assert_eq!(client.address(), &Endpoint::Uds(None));
    let own = std::fs::metadata("/proc/self").unwrap();
    for peer in [&server, &client] {
        let credentials = peer.credentials().unwrap();
        assert_eq!(credentials.process_id, Some(std::process::id()));
        assert_eq!(
            (credentials.user_id, credentials.group_id),
            (own.uid(), own.gid())
        );
        assert!(
            peer.to_string()
                .contains(&format!("process {}", std::process::id()))
        );
    }
}

#[test]
fn an_attempt_that_fails_opens_nothing() {
    let engine = engine();
    let mut client = group(&engine);
    let (_keeper, port) = nobody();
    client
        .0
        .connect(&ampe::Address::tcp("127.0.0.1", port).unwrap())
        .unwrap();
    let mut events = Vec::new();
    let closed = loop {
        match client.1.recv().unwrap() {
            Event::Closed(closed) => break closed,
            other => events.push(other),
        }
    };
    assert!(matches!(events[..], [Event::Returned(_)]), "{events:?}");
    assert_eq!(closed.peer(), None);
}

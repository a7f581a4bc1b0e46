//! Sockets that the application hands in, and how those are made that the engine opens.

use std::net::{TcpListener, TcpStream, UdpSocket};

use ampe::{ConnectedSocket, ListeningSocket, Post, PostError, Reason};

use crate::common::*;

#[test]
fn a_listener_that_was_handed_in_is_listened_on() {
    let engine = engine();
    let mut server = group(&engine);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = ListeningSocket::new(listener).unwrap();
    let channel = server.0.listen_on(socket).unwrap();
    let listening = expect!(server.1, Listening);
    assert_eq!(listening.channel(), channel);
    assert_eq!(listening.address().port(), Some(address.port()));
    serve_well(&mut server, listening.address());
    // Closed with its channel.
    server.0.post(Post::abort(channel)).unwrap();
    assert_eq!(expect!(server.1, Closed).reason(), Reason::Aborted);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_connection_that_was_handed_in_is_spoken_over() {
    let (engine, mut server, mut client, address) = served();
    let stream = TcpStream::connect(("127.0.0.1", address.port().unwrap())).unwrap();
    let own = stream.local_addr().unwrap();
    let channel = client
        .0
        .connect_on(ConnectedSocket::new(stream).unwrap())
        .unwrap();
    let request = engine.message().with_body(b"over this one").unwrap();
    client.0.post(request.request(channel)).unwrap();
    let hello = expect!(server.1, Hello);
    assert!(matches!(hello.peer().address(), ampe::Endpoint::Tcp(it) if *it == own));
    server.0.post(expect!(server.1, Request).echo()).unwrap();
    assert_eq!(expect!(client.1, Response).body(), b"over this one");
}

#[cfg(unix)]
#[test]
fn either_end_of_a_pair_may_be_handed_in() {
    let engine = engine();
    let mut ours = group(&engine);
    let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    let hello = engine.message().with_body(b"are you there?").unwrap();
    let post = hello.hello_on(ConnectedSocket::new(one).unwrap());
    let channel = ours.0.post(post).unwrap().channel;
    let mut peer = peer::Peer::over(other);
    let hello = peer.receive();
    assert_eq!(
        (hello.proto, &hello.body[..]),
        (peer::HELLO_REQUEST, &b"are you there?"[..])
    );
    drop(peer);
    let closed = expect!(ours.1, Closed);
    assert_eq!(
        (closed.channel(), closed.reason()),
        (channel, Reason::PeerDisconnected)
    );
}

/// Whoever waits for nothing is told so in time, and is not said to be of another family.
#[cfg(unix)]
#[test]
fn a_socket_that_is_not_connected_ends_its_channel_in_time() {
    let mut options = ampe::Options::default();
    options.connect_timeout = std::time::Duration::from_millis(10);
    let engine = ampe::Engine::start(options).unwrap();
    let mut client = group(&engine);
    let tcp = (socket2::Domain::IPV6, "tcp|");
    for (domain, scheme) in [tcp, (socket2::Domain::UNIX, "uds|")] {
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        let socket = ConnectedSocket::new(socket).unwrap();
        client.0.connect_on(socket).unwrap();
        let returned = expect!(client.1, Returned);
        let headers = returned.message().text_headers();
        let address = headers.get(ampe::address::CONNECT_TO).unwrap();
        assert!(address.starts_with(scheme.as_bytes()), "{returned:?}");
        let closed = expect!(client.1, Closed);
        assert_eq!(closed.reason(), Reason::ConnectTimedOut);
    }
}

/// What was received before the hand-over is delivered, also where the peer has gone since.
#[cfg(unix)]
#[test]
fn what_has_arrived_at_a_connection_before_it_was_handed_in_is_delivered() {
    use crate::common::peer::{HELLO_RESPONSE, SIGNAL, frame};
    use std::io::Write as _;

    let engine = engine();
    let mut ours = group(&engine);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let over_tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut other, _) = listener.accept().unwrap();
    let (over_unix, mut end) = std::os::unix::net::UnixStream::pair().unwrap();
    let sent = [
        frame(HELLO_RESPONSE, 1).bytes(),
        frame(SIGNAL, 2).with_body(b"goodbye").bytes(),
    ];
    other.write_all(&sent.concat()).unwrap();
    end.write_all(&sent.concat()).unwrap();
    drop((other, end));
    for socket in [
        ConnectedSocket::new(over_tcp),
        ConnectedSocket::new(over_unix),
    ] {
        ours.0.connect_on(socket.unwrap()).unwrap();
        expect!(ours.1, Accepted);
        assert_eq!(expect!(ours.1, Signal).body(), b"goodbye");
        let closed = loop {
            match next(&mut ours.1, "the end") {
                ampe::Event::Returned(_) => {}
                ampe::Event::Closed(closed) => break closed,
                other => panic!("{other}"),
            }
        };
        let account = closed.account();
        assert_eq!(account.posted, account.sent + account.returned);
        assert_eq!(account.received, 2);
    }
}

#[test]
fn a_post_with_a_socket_comes_back_with_it() {
    let engine = engine();
    let (closed, inbox) = group(&engine);
    inbox.close(PATIENCE);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let refused = closed
        .listen_on(ListeningSocket::new(listener).unwrap())
        .unwrap_err();
    assert_eq!(refused.why, PostError::GroupClosed);
    // It listens as before, in another group.
    let mut server = group(&engine);
    server.0.post(refused.post).unwrap();
    assert_eq!(
        expect!(server.1, Listening).address().port(),
        Some(address.port())
    );
}

#[test]
fn what_is_no_such_socket_is_refused_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let kind = |outcome: std::io::Result<()>| outcome.unwrap_err().kind();
    let invalid = std::io::ErrorKind::InvalidInput;
    assert_eq!(kind(ListeningSocket::new(stream).map(drop)), invalid);
    assert_eq!(kind(ConnectedSocket::new(listener).map(drop)), invalid);
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(kind(ConnectedSocket::new(datagrams).map(drop)), invalid);
}

/// A group that this user may give to a file, and that files do not have anyway: any for root, else one of
/// its own.
#[cfg(unix)]
fn other_group(directory: &std::path::Path, own: u32) -> Option<u32> {
    let file = directory.join("file");
    std::fs::write(&file, "").unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    let of_user = groups.unwrap_or_default().split_whitespace();
    let of_user = of_user.filter_map(|group| group.parse().ok());
    of_user
        .chain([own + 1])
        .filter(|&group| group != own)
        .find(|&group| std::os::unix::fs::chown(&file, None, Some(group)).is_ok())
}

#[cfg(unix)]
#[test]
fn a_unix_socket_has_the_permissions_that_were_asked_for() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    let directory = tempfile::tempdir().unwrap();
    let engine = engine();
    let mut server = group(&engine);
    let own_group = std::fs::metadata(directory.path()).unwrap().gid();
    let mut sockets = vec![("default", None, None), ("for all", Some(0o666), None)];
    match other_group(directory.path(), own_group) {
        Some(group) => sockets.push(("for a group", Some(0o660), Some(group))),
        None => skip("the group of a Unix socket: this user is in no other"),
    }
    for (name, mode, unix_group) in sockets {
        let path = directory.path().join(name);
        let mut options = ampe::ListenOptions::default();
        options.unix_mode = mode.unwrap_or(options.unix_mode);
        options.unix_group = unix_group;
        let address = ampe::Address::uds(&path).unwrap();
        server.0.listen_with(&address, &options).unwrap();
        expect!(server.1, Listening);
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!(
            found.permissions().mode() & 0o777,
            mode.unwrap_or(0o600),
            "{name}"
        );
        assert_eq!(found.gid(), unix_group.unwrap_or(own_group), "{name}");
        serve_well(&mut server, &address);
    }
}

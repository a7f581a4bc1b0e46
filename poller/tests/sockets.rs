//! Sockets as their users see them: what an address may be, what a connection does at its ends.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ampe_poller::socket::{Listener, SocketAddress, Stream, UDS_PATH_BYTES};
use ampe_poller::{Events, Interest, Poller};

fn any_port() -> SocketAddress {
    SocketAddress::Tcp(([127, 0, 0, 1], 0).into())
}

fn uds(path: impl Into<PathBuf>) -> SocketAddress {
    SocketAddress::Uds(Some(path.into()))
}

/// Binds, as often as another test, or another thread of this one, binds in the same directory.
fn bind(address: &SocketAddress) -> io::Result<Listener> {
    loop {
        match Listener::bind(address, 64) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            outcome => return outcome,
        }
    }
}

fn bind_error(address: &SocketAddress) -> io::Error {
    Listener::bind(address, 1).expect_err("the address is taken")
}

/// Blocks until the socket is ready, with the poller of this crate.
fn await_ready(socket: impl AsFd, interest: Interest) {
    struct Lent<'a>(BorrowedFd<'a>);
    impl AsFd for Lent<'_> {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0
        }
    }
    let mut poller = Poller::new().unwrap();
    let key = poller.insert(Lent(socket.as_fd())).unwrap();
    poller.set_interest(key, interest);
    poller.wait(&mut Events::with_capacity(1), None).unwrap();
}

fn connected(address: &SocketAddress) -> (Stream, Stream) {
    let listener = Listener::bind(address, 1).unwrap();
    let client = Stream::connect(&listener.local_address().unwrap()).unwrap();
    await_ready(&client, Interest::WRITABLE);
    assert!(client.finish_connect().unwrap());
    await_ready(&listener, Interest::READABLE);
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

fn send(stream: &Stream, bytes: &[u8]) -> io::Result<usize> {
    stream.send_vectored(&[IoSlice::new(bytes)])
}

#[test]
fn addresses_are_shown_as_they_are_written() {
    assert_eq!(any_port().to_string(), "tcp://127.0.0.1:0");
    let v6 = SocketAddress::Tcp("[::1]:7".parse().unwrap());
    assert_eq!(v6.to_string(), "tcp://[::1]:7");
    assert_eq!(uds("/run/x").to_string(), "uds:///run/x");
    assert_eq!(SocketAddress::Uds(None).to_string(), "uds://");
}

#[test]
fn a_connection_knows_both_its_ends() {
    let listener = Listener::bind(&any_port(), 1).unwrap();
    let bound = listener.local_address().unwrap();
    assert_ne!(bound, any_port(), "the port is the one given");
    let client = Stream::connect(&bound).unwrap();
    await_ready(&listener, Interest::READABLE);
    let (server, peer) = listener.accept().unwrap();
    assert_eq!(client.peer_address().unwrap(), bound);
    assert_eq!(client.local_address().unwrap(), peer);
    assert_eq!(server.peer_address().unwrap(), peer);
    assert_eq!(server.local_address().unwrap(), bound);
}

#[test]
fn nothing_blocks() {
    let directory = tempfile::tempdir().unwrap();
    for address in [any_port(), uds(directory.path().join("socket"))] {
        let listener = Listener::bind(&address, 1).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(listener);
        let (client, server) = connected(&address);
        for stream in [&client, &server] {
            let error = stream.recv(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
        for stream in [&client, &server] {
            let error = loop {
                if let Err(error) = send(stream, &[0; 1 << 16]) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
    }
}

#[test]
fn descriptors_are_not_inherited() {
    let directory = tempfile::tempdir().unwrap();
    for address in [any_port(), uds(directory.path().join("socket"))] {
        let listener = Listener::bind(&address, 1).unwrap();
        let client = Stream::connect(&listener.local_address().unwrap()).unwrap();
        await_ready(&listener, Interest::READABLE);
        let (server, _) = listener.accept().unwrap();
        for descriptor in [listener.as_fd(), client.as_fd(), server.as_fd()] {
            let flags = rustix::io::fcntl_getfd(descriptor).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
    }
}

#[test]
fn tcp_streams_do_not_hold_back_small_writes() {
    let (client, server) = connected(&any_port());
    for stream in [&client, &server] {
        assert!(rustix::net::sockopt::tcp_nodelay(stream).unwrap());
    }
}

#[test]
fn a_refused_connection_says_so() {
    let listener = Listener::bind(&any_port(), 1).unwrap();
    let address = listener.local_address().unwrap();
    drop(listener);
    let refused = Stream::connect(&address).and_then(|stream| {
        await_ready(&stream, Interest::WRITABLE);
        stream.finish_connect()
    });
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn writing_to_a_peer_that_is_gone_is_an_error_and_no_signal() {
    let (ours, theirs) = Stream::pair().unwrap();
    drop(theirs);
    assert_eq!(send(&ours, b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn an_ended_stream_can_still_receive() {
    let (client, server) = connected(&any_port());
    send(&client, b"question").unwrap();
    client.shutdown_write().unwrap();
    await_ready(&server, Interest::READABLE);
    let mut buffer = [0; 16];
    assert_eq!(server.recv(&mut buffer).unwrap(), 8);
    await_ready(&server, Interest::READABLE);
    assert_eq!(server.recv(&mut buffer).unwrap(), 0);
    send(&server, b"answer").unwrap();
    await_ready(&client, Interest::READABLE);
    assert_eq!(client.recv(&mut buffer).unwrap(), 6);
}

#[test]
fn an_abortive_close_resets() {
    let (client, server) = connected(&any_port());
    server.set_abortive().unwrap();
    drop(server);
    await_ready(&client, Interest::READABLE);
    let error = client.take_error().unwrap();
    let error = error.or_else(|| client.recv(&mut [0]).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn keep_alive_is_set_on_tcp_and_ignored_elsewhere() {
    let (client, _server) = connected(&any_port());
    client.set_keep_alive(Duration::from_secs(20)).unwrap();
    assert!(rustix::net::sockopt::socket_keepalive(&client).unwrap());
    let (ours, _theirs) = Stream::pair().unwrap();
    ours.set_keep_alive(Duration::from_secs(20)).unwrap();
}

#[test]
fn a_second_listener_on_an_address_in_use_fails() {
    let directory = tempfile::tempdir().unwrap();
    for address in [any_port(), uds(directory.path().join("socket"))] {
        let listener = Listener::bind(&address, 1).unwrap();
        let address = listener.local_address().unwrap();
        assert_eq!(bind_error(&address).kind(), ErrorKind::AddrInUse);
        assert!(Stream::connect(&address).is_ok(), "the first still listens");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_listener_whose_backlog_is_full_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let address = uds(directory.path().join("socket"));
    let listener = Listener::bind(&address, 1).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = Stream::connect(&address) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the backlog has no end");
    }
    // That it turns somebody away shows that it lives.
    assert_eq!(bind_error(&address).kind(), ErrorKind::AddrInUse);
    listener.accept().unwrap();
    Stream::connect(&address).unwrap();
}

#[test]
fn a_path_too_long_is_refused_with_the_limit() {
    let path = |length: usize| uds(format!("/{}", "x".repeat(length - 1)));
    let too_long = path(UDS_PATH_BYTES + 1);
    for error in [
        bind_error(&too_long),
        Stream::connect(&too_long).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(
            error.to_string().contains(&UDS_PATH_BYTES.to_string()),
            "{error}"
        );
    }
    let longest = Stream::connect(&path(UDS_PATH_BYTES)).unwrap_err();
    assert_eq!(longest.kind(), ErrorKind::NotFound);
}

#[test]
fn paths_that_are_none_are_refused() {
    for address in [uds(""), uds("a\0b"), SocketAddress::Uds(None)] {
        assert_eq!(bind_error(&address).kind(), ErrorKind::InvalidInput);
        let error = Stream::connect(&address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let folder = directory.path().join("folder");
    fs::create_dir(&folder).unwrap();
    for path in [&file, &link, &folder] {
        assert_eq!(bind_error(&uds(path)).kind(), ErrorKind::AlreadyExists);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(link.is_symlink() && folder.is_dir());
}

/// What a listener leaves behind whose process was killed.
fn leave_socket(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    assert!(fs::metadata(path).unwrap().file_type().is_socket());
}

#[test]
fn a_leftover_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    leave_socket(&path);
    let listener = Listener::bind(&uds(&path), 1).unwrap();
    Stream::connect(&uds(&path)).unwrap();
    listener.accept().unwrap();
}

#[test]
fn of_many_that_find_a_leftover_one_gets_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    for _ in 0..20 {
        leave_socket(&path);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let starters = [(); 4].map(|()| scope.spawn(|| bind(&uds(&path))));
            starters.map(|starter| starter.join().unwrap()).into()
        });
        let (winners, losers): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(winners.len(), 1);
        for loser in losers {
            assert_eq!(loser.unwrap_err().kind(), ErrorKind::AddrInUse);
        }
        Stream::connect(&uds(&path)).unwrap();
        drop(winners);
        assert!(!path.exists());
    }
}

#[test]
fn binding_beside_whoever_binds_in_the_same_directory_would_block() {
    use rustix::fs::{FlockOperation, flock};
    let directory = tempfile::tempdir().unwrap();
    let address = uds(directory.path().join("socket"));
    let lock = fs::File::open(directory.path()).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    assert_eq!(bind_error(&address).kind(), ErrorKind::WouldBlock);
    drop(lock);
    Listener::bind(&address, 1).unwrap();
}

/// Gives up what lets the superuser read everything, for this thread.
#[cfg(target_os = "linux")]
fn drop_privileges() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None).unwrap();
    sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    set_capabilities(None, sets).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_directory_that_cannot_be_read_can_be_bound_in() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("socket");
    let leftover = folder.join("leftover");
    leave_socket(&leftover);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o300)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            drop_privileges();
            fs::read_dir(&folder).expect_err("the directory can be read");
            let listener = Listener::bind(&uds(&path), 1).unwrap();
            Stream::connect(&uds(&path)).unwrap();
            assert_eq!(bind_error(&uds(&path)).kind(), ErrorKind::AddrInUse);
            drop(listener);
            assert!(!path.exists());
            // Unlocked, it might be about to listen.
            assert_eq!(bind_error(&uds(&leftover)).kind(), ErrorKind::AddrInUse);
            assert!(leftover.exists());
        });
    });
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_listeners_file_is_for_its_user_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = Listener::bind(&uds(&path), 1).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_listener_removes_only_its_own_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = Listener::bind(&uds(&path), 1).unwrap();
    drop(listener);
    assert!(!path.exists());

    let listener = Listener::bind(&uds(&path), 1).unwrap();
    fs::remove_file(&path).unwrap();
    leave_socket(&path);
    let successor = fs::metadata(&path).unwrap().ino();
    drop(listener);
    assert_eq!(fs::metadata(&path).unwrap().ino(), successor);
}

#[test]
fn a_missing_directory_is_said_to_be_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing").join("socket");
    assert_eq!(bind_error(&uds(path)).kind(), ErrorKind::NotFound);
}

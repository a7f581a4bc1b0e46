//! Sockets as their users see them: what an address may be, what a connection does at its ends.

mod families;
#[cfg(unix)]
mod files;
mod options;

use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice};
use std::path::PathBuf;

use ampe_poller::Interest;
use ampe_poller::platform::is_wine;
use ampe_poller::socket::{Listener, SocketAddress, Stream, UDS_PATH_BYTES, has_unix_sockets};

use crate::common::{AsSource, any_port, await_ready, connected, nobody, skip};

fn uds(path: impl Into<PathBuf>) -> SocketAddress {
    SocketAddress::Uds(Some(path.into()))
}

fn bind_error(address: &SocketAddress) -> io::Error {
    Listener::bind(address, 1).expect_err("the address cannot be listened on")
}

fn send(stream: &Stream, bytes: &[u8]) -> io::Result<usize> {
    stream.send_vectored(&[IoSlice::new(bytes)])
}

/// Addresses to listen on. Each path is given once: not every system removes a listener's file.
struct Places {
    directory: tempfile::TempDir,
    given: Cell<u32>,
}

impl Places {
    fn new() -> Self {
        Places {
            directory: tempfile::tempdir().unwrap(),
            given: Cell::new(0),
        }
    }

    /// A free address of each kind that this system has. If not all, says what is skipped.
    fn of_all_kinds(&self) -> Vec<SocketAddress> {
        let mut places = vec![any_port()];
        places.extend(self.uds());
        places
    }

    fn uds(&self) -> Option<SocketAddress> {
        if !has_unix_sockets() {
            skip("Unix sockets: this system has none");
            return None;
        }
        let number = self.given.replace(self.given.get() + 1);
        Some(uds(self.directory.path().join(number.to_string())))
    }
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
    await_ready(&client, Interest::WRITABLE);
    await_ready(&listener, Interest::READABLE);
    let (server, peer) = listener.accept().unwrap();
    assert_eq!(client.peer_address().unwrap(), bound);
    assert_eq!(client.local_address().unwrap(), peer);
    assert_eq!(server.peer_address().unwrap(), peer);
    assert_eq!(server.local_address().unwrap(), bound);
}

#[test]
fn nothing_blocks() {
    let places = Places::new();
    for address in places.of_all_kinds() {
        let listener = Listener::bind(&address, 1).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    for address in places.of_all_kinds() {
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

#[cfg(unix)]
fn is_inherited(socket: &impl AsSource) -> bool {
    let flags = rustix::io::fcntl_getfd(socket.as_fd()).unwrap();
    !flags.contains(rustix::io::FdFlags::CLOEXEC)
}

#[cfg(windows)]
fn is_inherited(socket: &impl AsSource) -> bool {
    use std::os::windows::io::AsRawSocket;
    use windows_sys::Win32::Foundation::{GetHandleInformation, HANDLE, HANDLE_FLAG_INHERIT};
    let handle = socket.as_socket().as_raw_socket() as HANDLE;
    let mut flags = 0;
    // SAFETY: the socket is open while it is lent, and the flags live until the call returns.
    let outcome = unsafe { GetHandleInformation(handle, &raw mut flags) };
    assert_ne!(outcome, 0, "{}", io::Error::last_os_error());
    flags & HANDLE_FLAG_INHERIT != 0
}

#[test]
fn no_child_inherits_a_socket() {
    for address in Places::new().of_all_kinds() {
        let listener = Listener::bind(&address, 1).unwrap();
        let client = Stream::connect(&listener.local_address().unwrap()).unwrap();
        await_ready(&listener, Interest::READABLE);
        let (server, _) = listener.accept().unwrap();
        assert!(!is_inherited(&listener), "{address}");
        assert!(!is_inherited(&client), "{address}");
        assert!(!is_inherited(&server), "{address}");
    }
}

/// Both sides have ended in good order: that is a hang-up, and no failure.
#[test]
fn an_end_is_no_failure() {
    for address in Places::new().of_all_kinds() {
        let (client, server) = connected(&address);
        assert!(client.failure().is_none() && server.failure().is_none());
        client.shutdown_write().unwrap();
        server.shutdown_write().unwrap();
        for stream in [&client, &server] {
            await_ready(stream, Interest::READABLE);
            assert_eq!(stream.recv(&mut [0]).unwrap(), 0);
            assert!(stream.failure().is_none(), "{address}");
        }
    }
}

/// Has children inherit a socket, as whoever hands it in may have.
fn let_inherit(socket: &impl AsSource) {
    #[cfg(unix)]
    socket2::SockRef::from(socket).set_cloexec(false).unwrap();
    #[cfg(windows)]
    socket2::SockRef::from(socket)
        .set_no_inherit(false)
        .unwrap();
    assert!(is_inherited(socket));
}

#[test]
fn what_is_handed_in_becomes_like_all_others() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let_inherit(&listener);
    let_inherit(&client);
    assert!(!client.nodelay().unwrap());

    let client = Stream::from_socket(client).unwrap();
    assert!(!is_inherited(&client));
    assert!(socket2::SockRef::from(&client).tcp_nodelay().unwrap());
    let nothing = client.recv(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    let listener = Listener::from_socket(listener).unwrap();
    assert!(!is_inherited(&listener));
    await_ready(&listener, Interest::READABLE);
    listener.accept().unwrap();
    let nothing = listener.accept().unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_refused_connection_says_so() {
    let (_keeper, address) = nobody();
    let refused = Stream::connect(&SocketAddress::Tcp(address)).and_then(|stream| {
        await_ready(&stream, Interest::WRITABLE);
        stream.finish_connect()
    });
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn writing_to_a_peer_that_is_gone_is_an_error() {
    for address in Places::new().of_all_kinds() {
        let (ours, theirs) = connected(&address);
        theirs.set_abortive().unwrap();
        drop(theirs);
        // Over TCP what is written before the reset has arrived is accepted.
        let error = loop {
            await_ready(&ours, Interest::WRITABLE);
            if let Err(error) = send(&ours, b"x") {
                break error;
            }
        };
        let of_a_reset = [
            ErrorKind::BrokenPipe,
            ErrorKind::ConnectionReset,
            ErrorKind::ConnectionAborted,
        ];
        assert!(of_a_reset.contains(&error.kind()), "{address}: {error}");
        #[cfg(unix)]
        assert_eq!(send(&ours, b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}

#[cfg(not(windows))]
fn is_shut_down(error: &io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe
}

/// The standard library has no kind for it.
#[cfg(windows)]
fn is_shut_down(error: &io::Error) -> bool {
    use windows_sys::Win32::Networking::WinSock::WSAESHUTDOWN;
    error.raw_os_error() == Some(WSAESHUTDOWN)
}

#[test]
fn an_ended_stream_can_send_no_more() {
    for address in Places::new().of_all_kinds() {
        let (client, _server) = connected(&address);
        client.shutdown_write().unwrap();
        let error = send(&client, b"x").unwrap_err();
        assert!(is_shut_down(&error), "{address}: {error}");
    }
}

#[test]
fn an_ended_stream_can_still_receive() {
    for address in Places::new().of_all_kinds() {
        let (client, server) = connected(&address);
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
}

#[test]
fn an_abortive_close_resets() {
    let (client, server) = connected(&any_port());
    server.set_abortive().unwrap();
    drop(server);
    await_ready(&client, Interest::READABLE);
    let pending = client.take_error().unwrap();
    match pending.map_or_else(|| client.recv(&mut [0]), Err) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        // Wine's server mostly takes the error away when it looks at the socket.
        Ok(length) => assert!(
            is_wine() && length == 0,
            "{length} bytes instead of a reset"
        ),
    }
}

#[test]
fn a_second_listener_on_an_address_in_use_fails() {
    for address in Places::new().of_all_kinds() {
        let listener = Listener::bind(&address, 1).unwrap();
        let address = listener.local_address().unwrap();
        assert_eq!(bind_error(&address).kind(), ErrorKind::AddrInUse);
        assert!(Stream::connect(&address).is_ok(), "the first still listens");
        await_ready(&listener, Interest::READABLE);
    }
}

/// Who closes first has to remember the connection for a while, in the name of the listener's port.
#[test]
#[cfg(unix)]
fn an_address_whose_last_connection_is_winding_down_can_be_listened_on() {
    let listener = Listener::bind(&any_port(), 1).unwrap();
    let address = listener.local_address().unwrap();
    let client = Stream::connect(&address).unwrap();
    await_ready(&listener, Interest::READABLE);
    let (server, _) = listener.accept().unwrap();
    drop(server);
    await_ready(&client, Interest::READABLE);
    assert_eq!(client.recv(&mut [0]).unwrap(), 0);
    drop((client, listener));
    let listener = Listener::bind(&address, 1).unwrap();
    Stream::connect(&address).unwrap();
    await_ready(&listener, Interest::READABLE);
}

/// Linux keeps one more than it is asked to.
#[test]
#[cfg(target_os = "linux")]
fn a_backlog_is_as_long_as_it_was_asked_for() {
    for backlog in [1, 3] {
        let listener = Listener::bind(&any_port(), backlog).unwrap();
        let address = listener.local_address().unwrap();
        let clients = [(); 8].map(|()| Stream::connect(&address).unwrap());
        let is_connected = |client: &&Stream| client.finish_connect().unwrap();
        let connected = clients.iter().filter(is_connected).count();
        assert_eq!(connected, backlog as usize + 1);
    }
    Listener::bind(&any_port(), u32::MAX).unwrap();
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
    let longest = Stream::connect(&path(UDS_PATH_BYTES)).unwrap_err().kind();
    if !has_unix_sockets() {
        assert_eq!(longest, ErrorKind::Unsupported);
    } else if cfg!(unix) {
        assert_eq!(longest, ErrorKind::NotFound);
    } else {
        assert_ne!(longest, ErrorKind::InvalidInput);
    }
}

#[test]
fn paths_that_are_none_are_refused() {
    for address in [uds(""), uds("a\0b"), SocketAddress::Uds(None)] {
        assert_eq!(bind_error(&address).kind(), ErrorKind::InvalidInput);
        let error = Stream::connect(&address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

//! What is set on sockets, as the system says it is, and what comes of it.

use std::io::ErrorKind;
use std::time::Duration;

use ampe_poller::socket::Stream;
use socket2::SockRef;

use super::Places;
use crate::common::{any_port, connected, skip};

#[test]
fn tcp_streams_do_not_hold_back_small_writes() {
    let (client, server) = connected(&any_port());
    for stream in [&client, &server] {
        assert!(SockRef::from(stream).tcp_nodelay().unwrap());
    }
}

/// Ten probes take as long as the silence before the first.
#[test]
fn keep_alive_is_set_on_tcp_and_ignored_elsewhere() {
    let (client, _server) = connected(&any_port());
    for (idle, interval) in [(20, 2), (5, 1)] {
        client.set_keep_alive(Duration::from_secs(idle)).unwrap();
        let socket = SockRef::from(&client);
        assert!(socket.keepalive().unwrap());
        // Not every system says.
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), idle);
            assert_eq!(socket.tcp_keepalive_interval().unwrap().as_secs(), interval);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = interval;
    }
    if let Some(address) = Places::new().uds() {
        let (client, _server) = connected(&address);
        client.set_keep_alive(Duration::from_secs(20)).unwrap();
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn user_timeout(stream: &Stream) -> Option<Duration> {
    SockRef::from(stream).tcp_user_timeout().unwrap()
}

#[cfg(windows)]
fn user_timeout(stream: &Stream) -> Option<Duration> {
    use std::os::windows::io::{AsRawSocket, AsSocket};
    use windows_sys::Win32::Networking::WinSock as winsock;
    let (mut seconds, mut length) = (0_u32, 4);
    // SAFETY: the socket is open while it is lent, and both numbers live until the call returns.
    let outcome = unsafe {
        winsock::getsockopt(
            stream.as_socket().as_raw_socket() as winsock::SOCKET,
            winsock::IPPROTO_TCP,
            winsock::TCP_MAXRT,
            (&raw mut seconds).cast(),
            &raw mut length,
        )
    };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
    Some(Duration::from_secs(seconds.into()))
}

#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
fn user_timeout(_stream: &Stream) -> Option<Duration> {
    None
}

#[test]
fn a_user_timeout_is_set_on_tcp_and_ignored_elsewhere() {
    let (client, _server) = connected(&any_port());
    let has_option = cfg!(any(target_os = "linux", target_os = "android", windows));
    let given = Duration::from_millis(59_001);
    match client.set_user_timeout(given) {
        Err(error) if !has_option => assert_eq!(error.kind(), ErrorKind::Unsupported),
        Err(error) if ampe_poller::platform::is_wine() => {
            skip(&format!("Wine has no TCP_MAXRT: {error}"));
        }
        outcome => {
            outcome.unwrap();
            let expected = if cfg!(windows) {
                Duration::from_secs(60)
            } else {
                given
            };
            assert_eq!(user_timeout(&client), Some(expected));
            client.set_user_timeout(Duration::MAX).unwrap();
            assert!(user_timeout(&client) > Some(Duration::from_secs(24 * 24 * 3600)));
        }
    }
    if let Some(address) = Places::new().uds() {
        let (client, _server) = connected(&address);
        client.set_user_timeout(given).unwrap();
    }
}

#[test]
fn a_user_timeout_that_would_mean_something_else_is_refused() {
    let (client, _server) = connected(&any_port());
    for short in [Duration::ZERO, Duration::from_millis(999)] {
        let error = client.set_user_timeout(short).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

/// What Linux makes of it.
#[cfg(target_os = "linux")]
mod peers {
    use std::io;

    use ampe_poller::Interest;
    use socket2::SockFilter;

    use super::{Duration, ErrorKind, SockRef, Stream, any_port, connected};
    use crate::common::await_ready;
    use crate::sockets::send;

    const SHORTEST: Duration = Duration::from_secs(1);

    /// Everything that reaches the socket is thrown away unseen, as if its host were gone.
    fn vanish(stream: &Stream) {
        const RETURN: u16 = 0x06;
        let drop_all = [SockFilter::new(RETURN, 0, 0, 0)];
        SockRef::from(stream).attach_filter(&drop_all).unwrap();
    }

    /// Waits for the end of the connection.
    fn end_of(stream: &Stream) -> ErrorKind {
        await_ready(stream, Interest::READABLE);
        let end = stream.take_error().unwrap();
        end.map_or_else(|| stream.recv(&mut [0]).map(|_| ()), Err)
            .unwrap_err()
            .kind()
    }

    fn fill(stream: &Stream) -> io::Error {
        loop {
            if let Err(error) = send(stream, &[0; 1 << 16]) {
                return error;
            }
        }
    }

    #[test]
    fn a_peer_that_vanished_is_noticed_while_data_is_unacknowledged() {
        let (client, server) = connected(&any_port());
        client.set_user_timeout(SHORTEST).unwrap();
        vanish(&server);
        send(&client, b"x").unwrap();
        assert_eq!(end_of(&client), ErrorKind::TimedOut);
    }

    #[test]
    fn a_peer_that_vanished_is_noticed_while_nothing_is_sent() {
        let (client, server) = connected(&any_port());
        client.set_keep_alive(SHORTEST).unwrap();
        client.set_user_timeout(2 * SHORTEST).unwrap();
        vanish(&server);
        assert_eq!(end_of(&client), ErrorKind::TimedOut);
    }

    /// As is documented. If a kernel tells these from those that are gone, so much the better: then
    /// the note can go.
    #[test]
    fn a_peer_that_does_not_read_is_cut_off_as_well() {
        let (client, server) = connected(&any_port());
        client.set_user_timeout(SHORTEST).unwrap();
        assert_eq!(fill(&client).kind(), ErrorKind::WouldBlock);
        assert_eq!(end_of(&client), ErrorKind::TimedOut);
        drop(server);
    }
}

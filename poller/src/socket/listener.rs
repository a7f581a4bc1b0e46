use std::io;

use socket2::{Domain, Socket};

#[cfg(any(unix, windows))]
use super::claim::Claim;
use super::{Buffers, SocketAddress, Stream, open, retry};

/// How a listener is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListenerOptions {
    /// Connections that the system keeps until they are accepted; it may cut the number.
    pub backlog: u32,
    /// Who may connect to a Unix domain socket: the permissions of its file, as in chmod(2). They are the
    /// user's alone, 0600, until the file has its group.
    pub mode: u32,
    /// The group of a Unix domain socket's file, by its number; None leaves what the system gives it.
    pub group: Option<u32>,
    /// Of the listener, and of the connections that it accepts.
    pub buffers: Buffers,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        ListenerOptions {
            backlog: 1024,
            mode: 0o600,
            group: None,
            buffers: Buffers::default(),
        }
    }
}

impl ListenerOptions {
    pub(super) fn listen(&self, socket: &Socket) -> io::Result<()> {
        socket.listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))
    }
}

/// Accepts connections.
#[derive(Debug)]
pub struct Listener {
    /// The path that this listener created. Dropped before the socket: see there.
    #[cfg(any(unix, windows))]
    _claim: Option<Claim>,
    /// What it was bound to; the system may know, and there is no safe way to ask.
    #[cfg(not(unix))]
    path: Option<std::path::PathBuf>,
    socket: Socket,
    domain: Domain,
    buffers: Buffers,
}

impl Listener {
    /// Listens at an address, which nobody else may have; TCP port 0 stands for any that is free.
    ///
    /// `[::]` takes connections over IPv6 and over IPv4, whatever the system's own setting is; the
    /// peers of the latter have addresses like `[::ffff:192.0.2.1]`. So `0.0.0.0` with the same port
    /// is in use beside it, and the other way round. Any other IPv6 address takes IPv6 alone, but
    /// for one that stands for an IPv4 address.
    ///
    /// # Errors
    ///
    /// - Another listener has the address ([`io::ErrorKind::AddrInUse`]).
    /// - Another process of this user binds the same Unix domain path at this moment
    ///   ([`io::ErrorKind::WouldBlock`]). No event tells when that is over, mostly within
    ///   microseconds: try again a little later.
    /// - The address is not one of this machine ([`io::ErrorKind::AddrNotAvailable`]), or not for
    ///   this user ([`io::ErrorKind::PermissionDenied`]).
    /// - A Unix domain path that is missing, too long or has a zero byte
    ///   ([`io::ErrorKind::InvalidInput`]), that holds something other than a socket
    ///   ([`io::ErrorKind::AlreadyExists`]; it is left as it is), or in a directory that does not
    ///   exist ([`io::ErrorKind::NotFound`]).
    /// - A Unix domain path on a system without such sockets ([`io::ErrorKind::Unsupported`]).
    /// - The process or the system has no descriptor left.
    ///
    /// # Platform notes
    ///
    /// A Unix domain socket is a file that outlives its listener if that ends badly. Such a
    /// leftover, a socket of this user that refuses connections, is replaced; the file is created
    /// for this user alone (mode 0600) before anybody can connect, and removed with the listener
    /// unless it was replaced meanwhile. Two processes of one user that bind at the same moment are
    /// kept apart by a lock (`flock`) on a file beside the socket, `.NAME.binding`, for as long as
    /// binding takes; other users cannot open it. On a file system without locks, and where something
    /// else has that name, no leftover is replaced: there it counts as in use, until it is removed by
    /// hand.
    ///
    /// OpenBSD has no sockets for both families: there `[::]` takes IPv6 alone.
    ///
    /// Windows has no permissions for the file of a Unix domain socket but those of its directory, and
    /// the options `mode` and `group` do nothing there.
    ///
    /// On Windows a TCP address is claimed with `SO_EXCLUSIVEADDRUSE`: no other socket shares it,
    /// whatever options that one sets. By Microsoft's documentation it may be in use as long as a connection lives
    /// that its last listener has accepted; others have seen Windows give it all the same. A Unix domain socket that
    /// nobody listens at is replaced there as well, and removed with its listener; who listens has the file
    /// `.NAME.listening` beside it, by which two of them are kept apart. It has the rights that its directory gives it.
    /// None of the latter has run on Windows yet.
    pub fn bind(address: &SocketAddress, backlog: u32) -> io::Result<Listener> {
        let options = ListenerOptions {
            backlog,
            ..ListenerOptions::default()
        };
        Listener::bind_with(address, &options)
    }

    /// As [`bind`](Self::bind), with these options.
    ///
    /// # Errors
    ///
    /// As `bind`; or this user may not give a file to the group
    /// ([`io::ErrorKind::PermissionDenied`]).
    pub fn bind_with(address: &SocketAddress, options: &ListenerOptions) -> io::Result<Listener> {
        let (domain, system_address) = address.to_system()?;
        let socket = open(domain)?;
        super::never_block(&socket)?;
        // Before it listens: what a connection agrees upon at its beginning depends on it.
        options.buffers.set(&socket)?;
        #[cfg(any(unix, windows))]
        if let SocketAddress::Uds(Some(path)) = address {
            let claim = Claim::bind(&socket, &system_address, path, options)?;
            return Ok(Listener {
                _claim: Some(claim),
                #[cfg(not(unix))]
                path: Some(path.clone()),
                socket,
                domain,
                buffers: options.buffers,
            });
        }
        // On Unix this takes an address whose last connections are still winding down, and never
        // one that is listened on; on Windows it would share it.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        if is_any_of_v6(address) {
            // Systems differ in what they begin with. One that has no such sockets refuses, and takes
            // IPv6 alone.
            let _ = socket.set_only_v6(false);
        }
        // Without it another program could take a share of the connections there.
        #[cfg(windows)]
        if domain != Domain::UNIX {
            crate::nt::system::claim_address(&socket)?;
        }
        socket.bind(&system_address)?;
        options.listen(&socket)?;
        Ok(Listener {
            #[cfg(any(unix, windows))]
            _claim: None,
            #[cfg(not(unix))]
            path: match address {
                SocketAddress::Uds(path) => path.clone(),
                SocketAddress::Tcp(_) => None,
            },
            socket,
            domain,
            buffers: options.buffers,
        })
    }

    /// One that listens already, and whose file is somebody else's.
    pub(super) fn adopt(socket: Socket, domain: Domain) -> io::Result<Listener> {
        Ok(Listener {
            #[cfg(any(unix, windows))]
            _claim: None,
            #[cfg(not(unix))]
            path: None,
            socket,
            domain,
            buffers: Buffers::default(),
        })
    }

    /// Takes the next connection, and says where it comes from.
    ///
    /// # Errors
    ///
    /// - There is none ([`io::ErrorKind::WouldBlock`]).
    /// - The next one broke before it was taken, as in [`io::ErrorKind::ConnectionAborted`]: it is
    ///   gone, the others are there.
    /// - The process or the system has no descriptor left: the connection stays, and keeps the
    ///   listener readable.
    ///
    /// # Platform notes
    ///
    /// Child processes never inherit the connection, but for those that are started while this call runs: macOS and
    /// Wine, and perhaps Windows, forbid it by a call that follows the one that accepts.
    pub fn accept(&self) -> io::Result<(Stream, SocketAddress)> {
        let (socket, peer) = retry(|| self.socket.accept())?;
        // Some systems refuse options to a connection that is already over.
        let stream = self
            .buffers
            .set(&socket)
            .and_then(|()| Stream::with_options(socket, self.domain))
            .map_err(|error| io::Error::new(io::ErrorKind::ConnectionAborted, error))?;
        // Some systems name no family for a peer that was never bound.
        let peer = if self.domain == Domain::UNIX {
            SocketAddress::from_system(&peer).unwrap_or(SocketAddress::Uds(None))
        } else {
            SocketAddress::from_system(&peer)?
        };
        Ok((stream, peer))
    }

    /// Where it listens, with the port that it was given.
    ///
    /// # Errors
    ///
    /// The system has no memory left to say.
    pub fn local_address(&self) -> io::Result<SocketAddress> {
        #[cfg(not(unix))]
        if let Some(path) = &self.path {
            return Ok(SocketAddress::Uds(Some(path.clone())));
        }
        SocketAddress::from_system(&self.socket.local_addr()?)
    }
}

/// Whether it is `[::]`, which stands for every address of the machine.
fn is_any_of_v6(address: &SocketAddress) -> bool {
    matches!(address, SocketAddress::Tcp(address) if address.is_ipv6() && address.ip().is_unspecified())
}

#[cfg(unix)]
impl std::os::fd::AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Listener {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.socket.as_socket()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shared_with_nobody_whatever_the_other_asks_for() {
        let any = SocketAddress::Tcp(([127, 0, 0, 1], 0).into());
        let listener = Listener::bind(&any, 1).unwrap();
        let SocketAddress::Tcp(address) = listener.local_address().unwrap() else {
            panic!("not an address of TCP")
        };
        let second = Listener::bind(&SocketAddress::Tcp(address), 1);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let other = Socket::new(Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        other.set_reuse_address(true).unwrap();
        let shared = other.bind(&address.into()).and_then(|()| other.listen(1));
        let refused = shared.unwrap_err().kind();
        let (in_use, denied) = (io::ErrorKind::AddrInUse, io::ErrorKind::PermissionDenied);
        assert!(refused == in_use || refused == denied, "{refused:?}");
        drop((listener, other));
        Listener::bind(&SocketAddress::Tcp(address), 1).unwrap();
    }

    /// By Microsoft's documentation Windows may refuse the second listener until the connection has ended; Windows has
    /// been seen to take it.
    #[test]
    fn an_address_is_taken_again_beside_an_old_connection_and_shared_with_nobody() {
        let accept = |listener: &Listener| {
            let address = listener.socket.local_addr().unwrap();
            let client = Socket::new(listener.domain, socket2::Type::STREAM, None).unwrap();
            client.connect(&address).unwrap();
            loop {
                match listener.accept() {
                    Ok((server, _)) => return (client, server),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
        };
        let any = SocketAddress::Tcp(([127, 0, 0, 1], 0).into());
        let first = Listener::bind(&any, 1).unwrap();
        let address = first.local_address().unwrap();
        let old = accept(&first);
        drop(first);
        let second = Listener::bind(&address, 1).unwrap();
        let new = accept(&second);
        for ((client, server), byte) in [(&old, b"o"), (&new, b"n")] {
            client.send(byte).unwrap();
            let mut received = [0];
            while server.recv(&mut received).is_err() {}
            assert_eq!(&received, byte);
        }
        let other = Socket::new(Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        other.set_reuse_address(true).unwrap();
        let system_address = second.socket.local_addr().unwrap();
        let shared = other.bind(&system_address).and_then(|()| other.listen(1));
        let refused = shared.unwrap_err().kind();
        let (in_use, denied) = (io::ErrorKind::AddrInUse, io::ErrorKind::PermissionDenied);
        assert!(refused == in_use || refused == denied, "{refused:?}");
    }

    #[test]
    fn any_address_of_ipv6_and_no_other_is_for_both_families() {
        let is_any = |address: &str| is_any_of_v6(&SocketAddress::Tcp(address.parse().unwrap()));
        assert!(is_any("[::]:7"));
        for other in ["0.0.0.0:7", "[::1]:7", "[::ffff:0.0.0.0]:7", "127.0.0.1:7"] {
            assert!(!is_any(other), "{other}");
        }
        assert!(!is_any_of_v6(&SocketAddress::Uds(None)));
    }
}

//! Sockets of both kinds, as bytes.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};

use ampe::Address;
use socket2::Socket;

/// A listener.
pub(super) struct Listener {
    socket: Socket,
    /// What is to be removed at the end.
    pub(super) path: Option<PathBuf>,
}

impl Listener {
    pub(super) fn bind(address: &Address) -> io::Result<(Listener, Address)> {
        let Some(path) = address.path() else {
            let listener = TcpListener::bind(&addresses(address)?[..])?;
            let bound = Address::from(listener.local_addr()?);
            let (socket, path) = (listener.into(), None);
            return Ok((Listener { socket, path }, bound));
        };
        let socket = unix::listen(path)?;
        let path = Some(path.to_owned());
        Ok((Listener { socket, path }, address.clone()))
    }

    /// The next connection, and who it is from, as far as that is known.
    pub(super) fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        let (socket, peer) = self.socket.accept()?;
        if self.path.is_none() {
            socket.set_tcp_nodelay(true)?;
        }
        Ok((socket, peer.as_socket()))
    }
}

pub(super) fn connect(address: &Address) -> io::Result<Socket> {
    let Some(path) = address.path() else {
        let stream = TcpStream::connect(&addresses(address)?[..])?;
        stream.set_nodelay(true)?;
        return Ok(stream.into());
    };
    unix::connect(path)
}

pub(super) fn shutdown(socket: &Socket, how: Shutdown) {
    // Refused where the other side has ended it already.
    let _ = socket.shutdown(how);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::{Path, Socket, io};

    pub(super) fn listen(path: &Path) -> io::Result<Socket> {
        UnixListener::bind(path).map(Socket::from)
    }

    pub(super) fn connect(path: &Path) -> io::Result<Socket> {
        UnixStream::connect(path).map(Socket::from)
    }
}

#[cfg(not(unix))]
mod unix {
    use super::{Path, Socket, io};

    pub(super) fn listen(_: &Path) -> io::Result<Socket> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn connect(_: &Path) -> io::Result<Socket> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn addresses(address: &Address) -> io::Result<Vec<SocketAddr>> {
    if let Some(address) = address.socket_addr() {
        return Ok(vec![address]);
    }
    let host = address.host().map(ToString::to_string).unwrap_or_default();
    let host = if host.is_empty() {
        "0.0.0.0".to_owned()
    } else {
        host
    };
    let port = address.port().unwrap_or(0);
    (host.as_str(), port)
        .to_socket_addrs()
        .map(Iterator::collect)
}

//! Sockets of both kinds, as bytes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::PathBuf;

use ampe::Address;

#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};

/// A connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A listener. Dropped, its path is free again, if it has one.
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, PathBuf),
}

impl Listener {
    pub(super) fn bind(address: &Address) -> io::Result<(Listener, Address)> {
        match address {
            Address::Tcp { .. } => {
                let listener = TcpListener::bind(&addresses(address)?[..])?;
                let bound = listener.local_addr()?;
                let bound = Address::tcp(&bound.ip().to_string(), bound.port());
                let bound = bound.map_err(io::Error::other)?;
                Ok((Listener::Tcp(listener), bound))
            }
            #[cfg(unix)]
            Address::Uds(path) => {
                let path = path.as_path().to_owned();
                let listener = UnixListener::bind(&path)?;
                Ok((Listener::Unix(listener, path), address.clone()))
            }
            #[cfg(not(unix))]
            Address::Uds(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The next connection, and who it is from, as far as that is known.
    pub(super) fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            #[cfg(unix)]
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }

    /// What is to be removed at the end.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Listener::Tcp(_) => None,
            #[cfg(unix)]
            Listener::Unix(_, path) => Some(path.clone()),
        }
    }
}

impl Stream {
    pub(super) fn connect(address: &Address) -> io::Result<Stream> {
        match address {
            Address::Tcp { .. } => {
                let stream = TcpStream::connect(&addresses(address)?[..])?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            #[cfg(unix)]
            Address::Uds(path) => Ok(Stream::Unix(UnixStream::connect(path.as_path())?)),
            #[cfg(not(unix))]
            Address::Uds(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(super) fn try_clone(&self) -> io::Result<Stream> {
        match self {
            Stream::Tcp(stream) => stream.try_clone().map(Stream::Tcp),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.try_clone().map(Stream::Unix),
        }
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        // Refused where the other side has ended it already.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(how),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.shutdown(how),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(buffer),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

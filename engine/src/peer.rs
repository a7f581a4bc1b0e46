//! Who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The address of the process at the other end of a channel.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Peer {
    /// Connected over TCP from, or to, this address.
    Tcp(SocketAddr),
    /// Connected over a Unix socket. The path is that of the socket connected to; a peer that
    /// connected to us usually has none.
    Uds(Option<PathBuf>),
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => write!(formatter, "tcp://{address}"),
            Peer::Uds(Some(path)) => write!(formatter, "uds://{}", path.display()),
            Peer::Uds(None) => formatter.write_str("uds (unnamed)"),
        }
    }
}

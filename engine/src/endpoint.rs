//! One end of a connection, as the system names it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// One end of a connection, with everything resolved: what an [`Address`](crate::Address) leads to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Endpoint {
    /// An internet address and port.
    Tcp(SocketAddr),
    /// A Unix socket. The end that connected has a path only if it was bound to one.
    Uds(Option<PathBuf>),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(formatter, "tcp://{address}"),
            Endpoint::Uds(Some(path)) => write!(formatter, "uds://{}", path.display()),
            Endpoint::Uds(None) => formatter.write_str("uds (unnamed)"),
        }
    }
}

//! Who is at the other end of a connection.

use std::fmt;
use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::tls::Identity;

pub use ampe_poller::socket::Credentials;

/// Whether this system tells who connects to a Unix socket.
pub(crate) const TELLS_CREDENTIALS: bool = ampe_poller::socket::tells_peer_credentials();

/// The other end of a connection, as the system knew it when the connection came about. Of
/// [`Opened`](crate::Opened), [`Hello`](crate::Hello) and [`Closed`](crate::Closed). A clone costs nothing.
#[doc(alias = "zmq_msg_gets")]
#[doc(alias = "nng_pipe")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer(Arc<Known>);

#[derive(PartialEq, Eq, Debug)]
struct Known {
    address: Endpoint,
    local_address: Endpoint,
    credentials: Option<Credentials>,
    /// Boxed: most peers have none.
    identity: Option<Box<Identity>>,
}

/// What it takes, which all clones share. A Unix socket's path has no more than 108 bytes.
#[cfg(test)]
pub(crate) const PEER_BYTES: usize = 16 + size_of::<Known>() + 2 * 108 + 16 + size_of::<Identity>();

impl Peer {
    pub(crate) fn new(
        address: Endpoint,
        local_address: Endpoint,
        credentials: Option<Credentials>,
    ) -> Self {
        Peer(Arc::new(Known {
            address,
            local_address,
            credentials,
            identity: None,
        }))
    }

    /// The same, and who it has proven to be.
    pub(crate) fn identified(self, identity: Option<Identity>) -> Self {
        if identity.is_none() {
            return self;
        }
        Peer(Arc::new(Known {
            address: self.0.address.clone(),
            local_address: self.0.local_address.clone(),
            credentials: self.0.credentials,
            identity: identity.map(Box::new),
        }))
    }

    /// Whether it is the very same, and not another one like it.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Peer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// One of which nothing else is known.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn at(address: Endpoint) -> Self {
        Peer::new(address, Endpoint::Uds(None), None)
    }

    /// The address of its end. A process that connected through a Unix socket has none there, mostly.
    #[doc(alias = "peer_addr")]
    #[doc(alias = "getpeername")]
    pub fn address(&self) -> &Endpoint {
        &self.0.address
    }

    /// The address of our end: of a machine with several, that which the connection uses.
    #[doc(alias = "local_addr")]
    #[doc(alias = "getsockname")]
    pub fn local_address(&self) -> &Endpoint {
        &self.0.local_address
    }

    /// Which process it is, and whose, where it is connected through a Unix socket. None for TCP. Of a
    /// listener that was handed on, and of a pair, it is the process that began to listen, or made the pair.
    ///
    /// # Platform notes
    ///
    /// Linux and macOS tell all of it, the BSDs the user and group alone, Windows nothing.
    #[doc(alias = "SO_PEERCRED")]
    #[doc(alias = "peer_cred")]
    pub fn credentials(&self) -> Option<Credentials> {
        self.0.credentials
    }

    /// Who it has proven to be, by the certificate that it has shown over a connection to or from a `tls://`
    /// address. None if it has shown none, and where there is no TLS.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn identity(&self) -> Option<&Identity> {
        self.0.identity.as_deref()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Known {
            address,
            credentials,
            identity,
            ..
        } = &*self.0;
        address.fmt(formatter)?;
        if let Some(identity) = identity {
            write!(formatter, ", {identity}")?;
        }
        match credentials {
            Some(it) => match it.process_id {
                Some(process) => write!(formatter, ", process {process} of user {}", it.user_id),
                None => write!(formatter, ", a process of user {}", it.user_id),
            },
            None => Ok(()),
        }
    }
}

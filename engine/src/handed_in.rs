//! Sockets that the application hands in.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
#[cfg(unix)]
use std::os::fd::OwnedFd as OwnedSocket;
#[cfg(windows)]
use std::os::windows::io::OwnedSocket;

use ampe_poller::socket::{Listener, SocketAddress, Stream};

use crate::address::Address;

/// A socket that listens already, for [`ChannelGroup::listen_on`](crate::ChannelGroup::listen_on):
/// inherited from a supervisor such as systemd, or made in a way that this crate does not know.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = ampe::Engine::start(ampe::Options::default())?;
/// # let (group, _inbox) = engine.group(ampe::GroupOptions::default())?;
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// group.listen_on(ampe::ListeningSocket::new(listener)?)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ListeningSocket {
    listener: Listener,
    bound: SocketAddress,
    address: Address,
}

/// A socket that is connected already, or being connected, for
/// [`ChannelGroup::connect_on`](crate::ChannelGroup::connect_on) and
/// [`Message::hello_on`](crate::Message::hello_on): one end of a pair, or one that a proxy has passed on.
#[derive(Debug)]
pub struct ConnectedSocket {
    stream: Stream,
    address: Address,
}

impl ListeningSocket {
    /// Takes a listener of the standard library, or any other socket that listens, over TCP or in the Unix
    /// domain. It never blocks from now on, for others that hold it either, and is not inherited by child
    /// processes. Nobody may have it block again: the engine's thread would wait in it, for all channels. The
    /// file of a Unix socket is not removed at the end: that is for whoever made it.
    ///
    /// # Errors
    ///
    /// It is no such socket ([`io::ErrorKind::InvalidInput`]): it is closed then.
    #[doc(alias = "systemd")]
    #[doc(alias = "from_std")]
    pub fn new(socket: impl Into<OwnedSocket>) -> io::Result<Self> {
        let listener = Listener::from_socket(socket)?;
        let bound = listener.local_address()?;
        let address = address_of(bound.clone());
        Ok(ListeningSocket {
            listener,
            bound,
            address,
        })
    }

    /// Where it listens. `uds://(unnamed)` stands for a Unix socket without a path, such as one with an abstract
    /// name; nobody can connect to that.
    pub fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn into_parts(self) -> (Address, Box<HandedIn>) {
        let socket = HandedIn::Listener(self.listener, self.bound);
        (self.address, Box::new(socket))
    }
}

impl ConnectedSocket {
    /// Takes a stream of the standard library, or any other socket that is connected, over TCP or in the
    /// Unix domain. It never blocks from now on, for others that hold it either, and is not inherited by child
    /// processes. Nobody may have it block again, as with [`ListeningSocket::new`], or read or write what is
    /// the engine's.
    ///
    /// What has ended already ends its channel: mostly at once, but where the system does not tell it from
    /// what is still being connected, only after [`connect_timeout`](crate::Options::connect_timeout).
    ///
    /// # Errors
    ///
    /// It is no such socket ([`io::ErrorKind::InvalidInput`]), or the system refuses an option: it is closed
    /// then.
    #[doc(alias = "from_std")]
    #[doc(alias = "socketpair")]
    pub fn new(socket: impl Into<OwnedSocket>) -> io::Result<Self> {
        let stream = Stream::from_socket(socket)?;
        let peer = match (stream.peer_address(), stream.local_address()) {
            (Ok(peer), _) => peer,
            // Of one that is being connected nobody knows yet.
            (Err(_), Ok(SocketAddress::Tcp(own))) => SocketAddress::Tcp(match own {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            }),
            _ => SocketAddress::Uds(None),
        };
        let address = address_of(peer);
        Ok(ConnectedSocket { stream, address })
    }

    pub(crate) fn into_parts(self) -> (Address, Box<HandedIn>) {
        (self.address, Box::new(HandedIn::Stream(self.stream)))
    }
}

/// What travels to the reactor, and back if the post is refused.
#[derive(Debug)]
pub(crate) enum HandedIn {
    /// And where it listens.
    Listener(Listener, SocketAddress),
    Stream(Stream),
}

/// The address by which others are told of it.
fn address_of(system: SocketAddress) -> Address {
    match system {
        SocketAddress::Tcp(address) => Address::from(address),
        SocketAddress::Uds(path) => path
            .and_then(|path| Address::uds(path).ok())
            .unwrap_or_else(Address::unnamed),
    }
}

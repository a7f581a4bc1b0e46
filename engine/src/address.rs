//! Where to connect or to listen: a TCP host and port, with TLS or without, or the path of a Unix socket.
//!
//! An address has two written forms. People write `tcp://host:port`, `tls://host:port` and
//! `uds:///path`; messages carry `tcp|host|port`, `tls|host|port` and `uds|path`, as the value of the
//! text header [`CONNECT_TO`] or [`LISTEN_ON`]. An [`Address`] that exists can be written in both.

#[doc(hidden)]
pub mod fuzzing;
mod parse;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU32;
use std::ops::Deref;
use std::path::Path;
use std::str::FromStr;

/// The text header of a HelloRequest that says where to connect.
pub const CONNECT_TO: &str = "~connect_to";

/// The text header of a WelcomeRequest that says where to listen.
pub const LISTEN_ON: &str = "~listen_on";

/// The longest host, in bytes of its written form.
pub const MAX_HOST_LEN: usize = 255;

/// The longest path of a Unix socket, in bytes: what the system's socket address has room for, less
/// the terminating NUL. 107, or 103 on Apple's systems and the BSDs.
pub const MAX_UDS_PATH_LEN: usize = ampe_poller::socket::UDS_PATH_BYTES;

/// Where to connect or to listen.
///
/// The parts are checked when the address is made, so an address in hand is well-formed, and can be
/// written as text ([`Display`](fmt::Display)) and for the wire ([`Address::to_wire`]) without
/// failing. Whether a host resolves and a path exists is another matter.
///
/// # Text form
///
/// - `tcp://HOST:PORT`, or `HOST:PORT` alone. HOST is an IPv4 address, an IPv6 address in brackets,
///   or a name to be resolved; empty, as in `tcp://:7099`, it is any IPv4 interface, to listen on.
/// - `tls://HOST:PORT`: the same, and what is sent is encrypted and authenticated by TLS 1.3. To use it
///   takes the crate's feature `tls`, and a group that was given its certificates and whom to trust.
/// - A link-local IPv6 address needs the zone that it is valid in, an interface of this machine, by
///   name or number: `tcp://[fe80::1%eth0]:7099`, `tcp://[fe80::1%2]:7099`. The system finds the
///   interface by its name when the address is used; Windows knows interfaces by number only. Before
///   a name the `%` may be spelt `%25`, as in URLs (RFC 6874): `tcp://[fe80::1%25eth0]:7099`. A number
///   is taken as it stands: `%251` is interface 251.
/// - `uds://PATH`, or PATH alone if it holds a slash (of either kind) or starts with a dot. The
///   path is taken literally; nothing in it is escaped.
///
/// # Limits
///
/// A host is at most [`MAX_HOST_LEN`] bytes. A path is UTF-8, because it travels in a text header,
/// at most [`MAX_UDS_PATH_LEN`] bytes, holds no CR, LF or NUL and does not end with a space or tab,
/// which a reader of text headers would drop. It does not start with `@`, which stands for Linux's
/// abstract names: those are not supported, and a file of such a name is written `./@name`.
///
/// # Examples
///
/// ```
/// use ampe::address::Address;
///
/// let address: Address = "tcp://[::1]:7099".parse()?;
/// assert_eq!(address.port(), Some(7099));
/// assert_eq!(address.to_wire(), "tcp|::1|7099");
/// assert_eq!(Address::from_wire("tcp|::1|7099")?, address);
///
/// let address: Address = "./run/engine.sock".parse()?;
/// assert_eq!(address.to_string(), "uds://./run/engine.sock");
///
/// let refused = "tcp://localhost:70000".parse::<Address>().unwrap_err();
/// assert_eq!(refused.to_string(), "the port `70000` is not a number from 0 to 65535");
/// # Ok::<(), ampe::address::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP endpoint.
    Tcp {
        /// The interface, or the name to be resolved.
        host: Host,
        /// 0 to listen on a port of the system's choice.
        port: u16,
    },
    /// A TCP endpoint whose connections are secured by TLS.
    Tls {
        /// The interface, or the name to be resolved, which the peer has to prove is its own.
        host: Host,
        /// 0 to listen on a port of the system's choice.
        port: u16,
    },
    /// The path of a Unix socket.
    Uds(UdsPath),
}

impl Address {
    /// The TCP address of this host and port. The host is written without brackets; empty, it is
    /// any IPv4 interface.
    ///
    /// # Errors
    ///
    /// As [`Host::new`].
    pub fn tcp(host: &str, port: u16) -> Result<Address, AddressError> {
        Ok(Address::Tcp {
            host: Host::new(host)?,
            port,
        })
    }

    /// As [`tcp`](Address::tcp), with TLS.
    ///
    /// # Errors
    ///
    /// As [`Host::new`].
    pub fn tls(host: &str, port: u16) -> Result<Address, AddressError> {
        Ok(Address::Tls {
            host: Host::new(host)?,
            port,
        })
    }

    /// The address of the Unix socket at this path.
    ///
    /// # Errors
    ///
    /// As [`UdsPath::new`].
    pub fn uds(path: impl AsRef<Path>) -> Result<Address, AddressError> {
        Ok(Address::Uds(UdsPath::new(path)?))
    }

    /// What stands for a Unix socket without a path, as one end of a pair is.
    pub(crate) fn unnamed() -> Address {
        Address::uds("(unnamed)").expect("a short path")
    }

    /// Reads the value of an address header: `tcp|HOST|PORT`, `tls|HOST|PORT` or `uds|PATH`.
    ///
    /// An IPv6 host stands bare, with its zone behind a plain `%`; an empty host is any IPv4
    /// interface, and a path is all that follows `uds|`, whatever it holds.
    ///
    /// # Errors
    ///
    /// - [`AddressError::Empty`], [`AddressError::UnknownScheme`]: not `tcp|`, `tls|` or `uds|` in front.
    /// - [`AddressError::MissingPort`], [`AddressError::ExtraPart`], [`AddressError::InvalidPort`]:
    ///   not one host and one port after `tcp|` or `tls|`.
    /// - as [`Host::new`] and [`UdsPath::new`].
    pub fn from_wire(value: &str) -> Result<Address, AddressError> {
        parse::wire(value)
    }

    /// Reads the value of an address header as [`TextHeaders::get`](crate::wire::TextHeaders::get)
    /// yields it.
    ///
    /// # Errors
    ///
    /// [`AddressError::NotUtf8`], and as [`Address::from_wire`].
    pub fn from_wire_bytes(value: &[u8]) -> Result<Address, AddressError> {
        parse::wire(str::from_utf8(value).map_err(|_| AddressError::NotUtf8)?)
    }

    /// The value of an address header: `tcp|HOST|PORT`, `tls|HOST|PORT` or `uds|PATH`.
    #[must_use]
    pub fn to_wire(&self) -> String {
        match self {
            Address::Tcp { host, port } => format!("tcp|{host}|{port}"),
            Address::Tls { host, port } => format!("tls|{host}|{port}"),
            Address::Uds(path) => format!("uds|{}", path.as_str()),
        }
    }

    /// The host, if this is a TCP address, with TLS or without.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        match self {
            Address::Tcp { host, .. } | Address::Tls { host, .. } => Some(host),
            Address::Uds(_) => None,
        }
    }

    /// The port, if this is a TCP address, with TLS or without. 0 asks the system to choose.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Address::Tcp { port, .. } | Address::Tls { port, .. } => Some(*port),
            Address::Uds(_) => None,
        }
    }

    /// The path, if this is the address of a Unix socket.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Address::Tcp { .. } | Address::Tls { .. } => None,
            Address::Uds(path) => Some(path),
        }
    }

    /// The socket address that this is already, without asking a resolver: that of a literal host,
    /// or of any IPv4 interface if the host is empty. `None` for names, for IPv6 addresses in a zone
    /// that is given by name, and for Unix sockets.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Address::Tcp { host, port } | Address::Tls { host, port } => host.socket_addr(*port),
            Address::Uds(_) => None,
        }
    }

    /// Whether connections to it are secured by TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Address::Tls { .. })
    }

    /// Whether only this machine can be at the other end: a loopback address, the name `localhost`
    /// or one below it, or a Unix socket. The engine takes `localhost` for `::1` and 127.0.0.1
    /// without asking anybody. Other names are not resolved, and count as remote.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Address::Tcp { host, .. } | Address::Tls { host, .. } => host.is_loopback(),
            Address::Uds(_) => true,
        }
    }

    /// Whether one can connect to this address, and not only listen on it.
    ///
    /// # Errors
    ///
    /// - [`AddressError::HostNeeded`]: the host is empty.
    /// - [`AddressError::PortNeeded`]: the port is 0.
    pub fn check_connect(&self) -> Result<(), AddressError> {
        match (self.host(), self.port()) {
            (Some(host), _) if host.is_any() => Err(AddressError::HostNeeded),
            (_, Some(0)) => Err(AddressError::PortNeeded),
            _ => Ok(()),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads the text form; see [`Address`].
    ///
    /// # Errors
    ///
    /// - [`AddressError::Empty`]: there is nothing.
    /// - [`AddressError::UnknownScheme`]: `x://` with x none of `tcp`, `tls` and `uds`.
    /// - [`AddressError::WireForm`]: the form that messages carry.
    /// - [`AddressError::MissingPort`], [`AddressError::InvalidPort`]: of a TCP address.
    /// - [`AddressError::BracketsNeeded`], [`AddressError::InvalidIpv6`]: of an IPv6 host.
    /// - as [`Host::new`] and [`UdsPath::new`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse::text(text)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } => host.fmt_with("tcp", *port, f),
            Address::Tls { host, port } => host.fmt_with("tls", *port, f),
            Address::Uds(path) => write!(f, "uds://{}", path.as_str()),
        }
    }
}

impl From<SocketAddr> for Address {
    /// The flow label of an IPv6 address is dropped; its scope is kept as a numeric zone.
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V4(v4) => Host(HostKind::Ip((*v4.ip()).into())),
            SocketAddr::V6(v6) => Host::scoped(*v6.ip(), v6.scope_id()),
        };
        Address::Tcp {
            host,
            port: address.port(),
        }
    }
}

/// The host of a TCP address: an IP address, a name to be resolved, or any IPv4 interface.
///
/// Displayed without brackets, as the resolver and the wire want it; any interface is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(HostKind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum HostKind {
    Any,
    Ip(IpAddr),
    /// An IPv6 address in the zone with this number.
    Scoped(Ipv6Addr, NonZeroU32),
    /// An IPv6 address with `%` and a zone's name, which only the system can turn into a number.
    Zoned(Box<str>),
    Name(Box<str>),
}

impl Host {
    /// Reads a host without brackets. Empty, it is any IPv4 interface. The zone of an IPv6 address
    /// stands behind a plain `%`, as the system wants it.
    ///
    /// # Errors
    ///
    /// - [`AddressError::HostTooLong`]: more than [`MAX_HOST_LEN`] bytes.
    /// - [`AddressError::InvalidHost`]: `|`, a control character, white space, or one of
    ///   `/ \ [ ] @ ? #` in it.
    /// - [`AddressError::InvalidIpv4`]: only digits and dots, but no IPv4 address.
    /// - [`AddressError::InvalidIpv6`]: a colon in it, but no IPv6 address, or a zone that is a number
    ///   of more than 32 bits.
    pub fn new(host: &str) -> Result<Host, AddressError> {
        parse::host(host)
    }

    /// Whether this is any IPv4 interface, written as an empty host. One can only listen on it.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0 == HostKind::Any
    }

    /// The IP address, if the host is one and no more; that of any IPv4 interface, if it is empty.
    /// `None` for one in a zone, which without its zone leads somewhere else: see
    /// [`Address::socket_addr`].
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.0 {
            HostKind::Any => Some(Ipv4Addr::UNSPECIFIED.into()),
            HostKind::Ip(ip) => Some(*ip),
            HostKind::Scoped(..) | HostKind::Zoned(_) | HostKind::Name(_) => None,
        }
    }

    /// What the resolver must be asked for: a name, or an IPv6 address with a zone's name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            HostKind::Any | HostKind::Ip(_) | HostKind::Scoped(..) => None,
            HostKind::Zoned(name) | HostKind::Name(name) => Some(name),
        }
    }

    /// Whether this is a loopback address, the name `localhost` or a name below it, such as
    /// `app.localhost` (RFC 6761), in upper or lower case.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.0 {
            // The loopback of IPv4 written as an IPv6 address leads to the same place.
            HostKind::Ip(ip) => ip.to_canonical().is_loopback(),
            HostKind::Scoped(ip, _) => ip.to_canonical().is_loopback(),
            HostKind::Name(name) => is_localhost(name),
            HostKind::Any | HostKind::Zoned(_) => false,
        }
    }

    /// The IPv6 address in the zone with this number, where 0 is none.
    fn scoped(ip: Ipv6Addr, zone: u32) -> Host {
        Host(match NonZeroU32::new(zone) {
            Some(zone) => HostKind::Scoped(ip, zone),
            None => HostKind::Ip(ip.into()),
        })
    }

    fn socket_addr(&self, port: u16) -> Option<SocketAddr> {
        match &self.0 {
            HostKind::Scoped(ip, zone) => Some(SocketAddrV6::new(*ip, port, 0, zone.get()).into()),
            _ => self.ip().map(|ip| SocketAddr::new(ip, port)),
        }
    }

    fn fmt_with(&self, scheme: &str, port: u16, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.zone() {
            // It would be read as the spelling of RFC 6874.
            Some((ip, zone)) if zone.starts_with("25") => {
                write!(f, "{scheme}://[{ip}%25{zone}]:{port}")
            }
            _ if self.is_ipv6() => write!(f, "{scheme}://[{self}]:{port}"),
            _ => write!(f, "{scheme}://{self}:{port}"),
        }
    }

    /// The IPv6 address and the name of its zone, if it has one.
    fn zone(&self) -> Option<(&str, &str)> {
        match &self.0 {
            HostKind::Zoned(name) => name.split_once('%'),
            _ => None,
        }
    }

    fn is_ipv6(&self) -> bool {
        matches!(
            self.0,
            HostKind::Ip(IpAddr::V6(_)) | HostKind::Scoped(..) | HostKind::Zoned(_)
        )
    }
}

/// Whether a name is one of those that stand for this machine itself, whatever a resolver says: RFC
/// 6761, section 6.3.
pub(crate) fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("localhost")
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HostKind::Any => Ok(()),
            HostKind::Ip(ip) => write!(f, "{ip}"),
            HostKind::Scoped(ip, zone) => write!(f, "{ip}%{zone}"),
            HostKind::Zoned(name) | HostKind::Name(name) => f.write_str(name),
        }
    }
}

/// The path of a Unix socket, within the limits of [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UdsPath(Box<str>);

impl UdsPath {
    /// Takes a path, which need not exist.
    ///
    /// # Errors
    ///
    /// - [`AddressError::EmptyPath`]: it is empty.
    /// - [`AddressError::AbstractSocket`]: `@` or NUL at its start.
    /// - [`AddressError::NotUtf8`]: it is no UTF-8.
    /// - [`AddressError::PathTooLong`]: it is longer than [`MAX_UDS_PATH_LEN`].
    /// - [`AddressError::InvalidPath`]: CR, LF or NUL in it.
    /// - [`AddressError::PathEndsBlank`]: a space or tab at its end.
    pub fn new(path: impl AsRef<Path>) -> Result<UdsPath, AddressError> {
        parse::uds_path(path.as_ref().to_str().ok_or(AddressError::NotUtf8)?)
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&*self.0)
    }
}

impl AsRef<Path> for UdsPath {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

impl Deref for UdsPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.as_path()
    }
}

/// Why something is no address. Each holds at most the part that is wrong, shortened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is nothing.
    #[error("the address is empty: write tcp://host:port or uds:///path")]
    Empty,
    /// The scheme is none of `tcp`, `tls` and `uds`.
    #[error("the scheme `{scheme}` is unknown: write tcp://host:port or uds:///path")]
    UnknownScheme {
        /// What stands in its place.
        scheme: String,
    },
    /// The form that messages carry, where the text form is wanted.
    #[error("`{text}` is the form for message headers: write tcp://host:port or uds:///path")]
    WireForm {
        /// What was given.
        text: String,
    },
    /// A TCP address ends without a port.
    #[error("`{text}` has no port: write tcp://host:port, or ./name for a Unix socket")]
    MissingPort {
        /// What was given.
        text: String,
    },
    /// The port is no number, or too large.
    #[error("the port `{port}` is not a number from 0 to 65535")]
    InvalidPort {
        /// What stands in its place.
        port: String,
    },
    /// The wire form of a TCP address goes on after the port.
    #[error("`{text}` stands after the port: a TCP address is tcp|host|port and nothing more")]
    ExtraPart {
        /// What is too much.
        text: String,
    },
    /// The host is too long.
    #[error("the host is {len} bytes long and may be at most {max}", max = MAX_HOST_LEN)]
    HostTooLong {
        /// How long it is, in bytes.
        len: usize,
    },
    /// The host holds a character that no host may.
    #[error("the host `{host}` holds {character:?}, which no host may: leave it out")]
    InvalidHost {
        /// The host.
        host: String,
        /// The first such character.
        character: char,
    },
    /// The host looks like an IPv4 address and is none.
    #[error("the host `{host}` is no IPv4 address: write four numbers from 0 to 255, as 127.0.0.1")]
    InvalidIpv4 {
        /// The host.
        host: String,
    },
    /// The host looks like an IPv6 address and is none.
    #[error("the host `{host}` is no IPv6 address: write one as ::1 or fe80::1%eth0")]
    InvalidIpv6 {
        /// The host.
        host: String,
    },
    /// An IPv6 host stands without brackets, so that its end and the port's start are unclear, or
    /// its brackets do not match.
    #[error("`{text}` needs brackets around the IPv6 host: write tcp://[::1]:7099")]
    BracketsNeeded {
        /// What was given.
        text: String,
    },
    /// The host is empty, and something is to connect to it.
    #[error("the address names no host to connect to: write tcp://host:port")]
    HostNeeded,
    /// The port is 0, and something is to connect to it.
    #[error("nothing can be connected to at port 0: give the port that the listener is bound to")]
    PortNeeded,
    /// The path is empty.
    #[error("the path of the Unix socket is empty: write uds:///path")]
    EmptyPath,
    /// The path is the name of an abstract Unix socket, as Linux has them, not that of a file.
    #[error(
        "`{name}` is an abstract Unix socket, and only those with a path are supported: write \
         uds:///path, or uds://./{name} for a file of that name"
    )]
    AbstractSocket {
        /// Its name, behind an `@`.
        name: String,
    },
    /// The path does not fit into a socket address.
    #[error(
        "the path of the Unix socket is {len} bytes long and the system takes at most {max}: use \
         a shorter directory, or a relative path",
        max = MAX_UDS_PATH_LEN
    )]
    PathTooLong {
        /// How long it is, in bytes.
        len: usize,
    },
    /// The path holds a character that a text header or a socket address cannot carry.
    #[error(
        "the path of the Unix socket holds {character:?}, which no address can carry: rename it"
    )]
    InvalidPath {
        /// CR, LF or NUL.
        character: char,
    },
    /// The path ends with a space or tab, which a reader of text headers drops.
    #[error("the path of the Unix socket ends with a space or tab, which gets lost: rename it")]
    PathEndsBlank,
    /// The address is no UTF-8.
    #[error("the address is not UTF-8, which message headers need: use another path or host")]
    NotUtf8,
}

#[cfg(test)]
mod tests;

//! Non-blocking stream sockets over TCP and Unix domain sockets.
//!
//! All of them are close-on-exec, never raise SIGPIPE, and retry what a signal interrupts. Where
//! they would block they say so with [`io::ErrorKind::WouldBlock`].

#[cfg(unix)]
mod claim;
mod listener;
mod stream;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

pub use self::listener::Listener;
pub use self::stream::Stream;

/// Where a socket is bound, or where it leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SocketAddress {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A Unix domain socket: the path that a listener is bound to, or none for a socket that was
    /// never bound, as those of connecting peers are.
    Uds(Option<PathBuf>),
}

impl SocketAddress {
    fn to_system(&self) -> io::Result<(Domain, SockAddr)> {
        match self {
            SocketAddress::Tcp(address) => Ok((Domain::for_address(*address), (*address).into())),
            SocketAddress::Uds(Some(path)) => Ok((Domain::UNIX, uds_path(path)?)),
            SocketAddress::Uds(None) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a Unix domain socket without a path cannot be addressed",
            )),
        }
    }

    fn from_system(address: &SockAddr) -> io::Result<Self> {
        if let Some(address) = address.as_socket() {
            return Ok(SocketAddress::Tcp(address));
        }
        if address.is_unix() {
            return Ok(SocketAddress::Uds(pathname(address)));
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the socket's address is of an unknown family",
        ))
    }
}

/// The longest path that fits in the system's `sun_path`, of which the closing zero takes a byte.
pub const UDS_PATH_BYTES: usize = if cfg!(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
)) {
    103
} else {
    107
};

fn uds_path(path: &Path) -> io::Result<SockAddr> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let reason = if bytes.is_empty() {
        "a Unix domain socket's path cannot be empty".to_owned()
    } else if bytes.contains(&0) {
        "a Unix domain socket's path cannot contain a zero byte".to_owned()
    } else if bytes.len() > UDS_PATH_BYTES {
        let length = bytes.len();
        format!("a Unix domain socket's path can have at most {UDS_PATH_BYTES} bytes, not {length}")
    } else {
        return SockAddr::unix(path);
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

#[cfg(unix)]
fn pathname(address: &SockAddr) -> Option<PathBuf> {
    address.as_pathname().map(PathBuf::from)
}

#[cfg(not(unix))]
fn pathname(_address: &SockAddr) -> Option<PathBuf> {
    None
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketAddress::Tcp(address) => write!(f, "tcp://{address}"),
            SocketAddress::Uds(Some(path)) => write!(f, "uds://{}", path.display()),
            SocketAddress::Uds(None) => f.write_str("uds://"),
        }
    }
}

/// Whether this system has Unix domain sockets, as Linux does, and not every Windows.
pub fn has_unix_sockets() -> bool {
    match open(Domain::UNIX) {
        // Having no descriptor left says nothing about it.
        Err(error) => error.kind() != io::ErrorKind::Unsupported,
        Ok(_) => true,
    }
}

/// A stream socket, or an error that says so in words where the system lacks the family.
fn open(domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::STREAM, None).map_err(|error| {
        if domain == Domain::UNIX && is_family_unknown(&error) {
            let said = "this system has no Unix domain sockets";
            return io::Error::new(io::ErrorKind::Unsupported, said);
        }
        error
    })
}

#[cfg(unix)]
fn is_family_unknown(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::AFNOSUPPORT)
}

#[cfg(windows)]
fn is_family_unknown(error: &io::Error) -> bool {
    error.raw_os_error() == Some(windows_sys::Win32::Networking::WinSock::WSAEAFNOSUPPORT)
}

#[cfg(not(any(unix, windows)))]
fn is_family_unknown(_error: &io::Error) -> bool {
    false
}

/// Whether an operation failed for want of memory in the system, which passes: nothing is wrong with
/// the socket, and nothing was done. No event tells when it has passed; try again a little later.
///
/// These are `ENOBUFS` and `ENOMEM`, and on Windows `WSAENOBUFS` and `WSA_NOT_ENOUGH_MEMORY`.
/// [`io::ErrorKind::WouldBlock`] is none of them, because an event tells when that is over.
pub fn is_passing(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|number| OUT_OF_MEMORY.contains(&number))
}

#[cfg(unix)]
const OUT_OF_MEMORY: &[i32] = &[
    rustix::io::Errno::NOBUFS.raw_os_error(),
    rustix::io::Errno::NOMEM.raw_os_error(),
];

#[cfg(windows)]
const OUT_OF_MEMORY: &[i32] = &[
    windows_sys::Win32::Networking::WinSock::WSAENOBUFS,
    windows_sys::Win32::Networking::WinSock::WSA_NOT_ENOUGH_MEMORY,
];

#[cfg(not(any(unix, windows)))]
const OUT_OF_MEMORY: &[i32] = &[];

/// Repeats what a signal interrupted.
fn retry<T>(mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_passes_and_nothing_else() {
        #[cfg(target_os = "linux")]
        let (passing, lasting) = ([105, 12], [11, 4, 32, 104, 110, 24, 28]);
        #[cfg(target_vendor = "apple")]
        let (passing, lasting) = ([55, 12], [35, 4, 32, 54, 60, 24, 28]);
        #[cfg(windows)]
        let (passing, lasting) = (
            [10055, 8],
            [10035, 10004, 10053, 10054, 10060, 10024, 10058],
        );
        #[cfg(any(target_os = "linux", target_vendor = "apple", windows))]
        {
            for number in passing {
                assert!(
                    is_passing(&io::Error::from_raw_os_error(number)),
                    "{number}"
                );
            }
            for number in lasting {
                assert!(
                    !is_passing(&io::Error::from_raw_os_error(number)),
                    "{number}"
                );
            }
        }
        assert!(!is_passing(&io::ErrorKind::OutOfMemory.into()));
        assert!(!is_passing(&io::ErrorKind::WouldBlock.into()));
    }
}

//! Non-blocking stream sockets over TCP and Unix domain sockets.
//!
//! All of them are close-on-exec, never raise SIGPIPE, and retry what a signal interrupts. Where
//! they would block they say so with [`io::ErrorKind::WouldBlock`].

mod buffers;
#[cfg(unix)]
mod claim;
#[cfg(windows)]
#[path = "leftover.rs"]
mod claim;
mod credentials;
mod handed_in;
mod listener;
mod stream;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

pub use self::buffers::Buffers;
pub use self::credentials::{Credentials, tells_peer_credentials};
pub use self::listener::{Listener, ListenerOptions};
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

/// Whether an error says that the system is short of memory or buffers, or has given this user its
/// share: a state that passes. The same call may succeed a moment later.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    use io::ErrorKind::{OutOfMemory, StorageFull};
    matches!(error.kind(), OutOfMemory | StorageFull) || is_shortage_by_number(error)
}

#[cfg(unix)]
fn is_shortage_by_number(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::NOBUFS)
}

#[cfg(windows)]
fn is_shortage_by_number(error: &io::Error) -> bool {
    use windows_sys::Win32::Foundation::{
        ERROR_COMMITMENT_LIMIT, ERROR_NO_SYSTEM_RESOURCES, ERROR_NOT_ENOUGH_QUOTA,
        ERROR_WORKING_SET_QUOTA,
    };
    use windows_sys::Win32::Networking::WinSock::WSAENOBUFS;
    let of_system = [
        ERROR_COMMITMENT_LIMIT,
        ERROR_NO_SYSTEM_RESOURCES,
        ERROR_NOT_ENOUGH_QUOTA,
        ERROR_WORKING_SET_QUOTA,
    ];
    let number = error.raw_os_error();
    number == Some(WSAENOBUFS)
        || number
            .and_then(|number| u32::try_from(number).ok())
            .is_some_and(|number| of_system.contains(&number))
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

/// Has no call on a socket wait for what there is not. One system call, where to read and write the flags of its file
/// takes two.
#[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
fn never_block(socket: &Socket) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(socket, true)?)
}

/// On Solaris and illumos an ioctl is not enough for sockets: so says the standard library.
#[cfg(any(not(unix), target_os = "solaris", target_os = "illumos"))]
fn never_block(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)
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

/// Binds a socket to its path, in the place of a leftover if one is there.
#[cfg(any(unix, windows))]
fn bind_or_replace(
    socket: &Socket,
    address: &SockAddr,
    remove_leftover: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    match socket.bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_leftover()?;
            socket.bind(address)
        }
        outcome => outcome,
    }
}

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
    fn a_shortage_passes_and_a_reset_does_not() {
        for kind in [io::ErrorKind::OutOfMemory, io::ErrorKind::StorageFull] {
            assert!(is_shortage(&kind.into()));
        }
        #[cfg(unix)]
        for errno in [
            rustix::io::Errno::NOBUFS,
            rustix::io::Errno::NOMEM,
            rustix::io::Errno::NOSPC,
        ] {
            assert!(is_shortage(&errno.into()), "{errno}");
        }
        #[cfg(windows)]
        for number in [10055, 1450, 1453, 1455, 1816, 8] {
            assert!(
                is_shortage(&io::Error::from_raw_os_error(number)),
                "{number}"
            );
        }
        for kind in [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::WouldBlock,
            io::ErrorKind::Unsupported,
            io::ErrorKind::PermissionDenied,
        ] {
            assert!(!is_shortage(&kind.into()));
        }
    }
}

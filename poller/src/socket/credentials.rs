use std::io;

use super::Stream;

/// The process at the other end of a Unix domain connection, as the system knew it when that process
/// connected, or began to listen. At the other end of a pair it is the process that made the pair, whoever has
/// that end now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Credentials {
    /// Its effective user.
    pub user_id: u32,
    /// Its effective group.
    pub group_id: u32,
    /// The process. The number may be another process's by now, if that one has ended. None where the
    /// system does not tell: for a process of another namespace, and on FreeBSD, NetBSD, OpenBSD and
    /// DragonFly.
    pub process_id: Option<u32>,
}

impl Stream {
    /// Who is at the other end of a Unix domain connection: `SO_PEERCRED` on Linux (unix(7)),
    /// getpeereid(3) elsewhere. None for TCP.
    ///
    /// # Errors
    ///
    /// The stream is not connected, or the system refuses to say.
    ///
    /// # Platform notes
    ///
    /// On Windows there is none.
    pub fn peer_credentials(&self) -> io::Result<Option<Credentials>> {
        match self.is_unix {
            true => system::of_system(self),
            false => Ok(None),
        }
    }
}

/// Whether this system tells who is at the other end of a Unix domain connection.
pub const fn tells_peer_credentials() -> bool {
    system::TELLS
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use super::*;

    pub(super) const TELLS: bool = true;

    pub(super) fn of_system(stream: &Stream) -> io::Result<Option<Credentials>> {
        use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

        let found = getsockopt(stream, PeerCredentials)?;
        Ok(Some(Credentials {
            user_id: found.uid(),
            group_id: found.gid(),
            process_id: known(found.pid()),
        }))
    }
}

#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd"
))]
mod system {
    use super::*;

    pub(super) const TELLS: bool = true;

    pub(super) fn of_system(stream: &Stream) -> io::Result<Option<Credentials>> {
        let (user, group) = nix::unistd::getpeereid(stream)?;
        #[cfg(target_vendor = "apple")]
        let process_id =
            nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::LocalPeerPid).ok();
        #[cfg(not(target_vendor = "apple"))]
        let process_id = None;
        Ok(Some(Credentials {
            user_id: user.as_raw(),
            group_id: group.as_raw(),
            process_id: process_id.and_then(known),
        }))
    }
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
mod system {
    use super::*;

    pub(super) const TELLS: bool = false;

    pub(super) fn of_system(_: &Stream) -> io::Result<Option<Credentials>> {
        Ok(None)
    }
}

/// Systems tell zero, or less, of a process that has no number here.
#[cfg(unix)]
fn known(process_id: i32) -> Option<u32> {
    u32::try_from(process_id).ok().filter(|&it| it > 0)
}

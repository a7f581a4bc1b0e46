//! A Unix domain listener's claim to its path.

mod lock;

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Gid, Mode, RawMode, Stat, lstat, unlink};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use self::lock::Lock;
use super::{ListenerOptions, bind_or_replace};

/// The path's file, as long as it is the one that this process created.
#[derive(Debug)]
pub(super) struct Claim {
    /// Absolute: the working directory may change.
    path: PathBuf,
    file: FileIdentity,
}

/// Not used again while the listener lives, since its socket keeps the file's inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileIdentity {
    device: u128,
    inode: u128,
}

impl Claim {
    /// Binds the socket to the path and listens. Would block while another process of this user
    /// binds there.
    pub(super) fn bind(
        socket: &Socket,
        address: &SockAddr,
        path: &Path,
        options: &ListenerOptions,
    ) -> io::Result<Claim> {
        let path = std::path::absolute(path)?;
        // From the look at the path until connections are no longer refused there: whoever comes
        // second has to see a listener, not a leftover.
        let lock = Lock::take(&path)?;
        restrict_before_bind(socket)?;
        bind_or_replace(socket, address, || {
            remove_leftover(&path, address, lock.as_ref())
        })?;
        let claim = Claim {
            file: identity(&lstat(&path)?),
            path,
        };
        claim.restrict_after_bind()?;
        claim.open_to_others(options)?;
        options.listen(socket)?;
        Ok(claim)
    }

    /// Nobody can connect before the socket listens, so that it does not matter when the file becomes
    /// accessible to whom.
    fn open_to_others(&self, options: &ListenerOptions) -> io::Result<()> {
        if let Some(group) = options.group {
            rustix::fs::chown(&self.path, None, Some(Gid::from_raw(group)))?;
        }
        if options.mode != ListenerOptions::default().mode {
            let mode = Mode::from_bits_truncate(options.mode as RawMode);
            rustix::fs::chmod(&self.path, mode)?;
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "the other systems need both"
    )]
    fn restrict_after_bind(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn restrict_after_bind(&self) -> io::Result<()> {
        Ok(rustix::fs::chmod(&self.path, Mode::RUSR | Mode::WUSR)?)
    }
}

/// Linux creates the file with the socket's own mode, so that there is no moment without it.
#[cfg(target_os = "linux")]
fn restrict_before_bind(socket: &Socket) -> io::Result<()> {
    Ok(rustix::fs::fchmod(socket, Mode::RUSR | Mode::WUSR)?)
}

#[cfg(not(target_os = "linux"))]
fn restrict_before_bind(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The socket still listens, so nobody takes the file for a leftover and replaces it
        // between the look and the removal.
        if lstat(&self.path).is_ok_and(|found| identity(&found) == self.file) {
            // There is nobody to tell; the next listener replaces what is left.
            let _ = unlink(&self.path);
        }
    }
}

/// Removes a socket of this user that refuses connections, and nothing else.
fn remove_leftover(path: &Path, address: &SockAddr, lock: Option<&Lock>) -> io::Result<()> {
    let found = match lstat(path) {
        Err(Errno::NOENT) => return Ok(()),
        found => found?,
    };
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} exists and is not a socket", path.display()),
        ));
    }
    // The lock is this user's. What others bind, or anybody without it, may be about to listen.
    if lock.is_none() || !is_ours(&found) || !refuses_connections(address)? {
        return Err(Errno::ADDRINUSE.into());
    }
    match lstat(path) {
        Err(Errno::NOENT) => Ok(()),
        Ok(again) if identity(&again) == identity(&found) => Ok(unlink(path)?),
        Ok(_) => Err(Errno::ADDRINUSE.into()),
        Err(error) => Err(error.into()),
    }
}

/// Whether nobody listens there. In doubt somebody does.
fn refuses_connections(address: &SockAddr) -> io::Result<bool> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    super::never_block(&probe)?;
    let outcome = probe.connect(address);
    Ok(outcome.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}

fn identity(stat: &Stat) -> FileIdentity {
    // Widened: their types differ from system to system, also in sign.
    FileIdentity {
        device: stat.st_dev as u128,
        inode: stat.st_ino as u128,
    }
}

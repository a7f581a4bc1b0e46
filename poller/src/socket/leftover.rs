//! A Unix domain listener's claim to its path, on Windows.
//!
//! As on Unix a leftover is replaced, and nothing else: a file that is a socket, at which nobody listens. That
//! connections are refused does not say so alone, since Windows also refuses them where a backlog is full. So a
//! listener has a file beside its socket open, `.NAME.listening`, which nobody else can open meanwhile, and which
//! the system removes with the process: who can open it knows that no listener of this crate is there.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use windows_sys::Win32::Foundation::{ERROR_SHARING_VIOLATION, GENERIC_WRITE};
use windows_sys::Win32::Storage::FileSystem::{DELETE, FILE_FLAG_DELETE_ON_CLOSE};

use crate::nt::system;

use super::{ListenerOptions, bind_or_replace};

/// The path's file, as long as this listener lives.
#[derive(Debug)]
pub(super) struct Claim {
    /// Absolute: the working directory may change.
    path: PathBuf,
    /// Closed last: nobody takes the socket for a leftover while it is removed.
    held: Option<File>,
}

impl Claim {
    /// Binds the socket to the path and listens.
    pub(super) fn bind(
        socket: &Socket,
        address: &SockAddr,
        path: &Path,
        options: &ListenerOptions,
    ) -> io::Result<Claim> {
        let path = std::path::absolute(path)?;
        let held = hold(&path)?;
        bind_or_replace(socket, address, || {
            remove_leftover(&path, address, held.is_some())
        })?;
        let claim = Claim { path, held };
        options.listen(socket)?;
        Ok(claim)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Without the file beside it, somebody else may have replaced it.
        if self.held.is_some() {
            // There is nobody to tell; the next listener replaces what is left.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens the file beside the socket for nobody else; nothing if there can be none.
fn hold(socket: &Path) -> io::Result<Option<File>> {
    let Some(name) = socket.file_name() else {
        return Ok(None);
    };
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(".listening");
    let opened = OpenOptions::new()
        .access_mode(GENERIC_WRITE | DELETE)
        .write(true)
        .create(true)
        .share_mode(0)
        .custom_flags(FILE_FLAG_DELETE_ON_CLOSE)
        .open(socket.with_file_name(beside));
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION.cast_signed()) => {
            Err(io::ErrorKind::AddrInUse.into())
        }
        // No leftover is replaced then.
        Err(_) => Ok(None),
    }
}

/// Removes a socket at which nobody listens, and nothing else.
fn remove_leftover(path: &Path, address: &SockAddr, is_held: bool) -> io::Result<()> {
    if !system::is_unix_socket(path)? {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} exists and is not a socket", path.display()),
        ));
    }
    if !is_held || !refuses_connections(address)? {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    fs::remove_file(path)
}

/// Whether nobody listens there. In doubt somebody does.
fn refuses_connections(address: &SockAddr) -> io::Result<bool> {
    // It waits: a socket that does not would be told nothing yet.
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let outcome = probe.connect(address);
    Ok(outcome.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

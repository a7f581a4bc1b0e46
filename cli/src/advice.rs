//! Ends of channels in words: what happened, and what to do.

use std::fs::FileType;
use std::io;
use std::path::Path;

use ampe::{Address, Closed, Reason};

/// Why nothing can be listened for.
pub(crate) fn listener(address: &Address, closed: &Closed) -> String {
    let what = format!("could not listen on {address}");
    let Some(error) = closed.os_error() else {
        return format!("{what}: {}: choose another address", closed.reason());
    };
    let advice = match (error.kind(), address) {
        (io::ErrorKind::AddrInUse, Address::Tcp { .. }) => {
            "end the program that uses it, or let the system choose a port by giving port 0"
        }
        (_, Address::Uds(path)) if is_no_socket(path) => {
            "what is there is no socket and was left as it is: choose another path"
        }
        (io::ErrorKind::AddrInUse, Address::Uds(_)) => {
            "end the program that uses it, or choose another path"
        }
        (io::ErrorKind::PermissionDenied, Address::Tcp { .. }) => "choose a port above 1023",
        (io::ErrorKind::PermissionDenied, Address::Uds(_)) => {
            "choose a path in a directory that you may write to"
        }
        (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, Address::Uds(_)) => {
            "choose a path in a directory that exists"
        }
        (io::ErrorKind::AddrNotAvailable, _) => "choose an address that this machine has",
        _ => "choose another address",
    };
    format!("{what}: {error}: {advice}")
}

/// Whether something other than a socket stands at the path.
fn is_no_socket(path: &Path) -> bool {
    #[cfg(unix)]
    let is_socket = |found: FileType| std::os::unix::fs::FileTypeExt::is_socket(&found);
    #[cfg(not(unix))]
    let is_socket = |found: FileType| !found.is_file() && !found.is_dir();
    std::fs::symlink_metadata(path).is_ok_and(|found| !is_socket(found.file_type()))
}

/// Why a connection that we opened ended before its time. `farewell` is what the peer said.
pub(crate) fn connection(address: &Address, closed: &Closed, farewell: Option<&str>) -> String {
    let (reason, error) = (closed.reason(), closed.os_error());
    let because = error.map_or_else(|| reason.to_string(), |error| error.to_string());
    if let Some(farewell) = farewell {
        return format!("{address} ended the conversation: {farewell}");
    }
    match reason {
        Reason::ConnectFailed => format!(
            "could not connect to {address}: {because}: see that something listens there, and \
             that host and port are right"
        ),
        Reason::ConnectTimedOut => format!(
            "could not connect to {address} in time: check the address, or wait longer with \
             --timeout"
        ),
        Reason::UdsPathNotFound => format!(
            "there is no socket at {address}: start what listens there, or correct the path"
        ),
        Reason::InvalidAddress => {
            format!("the host of {address} cannot be resolved: check its spelling")
        }
        Reason::Protocol(violation) => format!(
            "{address} does not speak this protocol ({violation}): check that the address is \
             right"
        ),
        Reason::Refused => format!("{address} refused to go on: see what it printed"),
        Reason::Bye => format!("{address} ended the conversation: see what it printed, try again"),
        _ => format!(
            "the connection to {address} broke ({because}): see whether the other side still \
             runs, and try again"
        ),
    }
}

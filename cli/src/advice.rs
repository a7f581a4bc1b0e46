//! Ends of channels in words: what happened, and what to do.

use std::fs::FileType;
use std::io;
use std::path::Path;

use ampe::{Address, Closed, Reason};

use crate::output;

/// What to do about a limit of the system's that was reached, if the error is one of those.
pub(crate) fn of_limit(error: &io::Error) -> Option<&'static str> {
    // EMFILE and ENFILE have these numbers on every Unix, and WSAEMFILE is the first on Windows.
    match error.raw_os_error() {
        Some(24) if cfg!(unix) => Some("raise the limit of open files (`ulimit -n`)"),
        Some(23) if cfg!(unix) => Some("close other programs: the system has no descriptors left"),
        Some(10024) if cfg!(windows) => Some("close other programs"),
        _ => None,
    }
}

/// What to do where the system refuses what an engine is made of: epoll, an eventfd, a thread.
pub(crate) fn of_start(error: &io::Error) -> &'static str {
    let by_kind = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => {
            "this system, or a sandbox around it (seccomp), does not let it wait for sockets: allow \
             epoll_create1, epoll_ctl, epoll_wait and eventfd2, or run it outside"
        }
        io::ErrorKind::WouldBlock => "raise the limit of processes and threads (`ulimit -u`)",
        _ => "close other programs, or raise the limits (`ulimit -n`, `ulimit -u`)",
    };
    of_limit(error).unwrap_or(by_kind)
}

/// Why nothing can be listened for. `others` is where this command listens besides.
pub(crate) fn listener<'a>(
    address: &Address,
    closed: &Closed,
    others: impl IntoIterator<Item = &'a Address>,
) -> String {
    let error = closed.os_error();
    // Windows says of a port that is somebody's alone that access is denied.
    let is_in_use = error.as_ref().is_some_and(|error| {
        let kind = error.kind();
        kind == io::ErrorKind::AddrInUse
            || (cfg!(windows) && kind == io::ErrorKind::PermissionDenied)
    });
    let own = others.into_iter().find(|other| overlap(address, other));
    match own.filter(|_| is_in_use) {
        Some(own) => format!(
            "could not listen on {}: this command listens on {} already, which takes what comes there \
             (`[::]` takes IPv4 as well): leave one of them out",
            output::shown(address),
            output::shown(own),
        ),
        None => not_listening(address, closed.reason(), error),
    }
}

/// Whether two listeners of one program cannot both have what they ask for.
fn overlap(one: &Address, other: &Address) -> bool {
    let is_any = |address: &Address| {
        let socket = address.socket_addr();
        socket.is_some_and(|socket| socket.ip().is_unspecified())
    };
    let port = one.port().filter(|&port| port != 0);
    port.is_some()
        && port == other.port()
        && (one.host() == other.host() || is_any(one) || is_any(other))
}

fn not_listening(address: &Address, reason: Reason, error: Option<io::Error>) -> String {
    let shown = output::shown(address);
    match reason {
        Reason::NameNotResolved => {
            return format!(
                "could not listen on {shown}: its host cannot be resolved: check its spelling"
            );
        }
        Reason::NoUnixSockets => {
            return format!("could not listen on {shown}: {}", no_unix_sockets());
        }
        Reason::CannotPoll => return format!("could not listen on {shown}: {}", unpolled(error)),
        Reason::NoTls => return format!("could not listen on {shown}: {}", without_tls(error)),
        _ => {}
    }
    let kind = error.as_ref().map(io::Error::kind);
    let limit = error.as_ref().and_then(of_limit);
    let because = error.map_or_else(String::new, |error| format!(": {error}"));
    if let Some(advice) = limit {
        return format!("could not listen on {shown}{because}: {advice}");
    }
    if kind == Some(io::ErrorKind::Unsupported) {
        return format!("could not listen on {shown}{because}"); // which says what to do
    }
    let advice = match (address, kind) {
        (Address::Tcp { .. } | Address::Tls { .. }, Some(io::ErrorKind::AddrInUse)) => {
            "end the program that uses it, or let the system choose a port by giving port 0"
        }
        (Address::Tcp { .. } | Address::Tls { .. }, Some(io::ErrorKind::PermissionDenied)) => {
            "choose a port above 1023"
        }
        (Address::Tcp { .. } | Address::Tls { .. }, Some(io::ErrorKind::AddrNotAvailable)) => {
            "choose an address that this machine has"
        }
        (Address::Uds(_), Some(io::ErrorKind::WouldBlock)) => {
            "its directory is locked by another program: end that, or choose another directory"
        }
        (Address::Uds(path), _) if is_no_socket(path) => {
            return format!(
                "could not listen on {shown}: what is there is no socket and was left as it is: \
                 choose another path"
            );
        }
        (Address::Uds(path), _) if path.exists() => {
            "end the program that answers there, or choose another path"
        }
        (Address::Uds(_), Some(io::ErrorKind::PermissionDenied)) => {
            "choose a path in a directory that you may write to"
        }
        (Address::Uds(_), _) => "choose a path in a directory that exists",
        (Address::Tcp { .. } | Address::Tls { .. }, _) => "choose another address",
    };
    format!("could not listen on {shown}{because}: {advice}")
}

fn no_unix_sockets() -> String {
    format!("{}: use a TCP address", Reason::NoUnixSockets)
}

/// What stands between this program and its sockets, and what to do. Mostly the error says both.
fn unpolled(error: Option<io::Error>) -> String {
    let reason = Reason::CannotPoll;
    match error {
        Some(error) if error.raw_os_error().is_none() => format!("{reason}: {error}"),
        Some(error) => format!("{reason}: {error}: {ASK_THE_DOCTOR}"),
        None => format!("{reason}: {ASK_THE_DOCTOR}"),
    }
}

const ASK_THE_DOCTOR: &str = "see what `ampe doctor` says of it";

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
    if let Some(farewell) = farewell {
        let shown = output::shown(address);
        return format!("{shown} ended the conversation: {farewell}");
    }
    let has_spoken = closed.account().received > 0;
    broken(address, closed.reason(), closed.os_error(), has_spoken)
}

/// `has_spoken` says whether anything had come from there.
fn broken(address: &Address, reason: Reason, error: Option<io::Error>, has_spoken: bool) -> String {
    let shown = output::shown(address);
    if reason == Reason::CannotPoll {
        return format!("could not talk to {shown}: {}", unpolled(error));
    }
    let is_ours = error.is_none();
    if let Some((error, advice)) = error.as_ref().and_then(|it| Some((it, of_limit(it)?))) {
        return format!("could not talk to {shown}: {error}: {advice}");
    }
    let because = error.map_or_else(|| reason.to_string(), |error| error.to_string());
    match reason {
        Reason::ConnectFailed => not_connected(address, &because),
        Reason::NoTls => format!("could not connect to {shown}: {because}"),
        Reason::HandshakeFailed => format!(
            "could not connect securely to {shown}: {because}: see what `ampe doctor --to {shown}` tells"
        ),
        Reason::ConnectTimedOut => format!(
            "could not connect to {shown} in time: check the address, or wait longer with \
             --timeout"
        ),
        Reason::UdsPathNotFound => {
            format!("there is no socket at {shown}: start what listens there, or correct the path")
        }
        Reason::NoUnixSockets => format!("could not connect to {shown}: {}", no_unix_sockets()),
        Reason::NameNotResolved => format!(
            "the host of {shown} cannot be resolved: check its spelling, and that this machine \
             reaches its name server"
        ),
        Reason::InvalidAddress => {
            format!("{shown} cannot be connected to ({because}): choose another address")
        }
        Reason::Protocol(violation) => not_this_protocol(&shown, &violation.to_string()),
        // Something came, and its end before it was one message.
        Reason::ConnectionLost | Reason::ReceiveTimedOut if is_ours && !has_spoken => {
            not_this_protocol(&shown, "its answer is no message")
        }
        Reason::PeerDisconnected | Reason::ConnectionLost if !has_spoken => {
            format!(
                "{shown} closed the connection without an answer ({because}): see that ampe \
                 listens there, and not another program"
            )
        }
        Reason::Refused => format!("{shown} refused to go on: see what it printed"),
        Reason::Bye => format!("{shown} ended the conversation: see what it printed, try again"),
        _ => format!(
            "the connection to {shown} broke ({because}): see whether the other side still \
             runs, and try again"
        ),
    }
}

fn not_connected(address: &Address, because: &str) -> String {
    let shown = output::shown(address);
    match address {
        Address::Uds(path) if is_no_socket(path) => {
            format!("could not connect to {shown}: what is there is no socket: correct the path")
        }
        Address::Uds(_) => format!(
            "could not connect to {shown}: {because}: start what listens there, or correct the path"
        ),
        Address::Tcp { .. } | Address::Tls { .. } => format!(
            "could not connect to {shown}: {because}: see that something listens there, and that \
             host and port are right"
        ),
    }
}

fn without_tls(error: Option<io::Error>) -> String {
    error.map_or_else(|| Reason::NoTls.to_string(), |error| error.to_string())
}

fn not_this_protocol(shown: &str, because: &str) -> String {
    format!("{shown} does not speak this protocol ({because}): check that the address is right")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden() -> Option<io::Error> {
        let said = "the layered service provider \"Layer\" hides the socket below it: remove it";
        Some(io::Error::new(io::ErrorKind::Unsupported, said))
    }

    #[test]
    fn what_hides_a_socket_is_named_with_what_helps() {
        for address in ["tcp://127.0.0.1:7099", "uds:///tmp/socket"] {
            let address = address.parse().unwrap();
            let reason = Reason::CannotPoll;
            for said in [
                not_listening(&address, reason, hidden()),
                broken(&address, reason, hidden(), false),
                broken(&address, reason, hidden(), true),
            ] {
                let ends = said.ends_with(&format!("{reason}: {}", hidden().unwrap()));
                assert!(ends && said.contains(&address.to_string()), "{said}");
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn limits_and_sandboxes_have_advice_of_their_own() {
        let error = io::Error::from_raw_os_error;
        let to = "tcp://127.0.0.1:7099".parse().unwrap();
        for said in [
            not_listening(&to, Reason::ListenFailed, Some(error(24))),
            broken(&to, Reason::ConnectFailed, Some(error(24)), false),
            of_start(&error(24)).to_owned(),
        ] {
            assert!(said.contains("`ulimit -n`"), "{said}");
        }
        for refused in [1, 13, 38] {
            assert!(of_start(&error(refused)).contains("seccomp"), "{refused}");
        }
        assert!(of_start(&error(11)).contains("`ulimit -u`"));
    }

    #[test]
    fn listeners_of_one_program_that_overlap() {
        let overlap =
            |one: &str, other: &str| super::overlap(&one.parse().unwrap(), &other.parse().unwrap());
        assert!(overlap("tcp://[::]:7099", "tcp://0.0.0.0:7099"));
        assert!(overlap("tcp://127.0.0.1:7099", "tcp://[::]:7099"));
        assert!(overlap("tcp://127.0.0.1:7099", "tcp://127.0.0.1:7099"));
        assert!(!overlap("tcp://[::]:7099", "tcp://0.0.0.0:7098"));
        assert!(!overlap("tcp://[::]:0", "tcp://[::]:0"));
        assert!(!overlap("tcp://[::1]:7099", "tcp://127.0.0.1:7099"));
        assert!(!overlap("uds:///a", "uds:///a"));
    }

    #[test]
    fn what_is_a_number_only_is_looked_up() {
        let address = "tcp://127.0.0.1:7099".parse().unwrap();
        for error in [None, Some(io::Error::from_raw_os_error(95))] {
            let said = not_listening(&address, Reason::CannotPoll, error);
            assert!(said.contains("`ampe doctor`"), "{said}");
        }
    }
}

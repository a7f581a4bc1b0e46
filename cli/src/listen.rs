//! Where a command listens: at addresses, or on sockets that systemd hands to it.

use std::fmt;
use std::str::FromStr;
#[cfg(unix)]
use std::sync::{Mutex, PoisonError};

use ampe::{Address, AddressError, ListeningSocket};

use crate::args::SecureListening;
use crate::error::Failure;
use crate::output;

/// How inherited sockets are asked for.
const SCHEME: &str = "systemd:";

/// What `--listen` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    Address(Address),
    /// The sockets that were inherited: all that are left, or those of this name.
    Inherited(Option<String>),
}

impl FromStr for Listen {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Listen, AddressError> {
        match text.strip_prefix(SCHEME) {
            Some("") => Ok(Listen::Inherited(None)),
            Some(name) => Ok(Listen::Inherited(Some(name.to_owned()))),
            None => crate::args::address(text).map(Listen::Address),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Address(address) => address.fmt(formatter),
            Listen::Inherited(name) => {
                write!(formatter, "{SCHEME}{}", name.as_deref().unwrap_or_default())
            }
        }
    }
}

/// What one listener is made of.
#[derive(Debug)]
pub(crate) enum Place {
    Address(Address),
    Socket(ListeningSocket),
}

impl Place {
    pub(crate) fn address(&self) -> &Address {
        match self {
            Place::Address(address) => address,
            Place::Socket(socket) => socket.address(),
        }
    }
}

/// All that is to be listened on. Inherited sockets are taken by whoever asks for them first.
pub(crate) fn places(listen: &[Listen]) -> Result<Vec<Place>, Failure> {
    let mut places = Vec::with_capacity(listen.len());
    for listen in listen {
        match listen {
            Listen::Address(address) => places.push(Place::Address(address.clone())),
            Listen::Inherited(name) => {
                places.extend(take(name.as_deref())?.into_iter().map(Place::Socket));
            }
        }
    }
    Ok(places)
}

/// Refuses what other machines reach, unless anyone is to: `who` says who that is, and `does` what.
pub(crate) fn check_reach(
    places: &[Place],
    anyone: bool,
    secure: &SecureListening,
    who: &str,
    does: &str,
) -> Result<(), Failure> {
    let mut addresses = places.iter().map(Place::address);
    match addresses.find(|it| !it.is_loopback() && !secure.authenticates(it)) {
        Some(far) if !anyone => Err(Failure::Usage(format!(
            "{} can be reached from other machines, and nothing authenticates {who}: listen on \
             127.0.0.1 or at tls:// with --keyed or --require-cert, or add --anyone to let anyone {does}",
            output::shown(far)
        ))),
        _ => Ok(()),
    }
}

/// A descriptor that was handed to this process, and what it is called.
#[cfg(unix)]
struct Inherited {
    name: String,
    /// Why not, if it is no socket that listens.
    socket: Result<ListeningSocket, String>,
}

#[cfg(unix)]
static INHERITED: Mutex<Vec<Inherited>> = Mutex::new(Vec::new());

/// Takes over what systemd handed to this process, as sd_listen_fds(3) says, for those who ask for it
/// later. To be called before this process has a descriptor of its own, or a thread: where fewer sockets
/// are there than are said to be, their numbers would be those of others.
#[cfg(unix)]
pub(crate) fn inherit() {
    let is_for_us = std::env::var("LISTEN_PID")
        .ok()
        .and_then(|id| id.parse().ok())
        == Some(std::process::id());
    if !is_for_us {
        return;
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut descriptors = listenfd::ListenFd::from_env();
    let mut inherited = INHERITED.lock().unwrap_or_else(PoisonError::into_inner);
    for index in 0..descriptors.len() {
        let name = names.next().unwrap_or_default().to_owned();
        // The other kind is an error, which leaves it to be taken again.
        let socket = match descriptors.take_tcp_listener(index) {
            Ok(Some(listener)) => ListeningSocket::new(listener),
            _ => match descriptors.take_unix_listener(index) {
                Ok(Some(listener)) => ListeningSocket::new(listener),
                Ok(None) => continue,
                Err(error) => Err(error),
            },
        };
        let socket = socket.map_err(|error| error.to_string());
        inherited.push(Inherited { name, socket });
    }
}

#[cfg(not(unix))]
pub(crate) fn inherit() {}

/// The inherited sockets of this name, or all.
#[cfg(unix)]
fn take(name: Option<&str>) -> Result<Vec<ListeningSocket>, Failure> {
    let mut inherited = INHERITED.lock().unwrap_or_else(PoisonError::into_inner);
    let is_wanted = |of: &mut Inherited| name.is_none_or(|name| name == of.name);
    let wanted: Vec<Inherited> = inherited.extract_if(.., is_wanted).collect();
    if wanted.is_empty() {
        let names: Vec<&str> = inherited.iter().map(|of| of.name.as_str()).collect();
        return Err(Failure::new(none(name, &names)));
    }
    let sockets = wanted.into_iter().map(|of| {
        of.socket.map_err(|why| {
            let listen = Listen::Inherited(Some(of.name));
            let listen = output::shown(listen);
            Failure::new(format!(
                "cannot listen on {listen}: {why}: hand over TCP or Unix stream sockets that listen \
                 (`ListenStream=` and `Accept=no`)"
            ))
        })
    });
    sockets.collect()
}

#[cfg(not(unix))]
fn take(_: Option<&str>) -> Result<Vec<ListeningSocket>, Failure> {
    let said = "no sockets are inherited on this system: give an address to listen on";
    Err(Failure::Usage(said.to_owned()))
}

/// That no socket of this name is there, but some of these names.
#[cfg(unix)]
fn none(name: Option<&str>, names: &[&str]) -> String {
    let listen = Listen::Inherited(name.map(str::to_owned));
    let listen = output::shown(listen);
    match names {
        [] => format!(
            "cannot listen on {listen}: no socket was handed to this process: have systemd start it by \
             a .socket unit, or give an address"
        ),
        names => format!(
            "cannot listen on {listen}: the sockets handed to this process are called {}: give one of \
             these names, or set `FileDescriptorName=`",
            output::shown(names.join(", "))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherited_sockets_are_asked_for_by_their_scheme() {
        let read = |text: &str| text.parse::<Listen>().unwrap();
        assert_eq!(read("systemd:"), Listen::Inherited(None));
        assert_eq!(read("systemd:a b"), Listen::Inherited(Some("a b".into())));
        for text in ["systemd:", "systemd:files", "tcp://127.0.0.1:7099"] {
            assert_eq!(read(text).to_string(), text);
        }
        assert!(matches!(read("tcp://systemd:7099"), Listen::Address(_)));
        assert!("systemd".parse::<Listen>().is_err());
    }

    #[test]
    fn what_was_not_handed_over_is_told() {
        let why = places(&[Listen::Inherited(None)]).unwrap_err().to_string();
        assert!(why.contains("systemd:") || cfg!(not(unix)), "{why}");
        assert!(why.contains("address"), "{why}");
    }
}

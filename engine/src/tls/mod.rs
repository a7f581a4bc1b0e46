//! TLS, below the frames: who has to prove what to whom, and the records that the frames travel in.
//!
//! The protocol knows none of it. The driver has one [`Codec`] for each connection to an address
//! `tls://`, which turns bytes of the wire into plaintext and back and holds no socket. The real one is
//! rustls's; tests have one of their own.

#[cfg(test)]
pub(crate) mod fake;
#[cfg(feature = "tls")]
mod handle;
#[cfg(any(feature = "tls", test))]
mod identity;
#[cfg(feature = "tls")]
mod names;
#[cfg(feature = "tls")]
mod options;
#[cfg(feature = "tls")]
mod records;
#[cfg(feature = "tls")]
mod verify;

#[cfg(any(feature = "tls", test))]
use std::fmt;
use std::io::{self, IoSlice};
#[cfg(any(feature = "tls", test))]
use std::sync::Arc;

use crate::address::Host;
use crate::reason::Reason;

#[cfg(feature = "tls")]
pub use self::handle::Tls;
#[cfg(test)]
pub(crate) use self::identity::{COMMON_NAME_BYTES, NAMES_BYTES, NAMES_MOST};
#[cfg(feature = "tls")]
pub use self::identity::{Identity, KeyHash, KeyHashError, SubjectName, Verified};
#[cfg(all(test, not(feature = "tls")))]
pub(crate) use self::identity::{Identity, KeyHash, SubjectName, Verified};
#[cfg(feature = "tls")]
pub use self::options::{TlsError, TlsOptions};

/// Whether a connection can be secured at all. Where none can be, nothing of it is compiled.
pub(crate) const IS_POSSIBLE: bool = cfg!(any(feature = "tls", test));

/// One end of a secured connection, without its socket.
pub(crate) trait Codec: Send {
    /// Takes in bytes of the wire, and says how many: fewer than all where plaintext is to be
    /// [read](Codec::read) first, none behind the peer's orderly end. Nothing can be fed behind an error.
    fn feed(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// The wire has ended.
    fn finish(&mut self);

    /// Moves plaintext out. Zero is an orderly end; [`io::ErrorKind::WouldBlock`] says that there is
    /// none now, any other error that there will be none, and no orderly end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Whether there is plaintext to be [read](Codec::read).
    fn holds_plaintext(&mut self) -> bool;

    /// Encrypts the beginning of these slices as one record, behind `out`. Returns how many bytes of them
    /// that is.
    fn seal(&mut self, slices: &[IoSlice<'_>], out: &mut Vec<u8>) -> io::Result<usize>;

    /// Appends what is to be sent beside messages: of the handshake, alerts, the orderly end.
    fn take_output(&mut self, out: &mut Vec<u8>);

    fn is_handshaking(&self) -> bool;

    /// Ends the stream in an orderly way: [`take_output`](Codec::take_output) has the alert.
    fn close(&mut self);

    /// Who the peer has proven to be, if it has, once the handshake is done.
    fn identity(&self) -> Option<Identity>;
}

/// Makes both ends of secured connections.
#[cfg(any(feature = "tls", test))]
pub(crate) trait Suite: fmt::Debug + Send + Sync {
    fn client(&self, host: &Host) -> io::Result<Box<dyn Codec>>;
    fn server(&self) -> io::Result<Box<dyn Codec>>;
}

/// How a group's connections are secured. Without the feature there is no such thing.
#[cfg(any(feature = "tls", test))]
#[derive(Clone, Debug)]
pub(crate) struct Security(pub(crate) Arc<dyn Suite>);

#[cfg(any(feature = "tls", test))]
impl Security {
    pub(crate) fn client(&self, host: &Host) -> io::Result<Box<dyn Codec>> {
        self.0.client(host)
    }

    pub(crate) fn server(&self) -> io::Result<Box<dyn Codec>> {
        self.0.server()
    }
}

/// How a group's connections are secured. Without the feature there is no such thing.
#[cfg(not(any(feature = "tls", test)))]
#[derive(Clone, Debug)]
pub(crate) enum Security {}

#[cfg(not(any(feature = "tls", test)))]
impl Security {
    pub(crate) fn client(&self, _: &Host) -> io::Result<Box<dyn Codec>> {
        match *self {}
    }

    pub(crate) fn server(&self) -> io::Result<Box<dyn Codec>> {
        match *self {}
    }
}

/// Who a peer has proven to be. Without the feature none can.
#[cfg(not(any(feature = "tls", test)))]
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Identity {}

#[cfg(not(any(feature = "tls", test)))]
impl std::fmt::Display for Identity {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

/// Why no secured connection comes about, or one ends. It travels in an [`io::Error`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Nothing was tried: what it takes was not given.
    #[error("{0}")]
    NotSetUp(&'static str),
    /// The two ends do not come to terms, in these words.
    #[error("{0}")]
    Handshake(String),
}

impl Fault {
    pub(crate) fn of_kind(self, kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, self)
    }
}

/// What a group without TLS options is told.
pub(crate) fn no_security() -> io::Error {
    let words = match cfg!(feature = "tls") {
        true => "the group has no TLS options: give it some when it is created",
        false => "this program was built without the feature `tls` of the crate `ampe`",
    };
    Fault::NotSetUp(words).of_kind(io::ErrorKind::Unsupported)
}

/// The reason of a channel's end that such an error says more of than of a connection that broke.
pub(crate) fn reason_of(error: &io::Error) -> Option<Reason> {
    match error.get_ref()?.downcast_ref()? {
        Fault::NotSetUp(_) => Some(Reason::NoTls),
        Fault::Handshake(_) => Some(Reason::HandshakeFailed),
    }
}

//! A connection that waits to be admitted.

use std::fmt;
use std::sync::Arc;

use crate::between::key::RecordKey;
use crate::channel::Channel;
use crate::peer::Peer;

/// Somebody has connected, and waits to be admitted: to a listener with [`Admission::Ask`](crate::Admission::Ask).
///
/// Nothing of it was parsed, and nothing but a handshake was read: what came in one piece with the end of that is kept
/// as it is. Once it is [admitted](Incoming::admit), it has
/// [`hello_timeout`](crate::Options::hello_timeout) to say hello, and [`Event::Hello`](crate::Event::Hello) brings its
/// channel. It is refused by [`refuse`](Incoming::refuse), by dropping this, or where nobody has decided within
/// `hello_timeout` of its being accepted. One that leaves meanwhile makes no event: what is decided of it then
/// changes nothing.
///
/// A refused peer is told nothing: its connection ends, mostly with what it has sent unread, which it sees as an end of
/// the stream or a reset. Who is to be told why is admitted, and gets a [`Hello::refuse`](crate::Hello::refuse).
///
/// It counts as one of the listener's
/// [`connections_per_listener`](crate::Options::connections_per_listener) until it is decided about or dropped, also
/// where its peer has gone: an application that takes no events is not asked without end.
#[must_use = "a connection that is not admitted is refused"]
pub struct Incoming(Box<Asked>);

/// What is decided of an [`Incoming`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Verdict {
    pub(crate) connection: RecordKey,
    pub(crate) listener: RecordKey,
    pub(crate) is_admitted: bool,
}

/// Where it is told.
pub(crate) trait Decide: Send + Sync {
    fn decide(&self, verdict: Verdict);
}

struct Asked {
    listener: Channel,
    peer: Peer,
    /// As long as nothing is decided.
    verdict: Verdict,
    /// None until the event was taken.
    engine: Option<Arc<dyn Decide>>,
}

/// What it takes beside the event.
#[cfg(test)]
pub(crate) const INCOMING_BYTES: usize = size_of::<Asked>();

impl Incoming {
    pub(crate) fn new(listener: (RecordKey, Channel), connection: RecordKey, peer: Peer) -> Self {
        Incoming(Box::new(Asked {
            listener: listener.1,
            peer,
            verdict: Verdict {
                connection,
                listener: listener.0,
                is_admitted: false,
            },
            engine: None,
        }))
    }

    /// Who has connected: addresses, the process and its user at a Unix socket, and over `tls://` the identity that it
    /// has proven.
    pub fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// The listener through which it connected.
    pub fn listener(&self) -> Channel {
        self.0.listener
    }

    /// Lets it say hello.
    pub fn admit(mut self) {
        self.0.verdict.is_admitted = true;
    }

    /// Ends the connection, as dropping this does.
    pub fn refuse(self) {}

    /// From now on it has to be decided.
    pub(crate) fn arm(&mut self, engine: Arc<dyn Decide>) {
        self.0.engine = Some(engine);
    }

    /// Its group has ended, and its connection with that.
    pub(crate) fn disarm(&mut self) {
        self.0.engine = None;
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(engine) = self.0.engine.take() {
            engine.decide(self.0.verdict);
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Incoming")
            .field("listener", &self.0.listener)
            .field("peer", &self.0.peer)
            .finish_non_exhaustive()
    }
}

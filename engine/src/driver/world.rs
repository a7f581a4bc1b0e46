//! What the reactor's loop touches of the outside: sockets, the poller, the clock, the resolver.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use crate::between::key::RecordKey;
use crate::endpoint::Endpoint;
use crate::handed_in::HandedIn;
use crate::options::ListenOptions;
use crate::peer::Peer;
use crate::protocol::{Core, Wanted};

use super::sockets::{Owned, Role};

/// Something that happened to a socket, told by the poller.
pub(crate) struct Report {
    pub(crate) key: RecordKey,
    pub(crate) is_readable: bool,
    pub(crate) is_writable: bool,
    /// Behind what is readable there is an end, or an error, of which nothing more will tell.
    pub(crate) is_ended: bool,
    /// The system refuses to poll the socket, and says why. Nothing more is reported of it until its
    /// interest is declared again.
    pub(crate) refusal: Option<io::Error>,
}

impl Report {
    /// Whether there is nothing but bytes to be read.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_readable && !self.is_writable && !self.is_ended && self.refusal.is_none()
    }
}

/// What became of a socket that was handed in.
pub(crate) enum Adopted<W: World> {
    /// And where it listens.
    Listener(W::Listener, Endpoint),
    Stream(W::Stream),
}

/// The outside. There is the real one, and those that tests make up; the loop is the same over each.
///
/// Streams and listeners are closed when they are dropped. Nothing blocks but
/// [`wait`](World::wait): what cannot be done now fails with [`io::ErrorKind::WouldBlock`].
pub(crate) trait World: Sized {
    type Stream;
    type Listener;
    /// The poller's name of a socket that it holds.
    type Place: Copy;

    fn now(&self) -> Instant;

    fn connect(&self, address: Endpoint) -> io::Result<Self::Stream>;
    /// Whether the attempt to connect has succeeded; false while that is undecided.
    fn finish_connect(&self, stream: &Self::Stream) -> io::Result<bool>;
    /// A listener, and where it listens.
    fn listen(
        &self,
        address: Endpoint,
        backlog: u32,
        options: &ListenOptions,
    ) -> io::Result<(Self::Listener, Endpoint)>;
    /// A socket that the application has handed in.
    fn adopt(&self, socket: HandedIn) -> Adopted<Self>;
    fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Stream, Peer)>;
    /// Who is at the other end of a connection that stands.
    fn peer(&self, stream: &Self::Stream) -> io::Result<Peer>;
    fn recv(&self, stream: &Self::Stream, buffer: &mut [u8]) -> io::Result<usize>;
    /// As `recv` with room for one byte, which stays there to be read.
    fn peek(&self, stream: &Self::Stream) -> io::Result<usize>;
    fn send_vectored(&self, stream: &Self::Stream, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// The error by which a connection broke, if that is known without reading.
    fn failure(&self, stream: &Self::Stream) -> Option<io::Error>;
    fn shutdown_write(&self, stream: &Self::Stream) -> io::Result<()>;
    /// Has closing abort the connection, so that the peer sees a reset.
    fn set_abortive(&self, stream: &Self::Stream) -> io::Result<()>;
    /// Has the system ask after so much silence whether the peer is there, and give it up that has
    /// acknowledged nothing for as long as `give_up`.
    fn set_keep_alive(
        &self,
        stream: &Self::Stream,
        idle: Duration,
        give_up: Duration,
    ) -> io::Result<()>;

    /// Gives a socket to the poller, which closes it if it cannot poll it.
    fn insert(&mut self, socket: Owned<Self>, role: Role) -> io::Result<Self::Place>;
    fn get(&self, place: Self::Place) -> Option<(&Owned<Self>, &Role)>;
    /// What the poller keeps beside a socket, to be changed.
    fn role_mut(&mut self, place: Self::Place) -> Option<&mut Role>;
    fn close(&mut self, place: Self::Place);
    /// The core is done with a socket that stays for a while: it is reported with this key from now on.
    fn part(&mut self, place: Self::Place, key: RecordKey) {
        if let Some(role) = self.role_mut(place) {
            role.key = key;
        }
    }
    fn set_interest(&mut self, place: Self::Place, wanted: Wanted);
    /// Sleeps until there is something to report, the reactor is woken, or it is `until`. Returns whether it was
    /// woken.
    fn wait(&mut self, until: Option<Instant>) -> io::Result<bool>;
    /// The next report of what the last wait found.
    fn next_report(&mut self) -> Option<Report>;

    /// Has a name resolved; the answer comes as a submission.
    fn resolve(&mut self, key: RecordKey, host: String, port: u16);
    /// Nobody wants that answer any more.
    fn forget(&mut self, key: RecordKey);

    /// Who is offered the bytes in the shared buffer again: whoever holds it now. A world that decides
    /// otherwise has a defect, which tests plant.
    fn to_resume(&mut self, core: &Core) -> Option<RecordKey> {
        core.poll_resume()
    }
}

//! What a poller has to do to take part, and how each of the three does it.

mod by_ampe;
mod by_mio;
mod by_polling;

use std::io;
use std::net::TcpStream;
use std::time::Duration;

pub use self::by_ampe::Ampe;
pub use self::by_mio::Mio;
pub use self::by_polling::{Level, Oneshot, Polling};

/// What a source is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Reading,
    Writing,
}

/// A source that may be read from or written to.
pub struct Ready<I> {
    pub id: I,
    pub for_what: Wanted,
}

/// A poller, used as its documentation asks for.
pub trait Contestant: Sized {
    /// How it names a source.
    type Id: Copy;

    fn new() -> io::Result<Self>;

    /// Takes in a non-blocking stream.
    fn add(&mut self, stream: TcpStream, wanted: Wanted) -> io::Result<Self::Id>;

    fn want(&mut self, id: Self::Id, wanted: Wanted) -> io::Result<()>;

    /// Stops polling a source and closes it.
    fn close(&mut self, id: Self::Id) -> io::Result<()>;

    /// Waits once, and says whether there was a wake.
    fn wait(
        &mut self,
        ready: &mut Vec<Ready<Self::Id>>,
        timeout: Option<Duration>,
    ) -> io::Result<bool>;

    /// Reads what there is, as far as the poller needs it to report the source again.
    fn read(&mut self, id: Self::Id, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all, for which there is room.
    fn write(&mut self, id: Self::Id, bytes: &[u8]) -> io::Result<()>;

    /// What wakes it from another thread.
    fn waker(&mut self) -> io::Result<Box<dyn Fn() -> io::Result<()> + Send>>;
}

/// More than any workload reports at once.
const EVENTS: usize = 1024;

fn is_blocked(outcome: &io::Result<usize>) -> bool {
    matches!(outcome, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn unknown_source() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "there is no such source")
}

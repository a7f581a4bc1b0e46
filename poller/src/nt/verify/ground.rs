//! The kernels that are asked, with the sockets that are asked about.

use std::io;
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
use crate::nt::sim::Mood;
use crate::nt::sim::{Kernel, Sim, Socket};
use crate::nt::{Handle, Nt};
use crate::poller::Source;

/// A kernel with sockets. Nothing here polls them, but [`poll_elsewhere`](Self::poll_elsewhere).
pub(crate) trait Ground: Sized + Send + Sync + 'static {
    type Nt: Nt;
    type Socket: Source<Handle> + Send + Sync;
    /// Another process with a handle, which is closed when this is dropped.
    type Keeper;
    /// It is the simulated one, and not the system's own.
    const IS_SIMULATED: bool;

    fn new() -> io::Result<Self>;
    fn nt(&self) -> io::Result<Self::Nt>;
    /// Two connected streams.
    fn pair(&self) -> io::Result<(Self::Socket, Self::Socket)>;
    /// Two sockets for datagrams, each of which sends to the other.
    fn datagrams(&self) -> io::Result<(Self::Socket, Self::Socket)>;
    fn listen(&self) -> io::Result<Self::Socket>;
    /// Connects; what is connected is left in the backlog.
    fn connect(&self, listener: &Self::Socket) -> io::Result<Self::Socket>;
    /// Starts to connect to where nobody listens; nothing if the system refuses at once.
    fn refuse(&self) -> io::Result<Option<Self::Socket>>;
    /// Reads what is there, at most as much, and says how much.
    fn read(&self, socket: &Self::Socket, length: usize) -> usize;
    /// Writes what there is room for, at most as much, and says how much.
    fn write(&self, socket: &Self::Socket, length: usize) -> usize;
    /// Sends no more.
    fn shutdown(&self, socket: &Self::Socket) -> io::Result<()>;
    /// Closes so that the peer fails.
    fn reset(&self, socket: Self::Socket) -> io::Result<()>;
    /// Waits until there is something to read. Whether it came in time.
    fn await_readable(&self, socket: &Self::Socket, patience: Duration) -> bool;
    /// One more handle for the same socket.
    fn duplicate(&self, socket: &Self::Socket) -> io::Result<Self::Socket>;
    /// One more handle for the same socket, in another process.
    fn share(&self, socket: &Self::Socket) -> io::Result<Self::Keeper>;
    /// Waits until the system's own means of polling say that there is something to read.
    ///
    /// # Errors
    ///
    /// It has none, or they do not say so in time.
    fn poll_elsewhere(&self, socket: &Self::Socket, patience: Duration) -> io::Result<()>;
    /// A socket that was opened without the flag for overlapped operations.
    fn open_not_overlapped(&self) -> io::Result<Self::Socket>;
    /// What binding gives to an address whose listener is closed and has a connection left: first as a listener of
    /// ours binds, then without its claim.
    fn bind_again(&self) -> io::Result<[io::Result<()>; 2]>;
    /// Whether child processes could inherit what `accept` gives, before anything was said about it: from a listener
    /// that they cannot inherit, and from one that they can.
    fn accept_inheritable(&self) -> io::Result<[bool; 2]>;
    /// The kernel is asked on purpose for what the backend must never ask it.
    fn forgive(&self) {}
    /// The kernel is to be wrong in this way.
    #[cfg(test)]
    fn spoil(&self, _spoils: fn(&mut Mood)) {}
}

/// Writes until there is no more room.
pub(super) fn fill<G: Ground>(ground: &G, socket: &G::Socket) {
    while ground.write(socket, 1 << 16) > 0 {}
}

/// The simulated kernel.
#[cfg_attr(
    all(windows, not(test)),
    allow(dead_code, reason = "the system's own is asked")
)]
pub(crate) struct Simulated {
    kernel: Arc<Kernel>,
    /// Then nobody can keep to its rules.
    #[cfg(test)]
    is_spoilt: std::sync::atomic::AtomicBool,
}

impl Drop for Simulated {
    fn drop(&mut self) {
        #[cfg(test)]
        if *self.is_spoilt.get_mut() {
            return;
        }
        let violations = &self.kernel.state().violations;
        assert!(
            violations.is_empty() || std::thread::panicking(),
            "{violations:?}"
        );
    }
}

/// What only a system has.
#[cfg_attr(
    all(windows, not(test)),
    allow(dead_code, reason = "the system's own is asked")
)]
fn none_simulated() -> io::Error {
    io::Error::other("the simulated kernel has no such thing")
}

impl Ground for Simulated {
    type Nt = Sim;
    type Socket = Socket;
    type Keeper = ();
    const IS_SIMULATED: bool = true;

    fn new() -> io::Result<Self> {
        let kernel = Arc::<Kernel>::default();
        kernel.state().mood.sleeps = true;
        Ok(Simulated {
            kernel,
            #[cfg(test)]
            is_spoilt: false.into(),
        })
    }

    fn nt(&self) -> io::Result<Sim> {
        Ok(Sim::new(&self.kernel))
    }

    fn pair(&self) -> io::Result<(Socket, Socket)> {
        Ok(Socket::pair(&self.kernel))
    }

    fn datagrams(&self) -> io::Result<(Socket, Socket)> {
        self.pair()
    }

    fn listen(&self) -> io::Result<Socket> {
        Ok(Socket::listen(&self.kernel))
    }

    fn connect(&self, listener: &Socket) -> io::Result<Socket> {
        Ok(listener.connect())
    }

    fn refuse(&self) -> io::Result<Option<Socket>> {
        Ok(Some(Socket::refused(&self.kernel)))
    }

    fn read(&self, socket: &Socket, length: usize) -> usize {
        socket.read(length).ok().flatten().unwrap_or(0)
    }

    fn write(&self, socket: &Socket, length: usize) -> usize {
        socket.write(length)
    }

    fn shutdown(&self, socket: &Socket) -> io::Result<()> {
        socket.shutdown();
        Ok(())
    }

    fn reset(&self, socket: Socket) -> io::Result<()> {
        socket.reset();
        Ok(())
    }

    fn await_readable(&self, _socket: &Socket, _patience: Duration) -> bool {
        true
    }

    fn duplicate(&self, socket: &Socket) -> io::Result<Socket> {
        Ok(socket.duplicate())
    }

    fn share(&self, socket: &Socket) -> io::Result<()> {
        self.kernel.share(socket.handle(), true);
        Ok(())
    }

    fn poll_elsewhere(&self, _socket: &Socket, _patience: Duration) -> io::Result<()> {
        Err(none_simulated())
    }

    fn open_not_overlapped(&self) -> io::Result<Socket> {
        Err(none_simulated())
    }

    fn bind_again(&self) -> io::Result<[io::Result<()>; 2]> {
        Err(none_simulated())
    }

    fn accept_inheritable(&self) -> io::Result<[bool; 2]> {
        Err(none_simulated())
    }

    fn forgive(&self) {
        self.kernel.state().violations.clear();
    }

    #[cfg(test)]
    fn spoil(&self, spoils: fn(&mut Mood)) {
        spoils(&mut self.kernel.state().mood);
        self.is_spoilt
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

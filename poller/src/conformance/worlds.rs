//! The worlds that the suite runs in.

#[cfg(unix)]
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::Poller;
use crate::poller::Source;
use crate::sys::Backend;
use crate::sys::scripted::{self, Network, Scripted};

/// What one read gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Data(usize),
    End,
    WouldBlock,
    Error,
}

/// Why a listener's backlog is never too full.
const PATIENT_BACKLOG: &str = "a full backlog turns nobody away, save of Unix sockets on Linux";

/// Sockets, and what one can do to them. Nothing here uses the poller, which is under test.
pub(crate) trait World {
    type Backend: Backend;
    type Socket: Source<<Self::Backend as Backend>::Handle>;
    /// How long to wait for what is due. Only a failing test ever waits so long.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// How many waits it takes until everything that is ready has been reported, and everything
    /// that was ready before: more than one if a wait may be content with what it knows already.
    const WAITS: usize = 1;
    /// Whether a failure is told beside the readiness.
    const TELLS_FAILURES: bool = true;
    /// Whether a reset can be told from an end. Wine's server mostly takes its error away.
    const TELLS_RESETS: bool = true;
    /// How many random sequences are tried.
    const CASES: u32 = 256;

    fn new() -> Self;

    /// Whether this system has such sockets, or why not.
    fn is_there() -> Result<(), &'static str> {
        Ok(())
    }

    fn poller(&self) -> Poller<Self::Socket, (), Self::Backend> {
        Poller::with_backend().unwrap()
    }

    /// Two connected streams.
    fn pair(&self) -> (Self::Socket, Self::Socket);
    fn listen(&self) -> Self::Socket;
    /// Starts to connect.
    fn connect(&self, listener: &Self::Socket) -> Self::Socket;
    fn accept(&self, listener: &Self::Socket) -> Option<Self::Socket>;
    /// Connects until the backlog is full and one more would block; those that wait in it. Or why
    /// that never comes.
    fn fill_backlog(&self, _listener: &Self::Socket) -> Result<Vec<Self::Socket>, &'static str> {
        Err(PATIENT_BACKLOG)
    }
    /// Starts to connect to where nobody listens; nothing if the system says so at once.
    fn refuse(&self) -> Option<Self::Socket>;
    /// Whether a connection attempt succeeded; nothing while it goes on.
    fn outcome(&self, socket: &Self::Socket) -> Option<bool>;
    fn read(&self, socket: &Self::Socket, length: usize) -> Read;
    /// Writes as much as it can, at most the length, and says how much.
    fn write(&self, socket: &Self::Socket, length: usize) -> usize;
    fn shutdown(&self, socket: &Self::Socket);
    /// Closes `theirs` so that `ours` fails.
    fn reset(&self, ours: &Self::Socket, theirs: Self::Socket);
    /// Blocks until there is something to read, or the end.
    fn await_readable(&self, socket: &Self::Socket);
    /// Whether a peer's end of sending is told beside the readiness, or why not.
    fn tells_ends() -> Result<(), &'static str> {
        Ok(())
    }
    /// Blocks until the peer has closed or reset the connection.
    fn await_hang_up(&self, socket: &Self::Socket);
    /// Something that costs one descriptor and is never readable.
    fn idle(&self) -> Self::Socket;
    /// How many of those there may be.
    fn idle_limit(&self) -> usize;
    /// What a read gives once the peer has reset the connection.
    fn after_reset(&self) -> Read {
        Read::Error
    }
    /// Whether a source that was removed can be polled again in the same way, or why not.
    fn polls_again(&self) -> Result<(), &'static str> {
        Ok(())
    }
    /// Something that the backend cannot poll, or why there is nothing.
    fn unpollable(&self) -> Result<Self::Socket, &'static str>;

    fn close(&self, socket: Self::Socket) {
        drop(socket);
    }

    /// Writes until there is no more room.
    fn fill(&self, socket: &Self::Socket) {
        while self.write(socket, 1 << 16) > 0 {}
    }
}

pub(super) struct InMemory {
    network: Arc<Network>,
}

impl World for InMemory {
    type Backend = Scripted;
    type Socket = scripted::Socket;

    fn new() -> Self {
        InMemory {
            network: Arc::default(),
        }
    }

    fn pair(&self) -> (scripted::Socket, scripted::Socket) {
        scripted::Socket::pair(&self.network)
    }

    fn listen(&self) -> scripted::Socket {
        scripted::Socket::listen(&self.network)
    }

    fn connect(&self, listener: &scripted::Socket) -> scripted::Socket {
        listener.connect()
    }

    fn accept(&self, listener: &scripted::Socket) -> Option<scripted::Socket> {
        listener.accept()
    }

    fn refuse(&self) -> Option<scripted::Socket> {
        Some(scripted::Socket::refused(&self.network))
    }

    fn outcome(&self, socket: &scripted::Socket) -> Option<bool> {
        Some(!socket.is_broken())
    }

    fn read(&self, socket: &scripted::Socket, length: usize) -> Read {
        match socket.read(length) {
            Ok(None) => Read::WouldBlock,
            Ok(Some(0)) => Read::End,
            Ok(Some(length)) => Read::Data(length),
            Err(_) => Read::Error,
        }
    }

    fn write(&self, socket: &scripted::Socket, length: usize) -> usize {
        socket.write(length)
    }

    fn shutdown(&self, socket: &scripted::Socket) {
        socket.shutdown();
    }

    fn reset(&self, _ours: &scripted::Socket, theirs: scripted::Socket) {
        theirs.reset();
    }

    fn await_readable(&self, _socket: &scripted::Socket) {}

    fn await_hang_up(&self, _socket: &scripted::Socket) {}

    fn idle(&self) -> scripted::Socket {
        self.listen()
    }

    fn idle_limit(&self) -> usize {
        usize::MAX
    }

    fn unpollable(&self) -> Result<scripted::Socket, &'static str> {
        Ok(scripted::Socket::unpollable(&self.network))
    }
}

pub(crate) use simulated::{AUTO, DIRECT, HELPER, Simulated};

/// The AFD backend on the simulated kernel, with each kind of control handle.
mod simulated {
    use super::*;
    use crate::afd::{Defects, PollingMode, Port, Sound};
    use crate::nt::sim::{Kernel, Sim, Socket};

    pub(crate) const AUTO: u8 = 0;
    pub(crate) const DIRECT: u8 = 1;
    pub(crate) const HELPER: u8 = 2;

    pub(super) fn mode(number: u8) -> PollingMode {
        match number {
            AUTO => PollingMode::Auto,
            DIRECT => PollingMode::Direct,
            _ => PollingMode::Helper,
        }
    }

    pub(crate) struct Simulated<const MODE: u8, D = Sound> {
        pub(crate) kernel: Arc<Kernel>,
        defects: PhantomData<D>,
    }

    impl<const MODE: u8, D> Drop for Simulated<MODE, D> {
        fn drop(&mut self) {
            let violations = &self.kernel.state().violations;
            assert!(
                violations.is_empty() || std::thread::panicking(),
                "{violations:?}"
            );
        }
    }

    impl<const MODE: u8, D: Defects> World for Simulated<MODE, D> {
        type Backend = Port<Sim, D>;
        type Socket = Socket;
        const PATIENCE: Duration = Duration::from_secs(if D::STATE_MOVES { 0 } else { 60 });
        /// Sixteen that leave the port alone, one that empties it, one that arms anew.
        const WAITS: usize = 18;

        fn new() -> Self {
            let kernel = Arc::<Kernel>::default();
            kernel.state().mood.sleeps = true;
            Simulated {
                kernel,
                defects: PhantomData,
            }
        }

        fn poller(&self) -> Poller<Socket, (), Port<Sim, D>> {
            Poller::over(Port::with_mode(Sim::new(&self.kernel), mode(MODE)).unwrap())
        }

        fn pair(&self) -> (Socket, Socket) {
            Socket::pair(&self.kernel)
        }

        fn listen(&self) -> Socket {
            Socket::listen(&self.kernel)
        }

        fn connect(&self, listener: &Socket) -> Socket {
            listener.connect()
        }

        fn accept(&self, listener: &Socket) -> Option<Socket> {
            listener.accept()
        }

        fn refuse(&self) -> Option<Socket> {
            Some(Socket::refused(&self.kernel))
        }

        fn outcome(&self, socket: &Socket) -> Option<bool> {
            Some(!socket.is_refused())
        }

        fn read(&self, socket: &Socket, length: usize) -> Read {
            match socket.read(length) {
                Ok(None) => Read::WouldBlock,
                Ok(Some(0)) => Read::End,
                Ok(Some(length)) => Read::Data(length),
                Err(()) => Read::Error,
            }
        }

        fn write(&self, socket: &Socket, length: usize) -> usize {
            socket.write(length)
        }

        fn shutdown(&self, socket: &Socket) {
            socket.shutdown();
        }

        fn reset(&self, _ours: &Socket, theirs: Socket) {
            theirs.reset();
        }

        fn await_readable(&self, _socket: &Socket) {}

        fn await_hang_up(&self, _socket: &Socket) {}

        fn idle(&self) -> Socket {
            self.listen()
        }

        fn idle_limit(&self) -> usize {
            usize::MAX
        }

        fn unpollable(&self) -> Result<Socket, &'static str> {
            Ok(Socket::unpollable(&self.kernel))
        }
    }
}

#[cfg(any(unix, windows))]
mod system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::{Tcp, Uds};

#[cfg(unix)]
pub(super) use sockets::{Sockets, TCP, UDS};

#[cfg(unix)]
mod sockets {
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Resource, getrlimit, setrlimit};
    use socket2::{Domain, Type};

    use super::*;
    use crate::socket::{SocketAddress, Stream};

    pub(in super::super) const TCP: bool = false;
    pub(in super::super) const UDS: bool = true;

    /// The system's own sockets, of either family.
    pub(in super::super) struct Sockets<B, const IS_UDS: bool> {
        directory: tempfile::TempDir,
        backend: PhantomData<B>,
    }

    type Socket = system::Socket<OwnedFd>;

    impl AsFd for Socket {
        fn as_fd(&self) -> BorrowedFd<'_> {
            match self {
                Socket::Stream(stream) | Socket::Refused { stream, .. } => stream.as_fd(),
                Socket::Listener(listener) => listener.as_fd(),
                Socket::Other(descriptor) => descriptor.as_fd(),
            }
        }
    }

    impl Socket {
        fn wait_for(&self, flags: PollFlags) {
            while poll(&mut [PollFd::new(self, flags)], None).is_err() {}
        }
    }

    /// The system's hang-up of a TCP connection needs both directions to be over; the end of the
    /// incoming one is what it tells of a peer that has closed.
    #[cfg(target_os = "linux")]
    const HANG_UP: PollFlags = PollFlags::RDHUP;
    #[cfg(not(target_os = "linux"))]
    const HANG_UP: PollFlags = PollFlags::IN;

    impl<B: Backend<Handle = RawFd>, const IS_UDS: bool> World for Sockets<B, IS_UDS> {
        const TELLS_FAILURES: bool = B::TELLS_FAILURES;
        type Backend = B;
        type Socket = Socket;

        fn new() -> Self {
            Sockets {
                directory: tempfile::tempdir().unwrap(),
                backend: PhantomData,
            }
        }

        fn pair(&self) -> (Socket, Socket) {
            if IS_UDS {
                let (ours, theirs) = Stream::pair().unwrap();
                return (Socket::Stream(ours), Socket::Stream(theirs));
            }
            let listener = self.listen();
            let ours = self.connect(&listener);
            ours.wait_for(PollFlags::OUT);
            listener.wait_for(PollFlags::IN);
            let theirs = self.accept(&listener).unwrap();
            (ours, theirs)
        }

        fn listen(&self) -> Socket {
            Socket::listen(&if IS_UDS {
                SocketAddress::Uds(Some(self.directory.path().join("listener")))
            } else {
                system::any_port()
            })
        }

        fn connect(&self, listener: &Socket) -> Socket {
            listener.connect()
        }

        fn accept(&self, listener: &Socket) -> Option<Socket> {
            listener.accept()
        }

        fn fill_backlog(&self, listener: &Socket) -> Result<Vec<Socket>, &'static str> {
            if !IS_UDS || cfg!(not(target_os = "linux")) {
                return Err(PATIENT_BACKLOG);
            }
            let address = listener.listener().local_address().unwrap();
            let mut waiting = Vec::new();
            loop {
                match Stream::connect(&address) {
                    Ok(stream) => waiting.push(Socket::Stream(stream)),
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                        return Ok(waiting);
                    }
                }
                assert!(waiting.len() < 1000, "the backlog has no end");
            }
        }

        fn refuse(&self) -> Option<Socket> {
            match Socket::connect_to_nobody() {
                Ok(refused) => Some(refused),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                    None
                }
            }
        }

        fn outcome(&self, socket: &Socket) -> Option<bool> {
            socket.outcome()
        }

        fn read(&self, socket: &Socket, length: usize) -> Read {
            socket.read(length)
        }

        fn write(&self, socket: &Socket, length: usize) -> usize {
            socket.write(length)
        }

        fn shutdown(&self, socket: &Socket) {
            socket.stream().shutdown_write().unwrap();
        }

        fn reset(&self, ours: &Socket, theirs: Socket) {
            if IS_UDS {
                // Closed with data unread, a Unix domain socket aborts.
                assert_eq!(self.write(ours, 1), 1);
            } else {
                theirs.stream().set_abortive().unwrap();
            }
            drop(theirs);
        }

        fn await_readable(&self, socket: &Socket) {
            socket.wait_for(PollFlags::IN);
        }

        fn await_hang_up(&self, socket: &Socket) {
            socket.wait_for(HANG_UP);
        }

        fn idle(&self) -> Socket {
            let socket = socket2::Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
            Socket::Other(socket.into())
        }

        fn idle_limit(&self) -> usize {
            let mut limit = getrlimit(Resource::Nofile);
            limit.current = limit.maximum;
            setrlimit(Resource::Nofile, limit).unwrap();
            // The rest is for the other tests of this process, which run at the same time.
            limit
                .current
                .map_or(usize::MAX, |limit| limit as usize / 10 * 8)
        }

        fn tells_ends() -> Result<(), &'static str> {
            let has_flag = cfg!(any(target_os = "linux", target_os = "freebsd"));
            match has_flag || !std::any::type_name::<B>().contains("Poll") {
                true => Ok(()),
                false => Err("the end of one direction: poll(2) tells it as readable and no more"),
            }
        }

        fn unpollable(&self) -> Result<Socket, &'static str> {
            if !std::any::type_name::<B>().contains("Epoll") {
                return Err("kqueue and poll(2) poll whatever is open");
            }
            let file = tempfile::tempfile_in(self.directory.path()).unwrap();
            Ok(Socket::Other(file.into()))
        }
    }
}

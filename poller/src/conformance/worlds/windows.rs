//! Windows' own sockets, polled by AFD on each kind of handle.

use std::mem::MaybeUninit;
use std::os::windows::io::AsSocket;
use std::thread;

use socket2::{Domain, SockRef, Type};

use super::*;
use crate::afd::{Defects, PollingMode, Port};
use crate::backend::Afd;
use crate::nt::{Handle, Nt, real::Windows};
use crate::platform::is_wine;
use crate::socket::{SocketAddress, has_unix_sockets};

/// The system's own sockets, of either family.
pub(crate) struct Sockets<const IS_UDS: bool, const MODE: u8, B = Afd> {
    directory: tempfile::TempDir,
    backend: PhantomData<fn() -> B>,
}

pub(crate) type Tcp<const MODE: u8, B = Afd> = Sockets<false, MODE, B>;
pub(crate) type Uds<const MODE: u8> = Sockets<true, MODE>;

/// A backend on the system's own calls.
pub(crate) trait OfWindows: Backend<Handle = Handle> {
    const PATIENCE: Duration = Duration::from_secs(60);

    fn poller(mode: PollingMode) -> Poller<Socket, (), Self>;
}

impl OfWindows for Afd {
    fn poller(mode: PollingMode) -> Poller<Socket, (), Afd> {
        Poller::with_mode(mode).unwrap()
    }
}

/// With a planted defect: what is due and does not come is not waited for as long.
impl<D: Defects> OfWindows for Port<Windows, D> {
    const PATIENCE: Duration = Duration::from_secs(if D::STATE_MOVES { 10 } else { 60 });

    fn poller(mode: PollingMode) -> Poller<Socket, (), Self> {
        Poller::over(Port::with_mode(Windows::new().unwrap(), mode).unwrap())
    }
}

pub(crate) type Socket = system::Socket<socket2::Socket>;

impl AsSocket for Socket {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        match self {
            Socket::Stream(stream) | Socket::Refused { stream, .. } => stream.as_socket(),
            Socket::Listener(listener) => listener.as_socket(),
            Socket::Other(socket) => socket.as_socket(),
        }
    }
}

/// Asks again until there is an answer, without the means that are under test.
fn ask<T>(mut question: impl FnMut() -> Option<T>) -> T {
    loop {
        match question() {
            Some(answer) => return answer,
            None => thread::yield_now(),
        }
    }
}

/// Whether a read would tell something. Asked by a read that takes nothing: `WSAPoll` and `select` are polls of
/// the same socket, which Windows may mix up with those under test.
fn is_readable(socket: &Socket) -> bool {
    let peeked = SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]);
    !matches!(peeked, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

impl<const IS_UDS: bool, const MODE: u8, B: OfWindows> World for Sockets<IS_UDS, MODE, B> {
    type Backend = B;
    type Socket = Socket;
    const PATIENCE: Duration = B::PATIENCE;
    const WAITS: usize = 18;
    const TELLS_RESETS: bool = false;
    const CASES: u32 = 12;

    fn new() -> Self {
        Sockets {
            directory: tempfile::tempdir().unwrap(),
            backend: PhantomData,
        }
    }

    fn is_there() -> Result<(), &'static str> {
        match IS_UDS && !has_unix_sockets() {
            true => Err("Unix sockets: this system has none"),
            false => Ok(()),
        }
    }

    fn poller(&self) -> Poller<Socket, (), B> {
        B::poller(simulated::mode(MODE))
    }

    fn pair(&self) -> (Socket, Socket) {
        let listener = self.listen();
        let ours = self.connect(&listener);
        ask(|| ours.stream().finish_connect().unwrap().then_some(()));
        let theirs = ask(|| self.accept(&listener));
        (ours, theirs)
    }

    fn listen(&self) -> Socket {
        Socket::listen(&if IS_UDS {
            // Nothing takes the file away when its listener is closed.
            let name = fastrand::u64(..).to_string();
            SocketAddress::Uds(Some(self.directory.path().join(name)))
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

    fn refuse(&self) -> Option<Socket> {
        Socket::connect_to_nobody().ok()
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
    }

    fn await_readable(&self, socket: &Socket) {
        ask(|| is_readable(socket).then_some(()));
    }

    fn await_hang_up(&self, socket: &Socket) {
        // A peer's end is readable, as data is; so is a reset, as an error.
        ask(|| is_readable(socket).then_some(()));
    }

    fn idle(&self) -> Socket {
        Socket::Other(socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap())
    }

    fn idle_limit(&self) -> usize {
        2_500
    }

    fn after_reset(&self) -> Read {
        // Wine's server takes the error away when it looks at the socket.
        if is_wine() { Read::End } else { Read::Error }
    }

    fn polls_again(&self) -> Result<(), &'static str> {
        match MODE {
            DIRECT if is_wine() => Err("Wine takes no socket off its port"),
            _ => Ok(()),
        }
    }

    fn unpollable(&self) -> Result<Socket, &'static str> {
        Err("whatever is a socket can be polled on Windows")
    }
}

//! Windows' own sockets, polled by AFD on each kind of handle.

use std::os::windows::io::{AsRawSocket, AsSocket};
use std::thread;

use socket2::{Domain, Type};
use windows_sys::Win32::Networking::WinSock as winsock;

use super::*;
use crate::backend::{Afd, ControlMode};
use crate::platform::is_wine;
use crate::socket::{Listener, SocketAddress, Stream};

/// TCP sockets of the system.
pub(in super::super) struct Tcp<const MODE: u8>;

pub(in super::super) enum Socket {
    Stream(Stream),
    Listener(Listener),
    Other(socket2::Socket),
}

impl AsSocket for Socket {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        match self {
            Socket::Stream(stream) => stream.as_socket(),
            Socket::Listener(listener) => listener.as_socket(),
            Socket::Other(socket) => socket.as_socket(),
        }
    }
}

impl Socket {
    fn stream(&self) -> &Stream {
        match self {
            Socket::Stream(stream) => stream,
            _ => panic!("not a stream"),
        }
    }

    fn listener(&self) -> &Listener {
        match self {
            Socket::Listener(listener) => listener,
            _ => panic!("not a listener"),
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

/// Asks Winsock, which neither reads nor takes an error away.
fn is_polled(socket: &Socket, events: i16) -> bool {
    let mut question = winsock::WSAPOLLFD {
        fd: socket.as_socket().as_raw_socket() as winsock::SOCKET,
        events,
        revents: 0,
    };
    // SAFETY: there is one structure, which lives until the call returns.
    let ready = unsafe { winsock::WSAPoll(&raw mut question, 1, 0) };
    ready > 0
}

impl<const MODE: u8> World for Tcp<MODE> {
    type Backend = Afd;
    type Socket = Socket;
    const WAITS: usize = 18;
    const CASES: u32 = 12;

    fn new() -> Self {
        Tcp
    }

    fn poller(&self) -> Poller<Socket, Afd> {
        let mode = match MODE {
            AUTO => ControlMode::Auto,
            DIRECT => ControlMode::Direct,
            _ => ControlMode::Helper,
        };
        Poller::with_control(mode).unwrap()
    }

    fn pair(&self) -> (Socket, Socket) {
        let listener = self.listen();
        let ours = self.connect(&listener);
        ask(|| ours.stream().finish_connect().unwrap().then_some(()));
        let theirs = ask(|| self.accept(&listener));
        (ours, theirs)
    }

    fn listen(&self) -> Socket {
        let address = SocketAddress::Tcp(([127, 0, 0, 1], 0).into());
        Socket::Listener(Listener::bind(&address, 16).unwrap())
    }

    fn connect(&self, listener: &Socket) -> Socket {
        let address = listener.listener().local_address().unwrap();
        Socket::Stream(Stream::connect(&address).unwrap())
    }

    fn accept(&self, listener: &Socket) -> Option<Socket> {
        match listener.listener().accept() {
            Ok((stream, _)) => Some(Socket::Stream(stream)),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                None
            }
        }
    }

    fn refuse(&self) -> Option<Socket> {
        // Bound, so that nobody else gets the port, but not listened on.
        let nobody = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
        nobody.bind(&any.into()).unwrap();
        let address = nobody.local_addr().unwrap().as_socket().unwrap();
        let stream = Stream::connect(&SocketAddress::Tcp(address)).ok()?;
        Some(Socket::Stream(stream))
    }

    fn outcome(&self, socket: &Socket) -> Option<bool> {
        match socket.stream().finish_connect() {
            Ok(false) => None,
            outcome => Some(outcome.is_ok()),
        }
    }

    fn read(&self, socket: &Socket, length: usize) -> Read {
        match socket.stream().recv(&mut vec![0; length]) {
            Ok(0) => Read::End,
            Ok(length) => Read::Data(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::WouldBlock,
            Err(_) => Read::Error,
        }
    }

    fn write(&self, socket: &Socket, length: usize) -> usize {
        let bytes = vec![0; length];
        let outcome = socket.stream().send_vectored(&[io::IoSlice::new(&bytes)]);
        match outcome {
            Ok(length) => length,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                0
            }
        }
    }

    fn shutdown(&self, socket: &Socket) {
        socket.stream().shutdown_write().unwrap();
    }

    fn reset(&self, _ours: &Socket, theirs: Socket) {
        theirs.stream().set_abortive().unwrap();
    }

    fn await_readable(&self, socket: &Socket) {
        ask(|| is_polled(socket, winsock::POLLRDNORM).then_some(()));
    }

    fn await_hang_up(&self, socket: &Socket) {
        // A peer's end is readable, as data is; a reset is reported unasked.
        ask(|| is_polled(socket, winsock::POLLRDNORM).then_some(()));
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

//! The system's own calls, with sockets of Winsock's.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::windows::io::{AsRawHandle, AsRawSocket, FromRawSocket};
use std::process::{Child, Command, Stdio};
use std::ptr::{null, null_mut};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use windows_sys::Win32::Foundation as foundation;
use windows_sys::Win32::Networking::WinSock as winsock;

use super::ground::Ground;
use crate::nt::{Nt, real::Windows, system::claim_address};

/// How long a connection on this machine may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks again until there is an answer, or the time is over.
fn ask<T>(
    patience: Duration,
    mut question: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = question()? {
            return Ok(answer);
        }
        if start.elapsed() > patience {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::yield_now();
    }
}

/// Nothing, for now.
fn later<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        outcome => outcome.map(Some),
    }
}

fn open(kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, kind, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind(socket: &Socket) -> io::Result<()> {
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into())
}

/// Starts to connect.
fn connect(socket: &Socket, to: &Socket) -> io::Result<()> {
    later(socket.connect(&to.local_addr()?)).map(|_| ())
}

/// The last error of Winsock's.
fn last_error() -> io::Error {
    // SAFETY: nothing is pointed to.
    io::Error::from_raw_os_error(unsafe { winsock::WSAGetLastError() })
}

fn is_inheritable(socket: &Socket) -> io::Result<bool> {
    let mut flags = 0;
    // SAFETY: the socket is open, and the flags live until the call returns.
    let outcome = unsafe {
        foundation::GetHandleInformation(
            socket.as_raw_socket() as foundation::HANDLE,
            &raw mut flags,
        )
    };
    match outcome {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(flags & foundation::HANDLE_FLAG_INHERIT != 0),
    }
}

pub(crate) struct Winsock {
    /// Bound, so that nobody listens where connections are to be refused.
    nobodies: Mutex<Vec<Socket>>,
}

impl Ground for Winsock {
    type Nt = Windows;
    type Socket = Socket;
    type Keeper = Keeper;
    const IS_SIMULATED: bool = false;

    fn new() -> io::Result<Self> {
        Ok(Winsock {
            nobodies: Mutex::default(),
        })
    }

    fn nt(&self) -> io::Result<Windows> {
        Windows::new()
    }

    fn pair(&self) -> io::Result<(Socket, Socket)> {
        let listener = self.listen()?;
        let ours = self.connect(&listener)?;
        let (theirs, _) = ask(PATIENCE, || later(listener.accept()))?;
        theirs.set_nonblocking(true)?;
        // It is connected once it can send.
        ask(PATIENCE, || match ours.send(&[]) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
            outcome => later(outcome),
        })?;
        Ok((ours, theirs))
    }

    fn datagrams(&self) -> io::Result<(Socket, Socket)> {
        let (ours, theirs) = (open(Type::DGRAM)?, open(Type::DGRAM)?);
        bind(&ours)?;
        bind(&theirs)?;
        connect(&ours, &theirs)?;
        connect(&theirs, &ours)?;
        Ok((ours, theirs))
    }

    fn listen(&self) -> io::Result<Socket> {
        let listener = open(Type::STREAM)?;
        bind(&listener)?;
        listener.listen(16)?;
        Ok(listener)
    }

    fn connect(&self, listener: &Socket) -> io::Result<Socket> {
        let client = open(Type::STREAM)?;
        connect(&client, listener)?;
        Ok(client)
    }

    fn refuse(&self) -> io::Result<Option<Socket>> {
        let nobody = open(Type::STREAM)?;
        bind(&nobody)?;
        let client = open(Type::STREAM)?;
        let outcome = connect(&client, &nobody);
        let mut nobodies = self.nobodies.lock().unwrap_or_else(PoisonError::into_inner);
        nobodies.push(nobody);
        Ok(outcome.is_ok().then_some(client))
    }

    fn read(&self, socket: &Socket, length: usize) -> usize {
        let mut buffer = vec![MaybeUninit::uninit(); length];
        socket.recv(&mut buffer).unwrap_or(0)
    }

    fn write(&self, socket: &Socket, length: usize) -> usize {
        socket.send(&vec![0; length]).unwrap_or(0)
    }

    fn shutdown(&self, socket: &Socket) -> io::Result<()> {
        socket.shutdown(std::net::Shutdown::Write)
    }

    fn reset(&self, socket: Socket) -> io::Result<()> {
        socket.set_linger(Some(Duration::ZERO))
    }

    fn await_readable(&self, socket: &Socket, patience: Duration) -> bool {
        // Not by `WSAPoll` or `select`: they are polls of the same socket, which may be mixed up.
        let peek = || match later(socket.peek(&mut [MaybeUninit::uninit()])) {
            Ok(None) => Ok(None),
            _ => Ok(Some(())),
        };
        ask(patience, peek).is_ok()
    }

    fn duplicate(&self, socket: &Socket) -> io::Result<Socket> {
        socket.try_clone()
    }

    fn share(&self, socket: &Socket) -> io::Result<Keeper> {
        Keeper::of(socket)
    }

    fn poll_elsewhere(&self, socket: &Socket, patience: Duration) -> io::Result<()> {
        let mut question = winsock::WSAPOLLFD {
            fd: socket.as_raw_socket() as winsock::SOCKET,
            events: winsock::POLLRDNORM,
            revents: 0,
        };
        let milliseconds = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: there is one structure, which lives until the call returns.
        match unsafe { winsock::WSAPoll(&raw mut question, 1, milliseconds) } {
            0 => Err(io::ErrorKind::TimedOut.into()),
            count if count < 0 => Err(last_error()),
            _ => Ok(()),
        }
    }

    fn bind_again(&self) -> io::Result<[io::Result<()>; 2]> {
        let listener = open(Type::STREAM)?;
        claim_address(&listener)?;
        bind(&listener)?;
        listener.listen(1)?;
        let address = listener.local_addr()?;
        let _client = self.connect(&listener)?;
        let _accepted = ask(PATIENCE, || later(listener.accept()))?;
        drop(listener);
        let again = |claims: bool| {
            let socket = open(Type::STREAM)?;
            if claims {
                claim_address(&socket)?;
            }
            socket.bind(&address)?;
            socket.listen(1)
        };
        Ok([again(true), again(false)])
    }

    fn accept_inheritable(&self) -> io::Result<[bool; 2]> {
        let accept_by = |listener: Socket| {
            listener.set_nonblocking(true)?;
            bind(&listener)?;
            listener.listen(1)?;
            let _client = self.connect(&listener)?;
            let (accepted, _) = ask(PATIENCE, || later(listener.accept_raw()))?;
            is_inheritable(&accepted)
        };
        let inheritable = Socket::new_raw(Domain::IPV4, Type::STREAM, None)?;
        Ok([accept_by(open(Type::STREAM)?)?, accept_by(inheritable)?])
    }

    fn open_not_overlapped(&self) -> io::Result<Socket> {
        let (family, kind) = (i32::from(winsock::AF_INET), winsock::SOCK_STREAM);
        // SAFETY: nothing is pointed to.
        let socket =
            unsafe { winsock::WSASocketW(family, kind, winsock::IPPROTO_TCP, null(), 0, 0) };
        if socket == winsock::INVALID_SOCKET {
            return Err(last_error());
        }
        // SAFETY: it was just opened, and nobody else knows it.
        Ok(unsafe { Socket::from_raw_socket(socket as u64 as _) })
    }
}

/// Another process with a handle of ours, which it keeps until it is let go.
pub(crate) struct Keeper(Child);

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Keeper {
    fn of(socket: &Socket) -> io::Result<Keeper> {
        // It waits for a line that never comes. Whoever it is, it need not know of the handle.
        let process = Command::new("cmd.exe")
            .args(["/d", "/c", "set /p ampe="])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut duplicate = null_mut();
        // SAFETY: both processes are there, the handle is open, the answer goes to a live value.
        let is_given = unsafe {
            foundation::DuplicateHandle(
                (-1_isize) as foundation::HANDLE,
                socket.as_raw_socket() as foundation::HANDLE,
                process.as_raw_handle(),
                &raw mut duplicate,
                0,
                0,
                foundation::DUPLICATE_SAME_ACCESS,
            )
        };
        let keeper = Keeper(process);
        match is_given {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(keeper),
        }
    }
}

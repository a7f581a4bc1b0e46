use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::time::Duration;

#[cfg(unix)]
use socket2::Type;
use socket2::{Domain, Socket, TcpKeepalive};

use super::{Buffers, SocketAddress, open, retry};

/// One end of a connection, or an attempt at one.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)] {
/// use ampe_poller::socket::Stream;
/// use std::io::IoSlice;
///
/// let (ours, theirs) = Stream::pair()?;
/// ours.send_vectored(&[IoSlice::new(b"a gathering "), IoSlice::new(b"write")])?;
/// let mut buffer = [0; 64];
/// let length = theirs.recv(&mut buffer)?;
/// assert_eq!(&buffer[..length], b"a gathering write");
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    /// Kept: to ask costs a call, and not every system knows it of a socket without a name.
    pub(super) is_unix: bool,
}

impl Stream {
    /// Starts to connect. The stream is writable once it is decided, which
    /// [`finish_connect`](Self::finish_connect) then tells.
    ///
    /// # Errors
    ///
    /// - The address cannot be one of a socket: a Unix domain path that is missing, too long or
    ///   has a zero byte ([`io::ErrorKind::InvalidInput`]).
    /// - A Unix domain path on a system without such sockets ([`io::ErrorKind::Unsupported`]).
    /// - Nobody listens there, where the system knows that at once.
    /// - A Unix domain listener whose backlog is full ([`io::ErrorKind::WouldBlock`]). No event
    ///   tells when it has room again: try again later with a new stream.
    /// - The process or the system has no descriptor, port or memory left.
    pub fn connect(address: &SocketAddress) -> io::Result<Stream> {
        Stream::connect_with(address, Buffers::default())
    }

    /// As [`connect`](Self::connect), with buffers of such sizes.
    ///
    /// # Errors
    ///
    /// As `connect`; or the system refuses the sizes.
    pub fn connect_with(address: &SocketAddress, buffers: Buffers) -> io::Result<Stream> {
        let (domain, system_address) = address.to_system()?;
        let socket = open(domain)?;
        buffers.set(&socket)?;
        let stream = Stream::with_options(socket, domain)?;
        match stream.socket.connect(&system_address) {
            Err(error) if is_in_progress(&error, domain) => {}
            outcome => outcome?,
        }
        Ok(stream)
    }

    /// Whether the attempt has succeeded: `false` while it goes on.
    ///
    /// # Errors
    ///
    /// The attempt failed: refused, timed out, unreachable. A TCP stream that was connected with
    /// itself counts as refused: where nobody listens at a port of this machine, the system may give
    /// an attempt that very port to start from, and then it meets itself.
    pub fn finish_connect(&self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(peer) => match peer.as_socket() {
                Some(peer) if self.socket.local_addr()?.as_socket() == Some(peer) => {
                    let said = "nobody listens there: the attempt was connected with itself";
                    Err(io::Error::new(io::ErrorKind::ConnectionRefused, said))
                }
                _ => Ok(true),
            },
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Two streams connected with each other, without an address.
    ///
    /// # Errors
    ///
    /// The process or the system has no descriptor left.
    #[cfg(unix)]
    pub fn pair() -> io::Result<(Stream, Stream)> {
        let (one, other) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
        Ok((
            Stream::with_options(one, Domain::UNIX)?,
            Stream::with_options(other, Domain::UNIX)?,
        ))
    }

    /// What every stream has: it never blocks, and a TCP stream never holds back small writes.
    pub(super) fn with_options(socket: Socket, domain: Domain) -> io::Result<Stream> {
        super::never_block(&socket)?;
        #[cfg(target_vendor = "apple")]
        socket.set_nosigpipe(true)?;
        if domain != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        let is_unix = domain == Domain::UNIX;
        Ok(Stream { socket, is_unix })
    }

    /// Receives what has arrived, at most as much as fits. Zero, for a buffer that is not empty,
    /// is the end of the stream.
    ///
    /// # Errors
    ///
    /// - Nothing has arrived ([`io::ErrorKind::WouldBlock`]).
    /// - The system has no memory for it now ([`is_shortage`](super::is_shortage)). No event tells when
    ///   it has: try again a little later.
    /// - The connection was reset, or broke otherwise.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| (&self.socket).read(buffer))
    }

    /// Whether there is something to read, which stays there: 1 if there is, 0 at the end of the stream.
    ///
    /// # Errors
    ///
    /// As [`recv`](Stream::recv).
    pub fn peek(&self) -> io::Result<usize> {
        retry(|| self.socket.peek(&mut [MaybeUninit::uninit()]))
    }

    /// Sends the slices one after the other in one system call, as many bytes as the system takes.
    ///
    /// # Errors
    ///
    /// - The system takes none ([`io::ErrorKind::WouldBlock`]).
    /// - The system has no memory for them now ([`is_shortage`](super::is_shortage)): it has taken
    ///   none. No event tells when it has: try again a little later.
    /// - More slices than the system takes in one call, 1,024 on most
    ///   ([`io::ErrorKind::InvalidInput`]).
    /// - The connection was reset, or shut down on this side ([`io::ErrorKind::BrokenPipe`]).
    ///
    /// # Platform notes
    ///
    /// On Windows the error of a stream that was shut down on this side is `WSAESHUTDOWN`, for which
    /// the standard library has no kind.
    pub fn send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        retry(|| self.socket.send_vectored_with_flags(slices, NO_SIGNAL))
    }

    /// Ends the outgoing direction: the peer reads to the end of the stream.
    ///
    /// # Errors
    ///
    /// The stream is not connected, or no longer.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    /// Makes closing abort a TCP connection: what is not yet sent is thrown away and the peer sees
    /// a reset.
    ///
    /// # Errors
    ///
    /// The system refuses the option.
    ///
    /// # Platform notes
    ///
    /// Does nothing to a Unix domain socket: there only unread incoming data makes a close abort.
    pub fn set_abortive(&self) -> io::Result<()> {
        self.socket.set_linger(Some(Duration::ZERO))
    }

    /// Has the system probe a TCP connection that is idle for as long, and then every tenth of
    /// it, so that a peer that vanished is noticed. Does nothing to a Unix domain socket, whose
    /// peer cannot vanish unnoticed.
    ///
    /// # Errors
    ///
    /// The system refuses the option, as for less than a second.
    ///
    /// # Platform notes
    ///
    /// On OpenBSD, Haiku and Solaris the system's own interval between probes applies.
    pub fn set_keep_alive(&self, idle: Duration) -> io::Result<()> {
        if self.is_unix {
            return Ok(());
        }
        let keep_alive = TcpKeepalive::new().with_time(idle);
        #[cfg(not(any(target_os = "openbsd", target_os = "haiku", target_os = "solaris")))]
        let keep_alive = keep_alive.with_interval((idle / 10).max(Duration::from_secs(1)));
        self.socket.set_tcp_keepalive(&keep_alive)
    }

    /// How long data that was sent may stay unacknowledged before the system aborts a TCP
    /// connection: the user timeout of RFC 9293. So a peer that vanished is noticed also while data
    /// is on the way to it, when the system does not ask as [keep-alive](Self::set_keep_alive)
    /// says. The stream then ends with [`io::ErrorKind::TimedOut`]. Does nothing to a Unix domain
    /// socket. A connection attempt is bounded by it as well.
    ///
    /// Give it as long as keep-alive takes in all, which is twice its idle time: what systems do
    /// with both differs, and with less a single lost probe ends a connection on Linux.
    ///
    /// # Errors
    ///
    /// - Less than a second ([`io::ErrorKind::InvalidInput`]).
    /// - The system has no such option ([`io::ErrorKind::Unsupported`]), or refuses it.
    ///
    /// # Platform notes
    ///
    /// - Linux (`TCP_USER_TIMEOUT`, in milliseconds, at most 24 days; tcp(7)): a peer that is there
    ///   and *does not read* is cut off as well. Once its window has been closed for as long, with
    ///   data waiting here, the connection is aborted, although the peer answers each probe of its
    ///   window (`tcp_probe_timer` in the kernel); and one that reads too little to open its window
    ///   counts as one that does not read. Of an idle connection the timeout replaces the number of
    ///   probes of keep-alive: it is aborted at the first unanswered probe after it
    ///   (`tcp_keepalive_timer`).
    /// - Windows (`TCP_MAXRT`, in whole seconds, rounded up): retransmission alone is bounded.
    ///   Wine does not have it.
    /// - Other systems: `Unsupported`. There the system's own patience applies, many minutes mostly.
    #[doc(alias = "TCP_USER_TIMEOUT")]
    #[doc(alias = "TCP_MAXRT")]
    pub fn set_user_timeout(&self, timeout: Duration) -> io::Result<()> {
        if timeout < Duration::from_secs(1) {
            // Zero has a meaning of its own on each system.
            let said = "a user timeout of less than a second";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, said));
        }
        if self.is_unix {
            return Ok(());
        }
        set_user_timeout(&self.socket, timeout)
    }

    /// Where the connection leads.
    ///
    /// # Errors
    ///
    /// The stream is not connected, or no longer.
    pub fn peer_address(&self) -> io::Result<SocketAddress> {
        SocketAddress::from_system(&self.socket.peer_addr()?)
    }

    /// Where the connection starts.
    ///
    /// # Errors
    ///
    /// The system has no memory left to say.
    pub fn local_address(&self) -> io::Result<SocketAddress> {
        SocketAddress::from_system(&self.socket.local_addr()?)
    }

    /// The error by which the connection broke, if the system knows of one: a reset, mostly. Takes nothing
    /// away, neither the error nor what was received before it. So it can be asked of a stream that is not
    /// read from for a while.
    ///
    /// # Platform notes
    ///
    /// Where poll(2) does not say `POLLERR` of a reset, as on some BSDs, it is not noticed before something
    /// is read. On Windows a reset takes away what had arrived.
    pub fn failure(&self) -> Option<io::Error> {
        failure_of(&self.socket)
    }

    /// Takes the error that is pending on the socket, if there is one.
    ///
    /// # Errors
    ///
    /// The system refuses to say.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }
}

#[cfg(unix)]
fn failure_of(socket: &Socket) -> Option<io::Error> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut asked = [PollFd::new(socket, PollFlags::empty())];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let is_told = poll(&mut asked, Some(&at_once)).is_ok_and(|told| told > 0);
    let has_failed = is_told && asked[0].revents().contains(PollFlags::ERR);
    has_failed.then(|| rustix::io::Errno::CONNRESET.into())
}

#[cfg(not(unix))]
fn failure_of(socket: &Socket) -> Option<io::Error> {
    let outcome = retry(|| socket.peek(&mut [std::mem::MaybeUninit::uninit()]));
    outcome
        .err()
        .filter(|error| error.kind() != io::ErrorKind::WouldBlock)
}

/// Sending to a peer that is gone is an error, not the end of the process.
#[cfg(all(unix, not(target_vendor = "apple")))]
const NO_SIGNAL: i32 = rustix::net::SendFlags::NOSIGNAL.bits() as i32;
#[cfg(not(all(unix, not(target_vendor = "apple"))))]
const NO_SIGNAL: i32 = 0;

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_user_timeout(socket: &Socket, timeout: Duration) -> io::Result<()> {
    // The system takes no more than a signed number holds.
    let longest = Duration::from_millis(i32::MAX as u64);
    socket.set_tcp_user_timeout(Some(timeout.min(longest)))
}

#[cfg(windows)]
fn set_user_timeout(socket: &Socket, timeout: Duration) -> io::Result<()> {
    crate::nt::system::set_user_timeout(socket, whole_seconds(timeout))
}

/// A timeout in whole seconds, rounded up, and no more than the system takes.
#[cfg(any(windows, test))]
fn whole_seconds(timeout: Duration) -> i32 {
    let seconds = timeout.as_secs();
    let seconds = seconds.saturating_add(u64::from(timeout.subsec_nanos() > 0));
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
fn set_user_timeout(_socket: &Socket, _timeout: Duration) -> io::Result<()> {
    let said = "this system has no user timeout, or no safe way to set it";
    Err(io::Error::new(io::ErrorKind::Unsupported, said))
}

#[cfg(unix)]
fn is_in_progress(error: &io::Error, domain: Domain) -> bool {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        // Interrupted or not, the attempt goes on.
        Some(Errno::INPROGRESS | Errno::INTR) => true,
        Some(errno) => domain != Domain::UNIX && errno == Errno::AGAIN,
        None => false,
    }
}

#[cfg(not(unix))]
fn is_in_progress(error: &io::Error, _domain: Domain) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(unix)]
impl std::os::fd::AsFd for Stream {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Stream {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.socket.as_socket()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_user_timeout_is_a_number_of_seconds_that_the_system_takes() {
        assert_eq!(whole_seconds(Duration::from_secs(30)), 30);
        assert_eq!(whole_seconds(Duration::from_millis(1001)), 2);
        assert_eq!(whole_seconds(Duration::MAX), i32::MAX);
    }

    /// By which an attempt goes on, though the call says that it has not succeeded.
    #[cfg(unix)]
    #[test]
    fn an_attempt_that_goes_on_is_told_from_one_that_has_failed() {
        use rustix::io::Errno;
        for (errno, of_tcp, of_unix) in [
            (Errno::INPROGRESS, true, true),
            (Errno::INTR, true, true),
            // Of a Unix socket: the backlog is full, and nothing was begun.
            (Errno::AGAIN, true, false),
            (Errno::CONNREFUSED, false, false),
            (Errno::ALREADY, false, false),
        ] {
            for (domain, expected) in [
                (Domain::IPV4, of_tcp),
                (Domain::IPV6, of_tcp),
                (Domain::UNIX, of_unix),
            ] {
                let error = io::Error::from(errno);
                assert_eq!(
                    is_in_progress(&error, domain),
                    expected,
                    "{errno:?} {domain:?}"
                );
            }
        }
    }

    /// What happens by chance to who connects to a port of this machine where nobody listens.
    #[test]
    fn a_stream_that_is_connected_with_itself_is_refused() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let any: std::net::SocketAddr = address.parse().unwrap();
            let Ok(socket) = open(Domain::for_address(any)) else {
                eprintln!("skipped: {address}: this system does not have its family");
                continue;
            };
            let bound = socket.bind(&any.into());
            if let (Err(error), true) = (&bound, any.is_ipv6()) {
                eprintln!("skipped: {address}: {error}");
                continue;
            }
            bound.unwrap();
            let itself = socket.local_addr().unwrap();
            let outcome = socket.connect(&itself);
            let is_unix = false;
            let stream = Stream { socket, is_unix };
            if outcome.is_ok() {
                assert_eq!(
                    stream.peer_address().unwrap(),
                    stream.local_address().unwrap()
                );
            }
            let refused = outcome.and_then(|()| stream.finish_connect()).unwrap_err();
            assert_eq!(
                refused.kind(),
                io::ErrorKind::ConnectionRefused,
                "{refused}"
            );
        }
    }
}

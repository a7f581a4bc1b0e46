//! Sockets that somebody else made: inherited from a supervisor, or set up by the application in ways
//! that this crate does not know.

use std::io;

#[cfg(unix)]
use std::os::fd::OwnedFd as OwnedSocket;
#[cfg(windows)]
use std::os::windows::io::OwnedSocket;

use socket2::{Domain, Socket, Type};

use super::{Listener, Stream};

impl Listener {
    /// Takes over a socket that listens already. It is left as it is, but for never blocking and for not
    /// being inherited by child processes. That it never blocks is so for whoever else holds the same
    /// socket, too. The file of a Unix domain socket is not removed with it: whoever made it removes it.
    ///
    /// # Errors
    ///
    /// It is not a stream socket of TCP or of the Unix domain, or does not listen
    /// ([`io::ErrorKind::InvalidInput`]).
    pub fn from_socket(socket: impl Into<OwnedSocket>) -> io::Result<Listener> {
        let (socket, domain) = stream_socket(socket.into().into())?;
        if !is_listening(&socket)? {
            return Err(unfit("it does not listen"));
        }
        Listener::adopt(socket, domain)
    }
}

impl Stream {
    /// Takes over a socket that is connected, or being connected. Like all others it never blocks from now
    /// on, is not inherited by child processes, and does not hold back small writes.
    ///
    /// # Errors
    ///
    /// - It is not a stream socket of TCP or of the Unix domain, or it listens
    ///   ([`io::ErrorKind::InvalidInput`]).
    /// - The system refuses an option.
    pub fn from_socket(socket: impl Into<OwnedSocket>) -> io::Result<Stream> {
        let (socket, domain) = stream_socket(socket.into().into())?;
        if is_listening(&socket)? {
            return Err(unfit("it listens"));
        }
        Stream::with_options(socket, domain)
    }
}

fn stream_socket(socket: Socket) -> io::Result<(Socket, Domain)> {
    let is_stream = socket.r#type()? == Type::STREAM;
    let domain = socket.local_addr()?.domain();
    let is_known = [Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&domain);
    if !is_stream || !is_known {
        return Err(unfit(
            "it is neither of TCP nor a stream of the Unix domain",
        ));
    }
    super::never_block(&socket)?;
    #[cfg(unix)]
    socket.set_cloexec(true)?;
    #[cfg(windows)]
    socket.set_no_inherit(true)?;
    Ok((socket, domain))
}

#[cfg(unix)]
fn is_listening(socket: &Socket) -> io::Result<bool> {
    let found = nix::sys::socket::getsockopt(socket, nix::sys::socket::sockopt::AcceptConn);
    Ok(found?)
}

#[cfg(windows)]
fn is_listening(socket: &Socket) -> io::Result<bool> {
    crate::nt::system::is_listening(socket)
}

#[cfg(not(any(unix, windows)))]
fn is_listening(_: &Socket) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

fn unfit(why: &str) -> io::Error {
    let said = format!("this socket cannot be taken over: {why}");
    io::Error::new(io::ErrorKind::InvalidInput, said)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::super::SocketAddress;
    use super::*;

    #[test]
    fn what_listens_is_taken_over_as_a_listener_and_as_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let twin = listener.try_clone().unwrap();
        let taken = Listener::from_socket(listener).unwrap();
        assert_eq!(taken.local_address().unwrap(), SocketAddress::Tcp(address));
        assert_eq!(
            taken.accept().unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        let client = TcpStream::connect(address).unwrap();
        let (_, peer) = taken.accept().unwrap();
        assert_eq!(peer, SocketAddress::Tcp(client.local_addr().unwrap()));
        let refused = Stream::from_socket(twin).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        let taken = Stream::from_socket(client).unwrap();
        assert!(taken.finish_connect().unwrap());
    }

    #[test]
    fn what_does_not_listen_is_no_listener() {
        let refused = Listener::from_socket(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        let refused = Listener::from_socket(socket).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        assert!(refused.to_string().contains("does not listen"), "{refused}");
    }

    #[cfg(unix)]
    #[test]
    fn what_has_no_streams_is_neither() {
        use std::os::unix::net::UnixDatagram;

        let (one, other) = UnixDatagram::pair().unwrap();
        let refused = [
            Stream::from_socket(one).unwrap_err(),
            Listener::from_socket(other).unwrap_err(),
            Stream::from_socket(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap_err(),
        ];
        for refused in refused {
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
            assert!(refused.to_string().contains("neither of TCP"), "{refused}");
        }
    }
}

//! What worlds of the system's own sockets have in common, on every system.

use std::io;

use socket2::{Domain, Type};

use super::Read;
use crate::socket::{Listener, SocketAddress, Stream};

/// A socket of the system's; what is neither a stream nor a listener is the world's own matter.
pub(crate) enum Socket<O> {
    Stream(Stream),
    /// Connects to where nobody listens.
    Refused {
        stream: Stream,
        /// Bound there, so that nobody else is.
        _nobody: socket2::Socket,
    },
    Listener(Listener),
    Other(O),
}

impl<O> Socket<O> {
    pub(super) fn listen(address: &SocketAddress) -> Self {
        Socket::Listener(Listener::bind(address, 16).unwrap())
    }

    pub(super) fn stream(&self) -> &Stream {
        match self {
            Socket::Stream(stream) | Socket::Refused { stream, .. } => stream,
            _ => panic!("not a stream"),
        }
    }

    pub(super) fn listener(&self) -> &Listener {
        match self {
            Socket::Listener(listener) => listener,
            _ => panic!("not a listener"),
        }
    }

    pub(super) fn connect(&self) -> Self {
        let address = self.listener().local_address().unwrap();
        Socket::Stream(Stream::connect(&address).unwrap())
    }

    /// Starts to connect to where nobody listens.
    pub(super) fn connect_to_nobody() -> io::Result<Self> {
        let nobody = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
        nobody.bind(&any.into()).unwrap();
        let address = nobody.local_addr().unwrap().as_socket().unwrap();
        Ok(Socket::Refused {
            stream: Stream::connect(&SocketAddress::Tcp(address))?,
            _nobody: nobody,
        })
    }

    pub(super) fn accept(&self) -> Option<Self> {
        match self.listener().accept() {
            Ok((stream, _)) => Some(Socket::Stream(stream)),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                None
            }
        }
    }

    pub(super) fn outcome(&self) -> Option<bool> {
        match self.stream().finish_connect() {
            Ok(false) => None,
            outcome => Some(outcome.is_ok()),
        }
    }

    pub(super) fn read(&self, length: usize) -> Read {
        match self.stream().recv(&mut vec![0; length]) {
            Ok(0) => Read::End,
            Ok(length) => Read::Data(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::WouldBlock,
            Err(_) => Read::Error,
        }
    }

    pub(super) fn write(&self, length: usize) -> usize {
        let bytes = vec![0; length];
        let outcome = self.stream().send_vectored(&[io::IoSlice::new(&bytes)]);
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            outcome => outcome.unwrap(),
        }
    }
}

pub(super) fn any_port() -> SocketAddress {
    SocketAddress::Tcp(([127, 0, 0, 1], 0).into())
}

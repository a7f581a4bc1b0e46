//! A peer that was written from the specification alone: it builds and reads frames by hand, on
//! blocking sockets, and shares no code with the engine.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};

use ampe::Address;

use super::{PATIENCE, Place, Transport, place, skip, transports};

pub(crate) const REQUEST: u8 = 0;
pub(crate) const RESPONSE: u8 = 1;
pub(crate) const SIGNAL: u8 = 2;
pub(crate) const HELLO_REQUEST: u8 = 3;
pub(crate) const HELLO_RESPONSE: u8 = 4;
pub(crate) const BYE_REQUEST: u8 = 5;
pub(crate) const BYE_RESPONSE: u8 = 6;
pub(crate) const BYE_SIGNAL: u8 = 7;
pub(crate) const MORE: u8 = 0x20;

/// The transports on which this system lets a test speak for itself.
pub(crate) fn raw_transports() -> Vec<Transport> {
    let mut transports = transports();
    if !cfg!(unix) && transports.contains(&Transport::Uds) {
        skip("Unix sockets: the standard library has none on this system");
        transports = vec![Transport::Tcp];
    }
    transports
}

/// A frame, field by field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    pub(crate) channel: u16,
    pub(crate) proto: u8,
    pub(crate) status: u8,
    pub(crate) id: u64,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn frame(proto: u8, id: u64) -> Frame {
    let (headers, body) = (Vec::new(), Vec::new());
    Frame {
        channel: 0x7A7A,
        proto,
        status: 0,
        id,
        headers,
        body,
    }
}

impl Frame {
    pub(crate) fn headers(mut self, headers: impl AsRef<[u8]>) -> Self {
        self.headers = headers.as_ref().to_vec();
        self
    }

    pub(crate) fn with_body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![(self.channel >> 8) as u8, self.channel as u8];
        bytes.extend([self.proto, self.status]);
        for shift in (0..8).rev() {
            bytes.push((self.id >> (8 * shift)) as u8);
        }
        for len in [self.headers.len(), self.body.len()] {
            assert!(len <= 65_535, "no frame is that long");
            bytes.extend([(len >> 8) as u8, len as u8]);
        }
        [bytes, self.headers.clone(), self.body.clone()].concat()
    }

    /// The first frame of `bytes`, and what follows it.
    pub(crate) fn read(bytes: &[u8]) -> (Frame, &[u8]) {
        let number = |from: usize, to: usize| {
            bytes[from..to]
                .iter()
                .fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte))
        };
        let (headers_end, end) = (
            16 + number(12, 14) as usize,
            16 + (number(12, 14) + number(14, 16)) as usize,
        );
        let read = Frame {
            channel: number(0, 2) as u16,
            proto: bytes[2],
            status: bytes[3],
            id: number(4, 12),
            headers: bytes[16..headers_end].to_vec(),
            body: bytes[headers_end..end].to_vec(),
        };
        (read, &bytes[end..])
    }
}

enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Uds(UnixStream),
}

/// How the engine ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Orderly,
    Reset,
}

/// One connection to an engine.
pub(crate) struct Peer(Socket);

impl Peer {
    pub(crate) fn connect(address: &Address) -> Peer {
        let socket = match address.socket_addr() {
            Some(address) => Socket::Tcp(TcpStream::connect(address).unwrap()),
            #[cfg(unix)]
            None => Socket::Uds(UnixStream::connect(address.path().unwrap()).unwrap()),
            #[cfg(not(unix))]
            None => panic!("the standard library has no Unix sockets here"),
        };
        Peer::new(socket)
    }

    #[cfg(unix)]
    pub(crate) fn over(stream: UnixStream) -> Peer {
        Peer::new(Socket::Uds(stream))
    }

    fn new(socket: Socket) -> Peer {
        match &socket {
            Socket::Tcp(stream) => {
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
            }
            #[cfg(unix)]
            Socket::Uds(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
            }
        }
        Peer(socket)
    }

    /// Says hello as connecting sides do.
    pub(crate) fn hello(address: &Address) -> Peer {
        let mut peer = Peer::connect(address);
        peer.send(&hello_to(address, 1).bytes());
        peer
    }

    /// Whether the engine's system has all that was sent, as far as Linux tells: of TCP in the fifth column of
    /// its list of connections, first what was not acknowledged. A Unix socket has handed it over at once.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_all_delivered(&self) -> bool {
        let Socket::Tcp(stream) = &self.0 else {
            return true;
        };
        let own = format!(":{:04X}", stream.local_addr().unwrap().port());
        let list = std::fs::read_to_string("/proc/net/tcp").unwrap();
        list.lines().all(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let is_own = columns
                .get(1)
                .is_some_and(|address| address.ends_with(&own));
            !is_own || columns[4].starts_with("00000000:")
        })
    }

    fn stream(&mut self) -> &mut dyn ReadWrite {
        match &mut self.0 {
            Socket::Tcp(stream) => stream,
            #[cfg(unix)]
            Socket::Uds(stream) => stream,
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).unwrap();
    }

    /// Sends as much as the engine takes: it may end the connection meanwhile.
    pub(crate) fn send_regardless(&mut self, bytes: &[u8]) {
        let _ = self.stream().write_all(bytes);
    }

    pub(crate) fn send_frame(&mut self, frame: &Frame) {
        self.send(&frame.bytes());
    }

    pub(crate) fn receive(&mut self) -> Frame {
        let mut bytes = vec![0; 16];
        self.stream().read_exact(&mut bytes).unwrap();
        let len = |at: usize| usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1]);
        let len = 16 + len(12) + len(14);
        bytes.resize(len, 0);
        self.stream().read_exact(&mut bytes[16..]).unwrap();
        Frame::read(&bytes).0
    }

    /// Expects these very bytes.
    #[track_caller]
    pub(crate) fn receive_exactly(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        self.stream().read_exact(&mut bytes).unwrap();
        let first = bytes
            .iter()
            .zip(expected)
            .position(|(one, other)| one != other);
        assert_eq!(first, None, "the first byte that differs is at this offset");
    }

    /// Waits until the engine ends the connection, and expects nothing more from it.
    #[track_caller]
    pub(crate) fn end(&mut self) -> End {
        let mut byte = [0];
        match self.stream().read(&mut byte) {
            Ok(0) => End::Orderly,
            Ok(_) => panic!("expected the end, got a frame that starts with {byte:?}"),
            Err(error) if is_reset(error.kind()) => End::Reset,
            Err(error) => panic!("waited in vain for the end: {error}"),
        }
    }

    /// Closes the sending side; the other stays open.
    pub(crate) fn finish_sending(&mut self) {
        match &self.0 {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            #[cfg(unix)]
            Socket::Uds(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }
}

fn is_reset(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    )
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// A HelloRequest that names where it goes.
pub(crate) fn hello_to(address: &Address, id: u64) -> Frame {
    frame(HELLO_REQUEST, id).headers(format!("~connect_to:{}\r\n", wire_form(address)))
}

/// An address as the specification writes it into headers.
pub(crate) fn wire_form(address: &Address) -> String {
    match (address.socket_addr(), address.path()) {
        (Some(address), _) => format!("tcp|{}|{}", address.ip(), address.port()),
        (None, Some(path)) => format!("uds|{}", path.display()),
        (None, None) => panic!("neither a socket address nor a path"),
    }
}

enum Listening {
    Tcp(TcpListener),
    #[cfg(unix)]
    Uds(UnixListener),
}

/// Where engines connect to.
pub(crate) struct PeerListener {
    socket: Listening,
    pub(crate) address: Address,
    _place: Place,
}

impl PeerListener {
    pub(crate) fn bind(transport: Transport) -> PeerListener {
        let place = place(transport);
        let (socket, address) = match transport {
            Transport::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let port = listener.local_addr().unwrap().port();
                let address = Address::tcp("127.0.0.1", port).unwrap();
                (Listening::Tcp(listener), address)
            }
            #[cfg(unix)]
            Transport::Uds => {
                let listener = UnixListener::bind(place.address.path().unwrap()).unwrap();
                (Listening::Uds(listener), place.address.clone())
            }
            #[cfg(not(unix))]
            Transport::Uds => panic!("the standard library has no Unix sockets here"),
        };
        PeerListener {
            socket,
            address,
            _place: place,
        }
    }

    pub(crate) fn accept(&self) -> Peer {
        Peer::new(match &self.socket {
            Listening::Tcp(listener) => Socket::Tcp(listener.accept().unwrap().0),
            #[cfg(unix)]
            Listening::Uds(listener) => Socket::Uds(listener.accept().unwrap().0),
        })
    }
}

/// Random numbers from a printed seed; `AMPE_TEST_SEED` repeats a run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Dice {
        use std::hash::{BuildHasher, RandomState};
        let chosen = std::env::var("AMPE_TEST_SEED").ok();
        let seed = match chosen.and_then(|text| text.parse().ok()) {
            Some(seed) => seed,
            None => RandomState::new().hash_one("seed") | 1,
        };
        println!("seed: AMPE_TEST_SEED={seed}");
        Dice(seed)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }
}

//! A TCP relay that resets connections: after so many bytes, or all at once when it is told to.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How often a copying thread looks whether its connection was to be reset.
const TICK: Duration = Duration::from_millis(3);

pub(crate) struct Relay {
    listener: TcpListener,
    to: SocketAddr,
    cuts: std::vec::IntoIter<Option<usize>>,
    connections: Vec<Arc<Connection>>,
    resets: Arc<AtomicUsize>,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Bytes that may still pass, in both directions together.
    left: AtomicUsize,
    is_cut: AtomicBool,
    resets: Arc<AtomicUsize>,
}

impl Relay {
    pub(crate) fn start(to: SocketAddr, cuts: Vec<Option<usize>>) -> io::Result<Relay> {
        let listener = TcpListener::bind((to.ip(), 0))?;
        listener.set_nonblocking(true)?;
        Ok(Relay {
            listener,
            to,
            cuts: cuts.into_iter(),
            connections: Vec::new(),
            resets: Arc::default(),
        })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Takes in those who came since the last time.
    pub(crate) fn accept(&mut self) -> io::Result<()> {
        loop {
            let client = match self.listener.accept() {
                Ok((client, _)) => client,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    // Whoever came has gone.
                    ErrorKind::ConnectionAborted
                    | ErrorKind::ConnectionReset
                    | ErrorKind::NotConnected => continue,
                    _ => return Err(error),
                },
            };
            client.set_nonblocking(false)?;
            // Whoever is behind it may be dead by now.
            let Ok(server) = TcpStream::connect(self.to) else {
                reset_on_close(&client);
                continue;
            };
            // Some systems refuse options to a connection that is already over.
            if prepare(&client).and_then(|()| prepare(&server)).is_err() {
                reset_on_close(&client);
                reset_on_close(&server);
                continue;
            }
            let left = self.cuts.next().flatten().unwrap_or(usize::MAX);
            let connection = Arc::new(Connection {
                client,
                server,
                left: AtomicUsize::new(left),
                is_cut: AtomicBool::new(false),
                resets: Arc::clone(&self.resets),
            });
            self.connections.push(Arc::clone(&connection));
            let other = Arc::clone(&connection);
            std::thread::spawn(move || connection.copy(&connection.client, &connection.server));
            std::thread::spawn(move || other.copy(&other.server, &other.client));
        }
    }

    /// Resets all connections that are there. A reset is one when the last thread lets go.
    pub(crate) fn reset_all(&mut self) {
        for connection in self.connections.drain(..) {
            if Arc::strong_count(&connection) > 1 {
                connection.cut();
            }
        }
    }

    /// Forgets connections that both sides have ended, so that their sockets are closed.
    pub(crate) fn tidy(&mut self) {
        self.connections
            .retain(|connection| Arc::strong_count(connection) > 1);
    }

    pub(crate) fn resets(&self) -> usize {
        self.resets.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.reset_all();
    }
}

impl Connection {
    fn cut(&self) {
        if !self.is_cut.swap(true, Ordering::Relaxed) {
            self.resets.fetch_add(1, Ordering::Relaxed);
            reset_on_close(&self.client);
            reset_on_close(&self.server);
        }
    }

    fn copy(&self, from: &TcpStream, to: &TcpStream) {
        match self.copy_all(from, to) {
            // What ends in an orderly way ends so on the other side.
            Ok(()) => {
                let _ = to.shutdown(Shutdown::Write);
            }
            Err(_) => self.cut(),
        }
    }

    fn copy_all(&self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            let Some(len) = self.attempt(|| from.read(&mut buffer))? else {
                continue;
            };
            if len == 0 {
                return Ok(());
            }
            let left = self.left.load(Ordering::Relaxed);
            let mut rest = &buffer[..len.min(left)];
            while !rest.is_empty() {
                if let Some(written) = self.attempt(|| to.write(rest))? {
                    rest = &rest[written..];
                }
            }
            if len >= left {
                return Err(ErrorKind::ConnectionReset.into());
            }
            if left != usize::MAX {
                self.left.fetch_sub(len, Ordering::Relaxed);
            }
        }
    }

    /// `None` if there was nothing to do for a tick.
    fn attempt(&self, mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
        if self.is_cut.load(Ordering::Relaxed) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        match call() {
            Ok(len) => Ok(Some(len)),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            },
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(TICK))
}

/// Has the system send a reset when the socket is closed, in place of what is left to send.
fn reset_on_close(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

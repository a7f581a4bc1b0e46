use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ampe_poller::{Events, Interest, Key, Poller};

use super::{Contestant, EVENTS, Ready, Wanted, is_blocked, unknown_source};

/// Level-triggered, by declared interest. By choice, on Windows, with polls on the sockets themselves
/// instead of on shared handles; elsewhere that makes no difference.
pub struct Ampe<const IS_DIRECT: bool> {
    poller: Poller<TcpStream>,
    events: Events,
}

#[cfg(windows)]
fn direct() -> io::Result<Poller<TcpStream>> {
    Poller::with_mode(ampe_poller::backend::PollingMode::Direct)
}

#[cfg(not(windows))]
fn direct() -> io::Result<Poller<TcpStream>> {
    Poller::new()
}

fn interest(wanted: Wanted) -> Interest {
    match wanted {
        Wanted::Reading => Interest::READABLE,
        Wanted::Writing => Interest::WRITABLE,
    }
}

impl<const IS_DIRECT: bool> Contestant for Ampe<IS_DIRECT> {
    type Id = Key;

    fn new() -> io::Result<Self> {
        Ok(Ampe {
            poller: match IS_DIRECT {
                true => direct()?,
                false => Poller::new()?,
            },
            events: Events::with_capacity(EVENTS),
        })
    }

    fn add(&mut self, stream: TcpStream, wanted: Wanted) -> io::Result<Key> {
        let key = self.poller.insert(stream)?;
        self.want(key, wanted)?;
        Ok(key)
    }

    fn want(&mut self, key: Key, wanted: Wanted) -> io::Result<()> {
        if !self.poller.set_interest(key, interest(wanted)) {
            return Err(unknown_source());
        }
        Ok(())
    }

    fn close(&mut self, key: Key) -> io::Result<()> {
        if !self.poller.close(key) {
            return Err(unknown_source());
        }
        Ok(())
    }

    fn wait(&mut self, ready: &mut Vec<Ready<Key>>, timeout: Option<Duration>) -> io::Result<bool> {
        self.poller.wait(&mut self.events, timeout)?;
        while let Some(event) = self.poller.next_event(&mut self.events) {
            if let Some(error) = event.error() {
                return Err(error);
            }
            let id = event.key();
            if event.is_readable() {
                let for_what = Wanted::Reading;
                ready.push(Ready { id, for_what });
            }
            if event.is_writable() {
                let for_what = Wanted::Writing;
                ready.push(Ready { id, for_what });
            }
        }
        Ok(self.events.woken())
    }

    /// One read: what it leaves is reported again.
    fn read(&mut self, key: Key, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = self.poller.get(key).ok_or_else(unknown_source)?;
        let outcome = stream.read(buffer);
        if is_blocked(&outcome) {
            return Ok(0);
        }
        outcome
    }

    fn write(&mut self, key: Key, bytes: &[u8]) -> io::Result<()> {
        let mut stream = self.poller.get(key).ok_or_else(unknown_source)?;
        stream.write_all(bytes)
    }

    fn waker(&mut self) -> io::Result<Box<dyn Fn() -> io::Result<()> + Send>> {
        let waker = self.poller.waker();
        Ok(Box::new(move || waker.wake()))
    }
}

use std::io::{self, Read, Write};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use super::{Contestant, EVENTS, Ready, Wanted, is_blocked, unknown_source};

const WAKE: Token = Token(usize::MAX);

/// Edge-triggered.
pub struct Mio {
    poll: Poll,
    events: Events,
    streams: Vec<Option<TcpStream>>,
    vacant: Vec<usize>,
}

fn interest(wanted: Wanted) -> Interest {
    match wanted {
        Wanted::Reading => Interest::READABLE,
        Wanted::Writing => Interest::WRITABLE,
    }
}

impl Mio {
    fn stream(&mut self, at: usize) -> io::Result<&mut TcpStream> {
        let stream = self.streams.get_mut(at).and_then(Option::as_mut);
        stream.ok_or_else(unknown_source)
    }
}

impl Contestant for Mio {
    type Id = usize;

    fn new() -> io::Result<Self> {
        Ok(Mio {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            streams: Vec::new(),
            vacant: Vec::new(),
        })
    }

    fn add(&mut self, stream: std::net::TcpStream, wanted: Wanted) -> io::Result<usize> {
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.streams.push(None);
            self.streams.len() - 1
        });
        let stream = self.streams[at].insert(TcpStream::from_std(stream));
        let registry = self.poll.registry();
        registry.register(stream, Token(at), interest(wanted))?;
        Ok(at)
    }

    fn want(&mut self, at: usize, wanted: Wanted) -> io::Result<()> {
        let stream = self.streams.get_mut(at).and_then(Option::as_mut);
        let stream = stream.ok_or_else(unknown_source)?;
        let registry = self.poll.registry();
        registry.reregister(stream, Token(at), interest(wanted))
    }

    fn close(&mut self, at: usize) -> io::Result<()> {
        let stream = self.streams.get_mut(at).and_then(Option::take);
        let mut stream = stream.ok_or_else(unknown_source)?;
        self.vacant.push(at);
        self.poll.registry().deregister(&mut stream)
    }

    fn wait(
        &mut self,
        ready: &mut Vec<Ready<usize>>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        self.poll.poll(&mut self.events, timeout)?;
        let mut is_woken = false;
        for event in &self.events {
            let id = event.token().0;
            if event.token() == WAKE {
                is_woken = true;
                continue;
            }
            if event.is_readable() {
                let for_what = Wanted::Reading;
                ready.push(Ready { id, for_what });
            }
            if event.is_writable() {
                let for_what = Wanted::Writing;
                ready.push(Ready { id, for_what });
            }
        }
        Ok(is_woken)
    }

    /// Until it would block: before that the source may never be reported again.
    fn read(&mut self, at: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = self.stream(at)?;
        let mut length = 0;
        loop {
            let outcome = stream.read(buffer);
            if is_blocked(&outcome) {
                return Ok(length);
            }
            match outcome? {
                0 => return Ok(length),
                count => length += count,
            }
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.stream(at)?.write_all(bytes)
    }

    fn waker(&mut self) -> io::Result<Box<dyn Fn() -> io::Result<()> + Send>> {
        let waker = Waker::new(self.poll.registry(), WAKE)?;
        Ok(Box::new(move || waker.wake()))
    }
}

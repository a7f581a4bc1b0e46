use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};

use super::{Contestant, EVENTS, Ready, Wanted, is_blocked, unknown_source};

/// In which of its modes a source is polled.
pub trait Mode {
    const MODE: PollMode;
}

/// What is ready is reported until it is not.
pub struct Level;

impl Mode for Level {
    const MODE: PollMode = PollMode::Level;
}

/// What is ready is reported once, until it is asked for again. The crate's default.
pub struct Oneshot;

impl Mode for Oneshot {
    const MODE: PollMode = PollMode::Oneshot;
}

pub struct Polling<M> {
    poller: Arc<Poller>,
    events: Events,
    streams: Vec<Option<TcpStream>>,
    vacant: Vec<usize>,
    has_waker: bool,
    mode: PhantomData<M>,
}

fn event(at: usize, wanted: Wanted) -> Event {
    match wanted {
        Wanted::Reading => Event::readable(at),
        Wanted::Writing => Event::writable(at),
    }
}

impl<M> Polling<M> {
    fn stream(&self, at: usize) -> io::Result<&TcpStream> {
        let stream = self.streams.get(at).and_then(Option::as_ref);
        stream.ok_or_else(unknown_source)
    }
}

impl<M: Mode> Contestant for Polling<M> {
    type Id = usize;

    fn new() -> io::Result<Self> {
        Ok(Polling {
            poller: Arc::new(Poller::new()?),
            events: Events::with_capacity(NonZeroUsize::new(EVENTS).unwrap_or(NonZeroUsize::MIN)),
            streams: Vec::new(),
            vacant: Vec::new(),
            has_waker: false,
            mode: PhantomData,
        })
    }

    fn add(&mut self, stream: TcpStream, wanted: Wanted) -> io::Result<usize> {
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.streams.push(None);
            self.streams.len() - 1
        });
        let stream = self.streams[at].insert(stream);
        #[allow(unsafe_code, reason = "the crate asks for a promise")]
        // SAFETY: the stream lives in the vector until `close` or `drop` has deleted it here.
        unsafe {
            let wanted = event(at, wanted);
            self.poller.add_with_mode(&*stream, wanted, M::MODE)?;
        }
        Ok(at)
    }

    fn want(&mut self, at: usize, wanted: Wanted) -> io::Result<()> {
        let wanted = event(at, wanted);
        let stream = self.stream(at)?;
        self.poller.modify_with_mode(stream, wanted, M::MODE)
    }

    fn close(&mut self, at: usize) -> io::Result<()> {
        self.poller.delete(self.stream(at)?)?;
        self.streams[at] = None;
        self.vacant.push(at);
        Ok(())
    }

    fn wait(
        &mut self,
        ready: &mut Vec<Ready<usize>>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        self.events.clear();
        let is_endless = timeout.is_none();
        let count = self.poller.wait(&mut self.events, timeout)?;
        for event in self.events.iter() {
            let id = event.key;
            if event.readable {
                let for_what = Wanted::Reading;
                ready.push(Ready { id, for_what });
            }
            if event.writable {
                let for_what = Wanted::Writing;
                ready.push(Ready { id, for_what });
            }
        }
        // It has no word for wakes: an endless wait that ends with nothing was woken.
        Ok(self.has_waker && is_endless && count == 0)
    }

    /// One read, after which a source that is reported once is asked for again.
    fn read(&mut self, at: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let outcome = self.stream(at)?.read(buffer);
        if M::MODE == PollMode::Oneshot {
            self.want(at, Wanted::Reading)?;
        }
        if is_blocked(&outcome) {
            return Ok(0);
        }
        outcome
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.stream(at)?.write_all(bytes)
    }

    fn waker(&mut self) -> io::Result<Box<dyn Fn() -> io::Result<()> + Send>> {
        self.has_waker = true;
        let poller = Arc::clone(&self.poller);
        Ok(Box::new(move || poller.notify()))
    }
}

impl<M> Drop for Polling<M> {
    fn drop(&mut self) {
        for stream in self.streams.iter().flatten() {
            // Whatever it says: the poller is not used any more.
            let _ = self.poller.delete(stream);
        }
    }
}

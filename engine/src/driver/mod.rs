//! The reactor: one thread that waits, reads, asks the core, writes and delivers.

mod resolver;
mod sockets;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ampe_poller::socket::{Listener, Stream};
use ampe_poller::{Events, Poller, Waker};

use crate::between::key::RecordKey;
use crate::between::wake::Wake;
use crate::endpoint::Endpoint;
use crate::error::{Ended, StartError};
use crate::handles::{Counters, Shared, Submission, reactor_thread};
use crate::options::Options;
use crate::protocol::{Action, Core, ReadPlan, SCRATCH_BYTES, Wanted};

use self::resolver::Resolver;
use self::sockets::{Socket, Sockets};

/// One read takes at most this much, so that a busy connection leaves the others their turn.
const READ_BYTES: usize = 256 * 1024;

/// So many connections are accepted from one listener before others have their turn.
const ACCEPT_BATCH: usize = 64;

struct ReactorWaker(Waker);

impl Wake for ReactorWaker {
    fn wake(&self) {
        // A wake that the system refuses caps the reactor's sleep: it finds what was posted then.
        let _ = self.0.wake();
    }
}

/// An attempt to connect that was reported as decided, and is not, is left alone for so long. What
/// the system goes on to report as ready must not keep the reactor awake.
const UNDECIDED_REST: Duration = Duration::from_millis(10);

/// What was received before a socket failed is read in at most so many reads.
const LAST_READS: usize = 16;

/// Starts the reactor's thread.
pub(crate) fn start(options: Options) -> Result<(Arc<Shared>, JoinHandle<()>), StartError> {
    let mut driver = Driver::start(options)?;
    let shared = Arc::clone(&driver.shared);
    let reactor = thread::Builder::new()
        .name("ampe-reactor".into())
        .spawn(move || {
            reactor_thread::enter();
            // A defect of ours ends this engine, not the process: every group learns of it.
            let outcome = catch_unwind(AssertUnwindSafe(|| driver.run()));
            let reason = match outcome {
                Ok(Ok(())) => Ended::EngineStopped,
                Ok(Err(_)) | Err(_) => Ended::EngineFailed,
            };
            driver.end(reason);
        })?;
    Ok((shared, reactor))
}

struct Driver {
    shared: Arc<Shared>,
    core: Core,
    sockets: Sockets,
    events: Events,
    resolver: Resolver,
    /// Where any connection's bytes are read to, unless they go straight into their message.
    buffer: Vec<u8>,
    /// The part of `buffer` that holds bytes of a connection that waits for budget.
    held: std::ops::Range<usize>,
    /// Where small frames are packed for one write.
    scratch: Vec<u8>,
    transmit_list: Vec<RecordKey>,
    batch: Vec<Submission>,
    /// Attempts to connect that rest, and until when; the earliest first.
    undecided: VecDeque<(Instant, RecordKey)>,
}

impl Driver {
    fn start(options: Options) -> io::Result<Self> {
        let poller = Poller::new()?;
        let shared = Shared::new(options, || Box::new(ReactorWaker(poller.waker())));
        Ok(Driver {
            core: Core::new(Arc::clone(&shared)),
            sockets: Sockets::new(poller),
            events: Events::with_capacity(1024),
            resolver: Resolver::new(&shared),
            shared,
            buffer: vec![0; READ_BYTES],
            held: 0..0,
            scratch: Vec::with_capacity(SCRATCH_BYTES),
            transmit_list: Vec::new(),
            batch: Vec::new(),
            undecided: VecDeque::new(),
        })
    }

    /// The loop. Each pass costs what it touches, however many connections there are.
    fn run(&mut self) -> io::Result<()> {
        while !self.pass()? {}
        Ok(())
    }

    /// Once round, from one wait to the next. Returns whether that was the last time.
    fn pass(&mut self) -> io::Result<bool> {
        self.wait()?;
        Counters::count(&self.shared.counters.passes);
        let now = Instant::now();
        self.receive(now);
        self.submit(now);
        self.act(now);
        self.transmit(now);
        self.core.handle_time(now);
        self.act(now);
        self.core.settle();
        self.core.deliver();
        if !self.core.is_finished() {
            return Ok(false);
        }
        let late = self.shared.queue.end(Ended::EngineStopped);
        let is_over = late.is_empty();
        for submission in late {
            self.core.handle_submission(submission, now);
        }
        Ok(is_over)
    }

    /// Takes in what was posted.
    fn submit(&mut self, now: Instant) {
        let mut batch = std::mem::take(&mut self.batch);
        self.core.exchange(&mut batch);
        for submission in batch.drain(..) {
            self.core.handle_submission(submission, now);
        }
        self.batch = batch;
    }

    /// Waits until something happens, at most until the core wants to be asked again.
    fn wait(&mut self) -> io::Result<()> {
        let now = Instant::now();
        self.core.settle_dropped(now);
        while let Some((key, wanted)) = self.core.poll_wanted() {
            self.sockets.declare(key, wanted);
        }
        let until = self.core.poll_timeout(now);
        let undecided = self.undecided.front().map(|&(until, _)| until);
        let until = until.into_iter().chain(undecided).min();
        let timeout = until.map(|until| until.saturating_duration_since(now));
        self.sockets.wait(&mut self.events, timeout)
    }

    /// Reads from, accepts from, or goes on to write to, whatever is ready.
    fn receive(&mut self, now: Instant) {
        self.look_again(now);
        while let Some((event, key)) = self.sockets.next_event(&mut self.events) {
            if let Some(error) = event.error() {
                self.handle_refused(key, &error, now);
                continue;
            }
            match self.sockets.get(key) {
                Some(Socket::Listener(_)) => self.accept(key, now),
                Some(Socket::Connecting(_)) => self.finish_connect(key, now),
                Some(Socket::Connected(_)) => {
                    if event.is_readable() {
                        self.read(key, now);
                    }
                    if event.is_writable() {
                        self.core.handle_writable(key);
                    }
                }
                None => {}
            }
        }
    }

    /// The system refuses to poll a socket that it has taken in.
    fn handle_refused(&mut self, key: RecordKey, error: &io::Error, now: Instant) {
        match self.sockets.get(key) {
            Some(Socket::Listener(_)) => {}
            Some(Socket::Connecting(_)) => self.sockets.close(key, false),
            Some(Socket::Connected(_)) => {
                // Nothing is wrong with what has arrived.
                let mut reads = 0;
                while reads < LAST_READS && self.read(key, now) {
                    reads += 1;
                }
            }
            None => return,
        }
        self.core.handle_unpollable(key, error, now);
    }

    /// Reads once. Returns whether there may be more.
    fn read(&mut self, key: RecordKey, now: Instant) -> bool {
        let Some(Socket::Connected(stream)) = self.sockets.get(key) else {
            return false;
        };
        let (outcome, is_shared) = match self.core.read_plan(key) {
            ReadPlan::Park => return false,
            ReadPlan::Shared => (stream.recv(&mut self.buffer), true),
            ReadPlan::Into(buffer) => (stream.recv(buffer), false),
        };
        match outcome {
            Ok(0) => self.core.handle_end_of_stream(key),
            Ok(len) if is_shared => {
                let used = self.core.handle_shared(key, &self.buffer[..len], now);
                self.held = used..len;
                return true;
            }
            Ok(len) => {
                self.core.handle_filled(key, len, now);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.core.handle_read_error(key, &error),
        }
        false
    }

    fn accept(&mut self, listener_key: RecordKey, now: Instant) {
        for _ in 0..ACCEPT_BATCH {
            if !self.core.may_accept(listener_key) {
                return;
            }
            let Some(Socket::Listener(listener)) = self.sockets.get(listener_key) else {
                return;
            };
            match listener.accept() {
                Ok((stream, peer)) => {
                    let peer = Endpoint::from(peer);
                    let Some(key) = self.core.handle_accepted(listener_key, &peer, now) else {
                        return;
                    };
                    self.keep_alive(&stream);
                    if let Err(error) = self.sockets.insert(key, Socket::Connected(stream)) {
                        self.core.handle_unpollable(key, &error, now);
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.core.handle_accept_failed(listener_key, now),
            }
        }
    }

    fn keep_alive(&self, stream: &Stream) {
        if let Some(idle) = self.shared.options.keep_alive {
            // A refinement: a system that cannot do it serves the connection all the same.
            let _ = stream.set_keep_alive(idle);
        }
    }

    fn act(&mut self, now: Instant) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Resolve { key, host, port } => self.resolver.resolve(key, host, port),
                Action::Connect { key, address } => self.connect(key, address, now),
                Action::Listen { key, address } => self.listen(key, address, now),
                Action::FinishSending { key } => {
                    if let Some(Socket::Connected(stream)) = self.sockets.get(key) {
                        // If it fails the connection is gone already, and reading says so.
                        let _ = stream.shutdown_write();
                    }
                }
                Action::Close { key, abortive } => {
                    self.resolver.forget(key);
                    self.sockets.close(key, abortive);
                }
                Action::Resume { key } => self.resume(key, now),
            }
        }
    }

    /// Offers the core the bytes again that it had no budget for.
    fn resume(&mut self, key: RecordKey, now: Instant) {
        let held = self.held.clone();
        let used = self
            .core
            .handle_shared(key, &self.buffer[held.clone()], now);
        self.held = held.start + used..held.end;
    }

    fn connect(&mut self, key: RecordKey, address: Endpoint, now: Instant) {
        self.sockets.close(key, false);
        let stream = match Stream::connect(&address.into()) {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return self.core.handle_connect_deferred(key, now);
            }
            Err(error) => return self.core.handle_connect_failed(key, &error),
        };
        self.keep_alive(&stream);
        match self.sockets.insert(key, Socket::Connecting(stream)) {
            Ok(()) => self.sockets.declare_writable(key),
            Err(error) => self.core.handle_unpollable(key, &error, now),
        }
    }

    /// Asks again for what was undecided, where it has rested.
    fn look_again(&mut self, now: Instant) {
        while let Some(&(until, key)) = self.undecided.front()
            && until <= now
        {
            self.undecided.pop_front();
            if let Some(Socket::Connecting(_)) = self.sockets.get(key) {
                self.sockets.declare_writable(key);
            }
        }
    }

    fn finish_connect(&mut self, key: RecordKey, now: Instant) {
        let Some(Socket::Connecting(stream)) = self.sockets.get(key) else {
            return;
        };
        let outcome = match stream.finish_connect() {
            Ok(false) => {
                self.sockets.declare(key, Wanted::default());
                self.undecided.push_back((now + UNDECIDED_REST, key));
                return;
            }
            Ok(true) => stream.peer_address(),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(peer) => {
                // The stream changes its role: it is registered anew.
                match self.sockets.promote(key) {
                    Ok(()) => self.core.handle_connected(key, &Endpoint::from(peer), now),
                    Err(error) => self.core.handle_unpollable(key, &error, now),
                }
            }
            Err(error) => {
                self.sockets.close(key, false);
                self.core.handle_connect_failed(key, &error);
            }
        }
    }

    fn listen(&mut self, key: RecordKey, address: Endpoint, now: Instant) {
        let backlog = self.shared.options.backlog;
        let listening = Listener::bind(&address.into(), backlog).and_then(|listener| {
            let bound = Endpoint::from(listener.local_address()?);
            Ok((listener, bound))
        });
        let (listener, bound) = match listening {
            Ok(listening) => listening,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return self.core.handle_listen_deferred(key, &error, now);
            }
            Err(error) => return self.core.handle_listen_failed(key, &error),
        };
        match self.sockets.insert(key, Socket::Listener(listener)) {
            Ok(()) => self.core.handle_listening(key, &bound),
            Err(error) => self.core.handle_unpollable(key, &error, now),
        }
    }

    /// Writes once to each connection that has something to write.
    fn transmit(&mut self, now: Instant) {
        let mut list = std::mem::take(&mut self.transmit_list);
        self.core.take_transmit_list(&mut list);
        for key in list.drain(..) {
            let Some(gather) = self.core.transmit(key, &mut self.scratch) else {
                continue;
            };
            let Some(Socket::Connected(stream)) = self.sockets.get(key) else {
                continue;
            };
            let (outcome, offered) = (stream.send_vectored(gather.slices()), gather.bytes());
            match outcome {
                Ok(sent) => self.core.handle_transmitted(key, sent, offered, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.core.handle_blocked(key);
                }
                Err(error) => self.core.handle_write_error(key, &error, now),
            }
        }
        self.transmit_list = list;
    }

    /// The last act, also after a panic: nothing that was accepted stays without an answer, no
    /// receiver stays asleep.
    fn end(&mut self, reason: Ended) {
        self.core.deliver_last();
        self.shared.end(reason);
    }
}

/// Whether an error of accept says that the connection ended before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

const _: () = assert!(
    READ_BYTES >= crate::wire::MAX_FRAME_LEN,
    "a read takes any one frame"
);

//! The reactor: waits, reads, asks the core, writes and delivers, in one thread at a time.
//!
//! The loop is generic over its [`World`]: over the [real] one it is the reactor, over those
//! that `sim` makes up it is simulated, line by line the same.

mod acting;
mod real;
mod receiving;
mod resolver;
mod rests;
pub(crate) mod secure;
pub(crate) mod sockets;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod turn;
pub(crate) mod world;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::between::key::RecordKey;
use crate::between::queue::Batch as _;
use crate::between::seat::{Need, Rest};
use crate::error::{Ended, StartError};
use crate::handles::{Batch, Counters, Occupant, Reactor, Reads, Shared};
use crate::options::Options;
use crate::protocol::{Core, SCRATCH_BYTES};
use crate::tls;

use self::real::Real;
use self::rests::Rests;
use self::sockets::Sockets;
use self::turn::{submit, turn};
use self::world::World;

/// How much a pass does of what could go on for long, so that others have their turn and the clock
/// is looked at. What is left over makes the next pass come at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// One read takes at most so many bytes.
    pub(crate) bytes_per_read: usize,
    /// So many bytes are read in a pass, before the read that goes beyond.
    pub(crate) bytes_per_pass: usize,
    /// So many messages are received in a pass, before the read that goes beyond. Many small ones are taken
    /// out of the inbox while they are in the processor's cache.
    pub(crate) messages_per_pass: usize,
    /// So many names, attempts and listeners are begun in a pass: each costs several system calls.
    pub(crate) openings_per_pass: usize,
    /// So many handshakes are gone on with in a pass, and none once they have taken so long: what a stranger can
    /// have computed here is not to keep others waiting.
    pub(crate) handshakes_per_pass: usize,
    pub(crate) handshakes_time: Duration,
}

pub(crate) const LIMITS: Limits = Limits {
    bytes_per_read: 256 * 1024,
    bytes_per_pass: 1024 * 1024,
    messages_per_pass: 1500,
    openings_per_pass: 256,
    handshakes_per_pass: 32,
    handshakes_time: Duration::from_millis(2),
};

/// What one read takes at most while messages are small.
const SHORT_READ: usize = 64 * 1024;

/// Frames are small that have fewer bytes than this, on the average of one read.
const SMALL_FRAME: usize = 512;

/// A read that brings fewer of them says nothing of the next.
const MANY: usize = 64;

/// Starts the engine's own thread, with a reactor that it makes the first passes of.
pub(crate) fn start(options: Options) -> Result<(Arc<Shared>, JoinHandle<()>), StartError> {
    let shared = furnish(options)?;
    let stand_in = thread::Builder::new().name("ampe-reactor".into()).spawn({
        let shared = Arc::clone(&shared);
        move || shared.stand_in()
    });
    if stand_in.is_err() {
        drop(shared.seat.try_sit()); // it holds what holds it
    }
    Ok((shared, stand_in?))
}

/// Makes a reactor, and leaves it in the seat.
pub(crate) fn furnish(options: Options) -> io::Result<Arc<Shared>> {
    let (mut world, shared) = Real::start(options)?;
    let lookout = world.lookout()?;
    let driver = Driver::new(world, Arc::clone(&shared), LIMITS);
    shared.seat.furnish(Occupant::new(driver), lookout);
    Ok(shared)
}

pub(crate) struct Driver<W: World> {
    shared: Arc<Shared>,
    pub(crate) core: Core,
    pub(crate) sockets: Sockets<W>,
    /// Until when the next wait may sleep.
    pub(crate) until: Option<Instant>,
    /// Where any connection's bytes are read to, unless they go straight into their message.
    buffer: Vec<u8>,
    /// The part of `buffer` that holds bytes of a connection that waits for budget.
    held: std::ops::Range<usize>,
    /// Where small frames are packed for one write.
    scratch: Vec<u8>,
    transmit_list: Vec<RecordKey>,
    batch: Batch,
    /// What is left alone for a while.
    rests: Rests,
    limits: Limits,
    /// What is left of them in this pass.
    bytes_left: usize,
    messages_left: usize,
    openings_left: usize,
    handshakes_left: usize,
    handshakes_time_left: Duration,
    /// The last read into the buffer brought many small messages.
    reads_small_frames: bool,
    /// The last pass left some of what is ready.
    has_more: bool,
    /// The last pass that read may have left some of what is ready to the system, which says so again.
    leaves_ready: bool,
    /// The last read found less than it asked for: there was no more.
    has_read_all: bool,
}

impl<W: World> Driver<W> {
    pub(crate) fn new(world: W, shared: Arc<Shared>, limits: Limits) -> Self {
        Driver {
            core: Core::new(Arc::clone(&shared)),
            sockets: Sockets::new(world),
            shared,
            until: None,
            buffer: vec![0; limits.bytes_per_read],
            held: 0..0,
            scratch: Vec::with_capacity(SCRATCH_BYTES),
            transmit_list: Vec::new(),
            batch: Batch::default(),
            rests: Rests::default(),
            limits,
            bytes_left: 0,
            messages_left: 0,
            openings_left: 0,
            handshakes_left: 0,
            handshakes_time_left: Duration::ZERO,
            reads_small_frames: false,
            has_more: false,
            leaves_ready: false,
            has_read_all: false,
        }
    }

    /// Once round: sleeps, and does what there is to do. Returns whether that was the last time.
    /// A pass costs what it touches, however many connections there are.
    #[cfg(test)]
    pub(crate) fn pass(&mut self) -> io::Result<bool> {
        self.wait(None)?;
        let is_over = self.work(Reads::Yes);
        self.shared.queue.wake_tasks();
        Ok(is_over)
    }

    /// Sleeps until there is something to do, until `deadline` at the latest.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        if self.has_more {
            return Ok(());
        }
        let until = self.until.into_iter().chain(deadline).min();
        if self.sockets.world.wait(until)? {
            Counters::count(&self.shared.counters.wakes);
        }
        Ok(())
    }

    /// Does what there is to do. Returns whether that was the last time.
    pub(crate) fn work(&mut self, reads: Reads) -> bool {
        self.bytes_left = self.limits.bytes_per_pass;
        self.messages_left = self.limits.messages_per_pass;
        self.openings_left = self.limits.openings_per_pass;
        self.handshakes_left = self.limits.handshakes_per_pass;
        self.handshakes_time_left = self.limits.handshakes_time;
        Counters::count(&self.shared.counters.passes);
        let now = self.sockets.world.now();
        if tls::IS_POSSIBLE {
            self.sockets.see_to_partings(now);
        }
        self.core.set_receiver(match reads {
            Reads::For(receiver) => Some(receiver),
            Reads::Yes | Reads::No => None,
        });
        if reads != Reads::No {
            self.receive(now);
            for key in self.core.calls_due(now) {
                self.read_what_came(key, now);
            }
            self.core.handle_calls_due(now);
        }
        let mut batch = std::mem::take(&mut self.batch);
        turn(self, &mut batch, now);
        self.batch = batch;
        let is_over = self.core.is_finished() && !self.waits_to_part(now) && self.is_over(now);
        if !is_over {
            self.arrange();
        }
        is_over
    }

    /// Refuses all that follows. What was posted behind the last exchange is answered first.
    fn is_over(&mut self, now: Instant) -> bool {
        let mut late = self.shared.queue.refuse(Ended::EngineStopped);
        let is_over = late.len() == 0;
        submit(&mut self.core, &mut late, now);
        is_over
    }

    /// Whether an engine that stops still has a connection's end to say, and time to.
    fn waits_to_part(&self, now: Instant) -> bool {
        let is_in_time = self.core.stopping().is_some_and(|deadline| now < deadline);
        tls::IS_POSSIBLE && is_in_time && self.sockets.next_parting().is_some()
    }

    /// Arranges the next wait: for what, and for how long.
    fn arrange(&mut self) {
        let now = self.sockets.world.now();
        self.core.settle_dropped(now);
        self.resume(now);
        while let Some((key, wanted)) = self.core.poll_wanted() {
            self.sockets.declare(key, wanted);
        }
        self.leaves_ready |= self.sockets.take_widened();
        self.core.publish();
        let has_ready = tls::IS_POSSIBLE && self.sockets.has_ready();
        let at_once = (self.has_more || has_ready).then_some(now);
        let until = at_once.or(self.core.poll_timeout(now)).into_iter();
        self.until = until.chain(self.rests.next()).min();
        if tls::IS_POSSIBLE
            && let Some(parting) = self.sockets.next_parting()
        {
            let until = self.until.into_iter().chain(self.core.stopping());
            self.until = until.chain([parting]).min();
        }
    }

    /// Other limits, from the next pass on.
    #[cfg(test)]
    pub(crate) fn limit(&mut self, limits: Limits) {
        assert!(self.held.is_empty(), "the buffer is in use");
        self.buffer.resize(limits.bytes_per_read, 0);
        self.limits = limits;
    }

    /// The last act, also after a panic: nothing that was accepted stays without an answer, no
    /// receiver stays asleep.
    pub(crate) fn end(&mut self, reason: Ended) {
        self.core.deliver_last();
        self.shared.end(reason);
    }
}

impl Reactor for Driver<Real> {
    fn wait(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        Driver::wait(self, deadline)
    }

    fn work(&mut self, reads: Reads) -> bool {
        Driver::work(self, reads)
    }

    fn leaves_ready(&self) -> bool {
        self.has_more || self.leaves_ready
    }

    fn need(&self) -> Need {
        self.core.need()
    }

    fn rest(&mut self) -> Rest {
        if self.has_more {
            return Rest::Until(Some(Instant::now()));
        }
        if self.sockets.world.settle() {
            Rest::Until(self.until)
        } else {
            Rest::Unseen
        }
    }

    fn end(&mut self, why: Ended) {
        Driver::end(self, why);
    }
}

const _: () = assert!(
    LIMITS.bytes_per_read >= crate::wire::MAX_FRAME_LEN,
    "a read takes any one frame"
);

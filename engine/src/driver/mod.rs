//! The reactor: one thread that waits, reads, asks the core, writes and delivers.
//!
//! The loop is generic over its [`World`]: over the [real](real) one it is the reactor, over those
//! that `sim` makes up it is simulated, line by line the same.

mod acting;
mod real;
mod receiving;
mod resolver;
pub(crate) mod sockets;
#[cfg(test)]
mod tests;
pub(crate) mod turn;
pub(crate) mod world;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::between::key::RecordKey;
use crate::error::{Ended, StartError};
use crate::handles::{Counters, Shared, Submission};
use crate::options::Options;
use crate::protocol::{Core, SCRATCH_BYTES};

use self::real::Real;
use self::sockets::Sockets;
use self::turn::turn;
use self::world::World;

/// One read takes at most this much, so that a busy connection leaves the others their turn.
const READ_BYTES: usize = 256 * 1024;

/// Starts the reactor's thread.
pub(crate) fn start(options: Options) -> Result<(Arc<Shared>, JoinHandle<()>), StartError> {
    let (world, shared) = Real::start(options)?;
    let mut driver = Driver::new(world, Arc::clone(&shared), READ_BYTES);
    let reactor = thread::Builder::new()
        .name("ampe-reactor".into())
        .spawn(move || {
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
    batch: Vec<Submission>,
    /// Attempts to connect that rest, and until when; the earliest first.
    undecided: VecDeque<(Instant, RecordKey)>,
}

impl<W: World> Driver<W> {
    pub(crate) fn new(world: W, shared: Arc<Shared>, read_bytes: usize) -> Self {
        Driver {
            core: Core::new(Arc::clone(&shared)),
            sockets: Sockets::new(world),
            shared,
            until: None,
            buffer: vec![0; read_bytes],
            held: 0..0,
            scratch: Vec::with_capacity(SCRATCH_BYTES),
            transmit_list: Vec::new(),
            batch: Vec::new(),
            undecided: VecDeque::new(),
        }
    }

    /// The loop. Each pass costs what it touches, however many connections there are.
    fn run(&mut self) -> io::Result<()> {
        while !self.pass()? {}
        Ok(())
    }

    /// Once round: sleeps, and does what there is to do. Returns whether that was the last time.
    pub(crate) fn pass(&mut self) -> io::Result<bool> {
        self.sockets.world.wait(self.until)?;
        Counters::count(&self.shared.counters.passes);
        let now = self.sockets.world.now();
        self.receive(now);
        let mut batch = std::mem::take(&mut self.batch);
        turn(self, &mut batch, now);
        self.batch = batch;
        if self.core.is_finished() {
            let late = self.shared.queue.end(Ended::EngineStopped);
            if late.is_empty() {
                return Ok(true);
            }
            for submission in late {
                self.core.handle_submission(submission, now);
            }
        }
        self.arrange();
        Ok(false)
    }

    /// Arranges the next wait: for what, and for how long.
    fn arrange(&mut self) {
        let now = self.sockets.world.now();
        self.core.settle_dropped(now);
        self.resume(now);
        while let Some((key, wanted)) = self.core.poll_wanted() {
            self.sockets.declare(key, wanted);
        }
        let until = self.core.poll_timeout(now);
        let undecided = self.undecided.front().map(|&(until, _)| until);
        self.until = until.into_iter().chain(undecided).min();
    }

    /// The last act, also after a panic: nothing that was accepted stays without an answer, no
    /// receiver stays asleep.
    pub(crate) fn end(&mut self, reason: Ended) {
        self.core.deliver_last();
        self.shared.end(reason);
    }
}

const _: () = assert!(
    READ_BYTES >= crate::wire::MAX_FRAME_LEN,
    "a read takes any one frame"
);

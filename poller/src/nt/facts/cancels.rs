//! Cancels that meet the end of what they cancel: on every kernel, and counted.
//!
//! A cancel may find nothing, since the poll has ended and its packet is queued; or it may be said to
//! have succeeded, and the poll has ended all the same. Nothing may be lost or confused by either.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::lab::Ground;
use crate::afd::{ControlMode, Port};
use crate::conformance::worlds::Read;
use crate::nt::{Handle, IoStatusBlock, Nt, Packet, Status, Submission};
use crate::{Events, Interest, Key, Poller};

const MODES: [ControlMode; 2] = [ControlMode::Direct, ControlMode::Helper];
/// How often it is tried to make a cancel meet the end of its poll.
const ROUNDS: u32 = 2_000;

/// What came of the cancels.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// The poll ended by it.
    cancelled: u64,
    /// There was nothing to cancel any more.
    not_found: u64,
    /// It was said to have succeeded, and the poll had ended by itself.
    too_late: u64,
}

#[derive(Default)]
struct Record {
    counts: Counts,
    /// The context of the poll of a status block that is in flight.
    polls: HashMap<usize, usize>,
    /// The contexts whose cancels were said to have succeeded.
    cancelled: HashSet<usize>,
}

/// Passes all calls on and records what comes of cancels.
struct Witness<N> {
    inner: N,
    record: Arc<Mutex<Record>>,
    /// Says of cancels that find nothing that they have succeeded, as a system may.
    claims_success: bool,
}

impl<N> Witness<N> {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: it answers as the inner one does, but for cancels, whose answers say nothing about memory.
unsafe impl<N: Nt> Nt for Witness<N> {
    fn new() -> io::Result<Self> {
        Ok(Witness {
            inner: N::new()?,
            record: Arc::default(),
            claims_success: false,
        })
    }

    fn create_port(&self) -> Result<Handle, Status> {
        self.inner.create_port()
    }

    fn open_helper(&self) -> Result<Handle, Status> {
        self.inner.open_helper()
    }

    fn close(&self, handle: Handle) {
        self.inner.close(handle);
    }

    fn base_socket(&self, socket: Handle) -> io::Result<Handle> {
        self.inner.base_socket(socket)
    }

    fn count_handles(&self, file: Handle) -> Result<u32, Status> {
        self.inner.count_handles(file)
    }

    fn is_same(&self, one: Handle, other: Handle) -> Result<bool, Status> {
        self.inner.is_same(one, other)
    }

    fn associate(&self, file: Handle, port: Handle, key: usize) -> Result<(), Status> {
        self.inner.associate(file, port, key)
    }

    fn dissociate(&self, file: Handle) -> Result<(), Status> {
        self.inner.dissociate(file)
    }

    fn skip_packets_on_success(&self, file: Handle) -> Result<(), Status> {
        self.inner.skip_packets_on_success(file)
    }

    unsafe fn submit(&self, submission: Submission) -> Status {
        let block = submission.status.as_ptr() as usize;
        let mut record = self.record();
        record.polls.insert(block, submission.context);
        record.cancelled.remove(&submission.context);
        // SAFETY: the caller's promise is passed on.
        unsafe { self.inner.submit(submission) }
    }

    fn cancel(&self, control: Handle, status: NonNull<IoStatusBlock>) -> Status {
        let answer = self.inner.cancel(control, status);
        assert!([Status::SUCCESS, Status::NOT_FOUND].contains(&answer));
        let mut record = self.record();
        record.counts.not_found += u64::from(answer == Status::NOT_FOUND);
        if answer == Status::NOT_FOUND && !self.claims_success {
            return answer;
        }
        let context = record.polls[&(status.as_ptr() as usize)];
        record.cancelled.insert(context);
        Status::SUCCESS
    }

    fn post(&self, port: Handle, packet: Packet) -> Status {
        self.inner.post(port, packet)
    }

    fn dequeue(
        &self,
        port: Handle,
        packets: &mut [Packet],
        timeout: Option<Duration>,
    ) -> Result<usize, Status> {
        let count = self.inner.dequeue(port, packets, timeout)?;
        let mut record = self.record();
        for packet in &packets[..count] {
            if !record.cancelled.remove(&packet.context) {
                continue;
            }
            match packet.status.status.status {
                Status::CANCELLED => record.counts.cancelled += 1,
                _ => record.counts.too_late += 1,
            }
        }
        Ok(count)
    }

    fn os_error(&self, status: Status) -> i32 {
        self.inner.os_error(status)
    }

    fn watch(&self, held: Arc<crate::afd::Held>) {
        self.inner.watch(held);
    }
}

/// A connection, one end of which is polled.
struct Bench<G: Ground> {
    poller: Poller<G::Socket, (), Port<Witness<G::Nt>>>,
    record: Arc<Mutex<Record>>,
    ours: Key,
    theirs: G::Socket,
    ground: G,
}

impl<G: Ground> Bench<G> {
    fn new(mode: ControlMode, claims_success: bool) -> Self {
        let ground = G::new();
        let record = Arc::default();
        let witness = Witness {
            inner: ground.nt(),
            record: Arc::clone(&record),
            claims_success,
        };
        let mut poller = Poller::over(Port::with_mode(witness, mode).unwrap());
        let (ours, theirs) = ground.pair();
        let ours = poller.insert(ours).unwrap();
        Bench {
            poller,
            record,
            ours,
            theirs,
            ground,
        }
    }

    fn counts(&self) -> Counts {
        let record = self.record.lock();
        record.unwrap_or_else(PoisonError::into_inner).counts
    }

    /// What the next wait reports.
    fn wait(&mut self, interest: Interest, timeout: Duration) -> Interest {
        let mut events = Events::with_capacity(8);
        assert!(self.poller.set_interest(self.ours, interest));
        self.poller.wait(&mut events, Some(timeout)).unwrap();
        let mut found = Interest::NONE;
        while let Some(event) = self.poller.next_event(&mut events) {
            assert_eq!(event.key(), self.ours);
            assert!(event.error().is_none());
            found |= event.readiness();
        }
        found
    }

    /// A poll for data is cancelled for a wider one, before or after data has come. Everything is
    /// reported.
    #[track_caller]
    fn cancel_around_data(&mut self, comes_first: bool) {
        const PATIENCE: Duration = Duration::from_secs(60);
        assert_eq!(
            self.wait(Interest::READABLE, Duration::ZERO),
            Interest::NONE
        );
        let mut found = Interest::NONE;
        if !comes_first {
            found = self.wait(Interest::BOTH, PATIENCE);
            assert_eq!(found, Interest::WRITABLE);
        }
        assert_eq!(self.ground.write(&self.theirs, 1), 1);
        while found != Interest::BOTH {
            let more = self.wait(Interest::BOTH, PATIENCE);
            assert!(!more.is_empty(), "{found:?} is all that is reported");
            found |= more;
        }
        let socket = self.poller.get(self.ours).unwrap();
        assert_eq!(self.ground.read(socket, 64), Read::Data(1));
        // What was found out before the data was read may still be reported.
        while !self.wait(Interest::READABLE, Duration::ZERO).is_empty() {}
    }
}

pub(super) fn a_cancel_that_finds_nothing_harms_nothing<G: Ground>() {
    for mode in MODES {
        let mut bench = Bench::<G>::new(mode, false);
        for round in 0..ROUNDS {
            bench.cancel_around_data(round % 2 == 0);
        }
        let counts = bench.counts();
        println!("{mode:?}, {ROUNDS} rounds: {counts:?}");
        assert_ne!(counts.cancelled, 0, "no cancel came in time");
        assert_ne!(counts.not_found, 0, "no cancel came too late");
    }
}

/// What a system may answer is answered here whenever a cancel finds nothing.
pub(super) fn a_cancel_that_succeeds_too_late_harms_nothing<G: Ground>() {
    for mode in MODES {
        let mut bench = Bench::<G>::new(mode, true);
        for round in 0..ROUNDS {
            bench.cancel_around_data(round % 2 == 0);
        }
        let counts = bench.counts();
        println!("{mode:?}, {ROUNDS} rounds: {counts:?}");
        assert_ne!(counts.cancelled, 0, "no cancel came in time");
        assert_ne!(counts.too_late, 0, "no cancel came too late");
    }
}

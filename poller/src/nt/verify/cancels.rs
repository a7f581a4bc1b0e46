//! Cancels that meet the end of what they cancel: on every kernel, and counted.
//!
//! A cancel may find nothing, since the poll has ended and its packet is queued; or it may be said to
//! have succeeded, and the poll has ended all the same. Nothing may be lost or confused by either.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::diary::Recorder;
use super::ground::Ground;
use super::lab::{Lab, Socket};
use super::{Answer, Setting, Trouble, expect};
use crate::afd::{PollingMode, Port};
use crate::nt::{Handle, IoStatusBlock, Nt, Packet, Status, Submission};
use crate::{Events, Interest, Key, Poller};

const MODES: [PollingMode; 2] = [PollingMode::Direct, PollingMode::Helper];
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
        let mut record = self.record();
        record.counts.not_found += u64::from(answer == Status::NOT_FOUND);
        let is_claimed = answer == Status::NOT_FOUND && self.claims_success;
        if answer != Status::SUCCESS && !is_claimed {
            return answer;
        }
        if let Some(context) = record.polls.get(&(status.as_ptr() as usize)).copied() {
            record.cancelled.insert(context);
        }
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

    #[cfg(test)]
    fn watch(&self, held: Arc<crate::afd::Held>) {
        self.inner.watch(held);
    }
}

type Backend<G> = Port<Witness<Recorder<<G as Ground>::Nt>>>;

/// A connection, one end of which is polled by the backend itself.
struct Witnessed<G: Ground> {
    poller: Poller<Socket<G>, (), Backend<G>>,
    record: Arc<Mutex<Record>>,
    ours: Key,
    theirs: Socket<G>,
    lab: Lab<G>,
}

impl<G: Ground> Witnessed<G> {
    fn new(setting: &Setting, mode: PollingMode, claims_success: bool) -> Result<Self, Trouble> {
        let lab = Lab::<G>::new(setting)?;
        let record = Arc::default();
        let witness = Witness {
            inner: lab.another_nt()?,
            record: Arc::clone(&record),
            claims_success,
        };
        let mut poller = Poller::over(Port::with_mode(witness, mode)?);
        let (ours, theirs) = lab.pair()?;
        let ours = poller
            .insert(ours)
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Witnessed {
            poller,
            record,
            ours,
            theirs,
            lab,
        })
    }

    fn counts(&self) -> Counts {
        let record = self.record.lock();
        record.unwrap_or_else(PoisonError::into_inner).counts
    }

    /// What the next wait reports.
    fn wait(&mut self, interest: Interest, timeout: Duration) -> Result<Interest, Trouble> {
        let mut events = Events::with_capacity(8);
        self.poller.set_interest(self.ours, interest);
        self.poller.wait(&mut events, Some(timeout))?;
        let mut found = Interest::NONE;
        while let Some(event) = self.poller.next_event(&mut events) {
            expect("whose event it is", event.key(), self.ours)?;
            if let Some(error) = event.error() {
                return Err(Trouble::Differs(format!("the poller reports {error}")));
            }
            let readable = event.is_readable().then_some(Interest::READABLE);
            let writable = event.is_writable().then_some(Interest::WRITABLE);
            found |= readable.unwrap_or(Interest::NONE) | writable.unwrap_or(Interest::NONE);
        }
        Ok(found)
    }

    /// A poll for data is cancelled for a wider one, before or after data has come. Everything is
    /// reported.
    fn cancel_around_data(&mut self, comes_first: bool) -> Result<(), Trouble> {
        let patience = self.lab.patience;
        let found = self.wait(Interest::READABLE, Duration::ZERO)?;
        expect("what is reported before data comes", found, Interest::NONE)?;
        let mut found = Interest::NONE;
        if !comes_first {
            found = self.wait(Interest::BOTH, patience)?;
            expect(
                "what is reported of an idle connection",
                found,
                Interest::WRITABLE,
            )?;
        }
        expect(
            "how much is written",
            self.lab.ground.write(&self.theirs, 1),
            1,
        )?;
        while found != Interest::BOTH {
            let more = self.wait(Interest::BOTH, patience)?;
            if more.is_empty() {
                return Err(Trouble::Differs(format!(
                    "{found:?} is all that is reported"
                )));
            }
            found |= more;
        }
        let socket = self.poller.get(self.ours);
        let length = socket.map(|socket| self.lab.ground.read(socket, 64));
        expect("how much is read", length, Some(1))?;
        // What was found out before the data was read may still be reported.
        for _ in 0..1_000 {
            if self.wait(Interest::READABLE, Duration::ZERO)?.is_empty() {
                return Ok(());
            }
        }
        Err(Trouble::Differs(
            "what was read is reported for ever".to_owned(),
        ))
    }
}

fn cancel_around_data<G: Ground>(setting: &Setting, claims_success: bool) -> Answer {
    let mut told = Vec::new();
    for mode in MODES {
        let mut bench = Witnessed::<G>::new(setting, mode, claims_success)?;
        for round in 0..setting.rounds {
            bench.cancel_around_data(round % 2 == 0)?;
        }
        let Counts {
            cancelled,
            not_found,
            too_late,
        } = bench.counts();
        expect("whether a cancel came in time", cancelled != 0, true)?;
        let late = if claims_success { too_late } else { not_found };
        expect("whether a cancel came too late", late != 0, true)?;
        told.push(format!("{mode:?}: {cancelled} in time, {late} too late"));
    }
    Ok(told.join("; "))
}

pub(super) fn a_cancel_that_finds_nothing_harms_nothing<G: Ground>(setting: &Setting) -> Answer {
    cancel_around_data::<G>(setting, false)
}

/// What a system may answer is answered here whenever a cancel finds nothing.
pub(super) fn a_cancel_that_succeeds_too_late_harms_nothing<G: Ground>(
    setting: &Setting,
) -> Answer {
    cancel_around_data::<G>(setting, true)
}

//! The simulated kernel, called as a real one is.

use std::collections::VecDeque;
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{Kernel, Kind, Queued, Violation};
#[cfg(test)]
use crate::afd::Held;
use crate::nt::{Handle, IoStatusBlock, Nt, Packet, Status, Submission, timeout as time_limit};

/// How long a sleep lasts at most after which polls with a time limit are over: their own.
const LIMIT: Duration = Duration::from_nanos(time_limit::BOUNDED.unsigned_abs() * 100);

/// The kernel as a system to poll by.
pub(crate) struct Sim {
    kernel: Arc<Kernel>,
}

impl Sim {
    pub(crate) fn new(kernel: &Arc<Kernel>) -> Sim {
        let kernel = Arc::clone(kernel);
        Sim { kernel }
    }
}

// SAFETY: an operation is forgotten, with its pointers, before its packet is passed on, and has none
// unless it is pending.
unsafe impl Nt for Sim {
    fn new() -> io::Result<Self> {
        Ok(Sim::new(&Arc::default()))
    }

    fn create_port(&self) -> Result<Handle, Status> {
        self.kernel.call(|state| {
            let port = state.create(Kind::Port(VecDeque::new()));
            Ok(state.open(port))
        })
    }

    fn open_helper(&self) -> Result<Handle, Status> {
        self.kernel.call(|state| {
            if state.mood.has_no_helpers {
                return Err(Status::INSUFFICIENT_RESOURCES);
            }
            let helper = state.create(Kind::Helper);
            Ok(state.open(helper))
        })
    }

    fn close(&self, handle: Handle) {
        self.kernel.call(|state| state.close(handle));
    }

    fn base_socket(&self, socket: Handle) -> io::Result<Handle> {
        let mut state = self.kernel.state();
        if state.mood.hides_base {
            return Err(io::Error::other("a layered service provider hides it"));
        }
        let number = state.number(socket);
        let is_layered = number
            .and_then(|number| state.endpoint(number))
            .is_some_and(|endpoint| endpoint.is_layered);
        // A layer's own handle is another one for the same endpoint here.
        Ok(if is_layered {
            Handle(socket.0 + 1)
        } else {
            socket
        })
    }

    fn count_handles(&self, file: Handle) -> Result<u32, Status> {
        self.kernel.call(|state| {
            let number = state.number(file).ok_or(Status::INVALID_HANDLE)?;
            let hides_counts = state.mood.hides_counts;
            let further_handles = state.mood.further_handles;
            let counts_one = state.mood.counts_one;
            let file = state.file(number);
            let count = file.handles + u32::from(file.is_elsewhere) + further_handles;
            file.is_told_of = hides_counts || file.is_elsewhere;
            match hides_counts {
                true => Err(Status::INSUFFICIENT_RESOURCES),
                false if counts_one => Ok(1),
                false => Ok(count),
            }
        })
    }

    fn is_same(&self, one: Handle, other: Handle) -> Result<bool, Status> {
        self.kernel.call(|state| {
            if state.mood.hides_objects {
                return Err(Status::NOT_IMPLEMENTED);
            }
            match (state.number(one), state.number(other)) {
                (Some(one), Some(other)) => Ok(one == other),
                _ => Err(Status::INVALID_HANDLE),
            }
        })
    }

    fn associate(&self, file: Handle, port: Handle, key: usize) -> Result<(), Status> {
        self.kernel.call(|state| {
            let (Some(file), Some(port)) = (state.number(file), state.number(port)) else {
                return Err(Status::INVALID_HANDLE);
            };
            let is_last_way = state.mood.is_direct_only || state.mood.has_no_helpers;
            let file = state.file(file);
            if file.port.is_none() && !matches!(file.kind, Kind::Other) {
                file.port = Some((port, key));
                return Ok(());
            }
            if let Kind::Endpoint(endpoint) = &mut file.kind {
                endpoint.credit(0, is_last_way);
            }
            Err(Status::INVALID_PARAMETER)
        })
    }

    fn dissociate(&self, file: Handle) -> Result<(), Status> {
        self.kernel.call(|state| {
            let Some(number) = state.number(file) else {
                return Err(Status::INVALID_HANDLE);
            };
            let is_idle = state.file(number).issued.is_empty();
            if !is_idle {
                state.violations.push(Violation::DissociatesInFlight);
            }
            if state.mood.keeps_association || !is_idle {
                return Err(Status::INVALID_PARAMETER);
            }
            let forgets_marks = state.mood.forgets_marks;
            let file = state.file(number);
            file.port = None;
            file.skips_packets &= !forgets_marks;
            Ok(())
        })
    }

    fn skip_packets_on_success(&self, file: Handle) -> Result<(), Status> {
        self.kernel.call(|state| {
            let number = state.number(file).ok_or(Status::INVALID_HANDLE)?;
            if state.mood.keeps_packets {
                return Err(Status::INVALID_PARAMETER);
            }
            state.file(number).skips_packets = true;
            Ok(())
        })
    }

    unsafe fn submit(&self, submission: Submission) -> Status {
        self.kernel.call(|state| state.submit(submission))
    }

    fn cancel(&self, control: Handle, status: NonNull<IoStatusBlock>) -> Status {
        self.kernel.call(|state| state.cancel(control, status))
    }

    fn post(&self, port: Handle, packet: Packet) -> Status {
        self.kernel.call(|state| {
            if let Some(refusal) = state.mood.refuses_post {
                return refusal;
            }
            let Some(port) = state.number(port) else {
                return Status::INVALID_HANDLE;
            };
            if let Kind::Port(queue) = &mut state.file(port).kind {
                queue.push_back(Queued {
                    key: packet.key,
                    context: packet.context,
                    status: packet.status.status.status,
                    information: packet.status.information,
                    operation: None,
                });
            }
            Status::SUCCESS
        })
    }

    fn dequeue(
        &self,
        port: Handle,
        packets: &mut [Packet],
        timeout: Option<Duration>,
    ) -> Result<usize, Status> {
        let mut state = self.kernel.state();
        let longest = Duration::from_secs(3600);
        let timeout_here = timeout.filter(|_| state.mood.sleeps);
        let deadline = timeout_here.map(|timeout| Instant::now() + timeout.min(longest));
        state.counts.calls += 1;
        state.last_timeout = timeout;
        if let Some(refusal) = state.mood.refuses_dequeue.take() {
            return Err(refusal);
        }
        let port = state.number(port).ok_or(Status::INVALID_HANDLE)?;
        loop {
            let mut count = state.take_packets(port, packets);
            // While it waits, time passes.
            let has_time = timeout != Some(Duration::ZERO);
            if count == 0 && has_time && state.queue_all() {
                count = state.take_packets(port, packets);
            }
            // More of it than a poll has that has a limit.
            if count == 0 && has_time && !state.mood.sleeps && state.expire() {
                state.queue_all();
                count = state.take_packets(port, packets);
            }
            if count > 0 || !state.mood.sleeps || timeout == Some(Duration::ZERO) {
                return Ok(count);
            }
            let now = Instant::now();
            if deadline.is_some_and(|end| end <= now) {
                return Ok(0);
            }
            let limit = (!state.bounded().is_empty()).then_some(LIMIT);
            let left = deadline.map(|end| end - now);
            let Some(sleep) = left.into_iter().chain(limit).min() else {
                let changed = self.kernel.changed.wait(state);
                state = changed.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.kernel.changed.wait_timeout(state, sleep);
            let (guard, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if outcome.timed_out() && limit == Some(sleep) {
                state.expire();
            }
        }
    }

    fn os_error(&self, status: Status) -> i32 {
        status.0
    }

    #[cfg(test)]
    fn watch(&self, held: Arc<Held>) {
        self.kernel.state().held = Some(held);
    }
}

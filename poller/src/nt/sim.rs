//! A kernel that is simulated, as far as polling by AFD goes.
//!
//! It keeps the very pointers that it was given, and writes through them when Windows may: when the
//! operation completes, or only when its packet is dequeued. What completes by itself and what only
//! when the test says so, who wins when a cancel meets a completion, and which calls are refused, is
//! in [`Mood`]. It models what was found out on real Windows:
//!
//! - a poll is answered at once if its socket is ready, and queues no packet then if the file was
//!   told so; else it ends when the socket becomes ready, is closed, or the poll is cancelled, and
//!   queues exactly one packet;
//! - a cancel finds an operation by its file and status block; once the packet is queued it finds
//!   nothing, and the packet comes all the same;
//! - closing the last handle of a process ends the polls of that socket, with `LOCAL_CLOSE`; while a
//!   duplicate is open in the same process, nothing happens; while one is open in another, the polls
//!   that were issued on the socket itself are cancelled, unasked;
//! - of two polls of one socket object, whatever files they are issued on, one may get the other's answer
//!   and the other none ([`Mood::mixes_up`], [`Kernel::steal`]);
//! - handles are used again at once, the lowest first;
//! - a file has one port for life, unless it is dissociated while nothing is in flight on it.
//!
//! Where nothing is proven it chooses, by its mood: what a closed helper does to its polls, what the last close of a
//! socket does, how polls may end in vain, and more.
//!
//! It checks its users too, and keeps what it finds: see [`Violation`].

mod calls;
mod demand;
#[cfg(test)]
mod digest;
mod network;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ptr::NonNull;
#[cfg(test)]
use std::sync::Arc;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{AfdPollInfo, Handle, IoStatusBlock, Status};
#[cfg(test)]
use crate::afd::Held;

pub(crate) use calls::Sim;
pub(crate) use network::Socket;

/// What a user of the kernel has done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// The kernel was to write where no operation's memory is any more.
    WritesToFreed,
    /// Memory was given to the kernel that it already has.
    SubmitsTwice,
    /// A handle was closed that is not open.
    ClosesTwice,
    /// The port is gone and operations are in flight.
    LeavesOperations,
    /// A poll was issued for nothing.
    PollsForNothing,
    /// A poll was issued whose packet nobody will get.
    PollsWithoutPort,
    /// A port has two polls of one socket object, unless the first was told to end and the second has a time
    /// limit. Windows may mix up their answers, and then one of them never ends.
    PollsTwice,
    /// A poll that asks for something else than one socket, without end, and beside others.
    AsksWrongly,
    /// A file was to be dissociated with an operation in flight on it.
    DissociatesInFlight,
    /// A helper was closed with an operation in flight on it that was not told to end, and cannot be any more.
    ClosesInFlight,
}

/// What becomes of the polls of a socket whose last handle is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastClose {
    /// They end with `LOCAL_CLOSE`.
    Tells,
    /// They end as if cancelled.
    Cancels,
    /// Nothing.
    Leaves,
}

/// How the kernel behaves where it may behave in several ways.
#[derive(Clone, Debug)]
pub(crate) struct Mood {
    /// Packets are not queued when an operation completes, but by [`Kernel::deliver`].
    pub(crate) is_slow: bool,
    /// Memory is written when an operation completes, not when its packet is dequeued.
    pub(crate) writes_early: bool,
    /// A cancel that comes too late says success instead of "not found".
    pub(crate) cancels_too_late: bool,
    /// Refuses the next poll.
    pub(crate) refuses_submit: Option<Status>,
    /// Refuses the next dequeue.
    pub(crate) refuses_dequeue: Option<Status>,
    /// Answers polls at once, and with nothing.
    pub(crate) answers_nothing: bool,
    /// Refuses posts.
    pub(crate) refuses_post: Option<Status>,
    /// How many packets it gives out at a time.
    pub(crate) batch: usize,
    /// A dequeue without packets sleeps. Else its time is over at once.
    pub(crate) sleeps: bool,
    /// A violation is only noted, and the write is done: for a memory checker to see.
    pub(crate) corrupts: bool,
    /// There is no device to open.
    pub(crate) has_no_helpers: bool,
    /// Files cannot be dissociated from their port.
    pub(crate) keeps_association: bool,
    /// Files cannot be told to queue no packet for what they answer at once.
    pub(crate) keeps_packets: bool,
    /// No layer tells what socket is below it.
    pub(crate) hides_base: bool,
    /// Does not say how many handles there are for a file.
    pub(crate) hides_counts: bool,
    /// Cannot tell whether two handles are of one file.
    pub(crate) hides_objects: bool,
    /// Of several polls of one socket object, another one gets the answer than the one that it is for, which
    /// never ends by itself.
    pub(crate) mixes_up: bool,
    /// Closing a helper ends the polls that were issued on it.
    pub(crate) ends_with_helper: bool,
    /// What becomes of polls when the last handle of their socket is closed.
    pub(crate) last_close: LastClose,
    /// Flags that nobody knows, in every answer that finds something.
    pub(crate) further_flags: u32,
    /// What is answered at once queues a packet all the same.
    pub(crate) queues_answers: bool,
    /// Handles that are counted and are not there.
    pub(crate) further_handles: u32,
    /// What a cancel answers, whatever comes of it.
    pub(crate) cancel_answers: Option<Status>,
    /// Cancels end nothing.
    pub(crate) ignores_cancels: bool,
    /// Every poll that is not answered at once ends like this at once, and with nothing.
    pub(crate) ends_in_vain: Option<Status>,
    /// Answers what becomes ready while it is polled, and nothing that is ready already.
    pub(crate) tells_changes_only: bool,
    /// Counts one handle for each file.
    pub(crate) counts_one: bool,
    /// Gives out the packet first that was queued last.
    pub(crate) takes_last: bool,
    /// The packets of operations carry another key than their file was associated with.
    pub(crate) changes_keys: bool,
    /// A file that is dissociated forgets that it queues no packet for what it answers at once.
    pub(crate) forgets_marks: bool,
    /// The polls that were issued on a socket that another process keeps go on when it is closed here.
    pub(crate) leaves_shared: bool,
    /// Who polls does not fall back on helpers: what cannot be associated has failed.
    pub(crate) is_direct_only: bool,
}

impl Default for Mood {
    fn default() -> Self {
        Mood {
            is_slow: false,
            writes_early: false,
            cancels_too_late: false,
            refuses_submit: None,
            refuses_dequeue: None,
            answers_nothing: false,
            refuses_post: None,
            batch: usize::MAX,
            sleeps: false,
            corrupts: false,
            has_no_helpers: false,
            keeps_association: false,
            keeps_packets: false,
            hides_base: false,
            hides_counts: false,
            hides_objects: false,
            mixes_up: false,
            ends_with_helper: false,
            last_close: LastClose::Tells,
            further_flags: 0,
            queues_answers: false,
            further_handles: 0,
            cancel_answers: None,
            ignores_cancels: false,
            ends_in_vain: None,
            tells_changes_only: false,
            counts_one: false,
            takes_last: false,
            changes_keys: false,
            forgets_marks: false,
            leaves_shared: false,
            is_direct_only: false,
        }
    }
}

/// A file object: what handles are about.
#[derive(Debug)]
struct File {
    kind: Kind,
    /// How many handles of this process are about it.
    handles: u32,
    /// Another process has a handle, too.
    is_elsewhere: bool,
    /// The port that its packets go to, and their key.
    port: Option<(u32, usize)>,
    /// What it answers at once queues no packet.
    skips_packets: bool,
    /// The operations that were issued on it.
    issued: Vec<u32>,
    /// Who asked last was told that there are other handles, or not told.
    is_told_of: bool,
}

#[derive(Debug)]
enum Kind {
    Port(VecDeque<Queued>),
    Helper,
    Endpoint(Endpoint),
    /// Something that AFD does not know.
    Other,
}

/// What polls of a socket have come to since its last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) flags: u32,
    /// One was refused or has failed.
    pub(crate) has_failed: bool,
}

/// A socket, as AFD sees it.
#[derive(Debug, Default)]
struct Endpoint {
    /// AFD's flags that are true now.
    events: u32,
    /// The operations that poll it.
    polls: Vec<u32>,
    /// What the answers about it were, for tests that check reports.
    answered: Answered,
    /// It is below a layer: polling the layer's handle is not polling it directly.
    is_layered: bool,
    connection: network::Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pending,
    /// Ended, with these flags. Its packet is not queued yet.
    InTransit(Status, u32),
    /// Its packet is queued.
    Queued(Status, u32),
}

#[derive(Debug)]
struct Operation {
    /// The file that it was issued on.
    control: u32,
    target: u32,
    context: usize,
    status: NonNull<IoStatusBlock>,
    info: NonNull<AfdPollInfo>,
    mask: u32,
    /// What the question said, which the answer repeats.
    handle: Handle,
    stage: Stage,
    is_written: bool,
    is_endless: bool,
    /// Its answer was given to another one: it ends by a cancel, a close, or its time.
    is_stuck: bool,
    is_told_to_end: bool,
}

#[derive(Clone, Copy, Debug)]
struct Queued {
    key: usize,
    context: usize,
    status: Status,
    information: usize,
    operation: Option<u32>,
}

/// What happened, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Calls of `trait Nt`.
    pub(crate) calls: u64,
    /// Packets that were dequeued.
    pub(crate) packets: u64,
    pub(crate) submitted: u64,
    pub(crate) answered_at_once: u64,
    pub(crate) cancelled: u64,
    pub(crate) cancels_not_found: u64,
    pub(crate) cancels_too_late: u64,
    pub(crate) local_closes: u64,
}

pub(crate) struct State {
    /// By number; the handle's value is four times the number after it.
    handles: Vec<Option<u32>>,
    files: Vec<Option<File>>,
    /// By number, in the order of submission.
    operations: BTreeMap<u32, Operation>,
    next_operation: u32,
    /// The status blocks of all operations.
    lent: BTreeSet<usize>,
    #[cfg(test)]
    held: Option<Arc<Held>>,
    pub(crate) mood: Mood,
    pub(crate) violations: Vec<Violation>,
    /// How long the last dequeue was to sleep at most.
    pub(crate) last_timeout: Option<Duration>,
    /// The sockets and masks of the polls since this was emptied last, refused ones too.
    pub(crate) submissions: Vec<(Handle, u32)>,
    pub(crate) counts: Counts,
}

// SAFETY: the pointers are followed only under the kernel's lock, in the time for which `submit`'s
// callers have promised them.
unsafe impl Send for State {}

pub(crate) struct Kernel {
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for Kernel {
    fn default() -> Self {
        Kernel {
            state: Mutex::new(State {
                handles: Vec::new(),
                files: Vec::new(),
                operations: BTreeMap::new(),
                next_operation: 0,
                lent: BTreeSet::new(),
                #[cfg(test)]
                held: None,
                mood: Mood::default(),
                violations: Vec::new(),
                last_timeout: None,
                submissions: Vec::new(),
                counts: Counts::default(),
            }),
            changed: Condvar::new(),
        }
    }
}

impl Kernel {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        if state.mood.sleeps {
            self.changed.notify_all();
        }
        result
    }

    fn call<T>(&self, call: impl FnOnce(&mut State) -> T) -> T {
        self.change(|state| {
            state.counts.calls += 1;
            call(state)
        })
    }

    /// What is ready about a socket, from here on.
    pub(crate) fn set_events(&self, socket: Handle, events: u32) {
        self.change(|state| {
            if let Some(number) = state.number(socket) {
                state.set_events(number, events);
            }
        });
    }

    /// What is ready about a socket now.
    pub(crate) fn events(&self, socket: Handle) -> u32 {
        let mut state = self.state();
        let number = state.number(socket);
        let endpoint = number.and_then(|number| state.endpoint(number));
        endpoint.map_or(0, |endpoint| endpoint.events)
    }

    /// The operations that have ended and whose packets are not queued, oldest first.
    pub(crate) fn in_transit(&self) -> usize {
        let state = self.state();
        let numbers = state.operations.keys().copied();
        numbers
            .filter(|number| state.is_in_transit(*number))
            .count()
    }

    /// Queues the packet of one of those.
    pub(crate) fn deliver(&self, at: usize) {
        self.change(|state| {
            let numbers = state.operations.keys().copied();
            let found = numbers
                .filter(|number| state.is_in_transit(*number))
                .nth(at);
            if let Some(number) = found {
                state.queue(number);
            }
        });
    }

    /// Somebody else cancels whatever polls a socket.
    pub(crate) fn cancel_unasked(&self, socket: Handle) {
        self.end_polls(socket, Status::CANCELLED);
    }

    /// The polls of a socket end with this status, and with nothing that is ready.
    pub(crate) fn end_polls(&self, socket: Handle, status: Status) {
        self.change(|state| {
            let number = state.number(socket).unwrap();
            let polls = state
                .endpoint(number)
                .map(|endpoint| endpoint.polls.clone());
            for poll in polls.into_iter().flatten() {
                state.complete(poll, status, 0);
            }
        });
    }

    /// Somebody else polls the socket, too, and gets the answers that the polls in flight wait for.
    pub(crate) fn steal(&self, socket: Handle) {
        self.change(|state| {
            let number = state.number(socket).unwrap();
            let polls = state.pending(number);
            for poll in polls {
                if let Some(poll) = state.operations.get_mut(&poll) {
                    poll.is_stuck = true;
                }
            }
        });
    }

    /// Whether a poll of a socket is in flight whose answer somebody else may get, as its port was told.
    pub(crate) fn may_steal(&self, socket: Handle) -> bool {
        let mut state = self.state();
        let Some(number) = state.number(socket) else {
            return false;
        };
        let is_told_of = state.file(number).is_told_of;
        let mut polls = state.pending(number);
        polls.retain(|poll| !state.operations[poll].is_stuck);
        is_told_of && !polls.is_empty()
    }

    /// The time is over of all polls that have a time limit.
    pub(crate) fn expire(&self) {
        self.change(State::expire);
    }

    /// Whether a poll with a time limit is pending.
    pub(crate) fn may_expire(&self) -> bool {
        !self.state().bounded().is_empty()
    }

    /// What tells a socket from others, whatever handle it is known by.
    pub(crate) fn object(&self, socket: Handle) -> Option<u32> {
        self.state().number(socket)
    }

    /// Queues a packet of somebody else's at every port.
    pub(crate) fn post_foreign(&self, key: usize, context: usize) {
        self.change(|state| {
            for file in state.files.iter_mut().flatten() {
                if let Kind::Port(queue) = &mut file.kind {
                    queue.push_back(Queued {
                        key,
                        context,
                        status: Status::SUCCESS,
                        information: 0,
                        operation: None,
                    });
                }
            }
        });
    }

    /// How many packets are queued.
    pub(crate) fn queued(&self) -> usize {
        let state = self.state();
        let files = state.files.iter().flatten();
        files
            .map(|file| match &file.kind {
                Kind::Port(queue) => queue.len(),
                _ => 0,
            })
            .sum()
    }

    /// How many packets with this key are queued that are no operation's.
    pub(crate) fn foreign_queued(&self, key: usize) -> usize {
        let state = self.state();
        let files = state.files.iter().flatten();
        let is_foreign = |packet: &&Queued| packet.key == key && packet.operation.is_none();
        files
            .map(|file| match &file.kind {
                Kind::Port(queue) => queue.iter().filter(is_foreign).count(),
                _ => 0,
            })
            .sum()
    }

    /// The context of some operation that is in flight.
    pub(crate) fn any_context(&self) -> Option<usize> {
        let state = self.state();
        let operation = state.operations.values().next();
        operation.map(|operation| operation.context)
    }

    /// The contexts of all operations that are in flight. As long as none has ended before the last
    /// was submitted, in their order.
    pub(crate) fn contexts(&self) -> Vec<usize> {
        let state = self.state();
        let operations = state.operations.values();
        operations.map(|operation| operation.context).collect()
    }

    /// Whether an operation with this context is in flight.
    pub(crate) fn has_context(&self, context: usize) -> bool {
        let state = self.state();
        let mut operations = state.operations.values();
        operations.any(|operation| operation.context == context)
    }

    /// What polls of a socket have come to since it was [forgotten](Self::forget_answered).
    pub(crate) fn answered(&self, socket: Handle) -> Answered {
        let mut state = self.state();
        let number = state.number(socket);
        match number.and_then(|number| state.endpoint(number)) {
            Some(endpoint) => endpoint.answered,
            None => Answered {
                flags: 0,
                has_failed: true,
            },
        }
    }

    pub(crate) fn forget_answered(&self, socket: Handle) {
        let mut state = self.state();
        let number = state.number(socket);
        if let Some(endpoint) = number.and_then(|number| state.endpoint(number)) {
            endpoint.answered = Answered::default();
        }
    }

    /// Whether another process has a handle for a socket.
    pub(crate) fn is_shared(&self, socket: Handle) -> bool {
        let mut state = self.state();
        let number = state.number(socket).unwrap();
        state.file(number).is_elsewhere
    }

    /// Another handle of this process for the same socket.
    pub(crate) fn duplicate(&self, socket: Handle) -> Handle {
        self.change(|state| {
            let number = state.number(socket).unwrap();
            state.open(number)
        })
    }

    /// Another process gets a handle for the socket, or closes it.
    pub(crate) fn share(&self, socket: Handle, is_elsewhere: bool) {
        self.change(|state| {
            let number = state.number(socket).unwrap();
            state.file(number).is_elsewhere = is_elsewhere;
        });
    }

    /// How many handles are open.
    pub(crate) fn handles(&self) -> usize {
        self.state().handles.iter().flatten().count()
    }

    /// How many operations are in flight.
    pub(crate) fn operations(&self) -> usize {
        self.state().lent.len()
    }
}

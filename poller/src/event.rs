use std::collections::VecDeque;
use std::io;
use std::num::NonZeroI32;

use crate::Interest;

/// Names one source of one poller, for as long as the source stays there.
///
/// The generation differs for every source ever inserted into any poller of this process, so the
/// key of a source that was removed never names its successor: it names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u64,
}

impl Key {
    /// The source's place in its poller: a small number, for tables of the user's own.
    ///
    /// No two sources of one poller have the same index at the same time, and an index is used again once its
    /// source was removed: so there are hardly more of them than there were ever sources at once. It says *where* to
    /// look and not *whose* it is. Note the [generation](Self::generation), or the whole key, in the table beside
    /// what belongs to the source, and compare it: what is found under another generation is a predecessor's.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// What tells a source from all others that were ever in any poller of this process.
    #[must_use]
    pub fn generation(self) -> u64 {
        self.generation
    }
}

/// A source may be read from, written to, or both; or the system refuses to poll it.
///
/// An error and the peer's hanging up are reported as what the source is wanted for; the next
/// read or write says which it was. What the system refuses to poll may have nothing wrong with
/// it, so that no read or write would say anything: then [`error`](Self::error) does.
///
/// # Hints
///
/// An event also says what the system told with it of the connection's end. A hint that is set is true; one
/// that is not set means nothing, since no system tells everything. What they are good for is to save a read or a write
/// whose outcome is known, and to know in which order to ask.
///
/// | | told of | epoll, poll(2) on Linux | poll(2) elsewhere | kqueue | AFD |
/// |---|---|---|---|---|---|
/// | [`is_peer_closed`](Self::is_peer_closed) | what is wanted for reading | `RDHUP`, `HUP` | `HUP`, on FreeBSD `RDHUP` | `EV_EOF` | `DISCONNECT`, `ABORT` |
/// | [`is_hung_up`](Self::is_hung_up) | all; with kqueue what is wanted for writing | `HUP` | `HUP` | `EV_EOF` of writing | `ABORT`, `CONNECT_FAIL` |
/// | [`is_failed`](Self::is_failed) | all | `ERR` | `ERR` | never | `ABORT`, `CONNECT_FAIL` |
///
/// So a peer's end of sending is told of what is wanted for reading, and a reset as that or as a hang-up; that both
/// sides have ended in good order is a hang-up on Unix alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    key: Key,
    readiness: Interest,
    hints: Hints,
    /// The number of the system's error. Never zero, so that it costs an event no more room.
    refusal: Option<NonZeroI32>,
}

impl Event {
    pub(crate) fn new(key: Key, readiness: Interest) -> Event {
        Event {
            key,
            readiness,
            hints: Hints::NONE,
            refusal: None,
        }
    }

    pub(crate) fn with_hints(self, hints: Hints) -> Event {
        Event { hints, ..self }
    }

    /// The system refuses to poll a source that is wanted for this, with an error of this number.
    pub(crate) fn refused(key: Key, wanted: Interest, os_error: i32) -> Event {
        let os_error = NonZeroI32::new(os_error);
        assert!(os_error.is_some(), "a refusal has an error's number");
        Event {
            key,
            readiness: wanted,
            hints: Hints::NONE,
            refusal: os_error,
        }
    }

    pub(crate) fn readiness(&self) -> Interest {
        self.readiness
    }

    /// The source that is ready.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// Whether a read should be tried.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.readiness.is_readable()
    }

    /// Whether a write should be tried.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.readiness.is_writable()
    }

    /// A hint: the peer will send nothing more. What it has sent can be read yet, and then the end, or an error.
    #[must_use]
    pub fn is_peer_closed(&self) -> bool {
        self.hints.contains(Hints::PEER_CLOSED)
    }

    /// A hint: nothing goes either way any more. What has arrived can be read yet. On Linux a TCP socket that
    /// was never connected is hung up, too.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        self.hints.contains(Hints::HUNG_UP)
    }

    /// A hint: the next read or write fails, as after a reset, or the attempt to connect has. Not to be confused with
    /// [`error`](Self::error), which is about polling.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.hints.contains(Hints::FAILED)
    }

    /// Why the system refuses to poll the source, if it does. Nothing more is reported of the
    /// source until its [interest is declared](crate::Poller::set_interest) again, which asks the
    /// system again; meanwhile it can be read from and written to as before.
    ///
    /// A refusal may be a matter of the source (a file that knows no readiness) or of the moment
    /// (no memory, too many sources of this user); the system's error says which.
    #[must_use]
    pub fn error(&self) -> Option<io::Error> {
        let os_error = self.refusal?;
        Some(io::Error::from_raw_os_error(os_error.get()))
    }
}

/// What the system told of a connection's end, beside readiness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints(u8);

impl Hints {
    pub(crate) const NONE: Hints = Hints(0);
    pub(crate) const PEER_CLOSED: Hints = Hints(1);
    pub(crate) const HUNG_UP: Hints = Hints(2);
    pub(crate) const FAILED: Hints = Hints(4);
    /// A connection that was reset.
    pub(crate) const RESET: Hints = Hints(7);

    const fn contains(self, other: Hints) -> bool {
        self.0 & other.0 == other.0
    }

    /// These too, if that is so.
    pub(crate) const fn and(self, others: Hints, if_so: bool) -> Hints {
        match if_so {
            true => Hints(self.0 | others.0),
            false => self,
        }
    }
}

const _: () = assert!(
    size_of::<Event>() <= 24,
    "events are copied by the thousand"
);

/// The batch that one [`wait`](crate::Poller::wait) fills and
/// [`next_event`](crate::Poller::next_event) empties.
#[derive(Debug)]
pub struct Events {
    queue: VecDeque<Event>,
    limit: usize,
    woken: bool,
}

impl Events {
    /// A batch that asks the system for at most `capacity` events at a time, and at least for one.
    ///
    /// What does not fit is reported by the next wait. It is a limit for the question, not for the
    /// answer: poll(2) answers for all sources at once.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Events {
        let limit = capacity.max(1);
        Events {
            queue: VecDeque::with_capacity(limit),
            limit,
            woken: false,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Event> {
        self.queue.iter()
    }

    /// Whether the last wait met a [wake](crate::Waker::wake).
    ///
    /// One wake may be reported twice, never not at all. It is also reported when a wait was cut
    /// short because the system has refused a wake before; see [`Waker::wake`](crate::Waker::wake).
    #[must_use]
    pub fn woken(&self) -> bool {
        self.woken
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.woken = false;
    }

    pub(crate) fn set_woken(&mut self) {
        self.woken = true;
    }

    /// Whether no event is left in the batch.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn push(&mut self, event: Event) {
        self.queue.push_back(event);
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    key: Key,
    readiness: Interest,
    /// The number of the system's error. Never zero, so that it costs an event no more room.
    refusal: Option<NonZeroI32>,
}

impl Event {
    pub(crate) fn new(key: Key, readiness: Interest) -> Event {
        Event {
            key,
            readiness,
            refusal: None,
        }
    }

    /// The system refuses to poll a source that is wanted for this, with an error of this number.
    pub(crate) fn refused(key: Key, wanted: Interest, os_error: i32) -> Event {
        let os_error = NonZeroI32::new(os_error);
        assert!(os_error.is_some(), "a refusal has an error's number");
        Event {
            key,
            readiness: wanted,
            refusal: os_error,
        }
    }

    #[cfg(test)]
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

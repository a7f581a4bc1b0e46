//! What is left alone for a while, because asking again at once would be in vain.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::between::key::RecordKey;

/// Why a socket is left alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Rest {
    /// An attempt to connect was reported as decided, and is not: what the system goes on to report
    /// as ready must not keep the reactor awake.
    Attempt,
    /// The system has no memory now to send what is to be sent.
    Sending,
    /// The system has no memory now to poll a connection that is established.
    Polling,
}

impl Rest {
    pub(super) fn time(self) -> Duration {
        match self {
            Rest::Attempt | Rest::Sending => Duration::from_millis(10),
            Rest::Polling => Duration::from_millis(100),
        }
    }
}

/// What is not asked of the poller meanwhile, since the system has no memory for what is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resting {
    Nothing,
    /// That it is writable.
    Sending,
    /// Anything: a handshake reads nothing before it has sent what it has to say.
    Handshake,
}

/// Who rests, by when that is over. A socket may be in it more than once.
#[derive(Default)]
pub(super) struct Rests {
    due: BTreeSet<(Instant, RecordKey, Rest)>,
}

impl Rests {
    pub(super) fn begin(&mut self, key: RecordKey, why: Rest, now: Instant) {
        self.due.insert((now + why.time(), key, why));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|&(at, ..)| at)
    }

    /// The next whose rest is over. Its socket may have been closed meanwhile.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(RecordKey, Rest)> {
        let &(at, key, why) = self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        Some((key, why))
    }
}

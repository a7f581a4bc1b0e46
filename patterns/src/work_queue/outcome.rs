//! What a queue tells: of its jobs, and of its workers.

use std::fmt;

use ampe::{Closed, Event, Hello, Message, Received};

#[cfg(doc)]
use super::{QueueOptions, WorkQueue};

/// What an event means to a [`WorkQueue`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Queued {
    /// A worker: [`accept`](WorkQueue::accept) it, or post a refusal.
    Hello(Hello),
    /// A job is done.
    Done(Done),
    /// A worker says that a job cannot be done.
    Failed(Failed),
    /// A worker has gone.
    Gone(Gone),
    /// Another event.
    Other(Event),
}

/// A job that is done.
#[derive(Debug)]
#[non_exhaustive]
pub struct Done {
    /// Its number.
    pub job: u64,
    /// What the worker says of it. Its message id is 2^63 and the job's number.
    pub answer: Received,
    /// Another worker may have done it before.
    pub is_maybe_twice: bool,
}

/// A job that a worker could not do.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failed {
    /// Its number.
    pub job: u64,
    /// Why it could not be done.
    pub why: String,
    /// The whole of what the worker says.
    pub answer: Received,
    /// Another worker may have done it before.
    pub is_maybe_twice: bool,
}

/// The end of a worker's connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct Gone {
    /// Why it ended, and the account of its messages.
    pub closed: Closed,
    /// Jobs that it may have done, and that others will do: maybe twice.
    pub again: Vec<u64>,
    /// Jobs that it may have done, and that have ended with it: see [`QueueOptions::losses`].
    pub unknown: Vec<u64>,
    /// Why the queue let it go, if it did.
    pub let_go: Option<&'static str>,
}

/// A job that has not ended when its queue does.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unended {
    /// Its number.
    pub job: u64,
    /// What it says.
    pub message: Message,
    /// Some worker may have done it, or be doing it.
    pub is_maybe_done: bool,
}

/// A job that was not added.
#[derive(Debug, thiserror::Error)]
#[error("not added: {why}")]
pub struct NotAdded {
    /// What it says, still the caller's.
    pub message: Message,
    /// Why it was not added.
    pub why: WhyNotAdded,
}

/// Why a job was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WhyNotAdded {
    /// More jobs have not ended than [`QueueOptions::bytes`] takes. Once some have, there is room.
    #[error("too many jobs have not ended: add it again when some have")]
    Full,
    /// The workers were [dismissed](WorkQueue::dismiss): nobody would do it.
    #[error("the queue is ending")]
    Ending,
    /// Its text headers leave no room for another.
    #[error("its text headers are too long: at most 65516 bytes")]
    HeadersTooLong,
}

/// What became of the jobs of a [`WorkQueue`]: `added = done + failed + unknown + open + at_hand`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueAccount {
    /// Jobs that were added.
    pub added: u64,
    /// Of these, those that are done.
    pub done: u64,
    /// Of those added, those that a worker could not do.
    pub failed: u64,
    /// Of those added, those that ended without anybody knowing whether they are done.
    pub unknown: u64,
    /// Of those added, those that wait for a worker.
    pub open: u64,
    /// Of those added, those that a worker has.
    pub at_hand: u64,
    /// How often a job came back that was not begun, and was open again.
    pub returned: u64,
    /// How often a job was open again that may have been done.
    pub again: u64,
    /// Workers that were accepted.
    pub workers: u64,
}

impl fmt::Display for QueueAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let QueueAccount {
            added,
            done,
            failed,
            unknown,
            open,
            at_hand,
            returned,
            again,
            workers,
        } = self;
        write!(
            formatter,
            "{added} jobs added, {done} done, {failed} failed, {unknown} unknown, {open} open, \
             {at_hand} at hand; {returned} came back, {again} maybe twice; {workers} workers"
        )
    }
}

//! What is to be measured, and what a process found: both travel between processes as JSON.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The name of a value as it is written on the command line.
pub fn name_of(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |it| it.get_name().to_owned())
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Messages one way, as fast as they go.
    OneWay,
    /// Round trips, one at a time.
    RoundTrip,
    /// Round trips with a pause of 1 ms before each.
    Paced,
    /// Round trips beside a stream that fills its link, from the same engine or context.
    Loaded,
    /// Messages one way from several threads, each on a connection of its own.
    Producers,
    /// Each message to many connections.
    FanOut,
    /// Calls from tasks that share a connection.
    Calls,
    /// Connections from their hello to their goodbye, 64 at once.
    Cycles,
    /// What idle connections take, and what messages cost beside them.
    Idle,
    /// The poller alone.
    Poller,
}

impl Work {
    /// Which process drives: waits for the word to go and says how long it took.
    pub fn is_driven_by_listener(self) -> bool {
        self == Work::FanOut
    }

    /// Whether both processes have to be ready, as either has connections to count first.
    pub fn awaits_both(self) -> bool {
        matches!(self, Work::FanOut | Work::Idle)
    }

    /// Whether the listener says what it found. Where connections come and go, or tasks ask, it serves until it
    /// is killed.
    pub fn has_report_of_listener(self) -> bool {
        !matches!(self, Work::Cycles | Work::Calls)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    Tcp,
    Uds,
    /// TLS 1.3 over TCP.
    Tls,
}

/// One thing to measure, of each contestant in turn.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Task {
    pub work: Work,
    pub transport: Transport,
    /// Bytes of a body.
    pub size: usize,
    /// How long messages are sent.
    pub seconds: f64,
    /// How many messages are sent instead of for how long: where they are counted, not timed.
    pub count: Option<u64>,
    /// Threads that send, each on a connection of its own.
    pub senders: usize,
    /// Connections that a message goes to, that rest beside it, or that are made at once; or tasks that ask at once.
    pub channels: usize,
    /// Channel groups or their like, among which the senders are divided.
    pub groups: usize,
    /// Which of the poller's pieces of work.
    pub piece: Option<String>,
}

impl Task {
    pub fn new(work: Work, transport: Transport, size: usize, seconds: f64) -> Task {
        Task {
            work,
            transport,
            size,
            seconds,
            count: None,
            senders: 1,
            channels: 0,
            groups: 1,
            piece: None,
        }
    }

    pub fn pause(&self) -> Option<Duration> {
        (self.work == Work::Paced).then_some(Duration::from_millis(1))
    }

    /// How many addresses the listener binds: one for trips and one for the stream beside them, one
    /// for each group, one for the stream and one for what rests.
    pub fn addresses(&self) -> usize {
        match self.work {
            Work::Loaded | Work::Idle => 2,
            _ => self.groups,
        }
    }
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

/// What one process of a run found. What it did not look at is absent or zero.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Messages received or sent, or round trips, or connections made and closed.
    pub messages: u64,
    /// From the first message to the last.
    pub seconds: f64,
    /// Processor time of the whole process in that time, in microseconds.
    pub processor: f64,
    /// How often a thread of the process gave the processor up, as it had to wait.
    pub switches: u64,
    pub trips: Option<Percentiles>,
    /// Resident bytes for each idle connection.
    pub resident: Option<f64>,
    /// How often the engine's loop went round, where the contestant says so.
    pub passes: Option<u64>,
    /// Allocations, in a program built to count them.
    pub allocations: Option<u64>,
}

impl Measured {
    /// So many messages, sent; what the process used is counted by its [`Session`](crate::session::Session).
    pub fn sent(messages: u64) -> Measured {
        Measured {
            messages,
            ..Measured::default()
        }
    }

    /// Beside idle connections of so many resident bytes each.
    pub fn beside(self, resident: Option<f64>) -> Measured {
        Measured { resident, ..self }
    }

    /// In so many seconds.
    pub fn within(self, seconds: f64) -> Measured {
        Measured { seconds, ..self }
    }
}

//! What is compared: a file for each piece of work, with what it varies and what it makes of a run.

mod calls;
mod cycles;
mod fan_out;
mod idle;
mod loaded;
mod one_way;
mod poller;
mod producers;
mod trips;

use std::time::Duration;

use crate::arguments::RunArguments;
use crate::pair::Found;
use crate::task::{Percentiles, Task, Transport, Work};

pub use self::poller::{CONTESTANTS as POLLERS, run as run_poller};

/// One of the figures that a run gives.
pub struct Figure {
    pub unit: &'static str,
    pub value: Value,
}

#[derive(Clone, Copy, Debug)]
pub enum Value {
    Number(f64),
    /// Of trips, in microseconds.
    Times(Percentiles),
}

pub const MESSAGES_A_SECOND: &str = "msg/s";
pub const CONNECTIONS_A_SECOND: &str = "connections/s";
pub const EVENTS_A_SECOND: &str = "events/s";
pub const PROCESSOR: &str = "us cpu/message";
pub const MICROSECONDS: &str = "us";
pub const BYTES_A_CHANNEL: &str = "B/channel";

/// Whether more of this is better.
pub fn is_more_better(unit: &str) -> bool {
    unit.ends_with("/s")
}

impl Figure {
    fn number(unit: &'static str, value: f64) -> Figure {
        Figure {
            unit,
            value: Value::Number(value),
        }
    }

    fn times(times: Option<Percentiles>) -> Option<Figure> {
        times.map(|times| Figure {
            unit: MICROSECONDS,
            value: Value::Times(times),
        })
    }

    /// Messages a second by the receiver's clock. The first starts it, so it is not counted.
    fn rate(messages: u64, seconds: f64) -> Figure {
        Figure::number(
            MESSAGES_A_SECOND,
            messages.saturating_sub(1) as f64 / seconds,
        )
    }
}

/// All tasks of a work, in order.
pub fn tasks(work: Work, arguments: &RunArguments) -> Vec<Task> {
    match work {
        Work::OneWay => one_way::tasks(arguments),
        Work::RoundTrip | Work::Paced => trips::tasks(work, arguments),
        Work::Loaded => loaded::tasks(arguments),
        Work::Producers => producers::tasks(arguments),
        Work::FanOut => fan_out::tasks(arguments),
        Work::Calls => calls::tasks(arguments),
        Work::Cycles => cycles::tasks(arguments),
        Work::Idle => idle::tasks(arguments),
        Work::Poller => poller::tasks(arguments),
    }
}

pub fn figures(task: &Task, found: &Found) -> Vec<Figure> {
    match task.work {
        Work::OneWay | Work::Producers => one_way::figures(found),
        Work::RoundTrip | Work::Paced => trips::figures(found),
        Work::Loaded => loaded::figures(found),
        Work::FanOut => fan_out::figures(found),
        Work::Calls => calls::figures(found),
        Work::Cycles => cycles::figures(found),
        Work::Idle => idle::figures(found),
        Work::Poller => poller::figures(found),
    }
}

/// What a work is, for readers of figures.
pub fn about(work: Work) -> &'static str {
    match work {
        Work::OneWay => one_way::ABOUT,
        Work::RoundTrip => trips::ABOUT,
        Work::Paced => trips::ABOUT_PACED,
        Work::Loaded => loaded::ABOUT,
        Work::Producers => producers::ABOUT,
        Work::FanOut => fan_out::ABOUT,
        Work::Calls => calls::ABOUT,
        Work::Cycles => cycles::ABOUT,
        Work::Idle => idle::ABOUT,
        Work::Poller => poller::ABOUT,
    }
}

/// How long one run may take. Idle connections come first, and some contestants make them slowly.
pub fn limit(task: &Task) -> Duration {
    let connections = if task.work == Work::Idle || task.work == Work::FanOut {
        30.0
    } else {
        0.0
    };
    Duration::from_secs_f64(10.0 + connections + 5.0 * task.seconds)
}

/// The sizes that are asked for, or else these.
fn sizes<'a>(arguments: &'a RunArguments, default: &'a [usize]) -> &'a [usize] {
    if arguments.size.is_empty() {
        default
    } else {
        &arguments.size
    }
}

/// A task for each transport and size.
fn each(work: Work, arguments: &RunArguments, default: &[usize], seconds: f64) -> Vec<Task> {
    let of_size = |size| {
        let task = move |transport: &Transport| {
            Task::new(work, *transport, size, seconds * arguments.scale)
        };
        arguments.transport.iter().map(task)
    };
    sizes(arguments, default)
        .iter()
        .copied()
        .flat_map(of_size)
        .collect()
}

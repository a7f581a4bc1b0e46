//! Each message to many connections.

use super::{Figure, PROCESSOR, each};
use crate::arguments::RunArguments;
use crate::pair::Found;
use crate::task::{Task, Work};

pub const ABOUT: &str = "One process sends each message to many connections, of which the other process holds the \
    far ends: what arrived at any of them counts.";

/// Messages that arrive, all together: so many that publishers who drop what is queued above a
/// limit keep below it.
const ARRIVING: f64 = 300_000.0;

/// And no more bytes than these: what a publisher queues is bounded by nothing else.
const ARRIVING_BYTES: f64 = 1e9;

pub fn tasks(arguments: &RunArguments) -> Vec<Task> {
    let mut tasks = Vec::new();
    for task in each(Work::FanOut, arguments, &[64, 16_384], 1.0) {
        for &channels in arguments.channels.iter().filter(|channels| **channels > 0) {
            let arriving = ARRIVING.min(ARRIVING_BYTES / task.size as f64);
            let count = (arriving * arguments.scale / channels as f64).clamp(20.0, 30_000.0);
            tasks.push(Task {
                channels,
                count: Some(count as u64),
                ..task.clone()
            });
        }
    }
    tasks
}

pub fn figures(found: &Found) -> Vec<Figure> {
    let arrived = found.connector.messages;
    vec![
        Figure::rate(arrived, found.connector.seconds),
        Figure::number(PROCESSOR, found.processor_per(arrived)),
    ]
}

//! Idle connections.

use super::{BYTES_A_CHANNEL, Figure, PROCESSOR, each, one_way};
use crate::arguments::RunArguments;
use crate::pair::Found;
use crate::task::{Task, Work};
use crate::usage;

pub const ABOUT: &str = "Resident bytes of an idle connection, of either process in the middle, without what the \
    kernel holds; and messages one way on one connection beside the idle ones, and beside none.";

/// Descriptors of a process that are not idle connections.
const OTHERS: usize = 100;

pub fn tasks(arguments: &RunArguments) -> Vec<Task> {
    let limit = usize::try_from(usage::raise_descriptor_limit()).unwrap_or(usize::MAX);
    let idle = arguments.idle.min(limit.saturating_sub(OTHERS));
    if idle < arguments.idle {
        eprintln!(
            "idle: {idle} channels instead of {}, as no more descriptors can be had",
            arguments.idle
        );
    }
    let mut tasks = Vec::new();
    for task in each(Work::Idle, arguments, &[64], 1.0) {
        tasks.push(task.clone());
        tasks.push(Task {
            channels: idle,
            ..task
        });
    }
    tasks
}

pub fn figures(found: &Found) -> Vec<Figure> {
    let mut figures = one_way::figures(found);
    debug_assert_eq!(figures[1].unit, PROCESSOR);
    if let Some((one, other)) = found.listener.resident.zip(found.connector.resident) {
        figures.push(Figure::number(BYTES_A_CHANNEL, (one + other) / 2.0));
    }
    figures
}

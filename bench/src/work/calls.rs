//! Calls from tasks: each asks, and awaits its own answer.

use super::{Figure, MESSAGES_A_SECOND, PROCESSOR, each};
use crate::arguments::RunArguments;
use crate::pair::Found;
use crate::task::{Task, Work};

pub const ABOUT: &str = "Tasks of one tokio thread share a connection: each asks, awaits its own answer, and asks \
    again. The other process answers with the question.";

/// How many tasks ask at the same time.
const TASKS: [usize; 3] = [1, 64, 1000];

pub fn tasks(arguments: &RunArguments) -> Vec<Task> {
    let mut tasks = Vec::new();
    for task in each(Work::Calls, arguments, &[64], 1.0) {
        tasks.extend(TASKS.map(|channels| Task {
            channels,
            ..task.clone()
        }));
    }
    tasks
}

pub fn figures(found: &Found) -> Vec<Figure> {
    let calls = found.connector.messages;
    vec![
        Figure::number(MESSAGES_A_SECOND, calls as f64 / found.connector.seconds),
        Figure::number(PROCESSOR, found.processor_per(calls)),
    ]
}

//! Messages one way from several threads.

use super::each;
use crate::arguments::RunArguments;
use crate::task::{Task, Work};

pub const ABOUT: &str = "Threads of one process, each on a connection of its own, of one engine or context, send to \
    another process as fast as they go. Where there are groups, the senders are divided among them on \
    either side, and each receives in a thread of its own.";

pub fn tasks(arguments: &RunArguments) -> Vec<Task> {
    let mut tasks = Vec::new();
    for task in each(Work::Producers, arguments, &[64], 1.0) {
        for &senders in &arguments.senders {
            for &groups in arguments.groups.iter().filter(|groups| **groups <= senders) {
                tasks.push(Task {
                    senders,
                    groups,
                    ..task.clone()
                });
            }
        }
    }
    tasks
}

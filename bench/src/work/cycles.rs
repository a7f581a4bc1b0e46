//! Connections from their beginning to their end.

use super::{CONNECTIONS_A_SECOND, Figure, each};
use crate::arguments::RunArguments;
use crate::pair::Found;
use crate::task::{Task, Work};

pub const ABOUT: &str = "64 connections at once, each of which is made, has one exchange, and is ended, and then made \
    anew. With ampe it begins with a hello and ends with a goodbye that is answered: three exchanges.";

const AT_ONCE: usize = 64;

pub fn tasks(arguments: &RunArguments) -> Vec<Task> {
    let at_once = |task| Task {
        channels: AT_ONCE,
        ..task
    };
    each(Work::Cycles, arguments, &[64], 1.0)
        .into_iter()
        .map(at_once)
        .collect()
}

pub fn figures(found: &Found) -> Vec<Figure> {
    let rate = found.connector.messages as f64 / found.connector.seconds;
    vec![Figure::number(CONNECTIONS_A_SECOND, rate)]
}

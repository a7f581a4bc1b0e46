//! Messages one way, as fast as they go.

use super::{Figure, PROCESSOR, each};
use crate::arguments::RunArguments;
use crate::pair::Found;
use crate::task::{Task, Work};

pub const ABOUT: &str = "One process sends, the other receives, as fast as it goes: messages a second by the \
    receiver's clock, and processor time of both processes for each.";

pub fn tasks(arguments: &RunArguments) -> Vec<Task> {
    each(Work::OneWay, arguments, &[64, 1024, 32_768], 1.0)
}

pub fn figures(found: &Found) -> Vec<Figure> {
    let messages = found.listener.messages;
    vec![
        Figure::rate(messages, found.listener.seconds),
        Figure::number(PROCESSOR, found.processor_per(messages)),
    ]
}

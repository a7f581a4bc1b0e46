//! Round trips, one at a time: at once one after another, or with a pause before each.

use super::{Figure, PROCESSOR, each};
use crate::arguments::RunArguments;
use crate::pair::Found;
use crate::task::{Task, Work};

pub const ABOUT: &str =
    "One process asks and waits for the answer, which is the question, and asks again.";
pub const ABOUT_PACED: &str =
    "The same with a pause of 1 ms before each question, in which both sides fall asleep.";

pub fn tasks(work: Work, arguments: &RunArguments) -> Vec<Task> {
    // What is paced makes fewer trips in the same time.
    each(
        work,
        arguments,
        &[64],
        if work == Work::Paced { 2.0 } else { 1.0 },
    )
}

pub fn figures(found: &Found) -> Vec<Figure> {
    let processor = Figure::number(PROCESSOR, found.processor_per(found.connector.messages));
    Figure::times(found.connector.trips)
        .into_iter()
        .chain([processor])
        .collect()
}

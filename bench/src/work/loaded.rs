//! Round trips beside a stream.

use super::{Figure, each};
use crate::arguments::RunArguments;
use crate::pair::Found;
use crate::task::{Task, Work};

pub const ABOUT: &str = "Round trips on one connection beside a stream, as fast as it goes, on another of the same \
    engine or context: the trips' times, and the stream's messages a second.";

pub fn tasks(arguments: &RunArguments) -> Vec<Task> {
    // The stream delays trips, of which there are fewer in the same time.
    each(Work::Loaded, arguments, &[64], 2.0)
}

pub fn figures(found: &Found) -> Vec<Figure> {
    let stream = Figure::rate(found.listener.messages, found.listener.seconds);
    Figure::times(found.connector.trips)
        .into_iter()
        .chain([stream])
        .collect()
}

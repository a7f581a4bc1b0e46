//! The poller alone, beside mio and polling: one process.

use anyhow::{Context, Result};

use super::{EVENTS_A_SECOND, Figure};
use crate::arguments::RunArguments;
use crate::pair::Found;
use crate::session::Session;
use crate::task::{Measured, Task, Transport, Work};

pub const ABOUT: &str = "ampe's poller beside mio and polling, without an engine: bench/pollers says what the pieces are.";

/// Names here, and in the program that has them.
pub const CONTESTANTS: &[(&str, &str)] = &[
    ("ampe-poller", "ampe"),
    ("mio", "mio"),
    ("polling", "polling"),
    ("polling-oneshot", "polling-oneshot"),
];

/// Pieces of work, and rounds that take about a fifth of a second.
const PIECES: &[(&str, u32)] = &[
    ("one", 40_000),
    ("many", 400),
    ("sparse", 400),
    ("late", 80),
    ("flip", 20_000),
    ("asleep", 80),
    ("awake", 30_000),
    ("register", 1_000),
];

pub fn tasks(arguments: &RunArguments) -> Vec<Task> {
    let task = |(piece, _): &(&str, u32)| Task {
        piece: Some((*piece).to_owned()),
        ..Task::new(Work::Poller, Transport::Tcp, 64, arguments.scale)
    };
    PIECES.iter().map(task).collect()
}

pub fn run(contestant: &str, session: &Session) -> Result<()> {
    let (_, name) = CONTESTANTS
        .iter()
        .find(|(ours, _)| *ours == contestant)
        .context("a poller")?;
    let piece = session.task.piece.as_deref().context("a piece of work")?;
    let (_, rounds) = PIECES
        .iter()
        .find(|(name, _)| *name == piece)
        .context("a known piece of work")?;
    // All sockets of registering are there from the beginning, so there is a limit to them.
    let rounds = match piece {
        "register" => *rounds,
        _ => (f64::from(*rounds) * session.task.seconds).max(20.0) as u32,
    };
    let outcome = pollers::run(name, piece, rounds, false)?;
    let (messages, seconds) = (outcome.events, outcome.seconds);
    session.finish(
        Measured {
            messages,
            seconds,
            ..Measured::default()
        },
        None,
    )
}

pub fn figures(found: &Found) -> Vec<Figure> {
    let rate = found.listener.messages as f64 / found.listener.seconds;
    vec![Figure::number(EVENTS_A_SECOND, rate)]
}

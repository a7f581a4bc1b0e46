//! ampe beside its peers: the same work for each, between two processes of this program.
//!
//! The process that was started measures nothing itself. For each measurement it starts two children
//! of one contestant, one that listens and one that connects, tells them when to go, and kills what is
//! left behind; so one that fails or hangs disturbs nobody else.

mod allocations;
mod arguments;
mod body;
mod contestant;
mod counts;
mod machine;
mod pair;
mod report;
mod row;
mod run;
mod session;
mod task;
mod trips;
mod usage;
mod work;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use crate::arguments::{Arguments, ChildArguments, Command, Side};
use crate::session::Session;
use crate::task::{Task, Work};

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Counts(arguments) => counts::run(&arguments),
        Command::Report { json, html } => report::rewrite(&json, &html),
        Command::Child(arguments) => be_child(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why:#}");
            ExitCode::FAILURE
        }
    }
}

fn be_child(arguments: ChildArguments) -> Result<()> {
    let task: Task = serde_json::from_str(&arguments.task)?;
    let work = task.work;
    let limit = Duration::from_secs_f64(arguments.limit);
    let session = Session::start(task, arguments.addresses, limit);
    if work == Work::Poller {
        return work::run_poller(&arguments.contestant, &session);
    }
    let contestants = contestant::all();
    let named = contestants
        .into_iter()
        .find(|it| it.name() == arguments.contestant);
    let contestant = named.context("a contestant of this name is not built in")?;
    match arguments.side {
        Side::Listen => contestant.listen(session),
        Side::Connect => contestant.connect(session),
    }
}

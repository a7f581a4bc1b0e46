//! The `ampe` command: send files, echo, and measure.
#![forbid(unsafe_code)]

mod advice;
mod args;
mod aside;
mod bench;
mod call;
mod cheat;
mod checksum;
mod config;
mod content;
mod demo;
mod doctor;
mod echo;
mod error;
mod feeder;
mod interrupt;
#[cfg(feature = "tls")]
mod key;
mod link;
mod listen;
mod listeners;
mod manual;
mod output;
mod patience;
mod ping;
mod progress;
mod proxy;
mod ready;
mod recv;
mod reply;
mod roundtrip;
mod send;
mod session;
mod summary;
mod tail;
mod tell;
mod transfer;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};
use error::Failure;

fn main() -> ExitCode {
    let done =
        config::arguments().and_then(|arguments| match Arguments::try_parse_from(arguments) {
            Ok(arguments) => run(arguments.command).map(|()| ExitCode::SUCCESS),
            Err(said) => output::clap(&said).map(ExitCode::from),
        });
    match done {
        Ok(code) => code,
        Err(failure) => {
            if !matches!(failure, Failure::Told | Failure::ToldLate) {
                output::note(&failure.to_string());
            }
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    listen::inherit();
    interrupt::install()?;
    match command {
        Command::Demo(arguments) => output::failure(arguments.json, demo::run(&arguments)),
        Command::Recv(arguments) => recv::run(&arguments),
        Command::Send(arguments) => send::run(&arguments),
        Command::Echo(arguments) => echo::run(&arguments),
        Command::Ping(arguments) => output::failure(arguments.json, ping::run(&arguments)),
        Command::Bench(arguments) => output::failure(arguments.json, bench::run(&arguments)),
        Command::Call(arguments) => call::run(&arguments),
        Command::Reply(arguments) => reply::run(&arguments),
        Command::Tail(arguments) => tail::run(&arguments),
        Command::Proxy(arguments) => proxy::run(&arguments),
        Command::Tell(arguments) => tell::run(&arguments),
        Command::Doctor(arguments) => output::failure(arguments.json, doctor::run(&arguments)),
        #[cfg(feature = "tls")]
        Command::Key(arguments) => key::run(&arguments),
        Command::Cheat(arguments) => cheat::run(&arguments),
        Command::Completions(arguments) => manual::completions(&arguments),
        Command::Manual(arguments) => manual::manual(&arguments),
        Command::DemoReceiver(arguments) => demo::receiver::run(&arguments),
    }
}

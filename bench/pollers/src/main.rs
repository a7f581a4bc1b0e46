//! One poller does one piece of work, and says how long that took.
//!
//! The system calls that it made are counted from outside: see `run.sh`.

mod contestant;
mod workload;

use std::io;
use std::process::ExitCode;

use self::contestant::{Ampe, Contestant, Level, Mio, Oneshot, Polling};
use self::workload::Outcome;

const USAGE: &str = "usage: pollers ampe|ampe-direct|mio|polling|polling-oneshot WORKLOAD ROUNDS [--marks]

WORKLOAD is one of
  one        a busy socket
  many       100 busy sockets
  sparse     100 of 1,000 sockets are busy
  late       the message comes when the poller sleeps
  flip       interest goes from reading to writing and back
  asleep     a wake from another thread, while the poller sleeps
  awake      a wake from another thread, while the poller is awake
  register   a source is taken in, polled once beside 100 idle ones, and closed

--marks writes a line to standard error where the measured part begins and ends.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (name, work, rounds, has_marks) = match arguments[..] {
        [name, work, rounds] => (name, work, rounds, false),
        [name, work, rounds, "--marks"] => (name, work, rounds, true),
        _ => return complain(USAGE),
    };
    let Ok(rounds) = rounds.parse() else {
        return complain(USAGE);
    };
    let outcome = match name {
        "ampe" => run::<Ampe<false>>(work, rounds, has_marks),
        "ampe-direct" => run::<Ampe<true>>(work, rounds, has_marks),
        "mio" => run::<Mio>(work, rounds, has_marks),
        "polling" => run::<Polling<Level>>(work, rounds, has_marks),
        "polling-oneshot" => run::<Polling<Oneshot>>(work, rounds, has_marks),
        _ => return complain(USAGE),
    };
    match outcome {
        Ok(Outcome { events, seconds }) => {
            println!("{name} {work} {rounds} {events} {seconds:.9}");
            ExitCode::SUCCESS
        }
        Err(error) => complain(&format!("pollers: {error}")),
    }
}

fn complain(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}

fn run<C: Contestant>(work: &str, rounds: u32, has_marks: bool) -> io::Result<Outcome> {
    match work {
        "one" => workload::busy::<C>(1, 1, rounds, has_marks),
        "many" => workload::busy::<C>(100, 100, rounds, has_marks),
        "sparse" => workload::busy::<C>(1_000, 100, rounds, has_marks),
        "late" => workload::late::<C>(rounds, has_marks),
        "flip" => workload::flip::<C>(rounds, has_marks),
        "asleep" => workload::wake::<C>(true, rounds, has_marks),
        "awake" => workload::wake::<C>(false, rounds, has_marks),
        "register" => workload::register::<C>(rounds, has_marks),
        _ => Err(io::Error::other(USAGE)),
    }
}

//! The command: see the library's documentation.

use std::io;
use std::process::ExitCode;

use pollers::Outcome;

const USAGE: &str =
    "usage: pollers ampe|ampe-direct|mio|polling|polling-oneshot WORKLOAD ROUNDS [--marks]

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
    match pollers::run(name, work, rounds, has_marks) {
        Ok(Outcome { events, seconds }) => {
            println!("{name} {work} {rounds} {events} {seconds:.9}");
            ExitCode::SUCCESS
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => complain(USAGE),
        Err(error) => complain(&format!("pollers: {error}")),
    }
}

fn complain(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}

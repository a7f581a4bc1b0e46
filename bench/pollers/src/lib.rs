//! One poller does one piece of work, and says how long that took.
//!
//! The system calls that it made are counted from outside: see `run.sh`.

mod contestant;
mod workload;

use std::io;

use self::contestant::{Ampe, Contestant, Level, Mio, Oneshot, Polling};
pub use self::workload::Outcome;

/// Has the poller of this name do this piece of work, so many times; with marks on standard error
/// where the measured part begins and ends, if these are wanted.
///
/// # Errors
///
/// Those of the system, and one for names that are unknown.
pub fn run(name: &str, work: &str, rounds: u32, has_marks: bool) -> io::Result<Outcome> {
    match name {
        "ampe" => run_by::<Ampe<false>>(work, rounds, has_marks),
        "ampe-direct" => run_by::<Ampe<true>>(work, rounds, has_marks),
        "mio" => run_by::<Mio>(work, rounds, has_marks),
        "polling" => run_by::<Polling<Level>>(work, rounds, has_marks),
        "polling-oneshot" => run_by::<Polling<Oneshot>>(work, rounds, has_marks),
        _ => Err(unknown(name)),
    }
}

fn run_by<C: Contestant>(work: &str, rounds: u32, has_marks: bool) -> io::Result<Outcome> {
    match work {
        "one" => workload::busy::<C>(1, 1, rounds, has_marks),
        "many" => workload::busy::<C>(100, 100, rounds, has_marks),
        "sparse" => workload::busy::<C>(1_000, 100, rounds, has_marks),
        "late" => workload::late::<C>(rounds, has_marks),
        "flip" => workload::flip::<C>(rounds, has_marks),
        "asleep" => workload::wake::<C>(true, rounds, has_marks),
        "awake" => workload::wake::<C>(false, rounds, has_marks),
        "register" => workload::register::<C>(rounds, has_marks),
        _ => Err(unknown(work)),
    }
}

fn unknown(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is not known"))
}

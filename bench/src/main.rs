//! Throughput and latency of ampe beside its peers, in two processes.
//!
//! The parent receives (or asks), the child, this program again, sends (or answers). Every
//! contestant gets the same message sizes, counts and transport; nothing is tuned for one of them
//! alone. One run measures them in turn, so that what disturbs the machine disturbs all of them.

mod ampe_peer;
#[cfg(feature = "zmq")]
mod zmq_peer;

use std::io::BufRead;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measures one-way throughput and round trips between two processes.
#[derive(Parser, Clone)]
struct Arguments {
    /// Message sizes in bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 1024, 32768])]
    sizes: Vec<usize>,
    /// Messages of each one-way run; large sizes send fewer, at most 4 GiB.
    #[arg(long, default_value_t = 5_000_000)]
    count: u64,
    /// Round trips of each run.
    #[arg(long, default_value_t = 50_000)]
    round_trips: u64,
    /// Alternating runs, of which the median is printed.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// What the child does; internal.
    #[arg(long, hide = true)]
    child: Option<Contestant>,
    /// Where the child connects to; internal.
    #[arg(long, hide = true)]
    address: Option<String>,
    /// Internal.
    #[arg(long, hide = true)]
    round_trip: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Contestant {
    Ampe,
    #[cfg(feature = "zmq")]
    Zmq,
}

const CONTESTANTS: &[Contestant] = &[
    Contestant::Ampe,
    #[cfg(feature = "zmq")]
    Contestant::Zmq,
];

/// What one run found.
#[derive(Clone, Copy)]
struct Outcome {
    messages: u64,
    elapsed: Duration,
    /// Median and 99th percentile of a round trip in nanoseconds; zero for one-way runs.
    p50: u64,
    p99: u64,
}

/// A child of this program, killed if it is left behind.
pub(crate) struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the other side of a run.
pub(crate) fn start_child(
    contestant: &str,
    address: &str,
    size: usize,
    count: u64,
    round_trip: bool,
) -> Peer {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(["--child", contestant, "--address", address]);
    command.args(["--sizes", &size.to_string(), "--count", &count.to_string()]);
    if round_trip {
        command.arg("--round-trip");
    }
    Peer(command.stdin(Stdio::piped()).spawn().expect("the child starts"))
}

/// Ends a child once its parent is gone or has closed its input.
pub(crate) fn wait_for_parent() {
    let mut line = String::new();
    let _ = std::io::stdin().lock().read_line(&mut line);
}

fn main() {
    let arguments = Arguments::parse();
    if let (Some(contestant), Some(address)) = (arguments.child, &arguments.address) {
        let (size, count) = (arguments.sizes[0], arguments.count);
        return match (contestant, arguments.round_trip) {
            (Contestant::Ampe, false) => ampe_peer::send(address, size, count),
            (Contestant::Ampe, true) => ampe_peer::answer(address),
            #[cfg(feature = "zmq")]
            (Contestant::Zmq, false) => zmq_peer::send(address, size, count),
            #[cfg(feature = "zmq")]
            (Contestant::Zmq, true) => zmq_peer::answer(address, count),
        };
    }
    println!("one way, two processes, TCP over loopback, median of {} runs", arguments.runs);
    for &size in &arguments.sizes {
        let count = arguments.count.min((4u64 << 30) / size as u64);
        report(size, arguments.runs, |contestant| match contestant {
            Contestant::Ampe => ampe_peer::receive(size, count),
            #[cfg(feature = "zmq")]
            Contestant::Zmq => zmq_peer::receive(size, count),
        });
    }
    println!("round trip of 64 bytes, {} times", arguments.round_trips);
    report(64, arguments.runs, |contestant| match contestant {
        Contestant::Ampe => ampe_peer::ask(64, arguments.round_trips),
        #[cfg(feature = "zmq")]
        Contestant::Zmq => zmq_peer::ask(64, arguments.round_trips),
    });
}

fn report(size: usize, runs: usize, mut run: impl FnMut(Contestant) -> Outcome) {
    let mut outcomes = vec![Vec::new(); CONTESTANTS.len()];
    for _ in 0..runs {
        for (contestant, outcomes) in CONTESTANTS.iter().zip(&mut outcomes) {
            outcomes.push(run(*contestant));
        }
    }
    for (contestant, outcomes) in CONTESTANTS.iter().zip(&mut outcomes) {
        outcomes.sort_by_key(|outcome| outcome.elapsed);
        let median = outcomes[outcomes.len() / 2];
        let seconds = median.elapsed.as_secs_f64();
        let rate = median.messages as f64 / seconds;
        let megabytes = rate * size as f64 / 1e6;
        print!("{contestant:>6?} {size:>6} B  {rate:>12.0} msg/s  {megabytes:>8.1} MB/s");
        match median.p50 {
            0 => println!(),
            p50 => println!("  p50 {:.1} us  p99 {:.1} us", p50 as f64 / 1e3, median.p99 as f64 / 1e3),
        }
    }
}

//! The command line.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::task::{Transport, Work};

/// Measures ampe beside its peers, each between two processes of this program.
#[derive(Parser)]
#[command(version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Measures times: contestants in turn, several times, and prints medians.
    Run(RunArguments),
    /// Counts what ampe's messages cost: system calls, thread switches, allocations, passes.
    Counts(CountsArguments),
    /// Makes the report of a run from the file that it wrote with --json.
    Report {
        /// What a run wrote.
        json: PathBuf,
        /// The page to write.
        html: PathBuf,
    },
    /// One of the two processes of a measurement.
    #[command(hide = true)]
    Child(ChildArguments),
}

#[derive(Args, Clone)]
pub struct RunArguments {
    /// What is measured; all of it if nothing is named.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub work: Vec<Work>,
    /// Who takes part; all that are built in if nobody is named.
    #[arg(long, value_delimiter = ',', value_name = "CONTESTANT")]
    pub contestants: Vec<String>,
    #[arg(long, value_delimiter = ',', value_enum, default_value = "tcp,uds")]
    pub transport: Vec<Transport>,
    /// Sizes of bodies in bytes: of one-way 64, 1024 and 32768 if none is named, of fan-out 64 and 16384, of all else 64.
    #[arg(long, value_delimiter = ',', value_parser = parse_size)]
    pub size: Vec<usize>,
    /// How often each contestant is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub runs: u16,
    /// Multiplies the time that each measurement takes, which is a second.
    #[arg(long, default_value_t = 1.0, value_parser = parse_scale)]
    pub scale: f64,
    /// Threads that send, for producers.
    #[arg(long, value_delimiter = ',', default_value = "1,4", value_parser = parse_senders)]
    pub senders: Vec<usize>,
    /// Channel groups that the senders of producers are divided among, where there are such.
    #[arg(long, value_delimiter = ',', default_value = "1,4", value_parser = parse_senders)]
    pub groups: Vec<usize>,
    /// Channels of fan-out.
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000")]
    pub channels: Vec<usize>,
    /// Idle channels beside which messages are measured.
    #[arg(long, default_value_t = 9_000)]
    pub idle: usize,
    /// Writes the figures as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes a page with plots.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Writes the tables in Markdown, as they are printed at the end.
    #[arg(long, value_name = "FILE.md")]
    pub markdown: Option<PathBuf>,
}

#[derive(Args)]
pub struct CountsArguments {
    /// Messages, or round trips, that are counted.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub messages: u64,
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "CONTESTANT",
        default_value = "ampe"
    )]
    pub contestants: Vec<String>,
    #[arg(long, value_enum, default_value = "tcp")]
    pub transport: Transport,
    #[arg(long, default_value_t = 64, value_parser = parse_size)]
    pub size: usize,
}

fn parse_size(text: &str) -> Result<usize, String> {
    let size: usize = text.parse().map_err(|why| format!("{why}"))?;
    match size {
        ..crate::body::SIZE_MIN => Err("a body has its number in it, of 8 bytes".to_owned()),
        65_536.. => Err("ampe's bodies have 65535 bytes at most".to_owned()),
        _ => Ok(size),
    }
}

fn parse_scale(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(scale) if (0.01..=100.0).contains(&scale) => Ok(scale),
        _ => Err("a number from 0.01 to 100".to_owned()),
    }
}

fn parse_senders(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=crate::body::LANES_MAX).contains(&count) => Ok(count),
        _ => Err(format!("from 1 to {}", crate::body::LANES_MAX)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Side {
    Listen,
    Connect,
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Side::Listen => "listen",
            Side::Connect => "connect",
        })
    }
}

#[derive(Args)]
pub struct ChildArguments {
    #[arg(long, value_enum)]
    pub side: Side,
    #[arg(long)]
    pub contestant: String,
    #[arg(long)]
    pub task: String,
    #[arg(long = "address")]
    pub addresses: Vec<String>,
    #[arg(long)]
    pub limit: f64,
}

impl ChildArguments {
    pub fn to_arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--side={}", self.side),
            format!("--contestant={}", self.contestant),
            format!("--task={}", self.task),
            format!("--limit={}", self.limit),
        ];
        arguments.extend(
            self.addresses
                .iter()
                .map(|address| format!("--address={address}")),
        );
        arguments
    }
}

//! The arguments of `ampe bench`.

use std::time::Duration;

use ampe::Address;
use clap::Args;

use super::secure::Secure;
use super::values::{peer, seconds};

/// Measure many Requests at the same time, answered by `ampe echo` or any program that answers each.
///
/// With --rate a Request is due every so often, whatever became of those before; the time until its
/// answer counts from when it was due, also if it had to wait for room. Without it a number of
/// Requests is under way on each connection, and each answer brings the next.
///
/// It says what time the answers took, and what both sides sent and received.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe bench --to 127.0.0.1:7099 --rate 50000 --for 10
  ampe bench --to uds:///tmp/echo.sock --connections 8 --size 1024 --json")]
pub(crate) struct Bench {
    /// Whom to ask
    #[arg(long, value_name = "ADDR", env = "AMPE_TO", value_parser = peer)]
    pub(crate) to: Address,
    /// Requests a second, on all connections together [default: as many as are answered]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) rate: Option<u64>,
    /// For how long Requests are made
    #[arg(long = "for", value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) duration: Duration,
    /// Bytes in each message, at most 65535
    #[arg(long, value_name = "BYTES", default_value = "64")]
    pub(crate) size: u16,
    /// How many connections
    #[arg(long, value_name = "C", default_value = "1",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) connections: u16,
    /// Without --rate: how many Requests are under way on each connection
    #[arg(long, value_name = "N", default_value = "64",
          value_parser = clap::value_parser!(u64).range(1..=100_000), conflicts_with = "rate")]
    pub(crate) window: u64,
    /// Show no progress
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// Give up when connecting, or an answer at the end, takes this long
    #[arg(long, value_name = "SECONDS", default_value = "10", env = "AMPE_TIMEOUT", value_parser = seconds)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) secure: Secure,
}

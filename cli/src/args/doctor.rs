//! The arguments of `ampe doctor`.

use std::path::PathBuf;
use std::time::Duration;

use ampe::Address;
use clap::Args;

use super::secure::Secure;
use super::values::{peer, seconds};

/// Tell what this system is and offers, to be pasted into a report of a defect, or what answers at an address.
///
/// How sockets are polled, whether there are Unix sockets, how many descriptors there may be.
///
/// With --verify it asks the system whether its kernel does what the poller for Windows takes for granted,
/// which takes up to half a minute. Nothing depends on the answers, so they do not change the exit code.
/// Elsewhere than on Windows it asks the simulated kernel by which the poller is tested.
///
/// With --to it looks at what answers there: whether the port is open, whether TLS is spoken, which certificate is
/// shown and whether --key, --pin or --ca would accept it, and whether ampe answers a hello behind it. What is
/// wrong has a line that says what to do. It shows nobody a certificate or a key of yours who is not trusted, and
/// sends no more than a hello. Exit code 0 says that ampe answers, and is trusted where you said whom you trust.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe doctor
  ampe doctor --json
  ampe doctor --verify
  ampe doctor --to 127.0.0.1:7099
  ampe doctor --to tls://example.org:7099 --ca ca.pem --json
  ampe doctor --verify --json --trace trace.txt > report.json")]
pub(crate) struct Doctor {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// Look at what answers at this address instead of at this system
    #[arg(long, value_name = "ADDR", value_parser = peer, conflicts_with = "verify")]
    pub(crate) to: Option<Address>,
    /// Ask the system's kernel what polling takes for granted of it
    #[arg(long)]
    pub(crate) verify: bool,
    /// Write all calls and answers to FILE, and check them against the simulated kernel
    #[arg(long, value_name = "FILE", requires = "verify")]
    pub(crate) trace: Option<PathBuf>,
    /// With --to: give up when an answer takes this long, each time something is asked
    #[arg(long, value_name = "SECONDS", default_value = "10", env = "AMPE_TIMEOUT", value_parser = seconds)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) secure: Secure,
}

//! Data to stdout, talk to stderr; neither panics when nobody reads it.

use std::io::{self, Write};

use ampe::Account;
use serde_json::{Value, json};

use crate::error::Failure;

/// Writes a line of data, at once.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        // The reader has seen enough; the work goes on without it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| {
            Failure::new(format!(
                "cannot write to stdout: {error}: send it somewhere else"
            ))
        }),
    }
}

/// Writes a JSON document on one line, at once.
pub(crate) fn json(document: &Value) -> Result<(), Failure> {
    line(&document.to_string())
}

/// Says in JSON too that a command failed, where it said nothing in JSON before.
pub(crate) fn failure(json: bool, result: Result<(), Failure>) -> Result<(), Failure> {
    if let (true, Err(failure @ (Failure::Failed(_) | Failure::Interrupted))) = (json, &result) {
        self::json(&json!({ "error": failure.to_string() }))?;
    }
    result
}

/// Writes a line of talk.
pub(crate) fn note(text: &str) {
    // There is nowhere left to complain to.
    let _ = writeln!(io::stderr().lock(), "ampe: {text}");
}

/// A byte count as people read it.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// Megabytes (10^6) a second.
#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is shown with a few digits"
)]
pub(crate) fn megabytes_per_second(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / 1e6 / seconds.max(1e-9)
}

/// The accounts of a channel, in JSON.
pub(crate) fn account(account: Account) -> Value {
    json!({
        "posted": account.posted,
        "sent": account.sent,
        "returned": account.returned,
        "confirmed": account.confirmed,
        "received": account.received,
    })
}

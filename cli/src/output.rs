//! Data to stdout, talk to stderr; neither panics when nobody reads it.

use std::fmt::Display;
use std::io::{self, Write};

use ampe::Account;
use serde_json::{Value, json};

use crate::error::Failure;

/// Writes a line of data, at once.
pub(crate) fn line(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    write(&[text.as_ref(), b"\n"].concat())
}

fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        // The reader has seen enough; the work goes on without it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| unwritable(&error)),
    }
}

/// Writes bytes as they are, at once.
pub(crate) fn bytes_exactly(bytes: &[u8]) -> Result<(), Failure> {
    write(bytes)
}

/// Writes what clap has to say: help to stdout, what is wrong to stderr; with its exit code.
pub(crate) fn clap(said: &clap::Error) -> Result<u8, Failure> {
    let code = u8::try_from(said.exit_code()).unwrap_or(1);
    match said.print().and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(code),
        Ok(()) => Ok(code),
        Err(_) if said.use_stderr() => Ok(code), // there is nowhere left to complain to
        Err(error) => Err(unwritable(&error)),
    }
}

fn unwritable(error: &io::Error) -> Failure {
    Failure::new(format!(
        "cannot write to stdout: {error}: send it somewhere else"
    ))
}

/// Writes a JSON document on one line, at once.
pub(crate) fn json(document: &Value) -> Result<(), Failure> {
    line(document.to_string())
}

/// Puts a name or path into a document: as text and, where that cannot hold it since it is no UTF-8,
/// its bytes beside it, in hexadecimal as `NAME_hex`.
pub(crate) fn put(document: &mut Value, key: &str, name: &[u8]) {
    document[key] = String::from_utf8_lossy(name).into();
    if str::from_utf8(name).is_err() {
        let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        document[format!("{key}_hex")] = hex.into();
    }
}

/// Says in JSON too that a command failed, where it said nothing in JSON before.
pub(crate) fn failure(json: bool, result: Result<(), Failure>) -> Result<(), Failure> {
    if let (true, Err(failure @ (Failure::Failed(_) | Failure::Late(_) | Failure::Interrupted))) =
        (json, &result)
    {
        self::json(&json!({ "error": failure.to_string() }))?;
    }
    result
}

/// Writes a line of talk.
pub(crate) fn note(text: &str) {
    // There is nowhere left to complain to.
    let _ = writeln!(io::stderr().lock(), "ampe: {text}");
}

/// A name or address of this machine in a line of talk: as it is, or quoted where it would break the
/// line, act on a terminal or read otherwise than it is written.
pub(crate) fn shown(text: impl Display) -> String {
    let text = text.to_string();
    let is_plain = |char: char| matches!(char, '\'' | '"' | '\\') || char.escape_debug().len() == 1;
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        quoted(&text)
    }
}

/// As in source code: one line that does nothing to a terminal, and that nobody takes for words of
/// ours.
pub(crate) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// A byte count as people read it, in units of 1,000.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::DecimalBytes(count).to_string()
}

/// Bytes and the time that they took, as people read it: how many, how long, and how many a second.
pub(crate) fn bytes_in(count: u64, seconds: f64) -> String {
    let rate = megabytes_per_second(count, seconds) * 1e6;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is not negative, and shown with a few digits"
    )]
    let rate = bytes(rate as u64);
    format!("{} in {seconds:.3} s, {rate}/s", bytes(count))
}

/// Megabytes (10^6) a second.
#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is shown with a few digits"
)]
pub(crate) fn megabytes_per_second(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / 1e6 / seconds.max(1e-9)
}

/// The accounts of a channel, for people.
pub(crate) fn balance(account: &Account) -> String {
    let Account {
        posted,
        sent,
        returned,
        confirmed,
        received,
        ..
    } = account;
    format!(
        "posted {posted} = sent {sent} + returned {returned}; confirmed {confirmed}, received {received}"
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_rates_have_one_unit() {
        assert_eq!(bytes_in(0, 0.0), "0 B in 0.000 s, 0 B/s");
        assert_eq!(bytes_in(12_400, 2.0), "12.40 kB in 2.000 s, 6.20 kB/s");
        assert_eq!(bytes_in(3 << 30, 1.0), "3.22 GB in 1.000 s, 3.22 GB/s");
    }

    #[test]
    fn json_holds_names_exactly() {
        let mut document = json!({});
        put(&mut document, "name", b"a \"b\"\n");
        put(&mut document, "path", b"out/\xff");
        let expected = json!({
            "name": "a \"b\"\n",
            "path": "out/\u{fffd}",
            "path_hex": "6f75742fff",
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn what_is_plain_is_shown_as_it_is_and_all_else_on_one_harmless_line() {
        for plain in [
            "a b",
            "it's",
            r"C:\a",
            "na\u{ef}ve",
            "tcp://[::1]:80",
            "\u{65e5}",
        ] {
            assert_eq!(shown(plain), plain);
        }
        assert_eq!(shown("a\r\nb\u{1b}[2J"), r#""a\r\nb\u{1b}[2J""#);
        assert_eq!(shown("gpj.\u{202e}exe"), r#""gpj.\u{202e}exe""#);
        assert_eq!(shown("\u{85}\u{9b}"), r#""\u{85}\u{9b}""#);
        assert_eq!(shown(""), r#""""#);
    }
}

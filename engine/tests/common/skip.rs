//! Saying what cannot run here.

use std::io::Write;

/// Says it past the capture of the test runner.
pub(crate) fn skip(reason: &str) {
    // In one piece: other tests write at the same time.
    let line = format!("skipped: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

//! What holds of the files themselves: of the code, and of the documents.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

// They are the same on every system, so one is enough to look at them.
#[cfg(unix)]
mod documents;
mod purity;

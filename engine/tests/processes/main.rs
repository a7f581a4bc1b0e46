//! The engine and other processes: examples, peers of another make, and processes that are killed or lack something.
//!
//! A process that is being started has for a moment all descriptors of the one that starts it, and keeps what that
//! closes open meanwhile. So these tests do not share a process with those that close a socket and go on at once.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

#[macro_use]
#[path = "../common/mod.rs"]
mod common;

#[path = "../behaviour/accounts/book.rs"]
mod book;
#[cfg(feature = "tls")]
#[path = "../behaviour/tls/certificates.rs"]
#[allow(dead_code, reason = "another test program uses the rest")]
mod certificates;
#[cfg(unix)]
mod descriptors;
mod examples;
mod killed;
#[cfg(feature = "tls")]
#[path = "../behaviour/tls/sides.rs"]
mod sides;
#[cfg(feature = "tls")]
mod tls;

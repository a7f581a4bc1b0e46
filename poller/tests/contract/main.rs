//! The poller's public contract, and that of its sockets, on the system at hand.

#![cfg(any(unix, windows))]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

mod common;

mod examples;
mod parity;
mod sockets;
mod users;

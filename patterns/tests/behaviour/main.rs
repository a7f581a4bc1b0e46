//! What programs see that use the patterns, on real sockets; a module for each pattern.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

mod common;

#[cfg(all(feature = "json", feature = "postcard"))]
mod body;
mod dialer;
mod publish;
mod service;
#[cfg(feature = "testing")]
mod simulated;
mod work_queue;

//! The wire format: what is written down of it, what another implementation sent, and what holds for any input.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

#[macro_use]
#[path = "../common/mod.rs"]
mod common;

mod engine;
mod interop;
mod properties;
mod vectors;

//! What an application sees of the engine, on real sockets; a module for each topic.
//!
//! All modules share one process. What counts something of its whole process, its allocations or its subscriber of
//! `tracing`, is a program of its own beside this one; and so is what starts processes, see there.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

// First, as its macro is known to what follows it.
#[macro_use]
#[path = "../common/mod.rs"]
mod common;

mod accounts;
mod admission;
mod allowed;
mod backpressure;
mod calls;
mod conversation;
mod ends;
mod failures;
mod flush;
mod handed_in;
mod hostile;
mod limits;
mod messages;
mod outbox;
mod parts;
mod peers;
#[cfg(unix)]
mod readiness;
mod readme;
mod room;
mod seat;
mod sharing;
mod statistics;
mod tasks;
#[cfg(feature = "tls")]
mod tls;
mod wakers;

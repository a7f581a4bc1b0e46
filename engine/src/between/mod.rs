//! What the reactor and the application's threads share, and nothing else.
//!
//! Each file keeps one thing: [`queue`] carries submissions to the reactor, with [`registry`] behind
//! the same lock, which admits them; [`waiting`] holds the tasks that the registry has no room for,
//! and [`flushing`] those that wait until something was sent; [`mailbox`] carries events to a group;
//! [`seat`] is where the reactor waits for a thread that makes its passes. [`wake`] is how the reactor is
//! woken, [`key`] is how it calls a connection. [`decision`] names what the proofs rest on. Nothing here
//! knows what a post or an event is: `handles` does.
//!
//! `tests/loom.rs` includes this folder and `storage` as they are. So they name their primitives
//! through `crate::sync` alone (`between/sync.rs`, for which loom's stand in there), and their unit
//! tests, which do not work on loom's, are mounted by the library's root and not here.

pub(crate) mod decision;
pub(crate) mod expected;
pub(crate) mod flushing;
pub(crate) mod key;
pub(crate) mod lines;
pub(crate) mod mailbox;
pub(crate) mod queue;
pub(crate) mod registry;
pub(crate) mod seat;
pub(crate) mod waiting;
pub(crate) mod wake;

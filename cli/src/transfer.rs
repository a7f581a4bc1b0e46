//! File transfer on top of messages. The conversation is specified in `docs/file-transfer.md`.

pub(crate) mod connection;
pub(crate) mod digest;
pub(crate) mod directory;
pub(crate) mod names;
pub(crate) mod protocol;
pub(crate) mod receiver;
pub(crate) mod sender;
pub(crate) mod source;

use std::time::Duration;

use ampe::Options;

/// The content of a file travels in bodies of this length: close to the largest that a message can
/// carry, and whole pages, so that reads and writes of files stay aligned.
pub(crate) const BODY_LEN: usize = 15 * 4096;

/// The limits of an engine that transfers files. All budgets together stay far below 64 MiB however
/// large the files are; 8 MiB under way is more than loopback or a fast network needs.
pub(crate) fn options(timeout: Duration) -> Options {
    let mut options = Options::default();
    options.inbound_bytes = 8 << 20;
    options.inbound_bytes_per_channel = 4 << 20;
    options.outbound_bytes = 8 << 20;
    options.outbound_bytes_per_channel = 4 << 20;
    options.pool_bytes = 8 << 20;
    // Each connection of a receiver has a thread.
    options.connections_per_listener = 64;
    options.connect_timeout = timeout;
    options.hello_timeout = timeout;
    options
}

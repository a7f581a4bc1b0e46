//! How much memory the engine holds, counted by the allocator of this process.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

#[macro_use]
#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "tls")]
#[path = "../behaviour/tls/certificates.rs"]
#[allow(dead_code, reason = "another test program uses the rest")]
mod certificates;
mod charged;
#[cfg(target_os = "linux")]
mod idle;
#[cfg(feature = "tls")]
#[path = "../behaviour/tls/raw.rs"]
#[allow(dead_code, reason = "another test program uses the rest")]
mod raw;
mod shared_bodies;
#[cfg(feature = "tls")]
mod tls;

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Held by each test from its first line on, so that it outlives the test's engine: what another allocates or frees
/// meanwhile would count as well.
fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on, what is held is counted.
fn region() -> Region<'static, System> {
    Region::new(ALLOCATOR)
}

/// What was allocated since then and not freed.
fn held(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change
        .bytes_allocated
        .saturating_sub(change.bytes_deallocated)
}

/// Makes a connection, past its hello.
#[cfg(any(target_os = "linux", feature = "tls"))]
fn connect(server: &mut common::Side, client: &mut common::Side, address: &ampe::Address) {
    client.0.connect(address).unwrap();
    let hello = expect!(server.1, Hello);
    server.0.post(hello.echo()).unwrap();
    drop(expect!(client.1, Accepted));
}

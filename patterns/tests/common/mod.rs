//! What the tests of several patterns begin with.
#![allow(dead_code, reason = "each test program uses its part")]

use std::time::{Duration, Instant};

use ampe::{Address, ChannelGroup, Engine, GroupOptions, Inbox, Options};

/// No test needs nearly as long; one that hangs fails by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn engine() -> Engine {
    Engine::start(Options::default()).unwrap()
}

/// An engine that queues little for a channel, and reads little ahead: peers that do not receive are soon full.
pub(crate) fn tight() -> Engine {
    let mut options = Options::default();
    options.outbound_bytes_per_channel = 300_000;
    options.inbound_bytes_per_channel = 300_000;
    options.send_buffer = Some(30_000);
    options.receive_buffer = Some(30_000);
    // So often one that does not receive sees whether its peer has gone.
    options.frame_timeout = Duration::from_millis(500);
    Engine::start(options).unwrap()
}

pub(crate) fn group(engine: &Engine) -> (ChannelGroup, Inbox) {
    engine.group(GroupOptions::default()).unwrap()
}

pub(crate) fn local() -> Address {
    "tcp://127.0.0.1:0".parse().unwrap()
}

pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Dice whose seed is printed, and read from `AMPE_SEED`.
pub(crate) fn dice() -> fastrand::Rng {
    let seed = std::env::var("AMPE_SEED").ok();
    let seed = seed.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("AMPE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

pub(crate) fn number(body: &[u8]) -> u64 {
    u64::from_le_bytes(body.try_into().unwrap())
}

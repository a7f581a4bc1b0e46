//! How fast and how unkind the network of a simulation is.

use std::time::Duration;

use super::super::rng::Rng;
use super::super::temper::{CALM, Temper};

/// How fast and how unkind a simulated network is. What is not set is as in [`default`](Conditions::default): quick,
/// and kind.
///
/// ```
/// use std::time::Duration;
/// use ampe::testing::{Conditions, Simulation};
///
/// let mut conditions = Conditions::default();
/// conditions.latency = Duration::from_millis(200);
/// conditions.cut_short = 50;
/// let simulation = Simulation::with(17, conditions);
/// # drop(simulation);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Conditions {
    /// How long bytes are under way at most; each write draws its own. 1 ms by default.
    pub latency: Duration,
    /// How long an engine that has something to do waits for its turn at most, as a thread does on a busy machine.
    /// 50 us by default.
    pub delay: Duration,
    /// How many bytes may be under way to one end of a connection, or wait to be read there. 200,000 by default; at
    /// least 1.
    pub buffer: usize,
    /// How many of a hundred reads and writes are cut short. 0 by default.
    pub cut_short: u8,
    /// How many of a hundred attempts to connect lose their first packet, and go on when it is sent again. 0 by
    /// default.
    pub lost: u8,
    /// Whether a reset takes with it what had arrived before. `false` by default.
    pub reset_swallows: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        Conditions {
            latency: Duration::from_millis(1),
            delay: Duration::from_micros(50),
            buffer: 200_000,
            cut_short: 0,
            lost: 0,
            reset_swallows: false,
        }
    }
}

impl Conditions {
    /// Some by chance, from kind to unkind.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        Conditions {
            latency: Duration::from_micros([0, 50, 2000, 100_000][rng.below(4)]),
            delay: Duration::from_micros([0, 50, 400][rng.below(3)]),
            buffer: [100, 700, 9000, 200_000][rng.below(4)],
            cut_short: [0, 20, 60][rng.below(3)],
            lost: [0, 0, 40][rng.below(3)],
            reset_swallows: rng.chance(50),
        }
    }

    pub(super) fn temper(&self) -> Temper {
        Temper {
            latency_most: self.latency,
            capacity: self.buffer.max(1),
            lost: usize::from(self.lost),
            cut: usize::from(self.cut_short),
            reset_swallows: self.reset_swallows,
            slow_micros: usize::try_from(self.delay.as_micros()).unwrap_or(usize::MAX / 2),
            ..CALM
        }
    }
}

//! How unkind the systems are in a run.

use std::time::Duration;

use super::rng::Rng;

/// How the network, the pollers and the reactors' threads behave in a run.
#[derive(Clone, Debug)]
pub(super) struct Temper {
    pub(super) latency_most: Duration,
    pub(super) capacity: usize,
    /// How many of a hundred attempts to connect lose their first packet, and go on when it is sent again.
    pub(super) lost: usize,
    /// How many of a hundred reads and writes are cut short.
    pub(super) cut: usize,
    /// How many of a hundred reads and writes would block for no visible reason.
    pub(super) stall: usize,
    /// How many of a hundred accepts fail.
    pub(super) accept_failures: usize,
    /// How many of a hundred sockets cannot be polled.
    pub(super) hidden: usize,
    /// Whether a reset swallows what arrived before it.
    pub(super) reset_swallows: bool,
    /// How many of a hundred times the system refuses to poll a socket that it has taken in.
    pub(super) refusals: usize,
    /// Of a hundred such refusals of an established connection, how many are a shortage that passes.
    pub(super) passing: usize,
    /// How many of a hundred writes are refused for want of memory.
    pub(super) shortages: usize,
    /// Whether a socket is armed anew after each report, so that it can be refused then.
    pub(super) rearms: bool,
    /// How many of a hundred sockets are called ready that are not.
    pub(super) spurious: usize,
    /// How many of a hundred batches come in parts.
    pub(super) partial: usize,
    /// How many of a hundred wakes come late.
    pub(super) late_wakes: usize,
    /// How many of a hundred wakes are made by a thread that writes what it has posted by itself.
    pub(super) written_at_once: usize,
    /// How many of a hundred passes are followed by a while in which nobody sits.
    pub(super) left_empty: usize,
    /// How many of a hundred listeners have their connections secured.
    pub(super) secured: usize,
    /// How long the thread that sits waits for its turn at most, in microseconds: meanwhile more happens.
    pub(super) slow_micros: usize,
}

/// A network without any troubles.
pub(super) const CALM: Temper = Temper {
    latency_most: Duration::ZERO,
    capacity: 200_000,
    lost: 0,
    cut: 0,
    stall: 0,
    accept_failures: 0,
    hidden: 0,
    reset_swallows: false,
    refusals: 0,
    passing: 100,
    shortages: 0,
    rearms: false,
    spurious: 0,
    partial: 0,
    late_wakes: 0,
    slow_micros: 0,
    secured: 0,
    written_at_once: 0,
    left_empty: 0,
};

impl Temper {
    /// Larger buffers, and no reads and writes cut short.
    pub(super) fn speed_up(&mut self) {
        self.capacity = self.capacity.max(60_000);
        (self.cut, self.stall) = (0, 0);
    }
}

pub(super) fn draw_temper(rng: &mut Rng) -> Temper {
    let capacities = [17, 700, 9000, 200_000];
    Temper {
        latency_most: Duration::from_micros([0, 50, 2000][rng.below(3)]),
        capacity: capacities[rng.below(capacities.len())],
        lost: [0, 0, 40][rng.below(3)],
        cut: [0, 20, 60][rng.below(3)],
        stall: [0, 5, 30][rng.below(3)],
        accept_failures: [0, 0, 10][rng.below(3)],
        hidden: [0, 0, 5][rng.below(3)],
        reset_swallows: rng.chance(50),
        refusals: [0, 0, 1, 5][rng.below(4)],
        passing: [0, 70, 100][rng.below(3)],
        shortages: [0, 0, 5][rng.below(3)],
        rearms: rng.chance(50),
        spurious: [0, 5, 30][rng.below(3)],
        partial: [0, 50][rng.below(2)],
        late_wakes: [0, 50][rng.below(2)],
        slow_micros: [0, 50, 400][rng.below(3)],
        written_at_once: [0, 30, 90][rng.below(3)],
        left_empty: [0, 30, 90][rng.below(3)],
        secured: [0, 0, 40, 100][rng.below(4)],
    }
}

//! What one run does: drawn from its seed alone, so that a seed says everything but the timing.

use std::time::Duration;

use ampe::Options;

/// Random numbers from a seed (splitmix64).
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }

    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn millis(&mut self, low: usize, high: usize) -> Duration {
        Duration::from_millis(self.between(low, high) as u64)
    }
}

/// One run: its processes, and what is done to them.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Nothing is disturbed, and every process ends by goodbyes that have to be answered.
    pub(crate) is_quiet: bool,
    pub(crate) processes: Vec<ProcessPlan>,
    pub(crate) disturbances: Vec<Disturbance>,
}

#[derive(Debug, Clone)]
pub(crate) struct ProcessPlan {
    /// For what the process draws itself.
    pub(crate) seed: u64,
    pub(crate) is_on_uds: bool,
    /// After how many bytes each connection to this process is reset, in the order of their
    /// coming; `None` leaves one alone. Without a list there is nothing in between.
    pub(crate) cuts: Option<Vec<Option<usize>>>,
    pub(crate) targets: Vec<usize>,
    pub(crate) lifetime: Duration,
    /// Messages that it posts at most, answers aside; and how many in a row.
    pub(crate) quota: usize,
    pub(crate) burst: usize,
    pub(crate) sizes: Sizes,
    pub(crate) receiver: Receiver,
    /// A second thread that posts all it can.
    pub(crate) has_flooder: bool,
    /// Chances in percent: of a request to be answered, of a returned message to be posted again,
    /// of a channel to be aborted or said goodbye to at each turn.
    pub(crate) answers: usize,
    pub(crate) reposts: usize,
    pub(crate) aborts: usize,
    pub(crate) byes: usize,
    pub(crate) ending: Ending,
    /// Kills itself as soon as it has written so many lines.
    pub(crate) last_line: Option<u64>,
    pub(crate) limits: Limits,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Sizes {
    Empty,
    Small,
    Mixed,
    Large,
}

impl Sizes {
    pub(crate) fn draw(self, dice: &mut Dice) -> usize {
        match self {
            Sizes::Empty => 0,
            Sizes::Small => dice.below(200),
            Sizes::Mixed => {
                let high = dice.pick(&[1, 20, 300, 5000, 65_535]);
                dice.between(0, high)
            }
            Sizes::Large => dice.between(20_000, 60_000),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Receiver {
    Prompt,
    /// Works for so many microseconds on each message.
    Slow(u64),
    /// Keeps every message, up to so many, then lets go of all.
    Keeps(usize),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    /// Closes its inbox, within so many milliseconds.
    Close(u64),
    /// Says goodbye on each channel, waits for the answers for a while, then closes.
    Goodbye(u64),
    /// The same, and all channels have to end by that.
    FullGoodbye,
    /// Stops its engine.
    Stop(u64),
    /// Ends the process without a word.
    Exit,
}

/// What of the engine's options is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    inbound: usize,
    outbound_per_channel: usize,
    linger_ms: u64,
    frame_ms: u64,
    connect_ms: u64,
}

impl Limits {
    pub(crate) fn options(self) -> Options {
        let mut options = Options::default();
        options.inbound_bytes = self.inbound;
        options.outbound_bytes_per_channel = self.outbound_per_channel;
        options.linger_timeout = Duration::from_millis(self.linger_ms);
        options.frame_timeout = Duration::from_millis(self.frame_ms);
        options.connect_timeout = Duration::from_millis(self.connect_ms);
        options
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Disturbance {
    pub(crate) trigger: Trigger,
    pub(crate) process: usize,
    pub(crate) action: Action,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Trigger {
    After(Duration),
    /// Once its ledger has so many bytes.
    Ledger(u64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    Kill,
    /// Stops it, and lets it go on later.
    Stop(Duration),
    /// Resets every connection to it, where there is something in between.
    Reset,
}

impl Plan {
    /// The plan of a seed. On a system without Unix sockets it is the same, on TCP.
    pub(crate) fn new(seed: u64) -> Plan {
        let has_unix_sockets = ampe_poller::socket::has_unix_sockets();
        let mut dice = Dice::new(seed);
        let count = dice.pick(&[2, 2, 2, 3, 3, 4]);
        let mut processes: Vec<ProcessPlan> =
            (0..count).map(|at| process(&mut dice, at, count)).collect();
        for process in &mut processes {
            process.is_on_uds &= has_unix_sockets;
        }
        let disturbances = (0..dice.pick(&[0, 1, 2, 3, 4]))
            .map(|_| disturbance(&mut dice, count))
            .collect();
        let mut plan = Plan {
            is_quiet: dice.percent(10),
            processes,
            disturbances,
        };
        if plan.is_quiet {
            plan.calm();
        } else if ampe::platform::is_wine() {
            plan.expect_kept_sockets();
        }
        plan
    }

    fn calm(&mut self) {
        self.disturbances.clear();
        for process in &mut self.processes {
            (process.cuts, process.last_line, process.aborts) = (None, None, 0);
            process.ending = Ending::FullGoodbye;
        }
    }

    /// Wine may keep the sockets of a process that was killed, so its peers wait in vain.
    fn expect_kept_sockets(&mut self) {
        for process in &mut self.processes {
            if matches!(process.ending, Ending::FullGoodbye) {
                process.ending = Ending::Goodbye(200);
            }
        }
    }
}

fn process(dice: &mut Dice, at: usize, count: usize) -> ProcessPlan {
    let mut targets: Vec<usize> = (0..count)
        .filter(|&other| dice.percent(if other == at { 4 } else { 50 }))
        .collect();
    if at == 1 && !targets.contains(&0) {
        targets.push(0);
    }
    let is_on_uds = dice.percent(40);
    let has_cuts = !is_on_uds && dice.percent(45);
    let cuts = has_cuts.then(|| {
        let cut = |dice: &mut Dice| {
            let bytes = dice.pick(&[1, 10, 1000, 50_000, 500_000, 3_000_000]);
            dice.percent(60).then(|| dice.between(0, bytes))
        };
        (0..8).map(|_| cut(dice)).collect()
    });
    let large = dice.pick(&[Sizes::Large, Sizes::Mixed]);
    let keeps = Receiver::Keeps(dice.between(1, 400));
    let slow = Receiver::Slow(dice.pick(&[50, 500, 5000]));
    let ending = match dice.below(10) {
        0..=2 => Ending::Close(dice.pick(&[0, 5, 50, 200])),
        3..=4 => Ending::Goodbye(dice.pick(&[50, 200])),
        5..=6 => Ending::FullGoodbye,
        7..=8 => Ending::Stop(dice.pick(&[0, 5, 50, 200])),
        _ => Ending::Exit,
    };
    ProcessPlan {
        seed: dice.number(),
        is_on_uds,
        cuts,
        targets,
        lifetime: dice.millis(20, 120),
        quota: dice.pick(&[20, 100, 300, 1000]),
        burst: dice.pick(&[1, 4, 30, 100]),
        sizes: dice.pick(&[Sizes::Empty, Sizes::Small, Sizes::Mixed, large]),
        receiver: dice.pick(&[Receiver::Prompt, Receiver::Prompt, slow, keeps]),
        has_flooder: dice.percent(20),
        answers: dice.pick(&[0, 50, 100]),
        reposts: dice.pick(&[0, 50, 100]),
        aborts: dice.pick(&[0, 0, 0, 5]),
        byes: dice.pick(&[0, 0, 0, 5]),
        ending,
        last_line: dice.percent(8).then(|| dice.between(4, 1500) as u64),
        limits: limits(dice),
    }
}

fn limits(dice: &mut Dice) -> Limits {
    const TIGHT: usize = 512 << 10;
    Limits {
        inbound: dice.pick(&[TIGHT, 2 << 20, 64 << 20]),
        outbound_per_channel: dice.pick(&[TIGHT, 4 << 20, 32 << 20]),
        linger_ms: dice.pick(&[0, 20, 100, 400]),
        frame_ms: dice.pick(&[50, 30_000, 30_000]),
        connect_ms: dice.pick(&[100, 5000]),
    }
}

fn disturbance(dice: &mut Dice, count: usize) -> Disturbance {
    let stop = Action::Stop(dice.millis(1, 120));
    let bytes = dice.pick(&[300, 3000, 30_000, 100_000]);
    Disturbance {
        process: dice.below(count),
        trigger: match dice.percent(40) {
            true => Trigger::After(dice.millis(0, 150)),
            false => Trigger::Ledger(dice.between(0, bytes) as u64),
        },
        action: dice.pick(&[Action::Kill, Action::Kill, stop, stop, Action::Reset]),
    }
}

//! What polling on Windows was first tried out with, stage by stage, as tests for every system: many
//! connections at once, interest that changes under way, tables that grow and shrink, and handles,
//! places and memory that are used again while answers about their predecessors are still to come.
//!
//! Each prints what it counted. What is drawn is drawn from a seed, which `AMPE_SEED` replays.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use super::worlds::{Read, World};
use super::{Bench, scale};
use crate::{Interest, Key};

const CONNECTIONS: usize = 1_000;
const SHORT_CONNECTIONS: usize = 10_000;

fn random() -> fastrand::Rng {
    let seed = match std::env::var("AMPE_SEED") {
        Ok(seed) => seed.parse().expect("AMPE_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("AMPE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// As many connections as there may be, at most a thousand.
fn connections<W: World>(bench: &Bench<W>) -> usize {
    let limit = bench.world.idle_limit() / 2;
    if limit < CONNECTIONS {
        super::skip(&format!(
            "{limit} connections instead of {CONNECTIONS}: the descriptors' limit"
        ));
    }
    limit.min(CONNECTIONS)
}

/// Connections of which one end is polled, and what was sent to each and not yet read.
struct Crowd<W: World> {
    bench: Bench<W>,
    listener: Key,
    /// By the generation of their keys: in the order of coming.
    peers: BTreeMap<u64, Peer<W>>,
    counts: Counts,
}

struct Peer<W: World> {
    key: Key,
    socket: W::Socket,
    unread: usize,
}

#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    bytes: usize,
    events: usize,
    closed_in_flight: usize,
}

impl<W: World> Crowd<W> {
    fn new() -> Self {
        let mut bench = Bench::<W>::new();
        let listener = bench.world.listen();
        let listener = bench.add(listener, Interest::READABLE);
        Crowd {
            bench,
            listener,
            peers: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// One more connection, accepted when the poller says that it is there.
    fn connect(&mut self) -> Key {
        let socket = self.bench.world.connect(self.bench.get(self.listener));
        loop {
            let reports = self.bench.wait(W::PATIENCE);
            assert!(!reports.is_empty(), "nobody comes");
            let has_come = reports.iter().any(|(key, _)| *key == self.listener);
            self.check(reports);
            if !has_come {
                continue;
            }
            if let Some(ours) = self.bench.world.accept(self.bench.get(self.listener)) {
                let key = self.bench.add(ours, Interest::READABLE);
                let peer = Peer {
                    key,
                    socket,
                    unread: 0,
                };
                self.peers.insert(key.generation, peer);
                self.counts.connections += 1;
                return key;
            }
        }
    }

    fn keys(&self) -> Vec<Key> {
        self.peers.values().map(|peer| peer.key).collect()
    }

    fn send(&mut self, key: Key, length: usize) {
        let peer = self.peers.get_mut(&key.generation).unwrap();
        let sent = self.bench.world.write(&peer.socket, length);
        peer.unread += sent;
        self.counts.bytes += sent;
    }

    /// What is reported is there, is wanted, and is about data that was sent to it.
    #[track_caller]
    fn check(&mut self, reports: Vec<(Key, Interest)>) {
        for (key, readiness) in reports {
            self.counts.events += 1;
            if key == self.listener || !readiness.is_readable() {
                continue;
            }
            let peer = self
                .peers
                .get_mut(&key.generation)
                .expect("an event of who is gone");
            assert!(peer.unread > 0, "an event of somebody else's");
            let socket = self.bench.poller.get(key).unwrap();
            while let Read::Data(length) = self.bench.world.read(socket, 64) {
                let left = peer.unread.checked_sub(length);
                peer.unread = left.expect("data of somebody else's");
            }
        }
    }

    /// Reads until all that was sent has arrived; then nothing is reported any more.
    #[track_caller]
    fn drain(&mut self) {
        for key in self.keys() {
            self.bench.declare(key, Interest::READABLE);
        }
        while self.peers.values().any(|peer| peer.unread > 0) {
            let reports = self.bench.wait(W::PATIENCE);
            assert!(!reports.is_empty(), "what was sent is not reported");
            self.check(reports);
        }
        for _ in 0..W::WAITS {
            assert_eq!(self.bench.wait(Duration::ZERO), []);
        }
    }

    /// Looks, without sleeping.
    fn look(&mut self) {
        let reports = self.bench.wait(Duration::ZERO);
        self.check(reports);
    }

    /// Closes our end, whatever is in flight about it.
    fn close(&mut self, key: Key) {
        assert!(self.bench.poller.close(key));
        drop(self.peers.remove(&key.generation));
        self.counts.closed_in_flight += 1;
    }

    fn report(&self, stage: &str) {
        let calls = self.bench.poller.calls();
        println!("{stage}: {:?}, {calls} calls", self.counts);
    }
}

pub(super) fn connections_are_accepted_as_they_come<W: World>() {
    let mut crowd = Crowd::<W>::new();
    for _ in 0..64 {
        crowd.connect();
    }
    crowd.drain();
    assert_eq!(crowd.peers.len(), 64);
    crowd.report("accept");
}

pub(super) fn an_echo_changes_its_interest_with_every_message<W: World>() {
    const MESSAGES: usize = 1_000;
    let mut bench = Bench::<W>::new();
    let (key, theirs) = bench.add_pair(Interest::READABLE);
    let mut events = 0;
    for _ in 0..MESSAGES {
        assert_eq!(bench.world.write(&theirs, 64), 64);
        let (mut received, mut sent) = (0, 0);
        while sent < 64 {
            let reports = bench.wait(W::PATIENCE);
            events += reports.len();
            assert!(!reports.is_empty(), "nothing comes");
            for (_, readiness) in reports {
                if readiness.is_readable()
                    && let Read::Data(length) = bench.world.read(bench.get(key), 64)
                {
                    received += length;
                }
                if readiness.is_writable() && received == 64 {
                    sent += bench.world.write(bench.get(key), received - sent);
                }
            }
            let wanted = match received {
                64 if sent < 64 => Interest::WRITABLE,
                _ => Interest::READABLE,
            };
            bench.declare(key, wanted);
        }
        bench.world.await_readable(&theirs);
        let mut back = 0;
        while back < 64 {
            match bench.world.read(&theirs, 64) {
                Read::Data(length) => back += length,
                Read::WouldBlock => bench.world.await_readable(&theirs),
                other => panic!("{other:?}"),
            }
        }
    }
    let calls = bench.poller.calls();
    println!("echo: {MESSAGES} messages, {events} events, {calls} calls");
}

pub(super) fn a_thousand_connections_outlive_storms_of_cancels<W: World>() {
    let _alone = scale::CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let mut random = random();
    let mut crowd = Crowd::<W>::new();
    let connections = connections(&crowd.bench);
    while crowd.peers.len() < connections {
        crowd.connect();
    }
    for _ in 0..10 {
        let mut keys = crowd.keys();
        random.shuffle(&mut keys);
        // What is in flight for less is cancelled for more, and for less again before it has ended.
        for key in &keys {
            crowd.bench.declare(*key, Interest::BOTH);
        }
        crowd.look();
        for (at, key) in keys.iter().enumerate() {
            let interest = if at % 3 == 0 {
                Interest::NONE
            } else {
                Interest::READABLE
            };
            crowd.bench.declare(*key, interest);
            if random.bool() {
                crowd.send(*key, random.usize(1..100));
            }
        }
        crowd.look();
        for key in &keys[..connections / 10] {
            crowd.close(*key);
        }
        for _ in 0..connections / 10 {
            crowd.connect();
        }
        crowd.drain();
    }
    crowd.report("storms");
}

pub(super) fn what_is_polled_stays_while_tables_grow_and_shrink<W: World>() {
    let _alone = scale::CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let mut crowd = Crowd::<W>::new();
    let connections = connections(&crowd.bench);
    let first = crowd.connect();
    // Everything that was there before is in flight while more come.
    while crowd.peers.len() < connections {
        let key = crowd.connect();
        if crowd.peers.len().is_power_of_two() {
            crowd.send(first, 10);
            crowd.send(key, 20);
            crowd.drain();
        }
    }
    while crowd.peers.len() > 1 {
        let keys = crowd.keys();
        for key in keys.iter().filter(|key| **key != first).step_by(2) {
            crowd.close(*key);
        }
        for key in crowd.keys() {
            crowd.send(key, 30);
        }
        crowd.drain();
    }
    crowd.report("growing and shrinking");
}

fn reconnect<W: World>(cycles: usize) -> Crowd<W> {
    let mut crowd = Crowd::<W>::new();
    for _ in 0..cycles {
        let key = crowd.connect();
        crowd.send(key, 1);
        crowd.drain();
        crowd.close(key);
    }
    crowd.drain();
    assert_eq!(crowd.counts.connections, cycles);
    assert_eq!(crowd.counts.bytes, cycles);
    crowd
}

pub(super) fn a_thousand_reconnects_are_all_served<W: World>() {
    reconnect::<W>(1_000).report("reconnecting");
}

pub(super) fn reconnects_of_several_threads_are_all_served<W: World>() {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| reconnect::<W>(250).report("reconnecting beside others"));
        }
    });
}

pub(super) fn ten_thousand_short_connections_lose_and_confuse_nothing<W: World>() {
    let mut random = random();
    let mut crowd = Crowd::<W>::new();
    let mut live: Vec<Key> = Vec::new();
    while crowd.counts.connections < SHORT_CONNECTIONS {
        live.push(crowd.connect());
        // The first use of a handle, a place and a slot that somebody else had just now.
        match random.u8(0..5) {
            0 => {}
            1 => crowd.bench.declare(*live.last().unwrap(), Interest::BOTH),
            2 => crowd.look(),
            _ => crowd.send(*live.last().unwrap(), random.usize(1..100)),
        }
        if live.len() > 8 {
            let key = live.swap_remove(random.usize(..live.len()));
            // Its answer may be there, on its way, or never come.
            crowd.close(key);
        }
        if random.u8(0..100) == 0 {
            crowd.drain();
        }
    }
    crowd.drain();
    crowd.report("short connections");
}

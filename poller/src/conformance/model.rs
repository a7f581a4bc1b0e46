//! Any sequence of what can happen, compared with what should be reported.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::Bench;
use super::worlds::{Read, World};
use crate::{Interest, Key};

const SOURCES_MAX: usize = 6;
const BYTES_MAX: usize = 32;

#[derive(Clone, Debug)]
enum Step {
    Insert,
    Remove(usize),
    Close(usize),
    Declare(usize, Interest),
    Write(usize),
    Read(usize),
    ClosePeer(usize),
    Wake,
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let interest = prop_oneof![
        Just(Interest::NONE),
        Just(Interest::READABLE),
        Just(Interest::WRITABLE),
        Just(Interest::BOTH),
    ];
    let source = 0..SOURCES_MAX;
    let step = prop_oneof![
        3 => Just(Step::Insert),
        1 => source.clone().prop_map(Step::Remove),
        1 => source.clone().prop_map(Step::Close),
        6 => (source.clone(), interest).prop_map(|(source, interest)| Step::Declare(source, interest)),
        3 => source.clone().prop_map(Step::Write),
        3 => source.clone().prop_map(Step::Read),
        1 => source.prop_map(Step::ClosePeer),
        1 => Just(Step::Wake),
        6 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 1..60)
}

/// What the test knows of one source.
struct Known<S> {
    key: Key,
    peer: Option<S>,
    unread: usize,
    wanted: Interest,
}

impl<S> Known<S> {
    fn expected(&self) -> Interest {
        let mut readiness = Interest::WRITABLE;
        if self.unread > 0 || self.peer.is_none() {
            readiness |= Interest::READABLE;
        }
        readiness & self.wanted
    }
}

struct Model<W: World> {
    bench: Bench<W>,
    known: Vec<Known<W::Socket>>,
    was_woken: bool,
}

impl<W: World> Model<W> {
    fn take(&mut self, step: &Step) {
        let count = self.known.len();
        match *step {
            Step::Insert if count < SOURCES_MAX => {
                let (key, peer) = self.bench.add_pair(Interest::NONE);
                self.known.push(Known {
                    key,
                    peer: Some(peer),
                    unread: 0,
                    wanted: Interest::NONE,
                });
            }
            Step::Remove(at) if at < count => {
                let known = self.known.swap_remove(at);
                assert!(self.bench.poller.remove(known.key).is_some());
            }
            Step::Close(at) if at < count => {
                let known = self.known.swap_remove(at);
                assert!(self.bench.poller.close(known.key));
            }
            Step::Declare(at, interest) if at < count => {
                self.known[at].wanted = interest;
                self.bench.declare(self.known[at].key, interest);
            }
            Step::Write(at) if at < count && self.known[at].unread < BYTES_MAX => {
                let known = &mut self.known[at];
                if let Some(peer) = &known.peer {
                    known.unread += self.bench.world.write(peer, 1);
                    self.bench.world.await_readable(self.bench.get(known.key));
                }
            }
            Step::Read(at) if at < count => {
                let known = &mut self.known[at];
                let expected = match (known.unread, &known.peer) {
                    (0, Some(_)) => Read::WouldBlock,
                    (0, None) => Read::End,
                    _ => Read::Data(1),
                };
                known.unread = known.unread.saturating_sub(1);
                let socket = self.bench.get(known.key);
                assert_eq!(self.bench.world.read(socket, 1), expected);
            }
            Step::ClosePeer(at) if at < count => {
                if let Some(peer) = self.known[at].peer.take() {
                    self.bench.world.close(peer);
                    let socket = self.bench.get(self.known[at].key);
                    self.bench.world.await_hang_up(socket);
                }
            }
            Step::Wake => {
                self.bench.poller.waker().wake().unwrap();
                self.was_woken = true;
            }
            Step::Wait => self.wait(),
            _ => {}
        }
    }

    fn wait(&mut self) {
        let expected = self.known.iter().map(|known| (known.key, known.expected()));
        let mut expected: Vec<_> = expected
            .filter(|(_, expected)| !expected.is_empty())
            .collect();
        expected.sort_by_key(|(key, _)| key.generation);
        self.hear_hints();
        let mut reported = BTreeMap::new();
        for _ in 0..W::WAITS {
            for (key, readiness) in self.bench.wait(Duration::ZERO) {
                let so_far = reported
                    .entry(key.generation)
                    .or_insert((key, Interest::NONE));
                so_far.1 |= readiness;
            }
            assert_eq!(self.bench.events.woken(), self.was_woken);
            self.was_woken = false;
            if reported.values().eq(&expected) {
                return;
            }
        }
        assert_eq!(reported.into_values().collect::<Vec<_>>(), expected);
    }

    /// Where readiness may be reported that was true when it was found out, hears it out: only of
    /// sources that are there, and only what they are wanted for.
    fn hear_hints(&mut self) {
        for _ in 1..W::WAITS {
            for (key, readiness) in self.bench.wait(Duration::ZERO) {
                let known = self.known.iter().find(|known| known.key == key);
                let wanted = known.map(|known| known.wanted);
                assert_eq!(wanted.map(|wanted| wanted & readiness), Some(readiness));
            }
            assert_eq!(self.bench.events.woken(), self.was_woken);
            self.was_woken = false;
        }
    }
}

pub(super) fn any_sequence_agrees_with_the_model<W: World>() {
    let config = Config {
        // Nothing is kept between runs: a failure prints its shortest sequence.
        failure_persistence: None,
        ..Config::with_cases(W::CASES)
    };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            let mut model = Model::<W> {
                bench: Bench::new(),
                known: Vec::new(),
                was_woken: false,
            };
            for step in &steps {
                model.take(step);
            }
            model.wait();
            Ok(())
        })
        .unwrap();
}

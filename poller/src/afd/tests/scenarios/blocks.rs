//! Memory in blocks, helpers in groups.

use super::super::canaries::{FreesOnCancel, Small};
use super::{Scenario, ready};
use crate::afd::defects::{Defects, Sound};
use crate::afd::port::PollingMode;
use crate::nt::Handle;
use crate::nt::flag;
use crate::{Interest, Key};

impl<D: Defects> Scenario<D> {
    /// How many blocks there are.
    fn blocks(&self) -> usize {
        let slots = &self.port().slots;
        let is_there = |block: &usize| slots.free_places(*block).is_some();
        (0..slots.blocks_len()).filter(is_there).count()
    }

    /// Sources that are polled for data.
    fn add_polled(&mut self, count: usize) -> Vec<(Key, Handle)> {
        let sources: Vec<_> = (0..count).map(|_| self.add(Interest::READABLE)).collect();
        assert_eq!(self.wait(), []);
        sources
    }

    /// Takes a source back and closes it.
    fn discard(&mut self, key: Key) {
        drop(self.poller.remove(key).unwrap());
    }

    /// Does so with many that are polled, and waits until the kernel has given their slots back.
    fn discard_all(&mut self, sources: &[(Key, Handle)]) {
        let left = self.slots().1 - sources.len();
        for (key, _) in sources {
            self.discard(*key);
        }
        while self.slots().1 > left {
            assert_eq!(self.wait(), []);
        }
    }
}

#[test]
fn a_block_holds_128_sources() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    bench.add(Interest::NONE);
    assert_eq!(bench.wait(), []);
    assert_eq!(
        bench.blocks(),
        0,
        "who is wanted for nothing needs no memory"
    );
    let sources = bench.add_polled(128);
    assert_eq!((bench.blocks(), bench.slots()), (1, (128, 128)));
    bench.add_polled(1);
    assert_eq!((bench.blocks(), bench.slots()), (2, (129, 129)));
    // A place in the middle is used again before there is another block.
    bench.discard(sources[77].0);
    bench.discard(sources[3].0);
    bench.add_polled(128);
    assert_eq!((bench.blocks(), bench.slots()), (2, (255, 255)));
    assert_eq!(bench.port().slots.allocations(), 2);
    bench.end();
}

#[test]
fn coming_and_going_at_a_blocks_limit_allocates_nothing() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    bench.add_polled(128);
    for _ in 0..100 {
        let (key, _) = bench.add_polled(1)[0];
        assert_eq!(bench.slots(), (129, 129));
        bench.discard(key);
        assert_eq!(bench.slots(), (128, 128));
    }
    assert_eq!((bench.blocks(), bench.port().slots.allocations()), (2, 2));
    bench.end();
}

#[test]
fn of_empty_blocks_one_is_kept() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
    let sources = bench.add_polled(5 * 128);
    assert_eq!(bench.blocks(), 5);
    for (at, (key, _)) in sources.iter().enumerate() {
        bench.discard(*key);
        bench.wait();
        let gone = (at + 1) / 128;
        assert_eq!(bench.blocks(), (5 - gone + 1).min(5), "{} are gone", at + 1);
    }
    assert_eq!(bench.slots(), (0, 0));
    // It is what the next source gets.
    let (key, handle) = bench.add_polled(1)[0];
    assert_eq!((bench.blocks(), bench.port().slots.allocations()), (1, 5));
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait(), [ready(key, Interest::READABLE)]);
    bench.end();
}

/// Three blocks are filled, the second one's sources go, one of them while the kernel takes its
/// time. How many blocks there are before that one's packet, and after it.
fn blocks_with_a_zombie<D: Defects>() -> (usize, usize) {
    let mut bench = Scenario::<D>::new(PollingMode::Helper);
    let sources = bench.add_polled(3 * D::SLOTS_PER_BLOCK);
    let second = &sources[D::SLOTS_PER_BLOCK..2 * D::SLOTS_PER_BLOCK];
    let third = &sources[2 * D::SLOTS_PER_BLOCK..];
    bench.be_slow(true);
    bench.discard(second[0].0);
    bench.be_slow(false);
    for (key, _) in second[1..].iter().chain(third) {
        bench.discard(*key);
    }
    bench.wait();
    let before = bench.blocks();
    bench.deliver_all();
    bench.wait();
    (before, bench.blocks())
}

#[test]
fn a_zombie_keeps_its_block() {
    // The full one, the zombie's, and the empty one that is kept.
    assert_eq!(blocks_with_a_zombie::<Sound>(), (3, 2));
    assert_eq!(blocks_with_a_zombie::<Small>(), (3, 2));
}

#[test]
fn freeing_on_cancel_takes_the_zombies_block() {
    assert_eq!(blocks_with_a_zombie::<FreesOnCancel>(), (2, 2));
}

#[test]
fn thirty_two_registrations_share_a_helper() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
    bench.add(Interest::NONE);
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.helpers(), [], "who is not polled needs no helper");
    let handles = bench.kernel.handles();
    let mut sources = bench.add_polled(32);
    assert_eq!(bench.helpers(), [Some(32)]);
    sources.extend(bench.add_polled(1));
    assert_eq!(bench.helpers(), [Some(32), Some(1)]);
    assert_eq!(bench.kernel.handles(), handles + 33 + 2);
    // Room in the first one is used again before a third is opened.
    bench.discard(sources.remove(20).0);
    bench.wait();
    sources.extend(bench.add_polled(32));
    assert_eq!(bench.helpers(), [Some(32), Some(32)]);
    bench.end();
}

/// A cancel finds the poll only on the handle that the poll was issued on.
#[test]
fn each_poll_is_cancelled_on_its_own_helper() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
    let sources = bench.add_polled(33);
    let controls: Vec<_> = sources
        .iter()
        .map(|(key, _)| (bench.slot(*key).file, bench.slot(*key).group))
        .collect();
    assert!(controls[..32].iter().all(|control| *control == controls[0]));
    assert_ne!(controls[32].0, controls[0].0);
    for (key, _) in &sources {
        bench.declare(*key, Interest::BOTH);
    }
    assert_eq!(bench.wait(), []);
    for (key, _) in &sources {
        bench.discard(*key);
    }
    assert_eq!(bench.wait(), []);
    let counts = bench.counts();
    assert_eq!((counts.cancelled, counts.cancels_not_found), (66, 0));
    assert_eq!(bench.slots(), (0, 0));
    bench.end();
}

#[test]
fn of_unused_helpers_one_is_kept() {
    let mut bench = Scenario::<Small>::new(PollingMode::Helper);
    let handles = bench.kernel.handles();
    let sources = bench.add_polled(97);
    assert_eq!(bench.helpers(), [Some(32), Some(32), Some(32), Some(1)]);
    bench.discard_all(&sources[..96]);
    assert_eq!(bench.helpers(), [Some(0), None, None, Some(1)]);
    // Who comes joins others, as long as there is room.
    let more = bench.add_polled(31);
    assert_eq!(bench.helpers(), [Some(0), None, None, Some(32)]);
    bench.discard_all(&more);
    bench.discard_all(&sources[96..]);
    assert_eq!(bench.helpers(), [Some(0), None, None, None]);
    assert_eq!(bench.kernel.handles(), handles + 1);
    // It is the next one to be used, and the numbers of those that are closed are, too.
    bench.add_polled(65);
    let mut users = bench.helpers();
    users.sort();
    assert_eq!(users, [None, Some(1), Some(32), Some(32)]);
    bench.end();
}

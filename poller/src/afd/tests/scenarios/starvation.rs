//! A source that is always ready, and everybody else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::super::canaries::SkipsWithoutEnd;
use super::{PATIENCE, Scenario, ready};
use std::collections::BTreeSet;

use crate::afd::defects::{Defects, Sound};
use crate::afd::poll_file::OPERATION_KEY;
use crate::afd::port::PollingMode;
use crate::nt::flag;
use crate::sys::Backend;
use crate::{Events, Interest};

/// How many waits running may be content with the answers that they have.
const SKIPS_MAX: u64 = 16;

/// What has to get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    /// By the wake word, which costs no call while the thread is up.
    Wake,
    /// By a packet, which was posted when the thread was asleep.
    WakePacket,
    /// The packet of another source.
    Packet,
}

/// With one source always ready: how many waits it takes until a message is there that comes after
/// so many others. Nothing if that is more than a hundred.
fn waits_until<D: Defects>(message: Message, waits_before: u64) -> Option<u64> {
    let modes = [PollingMode::Auto, PollingMode::Direct];
    let [auto, direct] = modes.map(|mode| waits_with::<D>(mode, message, waits_before));
    assert_eq!(auto, direct);
    auto
}

fn waits_with<D: Defects>(mode: PollingMode, message: Message, waits_before: u64) -> Option<u64> {
    let mut bench = Scenario::<D>::new(mode);
    let (quiet, quiet_handle) = bench.add(Interest::READABLE);
    let (_, busy_handle) = bench.add(Interest::READABLE);
    assert_eq!(bench.wait(), []);
    bench.become_ready(busy_handle, flag::RECEIVE);
    assert_eq!(bench.wait().len(), 1, "by its packet; from here on at once");
    for _ in 0..waits_before {
        assert_eq!(bench.wait().len(), 1);
    }
    match message {
        Message::Wake => bench.poller.waker().wake().unwrap(),
        Message::WakePacket => bench.port().signal().send().unwrap(),
        Message::Packet => bench.become_ready(quiet_handle, flag::RECEIVE),
    }
    (1..100).find(|_| {
        let events = bench.wait();
        match message {
            Message::Packet => events.contains(&ready(quiet, Interest::READABLE)),
            _ => bench.events.woken(),
        }
    })
}

#[test]
fn a_source_that_is_always_ready_starves_neither_wakes_nor_others() {
    for waits_before in 0..=SKIPS_MAX {
        // Counted from the last wait that emptied the port.
        let due = Some(SKIPS_MAX + 1 - waits_before);
        let until = |message| waits_until::<Sound>(message, waits_before);
        assert_eq!(until(Message::Packet), due, "after {waits_before} waits");
        assert_eq!(
            until(Message::WakePacket),
            due,
            "after {waits_before} waits"
        );
        assert_eq!(
            until(Message::Wake),
            Some(1),
            "the word is always looked at"
        );
    }
}

#[test]
fn without_an_end_to_skipping_others_starve() {
    assert_eq!(waits_until::<SkipsWithoutEnd>(Message::Packet, 3), None);
    assert_eq!(waits_until::<SkipsWithoutEnd>(Message::WakePacket, 3), None);
    assert_eq!(waits_until::<SkipsWithoutEnd>(Message::Wake, 3), Some(1));
}

#[test]
fn a_wait_that_has_an_answer_makes_one_call_and_each_seventeenth_two() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
    let (key, handle) = bench.add(Interest::READABLE);
    assert_eq!(bench.wait(), []);
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait(), [ready(key, Interest::READABLE)]);
    for round in 1..=3 * (SKIPS_MAX + 1) {
        let before = bench.counts();
        assert_eq!(bench.wait(), [ready(key, Interest::READABLE)]);
        let spent = bench.spent_since(before);
        assert_eq!(spent.submits, 1, "asked anew");
        let dequeues = u64::from(round % (SKIPS_MAX + 1) == 0);
        assert_eq!(spent.calls, 1 + dequeues, "in wait {round}");
    }
    bench.end();
}

#[test]
fn a_wait_without_an_answer_starts_the_count_again() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
    let (key, handle) = bench.add(Interest::READABLE);
    for _ in 0..3 {
        assert_eq!(bench.wait(), []);
        bench.become_ready(handle, flag::RECEIVE);
        assert_eq!(bench.wait(), [ready(key, Interest::READABLE)]);
        assert_eq!(bench.port().skips, 0);
        for skips in 1..=9 {
            assert_eq!(bench.wait(), [ready(key, Interest::READABLE)]);
            assert_eq!(bench.port().skips, skips);
        }
        bench.become_ready(handle, 0);
    }
    bench.end();
}

/// A sleeping wait dequeues packets that are nobody's, of those that are gone, and cancelled ones;
/// none of them ends it.
#[test]
fn a_wait_that_meets_only_stale_packets_goes_on() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Helper);
    bench.kernel.state().mood.sleeps = true;
    bench.be_slow(true);
    let (key, handle) = bench.add(Interest::READABLE);
    let (gone, _) = bench.add(Interest::READABLE);
    assert_eq!(bench.wait(), []);
    // Their packets come only when time passes: one is a zombie's, one a cancelled poll's.
    assert!(bench.poller.close(gone));
    bench.declare(key, Interest::BOTH);
    let kernel = std::sync::Arc::clone(&bench.kernel);
    let is_over = AtomicBool::new(false);
    let all_dequeued = || {
        while (kernel.queued() > 0 || kernel.in_transit() > 0) && !is_over.load(Ordering::Acquire) {
            thread::yield_now();
        }
    };
    let events = thread::scope(|scope| {
        scope.spawn(|| {
            for context in [0, 1, usize::MAX] {
                kernel.post_foreign(OPERATION_KEY, context);
                all_dequeued();
            }
            kernel.cancel_unasked(handle);
            all_dequeued();
            kernel.set_events(handle, flag::SEND);
        });
        let events = bench.wait_for(PATIENCE);
        is_over.store(true, Ordering::Release);
        events
    });
    assert_eq!(events, [ready(key, Interest::WRITABLE)]);
    assert_eq!(bench.port().strays, 3);
    assert_eq!(bench.slots(), (1, 0), "what is gone is freed");
    bench.end();
}

/// A batch with room for one event, and a source that fills it with every answer.
#[test]
fn a_small_batch_is_respected_and_starves_nobody() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
    bench.events = Events::with_capacity(1);
    let others: Vec<_> = (0..3).map(|_| bench.add(Interest::READABLE)).collect();
    let (_, busy) = bench.add(Interest::READABLE);
    assert_eq!(bench.wait(), []);
    bench.become_ready(busy, flag::RECEIVE);
    assert_eq!(bench.wait().len(), 1);
    for (_, handle) in &others {
        bench.become_ready(*handle, flag::RECEIVE);
    }
    assert_eq!(bench.kernel.queued(), 3);
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let before = bench.kernel.queued();
        seen.extend(bench.wait().iter().map(|event| event.key().index));
        assert!(before - bench.kernel.queued() <= 1, "one at a time");
    }
    assert_eq!(seen.len(), 4);
    bench.end();
}

/// Packets that do not fit stay in the port.
#[test]
fn the_port_is_asked_for_no_more_than_the_batch_takes() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
    let sources = [(); 3].map(|()| bench.add(Interest::READABLE));
    assert_eq!(bench.wait(), []);
    for (_, handle) in sources {
        bench.become_ready(handle, flag::RECEIVE);
    }
    bench.events = Events::with_capacity(2);
    assert_eq!(bench.wait().len(), 2);
    assert_eq!(bench.kernel.queued(), 1);
    bench.end();
}

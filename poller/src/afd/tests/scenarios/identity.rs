//! Whose packet it is.

use std::time::Instant;

use super::super::canaries::{
    IgnoresBlocks, IgnoresBoth, IgnoresFlight, IgnoresGeneration, IgnoresNumber,
};
use super::super::canaries::{IgnoresStatus, IndexAsContext, Small};
use super::super::guarded;
use super::super::lab::Oracle;
use super::{PATIENCE, Scenario, ready};
use crate::Interest;
use crate::afd::defects::{Defects, Sound};
use crate::afd::machine::Operation;
use crate::afd::poll_file::OPERATION_KEY;
use crate::afd::port::{PollingMode, WAKE_KEY};
use crate::nt::flag;
use crate::nt::sim::{Socket, Violation};
use crate::sys::Backend;

const MODES: [PollingMode; 2] = [PollingMode::Direct, PollingMode::Helper];

/// How the poll of the first connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It was cancelled when its owner took the connection back.
    Cancelled,
    /// The connection was closed.
    Closed,
    /// There was data when the connection was closed.
    Ready,
}

/// What the first connection's late packet has done to the second connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Harm {
    /// The second one was reported as ready.
    is_reported: bool,
    /// The kernel polls it, and the port takes that for over.
    is_believed_over: bool,
    /// It is taken for closed.
    is_believed_closed: bool,
    /// The kernel was given memory for it that the kernel already has.
    is_polled_twice: bool,
    /// The first one's slot is still taken.
    is_slot_lost: bool,
}

const NO_HARM: Harm = Harm {
    is_reported: false,
    is_believed_over: false,
    is_believed_closed: false,
    is_polled_twice: false,
    is_slot_lost: false,
};

/// The race of a number that is used again while the kernel still polls under it.
fn seven_steps<D: Defects>(mode: PollingMode, ending: Ending) -> (Scenario<D>, Harm) {
    let mut bench = Scenario::<D>::new(mode);
    bench.be_slow(true);
    // 1. Connection A is assigned number 42: as many are there before it.
    for _ in 0..42 {
        bench.add(Interest::NONE);
    }
    let (first, first_handle) = bench.add(Interest::NONE);
    assert_eq!(first.index, 42);
    // 2. It is polled.
    bench.declare(first, Interest::READABLE);
    assert_eq!(bench.wait(), []);
    assert_eq!(bench.kernel.operations(), 1);
    // 3. It is closed. The kernel ends the poll, but takes its time over the packet.
    if ending == Ending::Ready {
        bench.become_ready(first_handle, flag::RECEIVE);
    }
    if ending == Ending::Cancelled {
        drop(bench.poller.remove(first).unwrap());
    } else {
        assert!(bench.poller.close(first));
    }
    assert_eq!(bench.kernel.in_transit(), 1);
    // 4. Number 42, and the handle's value too, are used again for connection B.
    let (second, second_handle) = bench.add(Interest::READABLE);
    assert_eq!((second.index, second_handle), (42, first_handle));
    // 5. B is polled, once A's packet was waited for in vain.
    for _ in 0..=D::AWAITED_MAX {
        assert_eq!(bench.wait(), []);
    }
    // 6. Two packets may come now for number 42.
    assert_eq!(bench.kernel.operations(), 2);
    assert_eq!(bench.slots(), (2, 2));
    // 7. A's arrives.
    bench.kernel.deliver(0);
    let events = bench.wait();
    assert!(events.iter().all(|event| event.key() == second));
    let harm = Harm {
        is_reported: !events.is_empty(),
        // Polled once, by the kernel's account, of which the port may not know.
        is_believed_over: bench.kernel.operations() > 0
            && bench.slot(second).operation == Operation::Idle,
        is_believed_closed: bench.port().table.object_of(42).unwrap().is_closed,
        is_polled_twice: bench.violations().contains(&Violation::SubmitsTwice),
        is_slot_lost: bench.slots().0 == 2,
    };
    (bench, harm)
}

#[test]
fn a_late_packet_does_nothing_to_the_next_connection_of_its_number() {
    for mode in MODES {
        for ending in [Ending::Cancelled, Ending::Closed, Ending::Ready] {
            let (mut bench, harm) = seven_steps::<Sound>(mode, ending);
            assert_eq!(harm, NO_HARM, "{mode:?} {ending:?}");
            assert_eq!(bench.slots(), (1, 1), "A's slot is free, B's in flight");
            assert_eq!(bench.port().strays, 0, "it was A's, and A is gone");
            // B is told what happens to B, once it happens.
            assert_eq!(bench.wait(), []);
            let key = bench.port().table.at(42).unwrap().key;
            let handle = bench.port().table.at(42).unwrap().socket;
            bench.become_ready(handle, flag::RECEIVE);
            bench.deliver_all();
            assert_eq!(bench.wait(), [ready(key, Interest::READABLE)]);
            bench.end();
        }
    }
}

/// The defect of the plan that was reviewed: the number is the context.
#[test]
fn with_the_index_as_context_the_next_connection_gets_the_packet() {
    for mode in MODES {
        let of = |ending| seven_steps::<IndexAsContext>(mode, ending).1;
        // B's poll is believed over. It is polled again, in memory that the kernel has.
        let cancelled = Harm {
            is_polled_twice: true,
            is_slot_lost: true,
            ..NO_HARM
        };
        assert_eq!(of(Ending::Cancelled), cancelled, "{mode:?}");
        // B is reported for what happened to A, and its own poll is forgotten.
        let misrouted = Harm {
            is_reported: true,
            is_believed_over: true,
            is_slot_lost: true,
            ..NO_HARM
        };
        let closed = match mode {
            PollingMode::Helper => misrouted,
            _ => cancelled,
        };
        assert_eq!(of(Ending::Closed), closed, "{mode:?}");
        assert_eq!(of(Ending::Ready), misrouted, "{mode:?}");
    }
}

/// With the address as context alone, as long as nobody asks whether the source is the same one.
#[test]
fn with_generations_ignored_the_next_connection_gets_the_packet() {
    for mode in MODES {
        let of = |ending| seven_steps::<IgnoresGeneration>(mode, ending).1;
        let lost = Harm {
            is_slot_lost: true,
            ..NO_HARM
        };
        assert_eq!(of(Ending::Cancelled), lost, "{mode:?}");
        let misrouted = Harm {
            is_reported: true,
            is_slot_lost: true,
            ..NO_HARM
        };
        assert_eq!(of(Ending::Ready), misrouted, "{mode:?}");
        // What a helper polls was not cancelled, so that A's packet tells of its end.
        let closed = match mode {
            PollingMode::Helper => Harm {
                is_believed_closed: true,
                ..lost
            },
            _ => lost,
        };
        assert_eq!(of(Ending::Closed), closed, "{mode:?}");
    }
}

/// A packet that no operation of the port has queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stranger {
    OfAnUnknownKey,
    WithoutContext,
    /// The address of a slot that is free, in a block that is there.
    AtAFreeSlot,
    /// That of the last slot, and the number before that of its operation.
    WithAStaleNumber,
    BehindTheBlock,
    BeforeTheBlock,
    /// Not even a multiple of anything.
    Garbage,
    AtTheLastAddress,
}

const STRANGERS: [Stranger; 8] = [
    Stranger::OfAnUnknownKey,
    Stranger::WithoutContext,
    Stranger::AtAFreeSlot,
    Stranger::WithAStaleNumber,
    Stranger::BehindTheBlock,
    Stranger::BeforeTheBlock,
    Stranger::Garbage,
    Stranger::AtTheLastAddress,
];

/// Has a stranger's packet come while two sources are polled, and one is not. Whether it was
/// counted and did nothing else.
fn meet<D: Defects>(stranger: Stranger) -> Result<bool, Oracle> {
    let mut bench = Scenario::<D>::new(PollingMode::Helper);
    let mut contexts = Vec::new();
    let mut sources = Vec::new();
    for _ in 0..2 {
        let source = bench.add(Interest::READABLE);
        bench.wait();
        contexts.push(bench.newest_context());
        sources.push(source);
    }
    let (idle, handle) = bench.add(Interest::READABLE);
    bench.wait();
    let was_idles = bench.newest_context();
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait(), [ready(idle, Interest::READABLE)]);
    assert!(bench.poller.close(idle));
    let last = contexts[1];
    let place = 1 % D::SLOTS_PER_BLOCK;
    let end = last / 128 * 128 + 128 * (D::SLOTS_PER_BLOCK - place);
    let (key, context) = match stranger {
        Stranger::OfAnUnknownKey => (7, last),
        Stranger::WithoutContext => (OPERATION_KEY, 0),
        Stranger::AtAFreeSlot => (OPERATION_KEY, was_idles),
        Stranger::WithAStaleNumber => (OPERATION_KEY, last - 1),
        Stranger::BehindTheBlock => (OPERATION_KEY, end + last % 128),
        Stranger::BeforeTheBlock => (OPERATION_KEY, contexts[0] - 128),
        Stranger::Garbage => (OPERATION_KEY, 0x5A5A_5A5B),
        Stranger::AtTheLastAddress => (OPERATION_KEY, usize::MAX),
    };
    let before = (bench.slots(), bench.polled());
    bench.kernel.post_foreign(key, context);
    let events = guarded(|| Ok(bench.wait()))?;
    assert_eq!(bench.kernel.queued(), 0, "it was dequeued");
    let is_counted = bench.port().strays == 1;
    let has_effect = !events.is_empty() || bench.slots() != before.0 || !bench.polled().is_empty();
    if is_counted && !has_effect {
        for (key, handle) in sources {
            bench.become_ready(handle, flag::RECEIVE);
            assert_eq!(bench.wait(), [ready(key, Interest::READABLE)]);
            assert!(bench.poller.close(key));
        }
        bench.end();
    }
    Ok(is_counted && !has_effect)
}

#[test]
fn packets_of_strangers_are_counted_and_do_nothing() {
    for stranger in STRANGERS {
        assert_eq!(meet::<Sound>(stranger), Ok(true), "{stranger:?}");
        assert_eq!(meet::<Small>(stranger), Ok(true), "{stranger:?}");
    }
}

#[test]
fn each_defect_of_identity_falls_for_a_stranger_of_its_own() {
    // The kernel has not written to that slot, which is a lock of its own.
    assert_eq!(meet::<IgnoresNumber>(Stranger::WithAStaleNumber), Ok(true));
    assert_eq!(meet::<IgnoresStatus>(Stranger::WithAStaleNumber), Ok(true));
    assert_eq!(meet::<IgnoresBoth>(Stranger::WithAStaleNumber), Ok(false));
    assert_eq!(meet::<IgnoresBlocks>(Stranger::BehindTheBlock), Ok(false));
    // The sanitizer ends what looks at a free slot.
    if !cfg!(ampe_poison) {
        let assertion = meet::<IgnoresFlight>(Stranger::AtAFreeSlot);
        assert!(
            matches!(assertion, Err(Oracle::Assertion(_))),
            "{assertion:?}"
        );
    }
}

/// A packet under the wakes' key is a wake, whatever else it carries.
#[test]
fn a_wake_that_carries_the_address_of_an_operation_is_only_a_wake() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
    let (key, handle) = bench.add(Interest::READABLE);
    assert_eq!(bench.wait(), []);
    bench.kernel.post_foreign(WAKE_KEY, bench.newest_context());
    assert_eq!(bench.wait(), []);
    assert!(bench.events.woken());
    assert_eq!(bench.slots(), (1, 1));
    bench.become_ready(handle, flag::RECEIVE);
    assert_eq!(bench.wait(), [ready(key, Interest::READABLE)]);
    bench.end();
}

/// The number of an operation is told modulo 128, and nothing depends on its ever being new.
#[test]
fn operations_of_one_slot_are_told_apart_however_many_there_were() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Auto);
    let (key, handle) = bench.add(Interest::READABLE);
    for _ in 0..300 {
        assert_eq!(bench.wait(), []);
        let context = bench.kernel.any_context().unwrap();
        bench.become_ready(handle, flag::RECEIVE);
        assert_eq!(bench.wait(), [ready(key, Interest::READABLE)]);
        bench.become_ready(handle, 0);
        bench.kernel.post_foreign(OPERATION_KEY, context);
    }
    assert_eq!(bench.port().strays, 299, "the last one is still queued");
    bench.end();
}

/// What a removal finds in the port is about others, too.
#[test]
fn packets_met_while_a_source_is_removed_reach_their_own() {
    let mut bench = Scenario::<Sound>::new(PollingMode::Direct);
    let signal = bench.port().signal();
    let (gone, _) = bench.add(Interest::READABLE);
    let (key, handle) = bench.add(Interest::READABLE);
    assert_eq!(bench.wait(), []);
    bench.become_ready(handle, flag::RECEIVE);
    signal.send().unwrap();
    let socket: Socket = bench.poller.remove(gone).unwrap();
    assert_eq!(bench.kernel.queued(), 0, "the removal has taken them all");
    // With time to sleep: what was met is reported before.
    bench.kernel.state().mood.sleeps = true;
    let start = Instant::now();
    assert_eq!(bench.wait_for(PATIENCE), [ready(key, Interest::READABLE)]);
    assert!(bench.events.woken());
    assert!(
        start.elapsed() < PATIENCE,
        "only the timeout ended the wait"
    );
    drop(socket);
    bench.end();
}

//! Connections that have not said hello, while their group waits for budget.

use std::time::Duration;

use crate::between::key::RecordKey;
use crate::event::Event;
use crate::protocol::listeners::UNNAMED_MOST;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::bench::{Bench, reset};
use super::starving::{fill, least};

/// Longer than accepting pauses.
const PAUSE: Duration = Duration::from_millis(101);

/// Has one connection wait in line for budget that another has used up.
fn wait_in_line(bench: &mut Bench, glutton: RecordKey, waits: RecordKey) -> Vec<Event> {
    let held = fill(bench, glutton);
    bench.feed(waits, &frame(OpCode::Signal, 0, b""));
    bench.rest();
    assert!(bench.core.audit().waiting.contains(&waits));
    held
}

#[test]
fn while_somebody_waits_for_budget_so_many_strangers_are_taken_in_and_others_as_these_go() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let [(glutton, _one), (waits, _other)] = [(); 2].map(|()| bench.greet(listener));
    let _held = wait_in_line(&mut bench, glutton, waits);
    let strangers: Vec<_> = (0..UNNAMED_MOST).map(|_| bench.accept(listener)).collect();
    assert!(!bench.core.may_accept(listener, bench.now));
    bench.later(PAUSE);
    bench.rest();
    assert!(
        !bench.core.may_accept(listener, bench.now),
        "they are here still"
    );
    bench
        .core
        .handle_read_error(strangers[0], &reset(), bench.now);
    bench.later(PAUSE);
    bench.rest();
    bench.accept(listener);
    assert!(!bench.core.may_accept(listener, bench.now));
}

#[test]
fn who_has_said_hello_is_no_stranger_and_where_nobody_waits_there_may_be_many() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let [(glutton, _one), (waits, _other)] = [(); 2].map(|()| bench.greet(listener));
    for _ in 0..UNNAMED_MOST {
        drop(bench.greet(listener));
    }
    let _held = wait_in_line(&mut bench, glutton, waits);
    bench.accept(listener);

    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    for _ in 0..2 * UNNAMED_MOST {
        bench.accept(listener);
    }
}

//! Connections that have not said hello, while their group waits for budget.

use crate::between::key::RecordKey;
use crate::event::Event;
use crate::protocol::listeners::UNNAMED_MOST;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::bench::{Bench, reset};
use super::starving::{fill, least};

/// Has one connection wait in line for budget that another has used up.
fn wait_in_line(bench: &mut Bench, glutton: RecordKey, waits: RecordKey) -> Vec<Event> {
    let held = fill(bench, glutton);
    bench.feed(waits, &frame(OpCode::Signal, 0, b""));
    bench.rest();
    assert!(bench.core.audit().waiting.contains(&waits));
    held
}

/// Accepts strangers until the listener accepts no more, since somebody waits in line.
fn crowd(bench: &mut Bench, listener: RecordKey) -> Vec<RecordKey> {
    let strangers = (0..UNNAMED_MOST).map(|_| bench.accept(listener)).collect();
    assert!(!bench.core.may_accept(listener));
    bench.rest();
    assert!(!bench.core.may_accept(listener), "they are here still");
    assert!(!bench.wanted[&listener].readable);
    strangers
}

#[test]
fn while_somebody_waits_for_budget_so_many_strangers_are_taken_in_and_others_as_these_go() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let [(glutton, _one), (waits, _other)] = [(); 2].map(|()| bench.greet(listener));
    let _held = wait_in_line(&mut bench, glutton, waits);
    let strangers = crowd(&mut bench, listener);
    bench
        .core
        .handle_read_error(strangers[0], &reset(), bench.now);
    bench.rest();
    assert!(bench.wanted[&listener].readable);
    bench.accept(listener);
    assert!(!bench.core.may_accept(listener));
}

#[test]
fn when_nobody_waits_for_budget_any_longer_many_strangers_are_taken_in_again() {
    for is_served in [true, false] {
        let mut bench = Bench::with(least());
        let (_, listener) = bench.listen();
        let [(glutton, _one), (waits, _other)] = [(); 2].map(|()| bench.greet(listener));
        let mut held = wait_in_line(&mut bench, glutton, waits);
        let _strangers = crowd(&mut bench, listener);
        match is_served {
            true => held.clear(),
            // The glutton waits too.
            false => [waits, glutton].into_iter().for_each(|key| {
                bench.core.handle_read_error(key, &reset(), bench.now);
            }),
        }
        bench.rest();
        assert!(bench.wanted[&listener].readable, "served: {is_served}");
        bench.accept(listener);
    }
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

#[test]
fn a_listener_that_ends_among_strangers_ends_whatever_becomes_of_them() {
    let mut bench = Bench::with(least());
    let (channel, listener) = bench.listen();
    let [(glutton, _one), (waits, _other)] = [(); 2].map(|()| bench.greet(listener));
    let held = wait_in_line(&mut bench, glutton, waits);
    let _strangers = crowd(&mut bench, listener);
    bench.post(crate::post::Post::abort(channel));
    drop(held); // nobody waits in line any more as soon as it ends
    bench.rest();
    let ends = |event: &Event| matches!(event, Event::Closed(it) if it.channel() == channel);
    assert!(bench.events().iter().any(ends));
    bench.core.audit();
}

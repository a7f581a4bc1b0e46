//! Connections that were accepted and say nothing, or the wrong thing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::options::Options;
use crate::peer::Peer;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::bench::{Bench, tcp};

#[test]
fn a_place_is_not_taken_before_its_socket_was_to_be_closed() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let first = bench.accept(listener);
    bench.feed(first, &frame(OpCode::Request, 1, b"no hello"));
    // The listener is ready in the same pass, before the closing of the first was seen to.
    let second = bench.accept(listener);
    assert_ne!(
        first.index, second.index,
        "a driver finds sockets by this index"
    );
    bench.rest();
    assert_eq!(bench.closing(first), Some(true));
    assert_eq!(bench.closing(second), None);
}

#[test]
fn a_connection_that_says_nothing_has_the_hello_timeout() {
    let options = Options {
        connect_timeout: Duration::from_secs(3),
        hello_timeout: Duration::from_secs(7),
        ..Options::default()
    };
    let mut bench = Bench::with(options);
    let (_, listener) = bench.listen();
    let key = bench.accept(listener);
    bench.later(Duration::from_millis(6_999));
    bench.rest();
    assert_eq!(bench.closing(key), None);
    bench.later(Duration::from_millis(1));
    bench.rest();
    assert_eq!(bench.closing(key), Some(false));
}

#[test]
fn a_connection_that_says_nothing_is_counted_and_not_delivered() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let key = bench.accept(listener);
    let timeout = bench.shared.options.hello_timeout;
    bench.later(timeout - Duration::from_millis(1));
    bench.rest();
    assert_eq!(bench.closing(key), None);
    assert_eq!(
        bench.core.poll_timeout(bench.now),
        Some(bench.now + Duration::from_millis(1))
    );
    bench.later(Duration::from_millis(1));
    bench.rest();
    assert_eq!(bench.closing(key), Some(false));
    assert!(bench.events().is_empty());
    let counters = &bench.shared.counters;
    assert_eq!(counters.accepted.load(Ordering::Relaxed), 1);
    assert_eq!(counters.ended_before_hello.load(Ordering::Relaxed), 1);
}

#[test]
fn a_connection_that_has_said_hello_may_be_silent_for_ever() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let (key, _hello) = bench.greet(listener);
    assert_eq!(bench.core.poll_timeout(bench.now), None);
    bench.later(Duration::from_secs(3600));
    bench.rest();
    assert_eq!(bench.closing(key), None);
}

#[test]
fn data_before_hello_ends_a_connection_unheard() {
    for op_code in [
        OpCode::Request,
        OpCode::ByeRequest,
        OpCode::ByeSignal,
        OpCode::HelloResponse,
    ] {
        let mut bench = Bench::new();
        let (_, listener) = bench.listen();
        let key = bench.accept(listener);
        bench.feed(key, &frame(op_code, 1, b"first"));
        bench.rest();
        assert_eq!(bench.closing(key), Some(true), "{op_code}");
        assert!(bench.events().is_empty());
        assert_eq!(
            bench
                .shared
                .counters
                .ended_before_hello
                .load(Ordering::Relaxed),
            1
        );
    }
}

#[test]
fn a_listener_at_its_limit_leaves_connections_in_the_backlog() {
    let options = crate::Options {
        connections_per_listener: 1,
        ..crate::Options::default()
    };
    let mut bench = Bench::with(options);
    let (_, listener) = bench.listen();
    assert!(bench.wanted[&listener].readable);
    let key = bench.accept(listener);
    assert!(!bench.core.may_accept(listener));
    assert!(!bench.wanted[&listener].readable);
    bench.core.handle_end_of_stream(key, bench.now);
    bench.rest();
    assert!(
        bench.wanted[&listener].readable,
        "there is room for another"
    );
    assert!(bench.core.may_accept(listener));
}

#[test]
fn accepting_pauses_when_the_system_refuses() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    bench.core.handle_accept_failed(listener, bench.now);
    bench.rest();
    assert!(!bench.wanted[&listener].readable);
    assert!(!bench.core.may_accept(listener));
    assert_eq!(
        bench
            .shared
            .counters
            .accept_failures
            .load(Ordering::Relaxed),
        1
    );
    let due = bench.core.poll_timeout(bench.now).expect("the pause ends");
    bench.now = due;
    bench.rest();
    assert!(bench.wanted[&listener].readable);
}

#[test]
fn closing_a_listener_leaves_its_connections_open() {
    let mut bench = Bench::new();
    let (channel, listener) = bench.listen();
    let (key, hello) = bench.greet(listener);
    bench.post(crate::Post::abort(channel));
    bench.rest();
    assert_eq!(bench.closing(listener), Some(true));
    assert_eq!(bench.closed().channel(), channel);
    bench.post(hello.accept(bench.posting.message()));
    bench.rest();
    assert_eq!(bench.frames(key).len(), 1);
    assert_eq!(
        bench
            .core
            .handle_accepted(listener, Peer::at(tcp(1)), bench.now),
        None
    );
}

/// Each holds a descriptor, and cannot say hello before there is budget.
#[test]
fn while_its_group_waits_for_budget_a_listener_accepts_no_more_than_some_who_have_not_said_hello() {
    let mut bench = Bench::with(super::starving::least());
    let (_, listener) = bench.listen();
    let (glutton, hello) = bench.greet(listener);
    let held = super::starving::fill(&mut bench, glutton);
    let waiting: Vec<_> = (0..64).map(|_| bench.accept(listener)).collect();
    for &key in &waiting {
        bench.feed(key, &frame(OpCode::HelloRequest, 1, b""));
    }
    bench.rest();
    assert!(!bench.core.may_accept(listener));
    bench.rest();
    assert!(
        !bench.wanted[&listener].readable,
        "the backlog costs no time"
    );
    drop((held, hello));
    bench.later(Duration::from_millis(100));
    bench.rest();
    assert!(bench.wanted[&listener].readable);
    bench.rest();
    assert!(bench.core.may_accept(listener));
    assert_eq!(
        bench.events().len(),
        1 + waiting.len(),
        "one of the glutton's, and hellos"
    );
}

//! Connections that wait to be admitted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::between::key::RecordKey;
use crate::channel::Channel;
use crate::event::{Event, Incoming};
use crate::options::{Admission, ListenOptions, Options};
use crate::peer::Peer;
use crate::post::Post;
use crate::protocol::{ReadPlan, Wanted};
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::bench::{Bench, tcp};

/// A listener that asks whom to admit.
fn listen(bench: &mut Bench, address: &str) -> (Channel, RecordKey) {
    let options = ListenOptions {
        admission: Admission::Ask,
        ..ListenOptions::default()
    };
    bench.listen_with(address, &options)
}

fn incoming(bench: &mut Bench) -> Incoming {
    match bench.event() {
        Event::Incoming(incoming) => incoming,
        other => panic!("not incoming: {other:?}"),
    }
}

fn asked(bench: &mut Bench, listener: RecordKey) -> (RecordKey, Incoming) {
    let key = bench.accept(listener);
    bench.rest();
    let incoming = incoming(bench);
    (key, incoming)
}

fn is_read(bench: &mut Bench, key: RecordKey) -> bool {
    let plan = bench.core.read_plan(key);
    matches!(plan, ReadPlan::Shared | ReadPlan::Into(_))
}

fn refused(bench: &Bench) -> [u64; 3] {
    let counters = &bench.shared.counters;
    let all = [
        &counters.accepted,
        &counters.ended_before_hello,
        &counters.refused,
    ];
    all.map(|counter| counter.load(Ordering::Relaxed))
}

#[test]
fn nothing_is_read_before_a_connection_is_admitted_and_all_is_behind_that() {
    let mut bench = Bench::new();
    let (channel, listener) = listen(&mut bench, "tcp://127.0.0.1:0");
    let (key, incoming) = asked(&mut bench, listener);
    assert_eq!(incoming.listener(), channel);
    assert_eq!(incoming.peer(), &Peer::at(tcp(40_000)));
    assert!(matches!(bench.core.read_plan(key), ReadPlan::Peek));
    assert!(bench.wanted[&key].readable, "its end is of interest");
    bench.core.handle_spoken(key, bench.now);
    bench.rest();
    assert!(matches!(bench.core.read_plan(key), ReadPlan::Park));
    assert_eq!(
        bench.wanted[&key],
        Wanted::default(),
        "what waits costs no time"
    );
    let hello = frame(OpCode::HelloRequest, 1, b"hi");
    assert_eq!(bench.feed(key, &hello), hello, "nothing of it is taken");

    incoming.admit();
    assert!(bench.is_awake());
    bench.rest();
    assert!(is_read(&mut bench, key) && bench.wanted[&key].readable);
    bench.feed(key, &hello);
    bench.rest();
    assert!(matches!(bench.event(), Event::Hello(_)));
    assert_eq!(refused(&bench), [1, 0, 0]);
}

#[test]
fn a_connection_is_refused_by_a_word_or_by_letting_go() {
    for says_so in [true, false] {
        let mut bench = Bench::new();
        let (_, listener) = listen(&mut bench, "tcp://127.0.0.1:0");
        let (key, incoming) = asked(&mut bench, listener);
        match says_so {
            true => incoming.refuse(),
            false => drop(incoming),
        }
        bench.rest();
        assert_eq!(bench.closing(key), Some(false), "in order");
        assert!(bench.last_frame(key).is_none(), "without a word");
        assert!(bench.events().is_empty());
        assert_eq!(refused(&bench), [1, 1, 1]);
    }
}

#[test]
fn who_is_not_decided_about_in_time_is_ended_and_has_the_time_anew_once_admitted() {
    let options = Options {
        hello_timeout: Duration::from_secs(7),
        ..Options::default()
    };
    let mut bench = Bench::with(options);
    let (_, listener) = listen(&mut bench, "tcp://127.0.0.1:0");
    let (late, undecided) = asked(&mut bench, listener);
    let (key, incoming) = asked(&mut bench, listener);
    bench.later(Duration::from_millis(6_999));
    bench.rest();
    incoming.admit();
    bench.rest();
    bench.later(Duration::from_millis(1));
    bench.rest();
    assert_eq!(
        (bench.closing(late), bench.closing(key)),
        (Some(false), None)
    );
    undecided.admit(); // too late
    bench.later(Duration::from_millis(6_998));
    bench.rest();
    assert_eq!(bench.closing(key), None);
    bench.later(Duration::from_millis(1));
    bench.rest();
    assert_eq!(bench.closing(key), Some(false), "it has said nothing");
    assert!(bench.events().is_empty());
    assert_eq!(refused(&bench), [2, 2, 0]);
}

#[test]
fn there_are_no_more_questions_than_there_may_be_connections_also_of_those_that_are_gone() {
    let options = Options {
        connections_per_listener: 2,
        ..Options::default()
    };
    let mut bench = Bench::with(options);
    let (_, listener) = listen(&mut bench, "tcp://127.0.0.1:0");
    for key in [bench.accept(listener), bench.accept(listener)] {
        bench.core.handle_end_of_stream(key, bench.now);
    }
    bench.rest();
    assert_eq!(refused(&bench), [2, 2, 0], "they left by themselves");
    assert!(!bench.core.may_accept(listener) && !bench.wanted[&listener].readable);
    let [first, second] = [incoming(&mut bench), incoming(&mut bench)];
    first.admit(); // who is gone
    bench.rest();
    assert!(bench.core.may_accept(listener) && bench.wanted[&listener].readable);
    let third = bench.accept(listener);
    bench.rest();
    assert!(!bench.core.may_accept(listener));
    second.refuse();
    bench.rest();
    assert!(bench.core.may_accept(listener));
    drop(incoming(&mut bench));
    bench.rest();
    assert_eq!(bench.closing(third), Some(false));
    assert_eq!(refused(&bench), [3, 3, 1]);
    bench.accept(listener);
    bench.accept(listener);
    assert!(!bench.core.may_accept(listener));
}

#[test]
fn a_secured_connection_is_asked_about_once_it_is_known_who_it_is() {
    let mut bench = Bench::new();
    let (_, listener) = listen(&mut bench, "tls://127.0.0.1:0");
    let key = bench.accept(listener);
    bench.rest();
    assert!(bench.events().is_empty());
    assert!(matches!(bench.core.read_plan(key), ReadPlan::Handshake));
    assert!(bench.wanted[&key].readable);
    bench.core.handle_identified(key, None, bench.now);
    bench.rest();
    assert!(matches!(bench.core.read_plan(key), ReadPlan::Peek));
    incoming(&mut bench).admit();
    bench.rest();
    assert!(is_read(&mut bench, key));
}

#[test]
fn the_end_of_a_group_ends_who_waits_and_the_end_of_a_listener_does_not() {
    let mut bench = Bench::new();
    let (channel, listener) = listen(&mut bench, "tcp://127.0.0.1:0");
    let (first, held) = asked(&mut bench, listener);
    let (second, incoming) = asked(&mut bench, listener);
    bench.post(Post::abort(channel));
    bench.rest();
    assert_eq!(bench.closed().channel(), channel);
    incoming.admit();
    bench.rest();
    assert!(is_read(&mut bench, second));
    bench.close_group(Duration::ZERO);
    bench.rest();
    assert_eq!(bench.closing(first), Some(false));
    held.admit();
    bench.rest();
    assert!(bench.end_of_group().is_some());
}

/// It left, and was decided about before its end was settled.
#[test]
fn a_decision_about_a_connection_that_ends_in_the_same_pass_keeps_no_place() {
    let options = Options {
        connections_per_listener: 1,
        ..Options::default()
    };
    let mut bench = Bench::with(options);
    let (_, listener) = listen(&mut bench, "tcp://127.0.0.1:0");
    let (key, incoming) = asked(&mut bench, listener);
    bench.core.handle_end_of_stream(key, bench.now);
    incoming.admit();
    bench.rest();
    assert!(bench.core.may_accept(listener));
    assert_eq!(refused(&bench), [1, 1, 0]);
}

/// As with options that admit everybody.
#[test]
fn who_is_known_and_needs_no_admission_is_asked_about_by_nobody() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let key = bench.accept(listener);
    bench.core.handle_identified(key, None, bench.now);
    bench.rest();
    assert!(bench.events().is_empty());
    assert!(is_read(&mut bench, key));
}

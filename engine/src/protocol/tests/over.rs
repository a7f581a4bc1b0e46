//! Conversations that are over, or all but over, and what may still come.

use std::time::Duration;

use crate::between::key::RecordKey;
use crate::event::Event;
use crate::reason::Reason;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::bench::{Bench, reset};
use super::goodbyes::{account, bye, feed};

/// Both sides have said goodbye, the peer has answered ours, and its own is held here.
fn over_but_for_our_answer() -> (Bench, RecordKey, Event) {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let id = bye(&mut bench, channel);
    bench.rest();
    feed(&mut bench, key, OpCode::ByeRequest, 70);
    let held = bench.event();
    feed(&mut bench, key, OpCode::ByeResponse, id);
    assert!(matches!(bench.event(), Event::ByeResponse(_)));
    assert_eq!(bench.closing(key), None, "our answer may follow");
    (bench, key, held)
}

#[test]
fn a_conversation_that_both_sides_have_ended_is_over_whatever_follows() {
    type Follows = fn(&mut Bench, RecordKey);
    let cases: [Follows; 5] = [
        |_, _| {},
        |bench, key| bench.core.handle_end_of_stream(key, bench.now),
        |bench, key| bench.core.handle_read_error(key, &reset(), bench.now),
        |bench, key| bench.core.handle_write_error(key, &reset(), bench.now),
        |bench, key| {
            bench.core.handle_end_of_stream(key, bench.now);
            bench.core.handle_write_error(key, &reset(), bench.now);
        },
    ];
    for follows in cases {
        let (mut bench, key, held) = over_but_for_our_answer();
        follows(&mut bench, key);
        bench.later(bench.shared.options.bye_timeout);
        bench.rest();
        let closed = bench.closed();
        assert_eq!(closed.reason(), Reason::Bye);
        assert_eq!(closed.account(), account(2, 2, 2, 2));
        drop(held);
    }
}

#[test]
fn a_group_that_closes_waits_for_no_answer_that_cannot_come() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    bye(&mut bench, channel);
    bench.rest();
    feed(&mut bench, key, OpCode::ByeRequest, 70);
    let held = bench.event();
    bench.core.handle_end_of_stream(key, bench.now);
    bench.close_group(Duration::from_secs(8));
    bench.rest();
    assert_eq!(bench.closing(key), Some(false));
    assert_eq!(bench.closed().reason(), Reason::GroupClosed);
    drop(held);
}

#[test]
fn a_frame_that_breaks_off_behind_the_goodbyes_is_told() {
    for is_end in [true, false] {
        let mut bench = Bench::new();
        let (_, key) = bench.connect();
        feed(&mut bench, key, OpCode::ByeRequest, 70);
        drop(bench.event()); // answers
        bench.rest();
        bench.feed(key, &frame(OpCode::Signal, 1, b"")[..5]);
        match is_end {
            true => bench.core.handle_end_of_stream(key, bench.now),
            false => bench.core.handle_read_error(key, &reset(), bench.now),
        }
        bench.rest();
        assert_eq!(bench.closed().reason(), Reason::ConnectionLost);
    }
}

#[test]
fn a_request_without_an_id_is_answered_by_one_that_has() {
    let mut bench = Bench::new();
    let (_, key) = bench.connect();
    for _ in 0..2 {
        feed(&mut bench, key, OpCode::Request, 0);
    }
    for event in bench.events() {
        let Event::Request(request) = event else {
            panic!("{event:?}");
        };
        bench.post(request.reply(bench.posting.message()));
        bench.post(request.echo());
    }
    bench.rest();
    let written = bench.frames(key);
    assert!(written.len() == 4 && written.iter().all(|it| it.id != 0));
}

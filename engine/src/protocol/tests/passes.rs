//! What one pass does for a connection, and what it leaves for the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::between::key::RecordKey;
use crate::event::Event;
use crate::handles::{AbandonedCall, BegunCall, CallEvent, CallLine, CallMailbox};
use crate::options::Options;
use crate::wire::OpCode;
use crate::wire::test_frames::{frame, header};

use super::bench::Bench;

#[test]
fn what_follows_a_hello_in_one_read_is_taken_with_it() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let key = bench.accept(listener);
    let mut bytes = frame(OpCode::HelloRequest, 1, b"hi");
    bytes.extend(frame(OpCode::Signal, 0, b"and more"));
    bench.feed(key, &bytes);
    assert!(bench.held.is_empty());
}

/// However often it was touched meanwhile: the others have their turn.
#[test]
fn who_has_much_to_send_writes_once_a_pass() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    for _ in 0..12 {
        let message = bench.posting.message().with_body(&[1; 60_000]).unwrap();
        bench.post(message.signal(channel));
    }
    bench.pass();
    let first = bench.frames(key).len();
    assert!((1..12).contains(&first), "one write takes no more");
    bench.pass();
    assert_eq!(first + bench.frames(key).len(), 12);
}

/// Time is over for a crowd at once, and others have their turn as well.
#[test]
fn so_many_end_in_a_pass_for_whom_it_is_time_and_the_others_in_the_next() {
    let mut bench = Bench::with(Options {
        connections_per_listener: 1000,
        ..Options::default()
    });
    let (_, listener) = bench.listen();
    let keys: Vec<_> = (0..300).map(|_| bench.accept(listener)).collect();
    bench.later(bench.shared.options.hello_timeout);
    for closed in [256, 300] {
        bench.pass();
        let is_closed = |key: &&RecordKey| bench.closing(**key).is_some();
        assert_eq!(keys.iter().filter(is_closed).count(), closed);
        assert!(bench.is_awake() || closed == 300);
    }
}

#[test]
fn what_was_due_and_is_put_off_is_due_still() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let key = bench.accept(listener);
    bench.later(bench.shared.options.hello_timeout);
    for _ in 0..3 {
        assert_eq!(bench.core.poll_due(bench.now), Some(key));
        assert_eq!(bench.core.poll_due(bench.now), None);
        bench.core.put_off(key, bench.now);
        bench.wait();
        assert!(bench.is_awake());
    }
    bench.pass();
    assert_eq!(bench.closing(key), Some(false));
}

/// In another thread's cache they would have to be fetched one by one.
#[test]
fn small_messages_are_handed_over_together_where_the_pass_is_made_for_somebody_else() {
    for (receiver, deliveries) in [(None, 3), (Some(2), 3), (Some(1), 7)] {
        let mut bench = Bench::new();
        let (_, listener) = bench.listen();
        let (key, _) = bench.greet(listener);
        bench.core.set_receiver(receiver);
        let small = frame(OpCode::Signal, 1, b"small");
        let long = frame(OpCode::Signal, 2, &[7; 300]);
        let bytes = [small.repeat(3), long, small.repeat(3)].concat();
        bench.feed(key, &bytes);
        bench.pass();
        assert_eq!(bench.group.mailbox.waiting(|_| 1).0, deliveries);
        assert_eq!(bench.posting.statistics().events_waiting, 7);
        let lens = bench.events().into_iter().map(|it| match it {
            Event::Signal(signal) => signal.body().len(),
            other => panic!("unexpected {other:?}"),
        });
        assert_eq!(lens.collect::<Vec<_>>(), [5, 5, 5, 300, 5, 5, 5]);
    }
}

#[test]
fn frames_of_up_to_256_bytes_are_handed_over_together() {
    for (len, deliveries) in [(240, 1), (241, 2)] {
        let mut bench = Bench::new();
        let (_, listener) = bench.listen();
        let (key, _) = bench.greet(listener);
        let bytes = frame(OpCode::Signal, 1, &vec![7; len]).repeat(2);
        bench.feed(key, &bytes);
        bench.pass();
        assert_eq!(bench.group.mailbox.waiting(|_| 1).0, deliveries);
        assert_eq!(bench.events().len(), 2);
    }
}

#[test]
fn what_came_together_is_handed_over_where_a_pass_ends_early() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let (key, _) = bench.greet(listener);
    let bytes = frame(OpCode::Signal, 1, b"small").repeat(3);
    bench.feed(key, &bytes);
    bench.core.deliver_last();
    assert_eq!(bench.posting.statistics().events_waiting, 3);
}

#[test]
fn frames_that_are_handed_over_together_have_no_more_than_16_kib() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let (key, _) = bench.greet(listener);
    let bytes = frame(OpCode::Signal, 1, &[7; 112]).repeat(300);
    bench.feed(key, &bytes);
    bench.pass();
    assert_eq!(bench.group.mailbox.waiting(|_| 1).0, 3, "of 128 at most");
    assert_eq!(bench.events().len(), 300);
}

/// Calls are told one by one: what may be an answer is not handed over among other messages while one waits.
#[test]
fn an_answer_that_comes_between_signals_goes_to_its_call() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let (key, hello) = bench.greet(listener);
    let mailbox = Arc::new(CallMailbox::new());
    let call = BegunCall {
        channel: hello.channel(),
        id: 9,
        line: CallLine::new(&mailbox),
        deadline: Some(bench.now + Duration::from_secs(1000)),
    };
    bench.core.begin_call(call, bench.now);
    let signals = frame(OpCode::Signal, 1, b"small").repeat(3);
    let answer = frame(OpCode::Response, 9, b"answer");
    let other = frame(OpCode::Response, 8, b"of no call");
    bench.feed(key, &[&signals[..], &answer, &other, &signals].concat());
    bench.pass();
    assert_eq!(bench.group.mailbox.waiting(|_| 1).0, 3);
    let mut told = VecDeque::new();
    mailbox.take_more(&mut told);
    assert!(matches!(told.make_contiguous(), [CallEvent::Response(it)] if it.id == 9));
    let is_signal = |event| matches!(event, Event::Signal(_));
    let events = bench.events().into_iter().map(is_signal);
    assert!(events.eq([true, true, true, false, true, true, true]));
}

#[test]
fn the_parts_of_an_answer_for_which_nobody_waits_any_more_come_in_order() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let (key, hello) = bench.greet(listener);
    let mailbox = Arc::new(CallMailbox::new());
    let (channel, id) = (hello.channel(), 9);
    let call = BegunCall {
        channel,
        id,
        line: CallLine::new(&mailbox),
        deadline: Some(bench.now + Duration::from_secs(1000)),
    };
    bench.core.begin_call(call, bench.now);
    let part = |len: usize| {
        let mut header = header(OpCode::Response, id, len);
        header.more = len < 4;
        [&header.encode()[..], &vec![7; len]].concat()
    };
    bench.feed(key, &[part(1), part(2)].concat());
    bench.pass();
    bench.feed(key, &part(3));
    let abandoned = AbandonedCall {
        channel,
        id,
        is_posted: true,
        left: VecDeque::new(),
        mailbox,
    };
    bench.core.abandon_call(abandoned, bench.now);
    bench.pass();
    bench.feed(key, &part(4));
    bench.pass();
    let lens = bench.events().into_iter().map(|it| match it {
        Event::Response(received) => received.body().len(),
        other => panic!("unexpected {other:?}"),
    });
    assert_eq!(lens.collect::<Vec<_>>(), [1, 2, 3, 4]);
}

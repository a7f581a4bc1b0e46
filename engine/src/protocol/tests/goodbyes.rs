//! How conversations end, and what each end says about the messages.

use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::between::key::RecordKey;
use crate::channel::Channel;
use crate::error::PostError;
use crate::event::{Account, Closed, Event};
use crate::post::Post;
use crate::reason::Reason;
use crate::wire::test_frames::frame;
use crate::wire::{Header, OpCode};

use super::bench::{Bench, reset};

pub(super) fn post(bench: &mut Bench, channel: Channel, bodies: &[&[u8]]) {
    for body in bodies {
        let message = bench.posting.message().with_body(body).unwrap();
        bench.post(message.signal(channel));
    }
}

pub(super) fn bye(bench: &mut Bench, channel: Channel) -> u64 {
    bench.post(bench.posting.message().bye(channel))
}

pub(super) fn feed(bench: &mut Bench, key: RecordKey, op_code: OpCode, id: u64) {
    assert!(bench.feed(key, &frame(op_code, id, b"")).is_empty());
    bench.rest();
}

pub(super) fn returned_and_closed(bench: &mut Bench) -> (Vec<Vec<u8>>, Closed) {
    let mut bodies = Vec::new();
    for event in bench.events() {
        match event {
            Event::Returned(it) => bodies.push(it.message().body().to_vec()),
            Event::Closed(closed) => return (bodies, closed),
            Event::ByeResponse(_) | Event::Signal(_) | Event::Bye(_) => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("not closed");
}

pub(super) fn account(posted: u64, sent: u64, confirmed: u64, received: u64) -> Account {
    Account {
        posted,
        sent,
        returned: posted - sent,
        confirmed,
        received,
    }
}

#[test]
fn the_answer_to_a_goodbye_confirms_everything_and_ends_the_channel() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    post(&mut bench, channel, &[b"1", b"2"]);
    let id = bye(&mut bench, channel);
    bench.rest();
    let ops: Vec<OpCode> = bench
        .frames(key)
        .iter()
        .map(|frame| frame.op_code)
        .collect();
    assert_eq!(ops, [OpCode::Signal, OpCode::Signal, OpCode::ByeRequest]);
    let late = bench.posting.message().signal(channel);
    assert_eq!(
        bench.posting.post(late).unwrap_err().why,
        PostError::ByePosted
    );
    assert!(
        !bench.is_finishing(key),
        "a peer may take an end for a hang-up"
    );
    feed(&mut bench, key, OpCode::Signal, 9); // it may still have something to say
    feed(&mut bench, key, OpCode::ByeResponse, id);
    assert_eq!(bench.closing(key), Some(false));
    let (returned, closed) = returned_and_closed(&mut bench);
    assert_eq!(closed.reason(), Reason::Bye);
    assert!(returned.is_empty());
    assert_eq!(closed.account(), account(4, 4, 4, 2));
}

#[test]
fn the_answering_side_sends_what_it_has_then_waits_for_the_peer_s_end() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let (key, hello) = bench.greet(listener);
    let channel = hello.channel();
    feed(&mut bench, key, OpCode::ByeRequest, 7);
    post(&mut bench, channel, &[b"promised"]);
    drop(bench.event()); // a dropped Bye answers, behind all that was posted
    bench.rest();
    let frames = bench.frames(key);
    assert_eq!(frames[0].body, b"promised");
    assert_eq!((frames[1].op_code, frames[1].id), (OpCode::ByeResponse, 7));
    assert!(bench.is_finishing(key));
    assert_eq!(
        bench.closing(key),
        None,
        "a close could take what the peer has not read"
    );
    bench.core.handle_end_of_stream(key, bench.now);
    bench.rest();
    let closed = bench.closed();
    assert_eq!(
        (closed.reason(), closed.account()),
        (Reason::Bye, account(2, 2, 0, 2))
    );
}

/// The peer waited no longer and closed its side while our answer, and what we owed it, were under
/// way: its end comes to us behind them all the same.
#[test]
fn a_peer_that_ends_behind_our_answer_may_not_have_read_it() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let id = bench.post(bench.posting.message().request(channel));
    bench.rest();
    feed(&mut bench, key, OpCode::Response, id);
    feed(&mut bench, key, OpCode::ByeRequest, 7);
    post(&mut bench, channel, &[b"owed"]);
    assert!(matches!(bench.event(), Event::Response(_)));
    drop(bench.event());
    bench.rest();
    assert_eq!(bench.frames(key).len(), 3, "all of it is sent");
    bench.core.handle_end_of_stream(key, bench.now);
    bench.rest();
    let closed = bench.closed();
    assert_eq!(
        (closed.reason(), closed.account()),
        (Reason::Bye, account(4, 4, 1, 2)),
        "what was answered, and no more"
    );
}

#[test]
fn a_peer_that_resets_behind_our_answer_said_goodbye_and_confirmed_nothing() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let (key, _hello) = bench.greet(listener);
    feed(&mut bench, key, OpCode::ByeRequest, 7);
    drop(bench.event());
    bench.rest();
    bench.core.handle_read_error(key, &reset(), bench.now);
    bench.rest();
    let closed = bench.closed();
    assert_eq!(
        (closed.reason(), closed.account()),
        (Reason::Bye, account(1, 1, 0, 2))
    );
}

#[test]
fn a_peer_that_stays_behind_our_answer_is_left_after_the_linger_timeout() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let (key, _hello) = bench.greet(listener);
    feed(&mut bench, key, OpCode::ByeRequest, 7);
    drop(bench.event());
    bench.rest();
    let linger = bench.shared.options.linger_timeout;
    assert_eq!(bench.core.poll_timeout(bench.now), Some(bench.now + linger));
    bench.later(linger);
    bench.rest();
    assert_eq!(bench.closed().reason(), Reason::Bye);
}

/// Both sides have sent ByeRequest, and this one got the peer's.
fn crossed(bench: &mut Bench) -> (Channel, RecordKey, u64, Event) {
    let (channel, key) = bench.connect();
    let id = bye(bench, channel);
    bench.rest();
    feed(bench, key, OpCode::ByeRequest, 70);
    let event = bench.event();
    bench.frames(key);
    (channel, key, id, event)
}

#[test]
fn crossing_goodbyes_finish_when_the_peer_answers_first() {
    let mut bench = Bench::new();
    let (_, key, id, event) = crossed(&mut bench);
    feed(&mut bench, key, OpCode::ByeResponse, id);
    assert_eq!(bench.closing(key), None, "our answer goes out first");
    drop(event);
    bench.rest();
    assert_eq!(bench.frames(key)[0].op_code, OpCode::ByeResponse);
    assert_eq!(bench.closing(key), None, "the peer has to read it");
    assert!(bench.is_finishing(key));
    bench.core.handle_end_of_stream(key, bench.now);
    bench.rest();
    let (_, closed) = returned_and_closed(&mut bench);
    // Nothing says that our own answer arrived: the peer may have closed its side before.
    assert_eq!(
        (closed.reason(), closed.account()),
        (Reason::Bye, account(3, 3, 2, 2))
    );
}

#[test]
fn crossing_goodbyes_finish_when_this_side_answers_first() {
    let mut bench = Bench::new();
    let (_, key, id, event) = crossed(&mut bench);
    drop(event);
    bench.rest();
    assert_eq!(bench.frames(key)[0].op_code, OpCode::ByeResponse);
    feed(&mut bench, key, OpCode::ByeResponse, id);
    let (_, closed) = returned_and_closed(&mut bench);
    assert_eq!(closed.reason(), Reason::Bye);
    assert_eq!(closed.account(), account(3, 3, 2, 2));
}

#[test]
fn a_peer_that_never_answers_a_crossing_goodbye_is_not_waited_for() {
    let mut bench = Bench::new();
    let (_, key, _, event) = crossed(&mut bench);
    drop(event);
    bench.rest();
    assert!(bench.is_finishing(key));
    bench.core.handle_read_error(key, &reset(), bench.now); // how some peers close
    bench.rest();
    assert_eq!(bench.closed().reason(), Reason::Bye);
}

#[test]
fn an_answer_that_was_confirmed_stays_so_if_the_connection_breaks_then() {
    let mut bench = Bench::new();
    let (_, key, id, _unanswered) = crossed(&mut bench);
    feed(&mut bench, key, OpCode::ByeResponse, id);
    bench.core.handle_read_error(key, &reset(), bench.now);
    bench.rest();
    let (_, closed) = returned_and_closed(&mut bench);
    assert_eq!(
        closed.account(),
        account(2, 2, 2, 2),
        "{:?}",
        closed.reason()
    );
}

#[test]
fn an_answer_that_nobody_asked_for_is_a_refusal() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    bench.accepts.insert(key, 0);
    post(&mut bench, channel, &[b"unsent"]);
    bench.rest();
    feed(&mut bench, key, OpCode::ByeResponse, 1);
    let (returned, closed) = returned_and_closed(&mut bench);
    assert_eq!(returned, [b"unsent"]);
    assert_eq!(closed.reason(), Reason::Refused);
    assert_eq!(closed.account(), account(2, 1, 0, 1));
}

#[test]
fn refusing_a_hello_ends_the_channel_once_the_peer_has_gone() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let (key, hello) = bench.greet(listener);
    bench.post(hello.refuse("no"));
    bench.rest();
    assert_eq!(bench.frames(key)[0].op_code, OpCode::ByeResponse);
    assert!(bench.is_finishing(key));
    bench.core.handle_end_of_stream(key, bench.now);
    bench.rest();
    assert_eq!(bench.closed().reason(), Reason::Refused);
}

#[test]
fn a_refusal_that_crosses_a_goodbye_is_not_its_answer() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let (key, hello) = bench.greet(listener);
    bench.post(hello.refuse("no"));
    bench.rest();
    feed(&mut bench, key, OpCode::ByeRequest, 2);
    bench.core.handle_end_of_stream(key, bench.now);
    bench.rest();
    assert!(matches!(bench.event(), Event::Bye(_)));
    let closed = bench.closed();
    assert_eq!(closed.reason(), Reason::Refused);
    assert_eq!(closed.account().confirmed, 0);
}

/// The peer refused our hello before it knew of our goodbye.
fn refused_across_a_goodbye(bench: &mut Bench, bye_id: Option<u64>) -> Closed {
    let (channel, key) = bench.connect();
    post(bench, channel, &[b"unread"]);
    let hello_id = 1;
    let bye = bench.posting.message().bye(channel);
    bench.post(bye.with_id(bye_id.unwrap_or_default()));
    bench.rest();
    assert_eq!(bench.frames(key).len(), 2);
    feed(bench, key, OpCode::ByeResponse, hello_id);
    assert_eq!(bench.closing(key), Some(false));
    let (returned, closed) = returned_and_closed(bench);
    assert!(returned.is_empty());
    closed
}

#[test]
fn a_refusal_that_crosses_our_goodbye_confirms_nothing() {
    // With ids that the engine chose, and with one that the application gave to both.
    for bye_id in [None, Some(1)] {
        let closed = refused_across_a_goodbye(&mut Bench::new(), bye_id);
        assert_eq!(closed.reason(), Reason::Refused);
        assert_eq!(closed.account(), account(3, 3, 0, 1), "{bye_id:?}");
    }
}

#[test]
fn behind_an_accepted_hello_its_id_is_as_good_as_any_for_a_goodbye() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    feed(&mut bench, key, OpCode::HelloResponse, 1);
    bench.post(bench.posting.message().bye(channel).with_id(1));
    bench.rest();
    feed(&mut bench, key, OpCode::ByeResponse, 1);
    assert!(matches!(bench.event(), Event::Accepted(_)));
    let (_, closed) = returned_and_closed(&mut bench);
    assert_eq!(
        (closed.reason(), closed.account()),
        (Reason::Bye, account(2, 2, 2, 2))
    );
}

#[test]
fn an_answer_to_a_crossing_goodbye_with_a_wrong_id_ends_it_and_confirms_nothing() {
    let mut bench = Bench::new();
    let (_, key, id, event) = crossed(&mut bench);
    feed(&mut bench, key, OpCode::ByeResponse, id + 1);
    drop(event);
    bench.rest();
    assert_eq!(bench.frames(key)[0].op_code, OpCode::ByeResponse);
    bench.core.handle_end_of_stream(key, bench.now);
    bench.rest();
    let (_, closed) = returned_and_closed(&mut bench);
    assert_eq!(
        (closed.reason(), closed.account()),
        (Reason::Bye, account(3, 3, 0, 2))
    );
}

#[test]
fn a_byesignal_from_the_wire_is_delivered_and_ends_the_channel() {
    let mut bench = Bench::new();
    let (_, key) = bench.connect();
    feed(&mut bench, key, OpCode::ByeSignal, 3);
    assert!(matches!(bench.event(), Event::ByeSignal(it) if it.id() == 3));
    assert_eq!(bench.closed().reason(), Reason::PeerAborted);
}

#[test]
fn an_abort_returns_what_is_queued_the_partly_written_first() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let sent = Header::LEN + 5;
    bench.accepts.insert(key, sent + Header::LEN);
    post(&mut bench, channel, &[b"first", b"second", b"third"]);
    bench.rest();
    bench.post(Post::abort(channel));
    bench.rest();
    assert_eq!(bench.closing(key), Some(true), "the peer sees a reset");
    let (returned, closed) = returned_and_closed(&mut bench);
    assert_eq!(returned, [b"second".to_vec(), b"third".to_vec()]);
    assert_eq!(closed.reason(), Reason::Aborted);
    assert_eq!(closed.account(), account(4, 2, 0, 0));
    assert!(bench.events().is_empty());
}

#[test]
fn a_message_counts_as_sent_with_its_last_byte() {
    for missing in [0, 1] {
        let mut bench = Bench::new();
        let (channel, key) = bench.connect();
        bench.accepts.insert(key, Header::LEN + 4 - missing);
        post(&mut bench, channel, &[b"body"]);
        bench.rest();
        bench.core.handle_end_of_stream(key, bench.now);
        bench.rest();
        let (returned, closed) = returned_and_closed(&mut bench);
        assert_eq!(returned.len(), missing);
        assert_eq!(closed.account(), account(2, 2 - missing as u64, 0, 0));
    }
}

#[test]
fn a_write_error_lets_the_peer_s_last_words_arrive() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    bench.accepts.insert(key, 0);
    post(&mut bench, channel, &[b"unsent"]);
    bench.rest();
    let broken = std::io::Error::from_raw_os_error(32);
    bench.core.handle_write_error(key, &broken, bench.now);
    bench.rest();
    assert_eq!(bench.closing(key), None);
    assert!(bench.wanted[&key].readable && !bench.wanted[&key].writable);
    let returned = bench.event();
    assert!(matches!(&returned, Event::Returned(it) if it.message().body() == b"unsent"));
    let refused = bench.posting.post(bench.posting.message().signal(channel));
    assert_eq!(refused.unwrap_err().why, PostError::ChannelClosed);
    feed(&mut bench, key, OpCode::Signal, 4);
    assert!(matches!(bench.event(), Event::Signal(_)));
    bench.core.handle_read_error(key, &reset(), bench.now);
    bench.rest();
    let closed = bench.closed();
    assert_eq!(closed.account(), account(2, 1, 0, 1));
    assert_eq!(closed.reason(), Reason::ConnectionLost);
    assert_eq!(
        closed.os_error().and_then(|error| error.raw_os_error()),
        Some(32)
    );
}

#[test]
fn a_write_error_with_a_peer_that_stays_ends_after_the_linger_timeout() {
    let mut bench = Bench::new();
    let (_, key) = bench.connect();
    bench
        .core
        .handle_write_error(key, &ErrorKind::BrokenPipe.into(), bench.now);
    let linger = bench.shared.options.linger_timeout;
    bench.later(linger);
    bench.rest();
    assert_eq!(bench.closed().reason(), Reason::ConnectionLost);
}

/// Whichever of writing and reading comes first.
#[test]
fn a_peer_that_closed_in_order_is_told_as_such_also_where_writing_found_it_first() {
    let broken_pipe = || ErrorKind::BrokenPipe.into();
    let cases: [(io::Error, &[u8], Reason); 4] = [
        (broken_pipe(), b"", Reason::PeerDisconnected),
        (broken_pipe(), b"part", Reason::ConnectionLost),
        // Behind a reset systems say that the stream has ended.
        (reset(), b"", Reason::ConnectionLost),
        (ErrorKind::TimedOut.into(), b"", Reason::ConnectionLost),
    ];
    for (error, part, reason) in cases {
        let mut bench = Bench::new();
        let (_, key) = bench.connect();
        bench.core.handle_write_error(key, &error, bench.now);
        bench.rest();
        feed(&mut bench, key, OpCode::Signal, 4);
        bench.feed(key, part);
        bench.core.handle_end_of_stream(key, bench.now);
        bench.rest();
        assert!(matches!(bench.event(), Event::Signal(_)));
        let closed = bench.closed();
        assert_eq!(closed.reason(), reason, "{error}");
        assert_eq!(
            closed.os_error().is_some(),
            reason == Reason::ConnectionLost
        );
    }
    // What was decided here stays the reason.
    let mut bench = Bench::new();
    let (_, key) = bench.connect();
    bench
        .core
        .handle_write_error(key, &broken_pipe(), bench.now);
    bench.close_group(Duration::from_secs(1));
    bench.pass();
    bench.core.handle_end_of_stream(key, bench.now);
    bench.rest();
    assert_eq!(bench.closed().reason(), Reason::GroupClosed);
}

#[test]
fn an_end_between_frames_and_one_within_a_frame_differ() {
    for (rest, reason) in [
        (0, Reason::PeerDisconnected),
        (7, Reason::ConnectionLost),
        (Header::LEN + 3, Reason::ConnectionLost),
    ] {
        let mut bench = Bench::new();
        let (_, key) = bench.connect();
        let whole = frame(OpCode::Signal, 1, b"whole");
        bench.feed(key, &whole);
        bench.feed(key, &whole[..rest]);
        bench.core.handle_end_of_stream(key, bench.now);
        bench.rest();
        assert!(matches!(bench.event(), Event::Signal(it) if it.body() == b"whole"));
        assert_eq!(bench.closed().reason(), reason);
    }
}

#[test]
fn responses_confirm_their_requests() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let first = bench.post(bench.posting.message().request(channel));
    bench.post(bench.posting.message().request(channel));
    bench.rest();
    feed(&mut bench, key, OpCode::HelloResponse, 1);
    feed(&mut bench, key, OpCode::Response, first);
    bench.core.handle_read_error(key, &reset(), bench.now);
    bench.rest();
    let closed = bench.events().pop();
    let Some(Event::Closed(closed)) = closed else {
        panic!("{closed:?}");
    };
    assert_eq!(closed.account(), account(3, 3, 2, 2));
}

#[test]
fn a_closing_group_sends_what_was_posted_then_waits_for_the_peer_s_end() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    bench.accepts.insert(key, 10);
    post(&mut bench, channel, &[b"queued"]);
    bench.close_group(Duration::from_secs(1));
    bench.rest();
    assert!(!bench.is_finishing(key));
    bench.accepts.remove(&key);
    bench.core.handle_writable(key, bench.now);
    bench.rest();
    assert!(bench.is_finishing(key));
    feed(&mut bench, key, OpCode::Signal, 5); // still delivered
    bench.core.handle_end_of_stream(key, bench.now);
    bench.rest();
    assert!(matches!(bench.event(), Event::Signal(_)));
    let closed = bench.closed();
    assert_eq!(
        (closed.reason(), closed.account()),
        (Reason::GroupClosed, account(2, 2, 0, 1))
    );
    assert!(bench.end_of_group().is_some());
}

#[test]
fn a_closing_group_gives_up_at_its_deadline_and_returns_the_rest() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    bench.accepts.insert(key, 10);
    post(&mut bench, channel, &[b"stuck", b"behind"]);
    bench.close_group(Duration::from_secs(1));
    bench.rest();
    assert_eq!(
        bench.core.poll_timeout(bench.now),
        Some(bench.now + Duration::from_secs(1))
    );
    bench.later(Duration::from_secs(1));
    bench.pass(); // the deadline's own pass
    bench.pass(); // and one more
    let (returned, closed) = returned_and_closed(&mut bench);
    assert_eq!(returned, [b"stuck".to_vec(), b"behind".to_vec()]);
    assert_eq!(closed.reason(), Reason::GroupClosed);
    assert!(bench.end_of_group().is_some());
}

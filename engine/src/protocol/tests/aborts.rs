//! Aborts that say why.

use crate::between::key::RecordKey;
use crate::channel::Channel;
use crate::peer::Peer;
use crate::reason::Reason;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::bench::{Bench, address, reset};
use super::goodbyes::{account, feed, post, returned_and_closed};

fn abort(bench: &mut Bench, channel: Channel, words: &[u8]) {
    let message = bench.posting.message().with_body(words).unwrap();
    bench.post(message.abort(channel).with_id(9));
}

#[test]
fn an_abort_with_words_says_them_ahead_of_what_is_queued() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    post(&mut bench, channel, &[b"one", b"two"]);
    abort(&mut bench, channel, b"enough");
    bench.rest();
    let mut expected = frame(OpCode::ByeSignal, 9, b"enough");
    expected[..2].copy_from_slice(&channel.number().to_be_bytes());
    assert_eq!(bench.last_frame(key), Some(&expected[..]));
    assert!(bench.frames(key).is_empty());
    let (bodies, closed) = returned_and_closed(&mut bench);
    assert_eq!(bodies, [b"one", b"two"]);
    assert_eq!(closed.reason(), Reason::Aborted);
    assert_eq!(closed.account(), account(3, 1, 0, 0), "without the words");
}

/// Nothing follows an end of the stream, nor goes where writing failed.
#[test]
fn an_abort_keeps_its_words_to_itself_where_nothing_more_may_be_sent() {
    type Before = fn(&mut Bench, Channel, RecordKey);
    let cases: [Before; 2] = [
        |bench, _, key| bench.core.handle_write_error(key, &reset(), bench.now),
        |bench, channel, key| {
            feed(bench, key, OpCode::ByeRequest, 70);
            drop(bench.event()); // answers
            bench.pass();
            assert!(bench.is_finishing(key));
            let _ = channel;
        },
    ];
    for before in cases {
        let mut bench = Bench::new();
        let (channel, key) = bench.connect();
        before(&mut bench, channel, key);
        abort(&mut bench, channel, b"enough");
        bench.rest();
        assert_eq!(bench.closing(key), Some(true));
        assert_eq!(bench.last_frame(key), None);
    }
}

#[test]
fn an_abort_waits_for_nothing_with_its_words() {
    let aborted = |bench: &mut Bench, channel, key| {
        abort(bench, channel, b"enough");
        bench.rest();
        assert_eq!(bench.closing(key), Some(true));
        assert_eq!(bench.last_frame(key), None);
    };
    // There is nobody yet to say it to, or nothing was said to it yet.
    let mut bench = Bench::new();
    let channel = bench.posting.connect(&address(5)).unwrap();
    bench.rest();
    let (key, endpoint) = bench.connect_action();
    bench
        .core
        .handle_connected(key, Peer::at(endpoint), bench.now);
    aborted(&mut bench, channel, key);
    // A frame was sent in part.
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    bench.accepts.insert(key, 5);
    post(&mut bench, channel, &[b"begun"]);
    bench.pass();
    bench.core.handle_writable(key, bench.now);
    aborted(&mut bench, channel, key);
    // The peer is behind with reading.
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    bench.accepts.insert(key, 0);
    post(&mut bench, channel, &[b"waits"]);
    bench.pass();
    aborted(&mut bench, channel, key);
}

//! What the application's side knows of a channel before it has ended.

use std::time::Duration;

use crate::account::ChannelAccount;
use crate::channel::Channel;
use crate::error::FlushError;
use crate::event::Event;
use crate::post::Post;
use crate::reason::Reason;
use crate::storage::queued_cost_of;
use crate::wire::test_frames::frame;
use crate::wire::{Header, OpCode};

use super::bench::{Bench, reset};

fn account(bench: &Bench, channel: Channel) -> ChannelAccount {
    bench.posting.account(channel).expect("it has not ended")
}

fn signal(bench: &Bench, channel: Channel) -> Post {
    bench.posting.message().signal(channel)
}

#[test]
fn an_account_goes_along_with_its_channel() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let greeted = account(&bench, channel);
    assert_eq!((greeted.posted, greeted.sent), (1, 1), "the hello");
    bench.accepts.insert(key, Header::LEN);
    for _ in 0..3 {
        bench.post(signal(&bench, channel));
    }
    let posted = account(&bench, channel);
    assert_eq!((posted.posted, posted.queued_messages), (4, 3));
    assert_eq!(posted.queued_bytes, 3 * queued_cost_of(Header::LEN));
    assert_eq!(posted.sent, 1, "nothing was exchanged since");
    bench.rest();
    let sent = account(&bench, channel);
    assert_eq!((sent.sent, sent.queued_messages), (2, 2));
    assert_eq!(sent.queued_bytes, 2 * queued_cost_of(Header::LEN));

    bench.feed(key, &frame(OpCode::HelloResponse, 1, b""));
    bench.feed(key, &frame(OpCode::Signal, 1, b""));
    bench.pass();
    let before = account(&bench, channel);
    assert!(bench.is_awake(), "who asks has the reactor come again");
    bench.rest();
    let answered = account(&bench, channel);
    assert_eq!(
        (answered.received, answered.confirmed),
        (2, 1),
        "{before:?}"
    );

    bench.core.handle_read_error(key, &reset(), bench.now);
    bench.rest();
    let ended = account(&bench, channel);
    let closed = loop {
        if let Event::Closed(closed) = bench.event() {
            break closed;
        }
    };
    let last = closed.account();
    assert_eq!((ended.returned, ended.queued_messages), (2, 0));
    assert_eq!(
        [
            ended.posted,
            ended.sent,
            ended.returned,
            ended.confirmed,
            ended.received
        ],
        [
            last.posted,
            last.sent,
            last.returned,
            last.confirmed,
            last.received
        ],
    );
    assert_eq!(bench.posting.account(channel), None, "its end was received");
}

#[test]
fn an_account_counts_the_bytes_of_frames_that_are_taken_and_read_in_parts() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let bytes = |bench: &mut Bench| {
        bench.rest();
        let account = account(bench, channel);
        (account.bytes_sent, account.bytes_received)
    };
    let (hello, received) = bytes(&mut bench);
    assert_eq!(received, 0);
    bench.accepts.insert(key, 100);
    let message = bench.posting.message().with_body(&[7; 1000]).unwrap();
    bench.post(message.signal(channel));
    assert_eq!(bytes(&mut bench), (hello + 100, 0));
    // The rest of a body is read to where it belongs.
    let signal = frame(OpCode::Signal, 5, &vec![7; 60_000]);
    for (fed, len) in [
        (0, 10_000),
        (10_000, 40_000),
        (50_000, signal.len() - 50_000),
    ] {
        bench.feed(key, &signal[fed..fed + len]);
        assert_eq!(bytes(&mut bench), (hello + 100, (fed + len) as u64));
    }
    bench.accepts.clear();
    bench.core.handle_writable(key, bench.now);
    assert_eq!(bytes(&mut bench).0, hello + Header::LEN as u64 + 1000);
}

/// When the first of what is queued came to the reactor.
#[test]
fn what_is_queued_has_an_age() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let oldest = |bench: &Bench| {
        let queue = &bench.shared.queue;
        let progress = queue.with_registry(|registry| registry.progress(channel, 1));
        progress.unwrap().report.oldest
    };
    bench.rest();
    assert_eq!(oldest(&bench), None);
    bench.accepts.insert(key, 0);
    let mut times = Vec::new();
    for _ in 0..3 {
        bench.now += Duration::from_secs(5);
        times.push(bench.now);
        bench.post(signal(&bench, channel));
        bench.rest();
    }
    bench.now += Duration::from_secs(5);
    for first in times {
        bench.pass();
        assert_eq!(oldest(&bench), Some(first));
        bench.accepts.insert(key, Header::LEN);
        bench.core.handle_writable(key, bench.now);
        bench.rest();
    }
    bench.pass();
    assert_eq!(oldest(&bench), None, "all was sent");
}

#[test]
fn a_flush_ends_when_all_was_sent_that_had_been_posted() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let now = std::time::Instant::now();
    let flushed = |bench: &Bench| bench.posting.flush_until(channel, now);
    assert_eq!(flushed(&bench), Ok(()), "the hello was sent");
    bench.accepts.insert(key, 0);
    bench.post(signal(&bench, channel));
    assert_eq!(flushed(&bench), Err(FlushError::TimedOut), "not taken yet");
    bench.rest();
    assert_eq!(flushed(&bench), Err(FlushError::TimedOut), "not sent yet");
    bench.accepts.insert(key, Header::LEN - 1);
    bench.core.handle_writable(key, bench.now);
    bench.rest();
    assert_eq!(flushed(&bench), Err(FlushError::TimedOut), "in part");
    bench.accepts.insert(key, 1);
    bench.core.handle_writable(key, bench.now);
    bench.rest();
    assert_eq!(flushed(&bench), Ok(()));
    let queue = &bench.shared.queue;
    let left = queue.with_registry(|registry| registry.flushing());
    assert_eq!(left, 0, "who gave up is not waited for");
}

/// Writing fails, and what the peer had sent is still received: the channel goes on for a while.
#[test]
fn a_flush_ends_when_something_comes_back() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    bench.accepts.insert(key, Header::LEN);
    for _ in 0..3 {
        bench.post(signal(&bench, channel));
    }
    bench.rest();
    bench.core.handle_write_error(key, &reset(), bench.now);
    bench.rest();
    let now = std::time::Instant::now();
    let outcome = bench.posting.flush_until(channel, now);
    assert_eq!(outcome, Err(FlushError::Returned(2)));
    bench.core.handle_end_of_stream(key, bench.now);
    bench.rest();
    assert_eq!(bench.posting.flush_until(channel, now), outcome);
    while !matches!(bench.event(), Event::Closed(closed) if closed.reason() == Reason::ConnectionLost)
    {
    }
    let outcome = bench.posting.flush_until(channel, now);
    assert_eq!(outcome, Err(FlushError::ChannelClosed));
}

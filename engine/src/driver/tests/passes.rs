//! What a pass reads and writes, and what it leaves to others.

use std::collections::VecDeque;

use super::*;
use crate::channel::Channel;
use crate::driver::rests::{Rest, Resting};
use crate::driver::turn::Hands;
use crate::handles::{BegunCall, CallEvent, CallLine, CallMailbox};
use crate::post::Post;
use crate::protocol::Wanted;
use crate::storage::MESSAGE_COST_MAX;

/// Connections that were accepted and have said hello, each with its peer.
fn greeted<const COUNT: usize>(bench: &mut Bench) -> [(RecordKey, Channel, TcpStream); COUNT] {
    let any = "tcp://127.0.0.1:0".parse().unwrap();
    bench.posting.listen(&any).unwrap();
    let Event::Listening(listening) = bench.event() else {
        panic!("it listens")
    };
    let at = listening.address().socket_addr().unwrap();
    std::array::from_fn(|_| {
        let mut peer = TcpStream::connect(at).unwrap();
        peer.write_all(&frame(OpCode::HelloRequest, 1, b""))
            .unwrap();
        let Event::Hello(hello) = bench.event() else {
            panic!("no hello")
        };
        let channel = hello.channel();
        (key_of(bench, channel), channel, peer)
    })
}

fn key_of(bench: &Bench, channel: Channel) -> RecordKey {
    let mut connections = bench.core.audit().connections.into_iter();
    let seen = connections.find(|it| it.channel == Some(channel));
    seen.unwrap().key
}

fn has_queued(bench: &Bench, key: RecordKey) -> bool {
    let mut connections = bench.core.audit().connections.into_iter();
    connections.find(|it| it.key == key).unwrap().has_queued
}

/// Sends so many signals, and waits until they have arrived.
fn send_signals(bench: &Bench, key: RecordKey, peer: &mut TcpStream, count: usize) {
    let signals = frame(OpCode::Signal, 5, b"").repeat(count);
    peer.write_all(&signals).unwrap();
    await_arrived(bench, key, signals.len());
}

/// Sleeps until the poller has something to report, and makes a pass.
fn pass_over_reports(bench: &mut Bench, reads: Reads) {
    bench.driver.wait(Some(Instant::now() + PATIENCE)).unwrap();
    assert!(!bench.driver.work(reads));
}

/// How many signals there are.
fn signals(bench: &mut Bench) -> usize {
    let mut count = 0;
    while let Some(event) = bench.inbox.try_recv().unwrap() {
        assert!(matches!(event, Event::Signal(_)));
        count += 1;
    }
    count
}

/// How many signals the next pass brings that brings some.
#[track_caller]
fn next_signals(bench: &mut Bench) -> usize {
    let deadline = Instant::now() + PATIENCE;
    loop {
        pass_over_reports(bench, Reads::Yes);
        match signals(bench) {
            0 => assert!(Instant::now() < deadline, "waited in vain for signals"),
            count => return count,
        }
    }
}

#[test]
fn a_pass_ends_its_reading_once_it_has_received_so_many_messages() {
    let mut bench = Bench::new();
    let peers: [_; 2] = greeted(&mut bench);
    bench.driver.limit(Limits {
        messages_per_pass: 20,
        ..LIMITS
    });
    let _peers = peers.map(|(key, _, mut peer)| {
        send_signals(&bench, key, &mut peer, 30);
        peer
    });
    for _ in 0..2 {
        assert_eq!(next_signals(&mut bench), 30, "those of one read");
    }
}

/// Whose thread it is has posted, and is not to be kept with what others sent.
#[test]
fn a_pass_behind_a_post_reads_nothing() {
    let mut bench = Bench::new();
    let [(key, _, mut peer)] = greeted(&mut bench);
    send_signals(&bench, key, &mut peer, 1);
    pass_over_reports(&mut bench, Reads::No);
    assert_eq!(signals(&mut bench), 0);
    assert_eq!(next_signals(&mut bench), 1);
}

#[test]
fn an_answer_that_has_arrived_by_its_deadline_is_read_though_nothing_has_told_of_it() {
    let mut bench = Bench::new();
    let [(key, channel, mut peer)] = greeted(&mut bench);
    let mailbox = Arc::new(CallMailbox::new());
    let deadline = Instant::now();
    let call = BegunCall {
        channel,
        id: 9,
        line: CallLine::new(&mailbox),
        deadline: Some(deadline),
    };
    let before = deadline - Duration::from_nanos(1);
    bench.core.begin_call(call, before);
    let answer = frame(OpCode::Response, 9, b"");
    peer.write_all(&answer).unwrap();
    await_arrived(&bench, key, answer.len());
    bench.driver.work(Reads::Yes);
    let mut told = VecDeque::new();
    mailbox.take_more(&mut told);
    assert!(matches!(
        told.make_contiguous(),
        [CallEvent::Response(it)] if it.id == 9
    ));
}

/// Posts a message that cannot be sent, as far as the core knows, though there is room in the system.
fn block(bench: &mut Bench, key: RecordKey, channel: Channel) {
    bench.core.handle_blocked(key, Instant::now());
    let message = bench.posting.message();
    bench.posting.post(message.signal(channel)).unwrap();
    bench.driver.work(Reads::No);
    assert!(has_queued(bench, key));
}

/// The system says late that it takes more.
#[test]
fn for_whom_it_is_time_what_is_queued_is_offered_at_once() {
    let mut bench = Bench::new();
    let [(key, channel, _peer)] = greeted(&mut bench);
    block(&mut bench, key, channel);
    assert!(bench.driver.look(key, Instant::now()));
    assert!(!has_queued(&bench, key));
}

#[test]
fn behind_a_rest_what_is_queued_is_offered_at_once() {
    let mut bench = Bench::new();
    let [(key, channel, _peer)] = greeted(&mut bench);
    block(&mut bench, key, channel);
    bench.sockets.set_resting(key, Resting::Sending);
    bench.rests.begin(key, Rest::Sending, Instant::now());
    let over = bench.rests.next().unwrap();
    bench.receive(over);
    bench.transmit(over);
    assert!(!has_queued(&bench, key));
}

#[test]
fn what_a_read_brought_is_counted_without_what_else_has_happened() {
    let mut bench = Bench::new();
    let [(other, channel, _of_other), (key, _, mut peer)] = greeted(&mut bench);
    block(&mut bench, other, channel);
    bench.posting.post(Post::abort(channel)).unwrap();
    bench.driver.work(Reads::No);
    assert!(matches!(bench.event(), Event::Returned(_)));
    assert!(matches!(bench.event(), Event::Closed(_)));
    send_signals(&bench, key, &mut peer, 1);
    bench.messages_left = 100;
    bench.read(key, Instant::now());
    assert_eq!(bench.messages_left, 99);
}

#[test]
fn reads_are_short_behind_one_that_brought_many_small_messages_and_not_behind_another() {
    let mut bench = Bench::new();
    let [(key, _, mut peer)] = greeted(&mut bench);
    for (count, is_short) in [
        (1, false),
        (63, false),
        (64, true),
        (63, false),
        (100, true),
    ] {
        send_signals(&bench, key, &mut peer, count);
        bench.read(key, Instant::now());
        assert_eq!(bench.reads_small_frames, is_short, "{count}");
    }
    let large = frame(OpCode::Signal, 5, &[7; 600]).repeat(64);
    peer.write_all(&large).unwrap();
    await_arrived(&bench, key, large.len());
    bench.read(key, Instant::now());
    assert!(!bench.reads_small_frames);
}

/// The rest of one read waits in the buffer, and is taken out piece by piece.
#[test]
fn what_waits_for_budget_is_received_in_order_however_often_it_is_gone_on_with() {
    let mut bench = Bench::with(Options {
        inbound_bytes: 2 * MESSAGE_COST_MAX,
        inbound_bytes_per_channel: 2 * MESSAGE_COST_MAX,
        ..Options::default()
    });
    let [(key, _, mut peer)] = greeted(&mut bench);
    let all: Vec<_> = (0..1000_u16)
        .flat_map(|number| frame(OpCode::Signal, 5, &number.to_be_bytes()))
        .collect();
    peer.write_all(&all).unwrap();
    await_arrived(&bench, key, all.len());
    let mut held = std::collections::BTreeSet::new();
    for number in 0..1000_u16 {
        let Event::Signal(signal) = bench.event() else {
            panic!("not a signal")
        };
        assert_eq!(signal.body(), number.to_be_bytes());
        held.insert(bench.held.start);
    }
    assert!(held.len() > 3, "else this tests nothing");
}

/// Behind a report an epoll is not readable anew because more is wanted.
#[test]
fn what_is_wanted_as_well_is_noted() {
    let mut bench = Bench::new();
    let [(key, ..)] = greeted(&mut bench);
    let wanted = |readable, writable| Wanted { readable, writable };
    let (none, reads, writes) = (
        wanted(false, false),
        wanted(true, false),
        wanted(false, true),
    );
    let both = wanted(true, true);
    for (before, now, is_more) in [
        (reads, both, true),
        (writes, both, true),
        (reads, writes, true),
        (writes, reads, true),
        (both, reads, false),
        (both, both, false),
        (reads, none, false),
        (none, both, false),
    ] {
        bench.sockets.declare(key, before);
        bench.sockets.take_widened();
        bench.sockets.declare(key, now);
        assert_eq!(bench.sockets.take_widened(), is_more);
    }
}

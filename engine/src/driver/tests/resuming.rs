//! The shared buffer, where its holder ends in the batch in which another comes to hold it.

use rustix::event::{PollFd, PollFlags, poll};

use super::refused::refuse;
use super::*;
use crate::protocol::audit::Seen;
use crate::storage::MESSAGE_COST_MAX;

/// Two connections, each with its peer, whose HelloRequests are out.
fn two(bench: &mut Bench) -> [(RecordKey, TcpStream); 2] {
    let (first, peer_of_first) = connected(bench);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    bench.connect(listener.local_addr().unwrap().port());
    let other = |bench: &Bench| bench.sockets.keys().into_iter().find(|&key| key != first);
    bench.pass_until("another connection", |bench| {
        let key = other(bench);
        key.is_some_and(|key| matches!(bench.sockets.get(key), Some(Socket::Connected(_))))
    });
    let peer = listener.accept().unwrap().0;
    [(first, peer_of_first), (other(bench).unwrap(), peer)]
}

fn seen(bench: &Bench, key: RecordKey) -> Seen {
    let audit = bench.core.audit();
    audit
        .connections
        .into_iter()
        .find(|it| it.key == key)
        .unwrap()
}

/// Another pass, although there may be nothing to do.
fn pass_now(bench: &mut Bench) {
    bench.sockets.world.waker().wake().unwrap();
    assert!(!bench.pass().unwrap());
}

/// Posts to a connection until the system takes no more.
fn block(bench: &mut Bench, key: RecordKey) {
    let channel = seen(bench, key).channel.unwrap();
    let mut since_taken = 0;
    while since_taken < 100 {
        let mut message = bench.posting.message();
        message.resize_body(60_000).unwrap();
        let is_taken = bench.posting.post(message.signal(channel)).is_ok();
        since_taken = if is_taken { 0 } else { since_taken + 1 };
        pass_now(bench);
    }
}

fn await_readable(bench: &Bench, key: RecordKey) {
    let Some(Socket::Connected(stream)) = bench.sockets.get(key) else {
        panic!("not connected")
    };
    let mut polled = [PollFd::new(stream, PollFlags::IN)];
    let patience = rustix::event::Timespec {
        tv_sec: 30,
        tv_nsec: 0,
    };
    assert_eq!(poll(&mut polled, Some(&patience)).unwrap(), 1);
}

#[test]
fn what_one_connection_sent_is_not_given_to_another_that_held_the_buffer() {
    let mut bench = Bench::with(Options {
        inbound_bytes: 2 * MESSAGE_COST_MAX,
        inbound_bytes_per_channel: 2 * MESSAGE_COST_MAX,
        ..Options::default()
    });
    let [(first, mut peer_of_first), (second, mut peer_of_second)] = two(&mut bench);
    let channel = seen(&bench, second).channel.unwrap();
    // The first uses the budget up, and the rest of what it sent holds the shared buffer.
    let mut flood = frame(OpCode::HelloResponse, 1, b"");
    for len in [65_000, 65_000, 65_000, 16_000, 16_000, 16_000] {
        flood.extend(frame(OpCode::Signal, 5, &vec![7; len]));
    }
    for _ in 0..200 {
        flood.extend(frame(OpCode::Signal, 5, b""));
    }
    peer_of_first.write_all(&flood).unwrap();
    bench.pass_until("the first to hold the buffer", |bench| {
        bench.core.audit().holder == Some(first)
    });
    block(&mut bench, first);
    refuse(&mut bench, first);
    // One small message is dropped: the first is served, and is to be polled for writing. The system
    // refuses, in the wait that finds the second readable.
    assert!(matches!(bench.event(), Event::Accepted(_)));
    pass_now(&mut bench);
    let sent: Vec<u8> = (0..64).collect();
    let of_second = sent.iter().map(|&n| frame(OpCode::Signal, 5, &[n]));
    let of_second: Vec<u8> = of_second.flatten().collect();
    peer_of_second.write_all(&of_second).unwrap();
    await_readable(&bench, second);
    pass_now(&mut bench);
    assert!(!bench.sockets.keys().contains(&first), "it was refused");
    assert_eq!(bench.core.audit().holder, Some(second));
    let mut received = Vec::new();
    while received.len() < sent.len() {
        if let Event::Signal(it) = bench.event()
            && it.channel() == channel
        {
            received.push(it.body()[0]);
        }
    }
    assert_eq!(received, sent);
}

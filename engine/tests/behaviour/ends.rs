//! Closing and dropping the handles of an engine: what was posted is sent, what was sent to us is
//! received, and no end takes longer than was said.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ampe::{Address, Channel, ChannelGroup, Engine, Event, Inbox, Options, PostError};

use crate::common::peer::{HELLO_REQUEST, SIGNAL, frame};
use crate::common::{self, PATIENCE, engine, group, listen, next};

/// The least that an engine accepts.
const LEAST: usize = 2 * (131_088 + 896);

fn least() -> Options {
    let mut options = Options::default();
    options.inbound_bytes = LEAST;
    options.inbound_bytes_per_channel = LEAST;
    options
}

fn local() -> Address {
    "tcp://127.0.0.1:0".parse().unwrap()
}

/// Its inbox is full, so that its connection waits for budget and its peer's end lies behind what is
/// not read. What is in the report is the application's: it makes room for the rest.
#[test]
fn closing_with_a_full_inbox_brings_all_that_the_peer_sent_and_waits_for_no_time() {
    let engine = Engine::start(least()).unwrap();
    let (posting, mut inbox) = group(&engine);
    let (_, bound) = listen(&posting, &mut inbox, &local());
    let mut peer = TcpStream::connect(bound.socket_addr().unwrap()).unwrap();
    let hello = frame(HELLO_REQUEST, 1).bytes();
    let signals = frame(SIGNAL, 5).with_body([1; 900]).bytes().repeat(400);
    peer.write_all(&[hello, signals].concat()).unwrap();
    drop(peer); // an orderly end
    let hello = next(&mut inbox, "Hello"); // the rest follows on its heels
    let begun = Instant::now();
    let report = inbox.close(PATIENCE);
    assert!(begun.elapsed() < PATIENCE / 2, "it waited for its time");
    let signals = report
        .unread
        .iter()
        .filter(|it| matches!(it, Event::Signal(_)));
    assert_eq!(signals.count(), 400);
    drop((hello, posting));
}

/// A peer that floods a closing group fills what the report may hold, and no more.
#[test]
fn a_flood_fills_no_more_than_a_report_may_hold() {
    let engine = Engine::start(least()).unwrap();
    let (posting, mut inbox) = group(&engine);
    let (_, bound) = listen(&posting, &mut inbox, &local());
    let mut peer = TcpStream::connect(bound.socket_addr().unwrap()).unwrap();
    peer.write_all(&frame(HELLO_REQUEST, 1).bytes()).unwrap();
    let flood = frame(SIGNAL, 5).with_body([1; 65_535]).bytes();
    let flooder = thread::spawn(move || while peer.write_all(&flood).is_ok() {});
    assert!(matches!(next(&mut inbox, "Hello"), Event::Hello(_)));
    let report = inbox.close(Duration::from_secs(2));
    flooder.join().unwrap();
    let bodies = report.unread.iter().map(|event| match event {
        Event::Signal(signal) => signal.body().len() + 16 + 896,
        _ => 0,
    });
    let held: usize = bodies.sum();
    println!("the report holds {held} bytes");
    assert!(held > LEAST, "more than the budget was received");
    assert!(held <= (64 << 20) + LEAST, "{held} bytes are held");
}

/// A server that counts the signals which it gets on its one channel.
fn counting_server() -> (Address, JoinHandle<usize>) {
    let engine = engine();
    let (posting, mut inbox) = group(&engine);
    let (_, bound) = listen(&posting, &mut inbox, &local());
    let counter = thread::spawn(move || {
        let _engine = engine;
        let mut count = 0;
        loop {
            match next(&mut inbox, "signals and an end") {
                Event::Hello(_) => {}
                Event::Signal(_) => count += 1,
                Event::Closed(_) => return count,
                other => panic!("unexpected {other:?}"),
            }
        }
    });
    (bound, counter)
}

/// Posts to a channel that is not connected yet.
fn post_a_thousand(engine: &Engine, posting: &ChannelGroup, address: &Address) {
    let channel = posting.connect(address).unwrap();
    for _ in 0..1000 {
        let message = engine.message().with_body(b"x").unwrap();
        posting.post(message.signal(channel)).unwrap();
    }
}

/// A program that posts and ends, in whichever order its handles go.
#[test]
fn what_was_posted_before_the_handles_were_dropped_is_received() {
    type Drop = fn(Engine, ChannelGroup, Inbox);
    let orders: [(&str, Drop); 3] = [
        ("inbox first", |engine, posting, inbox| {
            drop((inbox, posting, engine));
        }),
        ("engine first", |engine, posting, inbox| {
            drop((engine, posting, inbox));
        }),
        ("by a clone", |engine, posting, inbox| {
            let clone = engine.clone();
            drop((engine, clone, posting, inbox));
        }),
    ];
    for (order, drop_all) in orders {
        let (address, counter) = counting_server();
        let engine = engine();
        let (posting, inbox) = group(&engine);
        post_a_thousand(&engine, &posting, &address);
        drop_all(engine, posting, inbox);
        assert_eq!(counter.join().unwrap(), 1000, "{order}");
    }
}

/// A peer that does not read, with as much posted to it as can be.
fn deaf(posting: &ChannelGroup, inbox: &mut Inbox) -> (TcpStream, Channel) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let channel = posting.connect(&address.parse().unwrap()).unwrap();
    let mut peer = listener.accept().unwrap().0;
    peer.read_exact(&mut [0; 16]).unwrap();
    let mut is_full = false;
    while !is_full {
        let mut message = posting.message();
        message.resize_body(60_000).unwrap();
        let outcome = posting.post(message.signal(channel));
        is_full = match outcome.map_err(|refused| refused.why) {
            Ok(_) => false,
            Err(PostError::Full(_)) => {
                let soon = Instant::now() + Duration::from_millis(50);
                inbox.recv_until(soon).unwrap().is_none()
            }
            Err(why) => panic!("{why}"),
        };
    }
    (peer, channel)
}

#[test]
fn beside_a_peer_that_does_not_read_a_drop_ends_in_time() {
    for is_engine_first in [false, true] {
        let engine = engine();
        let (posting, mut inbox) = group(&engine);
        let (peer, channel) = deaf(&posting, &mut inbox);
        let begun = Instant::now();
        if is_engine_first {
            drop(engine);
            let is_returned = |event: &Event| matches!(event, Event::Returned(_));
            let mut first = next(&mut inbox, "what was not sent");
            while matches!(first, Event::Room(_)) {
                first = next(&mut inbox, "what was not sent"); // the system took some more
            }
            assert!(is_returned(&first), "{first:?}");
            let outcome = posting.post(posting.message().signal(channel));
            assert_eq!(outcome.unwrap_err().why, PostError::EngineEnded);
        } else {
            drop(inbox);
            let outcome = posting.post(posting.message().signal(channel));
            assert_eq!(outcome.unwrap_err().why, PostError::GroupClosed);
        }
        // A second is what is promised; the rest is for a machine that is busy.
        assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
        drop(peer);
    }
}

/// What closes in order does not wait for the second that a drop may take.
#[test]
fn a_drop_takes_no_longer_than_it_has_to() {
    let begun = Instant::now();
    let rounds = 40;
    for _ in 0..rounds {
        let it = common::connected(common::Transport::Tcp);
        let request = it.engine.message().request(it.to_server);
        it.client.0.post(request).unwrap();
        drop(it.client.1);
        drop(it.server.1);
        drop(it.engine);
    }
    let most = Duration::from_secs(rounds / 2);
    assert!(
        begun.elapsed() < most,
        "half a second for each: {:?}",
        begun.elapsed()
    );
}

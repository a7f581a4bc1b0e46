//! ampe's part: signals one way, requests and responses for round trips.

use std::collections::VecDeque;
use std::time::Instant;

use ampe::{ChannelGroup, Engine, Event, GroupOptions, Inbox, Options, PostError};
use hdrhistogram::Histogram;

use crate::{Outcome, Peer, start_child, wait_for_parent};

const BATCH: usize = 256;

fn start() -> (Engine, ChannelGroup, Inbox) {
    let engine = Engine::start(Options::default()).expect("the engine starts");
    let (group, inbox) = engine.group(GroupOptions::default()).expect("a new engine has groups");
    (engine, group, inbox)
}

fn listen(group: &ChannelGroup, inbox: &mut Inbox) -> String {
    group.listen(&"tcp://127.0.0.1:0".parse().expect("valid")).expect("posted");
    match inbox.recv() {
        Ok(Event::Listening(listening)) => listening.address().to_string(),
        other => panic!("cannot listen: {other:?}"),
    }
}

/// The receiver: the first message starts the clock.
pub(crate) fn receive(size: usize, count: u64) -> Outcome {
    let (_engine, group, mut inbox) = start();
    let address = listen(&group, &mut inbox);
    let child: Peer = start_child("ampe", &address, size, count, false);
    let mut events = Vec::new();
    let (mut received, mut begin) = (0, Instant::now());
    while received < count {
        inbox.recv_many(&mut events, 4096).expect("the engine runs");
        for event in events.drain(..) {
            match event {
                Event::Signal(signal) => {
                    assert_eq!(signal.body().len(), size);
                    if received == 0 {
                        begin = Instant::now();
                    }
                    received += 1;
                }
                Event::Hello(hello) => {
                    group.post(hello.accept(group.message())).expect("posted");
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }
    let elapsed = begin.elapsed();
    drop(child);
    Outcome { messages: count, elapsed, p50: 0, p99: 0 }
}

pub(crate) fn send(address: &str, size: usize, count: u64) {
    let (_engine, group, mut inbox) = start();
    let channel = group.connect(&address.parse().expect("an address")).expect("posted");
    let body = vec![7; size];
    let (mut posts, mut posted) = (VecDeque::with_capacity(BATCH), Vec::with_capacity(BATCH));
    let mut left = count;
    while left > 0 || !posts.is_empty() {
        while left > 0 && posts.len() < BATCH {
            posts.push_back(group.message().body(&body).expect("fits").signal(channel));
            left -= 1;
        }
        posted.clear();
        match group.post_many(&mut posts, &mut posted) {
            Ok(()) => {}
            Err(PostError::Full(_)) => wait_for_room(&mut inbox),
            Err(why) => panic!("{why}"),
        }
    }
    wait_for_parent();
}

fn wait_for_room(inbox: &mut Inbox) {
    loop {
        match inbox.recv() {
            Ok(Event::Room(_)) => return,
            Ok(Event::Connected(_)) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

pub(crate) fn ask(size: usize, count: u64) -> Outcome {
    let (_engine, group, mut inbox) = start();
    let address = listen(&group, &mut inbox);
    let child = start_child("ampe", &address, size, count, true);
    let channel = match inbox.recv() {
        Ok(Event::Hello(hello)) => {
            let channel = hello.channel();
            group.post(hello.accept(group.message())).expect("posted");
            channel
        }
        other => panic!("unexpected {other:?}"),
    };
    let body = vec![7; size];
    let mut histogram = Histogram::<u64>::new(3).expect("a valid precision");
    let begin = Instant::now();
    for _ in 0..count {
        let start = Instant::now();
        group.post(group.message().body(&body).expect("fits").request(channel)).expect("posted");
        match inbox.recv() {
            Ok(Event::Response(response)) => assert_eq!(response.body().len(), size),
            other => panic!("unexpected {other:?}"),
        }
        histogram.record(start.elapsed().as_nanos() as u64).expect("grows as needed");
    }
    let elapsed = begin.elapsed();
    drop(child);
    let quantile = |at| histogram.value_at_quantile(at);
    Outcome { messages: count, elapsed, p50: quantile(0.5), p99: quantile(0.99) }
}

pub(crate) fn answer(address: &str) {
    let (_engine, group, mut inbox) = start();
    group.connect(&address.parse().expect("an address")).expect("posted");
    for event in inbox.iter() {
        match event {
            Event::Request(request) => {
                group.post(request.echo()).expect("posted");
            }
            Event::Closed(_) => return,
            _ => {}
        }
    }
}

//! The path of a small message through the engine without sockets and threads, stage by stage, for
//! tools that count instructions:
//!
//! ```text
//! valgrind --tool=callgrind target/release/deps/ampe-... --ignored --exact protocol::tests::hot_path::alone
//! ```

use std::collections::VecDeque;

use crate::channel::Channel;
use crate::event::Event;
use crate::handles::Batch;
use crate::options::Options;
use crate::protocol::ReadPlan;

use super::bench::Bench;
use super::starving::signal;

const BODY: usize = 64;
const ROUNDS: usize = 20;

#[inline(never)]
fn parse(bench: &mut Bench, key: crate::between::key::RecordKey, bytes: &[u8]) {
    assert!(matches!(bench.core.read_plan(key), ReadPlan::Shared));
    assert_eq!(bench.core.handle_shared(key, bytes, bench.now), bytes.len());
}

#[inline(never)]
fn deliver(bench: &mut Bench) {
    bench.core.settle(bench.now);
    bench.core.deliver();
}

#[inline(never)]
fn receive(bench: &mut Bench, count: usize) {
    let mut received = 0;
    while received < count {
        for event in bench.inbox.recv_many().unwrap() {
            received += 1;
            let_go(event);
        }
    }
}

#[inline(never)]
fn let_go(event: Event) {
    assert!(matches!(&event, Event::Signal(it) if it.body().len() == BODY));
}

#[inline(never)]
fn build(bench: &Bench, posts: &mut VecDeque<crate::Post>, channel: Channel, count: usize) {
    for _ in 0..count {
        let message = bench.posting.message().with_body(&[7; BODY]).unwrap();
        posts.push_back(message.signal(channel));
    }
}

#[inline(never)]
fn post(bench: &Bench, posts: &mut VecDeque<crate::Post>) {
    bench.posting.post_many(posts, &mut Vec::new()).unwrap();
}

#[inline(never)]
fn submit(bench: &mut Bench, batch: &mut Batch) {
    bench.core.exchange(batch);
    crate::driver::turn::submit(&mut bench.core, batch, bench.now);
}

#[inline(never)]
fn send(bench: &mut Bench, scratch: &mut Vec<u8>) {
    let mut list = Vec::new();
    loop {
        bench.core.take_transmit_list(&mut list);
        if list.is_empty() {
            return;
        }
        for key in list.drain(..) {
            let gather = bench.core.transmit(key, scratch).unwrap();
            let offered = gather.bytes();
            bench
                .core
                .handle_transmitted(key, offered, offered, bench.now);
        }
    }
}

#[test]
#[ignore = "counted by callgrind"]
fn alone() {
    const PLENTY: usize = 256 << 20;
    let mut bench = Bench::with(Options {
        inbound_bytes: PLENTY,
        inbound_bytes_per_channel: PLENTY,
        outbound_bytes: PLENTY,
        outbound_bytes_per_channel: PLENTY,
        ..Options::default()
    });
    let (_, listener) = bench.listen();
    let (key, hello) = bench.greet(listener);
    bench.core.set_receiver(Some(bench.group.id)); // this thread does everything
    let bytes = signal(&[3; BODY]);
    let count = 256 * 1024 / bytes.len();
    let bytes = bytes.repeat(count);
    let (mut posts, mut batch) = (VecDeque::new(), Batch::default());
    let mut scratch = Vec::with_capacity(128 * 1024);
    for _ in 0..ROUNDS {
        parse(&mut bench, key, &bytes);
        deliver(&mut bench);
        receive(&mut bench, count);
        bench.wait();
        build(&bench, &mut posts, hello.channel(), count);
        post(&bench, &mut posts);
        submit(&mut bench, &mut batch);
        send(&mut bench, &mut scratch);
        deliver(&mut bench);
        bench.wait();
    }
    println!("{} messages of {BODY} bytes each way", ROUNDS * count);
}

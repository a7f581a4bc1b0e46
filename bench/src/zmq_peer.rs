//! libzmq's part: PUSH and PULL one way, REQ and REP for round trips, with its defaults.

use std::time::Instant;

use hdrhistogram::Histogram;

use crate::{Outcome, start_child, wait_for_parent};

fn bound(socket: &zmq::Socket) -> String {
    socket.bind("tcp://127.0.0.1:*").expect("binds");
    socket.get_last_endpoint().expect("is bound").expect("is text")
}

pub(crate) fn receive(size: usize, count: u64) -> Outcome {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::PULL).expect("a socket");
    let address = bound(&socket);
    let child = start_child("zmq", &address, size, count, false);
    let mut message = zmq::Message::new();
    socket.recv(&mut message, 0).expect("receives");
    let begin = Instant::now();
    for _ in 1..count {
        socket.recv(&mut message, 0).expect("receives");
        assert_eq!(message.len(), size);
    }
    let elapsed = begin.elapsed();
    drop(child);
    Outcome { messages: count, elapsed, p50: 0, p99: 0 }
}

pub(crate) fn send(address: &str, size: usize, count: u64) {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::PUSH).expect("a socket");
    socket.connect(address).expect("connects");
    let body = vec![7u8; size];
    for _ in 0..count {
        socket.send(&body[..], 0).expect("sends");
    }
    wait_for_parent();
}

pub(crate) fn ask(size: usize, count: u64) -> Outcome {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::REQ).expect("a socket");
    let address = bound(&socket);
    let child = start_child("zmq", &address, size, count, true);
    let body = vec![7u8; size];
    let mut message = zmq::Message::new();
    let mut histogram = Histogram::<u64>::new(3).expect("a valid precision");
    socket.send(&body[..], 0).expect("sends");
    socket.recv(&mut message, 0).expect("receives");
    let begin = Instant::now();
    for _ in 1..count {
        let start = Instant::now();
        socket.send(&body[..], 0).expect("sends");
        socket.recv(&mut message, 0).expect("receives");
        histogram.record(start.elapsed().as_nanos() as u64).expect("grows as needed");
    }
    let elapsed = begin.elapsed();
    drop(child);
    let quantile = |at| histogram.value_at_quantile(at);
    Outcome { messages: count, elapsed, p50: quantile(0.5), p99: quantile(0.99) }
}

pub(crate) fn answer(address: &str, count: u64) {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::REP).expect("a socket");
    socket.connect(address).expect("connects");
    let mut message = zmq::Message::new();
    for _ in 0..count {
        socket.recv(&mut message, 0).expect("receives");
        socket.send(&message[..], 0).expect("sends");
    }
    wait_for_parent();
}

//! In steady state a message costs no allocation, on either side.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

mod common;

use std::alloc::System;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Sends `rounds` batches of 100 messages of `len` bytes and receives each batch. All of them have one body, if it
/// is shared.
fn exchange(it: &mut common::Connected, buffers: &mut Buffers, rounds: usize, len: usize) {
    let batch = 100;
    for _ in 0..rounds {
        for _ in 0..batch {
            let mut message = it.client.0.message();
            match &buffers.shared {
                Some(body) => message.set_shared_body(body),
                None => drop(message.resize_body(len).unwrap()),
            }
            buffers.posts.push_back(message.signal(it.to_server));
        }
        buffers.posted.clear();
        it.client
            .0
            .post_many(&mut buffers.posts, &mut buffers.posted)
            .unwrap();
        let mut received = 0;
        while received < batch {
            received += it.server.1.recv_many().unwrap().count();
        }
    }
}

/// Has as many messages at once as ever exist in an exchange, so that there is storage for them afterwards, however
/// the threads take turns.
fn fill_pools(it: &mut common::Connected, buffers: &mut Buffers, len: usize) {
    let (batch, mut held) = (100, Vec::new());
    let post = |message: ampe::Message| message.signal(it.to_server);
    let make = || {
        let mut message = it.client.0.message();
        message.resize_body(len).unwrap();
        message
    };
    buffers.posts.extend((0..batch).map(|_| post(make())));
    while !buffers.posts.is_empty() {
        let client = &it.client.0;
        client
            .post_many(&mut buffers.posts, &mut buffers.posted)
            .unwrap();
    }
    while held.len() < batch {
        held.extend(it.server.1.recv_many().unwrap());
    }
    let sent_beside = Vec::from_iter((0..batch).map(|_| make()));
    drop((held, sent_beside));
}

#[derive(Default)]
struct Buffers {
    posts: VecDeque<ampe::Post>,
    posted: Vec<ampe::Posted>,
    shared: Option<ampe::SharedBody>,
}

/// Allocations are counted of all threads, so tests take turns.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn steady_state_allocates_nothing_for_a_message() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for transport in common::transports() {
        // Room for a whole batch, so that no post is refused; and all that was ever free is kept.
        let mut options = ampe::Options::default();
        options.pool_bytes = 128 << 20;
        options.outbound_bytes_per_channel = 16 << 20;
        let mut it = common::connected_with(transport, options);
        let mut buffers = Buffers::default();
        let alone = [0, 64, 5000, 60_000].map(|len| (len, false));
        for (len, shares) in alone.into_iter().chain([(64, true), (60_000, true)]) {
            let body = ampe::SharedBody::try_from(vec![7; len]).unwrap();
            buffers.shared = shares.then_some(body);
            fill_pools(&mut it, &mut buffers, len);
            exchange(&mut it, &mut buffers, 50, len);
            let region = Region::new(ALLOCATOR);
            let rounds = 200;
            exchange(&mut it, &mut buffers, rounds, len);
            let change = region.change();
            let (count, messages) = (change.allocations + change.reallocations, rounds * 100);
            println!("{transport:?}, {len} bytes: {count} allocations for {messages} messages");
            // A container may still grow when a batch happens to be the largest so far; one for each batch
            // would be 200. Where bodies are shared, the free storage of text headers comes back from the reactor by
            // the thousand, and the list that takes it grows and shrinks.
            let most = if shares { 150 } else { 50 };
            assert!(count <= most, "{count} allocations for {messages} messages");
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Two calls at once, which the server answers in one post.
fn call_twice(it: &mut common::Connected, buffers: &mut Buffers, context: &mut Context<'_>) {
    let deadline = Instant::now() + common::PATIENCE;
    let call = || {
        let request = it.client.0.message().with_body(b"what?").unwrap();
        it.client.0.call(it.to_server, request, deadline)
    };
    let (mut first, mut second) = (pin!(call()), pin!(call()));
    assert!(first.as_mut().poll(context).is_pending());
    assert!(second.as_mut().poll(context).is_pending());
    let mut received = 0;
    while received < 2 {
        for event in it.server.1.recv_many().unwrap() {
            let ampe::Event::Request(request) = event else {
                panic!("{event:?}")
            };
            buffers.posts.push_back(request.echo());
            received += 1;
        }
    }
    buffers.posted.clear();
    let server = &it.server.0;
    server
        .post_many(&mut buffers.posts, &mut buffers.posted)
        .unwrap();
    for mut call in [first, second] {
        let answer = loop {
            match call.as_mut().poll(context) {
                Poll::Ready(answer) => break answer.unwrap(),
                Poll::Pending => thread::park(),
            }
        };
        assert_eq!(answer.body(), b"what?");
    }
}

#[test]
fn steady_state_allocates_nothing_for_a_call() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    for transport in common::transports() {
        let mut it = common::connected_with(transport, ampe::Options::default());
        let mut buffers = Buffers::default();
        let mut rounds = |count| {
            for _ in 0..count {
                call_twice(&mut it, &mut buffers, &mut context);
            }
        };
        rounds(100);
        let region = Region::new(ALLOCATOR);
        rounds(1000);
        let change = region.change();
        let count = change.allocations + change.reallocations;
        println!("{transport:?}: {count} allocations for 2000 calls");
        assert!(count <= 100, "{count} allocations for 2000 calls");
    }
}

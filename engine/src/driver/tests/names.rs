//! Names that take their time.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::channel::Channel;
use crate::driver::resolver::{Resolver, THREADS_MAX, WAITING_MAX};
use crate::post::Post;
use crate::sync::lock;

use super::*;

/// A resolver that answers when the test lets it, and then that nobody knows the name.
#[derive(Default)]
struct Slow {
    state: Mutex<SlowState>,
    may_answer: Condvar,
}

#[derive(Default)]
struct SlowState {
    is_open: bool,
    /// What it was asked for.
    asked: Vec<String>,
}

impl Slow {
    fn look_up(&self, host: &str) {
        let mut state = lock(&self.state);
        state.asked.push(host.to_owned());
        while !state.is_open {
            let woken = self.may_answer.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn asked(&self) -> usize {
        lock(&self.state).asked.len()
    }

    fn open(&self) {
        lock(&self.state).is_open = true;
        self.may_answer.notify_all();
    }
}

/// An engine whose resolver is busy with as many names as it can be.
fn busy() -> (Bench, Arc<Slow>, Vec<Channel>) {
    let mut bench = Bench::new();
    let slow = Arc::new(Slow::default());
    let lookup = Arc::clone(&slow);
    let lookup = move |host: &str, _| {
        lookup.look_up(host);
        Vec::new()
    };
    bench.sockets.world.resolver = Resolver::with_lookup(&bench.driver.shared, Arc::new(lookup));
    let channels = (0..THREADS_MAX)
        .map(|index| dial(&bench, &format!("busy{index}.example")))
        .collect();
    // Nothing tells the reactor that a question's turn has come.
    bench.pass().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while slow.asked() < THREADS_MAX {
        assert!(Instant::now() < deadline, "the resolver does not ask");
        thread::yield_now();
    }
    (bench, slow, channels)
}

fn dial(bench: &Bench, host: &str) -> Channel {
    let address = Address::tcp(host, 7000).unwrap();
    bench.posting.connect(&address).unwrap()
}

/// The channel that ends next, its messages before it.
#[track_caller]
fn ended(bench: &mut Bench) -> (Channel, Reason) {
    loop {
        match bench.event() {
            Event::Closed(closed) => return (closed.channel(), closed.reason()),
            Event::Returned(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn names_that_nobody_waits_for_are_not_looked_up() {
    let (mut bench, slow, busy) = busy();
    let given_up = dial(&bench, "given-up.example");
    let wanted = dial(&bench, "wanted.example");
    bench.pass().unwrap();
    assert_eq!(bench.sockets.world.resolver.waiting(), 2);
    // Also of those whose turn has come nobody waits for the answer.
    for channel in [given_up, busy[0]] {
        bench.posting.post(Post::abort(channel)).unwrap();
        assert_eq!(ended(&mut bench), (channel, Reason::Aborted));
    }
    assert_eq!(bench.sockets.world.resolver.waiting(), 1);
    slow.open();
    let mut unresolved = Vec::new();
    for _ in 0..THREADS_MAX {
        let (channel, reason) = ended(&mut bench);
        assert_eq!(reason, Reason::NameNotResolved);
        unresolved.push(channel);
    }
    assert!(unresolved.contains(&wanted) && !unresolved.contains(&busy[0]));
    let asked = lock(&slow.state).asked.clone();
    assert_eq!(asked.len(), THREADS_MAX + 1);
    assert_eq!(asked[THREADS_MAX], "wanted.example");
}

#[test]
fn so_many_names_wait_and_one_more_fails() {
    let (mut bench, slow, _) = busy();
    let mut waiting: Vec<_> = (0..WAITING_MAX)
        .map(|index| dial(&bench, &format!("host{index}.example")))
        .collect();
    bench.pass_until("all to wait", |bench| {
        bench.sockets.world.resolver.waiting() == WAITING_MAX
    });
    let one_more = dial(&bench, "one-more.example");
    assert_eq!(ended(&mut bench), (one_more, Reason::NameNotResolved));

    // The place of one that is given up is free.
    let given_up = waiting.pop().unwrap();
    bench.posting.post(Post::abort(given_up)).unwrap();
    assert_eq!(ended(&mut bench), (given_up, Reason::Aborted));
    let last = dial(&bench, "last.example");
    bench.pass().unwrap();
    assert_eq!(bench.sockets.world.resolver.waiting(), WAITING_MAX);
    slow.open();
    while ended(&mut bench).0 != last {}
    assert_eq!(bench.sockets.world.resolver.waiting(), 0);
    assert!(lock(&slow.state).asked.contains(&"last.example".to_owned()));
}

#[track_caller]
fn await_end(slow: &Arc<Slow>) {
    let deadline = Instant::now() + PATIENCE;
    while Arc::strong_count(slow) > 1 {
        assert!(Instant::now() < deadline, "its threads go on");
        thread::yield_now();
    }
}

#[test]
fn a_resolver_that_is_busy_ends_with_its_reactor() {
    let (mut bench, slow, _) = busy();
    dial(&bench, "never.example");
    bench.pass().unwrap();
    drop(bench);
    slow.open();
    await_end(&slow);
    assert_eq!(slow.asked(), THREADS_MAX);
}

#[test]
fn a_resolver_that_is_idle_ends_with_its_reactor() {
    let (mut bench, slow, _) = busy();
    slow.open();
    for _ in 0..THREADS_MAX {
        ended(&mut bench);
    }
    drop(bench);
    await_end(&slow);
}

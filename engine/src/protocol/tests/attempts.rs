//! Attempts at a host with several addresses, side by side.

use std::io::Error;
use std::net::SocketAddr;
use std::time::Duration;

use crate::between::key::RecordKey;
use crate::endpoint::Endpoint;
use crate::event::{Closed, Event};
use crate::peer::Peer;
use crate::protocol::Action;
use crate::protocol::connection::ATTEMPTS_MAX;
use crate::reason::Reason;
use crate::wire::OpCode;

use super::bench::{Bench, tcp};
use super::opening::{dial_name, ends, refused, resolve, resolve_to};

/// How long an attempt is alone.
const STAGGER: Duration = Duration::from_millis(250);

/// What a driver does with an attempt that has succeeded. Returns whether it was the first.
fn succeed(bench: &mut Bench, attempt: RecordKey, peer: &Endpoint) -> bool {
    let Some(connection) = bench.core.winner(attempt) else {
        return false;
    };
    bench
        .core
        .handle_connected(connection, Peer::at(peer.clone()), bench.now);
    true
}

fn fail(bench: &mut Bench, attempt: RecordKey) {
    fail_with(bench, attempt, &refused());
}

fn fail_with(bench: &mut Bench, attempt: RecordKey, error: &Error) {
    bench.core.handle_connect_failed(attempt, error, bench.now);
    bench.rest();
}

fn wait(bench: &mut Bench, time: Duration) {
    bench.later(time);
    bench.rest();
}

/// The attempts that were asked for since this was asked last.
fn begun(bench: &mut Bench) -> Vec<(RecordKey, Endpoint)> {
    let actions = std::mem::take(&mut bench.actions);
    let (connects, others) = actions
        .into_iter()
        .partition(|action| matches!(action, Action::Connect { .. }));
    bench.actions = others;
    let connects: Vec<Action> = connects;
    let begun = connects.into_iter().map(|action| match action {
        Action::Connect { key, address } => (key, address),
        _ => unreachable!("filtered"),
    });
    begun.collect()
}

/// The one attempt that was begun, at this port.
fn one_begun(bench: &mut Bench, port: u16) -> RecordKey {
    match begun(bench)[..] {
        [(key, ref endpoint)] if *endpoint == tcp(port) => key,
        ref other => panic!("{other:?}"),
    }
}

/// So many attempts under way, each at the port of its number, the first one being 1.
fn under_way(bench: &mut Bench, count: u16) -> (RecordKey, Vec<RecordKey>) {
    let key = dial_name(bench);
    let ports: Vec<u16> = (1..=count).collect();
    resolve(bench, key, &ports);
    let mut attempts = vec![one_begun(bench, 1)];
    for port in 2..=count {
        wait(bench, STAGGER);
        attempts.push(one_begun(bench, port));
    }
    (key, attempts)
}

fn closed(bench: &mut Bench) -> Closed {
    match bench.events().pop() {
        Some(Event::Closed(closed)) => closed,
        other => panic!("{other:?}"),
    }
}

/// All their sockets were closed, once, and nothing is left of them.
fn assert_gone(bench: &Bench, attempts: &[RecordKey]) {
    for &attempt in attempts {
        let is_its =
            |action: &&Action| matches!(action, Action::Close { key, .. } if *key == attempt);
        let closings = bench.actions.iter().filter(is_its).count();
        assert_eq!(closings, 1, "{attempt:?} in {:?}", bench.actions);
        assert_eq!(bench.closing(attempt), Some(false));
    }
    let audit = bench.core.audit();
    assert_eq!((audit.attempts, audit.attempts_left), (0, 0));
}

#[test]
fn beside_an_address_that_hangs_the_next_is_tried() {
    let mut bench = Bench::new();
    let key = dial_name(&mut bench);
    resolve(&mut bench, key, &[1, 2]);
    let silent = one_begun(&mut bench, 1);
    assert_eq!(
        bench.core.poll_timeout(bench.now),
        Some(bench.now + STAGGER)
    );
    wait(&mut bench, STAGGER - Duration::from_millis(1));
    assert!(begun(&mut bench).is_empty());
    wait(&mut bench, Duration::from_millis(1));
    let good = one_begun(&mut bench, 2);
    assert_eq!(bench.closing(silent), None, "it may answer yet");
    assert!(succeed(&mut bench, good, &tcp(2)));
    bench.rest();
    assert_gone(&bench, &[silent, good]);
    assert_eq!(bench.closing(key), None);
    assert_eq!(bench.frames(key)[0].op_code, OpCode::HelloRequest);
}

#[test]
fn the_first_attempt_may_win_though_others_have_begun() {
    let mut bench = Bench::new();
    let (key, attempts) = under_way(&mut bench, 3);
    assert!(succeed(&mut bench, attempts[0], &tcp(1)));
    bench.rest();
    assert_gone(&bench, &attempts);
    assert_eq!(bench.frames(key)[0].op_code, OpCode::HelloRequest);
    let timeout = bench.shared.options.connect_timeout;
    wait(&mut bench, timeout);
    let events = bench.events();
    assert!(
        matches!(&events[..], [Event::Opened(it)] if it.peer() == &Peer::at(tcp(1))),
        "{events:?}"
    );
    assert!(begun(&mut bench).is_empty());
}

#[test]
fn behind_an_address_that_refuses_the_next_is_tried_at_once() {
    let mut bench = Bench::new();
    let key = dial_name(&mut bench);
    resolve(&mut bench, key, &[1, 2, 3]);
    let start = bench.now;
    let refusing = one_begun(&mut bench, 1);
    wait(&mut bench, Duration::from_millis(10));
    fail(&mut bench, refusing);
    let good = one_begun(&mut bench, 2);
    assert_gone_alone(&bench, refusing);
    // The third has its time from the second's beginning.
    let next_at = start + Duration::from_millis(10) + STAGGER;
    assert_eq!(bench.core.poll_timeout(bench.now), Some(next_at));
    assert!(succeed(&mut bench, good, &tcp(2)));
    bench.rest();
    assert_gone(&bench, &[refusing, good]);
    assert!(begun(&mut bench).is_empty());
}

fn assert_gone_alone(bench: &Bench, attempt: RecordKey) {
    assert_eq!(bench.closing(attempt), Some(false));
    let audit = bench.core.audit();
    assert_eq!((audit.attempts, audit.attempts_left), (1, 0));
}

#[test]
fn of_two_that_succeed_in_one_pass_one_wins() {
    let mut bench = Bench::new();
    let (key, attempts) = under_way(&mut bench, 2);
    assert!(succeed(&mut bench, attempts[1], &tcp(2)));
    assert!(!succeed(&mut bench, attempts[0], &tcp(1)));
    bench.rest();
    assert_gone(&bench, &attempts);
    assert_eq!(bench.frames(key)[0].op_code, OpCode::HelloRequest);
    bench.post(crate::Post::abort(
        bench.core.connection(key).unwrap().channel().unwrap(),
    ));
    bench.rest();
    assert_eq!(closed(&mut bench).peer(), Some(&Peer::at(tcp(2))));
}

#[test]
fn what_becomes_of_a_loser_does_not_concern_the_connection() {
    let mut bench = Bench::new();
    let (key, attempts) = under_way(&mut bench, 3);
    assert!(succeed(&mut bench, attempts[2], &tcp(3)));
    // In the same pass, before the losers are closed.
    bench
        .core
        .handle_connect_failed(attempts[0], &refused(), bench.now);
    let unpollable: Error = std::io::ErrorKind::Unsupported.into();
    bench
        .core
        .handle_unpollable(attempts[1], &unpollable, bench.now);
    bench.rest();
    assert_gone(&bench, &attempts);
    // And behind it.
    for &attempt in &attempts {
        fail(&mut bench, attempt);
        bench
            .core
            .handle_unpollable(attempt, &unpollable, bench.now);
        assert!(!succeed(&mut bench, attempt, &tcp(9)));
    }
    bench.rest();
    assert!(matches!(bench.events()[..], [Event::Opened(_)]));
    assert_eq!(bench.closing(key), None);
}

#[test]
fn an_attempt_that_cannot_be_polled_fails_alone() {
    let mut bench = Bench::new();
    let (key, attempts) = under_way(&mut bench, 2);
    let unpollable: Error = std::io::ErrorKind::Unsupported.into();
    bench
        .core
        .handle_unpollable(attempts[0], &unpollable, bench.now);
    bench.rest();
    assert!(succeed(&mut bench, attempts[1], &tcp(2)));
    bench.rest();
    assert_gone(&bench, &attempts);
    assert_eq!(bench.frames(key)[0].op_code, OpCode::HelloRequest);
}

#[test]
fn an_attempt_that_cannot_start_for_now_fails_alone() {
    let mut bench = Bench::new();
    let (_, attempts) = under_way(&mut bench, 2);
    let full: Error = std::io::ErrorKind::WouldBlock.into();
    for &attempt in &attempts {
        assert!(bench.events().is_empty());
        bench
            .core
            .handle_connect_deferred(attempt, &full, bench.now);
        bench.rest();
    }
    assert_eq!(closed(&mut bench).reason(), Reason::ConnectFailed);
}

#[test]
fn when_all_have_failed_the_last_failure_is_told() {
    let mut bench = Bench::new();
    let (_, attempts) = under_way(&mut bench, 3);
    for (number, &attempt) in [2, 0, 1].iter().map(|&it: &usize| (it, &attempts[it])) {
        assert!(bench.events().is_empty());
        let error = Error::from_raw_os_error(100 + number as i32);
        fail_with(&mut bench, attempt, &error);
    }
    assert_gone(&bench, &attempts);
    let closed = closed(&mut bench);
    assert_eq!(closed.reason(), Reason::ConnectFailed);
    let code = closed.os_error().and_then(|error| error.raw_os_error());
    assert_eq!(code, Some(101));
}

#[test]
fn all_are_given_up_together_and_the_last_failure_is_told() {
    let mut bench = Bench::new();
    let (key, attempts) = under_way(&mut bench, 3);
    fail_with(&mut bench, attempts[1], &Error::from_raw_os_error(111));
    let timeout = bench.shared.options.connect_timeout;
    wait(&mut bench, timeout - 2 * STAGGER - Duration::from_millis(1));
    assert!(bench.events().is_empty());
    wait(&mut bench, Duration::from_millis(1));
    assert_gone(&bench, &attempts);
    assert_eq!(bench.closing(key), Some(false));
    let closed = closed(&mut bench);
    assert_eq!(closed.reason(), Reason::ConnectTimedOut);
    let code = closed.os_error().and_then(|error| error.raw_os_error());
    assert_eq!(code, Some(111));
}

#[test]
fn an_abort_closes_all_attempts() {
    let mut bench = Bench::new();
    let (key, attempts) = under_way(&mut bench, 3);
    let channel = bench.core.connection(key).unwrap().channel().unwrap();
    bench.post(crate::Post::abort(channel));
    bench.rest();
    assert_gone(&bench, &attempts);
    let why = Reason::Aborted;
    assert_eq!(ends(&mut bench), (vec![(OpCode::HelloRequest, why)], why));
}

#[test]
fn the_end_of_the_group_closes_all_attempts() {
    let mut bench = Bench::new();
    let (_, attempts) = under_way(&mut bench, 3);
    bench.close_group(Duration::from_millis(100));
    bench.rest();
    assert_eq!(bench.core.audit().attempts, 3);
    wait(&mut bench, Duration::from_millis(100));
    assert_gone(&bench, &attempts);
    let why = Reason::GroupClosed;
    assert_eq!(ends(&mut bench), (vec![(OpCode::HelloRequest, why)], why));
    assert!(bench.end_of_group().is_some());
}

#[test]
fn one_attempt_more_than_the_most_takes_the_place_of_the_oldest() {
    let mut bench = Bench::new();
    let most = u16::try_from(ATTEMPTS_MAX).unwrap();
    let (_, attempts) = under_way(&mut bench, most + 2);
    assert_eq!(bench.core.audit().attempts, ATTEMPTS_MAX);
    let (oldest, others) = attempts.split_at(2);
    for &attempt in oldest {
        assert_eq!(bench.closing(attempt), Some(false));
        assert!(!succeed(&mut bench, attempt, &tcp(1)));
    }
    assert!(others.iter().all(|&it| bench.closing(it).is_none()));
    assert!(succeed(&mut bench, others[0], &tcp(3)));
    bench.rest();
    assert_gone(&bench, &attempts);
}

#[test]
fn addresses_of_both_families_take_turns() {
    let mut bench = Bench::new();
    let key = dial_name(&mut bench);
    let texts = [
        "[::1]:1",
        "[::1]:2",
        "[::1]:3",
        "127.0.0.1:1",
        "127.0.0.1:2",
        "[::1]:4",
    ];
    let addresses = texts.map(|it| it.parse::<SocketAddr>().unwrap());
    resolve_to(&mut bench, key, addresses.to_vec());
    let mut order = Vec::new();
    while let [(attempt, Endpoint::Tcp(address))] = &begun(&mut bench)[..] {
        order.push(*address);
        fail(&mut bench, *attempt);
    }
    let expected = [0, 3, 1, 4, 2, 5].map(|index: usize| addresses[index]);
    assert_eq!(order, expected);
}

#[test]
fn the_next_attempt_reuses_the_place_of_one_that_is_gone_and_not_its_key() {
    let mut bench = Bench::new();
    let key = dial_name(&mut bench);
    resolve(&mut bench, key, &[1, 2, 3]);
    let first = one_begun(&mut bench, 1);
    fail(&mut bench, first);
    let second = one_begun(&mut bench, 2);
    fail(&mut bench, second);
    let third = one_begun(&mut bench, 3);
    assert_eq!(first.index, third.index);
    fail(&mut bench, first); // of the one before, and late
    assert!(bench.events().is_empty());
    assert!(!succeed(&mut bench, first, &tcp(1)));
    assert!(succeed(&mut bench, third, &tcp(3)));
}

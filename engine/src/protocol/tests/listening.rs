//! Listeners that cannot listen at once, names with several addresses, and what is told as bound.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use crate::address::Address;
use crate::between::key::RecordKey;
use crate::channel::Channel;
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::handles::Submission;
use crate::options::Options;
use crate::protocol::Action;
use crate::reason::Reason;

use super::bench::{Bench, tcp};

/// The system's number for what would block; any number will do.
const WOULD_BLOCK: i32 = 11;

/// How soon it is tried again, and longer.
const SOON: Duration = Duration::from_millis(20);

fn listen_action(bench: &mut Bench) -> (RecordKey, Endpoint) {
    bench.action(|action| match action {
        Action::Listen { key, address, .. } => Some((*key, address.clone())),
        _ => None,
    })
}

fn is_listening_again(bench: &Bench) -> bool {
    let listens = |action: &Action| matches!(action, Action::Listen { .. });
    bench.actions.iter().any(listens)
}

/// A listener that found its socket's directory locked.
fn defer(bench: &mut Bench) -> (Channel, RecordKey) {
    let address = Address::uds("/directory/socket").unwrap();
    let channel = bench.posting.listen(&address).unwrap();
    bench.pass();
    let (key, _) = listen_action(bench);
    defer_again(bench, key);
    (channel, key)
}

fn defer_again(bench: &mut Bench, key: RecordKey) {
    let error = Error::from_raw_os_error(WOULD_BLOCK);
    bench.core.handle_listen_deferred(key, &error, bench.now);
    bench.rest();
    assert!(!is_listening_again(bench), "not at once");
    assert!(bench.events().is_empty());
}

#[test]
fn a_listener_that_would_block_tries_again_until_it_listens() {
    let mut bench = Bench::new();
    let (channel, key) = defer(&mut bench);
    for _ in 0..3 {
        bench.now += SOON;
        bench.rest();
        let (again, address) = listen_action(&mut bench);
        assert_eq!(again, key);
        assert_eq!(address, Endpoint::Uds(Some("/directory/socket".into())));
        defer_again(&mut bench, key);
    }
    bench.now += SOON;
    bench.rest();
    let (_, address) = listen_action(&mut bench);
    bench.core.handle_listening(key, &address);
    bench.rest();
    match bench.event() {
        Event::Listening(listening) => assert_eq!(listening.channel(), channel),
        other => panic!("{other:?}"),
    }
    // And that is that: no try is left over.
    bench.now += Duration::from_secs(3600);
    bench.rest();
    assert!(bench.core.may_accept(key));
    assert!(!is_listening_again(&bench) && bench.events().is_empty());
}

#[test]
fn a_listener_that_would_block_for_too_long_fails() {
    let mut bench = Bench::new();
    let timeout = Options::default().connect_timeout;
    let (_, key) = defer(&mut bench);
    let start = bench.now;
    bench.now += SOON;
    bench.rest();
    listen_action(&mut bench);
    // Each try has the time that is left, not a time of its own.
    bench.now = start + timeout - SOON / 4;
    defer_again(&mut bench, key);
    bench.now = start + timeout;
    bench.rest();
    assert!(!is_listening_again(&bench), "no more");
    let closed = bench.closed();
    assert_eq!(closed.reason(), Reason::ListenFailed);
    let error = closed.os_error().and_then(|error| error.raw_os_error());
    assert_eq!(error, Some(WOULD_BLOCK));
}

#[test]
fn a_listener_that_is_aborted_while_it_would_block_tries_no_more() {
    let mut bench = Bench::new();
    let (channel, key) = defer(&mut bench);
    bench.post(crate::Post::abort(channel));
    bench.rest();
    let closed = bench.closed();
    assert_eq!(closed.reason(), Reason::Aborted);
    assert!(closed.os_error().is_none(), "it was not for that");
    let error = Error::from_raw_os_error(WOULD_BLOCK);
    bench.core.handle_listen_deferred(key, &error, bench.now); // too late
    bench.now += SOON;
    bench.rest();
    assert!(!is_listening_again(&bench) && bench.events().is_empty());
}

/// A listener on a name, up to the question for its addresses.
fn listen_on_name(bench: &mut Bench) -> (Channel, RecordKey) {
    let address = Address::tcp("some.example", 0).unwrap();
    let channel = bench.posting.listen(&address).unwrap();
    bench.rest();
    let key = bench.action(|action| match action {
        Action::Resolve { key, .. } => Some(*key),
        _ => None,
    });
    (channel, key)
}

/// Answers with an address for each of these ports.
fn resolve(bench: &mut Bench, key: RecordKey, ports: &[u16]) {
    let at = |&port: &u16| SocketAddr::from(([127, 0, 0, 1], port));
    let addresses = ports.iter().map(at).collect();
    bench.submit(Submission::Resolved { key, addresses });
    bench.rest();
}

#[track_caller]
fn refuse(bench: &mut Bench, key: RecordKey, port: u16, error: &Error) {
    assert_eq!(listen_action(bench), (key, tcp(port)));
    assert!(!is_listening_again(bench), "one after the other");
    bench.core.handle_listen_failed(key, error);
    bench.rest();
}

fn not_available(number: i32) -> Error {
    Error::from_raw_os_error(number)
}

#[test]
fn a_listener_on_a_name_takes_its_first_address_that_can_be_bound() {
    let mut bench = Bench::new();
    let (channel, key) = listen_on_name(&mut bench);
    resolve(&mut bench, key, &[1, 2, 3, 4]);
    for port in [1, 2] {
        refuse(&mut bench, key, port, &not_available(99));
        assert!(bench.events().is_empty());
    }
    assert_eq!(listen_action(&mut bench), (key, tcp(3)));
    bench.core.handle_listening(key, &tcp(3));
    bench.rest();
    match bench.event() {
        Event::Listening(it) => {
            assert_eq!(it.channel(), channel);
            assert_eq!(it.address().to_string(), "tcp://127.0.0.1:3");
        }
        other => panic!("{other:?}"),
    }
    assert!(!is_listening_again(&bench));
    assert_eq!(bench.core.poll_timeout(bench.now), None);
}

#[test]
fn a_listener_on_a_name_none_of_whose_addresses_can_be_bound_tells_the_last_error() {
    let mut bench = Bench::new();
    let (_, key) = listen_on_name(&mut bench);
    resolve(&mut bench, key, &[1, 2]);
    refuse(&mut bench, key, 1, &not_available(99));
    refuse(&mut bench, key, 2, &not_available(13));
    let closed = bench.closed();
    assert_eq!(closed.reason(), Reason::ListenFailed);
    let error = closed.os_error().and_then(|error| error.raw_os_error());
    assert_eq!(error, Some(13));
    assert!(!is_listening_again(&bench));
}

#[test]
fn a_listener_on_a_name_stops_at_an_address_in_use() {
    let mut bench = Bench::new();
    let (_, key) = listen_on_name(&mut bench);
    resolve(&mut bench, key, &[1, 2]);
    refuse(&mut bench, key, 1, &ErrorKind::AddrInUse.into());
    let closed = bench.closed();
    assert_eq!(closed.reason(), Reason::ListenFailed);
    let error = closed.os_error().map(|error| error.kind());
    assert_eq!(error, Some(ErrorKind::AddrInUse));
    assert!(!is_listening_again(&bench));
}

#[test]
fn a_listener_that_ended_tries_no_further_address() {
    let mut bench = Bench::new();
    let (channel, key) = listen_on_name(&mut bench);
    resolve(&mut bench, key, &[1, 2]);
    bench.post(crate::Post::abort(channel));
    bench.pass();
    refuse(&mut bench, key, 1, &not_available(99));
    assert_eq!(bench.closed().reason(), Reason::Aborted);
    assert!(!is_listening_again(&bench));
}

/// The time is the connect timeout, and no other.
#[test]
fn a_listener_whose_name_is_not_resolved_in_time_ends() {
    let options = Options {
        connect_timeout: Duration::from_secs(7),
        hello_timeout: Duration::from_secs(3),
        ..Options::default()
    };
    let mut bench = Bench::with(options);
    let (channel, key) = listen_on_name(&mut bench);
    bench.later(Duration::from_millis(6_999));
    bench.rest();
    assert!(bench.events().is_empty());
    bench.later(Duration::from_millis(1));
    bench.rest();
    let closed = bench.closed();
    assert_eq!(closed.channel(), channel);
    assert_eq!(closed.reason(), Reason::NameNotResolved);
    resolve(&mut bench, key, &[1]); // too late, and for nobody
    assert!(!is_listening_again(&bench) && bench.events().is_empty());
}

#[test]
fn a_listener_whose_name_is_resolved_in_time_listens_on() {
    let mut bench = Bench::new();
    let (_, key) = listen_on_name(&mut bench);
    resolve(&mut bench, key, &[1]);
    listen_action(&mut bench);
    bench.core.handle_listening(key, &tcp(1));
    bench.later(Duration::from_secs(3600));
    bench.rest();
    assert!(matches!(bench.event(), Event::Listening(_)));
    assert!(bench.core.may_accept(key) && bench.events().is_empty());
}

#[test]
fn the_zone_of_a_bound_address_is_told() {
    let mut bench = Bench::new();
    let address: Address = "tcp://[fe80::1%3]:0".parse().unwrap();
    bench.posting.listen(&address).unwrap();
    bench.pass();
    // A number needs no resolver.
    let (key, asked) = listen_action(&mut bench);
    assert_eq!(asked.to_string(), "tcp://[fe80::1%3]:0");
    let bound: SocketAddr = "[fe80::1%3]:7000".parse().unwrap();
    bench.core.handle_listening(key, &Endpoint::Tcp(bound));
    bench.rest();
    match bench.event() {
        Event::Listening(it) => {
            assert_eq!(it.address().to_string(), "tcp://[fe80::1%3]:7000");
            assert_eq!(it.address().socket_addr(), Some(bound));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_listener_that_was_aborted_does_not_listen_after_all() {
    let mut bench = Bench::new();
    let address = Address::uds("/directory/socket").unwrap();
    let channel = bench.posting.listen(&address).unwrap();
    bench.pass();
    let (key, endpoint) = listen_action(&mut bench);
    bench.post(crate::post::Post::abort(channel));
    bench.pass();
    bench.core.handle_listening(key, &endpoint);
    bench.core.handle_accept_failed(key, bench.now);
    bench.rest();
    let events = bench.events();
    assert!(
        matches!(&events[..], [Event::Closed(it)] if it.reason() == Reason::Aborted),
        "{events:?}"
    );
}

#[test]
fn a_group_ends_though_the_last_of_it_was_a_stranger() {
    let mut bench = Bench::new();
    let (channel, listener) = bench.listen();
    bench.accept(listener);
    bench.post(crate::post::Post::abort(channel));
    bench.rest();
    assert_eq!(bench.closed().reason(), Reason::Aborted);
    bench.close_group(Duration::ZERO);
    bench.rest();
    assert_eq!(bench.end_of_group(), Some(crate::error::Ended::GroupClosed));
}

#[test]
fn a_name_that_nobody_knows_cannot_be_listened_on() {
    let mut bench = Bench::new();
    let address = Address::tcp("some.example", 0).unwrap();
    bench.posting.listen(&address).unwrap();
    bench.pass();
    let key = bench.action(|action| match action {
        Action::Resolve { key, .. } => Some(*key),
        _ => None,
    });
    bench.submit(Submission::Resolved {
        key,
        addresses: Vec::new(),
    });
    bench.rest();
    assert_eq!(bench.closed().reason(), Reason::NameNotResolved);
}

/// It has not said hello, and nothing is owed to it.
#[test]
fn a_group_that_closes_waits_for_no_stranger() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let key = bench.accept(listener);
    bench.close_group(Duration::from_secs(5));
    bench.rest();
    assert_eq!(bench.closing(key), Some(false));
    assert_eq!(bench.closed().reason(), Reason::GroupClosed);
    assert_eq!(bench.end_of_group(), Some(crate::error::Ended::GroupClosed));
}

//! Listeners that cannot listen at once.

use std::io::Error;
use std::time::Duration;

use crate::address::Address;
use crate::between::key::RecordKey;
use crate::channel::Channel;
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::options::Options;
use crate::protocol::Action;
use crate::reason::Reason;

use super::bench::Bench;

/// The system's number for what would block; any number will do.
const WOULD_BLOCK: i32 = 11;

/// How soon it is tried again, and longer.
const SOON: Duration = Duration::from_millis(20);

fn listen_action(bench: &mut Bench) -> (RecordKey, Endpoint) {
    bench.action(|action| match action {
        Action::Listen { key, address } => Some((*key, address.clone())),
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
    assert_eq!(bench.closed().reason(), Reason::Aborted);
    let error = Error::from_raw_os_error(WOULD_BLOCK);
    bench.core.handle_listen_deferred(key, &error, bench.now); // too late
    bench.now += SOON;
    bench.rest();
    assert!(!is_listening_again(&bench) && bench.events().is_empty());
}

//! Sockets that the system opens and does not let us poll.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use crate::address::Address;
use crate::between::key::RecordKey;
use crate::event::Event;
use crate::handles::Submission;
use crate::protocol::Action;
use crate::reason::Reason;
use crate::status::Status;

use super::bench::{Bench, tcp};

/// In the place of a layered service provider's name, and of what helps.
const WORDS: &str = "\"Layer\" hides the socket below it: remove it";

fn hidden() -> Error {
    Error::new(ErrorKind::Unsupported, WORDS)
}

fn addresses() -> [Address; 2] {
    let tcp = Address::tcp("127.0.0.1", 7000).unwrap();
    [tcp, Address::uds("/a/socket").unwrap()]
}

/// The next event is a `Closed` that says what the system said.
#[track_caller]
fn assert_told(bench: &mut Bench, reason: Reason, words: &str) {
    bench.rest();
    let closed = bench.closed();
    let told = closed.os_error().map(|error| error.to_string());
    assert_eq!((closed.reason(), told.as_deref()), (reason, Some(words)));
    assert!(bench.events().is_empty());
}

fn connect(bench: &mut Bench, address: &Address) -> RecordKey {
    bench.posting.connect(address).unwrap();
    bench.pass();
    bench.connect_action().0
}

fn listen(bench: &mut Bench, address: &Address) -> RecordKey {
    bench.posting.listen(address).unwrap();
    bench.pass();
    bench.action(|action| match action {
        Action::Listen { key, .. } => Some(*key),
        _ => None,
    })
}

#[test]
fn an_attempt_ends_in_the_systems_words_with_a_reason_of_its_own() {
    for address in addresses() {
        let mut bench = Bench::new();
        let key = connect(&mut bench, &address);
        bench.core.handle_unpollable(key, &hidden(), bench.now);
        bench.rest();
        match bench.event() {
            Event::Returned(hello) => assert_eq!(hello.reason(), Reason::CannotPoll),
            other => panic!("{other:?}"),
        }
        assert_told(&mut bench, Reason::CannotPoll, WORDS);
    }
    assert_ne!(Reason::CannotPoll.status(), Status::InvalidAddress);
}

#[test]
fn a_listener_ends_in_the_systems_words_with_a_reason_of_its_own() {
    for address in addresses() {
        let mut bench = Bench::new();
        let key = listen(&mut bench, &address);
        bench.core.handle_unpollable(key, &hidden(), bench.now);
        assert_told(&mut bench, Reason::CannotPoll, WORDS);
    }
}

#[test]
fn a_connection_ends_in_the_systems_words_with_a_reason_of_its_own() {
    let mut bench = Bench::new();
    let (_, key) = bench.connect();
    bench.core.handle_unpollable(key, &hidden(), bench.now);
    assert_told(&mut bench, Reason::CannotPoll, WORDS);
}

#[test]
fn what_may_pass_is_no_matter_of_the_system() {
    let no_memory = || Error::from(ErrorKind::OutOfMemory);
    let words = no_memory().to_string();
    let mut bench = Bench::new();
    let key = connect(&mut bench, &addresses()[0]);
    bench.core.handle_unpollable(key, &no_memory(), bench.now);
    bench.rest();
    assert!(matches!(bench.event(), Event::Returned(_)));
    assert_told(&mut bench, Reason::ConnectFailed, &words);
    let key = listen(&mut bench, &addresses()[0]);
    bench.core.handle_unpollable(key, &no_memory(), bench.now);
    assert_told(&mut bench, Reason::ListenFailed, &words);
    let (_, key) = bench.connect();
    bench.core.handle_unpollable(key, &no_memory(), bench.now);
    assert_told(&mut bench, Reason::ConnectionLost, &words);
}

#[test]
fn who_listens_already_asks_again_for_what_may_pass_and_ends_where_it_is_in_vain() {
    let mut bench = Bench::new();
    let (_, key) = bench.listen();
    let no_memory = Error::from(ErrorKind::OutOfMemory);
    bench.core.handle_unpollable(key, &no_memory, bench.now);
    bench.rest();
    assert!(!bench.core.may_accept(key), "it pauses");
    bench.later(Duration::from_secs(1));
    bench.rest();
    assert!(bench.core.may_accept(key) && bench.events().is_empty());
    bench.core.handle_unpollable(key, &hidden(), bench.now);
    assert_told(&mut bench, Reason::CannotPoll, WORDS);
}

#[test]
fn another_address_of_the_host_may_be_polled() {
    let mut bench = Bench::new();
    let name = Address::tcp("some.example", 7000).unwrap();
    bench.posting.connect(&name).unwrap();
    bench.pass();
    let key = bench.action(|action| match action {
        Action::Resolve { key, .. } => Some(*key),
        _ => None,
    });
    let addresses = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let addresses = addresses.to_vec();
    bench.submit(Submission::Resolved { key, addresses });
    bench.rest();
    let (attempt, endpoint) = bench.connect_action();
    assert_eq!(endpoint, tcp(1));
    bench.core.handle_unpollable(attempt, &hidden(), bench.now);
    bench.rest();
    assert_eq!(bench.connect_action().1, tcp(2));
}

/// A system without Unix sockets refuses to open one, and has the same kind of error.
#[test]
fn only_what_is_not_even_opened_is_for_want_of_unix_sockets() {
    for (address, reason) in addresses()
        .into_iter()
        .zip([Reason::InvalidAddress, Reason::NoUnixSockets])
    {
        let mut bench = Bench::new();
        let key = connect(&mut bench, &address);
        bench.core.handle_connect_failed(key, &hidden(), bench.now);
        bench.rest();
        assert!(matches!(bench.event(), Event::Returned(_)));
        assert_told(&mut bench, reason, WORDS);
        let key = listen(&mut bench, &address);
        bench.core.handle_listen_failed(key, &hidden());
        assert_told(&mut bench, reason, WORDS);
    }
}

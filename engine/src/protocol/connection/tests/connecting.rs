//! How a connection comes about.

use std::net::SocketAddr;

use super::*;

const OWN: RecordKey = RecordKey {
    index: 1,
    generation: 1,
};

fn attempt(index: u32) -> RecordKey {
    RecordKey {
        index,
        generation: 1,
    }
}

fn addresses(count: u8) -> Vec<SocketAddr> {
    (1..=count)
        .map(|last| ([127, 0, 0, last], 7000).into())
        .collect()
}

fn resolved(count: u8) -> Alone {
    let mut it = Alone::opening("tcp://host.example:7000");
    it.actions.opening.clear();
    it.act(|it, context| it.handle_resolved(addresses(count), context));
    it
}

fn waits_for_its_socket(it: &Alone) -> bool {
    let wanted = it.connection.wanted(false);
    assert!(!wanted.readable, "nothing is read before it is connected");
    wanted.writable
}

#[test]
fn it_is_its_own_socket_that_a_connection_waits_for_and_nothing_else() {
    let resolving = Alone::opening("tcp://host.example:7000");
    assert!(!waits_for_its_socket(&resolving), "there is none yet");

    let mut connecting = Alone::opening("tcp://127.0.0.1:7000");
    assert!(waits_for_its_socket(&connecting));
    let now = connecting.now;
    connecting.act(|it, _| it.handle_connect_deferred(now));
    assert!(!waits_for_its_socket(&connecting), "its backlog was full");

    let mut several = resolved(3);
    assert!(!waits_for_its_socket(&several), "each attempt has its own");
    several.act(|it, context| it.start_attempt(attempt(2), context));
    assert!(!waits_for_its_socket(&several), "each attempt has its own");
}

#[test]
fn the_only_address_of_a_host_is_tried_by_the_connection_itself() {
    let mut it = resolved(1);
    assert!(!it.connection.is_attempt_due());
    let action = it.actions.opening.pop_front();
    assert!(matches!(action, Some(Action::Connect { key: OWN, .. })));
    assert!(waits_for_its_socket(&it));
}

#[test]
fn a_host_with_several_addresses_has_its_attempts_begun_one_by_one() {
    let mut it = resolved(2);
    assert!(it.connection.is_attempt_due() && it.actions.opening.is_empty());
    it.act(|it, context| it.start_attempt(attempt(2), context));
    assert!(!it.connection.is_attempt_due(), "not at the same time");
    let action = it.actions.opening.pop_front();
    assert!(matches!(action, Some(Action::Connect { key, .. }) if key == attempt(2)));
}

#[test]
fn what_the_system_does_not_support_is_told_by_the_kind_of_address() {
    for (address, reason) in [
        ("tcp://127.0.0.1:7000", Reason::InvalidAddress),
        ("uds:///tmp/nobody", Reason::NoUnixSockets),
    ] {
        let mut it = Alone::opening(address);
        let error = ErrorKind::Unsupported.into();
        it.act(|it, context| it.handle_connect_failed(OWN, &error, context));
        it.settle();
        assert_eq!(it.closed().0, reason);
    }
}

#[test]
fn a_file_that_is_not_found_is_a_socket_of_nobody_for_unix_sockets_alone() {
    for (address, reason) in [
        ("tcp://127.0.0.1:7000", Reason::ConnectFailed),
        ("uds:///tmp/nobody", Reason::UdsPathNotFound),
    ] {
        let mut it = Alone::opening(address);
        let error = ErrorKind::NotFound.into();
        it.act(|it, context| it.handle_connect_failed(OWN, &error, context));
        it.settle();
        assert_eq!(it.closed().0, reason);
    }
}

#[test]
fn who_is_closed_while_it_connects_and_without_a_moment_left_ends_at_once() {
    let mut it = Alone::opening("tcp://127.0.0.1:7000");
    let now = it.now;
    it.act(|it, context| it.close(Reason::GroupClosed, now, context));
    assert!(it.connection.has_ended());
    it.settle();
    assert_eq!(it.closed().0, Reason::GroupClosed);
}

#[test]
fn who_is_closed_while_it_connects_has_what_time_there_is() {
    let mut it = Alone::opening("tcp://127.0.0.1:7000");
    let deadline = it.now + Duration::from_secs(2);
    it.act(|it, context| it.close(Reason::GroupClosed, deadline, context));
    assert_eq!(it.wait_for_end(), Duration::from_secs(2));
    it.settle();
    assert_eq!(it.closed().0, Reason::GroupClosed);
}

#[test]
fn a_host_whose_backlog_was_full_is_resolved_anew() {
    let mut it = resolved(1);
    let now = it.now;
    it.act(|it, _| it.handle_connect_deferred(now));
    it.actions.opening.clear();
    it.later(Duration::from_millis(10));
    let action = it.actions.opening.pop_front();
    assert!(matches!(action, Some(Action::Resolve { key: OWN, .. })));
    it.act(|it, context| it.handle_resolved(addresses(1), context));
    assert!(waits_for_its_socket(&it));
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
    let mut it = resolved(1);
    it.actions.opening.clear();
    it.act(|it, context| it.handle_resolved(addresses(3), context));
    assert!(it.actions.opening.is_empty() && !it.connection.is_attempt_due());

    let mut it = resolved(2);
    it.act(|it, context| it.start_attempt(attempt(2), context));
    let error = ErrorKind::ConnectionRefused.into();
    it.act(|it, context| it.handle_connect_failed(attempt(9), &error, context));
    assert!(!it.connection.is_attempt_due() && it.actions.closing.is_empty());
}

#[test]
fn a_success_before_there_is_an_attempt_is_none() {
    let mut it = Alone::opening("tcp://host.example:7000");
    it.act(|it, context| it.handle_connected(Peer::at(Endpoint::Uds(None)), context));
    assert!(it.connection.is_opening());
}

#[test]
fn who_fails_to_connect_closes_its_socket_once() {
    let mut it = Alone::opening("tcp://127.0.0.1:7000");
    let error = ErrorKind::ConnectionRefused.into();
    it.act(|it, context| it.handle_connect_failed(OWN, &error, context));
    assert_eq!(it.actions.closing.len(), 1);
}

#[test]
fn an_address_that_cannot_be_connected_to_is_not_tried() {
    let it = Alone::opening("tcp://127.0.0.1:0");
    assert!(it.connection.has_ended() && it.actions.opening.is_empty());
}

#[test]
fn behind_an_attempt_that_is_due_it_is_due_when_it_is_given_up() {
    let mut it = resolved(2);
    let give_up = it.connection.due();
    it.act(|it, context| it.start_attempt(attempt(2), context));
    assert_eq!(
        it.connection.due(),
        Some(it.now + Duration::from_millis(250))
    );
    it.later(Duration::from_millis(250));
    assert!(it.connection.is_attempt_due());
    assert_eq!(it.connection.due(), give_up);
}

#[test]
fn who_is_closed_while_it_connects_has_no_more_time_for_that() {
    let mut it = Alone::opening("tcp://127.0.0.1:7000");
    let deadline = it.now + Duration::from_secs(3600);
    it.act(|it, context| it.close(Reason::GroupClosed, deadline, context));
    assert_eq!(it.wait_for_end(), Duration::from_secs(10));
}

#[test]
fn a_full_backlog_is_not_asked_again_behind_the_timeout() {
    let mut it = Alone::opening("tcp://127.0.0.1:7000");
    let give_up = it.now + Duration::from_secs(10);
    let now = give_up - Duration::from_millis(1);
    it.act(|it, _| it.handle_connect_deferred(now));
    assert_eq!(it.connection.due(), Some(give_up));
}

//! Opening connections: names, several addresses, timeouts, full backlogs, and closing meanwhile.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use crate::address::Address;
use crate::between::key::RecordKey;
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::handles::Submission;
use crate::peer::Peer;
use crate::protocol::Action;
use crate::reason::Reason;
use crate::wire::OpCode;

use super::bench::{Bench, address, tcp};

/// Posts a HelloRequest to a host with a name, up to the question for its addresses.
pub(super) fn dial_name(bench: &mut Bench) -> RecordKey {
    bench
        .posting
        .connect(&Address::tcp("some.example", 7000).unwrap())
        .unwrap();
    bench.pass();
    bench.action(|action| match action {
        Action::Resolve { key, host, port } => {
            assert_eq!((host.as_str(), *port), ("some.example", 7000));
            Some(*key)
        }
        _ => None,
    })
}

pub(super) fn resolve(bench: &mut Bench, key: RecordKey, ports: &[u16]) {
    let at = |&port: &u16| SocketAddr::from(([127, 0, 0, 1], port));
    resolve_to(bench, key, ports.iter().map(at).collect());
}

pub(super) fn resolve_to(bench: &mut Bench, key: RecordKey, addresses: Vec<SocketAddr>) {
    bench.submit(Submission::Resolved { key, addresses });
    bench.rest();
}

pub(super) fn refused() -> Error {
    ErrorKind::ConnectionRefused.into()
}

/// The reasons of all that came back, and of the `Closed` behind it.
pub(super) fn ends(bench: &mut Bench) -> (Vec<(OpCode, Reason)>, Reason) {
    let mut returned = Vec::new();
    for event in bench.events() {
        match event {
            Event::Returned(it) => returned.push((it.op_code(), it.reason())),
            Event::Closed(closed) => return (returned, closed.reason()),
            other => panic!("{other:?}"),
        }
    }
    panic!("not closed");
}

#[test]
fn a_refused_connection_returns_what_was_queued_in_order() {
    let mut bench = Bench::new();
    let channel = bench.posting.connect(&address(7000)).unwrap();
    bench.post(
        bench
            .posting
            .message()
            .with_body(b"1")
            .unwrap()
            .request(channel),
    );
    bench.post(
        bench
            .posting
            .message()
            .with_body(b"2")
            .unwrap()
            .signal(channel),
    );
    bench.pass();
    let (key, _) = bench.connect_action();
    bench.core.handle_connect_failed(key, &refused(), bench.now);
    bench.rest();
    let why = Reason::ConnectFailed;
    let returned = [OpCode::HelloRequest, OpCode::Request, OpCode::Signal].map(|it| (it, why));
    assert_eq!(ends(&mut bench), (returned.to_vec(), why));
}

#[test]
fn a_missing_unix_socket_has_a_reason_of_its_own() {
    let mut bench = Bench::new();
    bench
        .posting
        .connect(&Address::uds("/not/there").unwrap())
        .unwrap();
    bench.pass();
    let (key, _) = bench.connect_action();
    bench
        .core
        .handle_connect_failed(key, &ErrorKind::NotFound.into(), bench.now);
    bench.rest();
    assert_eq!(ends(&mut bench).1, Reason::UdsPathNotFound);
}

#[test]
fn an_unknown_name_ends_the_channel() {
    let mut bench = Bench::new();
    let key = dial_name(&mut bench);
    resolve(&mut bench, key, &[]);
    assert_eq!(ends(&mut bench).1, Reason::NameNotResolved);
}

#[test]
fn a_name_that_is_not_resolved_in_time_ends_the_channel() {
    let mut bench = Bench::new();
    let key = dial_name(&mut bench);
    bench.later(bench.shared.options.connect_timeout);
    bench.rest();
    assert_eq!(ends(&mut bench).1, Reason::ConnectTimedOut);
    resolve(&mut bench, key, &[7000]); // too late, and for nobody
    assert!(
        !bench
            .actions
            .iter()
            .any(|it| matches!(it, Action::Connect { .. }))
    );
}

#[test]
fn one_address_has_all_the_time() {
    let mut bench = Bench::new();
    let timeout = bench.shared.options.connect_timeout;
    bench.posting.connect(&address(7000)).unwrap();
    bench.rest();
    assert_eq!(
        bench.core.poll_timeout(bench.now),
        Some(bench.now + timeout)
    );
    bench.later(timeout);
    bench.rest();
    assert_eq!(ends(&mut bench).1, Reason::ConnectTimedOut);
}

#[test]
fn a_full_backlog_is_asked_again_until_the_timeout() {
    let mut bench = Bench::new();
    let timeout = bench.shared.options.connect_timeout;
    bench
        .posting
        .connect(&Address::uds("/busy").unwrap())
        .unwrap();
    bench.pass();
    let start = bench.now;
    let mut attempts = 0;
    while bench.now < start + timeout {
        let (key, endpoint) = bench.connect_action();
        assert_eq!(endpoint, Endpoint::Uds(Some("/busy".into())));
        attempts += 1;
        let full = ErrorKind::WouldBlock.into();
        bench.core.handle_connect_deferred(key, &full, bench.now);
        bench.wait();
        let due = bench
            .core
            .poll_timeout(bench.now)
            .expect("it is tried again");
        assert!(due > bench.now, "not at once");
        bench.now = due;
        bench.rest();
    }
    assert!(attempts > 100, "{attempts}");
    assert_eq!(ends(&mut bench).1, Reason::ConnectTimedOut);
}

#[test]
fn a_connection_that_opens_while_its_group_closes_has_the_group_s_time() {
    let mut bench = Bench::new();
    let timeout = bench.shared.options.connect_timeout;
    let channel = bench.posting.connect(&address(7000)).unwrap();
    bench.post(bench.posting.message().signal(channel));
    bench.pass();
    let (key, endpoint) = bench.connect_action();
    bench.close_group(3 * timeout);
    bench.rest();
    bench.later(timeout - Duration::from_millis(1));
    bench.rest();
    bench
        .core
        .handle_connected(key, Peer::at(endpoint), bench.now);
    bench.accepts.insert(key, 0);
    bench.rest();
    bench.later(timeout); // past the connect timeout, well before the group's
    bench.rest();
    assert!(matches!(bench.events()[..], [Event::Opened(_)]));
    bench.accepts.remove(&key);
    bench.core.handle_writable(key, bench.now);
    bench.rest();
    assert_eq!(bench.frames(key).len(), 2);
    assert!(bench.is_finishing(key));
    bench.core.handle_end_of_stream(key, bench.now);
    bench.rest();
    assert_eq!(ends(&mut bench), (vec![], Reason::GroupClosed));
}

#[test]
fn a_connection_that_does_not_open_ends_with_its_group() {
    let mut bench = Bench::new();
    let key = dial_name(&mut bench);
    bench.close_group(Duration::from_secs(1));
    bench.rest();
    assert_eq!(bench.closing(key), None);
    bench.later(Duration::from_secs(1));
    bench.rest();
    assert_eq!(bench.closing(key), Some(false));
    let why = Reason::GroupClosed;
    assert_eq!(ends(&mut bench), (vec![(OpCode::HelloRequest, why)], why));
}

#[test]
fn a_post_behind_the_close_of_its_group_comes_back() {
    let mut bench = Bench::new();
    bench.rest();
    let deadline = bench.now;
    let group = bench.group.id;
    bench.submit(Submission::CloseGroup { group, deadline }); // the application does not know yet
    bench.posting.connect(&address(7000)).unwrap();
    bench.rest();
    let why = Reason::GroupClosed;
    assert_eq!(ends(&mut bench), (vec![(OpCode::HelloRequest, why)], why));
    assert!(bench.end_of_group().is_some());
}

#[test]
fn an_abort_while_a_connection_opens_returns_its_hello() {
    let mut bench = Bench::new();
    let channel = bench.posting.connect(&address(7000)).unwrap();
    bench.pass();
    let (key, endpoint) = bench.connect_action();
    bench.post(crate::Post::abort(channel));
    bench.rest();
    bench
        .core
        .handle_connected(key, Peer::at(endpoint), bench.now); // too late
    bench.rest();
    let why = Reason::Aborted;
    assert_eq!(ends(&mut bench), (vec![(OpCode::HelloRequest, why)], why));
}

#[test]
fn a_listener_that_ended_while_it_opened_stays_ended() {
    let mut bench = Bench::new();
    let address = Address::tcp("some.example", 7000).unwrap();
    let channel = bench.posting.listen(&address).unwrap();
    bench.pass();
    let key = bench.action(|action| match action {
        Action::Resolve { key, .. } => Some(*key),
        _ => None,
    });
    bench.post(crate::Post::abort(channel));
    bench.post(crate::Post::abort(channel));
    let addresses = vec![([127, 0, 0, 1], 7000).into()];
    bench.submit(Submission::Resolved { key, addresses });
    bench.rest();
    assert!(
        !bench
            .actions
            .iter()
            .any(|it| matches!(it, Action::Listen { .. }))
    );
    bench.core.handle_listening(key, &tcp(7000));
    bench.rest();
    assert_eq!(bench.closed().reason(), Reason::Aborted);
    assert!(bench.events().is_empty());
}

fn has_begun(bench: &Bench) -> bool {
    let begins = |it: &Action| matches!(it, Action::Connect { .. } | Action::Listen { .. });
    bench.actions.iter().any(begins)
}

/// Its socket would be nobody's.
#[test]
fn who_is_aborted_in_the_pass_in_which_it_would_begin_does_not_begin() {
    let mut bench = Bench::new();
    let channels = [
        bench.posting.connect(&address(7000)).unwrap(),
        bench.posting.listen(&address(0)).unwrap(),
    ];
    for channel in channels {
        bench.post(crate::Post::abort(channel));
    }
    bench.rest();
    assert!(!has_begun(&bench));
}

#[test]
fn a_listener_behind_the_close_of_its_group_does_not_listen() {
    let mut bench = Bench::new();
    bench.rest();
    let (group, deadline) = (bench.group.id, bench.now);
    bench.submit(Submission::CloseGroup { group, deadline }); // the application does not know yet
    bench.posting.listen(&address(0)).unwrap();
    bench.rest();
    assert!(!has_begun(&bench));
    assert_eq!(ends(&mut bench), (vec![], Reason::GroupClosed));
    assert!(bench.end_of_group().is_some());
}

//! Who connects is admitted or refused before anything of it is delivered.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use ampe::{
    Address, Admission, Engine, Event, Incoming, ListenOptions, ListeningSocket, Options, Reason,
};

use crate::common::peer::{HELLO_REQUEST, frame};
use crate::common::*;

fn asking() -> ListenOptions {
    let mut options = ListenOptions::default();
    options.admission = Admission::Ask;
    options
}

#[track_caller]
fn bound(server: &mut Side) -> Address {
    expect!(server.1, Listening).address().clone()
}

#[track_caller]
fn incoming(server: &mut Side) -> Incoming {
    expect!(server.1, Incoming)
}

/// A group that listens and asks whom to admit, one that connects, and where.
fn served_at(address: &Address, options: Options) -> (Engine, Side, Side, Address) {
    let engine = Engine::start(options).unwrap();
    let (mut server, client) = (group(&engine), group(&engine));
    server.0.listen_with(address, &asking()).unwrap();
    let address = bound(&mut server);
    (engine, server, client, address)
}

fn any() -> Address {
    "tcp://127.0.0.1:0".parse().unwrap()
}

#[test]
fn who_is_admitted_loses_nothing_and_who_is_refused_is_never_heard() {
    for transport in transports() {
        let place = place(transport);
        let (engine, mut server, mut client, address) =
            served_at(&place.address, Options::default());
        let refused = client.0.connect(&address).unwrap();
        let message = client.0.message().with_body(b"let me in").unwrap();
        client.0.post(message.request(refused)).unwrap();
        incoming(&mut server).refuse();
        let closed = loop {
            match next(&mut client.1, "Closed") {
                Event::Closed(closed) => break closed,
                Event::Returned(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(closed.account().confirmed, 0);
        assert!(
            closed.reason() == Reason::PeerDisconnected || is_end_by_reset(closed.reason()),
            "{closed:?}"
        );

        let admitted = client.0.connect(&address).unwrap();
        let message = client.0.message().with_body(b"let me in").unwrap();
        client.0.post(message.request(admitted)).unwrap();
        incoming(&mut server).admit();
        let hello = expect!(server.1, Hello);
        let request = expect!(server.1, Request);
        assert_eq!(request.channel(), hello.channel());
        assert_eq!(request.body(), b"let me in");
        server.0.post(hello.echo()).unwrap();
        server.0.post(request.echo()).unwrap();
        expect!(client.1, Accepted);
        expect!(client.1, Response);
        client.0.post(engine.message().bye(admitted)).unwrap();
        drop(expect!(server.1, Bye));
        expect!(client.1, ByeResponse);
        assert_eq!(expect!(server.1, Closed).reason(), Reason::Bye);
        let statistics = engine.statistics();
        assert_eq!(
            (
                statistics.accepted,
                statistics.ended_before_hello,
                statistics.refused
            ),
            (2, 1, 1)
        );
    }
}

#[test]
fn who_leaves_before_it_has_said_anything_is_noticed_and_may_still_be_decided_about() {
    let (engine, mut server, _client, address) = served_at(&any(), Options::default());
    drop(TcpStream::connect(address.socket_addr().unwrap()).unwrap());
    let incoming = incoming(&mut server);
    wait_until("its end to be noticed", || {
        engine.statistics().ended_before_hello == 1
    });
    incoming.admit();
    assert_eq!(engine.statistics().refused, 0);
    assert_nothing(&mut server.1);
}

#[test]
fn who_has_spoken_and_left_is_heard_once_it_is_admitted() {
    let (_engine, mut server, _client, address) = served_at(&any(), Options::default());
    let mut stream = TcpStream::connect(address.socket_addr().unwrap()).unwrap();
    stream.write_all(&frame(HELLO_REQUEST, 1).bytes()).unwrap();
    drop(stream);
    let incoming = incoming(&mut server);
    assert_nothing(&mut server.1);
    incoming.admit();
    let hello = expect!(server.1, Hello);
    let closed = expect!(server.1, Closed);
    assert_eq!(
        (closed.channel(), closed.reason()),
        (hello.channel(), Reason::PeerDisconnected)
    );
}

#[test]
fn who_is_not_decided_about_is_ended() {
    let mut options = Options::default();
    options.hello_timeout = Duration::from_millis(50);
    let (engine, mut server, _client, address) = served_at(&any(), options);
    let mut stream = TcpStream::connect(address.socket_addr().unwrap()).unwrap();
    let incoming = incoming(&mut server);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it sees an end in order");
    incoming.admit();
    wait_until("its end to be counted", || {
        engine.statistics().ended_before_hello == 1
    });
    assert_eq!(engine.statistics().refused, 0);
    assert_nothing(&mut server.1);
}

#[test]
fn no_more_are_asked_about_than_there_may_be_connections() {
    let mut options = Options::default();
    options.connections_per_listener = 2;
    let (engine, mut server, _client, address) = served_at(&any(), options);
    let connect = || TcpStream::connect(address.socket_addr().unwrap()).unwrap();
    drop((connect(), connect()));
    wait_until("two to come and go", || {
        engine.statistics().ended_before_hello == 2
    });
    let _third = connect();
    let held = [incoming(&mut server), incoming(&mut server)];
    assert_nothing(&mut server.1);
    drop(held);
    let third = incoming(&mut server);
    assert_eq!(engine.statistics().accepted, 3);
    third.refuse();
}

#[test]
fn a_listener_that_was_handed_in_asks_as_any_other() {
    let engine = engine();
    let (mut server, mut client) = (group(&engine), group(&engine));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = ListeningSocket::new(listener).unwrap();
    server.0.listen_on_with(socket, &asking()).unwrap();
    let address = bound(&mut server);
    client.0.connect(&address).unwrap();
    let incoming = incoming(&mut server);
    assert!(incoming.peer().to_string().starts_with("tcp://127.0.0.1:"));
    incoming.admit();
    server.0.post(expect!(server.1, Hello).echo()).unwrap();
    expect!(client.1, Accepted);
}

#[test]
fn a_group_that_is_closed_ends_who_waits() {
    let (engine, mut server, mut client, address) = served_at(&any(), Options::default());
    client.0.connect(&address).unwrap();
    let incoming = incoming(&mut server);
    let report = server.1.close(PATIENCE);
    assert!(
        report
            .unread
            .iter()
            .all(|it| matches!(it, Event::Closed(_)))
    );
    incoming.admit();
    let closed = loop {
        if let Event::Closed(closed) = next(&mut client.1, "Closed") {
            break closed;
        }
    };
    assert_eq!(closed.account().confirmed, 0);
    assert_eq!(engine.statistics().ended_before_hello, 1);
}

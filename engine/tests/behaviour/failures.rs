//! What cannot be opened, and what is refused: each has one shape, and everything comes back.

mod arrangements;
mod closing;
mod listening;
mod posting;

use std::time::Duration;

use ampe::wire::OpCode;
use ampe::{
    Address, Channel, ChannelGroup, Closed, Engine, Event, Inbox, Options, Post, PostError, Reason,
    Refused, Returned,
};

use crate::common::{
    self, Place, Transport, assert_nothing, engine, group, has_unix_sockets, listen, next, nobody,
    place, transports,
};

/// What was posted to a channel that cannot be: a HelloRequest with content, and more behind it.
struct Attempt {
    channel: Channel,
    ids: Vec<u64>,
}

/// The posts behind the HelloRequest. They are refused if the channel has failed already.
fn early_posts(group: &ChannelGroup, channel: Channel) -> Vec<Post> {
    let message = || group.message().with_header("Job", "early").unwrap();
    vec![
        message().request(channel).more(),
        message().with_body(&[7; 65_535]).unwrap().signal(channel),
        message().response(channel, 99),
        message().bye(channel),
    ]
}

const OP_CODES: [OpCode; 5] = [
    OpCode::HelloRequest,
    OpCode::Request,
    OpCode::Signal,
    OpCode::Response,
    OpCode::ByeRequest,
];

fn attempt(group: &ChannelGroup, address: &Address) -> Attempt {
    let hello = group.message().with_header("Job", "first").unwrap();
    let posted = group
        .post(hello.with_body(b"content").unwrap().hello(address))
        .unwrap();
    let (channel, mut ids) = (posted.channel, vec![posted.id]);
    for post in early_posts(group, channel) {
        match group.post(post) {
            Ok(posted) => ids.push(posted.id),
            Err(Refused { why, post, .. }) => {
                assert_eq!(why, PostError::ChannelClosed);
                assert_eq!(
                    post.message().text_headers().get("Job"),
                    Some(&b"early"[..])
                );
                break;
            }
        }
    }
    Attempt { channel, ids }
}

/// The one shape of a failure: everything posted comes back in order, then `Closed`, then nothing.
#[track_caller]
fn check_shape(inbox: &mut Inbox, attempt: &Attempt, reason: Reason) -> Closed {
    for (index, &id) in attempt.ids.iter().enumerate() {
        let returned: Returned = expect!(*inbox, Returned);
        assert_eq!(returned.channel(), attempt.channel);
        assert_eq!((returned.id(), returned.reason()), (id, reason));
        assert_eq!(returned.op_code(), OP_CODES[index]);
        assert_eq!(returned.has_more(), index == 1);
        let (job, body): (&[u8], &[u8]) = match index {
            0 => (b"first", b"content"),
            2 => (b"early", &[7; 65_535]),
            _ => (b"early", b""),
        };
        assert_eq!(returned.message().text_headers().get("Job"), Some(job));
        assert_eq!(returned.message().body(), body);
    }
    let closed = expect!(*inbox, Closed);
    assert_eq!(
        (closed.channel(), closed.reason()),
        (attempt.channel, reason)
    );
    assert_eq!(closed.peer(), None, "nobody was reached");
    let (account, count) = (closed.account(), attempt.ids.len() as u64);
    assert_eq!((account.posted, account.returned), (count, count));
    assert_eq!(
        (account.sent, account.confirmed, account.received),
        (0, 0, 0)
    );
    assert_nothing(inbox);
    closed
}

/// Fails to connect to `address`, for this reason. Many times: the end overtakes the early posts
/// now and then.
#[track_caller]
fn check_connect_fails(address: &str, reason: Reason) -> Closed {
    let address: Address = address.parse().unwrap();
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let mut lens = [0; 6];
    let mut last = None;
    for _ in 0..50 {
        let attempt = attempt(&group, &address);
        lens[attempt.ids.len()] += 1;
        last = Some(check_shape(&mut inbox, &attempt, reason));
        let late = group
            .post(engine.message().signal(attempt.channel))
            .unwrap_err();
        assert_eq!(late.why, PostError::ChannelClosed);
    }
    println!("{address}: {reason:?}; attempts by what they had accepted: {lens:?}");
    last.unwrap()
}

#[test]
fn a_port_on_which_nobody_listens() {
    let (_keeper, port) = nobody();
    let address = format!("tcp://127.0.0.1:{port}");
    let closed = check_connect_fails(&address, Reason::ConnectFailed);
    let os_error = closed.os_error().expect("the system says why");
    assert_eq!(os_error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_path_without_a_socket() {
    let place = place(Transport::Uds);
    if !has_unix_sockets() {
        check_connect_fails(&place.address.to_string(), Reason::NoUnixSockets);
        return;
    }
    let closed = check_connect_fails(&place.address.to_string(), Reason::UdsPathNotFound);
    assert!(closed.os_error().is_some());
}

#[test]
fn a_path_in_a_directory_that_does_not_exist() {
    if !has_unix_sockets() {
        return;
    }
    let place = place(Transport::Uds);
    check_connect_fails(
        &format!("{}/deeper", place.address),
        Reason::UdsPathNotFound,
    );
}

#[test]
#[cfg(unix)]
fn a_path_whose_socket_is_stale() {
    let place = place(Transport::Uds);
    drop(std::os::unix::net::UnixListener::bind(place.address.path().unwrap()).unwrap());
    assert!(place.address.path().unwrap().exists());
    check_connect_fails(&place.address.to_string(), Reason::ConnectFailed);
}

#[test]
#[cfg(unix)]
fn a_path_that_is_a_file() {
    let place = place(Transport::Uds);
    std::fs::write(place.address.path().unwrap(), b"mine").unwrap();
    check_connect_fails(&place.address.to_string(), Reason::ConnectFailed);
    assert_eq!(
        std::fs::read(place.address.path().unwrap()).unwrap(),
        b"mine"
    );
}

#[test]
fn a_name_that_nobody_knows() {
    check_connect_fails("tcp://nosuchhost.invalid:7099", Reason::NameNotResolved);
}

#[test]
fn addresses_that_only_a_listener_can_use() {
    check_connect_fails("tcp://:7099", Reason::InvalidAddress);
    check_connect_fails("tcp://127.0.0.1:0", Reason::InvalidAddress);
}

#[test]
fn a_name_whose_every_address_refuses() {
    let (_keeper, port) = nobody();
    let address = format!("tcp://localhost:{port}");
    check_connect_fails(&address, Reason::ConnectFailed);
}

/// A listener that has its fill, with as many connections behind it as the system lets wait, and
/// one that waits beyond those, established for neither side.
struct Stalled {
    server: (ChannelGroup, Inbox),
    /// The one that is served.
    served: (ChannelGroup, Inbox),
    to_server: Channel,
    /// Established as far as their own side knows, or not at all.
    in_line: Vec<(ChannelGroup, Inbox)>,
    waiting: (ChannelGroup, Inbox),
    attempt: Attempt,
    _engines: [Engine; 2],
    _place: Place,
}

fn stalled(transport: Transport, connect_timeout: Duration) -> Stalled {
    const MORE_THAN_THE_BACKLOG: usize = 8;
    let mut options = Options::default();
    (options.connections_per_listener, options.backlog) = (1, 1);
    options.connect_timeout = connect_timeout;
    let engines = [0; 2].map(|_| Engine::start(options.clone()).unwrap());
    let place = place(transport);
    let (mut server, served) = (group(&engines[0]), group(&engines[1]));
    let (_, address) = listen(&server.0, &mut server.1, &place.address);
    let to_server = served.0.connect(&address).unwrap();
    expect!(server.1, Hello);
    let in_line = (0..MORE_THAN_THE_BACKLOG).map(|_| {
        let (group, inbox) = group(&engines[1]);
        group.connect(&address).unwrap();
        (group, inbox)
    });
    let in_line = in_line.collect();
    let waiting = group(&engines[1]);
    let attempt = attempt(&waiting.0, &address);
    assert_eq!(
        attempt.ids.len(),
        OP_CODES.len(),
        "the channel waits and takes posts"
    );
    Stalled {
        server,
        served,
        to_server,
        in_line,
        waiting,
        attempt,
        _engines: engines,
        _place: place,
    }
}

#[test]
fn a_connection_that_does_not_come_about_in_time() {
    for transport in transports() {
        let mut stalled = stalled(transport, Duration::from_millis(200));
        let closed = check_shape(
            &mut stalled.waiting.1,
            &stalled.attempt,
            Reason::ConnectTimedOut,
        );
        println!("{transport:?}: {:?}", closed.os_error());
        drop(stalled.in_line);
        assert_nothing(&mut stalled.server.1);
    }
}

#[test]
fn a_connection_that_waited_long_is_served_at_last() {
    for transport in transports() {
        if transport == Transport::Tcp && cfg!(debug_assertions) {
            common::skip("the system takes 16 s to ask for a TCP connection again: with --release");
            continue;
        }
        let mut stalled = stalled(transport, common::PATIENCE);
        let Attempt { channel, ids } = &stalled.attempt;
        // Those in line disappear, and so does the one that was served.
        drop(std::mem::take(&mut stalled.in_line));
        stalled
            .served
            .0
            .post(Post::abort(stalled.to_server))
            .unwrap();
        let mut received = Vec::new();
        loop {
            match next(&mut stalled.server.1, "the one that waited") {
                Event::Hello(hello) if hello.text_headers().get("Job") == Some(b"first") => {
                    received.push(hello.id());
                }
                Event::Request(request) => received.push(request.id()),
                Event::Signal(signal) => received.push(signal.id()),
                Event::Response(response) => received.push(response.id()),
                Event::Bye(bye) => {
                    received.push(bye.id());
                    break;
                }
                // Of those in line some were accepted, and had said hello, before they disappeared.
                Event::Hello(_) | Event::Closed(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(&received, ids, "{transport:?}: once each, in order");
        expect!(stalled.waiting.1, ByeResponse);
        let closed = expect!(stalled.waiting.1, Closed);
        assert_eq!((closed.channel(), closed.reason()), (*channel, Reason::Bye));
        assert_eq!(closed.account().confirmed, ids.len() as u64);
    }
}

#[test]
fn what_came_back_is_posted_again_and_arrives_once() {
    for transport in transports() {
        let mut stalled = stalled(transport, Duration::from_millis(200));
        let place: Place = place(transport);
        let engine = engine();
        let mut server = group(&engine);
        let (_, elsewhere) = listen(&server.0, &mut server.1, &place.address);
        let Stalled {
            waiting, attempt, ..
        } = &mut stalled;

        let hello = expect!(waiting.1, Returned);
        assert_eq!(hello.op_code(), OpCode::HelloRequest);
        let of_old = hello.channel();
        let hello = hello.repost(of_old).unwrap_err(); // it needs an address
        let channel = waiting
            .0
            .post(hello.into_message().hello(&elsewhere))
            .unwrap()
            .channel;
        for _ in 1..OP_CODES.len() {
            let returned = expect!(waiting.1, Returned);
            let (id, op_code) = (returned.id(), returned.op_code());
            let post = if op_code == OpCode::Response {
                // Its id means nothing to another peer, unless both know better.
                let response = returned.repost(channel).unwrap_err();
                response.into_message().response(channel, id)
            } else {
                returned.repost(channel).unwrap()
            };
            assert_eq!(
                (post.id(), post.op_code(), post.channel()),
                (id, op_code, Some(channel))
            );
            waiting.0.post(post).unwrap();
        }
        let failed = expect!(waiting.1, Closed);
        assert_eq!(failed.account().returned, OP_CODES.len() as u64);

        let hello = expect!(server.1, Hello);
        let addresses = hello.text_headers().into_iter();
        let addresses = addresses.filter(|(name, _)| name == b"~connect_to");
        let named: Vec<_> = addresses.map(|(_, value)| value.to_vec()).collect();
        assert_eq!(
            named,
            [elsewhere.to_wire().into_bytes()],
            "the address dialled, and no other"
        );
        assert_eq!(hello.text_headers().get("Job"), Some(&b"first"[..]));
        assert_eq!(hello.body(), b"content");
        let ids = &attempt.ids;
        let request = expect!(server.1, Request);
        assert_eq!((request.id(), request.has_more()), (ids[1], true));
        let signal = expect!(server.1, Signal);
        assert_eq!((signal.id(), signal.body().len()), (ids[2], 65_535));
        assert_eq!(expect!(server.1, Response).id(), ids[3]);
        assert_eq!(expect!(server.1, Bye).id(), ids[4]);
        expect!(waiting.1, ByeResponse);
        let closed = expect!(waiting.1, Closed);
        assert_eq!((closed.channel(), closed.reason()), (channel, Reason::Bye));
        assert_eq!(closed.account().confirmed, OP_CODES.len() as u64);
        assert_eq!(
            expect!(server.1, Closed).account().received,
            OP_CODES.len() as u64
        );
        assert_nothing(&mut server.1);
    }
}

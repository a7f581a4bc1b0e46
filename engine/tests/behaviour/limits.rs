//! Where numbers and options end, and what holds there.

use std::time::Duration;

use ampe::{
    Channel, ChannelGroup, Engine, Event, Inbox, Options, Post, PostError, Reason, StartError,
};

use crate::common::{
    self, Transport, assert_nothing, engine, group, has_unix_sockets, listen, next, nowhere, place,
    serve_well, transports,
};

/// So many numbers rest before the first of them is used again.
const QUARANTINE: usize = 1024;

/// The highest channel number.
const NUMBERS: usize = 65_534;

/// So many numbers each group can have whatever the others hold.
const RESERVE: usize = 64;

fn nowhere_reason() -> Reason {
    if ampe_poller::socket::has_unix_sockets() {
        Reason::UdsPathNotFound
    } else {
        Reason::NoUnixSockets
    }
}

/// Takes the end of a channel that could not connect.
#[track_caller]
fn take_failure(inbox: &mut Inbox, channel: Channel) {
    assert_eq!(expect!(*inbox, Returned).channel(), channel);
    let closed = expect!(*inbox, Closed);
    assert_eq!(
        (closed.channel(), closed.reason()),
        (channel, nowhere_reason())
    );
}

#[test]
fn a_stale_channel_is_refused_after_its_number_was_used_again() {
    for transport in transports() {
        let (place, nowhere) = (place(transport), nowhere());
        let (server_engine, client_engine) = (engine(), engine());
        let (mut server, mut client) = (group(&server_engine), group(&client_engine));
        let (_, bound) = listen(&server.0, &mut server.1, &place.address);
        let mut stale = Vec::new();
        for _ in 0..=QUARANTINE {
            let channel = client.0.connect(&nowhere).unwrap();
            take_failure(&mut client.1, channel);
            stale.push(channel);
        }
        let first = stale[0];
        let live = client.0.connect(&bound).unwrap();
        assert_eq!(
            live.number(),
            first.number(),
            "the number that rested longest"
        );
        assert_ne!(live.generation(), first.generation());
        assert_ne!(live, first);
        let hello = expect!(server.1, Hello);
        server
            .0
            .post(hello.accept(server_engine.message()))
            .unwrap();
        expect!(client.1, Accepted);

        let message = || client_engine.message().with_body(b"for another").unwrap();
        let posts = [
            message().request(first),
            message().signal(first),
            message().response(first, 1),
            message().bye(first),
            Post::abort(first),
        ];
        for post in posts {
            let refused = client.0.post(post).unwrap_err();
            assert_eq!(
                refused.why,
                PostError::ChannelClosed,
                "{}",
                refused.post.op_code()
            );
            assert_eq!(refused.post.channel(), Some(first));
        }
        // None of it reached the channel that has the number now, nor ended it.
        client
            .0
            .post(client_engine.message().request(live))
            .unwrap();
        let request = expect!(server.1, Request);
        assert_eq!(request.body(), b"");
        server.0.post(request.echo()).unwrap();
        assert_eq!(expect!(client.1, Response).channel(), live);
        assert_nothing(&mut client.1);
        assert_nothing(&mut server.1);
    }
}

#[test]
fn a_number_is_not_used_again_before_its_end_was_received() {
    let (nowhere, engine) = (nowhere(), engine());
    let (mut careless, mut busy) = (group(&engine), group(&engine));
    let held = careless.0.connect(&nowhere).unwrap();
    for _ in 0..3 * QUARANTINE {
        let channel = busy.0.connect(&nowhere).unwrap();
        assert_ne!(channel.number(), held.number());
        take_failure(&mut busy.1, channel);
    }
    take_failure(&mut careless.1, held);
    let used_again = (0..=2 * QUARANTINE).any(|_| {
        let channel = busy.0.connect(&nowhere).unwrap();
        take_failure(&mut busy.1, channel);
        channel.number() == held.number()
    });
    assert!(used_again, "it rests, and then it is used again");
}

/// A group that receives nothing keeps every number that it was given. What the others need to go on is
/// not among them.
#[test]
fn all_numbers_are_used_but_for_the_others_reserves_and_then_given_back() {
    let (nowhere, engine) = (nowhere(), engine());
    let (mut server, mut client) = (group(&engine), group(&engine));
    let (_, bound) = listen(&server.0, &mut server.1, &place(Transport::Tcp).address);
    let mut numbers = vec![false; NUMBERS + 1];
    for _ in 0..NUMBERS - RESERVE {
        let channel = client.0.connect(&nowhere).unwrap();
        assert_ne!(channel.number(), 0);
        let before = std::mem::replace(&mut numbers[usize::from(channel.number())], true);
        assert!(!before, "each number names one channel");
    }
    for refused in [client.0.connect(&nowhere), client.0.listen(&nowhere)] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.why, PostError::NoChannelNumber);
        assert_eq!(refused.post.channel(), None);
    }
    // The other group goes on, as often as it likes: it connects, listens, and takes connections.
    for _ in 0..2 * QUARANTINE {
        let channel = server.0.connect(&nowhere).unwrap();
        take_failure(&mut server.1, channel);
    }
    serve_well(&mut server, &bound);
    let second = place(Transport::Tcp);
    let (_, bound) = listen(&server.0, &mut server.1, &second.address);
    serve_well(&mut server, &bound);

    // Whoever says hello when that is used up too gets no number, and is told by the end of its
    // connection.
    let taken = 2; // its listeners
    for _ in taken..RESERVE {
        server.0.connect(&nowhere).unwrap();
    }
    let other = common::engine();
    let mut unlucky = group(&other);
    let channel = unlucky.0.connect(&bound).unwrap();
    let closed = loop {
        match next(&mut unlucky.1, "the end") {
            Event::Closed(closed) => break closed,
            Event::Returned(returned) => assert_eq!(returned.channel(), channel),
            other => panic!("unexpected {other:?}"),
        }
    };
    assert_eq!(closed.channel(), channel);
    assert_eq!(engine.statistics().out_of_numbers, 1);
    take_failures(&mut server.1, RESERVE - taken);
    take_failures(&mut client.1, NUMBERS - RESERVE);
    serve_well(&mut server, &bound);
}

/// Takes the ends of so many channels that could not connect.
#[track_caller]
fn take_failures(inbox: &mut Inbox, count: usize) {
    let (mut returned, mut ended) = (0, 0);
    while ended < count {
        match next(inbox, "an end") {
            Event::Returned(_) => returned += 1,
            Event::Closed(_) => ended += 1,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(returned, count);
}

/// Connects and ends, again and again, in one engine at each side.
fn cycle(transport: Transport, cycles: usize) {
    let place = place(transport);
    let (server_engine, client_engine) = (engine(), engine());
    let (mut server, mut client) = (group(&server_engine), group(&client_engine));
    let (_, bound) = listen(&server.0, &mut server.1, &place.address);
    let mut last: Option<Channel> = None;
    for round in 0..cycles {
        let to_server = client.0.connect(&bound).unwrap();
        let hello = expect!(server.1, Hello);
        let to_client = hello.channel();
        assert!(last.is_none_or(|last| last.generation() < to_client.generation()));
        last = Some(to_client);
        let expected = match round % 2 {
            0 => {
                let goodbye = client.0.message().bye(to_server);
                client.0.post(goodbye).unwrap();
                drop(expect!(server.1, Bye));
                expect!(client.1, ByeResponse);
                Reason::Bye
            }
            _ => {
                client.0.post(Post::abort(to_server)).unwrap();
                Reason::Aborted
            }
        };
        for (inbox, channel) in [(&mut client.1, to_server), (&mut server.1, to_client)] {
            let closed = expect!(*inbox, Closed);
            assert_eq!(closed.channel(), channel, "round {round}");
            let account = closed.account();
            assert_eq!(account.posted, account.sent + account.returned);
            if channel == to_server {
                assert_eq!(closed.reason(), expected);
            }
        }
    }
    let statistics = server_engine.statistics();
    assert_eq!(statistics.accepted, cycles as u64);
    assert_eq!(
        (statistics.ended_before_hello, statistics.out_of_numbers),
        (0, 0)
    );
    serve_well(&mut server, &bound);
}

#[test]
fn connections_come_and_go() {
    for transport in transports() {
        cycle(transport, if cfg!(debug_assertions) { 1000 } else { 3000 });
    }
}

#[test]
#[ignore = "takes long: more connections than there are numbers"]
fn more_connections_come_and_go_than_there_are_numbers() {
    if has_unix_sockets() {
        cycle(Transport::Uds, 70_000);
    }
}

#[test]
fn options_that_are_too_low_are_refused_by_name() {
    type Change = fn(&mut Options, usize);
    let changes: [(&str, Change); 8] = [
        ("inbound_bytes", |options, value| {
            options.inbound_bytes = value
        }),
        ("inbound_bytes_per_channel", |options, value| {
            options.inbound_bytes_per_channel = value
        }),
        ("outbound_bytes", |options, value| {
            options.outbound_bytes = value
        }),
        ("outbound_bytes_per_channel", |options, value| {
            options.outbound_bytes_per_channel = value
        }),
        ("connections_per_listener", |options, value| {
            options.connections_per_listener = value
        }),
        ("backlog", |options, value| options.backlog = value as u32),
        ("notifications", |options, value| {
            options.notifications = value
        }),
        ("notification_bytes", |options, value| {
            options.notification_bytes = value
        }),
    ];
    for (name, change) in changes {
        let start = |value: usize| {
            let mut options = Options::default();
            change(&mut options, value);
            Engine::start(options)
        };
        let error = start(0).unwrap_err();
        assert!(matches!(error, StartError::Options(_)), "{error:?}");
        let text = error.to_string();
        let (option, minimum) = text.split_once(" is 0: give it at least ").unwrap();
        assert_eq!(option, format!("option {name}"));
        // The minimum that the message names is the minimum.
        let minimum: usize = minimum.parse().unwrap();
        let below = minimum - 1;
        let text = start(below).unwrap_err().to_string();
        assert_eq!(
            text,
            format!("option {name} is {below}: give it at least {minimum}")
        );
        drop(start(minimum).unwrap());
    }
}

#[test]
fn a_keep_alive_that_systems_would_not_take_is_refused() {
    let start = |keep_alive| {
        let mut options = Options::default();
        options.keep_alive = keep_alive;
        Engine::start(options)
    };
    let range = [Duration::from_secs(1), Duration::from_secs(32_767)];
    let nanosecond = Duration::from_nanos(1);
    let beyond = [
        (Duration::ZERO, "0ns"),
        (range[0] - nanosecond, "999.999999ms"),
        (range[1] + nanosecond, "32767.000000001s"),
    ];
    for (beyond, named) in beyond {
        let error = start(Some(beyond)).unwrap_err();
        assert!(matches!(error, StartError::Options(_)), "{error:?}");
        let expected = format!("option keep_alive is {named}: give it 1 s to 32767 s, or None");
        assert_eq!(error.to_string(), expected);
    }
    assert!(start(Some(Duration::MAX)).is_err());
    for within in [None, Some(range[0]), Some(range[1])] {
        drop(start(within).unwrap());
    }
}

#[test]
fn the_least_options_are_enough_for_the_largest_messages() {
    let mut options = Options::default();
    options.inbound_bytes = 0;
    let error = Engine::start(options.clone()).unwrap_err();
    let least = error
        .to_string()
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    (options.inbound_bytes, options.inbound_bytes_per_channel) = (least, least);
    (options.outbound_bytes, options.outbound_bytes_per_channel) = (least, least);
    (options.connections_per_listener, options.backlog) = (1, 1);
    (options.pool_bytes, options.notifications) = (0, 1);
    for transport in transports() {
        let mut it = common::connected_with(transport, options.clone());
        for round in 0..100 {
            let header = "x".repeat(65_535 - "Long:\r\n".len());
            let request = it.engine.message().with_header("Long", &header).unwrap();
            let mut post = request
                .with_body(&[round; 65_535])
                .unwrap()
                .request(it.to_server);
            loop {
                match it.client.0.post(post) {
                    Ok(_) => break,
                    Err(refused) => {
                        assert!(matches!(refused.why, PostError::Full(_)));
                        assert_eq!(expect!(it.client.1, Room), it.to_server);
                        post = refused.post;
                    }
                }
            }
            let request = expect!(it.server.1, Request);
            assert_eq!(request.body(), [round; 65_535]);
            post = request.echo();
            while let Err(refused) = it.server.0.post(post) {
                assert!(matches!(refused.why, PostError::Full(_)));
                assert_eq!(expect!(it.server.1, Room), it.to_client);
                post = refused.post;
            }
            assert_eq!(expect!(it.client.1, Response).body(), [round; 65_535]);
        }
        let within: Duration = common::PATIENCE;
        let side: (ChannelGroup, Inbox) = it.client;
        assert!(side.1.close(within).returned.is_empty());
    }
}

/// As a timeout of `Duration::MAX` never ends, a budget of `usize::MAX` is none.
#[test]
fn budgets_may_be_without_end() {
    for transport in transports() {
        let mut options = Options::default();
        options.inbound_bytes = usize::MAX;
        options.inbound_bytes_per_channel = usize::MAX;
        options.outbound_bytes = usize::MAX;
        options.outbound_bytes_per_channel = usize::MAX;
        options.pool_bytes = usize::MAX;
        let mut it = common::connected_with(transport, options);
        for len in [10, 5000, 65_535] {
            let mut posts: std::collections::VecDeque<Post> = (0..200)
                .map(|_| it.engine.message().with_body(&vec![7; len]).unwrap())
                .map(|message| message.signal(it.to_server))
                .collect();
            it.client.0.post_many(&mut posts, &mut Vec::new()).unwrap();
            for _ in 0..200 {
                match next(&mut it.server.1, "a signal") {
                    Event::Signal(signal) => assert_eq!(signal.body().len(), len),
                    other => panic!("expected a signal, got {other:?}"),
                }
            }
        }
    }
}

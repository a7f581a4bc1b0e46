//! Who can be connected to whom: itself, many listeners, many groups, other engines.

use std::collections::BTreeMap;

use ampe::{Address, Channel, ChannelGroup, Endpoint, Event, Inbox, Post, PostError, Reason};

use crate::common::{
    Transport, assert_nothing, connected, engine, group, has_unix_sockets, listen, next, place,
    serve_well, transports,
};

#[test]
fn a_group_is_connected_to_itself() {
    for transport in transports() {
        let (place, engine) = (place(transport), engine());
        let (group, mut inbox) = group(&engine);
        let (listener, bound) = listen(&group, &mut inbox, &place.address);
        let there = group.connect(&bound).unwrap();
        let hello = expect!(inbox, Hello);
        assert_eq!(hello.listener(), listener);
        let back = hello.channel();
        assert_ne!(there, back, "two channels, one at each end");
        group.post(hello.accept(engine.message())).unwrap();
        assert_eq!(expect!(inbox, Accepted).channel(), there);
        // A request each way, answered by the same application.
        for (from, to) in [(there, back), (back, there)] {
            let posted = group.post(engine.message().request(from)).unwrap();
            let request = expect!(inbox, Request);
            assert_eq!((request.channel(), request.id()), (to, posted.id));
            group.post(request.echo()).unwrap();
            let response = expect!(inbox, Response);
            assert_eq!((response.channel(), response.id()), (from, posted.id));
        }
        group.post(engine.message().bye(there)).unwrap();
        let bye = expect!(inbox, Bye);
        assert_eq!(bye.channel(), back);
        drop(bye);
        let mut reasons = BTreeMap::new();
        while reasons.len() < 2 {
            match next(&mut inbox, "both ends") {
                Event::ByeResponse(answer) => assert_eq!(answer.channel(), there),
                Event::Closed(closed) => {
                    let before = reasons.insert(closed.channel(), closed.reason());
                    assert_eq!(before, None, "one Closed each");
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        let both = [(there, Reason::Bye), (back, Reason::Bye)];
        assert_eq!(reasons, BTreeMap::from(both), "{transport:?}");
        assert_nothing(&mut inbox);
    }
}

/// Sends a request over each channel, and checks that it arrives at the channel's other end.
fn check_routes(
    from: &mut (ChannelGroup, Inbox),
    to: &mut (ChannelGroup, Inbox),
    routes: &BTreeMap<Channel, Channel>,
) {
    for (&here, &there) in routes {
        let request = from
            .0
            .message()
            .with_body(&here.number().to_be_bytes())
            .unwrap();
        let posted = from.0.post(request.request(here)).unwrap();
        let request = expect!(to.1, Request);
        assert_eq!((request.channel(), request.id()), (there, posted.id));
        assert_eq!(request.body(), here.number().to_be_bytes());
        to.0.post(request.echo()).unwrap();
        let response = expect!(from.1, Response);
        assert_eq!((response.channel(), response.id()), (here, posted.id));
    }
}

#[test]
fn many_listeners_and_connections_in_one_group() {
    let (engine, other) = (engine(), engine());
    let (mut server, mut client) = (group(&engine), group(&other));
    let second = if has_unix_sockets() {
        Transport::Uds
    } else {
        Transport::Tcp
    };
    let places = [Transport::Tcp, second, Transport::Tcp, second].map(place);
    let listeners: Vec<_> = places
        .iter()
        .map(|place| listen(&server.0, &mut server.1, &place.address))
        .collect();
    let mut routes = BTreeMap::new();
    let mut by_listener = Vec::new();
    for _ in 0..3 {
        for (listener, address) in &listeners {
            let here = client.0.connect(address).unwrap();
            let hello = expect!(server.1, Hello);
            assert_eq!(hello.listener(), *listener);
            let is_uds = matches!(hello.peer().address(), Endpoint::Uds(_));
            assert_eq!(is_uds, address.path().is_some());
            routes.insert(here, hello.channel());
            by_listener.push((here, *listener));
            server.0.post(hello.accept(engine.message())).unwrap();
            assert_eq!(expect!(client.1, Accepted).channel(), here);
        }
    }
    check_routes(&mut client, &mut server, &routes);
    // One listener ends; its connections and the other listeners do not.
    let (first, address) = &listeners[0];
    server.0.post(Post::abort(*first)).unwrap();
    assert_eq!(expect!(server.1, Closed).channel(), *first);
    check_routes(&mut client, &mut server, &routes);
    let refused = client.0.connect(address).unwrap();
    expect!(client.1, Returned);
    assert_eq!(expect!(client.1, Closed).channel(), refused);
    serve_well(&mut server, &listeners[1].1);
    // One connection ends; the others do not.
    let (&here, _) = routes.first_key_value().unwrap();
    let there = routes.remove(&here).unwrap();
    client.0.post(Post::abort(here)).unwrap();
    assert_eq!(expect!(client.1, Closed).reason(), Reason::Aborted);
    assert_eq!(expect!(server.1, Closed).channel(), there);
    check_routes(&mut client, &mut server, &routes);
}

#[test]
fn groups_keep_to_themselves() {
    for transport in transports() {
        let mut it = connected(transport);
        let mut stranger = group(&it.engine);
        for channel in [it.to_server, it.to_client, it.listener] {
            for post in [it.engine.message().signal(channel), Post::abort(channel)] {
                let refused = stranger.0.post(post).unwrap_err();
                assert_eq!(refused.why, PostError::OtherGroup);
                assert_eq!(
                    refused.post.channel(),
                    Some(channel),
                    "it is still the caller's"
                );
            }
        }
        // A group that closes takes its own channels with it, and no others.
        let place = place(transport);
        let (_, bound) = listen(&stranger.0, &mut stranger.1, &place.address);
        let to_stranger = it.client.0.connect(&bound).unwrap();
        expect!(stranger.1, Hello);
        drop(stranger);
        assert_eq!(expect!(it.client.1, Closed).channel(), to_stranger);
        let routes = BTreeMap::from([(it.to_server, it.to_client)]);
        check_routes(&mut it.client, &mut it.server, &routes);
        let routes = BTreeMap::from([(it.to_client, it.to_server)]);
        check_routes(&mut it.server, &mut it.client, &routes);
    }
}

#[test]
fn engines_in_one_process_keep_to_themselves() {
    for transport in transports() {
        let mut first = connected(transport);
        let mut second = connected(transport);
        let routes = BTreeMap::from([(second.to_server, second.to_client)]);
        check_routes(&mut second.client, &mut second.server, &routes);
        drop(first.engine);
        for inbox in [&mut first.client.1, &mut first.server.1] {
            while inbox.recv().is_ok() {}
        }
        check_routes(&mut second.client, &mut second.server, &routes);
    }
}

#[test]
fn a_hello_carries_content_and_early_posts_follow_it() {
    for transport in transports() {
        let (place, engine) = (place(transport), engine());
        let (mut server, mut client) = (group(&engine), group(&engine));
        let (_, bound) = listen(&server.0, &mut server.1, &place.address);
        let bound: Address = bound;
        let hello = engine.message().with_header("Job-Ticket", "JDF").unwrap();
        let hello = hello
            .with_body(&[9; 8000])
            .unwrap()
            .hello(&bound)
            .with_id(77);
        let posted = client.0.post(hello).unwrap();
        assert_eq!(posted.id, 77);
        for id in 100..200 {
            let signal = engine.message().signal(posted.channel).with_id(id);
            client.0.post(signal).unwrap();
        }
        client.0.post(engine.message().bye(posted.channel)).unwrap();
        let hello = expect!(server.1, Hello);
        assert_eq!((hello.id(), hello.body()), (77, &[9; 8000][..]));
        let headers = hello.text_headers();
        assert_eq!(headers.get("Job-Ticket"), Some(&b"JDF"[..]));
        assert_eq!(headers.get("~connect_to"), Some(bound.to_wire().as_bytes()));
        for id in 100..200 {
            assert_eq!(expect!(server.1, Signal).id(), id, "{transport:?}");
        }
        drop(expect!(server.1, Bye));
        expect!(client.1, ByeResponse);
        let account = expect!(client.1, Closed).account();
        assert_eq!((account.posted, account.confirmed), (102, 102));
    }
}

#[test]
fn a_hello_is_refused() {
    for transport in transports() {
        for (why, reason) in [("full", Some(&b"full"[..])), ("", None), ("a\r\nb:c", None)] {
            let (place, engine) = (place(transport), engine());
            let (mut server, mut client) = (group(&engine), group(&engine));
            let (_, bound) = listen(&server.0, &mut server.1, &place.address);
            let hello = engine
                .message()
                .with_body(b"let me in")
                .unwrap()
                .hello(&bound);
            let posted = client.0.post(hello).unwrap();
            let hello = expect!(server.1, Hello);
            let to_client = hello.channel();
            server.0.post(hello.refuse(why)).unwrap();
            let late = server
                .0
                .post(engine.message().signal(to_client))
                .unwrap_err();
            let is_late = matches!(late.why, PostError::ByePosted | PostError::ChannelClosed);
            assert!(is_late, "{late:?}");
            let refusal = expect!(client.1, ByeResponse);
            assert_eq!((refusal.id(), refusal.body()), (posted.id, &b""[..]));
            let headers: Vec<_> = refusal.text_headers().into_iter().collect();
            let expected = reason.map(|reason| (&b"Reason"[..], reason));
            assert_eq!(headers, Vec::from_iter(expected));
            let closed = expect!(client.1, Closed);
            assert_eq!(
                (closed.channel(), closed.reason()),
                (posted.channel, Reason::Refused)
            );
            let closed = expect!(server.1, Closed);
            assert_eq!(
                (closed.channel(), closed.reason()),
                (to_client, Reason::Refused)
            );
            assert_nothing(&mut client.1);
            assert_nothing(&mut server.1);
        }
    }
}

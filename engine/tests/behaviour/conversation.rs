//! What two groups say to each other, on every transport.

use ampe::{Event, Reason};

use crate::common::{self, connected, engine, group, listen, next, place, transports};

#[test]
fn requests_are_answered_and_accounts_agree() {
    for transport in transports() {
        let mut it = connected(transport);
        let post = it
            .engine
            .message()
            .with_header("Job-Ticket", "JDF")
            .unwrap()
            .with_body(b"one")
            .unwrap();
        let posted = it.client.0.post(post.request(it.to_server).more()).unwrap();
        let request = expect!(it.server.1, Request);
        assert_eq!(
            (request.id(), request.has_more(), request.body()),
            (posted.id, true, &b"one"[..])
        );
        assert_eq!(request.text_headers().get("Job-Ticket"), Some(&b"JDF"[..]));
        it.server.0.post(request.echo()).unwrap();
        let response = expect!(it.client.1, Response);
        assert_eq!(
            (response.id(), response.has_more(), response.body()),
            (posted.id, true, &b"one"[..])
        );

        it.client
            .0
            .post(it.engine.message().bye(it.to_server))
            .unwrap();
        drop(expect!(it.server.1, Bye));
        expect!(it.client.1, ByeResponse);
        let closed = expect!(it.client.1, Closed);
        assert_eq!(closed.reason(), Reason::Bye, "{transport:?}");
        let account = closed.account();
        assert_eq!((account.posted, account.sent, account.returned), (3, 3, 0));
        assert_eq!((account.confirmed, account.received), (3, 3));
        let closed = expect!(it.server.1, Closed);
        assert_eq!(closed.reason(), Reason::Bye);
        let account = closed.account();
        assert_eq!(
            (account.sent, account.confirmed),
            (3, 0),
            "an end says nothing of what it ended"
        );
    }
}

#[test]
fn large_and_small_messages_keep_their_order() {
    for transport in transports() {
        let mut it = connected(transport);
        let lens = [
            0usize, 1, 64, 255, 256, 4095, 4096, 5000, 65_535, 16, 65_535, 65_535, 3,
        ];
        let rounds = 40;
        let mut waiting = std::collections::VecDeque::new();
        for round in 0..rounds {
            for (index, len) in lens.iter().enumerate() {
                let body = vec![(round * lens.len() + index) as u8; *len];
                waiting.push_back(
                    it.engine
                        .message()
                        .with_body(&body)
                        .unwrap()
                        .signal(it.to_server),
                );
            }
        }
        let mut posted = Vec::new();
        let mut received = 0;
        let mut refused = 0;
        while received < rounds * lens.len() {
            if !waiting.is_empty() && it.client.0.post_many(&mut waiting, &mut posted).is_err() {
                refused += 1;
                assert_eq!(expect!(it.client.1, Room), it.to_server);
            }
            while let Ok(Some(event)) = it.server.1.try_recv() {
                let Event::Signal(signal) = event else {
                    panic!("expected Signal, got {event:?}")
                };
                assert_eq!(signal.body().len(), lens[received % lens.len()]);
                assert!(signal.body().iter().all(|&byte| byte == received as u8));
                received += 1;
            }
        }
        assert_eq!(posted.len(), received);
        println!("{transport:?}: {received} messages, refused {refused} times");
    }
}

#[test]
fn the_last_events_come_when_the_engine_is_dropped() {
    for transport in transports() {
        let mut it = connected(transport);
        drop(it.engine);
        for inbox in [&mut it.client.1, &mut it.server.1] {
            while let Ok(event) = inbox.recv() {
                let Event::Closed(closed) = event else {
                    panic!("expected Closed, got {event:?}")
                };
                println!("{transport:?}: {} {:?}", closed.channel(), closed.reason());
            }
        }
        assert!(it.client.0.connect(&it.place.address).is_err());
        let _ = next;
    }
}

/// Not every peer says that it accepts, and none has to be waited for.
#[test]
fn a_hello_that_is_dropped_is_neither_accepted_nor_refused() {
    for transport in transports() {
        let (engine, place) = (engine(), place(transport));
        let (mut server, mut client) = (group(&engine), group(&engine));
        let (_, bound) = listen(&server.0, &mut server.1, &place.address);
        let to_server = client.0.connect(&bound).unwrap();
        drop(expect!(server.1, Hello));
        let request = engine.message().request(to_server);
        client.0.post(request).unwrap();
        let request = expect!(server.1, Request);
        server.0.post(request.echo()).unwrap();
        expect!(client.1, Response); // the first word of the server
    }
}

#[test]
fn a_goodbye_is_completed_by_a_group_that_closes() {
    for transport in transports() {
        let mut it = connected(transport);
        it.client
            .0
            .post(it.engine.message().bye(it.to_server))
            .unwrap();
        let report = std::thread::scope(|scope| {
            scope.spawn(|| {
                drop(expect!(it.server.1, Bye));
                assert_eq!(expect!(it.server.1, Closed).reason(), Reason::Bye);
            });
            it.client.1.close(common::PATIENCE)
        });
        let Some(Event::Closed(closed)) = report.unread.last() else {
            panic!("Closed is last")
        };
        assert_eq!(closed.reason(), Reason::Bye, "{transport:?}");
        assert_eq!(closed.account().confirmed, closed.account().posted);
    }
}

/// A server that passes on what it gets, in a message that it makes longer, and over an engine that
/// the message does not belong to.
#[test]
fn what_was_received_may_be_enlarged_and_passed_on_by_another_engine() {
    for transport in transports() {
        let mut first = connected(transport);
        let mut second = connected(transport);
        for len in [0usize, 10, 5000, 60_000] {
            let signal = first
                .engine
                .message()
                .with_body(b"short")
                .unwrap()
                .signal(first.to_server);
            first.client.0.post(signal).unwrap();
            let mut message = expect!(first.server.1, Signal).into_message();
            message.resize_body(len).unwrap().fill(9);
            second
                .client
                .0
                .post(message.signal(second.to_server))
                .unwrap();
            let passed_on = expect!(second.server.1, Signal);
            assert_eq!(passed_on.body(), vec![9; len]);
        }
        // Both engines still count as they should: they serve, and end in order.
        for it in [first, second] {
            it.engine.stop(common::PATIENCE);
            let mut inbox = it.server.1;
            let ended = loop {
                match inbox.recv() {
                    Ok(_) => {}
                    Err(ended) => break ended,
                }
            };
            assert_eq!(ended, ampe::Ended::EngineStopped, "{transport:?}");
        }
    }
}

#[test]
fn the_content_of_an_abort_can_be_used() {
    let it = connected(common::Transport::Tcp);
    let message = ampe::Post::abort(it.to_server).into_message();
    let message = message
        .with_header("Name", "value")
        .unwrap()
        .with_body(&[1; 3000])
        .unwrap();
    assert_eq!(message.text_headers().get("Name"), Some(&b"value"[..]));
    let mut it = it;
    it.client.0.post(message.signal(it.to_server)).unwrap();
    assert_eq!(expect!(it.server.1, Signal).body(), [1; 3000]);
}

#[test]
fn an_abort_that_is_repeated_changes_nothing() {
    let mut it = connected(common::Transport::Tcp);
    for _ in 0..3 {
        let refused = it.client.0.post(ampe::Post::abort(it.to_server)).err();
        assert!(refused.is_none_or(|refused| refused.why == ampe::PostError::ChannelClosed));
    }
    assert_eq!(expect!(it.client.1, Closed).reason(), Reason::Aborted);
    assert!(it.client.1.close(common::PATIENCE).unread.is_empty());
}

#[test]
fn a_channel_of_one_engine_is_none_of_another() {
    let one = connected(common::Transport::Tcp);
    let other = connected(common::Transport::Tcp);
    assert_eq!(one.to_server.number(), other.to_server.number());
    let refused = other
        .client
        .0
        .post(other.engine.message().signal(one.to_server))
        .unwrap_err();
    assert_eq!(refused.why, ampe::PostError::ChannelClosed);
}

#[test]
fn an_echo_may_say_who_echoes() {
    let mut it = connected(common::Transport::Tcp);
    let signal = it
        .engine
        .message()
        .with_header("Name", "first")
        .unwrap()
        .with_body(b"body")
        .unwrap();
    it.client.0.post(signal.signal(it.to_server)).unwrap();
    let mut echo = expect!(it.server.1, Signal).echo();
    echo.add_header("Server", "second").unwrap();
    assert!(echo.add_header("", "nothing").is_err());
    it.server.0.post(echo).unwrap();
    let back = expect!(it.client.1, Signal);
    assert_eq!(back.text_headers().get("Name"), Some(&b"first"[..]));
    assert_eq!(back.text_headers().get("Server"), Some(&b"second"[..]));
    assert_eq!(back.body(), b"body");
}

#[test]
fn a_message_without_storage_gets_some_when_it_is_posted() {
    let mut it = connected(common::Transport::Tcp);
    let empty = ampe::Post::abort(it.to_server).into_message();
    it.client.0.post(empty.signal(it.to_server)).unwrap();
    assert_eq!(expect!(it.server.1, Signal).body(), b"");
}

#[test]
fn for_ever_is_a_time_like_any_other() {
    let for_ever = std::time::Duration::MAX;
    let mut options = ampe::Options::default();
    options.connect_timeout = for_ever;
    options.hello_timeout = for_ever;
    options.linger_timeout = for_ever;
    let mut it = common::connected_with(common::Transport::Tcp, options);
    it.client
        .0
        .post(it.engine.message().bye(it.to_server))
        .unwrap();
    drop(expect!(it.server.1, Bye));
    assert_eq!(expect!(it.server.1, Closed).reason(), Reason::Bye);
    assert_eq!(it.client.1.close(for_ever).returned.len(), 0);
    it.engine.stop(for_ever);
}

#[test]
fn a_large_goodbye_waits_for_room_and_a_small_one_does_not() {
    let mut it = connected(common::Transport::Tcp);
    let large = |message: ampe::Message| message.with_body(&[1; 60_000]).unwrap();
    // More than the credit in one batch, so that the reactor cannot make room meanwhile.
    let mut posts: std::collections::VecDeque<_> = (0..100)
        .map(|_| large(it.engine.message()).signal(it.to_server))
        .collect();
    let mut posted = Vec::new();
    let why = it.client.0.post_many(&mut posts, &mut posted).unwrap_err();
    assert_eq!(why, ampe::PostError::Full(ampe::Budget::Channel));
    it.client
        .0
        .post(it.engine.message().bye(it.to_server))
        .unwrap();
    let received = std::iter::from_fn(|| match next(&mut it.server.1, "the rest") {
        Event::Signal(_) => Some(()),
        Event::Bye(_) => None,
        other => panic!("unexpected {other:?}"),
    });
    assert_eq!(received.count(), posted.len());
}

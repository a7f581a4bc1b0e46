//! Every message accounted for, however a channel ends: posted = sent + returned, never both, never
//! neither; exactly one `Closed`, last.

mod book;

use std::collections::BTreeSet;
use std::time::Duration;

use ampe::{Channel, ChannelGroup, Ended, Engine, Event, Inbox, Post, PostError, Reason};

use book::{Book, OUTBOUND, events, options};

use crate::common::{
    self, PATIENCE, Transport, connected, group, is_end_by_reset, listen, place, transports,
};

/// A server and a client, each with an engine of its own, and a client that has flooded.
struct Flood {
    server_engine: Engine,
    server: (ChannelGroup, Inbox),
    client_engine: Engine,
    client: (ChannelGroup, Inbox),
    to_client: Channel,
    to_server: Channel,
    book: Book,
    _place: common::Place,
}

/// The server says hello and then receives nothing; the client posts until it is refused.
fn flood(transport: Transport) -> Flood {
    let place = place(transport);
    let server_engine = Engine::start(options(OUTBOUND)).unwrap();
    let client_engine = Engine::start(options(OUTBOUND)).unwrap();
    let (mut server, client) = (group(&server_engine), group(&client_engine));
    let (_, bound) = listen(&server.0, &mut server.1, &place.address);
    let to_server = client.0.connect(&bound).unwrap();
    let to_client = expect!(server.1, Hello).channel();
    let mut book = Book::default();
    book.post_until_full(&client.0, to_server);
    let _place = place;
    Flood {
        server_engine,
        server,
        client_engine,
        client,
        to_client,
        to_server,
        book,
        _place,
    }
}

/// Everything that the server received before its channel closed.
fn received_ids(inbox: &mut Inbox) -> BTreeSet<u64> {
    let mut ids = BTreeSet::new();
    for event in events(inbox) {
        match event {
            Event::Signal(signal) => assert!(ids.insert(signal.id()), "nothing comes twice"),
            Event::Closed(_) => break,
            other => panic!("unexpected {other:?}"),
        }
    }
    ids
}

#[test]
fn a_peer_that_aborts() {
    for transport in transports() {
        let mut it = flood(transport);
        it.server.0.post(Post::abort(it.to_client)).unwrap();
        let account = it.book.settle(it.to_server, events(&mut it.client.1));
        let received = received_ids(&mut it.server.1);
        println!(
            "{transport:?}: {account:?}, {:?}, received {}",
            it.book.reason(),
            received.len()
        );
        // A Unix socket knows no reset of its own: with nothing unread an abort is a close.
        let is_uds_close =
            transport == Transport::Uds && it.book.reason() == Reason::PeerDisconnected;
        let is_reset = it.book.reason() == Reason::ConnectionLost;
        let is_known = is_reset || is_uds_close || is_end_by_reset(it.book.reason());
        assert!(is_known, "{:?}", it.book.reason());
        assert!(received.len() as u64 <= account.sent);
        assert!(
            it.book.returned.keys().all(|id| !received.contains(id)),
            "returned, not received"
        );
    }
}

#[test]
fn a_peer_that_aborts_and_says_why() {
    for transport in transports() {
        let mut it = connected(transport);
        let words = it.engine.message().with_header("Code", "28").unwrap();
        let words = words.with_body(b"the disk is full").unwrap();
        it.server.0.post(words.abort(it.to_client)).unwrap();
        let told = expect!(it.client.1, ByeSignal);
        assert_eq!(told.body(), b"the disk is full");
        assert_eq!(told.text_headers().get("Code"), Some(&b"28"[..]));
        let closed = expect!(it.client.1, Closed);
        assert_eq!(closed.reason(), Reason::PeerAborted, "{transport:?}");
        let of_peer = expect!(it.server.1, Closed);
        assert_eq!(of_peer.reason(), Reason::Aborted);
        assert_eq!(closed.account().received, of_peer.account().sent);
        let long = it.engine.message().with_body(&[0; 1025]).unwrap();
        let refused = it.server.0.post(long.abort(it.to_client)).unwrap_err();
        assert_eq!(refused.why, PostError::AbortTooLong { len: 1025 });
    }
}

/// Whatever the words came in: what that was charged is settled before.
#[test]
fn an_abort_takes_the_content_of_any_message() {
    for transport in transports() {
        let mut it = connected(transport);
        // Returned ones, with words; the second abort of a channel changes nothing.
        let message = || it.engine.message().with_body(b"enough").unwrap();
        let signals = [(); 2].map(|()| message().signal(it.to_client));
        let mut posts = signals
            .into_iter()
            .collect::<std::collections::VecDeque<_>>();
        posts.push_back(Post::abort(it.to_client));
        it.server.0.post_many(&mut posts, &mut Vec::new()).unwrap();
        let words = [(); 2].map(|()| expect!(it.server.1, Returned).into_message());
        expect!(it.server.1, Closed);
        let listener = it.listener;
        let mut aborts = words.into_iter().map(|it| it.abort(listener)).collect();
        it.server.0.post_many(&mut aborts, &mut Vec::new()).unwrap();
        assert_eq!(expect!(it.server.1, Closed).channel(), listener);
        // One that another engine received, without words.
        let (mut here, other) = (connected(transport), connected(transport));
        let post = here.engine.message().signal(here.to_server);
        here.client.0.post(post).unwrap();
        let received = expect!(here.server.1, Signal).into_message();
        other
            .client
            .0
            .post(received.abort(other.to_server))
            .unwrap();
        let mut inbox = other.client.1;
        assert_eq!(expect!(inbox, Closed).reason(), Reason::Aborted);
        assert_eq!(inbox.close(PATIENCE).unread.len(), 0);
    }
}

#[test]
fn an_abort_of_our_own() {
    for transport in transports() {
        let mut it = flood(transport);
        it.client.0.post(Post::abort(it.to_server)).unwrap();
        let account = it.book.settle(it.to_server, events(&mut it.client.1));
        let received = received_ids(&mut it.server.1);
        assert_eq!(it.book.reason(), Reason::Aborted);
        assert!(received.len() as u64 <= account.sent);
        assert!(
            it.book.returned.keys().all(|id| !received.contains(id)),
            "returned, not received"
        );
    }
}

#[test]
fn a_peer_whose_group_closes() {
    for transport in transports() {
        let mut it = flood(transport);
        let report = it.server.1.close(Duration::ZERO);
        let account = it.book.settle(it.to_server, events(&mut it.client.1));
        let is_signal = |event: &&Event| matches!(event, Event::Signal(_));
        let received = report.unread.iter().filter(is_signal).count() as u64;
        let closed = report
            .unread
            .iter()
            .filter(|event| matches!(event, Event::Closed(_)))
            .count();
        assert_eq!(closed, 2, "the listener's and the connection's");
        assert!(received <= account.sent, "{received} received, {account:?}");
    }
}

#[test]
fn a_peer_whose_engine_is_dropped() {
    for transport in transports() {
        let mut it = flood(transport);
        drop(it.server_engine);
        let account = it.book.settle(it.to_server, events(&mut it.client.1));
        let mut received = 0;
        let mut closed = 0;
        let ended = loop {
            match it.server.1.recv() {
                Ok(Event::Signal(_)) => received += 1,
                Ok(Event::Closed(_)) => closed += 1,
                Ok(other) => panic!("unexpected {other:?}"),
                Err(ended) => break ended,
            }
        };
        assert_eq!((ended, closed), (Ended::EngineStopped, 2));
        assert!(received <= account.sent);
    }
}

#[test]
fn an_engine_of_our_own_that_is_dropped() {
    for transport in transports() {
        let mut it = flood(transport);
        drop(it.client_engine);
        let account = it.book.settle(it.to_server, events(&mut it.client.1));
        assert_eq!(it.client.1.recv().unwrap_err(), Ended::EngineStopped);
        assert_eq!(it.book.reason(), Reason::EngineStopped);
        let received = received_ids(&mut it.server.1);
        assert!(received.len() as u64 <= account.sent);
        assert!(
            it.book.returned.keys().all(|id| !received.contains(id)),
            "returned, not received"
        );
        let refused = it
            .client
            .0
            .post(it.server.0.message().signal(it.to_server))
            .unwrap_err();
        assert_eq!(refused.why, PostError::EngineEnded);
    }
}

#[test]
fn a_group_of_our_own_that_closes_behind_a_burst() {
    for transport in transports() {
        let mut it = flood(transport);
        let received = std::thread::scope(|scope| {
            let server = scope.spawn(|| received_ids(&mut it.server.1));
            let report = it.client.1.close(PATIENCE);
            assert!(
                report.returned.is_empty(),
                "there was time to send everything"
            );
            let account = it.book.settle(it.to_server, report.unread.into_iter());
            assert_eq!(account.sent, account.posted);
            server.join().unwrap()
        });
        assert_eq!(
            received, it.book.posted,
            "everything sent before an orderly end is received"
        );
        let refused = it
            .client
            .0
            .post(it.server.0.message().signal(it.to_server))
            .unwrap_err();
        assert_eq!(refused.why, PostError::GroupClosed);
    }
}

#[test]
fn a_goodbye_behind_a_burst_confirms_everything() {
    for transport in transports() {
        let mut it = flood(transport);
        let bye = it.client.0.message().bye(it.to_server);
        it.client.0.post(bye).unwrap();
        let mut received = 0;
        for event in events(&mut it.server.1) {
            match event {
                Event::Signal(_) => received += 1,
                Event::Bye(_) => {} // dropped, and so answered
                Event::Closed(closed) => {
                    assert_eq!(closed.reason(), Reason::Bye);
                    break;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(received, it.book.posted.len());
        for event in events(&mut it.client.1) {
            if let Event::Closed(closed) = event {
                let account = closed.account();
                assert_eq!((closed.reason(), account.returned), (Reason::Bye, 0));
                assert_eq!(account.confirmed, account.posted);
                break;
            }
        }
    }
}

#[test]
fn a_listener_that_is_closed_leaves_its_connections_alone() {
    for transport in transports() {
        let mut it = common::connected(transport);
        it.server.0.post(Post::abort(it.listener)).unwrap();
        let closed = expect!(it.server.1, Closed);
        assert_eq!(
            (closed.channel(), closed.reason()),
            (it.listener, Reason::Aborted)
        );
        it.client
            .0
            .post(it.engine.message().request(it.to_server))
            .unwrap();
        let request = expect!(it.server.1, Request);
        it.server.0.post(request.echo()).unwrap();
        expect!(it.client.1, Response);
    }
}

//! The ends of groups and engines: what was left is handed back, and everything after is refused.

use std::sync::Barrier;
use std::time::Duration;

use ampe::{Address, Ended, Engine, Event, GroupOptions, Inbox, Post, PostError, Reason};

use crate::common::peer::{BYE_REQUEST, BYE_RESPONSE, End, Peer, SIGNAL, frame, raw_transports};
use crate::common::{
    PATIENCE, Transport, connected, engine, group, listen, next, nobody, place, transports,
    wait_until,
};

#[test]
fn a_closed_group_hands_over_what_was_not_read() {
    for transport in transports() {
        let mut it = connected(transport);
        it.server
            .0
            .notify(it.engine.message().with_body(b"note").unwrap())
            .unwrap();
        for id in 1..=10 {
            let signal = it.engine.message().signal(it.to_server).with_id(id);
            it.client.0.post(signal).unwrap();
        }
        it.client
            .0
            .post(it.engine.message().bye(it.to_server))
            .unwrap();
        assert_eq!(expect!(it.server.1, Notified).body(), b"note");
        assert_eq!(expect!(it.server.1, Signal).id(), 1);
        // The rest has arrived when an answer to the last, on another connection, has.
        let report = it.server.1.close(PATIENCE);
        assert!(report.returned.is_empty(), "{:?}", report.returned);
        let mut ids = 2..;
        let mut ended = Vec::new();
        for event in &report.unread {
            match event {
                Event::Signal(signal) => assert_eq!(signal.id(), ids.next().unwrap()),
                Event::Bye(bye) => assert_eq!(bye.channel(), it.to_client),
                Event::Closed(closed) => ended.push((closed.channel(), closed.reason())),
                other => panic!("unexpected {other:?}"),
            }
        }
        ended.sort_by_key(|&(channel, _)| channel);
        let channels: Vec<_> = ended.iter().map(|&(channel, _)| channel).collect();
        let mut expected = [it.listener, it.to_client];
        expected.sort();
        assert_eq!(channels, expected, "{transport:?}: each closed once");
        drop(report); // an unread Bye of a channel that has ended owes nothing
        let closed = loop {
            match next(&mut it.client.1, "the end") {
                Event::Closed(closed) => break closed,
                Event::ByeResponse(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        };
        assert_eq!(closed.channel(), it.to_server);
        for post in [
            it.engine.message().signal(it.to_client),
            Post::abort(it.listener),
        ] {
            let refused = it.server.0.post(post).unwrap_err();
            assert_eq!(refused.why, PostError::GroupClosed);
        }
        let refused = it.server.0.connect(&it.place.address).unwrap_err();
        assert_eq!(refused.why, PostError::GroupClosed);
        assert_eq!(
            it.server.0.listen(&it.place.address).unwrap_err().why,
            PostError::GroupClosed
        );
    }
}

#[test]
fn a_group_that_closes_gives_up_what_it_was_opening() {
    let engine = engine();
    let (group, inbox) = group(&engine);
    let (_, port) = nobody();
    let by_name: Address = format!("tcp://localhost:{port}").parse().unwrap();
    let unknown = "tcp://nosuchhost.invalid:1".parse().unwrap();
    let mut posted = Vec::new();
    for address in [&by_name, &unknown] {
        posted.push(group.connect(address).unwrap());
        group.listen(address).unwrap();
    }
    let report = inbox.close(Duration::ZERO);
    let returned: Vec<_> = report.returned.iter().map(|it| it.channel()).collect();
    for channel in posted {
        assert!(returned.contains(&channel), "each HelloRequest comes back");
    }
    assert_eq!(returned.len(), 2);
    let closed = report
        .unread
        .iter()
        .filter(|event| matches!(event, Event::Closed(_)));
    assert_eq!(closed.count(), 4);
}

#[test]
fn an_engine_is_stopped_twice_and_its_inboxes_end() {
    for transport in transports() {
        let mut it = connected(transport);
        let another = it.engine.clone();
        let waiting = group(&it.engine);
        let receiver = std::thread::spawn({
            let mut inbox = waiting.1;
            move || inbox.recv().unwrap_err()
        });
        another.stop(Duration::ZERO);
        assert_eq!(receiver.join().unwrap(), Ended::EngineStopped);
        it.engine.stop(PATIENCE);
        drop(another);
        it.engine.stop(Duration::ZERO);
        for (inbox, mut channels) in [
            (&mut it.server.1, vec![it.listener, it.to_client]),
            (&mut it.client.1, vec![it.to_server]),
        ] {
            while let Ok(event) = inbox.try_recv() {
                let Some(Event::Closed(closed)) = event else {
                    panic!("the reactor has ended: Closed or an end, not {event:?}")
                };
                assert_eq!(closed.account().returned, 0);
                let known = channels.iter().position(|&it| it == closed.channel());
                channels.remove(known.expect("one Closed each"));
            }
            assert_eq!(channels, [], "every channel closed");
            assert_eq!(inbox.recv().unwrap_err(), Ended::EngineStopped);
            assert_eq!(inbox.recv_many().unwrap_err(), Ended::EngineStopped);
        }
        // Handles outlive it: nothing is accepted, nothing blocks, messages can still be made.
        let group = &it.server.0;
        let message = it.engine.message().with_body(b"kept").unwrap();
        let refused = group.post(message.signal(it.to_client)).unwrap_err();
        assert_eq!(refused.why, PostError::EngineEnded);
        assert_eq!(refused.post.message().body(), b"kept");
        assert_eq!(
            group.connect(&it.place.address).unwrap_err().why,
            PostError::EngineEnded
        );
        assert_eq!(
            group.listen(&it.place.address).unwrap_err().why,
            PostError::EngineEnded
        );
        let refused = group.notify(group.message()).unwrap_err();
        assert_eq!(refused.why, PostError::EngineEnded);
        let group = it.engine.group(GroupOptions::default());
        assert_eq!(group.unwrap_err(), Ended::EngineStopped);
        let report = it.client.1.close(PATIENCE);
        assert!(report.unread.is_empty() && report.returned.is_empty());
    }
}

#[test]
fn whoever_stops_an_engine_finds_it_stopped() {
    for _ in 0..200 {
        let engine = engine();
        let groups: Vec<_> = (0..4).map(|_| group(&engine)).collect();
        let together = Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    together.wait();
                    engine.stop(Duration::ZERO);
                    let group = engine.group(GroupOptions::default());
                    assert_eq!(
                        group.unwrap_err(),
                        Ended::EngineStopped,
                        "stopped means ended"
                    );
                });
            }
        });
        for (_, mut inbox) in groups {
            assert_eq!(inbox.try_recv().unwrap_err(), Ended::EngineStopped);
        }
    }
}

#[test]
fn an_engine_that_stops_sends_what_was_posted() {
    for transport in transports() {
        let place = place(transport);
        let (server_engine, client_engine): (Engine, Engine) = (engine(), engine());
        let (mut server, client) = (group(&server_engine), group(&client_engine));
        let (_, bound) = listen(&server.0, &mut server.1, &place.address);
        let channel = client.0.connect(&bound).unwrap();
        for id in 1..=50 {
            let signal = client_engine.message().with_body(&[1; 30_000]).unwrap();
            client.0.post(signal.signal(channel).with_id(id)).unwrap();
        }
        let stopper = std::thread::spawn(move || client_engine.stop(PATIENCE));
        expect!(server.1, Hello);
        for id in 1..=50 {
            assert_eq!(expect!(server.1, Signal).id(), id, "{transport:?}");
        }
        assert_eq!(expect!(server.1, Closed).reason(), Reason::PeerDisconnected);
        stopper.join().unwrap();
        let mut inbox = client.1;
        let closed = expect!(inbox, Closed);
        let account = closed.account();
        assert_eq!(
            (closed.reason(), account.sent, account.returned),
            (Reason::EngineStopped, 51, 0)
        );
    }
}

#[test]
fn the_last_handle_stops_an_engine_that_never_worked() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let clones: Vec<Engine> = (0..10).map(|_| engine.clone()).collect();
    drop(engine);
    group.notify(group.message()).unwrap();
    expect!(inbox, Notified);
    drop(clones);
    let group_of = group.clone();
    wait_until("the end", || inbox.try_recv().is_err());
    assert_eq!(
        group_of.notify(group.message()).unwrap_err().why,
        PostError::EngineEnded
    );
    let refused = group.listen(&place(Transport::Tcp).address).unwrap_err();
    assert_eq!(refused.why, PostError::EngineEnded);
}

/// A peer's goodbye lies in the inbox when that is closed, or dropped, with time or without.
#[test]
fn a_goodbye_that_was_not_received_is_answered_by_closing() {
    let ends: [fn(Inbox); 3] = [
        |inbox| drop(inbox.close(PATIENCE)),
        |inbox| drop(inbox.close(Duration::ZERO)),
        drop,
    ];
    for transport in raw_transports() {
        for end in ends {
            let (engine, place) = (engine(), place(transport));
            let (group, mut inbox) = group(&engine);
            let (_, bound) = listen(&group, &mut inbox, &place.address);
            let mut peer = Peer::hello(&bound);
            let hello = expect!(inbox, Hello);
            let said = [frame(SIGNAL, 5).bytes(), frame(BYE_REQUEST, 6).bytes()];
            peer.send(&said.concat());
            assert_eq!(expect!(inbox, Signal).id(), 5);
            let promised = group.message().signal(hello.channel()).with_id(9);
            group.post(promised).unwrap();
            let closer = std::thread::spawn(move || end(inbox));
            let received = [peer.receive(), peer.receive()].map(|frame| (frame.proto, frame.id));
            assert_eq!(received, [(SIGNAL, 9), (BYE_RESPONSE, 6)], "{transport:?}");
            assert_eq!(peer.end(), End::Orderly);
            drop(peer);
            closer.join().unwrap();
        }
    }
}

//! What `post` refuses, and comes back; batches; notifications.

use std::collections::VecDeque;
use std::time::Duration;

use ampe::{
    Budget, ChannelGroup, Engine, Event, Inbox, MessageError, Options, Post, PostError, Posted,
    Reason,
};

use crate::common::{
    PATIENCE, Transport, assert_nothing, connected, connected_with, engine, group, listen, next,
    nobody, place, transports,
};

/// A post that must be refused, and why.
type Refusal = (PostError, Post);

#[test]
fn what_cannot_be_posted_comes_back_with_the_reason() {
    for transport in transports() {
        let mut it = connected(transport);
        let message = || it.engine.message().with_header("Job", "mine").unwrap();
        let (to_server, listener) = (it.to_server, it.listener);
        let of_client: Vec<Refusal> = vec![
            (
                PostError::ResponseWithoutId,
                message().response(to_server, 0),
            ),
            (PostError::InvalidMore, message().bye(to_server).more()),
            (
                PostError::InvalidMore,
                message().hello(&it.place.address).more(),
            ),
            (PostError::OtherGroup, message().signal(it.to_client)),
        ];
        let of_server: Vec<Refusal> = vec![
            (PostError::IsListener, message().request(listener)),
            (PostError::IsListener, message().signal(listener)),
            (PostError::IsListener, message().response(listener, 1)),
            (PostError::IsListener, message().bye(listener)),
        ];
        for (group, refusals) in [(&it.client.0, of_client), (&it.server.0, of_server)] {
            for (why, post) in refusals {
                let (op_code, id) = (post.op_code(), post.id());
                let refused = group.post(post).unwrap_err();
                assert_eq!(refused.why, why, "{op_code}");
                assert_eq!((refused.post.op_code(), refused.post.id()), (op_code, id));
                let message = refused.post.into_message();
                assert_eq!(message.text_headers().get("Job"), Some(&b"mine"[..]));
            }
        }
        // None of them harmed a channel, or counts.
        it.client.0.post(message().bye(to_server)).unwrap();
        let refused = it.client.0.post(message().signal(to_server)).unwrap_err();
        let is_late = matches!(refused.why, PostError::ByePosted | PostError::ChannelClosed);
        assert!(is_late, "{refused:?}");
        drop(expect!(it.server.1, Bye));
        expect!(it.client.1, ByeResponse);
        let account = expect!(it.client.1, Closed).account();
        assert_eq!((account.posted, account.confirmed), (2, 2));
        for post in [message().signal(to_server), Post::abort(to_server)] {
            let refused = it.client.0.post(post).unwrap_err();
            assert_eq!(refused.why, PostError::ChannelClosed);
        }
    }
}

#[test]
fn content_that_is_too_long_is_refused_before_it_is_posted() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let error = engine.message().with_body(&[0; 65_536]).unwrap_err();
    assert_eq!(error, MessageError::BodyTooLong { len: 65_536 });
    // Headers that any message takes but a HelloRequest.
    let full = "x".repeat(65_535 - "Long:\r\n".len());
    let message = engine.message().with_header("Long", &full).unwrap();
    assert!(
        engine
            .message()
            .with_header("Long", format!("{full}x"))
            .is_err()
    );
    let (_keeper, port) = nobody();
    let address = format!("tcp://127.0.0.1:{port}").parse().unwrap();
    let refused = group.post(message.hello(&address)).unwrap_err();
    let len = 65_535 + format!("~connect_to:tcp|127.0.0.1|{port}\r\n").len();
    assert_eq!(refused.why, PostError::HelloTooLong { len });
    assert_eq!(
        refused.post.message().text_headers().get("Long"),
        Some(full.as_bytes())
    );
    assert_nothing(&mut inbox);
    let reserved = engine
        .message()
        .with_header("~connect_to", "tcp|127.0.0.1|1")
        .unwrap_err();
    assert!(matches!(reserved, MessageError::ReservedName { .. }));
}

#[test]
fn a_batch_is_posted_up_to_the_first_that_is_refused() {
    for transport in transports() {
        let mut it = connected(transport);
        let signal = |id| it.engine.message().signal(it.to_server).with_id(id);
        let foreign = it.engine.message().signal(it.to_client).with_id(3);
        let mut posts = VecDeque::from([signal(1), signal(2), foreign, signal(4)]);
        let mut posted: Vec<Posted> = Vec::new();
        let why = it.client.0.post_many(&mut posts, &mut posted).unwrap_err();
        assert_eq!(why, PostError::OtherGroup);
        let ids: Vec<u64> = posted.iter().map(|posted| posted.id).collect();
        let left: Vec<u64> = posts.iter().map(Post::id).collect();
        assert_eq!((ids, left), (vec![1, 2], vec![3, 4]));
        assert!(posted.iter().all(|posted| posted.channel == it.to_server));
        // Again it stops there at once; without it the rest goes.
        assert!(it.client.0.post_many(&mut posts, &mut posted).is_err());
        assert_eq!((posts.len(), posted.len()), (2, 2));
        posts.pop_front();
        it.client.0.post_many(&mut posts, &mut posted).unwrap();
        assert_eq!((posts.len(), posted.len()), (0, 3));
        for id in [1, 2, 4] {
            assert_eq!(expect!(it.server.1, Signal).id(), id);
        }
        assert_nothing(&mut it.server.1);
    }
}

#[test]
fn a_batch_is_received_in_order_and_what_is_not_taken_of_it_stays() {
    for transport in transports() {
        let mut it = connected(transport);
        let signals = (1..=100).map(|id| it.engine.message().signal(it.to_server).with_id(id));
        let mut posts: VecDeque<Post> = signals.collect();
        it.client.0.post_many(&mut posts, &mut Vec::new()).unwrap();
        let mut events = Vec::new();
        while events.len() < 100 {
            let batch = it.server.1.recv_many().unwrap();
            assert!(batch.len() > 0, "it waits for the first");
            let most = 1 + events.len() % 7;
            events.extend(batch.take(most)); // the others stay
        }
        for (event, id) in events.iter().zip(1..) {
            let Event::Signal(signal) = event else {
                panic!("expected Signal, got {event:?}")
            };
            assert_eq!(signal.id(), id);
        }
        // Taken by the batch, behind another event, a Bye is still answered when it is dropped.
        let signal = it.engine.message().signal(it.to_server);
        let mut posts = VecDeque::from([signal, it.engine.message().bye(it.to_server)]);
        it.client.0.post_many(&mut posts, &mut Vec::new()).unwrap();
        events.clear();
        while events.len() < 2 {
            events.extend(it.server.1.recv_many().unwrap());
        }
        assert!(
            matches!(events[..], [Event::Signal(_), Event::Bye(_)]),
            "{events:?}"
        );
        events.clear();
        expect!(it.client.1, ByeResponse);
        assert_eq!(expect!(it.client.1, Closed).reason(), Reason::Bye);
        events.extend(it.server.1.recv_many().unwrap());
        assert!(matches!(events[..], [Event::Closed(_)]), "{events:?}");
    }
}

#[test]
fn notifications_come_in_order_up_to_their_limit() {
    const LIMIT: usize = 4;
    let mut options = Options::default();
    options.notifications = LIMIT;
    let engine = Engine::start(options).unwrap();
    let (group, mut inbox) = group(&engine);
    let numbered = |number: usize| engine.message().with_body(&[number as u8]).unwrap();
    for round in 0..3 {
        for number in 0..LIMIT {
            group.notify(numbered(10 * round + number)).unwrap();
        }
        let refused = group.notify(numbered(99)).unwrap_err();
        assert_eq!(refused.why, PostError::Full(Budget::Notifications));
        assert_eq!(refused.message.body(), [99], "it is still the caller's");
        for number in 0..LIMIT {
            let event = inbox
                .try_recv()
                .unwrap()
                .expect("no reactor has a part in it");
            assert_eq!(event.channel(), None);
            let Event::Notified(message) = event else {
                panic!("got {event:?}")
            };
            assert_eq!(message.body(), [(10 * round + number) as u8]);
        }
        assert_nothing(&mut inbox);
    }
    let report = inbox.close(Duration::ZERO);
    assert!(report.unread.is_empty() && report.returned.is_empty());
    let refused = group.notify(numbered(1)).unwrap_err();
    assert_eq!(refused.why, PostError::GroupClosed);
}

/// However many they may be, what they hold is bounded in bytes.
#[test]
fn notifications_stop_at_their_limit_in_bytes() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let large = || engine.message().with_body(&[7; 60_000]).unwrap();
    let mut accepted = 0;
    while group.notify(large()).is_ok() {
        accepted += 1;
    }
    assert!((10..18).contains(&accepted), "{accepted} of 60 kB in 1 MiB");
    for _ in 0..accepted {
        assert!(matches!(inbox.try_recv(), Ok(Some(Event::Notified(_)))));
        group.notify(large()).unwrap();
    }
}

/// A receiver that is behind is the one that has to be interrupted.
#[test]
fn a_notification_is_accepted_while_messages_wait() {
    let mut options = Options::default();
    options.notifications = 1;
    let mut it = connected_with(Transport::Tcp, options);
    for _ in 0..100 {
        let message = it.client.0.message();
        it.client.0.post(message.signal(it.to_server)).unwrap();
    }
    drop(expect!(it.server.1, Signal)); // some are in the mailbox, or with the receiver
    it.server.0.notify(it.engine.message()).unwrap();
    let refused = it.server.0.notify(it.engine.message()).unwrap_err();
    assert_eq!(
        refused.why,
        PostError::Full(Budget::Notifications),
        "of its own kind"
    );
    let (mut signals, mut notified) = (1, 0);
    while signals < 100 || notified < 1 {
        match next(&mut it.server.1, "the rest") {
            Event::Signal(_) => signals += 1,
            Event::Notified(_) => notified += 1,
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn a_notification_wakes_the_receiver_and_the_reactor_sleeps_on() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    // The group has been opened once a listener of it has.
    let place = place(Transport::Tcp);
    listen(&group, &mut inbox, &place.address);
    // A receiver that finds nothing makes passes until something comes: on a busy machine that happens often.
    let mut rounds = (0..10).map(|_| passes_of_notifications(&engine, &group, &mut inbox));
    assert!(
        rounds.any(|passes| passes < 10),
        "the reactor has a part in it each time"
    );
}

/// How many passes there are while a thousand notifications come.
fn passes_of_notifications(engine: &Engine, group: &ChannelGroup, inbox: &mut Inbox) -> u64 {
    let before = engine.statistics().passes;
    std::thread::scope(|scope| {
        scope.spawn(|| (0..1000).for_each(|_| drop(expect!(*inbox, Notified))));
        for _ in 0..1000 {
            let mut message = engine.message();
            while let Err(refused) = group.notify(message) {
                assert!(matches!(refused.why, PostError::Full(_)));
                message = refused.message;
                std::thread::yield_now();
            }
        }
    });
    assert_nothing(inbox);
    engine.statistics().passes - before
}

#[test]
fn many_threads_post_to_one_channel_and_each_keeps_its_order() {
    const THREADS: u64 = 4;
    const EACH: u64 = 500;
    for transport in transports() {
        let mut it = connected(transport);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (group, channel) = (it.client.0.clone(), it.to_server);
                scope.spawn(move || {
                    for number in 1..=EACH {
                        let signal = group.message().signal(channel);
                        group.post(signal.with_id(thread << 32 | number)).unwrap();
                    }
                });
            }
        });
        let mut received = [0; THREADS as usize];
        for _ in 0..THREADS * EACH {
            let id = expect!(it.server.1, Signal).id();
            let last = &mut received[(id >> 32) as usize];
            assert_eq!(id & 0xFFFF_FFFF, *last + 1, "{transport:?}");
            *last += 1;
        }
        let within = PATIENCE;
        assert!(it.client.1.close(within).returned.is_empty());
    }
}

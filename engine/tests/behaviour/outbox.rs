//! Outboxes: what has no room is kept, in order, and goes out as there is some.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ampe::{Budget, Event, Outbox, Post, PostError, SharedBody};

use crate::common::{
    PATIENCE, Transport, block_on, connected_with, listen, next, place, tight, transports,
    wait_until,
};
use crate::tasks::{fill, large, poll_once};

/// What an outbox keeps goes out as the peers read, without anybody showing it events, in a task or a thread.
#[test]
fn an_outbox_posts_all_that_it_keeps_as_room_comes() {
    for in_thread in [false, true] {
        let pair = connected_with(Transport::Tcp, tight());
        let (client, channel) = (pair.client.0, pair.to_server);
        let mut server = pair.server.1;
        let first = fill(&client, channel) + 1;
        let mut outbox = Outbox::new(client.clone(), usize::MAX);
        for id in first..first + 30 {
            outbox.post(large(&client, channel, id)).unwrap();
        }
        assert_eq!((outbox.len(), outbox.waiting(channel)), (30, 30));
        assert!(poll_once(&mut Box::pin(outbox.post_all())).is_pending());
        assert_eq!(outbox.len(), 30, "what was not posted is kept");
        let posting = thread::spawn(move || {
            let lost = match in_thread {
                true => outbox.post_all_until(Instant::now() + PATIENCE),
                false => block_on(outbox.post_all()),
            };
            assert!(lost.is_empty());
            assert!(outbox.is_empty());
            assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
        });
        for id in 1..first + 30 {
            match next(&mut server, "a signal") {
                Event::Signal(signal) => assert_eq!(signal.id(), id),
                other => panic!("unexpected {other:?}"),
            }
        }
        posting.join().unwrap();
    }
}

#[test]
fn an_outbox_gives_back_what_it_kept_for_a_channel_that_has_ended() {
    let pair = connected_with(Transport::Tcp, tight());
    let (client, channel) = (pair.client.0, pair.to_server);
    fill(&client, channel);
    let mut outbox = Outbox::new(client.clone(), usize::MAX);
    for id in [7, 8, 9] {
        outbox.post(large(&client, channel, id)).unwrap();
    }
    let late = outbox.post_all_until(Instant::now());
    assert!(late.is_empty() && outbox.len() == 3, "it has only to wait");
    let posting = thread::spawn(move || block_on(outbox.post_all()));
    client.post(Post::abort(channel)).unwrap();
    let lost = posting.join().unwrap();
    let ids: Vec<u64> = lost.iter().map(Post::id).collect();
    assert_eq!(ids, [7, 8, 9]);
}

/// Its limits are for each channel, for all together, and in number; what is refused comes back whole.
#[test]
fn an_outbox_keeps_no_more_than_it_was_told() {
    let pair = connected_with(Transport::Tcp, tight());
    let (client, channel) = (pair.client.0, pair.to_server);
    fill(&client, channel);
    let cost = 16 + 60_000 + 896;
    let outbox = |per_channel: usize| Outbox::new(client.clone(), per_channel);
    let outboxes = [
        outbox(3 * cost),
        outbox(usize::MAX).with_total(3 * cost, usize::MAX),
        outbox(usize::MAX).with_total(usize::MAX, 3),
    ];
    for mut outbox in outboxes {
        for id in [1, 2, 3] {
            outbox.post(large(&client, channel, id)).unwrap();
        }
        let refused = outbox.post(large(&client, channel, 4)).unwrap_err();
        assert_eq!(refused.why, PostError::Full(Budget::Outbox));
        assert_eq!(refused.post.id(), 4);
        assert_eq!((outbox.len(), outbox.bytes()), (3, 3 * cost));
        assert_eq!(outbox.take(channel).len(), 3);
        assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
        outbox.post(refused.post).unwrap();
    }
}

/// An outbox keeps what has no room, in order and within its limit, and gives back what is too much.
#[test]
fn an_outbox_posts_in_order_when_there_is_room() {
    for transport in transports() {
        let pair = connected_with(transport, tight());
        let (client, mut inbox) = pair.client;
        let (channel, mut server) = (pair.to_server, pair.server.1);
        let cost = 60_016 + 896;
        let mut outbox = Outbox::new(client.clone(), 3 * cost);
        let mut posted = 0;
        let refused = loop {
            match outbox.post(large(&client, channel, posted + 1)) {
                Ok(()) => posted += 1,
                Err(refused) if outbox.waiting(channel) == 3 => break refused,
                Err(refused) => panic!("{refused} while less waits than may"),
            }
        };
        assert_eq!(refused.post.id(), posted + 1, "it comes back");
        let received = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for id in 1..=posted {
                    match next(&mut server, "a signal") {
                        Event::Signal(signal) => assert_eq!(signal.id(), id),
                        other => panic!("unexpected {other:?}"),
                    }
                    received.fetch_add(1, Ordering::Relaxed);
                }
            });
            while !outbox.is_empty() {
                assert!(outbox.observe(&next(&mut inbox, "room")).is_empty());
            }
        });
        wait_until("all", || received.load(Ordering::Relaxed) as u64 == posted);
        // What waits when the channel ends comes back.
        let mut posted = 0;
        loop {
            while outbox.waiting(channel) < 3 {
                outbox.post(large(&client, channel, posted + 1)).unwrap();
                posted += 1;
            }
            // The reactor may still find the system willing to take some.
            let deadline = Instant::now() + Duration::from_millis(300);
            match inbox.recv_until(deadline).unwrap() {
                Some(room) => assert!(outbox.observe(&room).is_empty()),
                None => break,
            }
        }
        client.post(Post::abort(channel)).unwrap();
        let left = loop {
            let event = next(&mut inbox, "the end");
            let left = outbox.observe(&event);
            if matches!(event, Event::Closed(_)) {
                break left;
            }
        };
        let left: Vec<u64> = left.iter().map(Post::id).collect();
        assert_eq!(left, [posted - 2, posted - 1, posted]);
        assert!(outbox.is_empty());
    }
}

/// What has ended comes back with the rest that has only to wait, whether that is waited for or not.
#[test]
fn an_outbox_gives_back_what_is_lost_also_where_the_time_is_over() {
    let pair = connected_with(Transport::Tcp, tight());
    let (client, mut inbox) = pair.client;
    let (deaf, mut server) = (pair.to_server, pair.server);
    let again = place(Transport::Tcp);
    let (_, bound) = listen(&server.0, &mut server.1, &again.address);
    let ended = client.connect(&bound).unwrap();
    let hello = expect!(server.1, Hello);
    server.0.post(hello.accept(server.0.message())).unwrap();
    expect!(inbox, Accepted);
    let mut id = fill(&client, deaf);
    let mut outbox = Outbox::new(client.clone(), usize::MAX);
    for channel in [deaf, ended] {
        while outbox.waiting(channel) < 2 {
            id += 1;
            outbox.post(large(&client, channel, id)).unwrap();
        }
    }
    client.post(Post::abort(ended)).unwrap();
    while !matches!(next(&mut inbox, "the end"), Event::Closed(_)) {}
    let lost = outbox.post_all_until(Instant::now());
    assert!(lost.iter().map(Post::id).eq([id - 1, id]));
    assert_eq!((outbox.len(), outbox.waiting(deaf)), (2, 2));
}

/// More than is kept for all channels if nothing is said.
#[test]
fn an_outbox_keeps_as_much_for_one_channel_as_it_was_told() {
    let pair = connected_with(Transport::Tcp, tight());
    let (client, channel) = (pair.client.0, pair.to_server);
    fill(&client, channel);
    let mut outbox = Outbox::new(client.clone(), 65 << 20);
    let body = SharedBody::try_from(vec![7; 60_000]).unwrap();
    let refused = loop {
        let message = client.message().with_shared_body(&body);
        if let Err(refused) = outbox.post(message.signal(channel)) {
            break refused;
        }
    };
    assert_eq!(refused.why, PostError::Full(Budget::Outbox));
    let each = outbox.bytes() / outbox.len();
    let most = 65 << 20;
    assert!((most - each..=most).contains(&outbox.bytes()), "{outbox:?}");
}

//! Receiving and posting in tasks: under an executor of a few lines, under tokio and under smol.

#[cfg(unix)]
mod reactor_task;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::{self};
use std::time::{Duration, Instant};

use ampe::{
    Address, Budget, Channel, ChannelGroup, Ended, Engine, Event, Inbox, Outbox, Post, PostError,
};

use crate::common::{
    self, PATIENCE, Transport, Unpark, block_on, connected, connected_with, engine, group, next,
    place, tight, transports, wait_until,
};

/// Polls once, for nobody.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Answers until the client has said goodbye.
async fn serve(group: ChannelGroup, mut inbox: Inbox) -> u64 {
    let mut answered = 0;
    loop {
        let answer = match inbox.recv_async().await.unwrap() {
            Event::Hello(hello) => hello.accept(group.message()),
            Event::Request(request) => {
                answered += 1;
                request.echo()
            }
            Event::Bye(bye) => bye.echo(),
            Event::Closed(_) => return answered,
            _ => continue,
        };
        group.send(answer).await.unwrap();
    }
}

/// Asks `calls` times, one after the other, and says goodbye.
async fn ask(group: ChannelGroup, mut inbox: Inbox, address: Address, calls: u64) {
    let channel = group.connect(&address).unwrap();
    let mut answered = 0;
    loop {
        let post = match inbox.recv_async().await.unwrap() {
            Event::Accepted(_) => group.message().with_body(&[0; 8]).unwrap().request(channel),
            Event::Response(response) => {
                assert_eq!(response.body(), u64::to_be_bytes(answered));
                answered += 1;
                match answered {
                    last if last == calls => group.message().bye(channel),
                    next => {
                        let body = u64::to_be_bytes(next);
                        group.message().with_body(&body).unwrap().request(channel)
                    }
                }
            }
            Event::Closed(closed) => {
                assert_eq!(closed.account().confirmed, calls + 2, "{closed:?}");
                return;
            }
            _ => continue,
        };
        group.send(post).await.unwrap();
    }
}

/// What a server and a client need, in an engine each.
struct Pair {
    _engines: [Engine; 2],
    server: (ChannelGroup, Inbox),
    client: (ChannelGroup, Inbox),
    address: Address,
    _place: common::Place,
}

fn pair(transport: Transport) -> Pair {
    let engines = [engine(), engine()];
    let (mut server, client) = (group(&engines[0]), group(&engines[1]));
    let place = place(transport);
    let (_, address) = common::listen(&server.0, &mut server.1, &place.address);
    Pair {
        _engines: engines,
        server,
        client,
        address,
        _place: place,
    }
}

const CALLS: u64 = 200;

#[test]
fn a_task_serves_and_a_task_asks_under_an_executor_of_a_few_lines() {
    for transport in transports() {
        let pair = pair(transport);
        let server = thread::spawn(move || block_on(serve(pair.server.0, pair.server.1)));
        block_on(ask(pair.client.0, pair.client.1, pair.address, CALLS));
        assert_eq!(server.join().unwrap(), CALLS);
    }
}

#[test]
fn a_task_serves_and_a_task_asks_under_tokio() {
    for transport in transports() {
        for threads in [1, 2] {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .build()
                .unwrap();
            let pair = pair(transport);
            let server = runtime.spawn(serve(pair.server.0, pair.server.1));
            let client = ask(pair.client.0, pair.client.1, pair.address, CALLS);
            let client = runtime.spawn(client);
            runtime.block_on(client).unwrap();
            assert_eq!(runtime.block_on(server).unwrap(), CALLS);
        }
    }
}

#[test]
fn a_task_serves_and_a_task_asks_under_smol() {
    for transport in transports() {
        let pair = pair(transport);
        let server = smol::spawn(serve(pair.server.0, pair.server.1));
        smol::block_on(ask(pair.client.0, pair.client.1, pair.address, CALLS));
        assert_eq!(smol::block_on(server), CALLS);
    }
}

/// A task receives in one engine with a thread that receives for another group.
#[test]
fn tasks_and_threads_receive_beside_each_other() {
    let engine = engine();
    let (mut server, client) = (group(&engine), group(&engine));
    let (_, address) = common::listen(&server.0, &mut server.1, &place(Transport::Tcp).address);
    let asks = thread::spawn(move || block_on(ask(client.0, client.1, address, CALLS)));
    let mut answered = 0;
    while answered < CALLS {
        match next(&mut server.1, "a request") {
            Event::Hello(hello) => drop(server.0.post(hello.accept(engine.message())).unwrap()),
            Event::Request(request) => {
                server.0.post(request.echo()).unwrap();
                answered += 1;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    drop(next(&mut server.1, "the goodbye"));
    asks.join().unwrap();
}

/// The same inbox, now by a task, now by a thread.
#[test]
fn an_inbox_changes_between_tasks_and_threads() {
    let engine = engine();
    let (posting, mut inbox) = group(&engine);
    for round in 0..50_u8 {
        let sender = posting.clone();
        let body = [round];
        let notify = move || {
            let message = sender.message().with_body(&body).unwrap();
            sender.notify(message).unwrap();
        };
        let thread = thread::spawn(notify);
        let event = match round % 3 {
            0 => block_on(inbox.recv_async()).unwrap(),
            1 => inbox.recv().unwrap(),
            _ => loop {
                if let Some(event) = inbox.try_recv().unwrap() {
                    break event;
                }
                thread::yield_now();
            },
        };
        assert!(matches!(event, Event::Notified(it) if it.body() == [round]));
        thread.join().unwrap();
    }
}

/// A future that is dropped at its await has taken nothing.
#[test]
fn a_receipt_that_is_cancelled_loses_no_event() {
    let engine = engine();
    let (posting, mut inbox) = group(&engine);
    for round in 0..100_u8 {
        assert!(poll_once(&mut inbox.recv_async()).is_pending());
        let message = posting.message().with_body(&[round]).unwrap();
        posting.notify(message).unwrap();
        drop(inbox.recv_async());
        let Poll::Ready(Ok(Event::Notified(message))) = poll_once(&mut inbox.recv_async()) else {
            panic!("the event of round {round} is gone");
        };
        assert_eq!(message.body(), [round]);
    }
}

#[test]
fn the_end_of_a_group_or_an_engine_ends_what_a_task_awaits() {
    let engine = engine();
    let (_, mut inbox) = group(&engine);
    let task = thread::spawn(move || block_on(inbox.recv_async()).map(drop));
    engine.stop(Duration::ZERO);
    assert_eq!(task.join().unwrap(), Err(Ended::EngineStopped));
}

/// Only the wakers of who waits are kept: an inbox that goes lets its task go.
#[test]
fn an_inbox_that_is_dropped_lets_its_task_go() {
    let engine = engine();
    let (_, mut inbox) = group(&engine);
    let task = Arc::new(Unpark(thread::current()));
    let waker = Waker::from(Arc::clone(&task));
    let polled = inbox.poll_recv(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    drop(waker);
    assert_eq!(Arc::strong_count(&task), 2, "it waits");
    drop(inbox);
    assert_eq!(Arc::strong_count(&task), 1);
}

#[cfg(feature = "futures")]
#[test]
fn an_inbox_is_a_stream() {
    use futures_core::Stream;
    let engine = engine();
    let (posting, mut inbox) = group(&engine);
    posting.notify(posting.message()).unwrap();
    let next = |inbox: &mut Inbox| {
        block_on(std::future::poll_fn(|context| {
            Pin::new(&mut *inbox).poll_next(context)
        }))
    };
    assert!(matches!(next(&mut inbox), Some(Event::Notified(_))));
    engine.stop(Duration::ZERO);
    assert!(next(&mut inbox).is_none());
}

fn large(group: &ChannelGroup, channel: Channel, id: u64) -> Post {
    let mut message = group.message();
    message.resize_body(60_000).unwrap();
    message.signal(channel).with_id(id)
}

/// Posts until nothing more is taken, the system included. Returns how much was posted.
fn fill(group: &ChannelGroup, channel: Channel) -> u64 {
    let mut count = 0;
    loop {
        let mut sending = group.send(large(group, channel, count + 1));
        match poll_once(&mut sending) {
            Poll::Ready(posted) => {
                posted.unwrap();
                count += 1;
            }
            // The reactor may still find the system willing to take some.
            Poll::Pending => {
                drop(sending);
                let deadline = Instant::now() + Duration::from_millis(300);
                match group.post_wait(large(group, channel, count + 1), deadline) {
                    Ok(_) => count += 1,
                    Err(refused) => {
                        assert_eq!(refused.why, PostError::Full(Budget::Channel));
                        return count;
                    }
                }
            }
        }
    }
}

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

/// Many wait for one channel, some of them give up, and those who stay are served as they came.
#[test]
fn who_waits_to_post_is_served_in_order_and_gets_back_what_it_gives_up() {
    for transport in transports() {
        let pair = connected_with(transport, tight());
        let (client, channel) = (&pair.client.0, pair.to_server);
        let mut server = pair.server.1;
        let first = fill(client, channel) + 1;
        let mut waiting = Vec::new();
        for id in first..first + 30 {
            let mut sending = client.send(large(client, channel, id));
            assert!(poll_once(&mut sending).is_pending(), "{id}");
            waiting.push(sending);
        }
        let mut given_up = Vec::new();
        for at in (0..30).rev().step_by(3) {
            given_up.push(waiting.remove(at).into_post().unwrap().id());
        }
        let senders = waiting.into_iter();
        let tasks: Vec<_> = senders.map(|it| thread::spawn(|| block_on(it))).collect();
        let expected: Vec<u64> = (1..first + 30)
            .filter(|id| !given_up.contains(id))
            .collect();
        let mut received = Vec::new();
        while received.len() < expected.len() {
            match next(&mut server, "a signal") {
                Event::Signal(signal) => received.push(signal.id()),
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(received, expected, "in the order in which they came");
        for task in tasks {
            task.join().unwrap().unwrap();
        }
    }
}

#[test]
fn who_waits_to_post_gets_it_back_when_the_channel_ends() {
    let pair = connected_with(Transport::Tcp, tight());
    let (client, channel) = (&pair.client.0, pair.to_server);
    fill(client, channel);
    let tasks = [7, 8, 9].map(|id| {
        let sending = client.send(large(client, channel, id));
        thread::spawn(move || block_on(sending))
    });
    client.post(Post::abort(channel)).unwrap();
    for (id, task) in [7, 8, 9].into_iter().zip(tasks) {
        let refused = task.join().unwrap().unwrap_err();
        assert_eq!(refused.why, PostError::ChannelClosed);
        assert_eq!(refused.post.id(), id);
        assert_eq!(refused.post.message().body().len(), 60_000);
    }
}

/// The first in a line is not polled any more: who waits behind it hears of the end all the same.
#[test]
fn who_waits_behind_one_that_does_not_look_hears_of_the_end() {
    let ends: [fn(&Engine, &ChannelGroup, Channel); 2] = [
        |_, client, channel| {
            client.post(Post::abort(channel)).unwrap();
        },
        |engine, _, _| engine.stop(Duration::ZERO),
    ];
    for end in ends {
        let pair = connected_with(Transport::Tcp, tight());
        let (client, channel) = (pair.client.0, pair.to_server);
        fill(&client, channel);
        let mut first = client.send(large(&client, channel, 7));
        assert!(poll_once(&mut first).is_pending());
        let behind = client.send(large(&client, channel, 8));
        let (waits, is_waiting) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let mut behind = behind;
            assert!(poll_once(&mut behind).is_pending());
            waits.send(()).unwrap();
            block_on(behind)
        });
        is_waiting.recv().unwrap();
        end(&pair.engine, &client, channel);
        let refused = thread.join().unwrap().unwrap_err();
        assert!(!matches!(refused.why, PostError::Full(_)), "{refused}");
        assert_eq!(refused.post.id(), 8);
        assert!(poll_once(&mut first).is_ready());
    }
}

/// The peer reads nothing, and nobody makes room.
#[test]
fn who_waits_to_post_hears_of_a_goodbye_that_goes_before() {
    let pair = connected_with(Transport::Tcp, tight());
    let (client, channel) = (pair.client.0, pair.to_server);
    fill(&client, channel);
    let mut waits = [7, 8].map(|id| client.send(large(&client, channel, id)));
    for wait in &mut waits {
        assert!(poll_once(wait).is_pending());
    }
    let [first, second] = waits.map(|wait| thread::spawn(move || block_on(wait)));
    client.post(client.message().bye(channel)).unwrap();
    for (thread, id) in [(first, 7), (second, 8)] {
        let refused = thread.join().unwrap().unwrap_err();
        assert_eq!((refused.why, refused.post.id()), (PostError::ByePosted, id));
    }
}

#[test]
fn a_post_that_can_never_be_accepted_is_not_waited_for() {
    let engine = engine();
    let (posting, _inbox) = group(&engine);
    let (others, mut other) = group(&engine);
    let (listener, _) = common::listen(&others, &mut other, &place(Transport::Tcp).address);
    let signal = posting.message().signal(listener);
    let refused = posting.post_wait(signal, Instant::now() + PATIENCE);
    assert_eq!(refused.unwrap_err().why, PostError::OtherGroup);
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

#[test]
fn a_group_and_an_engine_are_closed_in_tasks_as_in_threads() {
    let it = connected(Transport::Tcp);
    let (server, client) = (it.server, it.client);
    client
        .0
        .post(client.0.message().signal(it.to_server))
        .unwrap();
    block_on(async {
        // The peer's group closes as well, so that neither waits for the other's end.
        let server = thread::spawn(move || server.1.close(PATIENCE));
        let report = client.1.close_async(PATIENCE).await;
        assert!(report.returned.is_empty(), "{report:?}");
        assert!(
            matches!(report.unread.last(), Some(Event::Closed(_))),
            "{report:?}"
        );
        server.join().unwrap();
        let (_, mut left) = group(&it.engine);
        it.engine.stop_async(PATIENCE).await;
        assert!(left.try_recv().is_err(), "it has stopped");
        it.engine.stop_async(PATIENCE).await; // once more changes nothing
    });
}

#[test]
fn a_close_that_is_not_waited_for_leaves_nothing() {
    let engine = engine();
    let client = group(&engine);
    // A peer that does not close its side: the group's time passes.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let channel = client
        .0
        .connect(&Address::tcp("127.0.0.1", port).unwrap())
        .unwrap();
    let _peer = listener.accept().unwrap();
    let mut closing = Box::pin(client.1.close_async(Duration::from_millis(200)));
    assert!(poll_once(&mut closing).is_pending());
    drop(closing); // it does not block
    assert!(client.0.post(client.0.message().signal(channel)).is_err());
    wait_until("the group's end", || engine.statistics().groups == 0);
}

//! Receiving and posting in tasks: under an executor of a few lines, under tokio and under smol.

#[cfg(unix)]
mod reactor_task;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::{self};
use std::time::{Duration, Instant};

use ampe::{Address, Budget, Channel, ChannelGroup, Ended, Engine, Event, Inbox, Post, PostError};

use crate::common::{
    self, PATIENCE, Transport, Unpark, block_on, connected, connected_with, engine, group, next,
    place, tight, transports, wait_until,
};

/// Polls once, for nobody.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
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

pub(crate) fn large(group: &ChannelGroup, channel: Channel, id: u64) -> Post {
    let mut message = group.message();
    message.resize_body(60_000).unwrap();
    message.signal(channel).with_id(id)
}

/// Posts until nothing more is taken, the system included. Returns how much was posted.
pub(crate) fn fill(group: &ChannelGroup, channel: Channel) -> u64 {
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

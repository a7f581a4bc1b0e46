//! Calls: every one ends, with what is known of its request.

mod withdrawing;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use ampe::{
    Answer, Budget, CallError, Channel, ChannelGroup, Event, Inbox, Message, NotSent, Post,
    PostError, Reason, Request, Unanswered, WhyNotSent, WhyUnanswered,
};

use crate::common::{
    PATIENCE, Transport, connected, connected_with, next, tight, transports, wait_until,
};

fn later() -> Instant {
    Instant::now() + PATIENCE
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

fn message(group: &ChannelGroup, body: &[u8]) -> Message {
    group.message().with_body(body).unwrap()
}

/// Takes requests, and answers them as it likes, until told that it is over.
fn serve(
    group: ChannelGroup,
    mut inbox: Inbox,
    mut answer: impl FnMut(Request) -> Vec<Post> + Send + 'static,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while let Ok(event) = inbox.recv() {
            match event {
                Event::Request(request) => {
                    for post in answer(request) {
                        group.post_wait(post, later()).unwrap();
                    }
                }
                Event::Closed(_) => return,
                _ => {}
            }
        }
    })
}

/// Threads and tasks call on one channel at once. The answers come in another order than the requests
/// went, and each finds who asked; nothing of it comes to the inbox.
#[test]
fn many_call_at_once_and_each_gets_its_answer() {
    const CALLERS: usize = 8;
    const EACH: usize = 100;
    for transport in transports() {
        let pair = connected(transport);
        let (client, channel) = (pair.client.0.clone(), pair.to_server);
        // Of the requests that wait together the last is answered first.
        let mut kept = Vec::new();
        let (answers, mut inbox) = pair.server;
        let server = thread::spawn(move || {
            loop {
                for event in inbox.recv_many().unwrap() {
                    match event {
                        Event::Request(request) => kept.push(request),
                        Event::Closed(_) => return,
                        other => panic!("unexpected {other:?}"),
                    }
                }
                for request in kept.drain(..).rev() {
                    answers.post_wait(request.echo(), later()).unwrap();
                }
            }
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let body = |caller: usize, call: usize| format!("{caller} calls for the {call}th time");
        thread::scope(|scope| {
            for caller in 0..CALLERS {
                let client = client.clone();
                scope.spawn(move || {
                    for call in 0..EACH {
                        let body = body(caller, call);
                        let request = message(&client, body.as_bytes());
                        let answer = client.call(channel, request, later()).wait().unwrap();
                        assert_eq!(answer.body(), body.as_bytes());
                    }
                });
            }
            let tasks: Vec<_> = (CALLERS..2 * CALLERS)
                .map(|caller| {
                    let client = client.clone();
                    runtime.spawn(async move {
                        for call in 0..EACH {
                            let body = body(caller, call);
                            let request = message(&client, body.as_bytes());
                            let answer = client.call(channel, request, later()).await.unwrap();
                            assert_eq!(answer.body(), body.as_bytes());
                        }
                    })
                })
                .collect();
            for task in tasks {
                runtime.block_on(task).unwrap();
            }
        });
        let mut inbox = pair.client.1;
        assert!(
            inbox.try_recv().unwrap().is_none(),
            "answers found who asked"
        );
        client.post(Post::abort(channel)).unwrap();
        server.join().unwrap();
    }
}

fn outcome(called: Result<Answer, CallError>) -> CallError {
    called.expect_err("an answer came")
}

fn not_sent(called: Result<Answer, CallError>) -> (Message, WhyNotSent) {
    match outcome(called) {
        CallError::NotSent(NotSent { message, why }) => (message, why),
        other => panic!("it was not sent: {other:?}"),
    }
}

#[test]
fn a_refusal_an_answer_in_parts_and_an_empty_one() {
    let pair = connected(Transport::Tcp);
    let (client, channel) = (pair.client.0, pair.to_server);
    let group = pair.server.0.clone();
    let server = serve(pair.server.0, pair.server.1, move |request| {
        let part = |body: &[u8]| request.reply(message(&group, body));
        match request.body() {
            b"parts" => vec![part(b"one").more(), part(b"two").more(), part(b"three")],
            b"empty" => vec![part(b"")],
            why => {
                let why = String::from_utf8_lossy(why).into_owned();
                vec![request.refuse(&why)]
            }
        }
    });
    let call = |body: &[u8]| client.call(channel, message(&client, body), later()).wait();
    let parts = call(b"parts").unwrap();
    let bodies: Vec<&[u8]> = parts.parts().map(|part| part.body()).collect();
    assert_eq!(bodies, [&b"one"[..], b"two", b"three"]);
    assert_eq!(call(b"empty").unwrap().body(), b"");
    for (asked, told) in [(&b"not today"[..], "not today"), (b"a\r\nb", "refused")] {
        match outcome(call(asked)) {
            CallError::Refused { why, answer } => {
                assert_eq!(why, told);
                assert_eq!(answer.channel(), channel);
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
    client.post(Post::abort(channel)).unwrap();
    server.join().unwrap();
}

/// The peer has the request and says nothing; what it says later comes to the inbox.
#[test]
fn a_late_answer_comes_to_the_inbox() {
    for transport in transports() {
        let pair = connected(transport);
        let (client, channel) = (pair.client.0, pair.to_server);
        let (server, mut asked, mut inbox) = (pair.server.0, pair.server.1, pair.client.1);
        let called = client
            .call(channel, message(&client, b"well?"), soon())
            .wait();
        let CallError::Unknown(Unanswered { why, parts }) = outcome(called) else {
            panic!("it was sent");
        };
        assert_eq!((why, parts.len()), (WhyUnanswered::Late, 0));
        match next(&mut asked, "the request") {
            Event::Request(request) => drop(server.post(request.echo()).unwrap()),
            other => panic!("unexpected {other:?}"),
        }
        match next(&mut inbox, "the late answer") {
            Event::Response(response) => assert_eq!(response.body(), b"well?"),
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// Though there is room, and a connection.
#[test]
fn what_is_asked_when_its_time_is_over_is_not_sent() {
    for transport in transports() {
        let pair = connected(transport);
        let (client, channel) = (pair.client.0, pair.to_server);
        let over = Instant::now();
        for body in [&b"small"[..], &[7; 20_000]] {
            for _ in 0..100 {
                let called = client.call(channel, message(&client, body), over).wait();
                assert!(matches!(outcome(called), CallError::NotSent(_)));
            }
        }
        client.post(client.message().signal(channel)).unwrap();
        let first = next(&mut { pair.server.1 }, "the signal");
        assert!(matches!(first, Event::Signal(_)), "{first}");
    }
}

fn large(group: &ChannelGroup) -> Message {
    let mut message = group.message();
    message.resize_body(60_000).unwrap();
    message
}

/// Posts to a peer that does not receive, until neither the engine nor the system takes more.
fn fill(group: &ChannelGroup, channel: Channel) {
    loop {
        let signal = large(group).signal(channel);
        let deadline = Instant::now() + Duration::from_millis(300);
        if let Err(refused) = group.post_wait(signal, deadline) {
            assert_eq!(refused.why, PostError::Full(Budget::Channel));
            return;
        }
    }
}

/// A request that waits for room, and one that is queued, come back when their time is over: the peer has
/// neither.
#[test]
fn what_was_not_sent_in_time_comes_back() {
    for transport in transports() {
        let pair = connected_with(transport, tight());
        let (client, channel) = (pair.client.0, pair.to_server);
        fill(&client, channel);
        let called = client.call(channel, large(&client), soon()).wait();
        let (it, why) = not_sent(called);
        assert_eq!(why, WhyNotSent::NotPosted(PostError::Full(Budget::Channel)));
        assert_eq!(it.body().len(), 60_000);
        // A small one is admitted, behind what is queued.
        let called = client
            .call(channel, message(&client, b"small"), soon())
            .wait();
        let (it, why) = not_sent(called);
        assert_eq!(why, WhyNotSent::Returned(Reason::Withdrawn));
        assert_eq!(it.body(), b"small");
        drop(it);
        // Neither has come to the peer.
        let mut inbox = pair.client.1;
        client.post(Post::abort(channel)).unwrap();
        loop {
            match next(&mut inbox, "the end") {
                Event::Closed(closed) => {
                    let account = closed.account();
                    assert_eq!(account.posted, account.sent + account.returned);
                    break;
                }
                Event::Returned(returned) => {
                    assert_eq!(returned.message().body().len(), 60_000)
                }
                Event::Opened(_) | Event::Room(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

#[test]
fn calls_that_wait_for_room_each_get_their_own_answer_once_there_is_some() {
    for transport in transports() {
        let pair = connected_with(transport, tight());
        let (client, channel) = (pair.client.0, pair.to_server);
        fill(&client, channel);
        let mut context = Context::from_waker(Waker::noop());
        let mut calls: Vec<_> = (0..5)
            .map(|number: u8| {
                let mut request = large(&client);
                request.body_mut()[0] = number;
                client.call(channel, request, later())
            })
            .collect();
        for call in &mut calls {
            assert!(std::pin::Pin::new(call).poll(&mut context).is_pending());
        }
        // One gives up: its request is never sent, or it comes back.
        drop(calls.remove(2));
        let server = serve(pair.server.0, pair.server.1, |request| vec![request.echo()]);
        for (call, number) in calls.into_iter().zip([0, 1, 3, 4]) {
            let answer = call.wait().unwrap();
            assert_eq!((answer.body().len(), answer.body()[0]), (60_000, number));
        }
        let mut inbox = pair.client.1;
        while let Some(event) = inbox.try_recv().unwrap() {
            assert!(!matches!(event, Event::Response(_)), "{event:?}");
        }
        client.post(Post::abort(channel)).unwrap();
        server.join().unwrap();
    }
}

#[test]
fn a_call_that_is_dropped_is_taken_back() {
    let pair = connected_with(Transport::Tcp, tight());
    let (client, channel, mut inbox) = (pair.client.0, pair.to_server, pair.client.1);
    fill(&client, channel);
    for polls in 0..3 {
        let mut call = pin!(client.call(channel, message(&client, b"small"), later()));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..polls {
            assert!(call.as_mut().poll(&mut context).is_pending());
        }
    }
    let mut came_back = 0;
    while came_back < 2 {
        match next(&mut inbox, "what was withdrawn") {
            Event::Returned(returned) => {
                assert_eq!(returned.reason(), Reason::Withdrawn);
                came_back += 1;
            }
            Event::Opened(_) | Event::Room(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// Whoever waits when the channel, the group or the engine ends is told, in threads and in tasks.
#[test]
fn what_ends_ends_the_calls() {
    type End = fn(&mut Ending);
    let ends: [(&str, End); 4] = [
        ("the channel is aborted here", |it| {
            it.client.post(Post::abort(it.channel)).unwrap();
        }),
        ("the peer aborts", |it| {
            it.server.post(Post::abort(it.to_client)).unwrap();
        }),
        ("the group is closed", |it| {
            drop(it.inbox.take().unwrap().close(Duration::ZERO));
        }),
        ("the engine stops", |it| it.engine.stop(Duration::ZERO)),
    ];
    for (what, end) in ends {
        let pair = connected(Transport::Tcp);
        let mut ending = Ending {
            engine: pair.engine,
            client: pair.client.0,
            channel: pair.to_server,
            inbox: Some(pair.client.1),
            server: pair.server.0,
            to_client: pair.to_client,
        };
        let mut asked = pair.server.1;
        let waiting = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..6)
            .map(|at| {
                let (client, channel) = (ending.client.clone(), ending.channel);
                let waiting = Arc::clone(&waiting);
                thread::spawn(move || {
                    let call = client.call(channel, message(&client, b"?"), later());
                    waiting.fetch_add(1, Ordering::Relaxed);
                    match at % 2 {
                        0 => call.wait(),
                        _ => smol::block_on(call),
                    }
                })
            })
            .collect();
        for _ in 0..6 {
            let Event::Request(_) = next(&mut asked, "a request") else {
                panic!("unexpected");
            };
        }
        wait_until("all", || waiting.load(Ordering::Relaxed) == 6);
        end(&mut ending);
        for thread in threads {
            match outcome(thread.join().unwrap()) {
                CallError::Unknown(Unanswered {
                    why: WhyUnanswered::Lost(_) | WhyUnanswered::EngineEnded,
                    ..
                }) => {}
                other => panic!("{what}: {other:?}"),
            }
        }
        let request = message(&ending.client, b"?");
        let called = ending.client.call(ending.channel, request, later()).wait();
        let CallError::NotSent(NotSent { why, .. }) = outcome(called) else {
            panic!("{what}: nothing can be sent any more");
        };
        assert!(matches!(why, WhyNotSent::NotPosted(_)), "{what}: {why:?}");
    }
}

struct Ending {
    engine: ampe::Engine,
    client: ChannelGroup,
    channel: Channel,
    inbox: Option<Inbox>,
    server: ChannelGroup,
    to_client: Channel,
}

/// A waker that an engine calls must not wait; a call says there what it can.
#[test]
fn a_call_that_is_ready_polls_ready_only_once() {
    let pair = connected(Transport::Tcp);
    let (client, channel) = (pair.client.0, pair.to_server);
    let server = serve(pair.server.0, pair.server.1, |request| vec![request.echo()]);
    let mut call = Box::pin(client.call(channel, message(&client, b"?"), later()));
    let mut context = Context::from_waker(Waker::noop());
    let answer = loop {
        match call.as_mut().poll(&mut context) {
            Poll::Ready(answer) => break answer.unwrap(),
            Poll::Pending => thread::yield_now(),
        }
    };
    assert_eq!(answer.into_message().body(), b"?");
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        call.as_mut().poll(&mut context).is_ready()
    }));
    assert!(again.is_err());
    drop(call);
    client.post(Post::abort(channel)).unwrap();
    server.join().unwrap();
}

/// A Response goes by the id that the peer gave its request, which may be that of a call.
#[test]
fn a_response_is_not_taken_for_the_request_of_a_call() {
    let pair = connected_with(Transport::Tcp, tight());
    let (client, channel) = (pair.client.0, pair.to_server);
    fill(&client, channel);
    let signal = message(&client, b"the last").signal(channel);
    let id = client.post(signal).unwrap().id + 1;
    let response = message(&client, b"an answer").response(channel, id);
    client.post(response).unwrap();
    let called = client
        .call(channel, message(&client, b"a request"), soon())
        .wait();
    let (it, why) = not_sent(called);
    assert_eq!(why, WhyNotSent::Returned(Reason::Withdrawn));
    assert_eq!(it.body(), b"a request");
    let mut server = pair.server.1;
    loop {
        match next(&mut server, "the answer") {
            Event::Response(response) => {
                assert_eq!((response.id(), response.body()), (id, &b"an answer"[..]));
                break;
            }
            Event::Signal(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// What had come for a call that is dropped goes to the inbox, in order, with what comes later.
#[test]
fn the_answer_to_a_call_that_is_dropped_goes_to_the_inbox() {
    for (seen, is_large) in [(false, false), (true, false), (false, true), (true, true)] {
        let pair = connected(Transport::Tcp);
        let (client, channel) = (pair.client.0, pair.to_server);
        let (server, mut asked, mut inbox) = (pair.server.0, pair.server.1, pair.client.1);
        let request = match is_large {
            true => large(&client),
            false => message(&client, b"?"),
        };
        let mut call = Box::pin(client.call(channel, request, later()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
        let Event::Request(request) = next(&mut asked, "the request") else {
            panic!("unexpected");
        };
        let part = |body: &[u8]| request.reply(message(&server, body));
        server.post(part(b"one").more()).unwrap();
        let received = || client.account(channel).unwrap().received;
        wait_until("the first part", || received() == 2);
        if seen {
            assert!(call.as_mut().poll(&mut context).is_pending());
        }
        drop(call);
        server.post(part(b"two")).unwrap();
        for body in [b"one", b"two"] {
            match next(&mut inbox, "a part") {
                Event::Response(response) => assert_eq!(response.body(), body),
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

#[test]
fn a_call_that_was_polled_can_be_waited_for_in_a_thread() {
    let pair = connected(Transport::Tcp);
    let (client, channel) = (pair.client.0, pair.to_server);
    let server = serve(pair.server.0, pair.server.1, |request| vec![request.echo()]);
    for _ in 0..20 {
        let mut call = client.call(channel, message(&client, b"?"), later());
        let mut context = Context::from_waker(Waker::noop());
        if std::pin::Pin::new(&mut call)
            .poll(&mut context)
            .is_pending()
        {
            assert_eq!(call.wait().unwrap().body(), b"?");
        }
    }
    client.post(Post::abort(channel)).unwrap();
    server.join().unwrap();
}

/// One that comes back while others call is still its poster's.
#[test]
fn a_request_that_is_no_call_comes_back_to_the_inbox_while_a_call_waits() {
    let mut pair = connected_with(Transport::Tcp, tight());
    let (client, channel) = (pair.client.0.clone(), pair.to_server);
    let mut call = pin!(client.call(channel, message(&client, b"who?"), later()));
    let mut context = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut context).is_pending());
    let mut posted = 0;
    let large = || message(&client, &[7; 60_000]).request(channel);
    while client.post_wait(large(), soon()).is_ok() {
        posted += 1; // nobody receives them
    }
    client.post(Post::abort(channel)).unwrap();
    let mut returned = 0;
    let account = loop {
        match next(&mut pair.client.1, "the end of the channel") {
            Event::Returned(_) => returned += 1,
            Event::Closed(closed) => break closed.account(),
            Event::Room(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    };
    assert!(returned > 0 && returned <= posted);
    assert_eq!(account.returned, returned);
    assert_eq!(account.sent + returned, account.posted);
}

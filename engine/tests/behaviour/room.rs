//! Awaiting room on real sockets, under an executor of a few lines.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Context, Poll, Waker};
use std::thread::{self};
use std::time::Duration;

use ampe::{Channel, ChannelGroup, Engine, Event, Inbox, Post, PostError, Posted, Reason, Refused};

use crate::common::peer::{PeerListener, raw_transports};
use crate::common::{
    PATIENCE, Transport, block_on, connected, connected_with, group, listen, next, place, tight,
    transports,
};

/// A wait that counts how often it had to, and says so the first time.
struct Counted<'a, F> {
    inner: F,
    pending: &'a AtomicUsize,
    first: &'a Sender<()>,
}

impl<F: Future + Unpin> Future for Counted<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let polled = Pin::new(&mut self.inner).poll(context);
        if polled.is_pending() && self.pending.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first.send(()).unwrap();
        }
        polled
    }
}

/// Posts, waiting for room as often as it takes.
async fn post(
    group: &ChannelGroup,
    channel: Channel,
    mut post: Post,
    pending: &AtomicUsize,
    first: &Sender<()>,
) -> Result<Posted, Refused> {
    loop {
        match group.post(post) {
            Err(refused) if matches!(refused.why, PostError::Full(_)) => post = refused.post,
            outcome => return outcome,
        }
        let inner = group.room(channel);
        let _ = Counted {
            inner,
            pending,
            first,
        }
        .await;
    }
}

const LARGE_BODY: usize = 60_000;

fn large(group: &ChannelGroup, from: u8) -> ampe::Message {
    let mut message = group.message();
    message.resize_body(LARGE_BODY).unwrap().fill(from);
    message
}

/// Several tasks flood one channel, whose peer receives nothing before one of them had to wait. All
/// that they post arrives, each task's in order, and the inbox that nobody empties meanwhile holds
/// one Room at most.
#[test]
fn tasks_that_await_room_get_everything_across() {
    const TASKS: u8 = 3;
    const EACH: u64 = 300;
    for transport in transports() {
        let pair = connected_with(transport, tight());
        let (client, channel) = (&pair.client.0, pair.to_server);
        let mut server = pair.server.1;
        let pending = AtomicUsize::new(0);
        let (first, is_full): (Sender<()>, Receiver<()>) = mpsc::channel();
        thread::scope(|scope| {
            for from in 0..TASKS {
                let (pending, first) = (&pending, first.clone());
                scope.spawn(move || {
                    block_on(async {
                        for id in 1..=EACH {
                            let signal = large(client, from).signal(channel).with_id(id);
                            post(client, channel, signal, pending, &first)
                                .await
                                .unwrap();
                        }
                    });
                });
            }
            is_full.recv_timeout(PATIENCE).expect("room without end");
            let mut received = [0; TASKS as usize];
            while received.iter().sum::<u64>() < u64::from(TASKS) * EACH {
                match next(&mut server, "a signal") {
                    Event::Signal(signal) => {
                        let from = usize::from(signal.body()[0]);
                        received[from] += 1;
                        assert_eq!(signal.id(), received[from], "of task {from}");
                    }
                    other => panic!("unexpected {other:?}"),
                }
            }
        });
        println!("{transport:?}: {pending:?} polls found no room");
        let mut inbox = pair.client.1;
        let mut rooms = 0;
        while let Some(event) = inbox.try_recv().unwrap() {
            match event {
                Event::Room(of) => {
                    assert_eq!(of, channel);
                    rooms += 1;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        assert!(
            rooms <= 2,
            "{rooms} Rooms: one lay there, and one came then"
        );
    }
}

/// Fills a channel whose peer does not receive, until the system takes no more either.
fn fill(group: &ChannelGroup, channel: Channel) {
    let (waker, mut is_full) = (Waker::noop(), false);
    while !is_full {
        while group.post(large(group, 0).signal(channel)).is_ok() {}
        // The reactor may still find the system willing to take some.
        let room = pin!(group.room(channel));
        is_full = room.poll(&mut Context::from_waker(waker)).is_pending();
    }
}

/// Has a task wait on a full channel, does something to it, and says how the wait ended.
fn wait_while(group: &ChannelGroup, channel: Channel, act: impl FnOnce()) -> Result<(), PostError> {
    let (pending, (first, waits)) = (AtomicUsize::new(0), mpsc::channel());
    thread::scope(|scope| {
        let task = scope.spawn(|| {
            loop {
                while group.post(large(group, 0).signal(channel)).is_ok() {}
                let inner = group.room(channel);
                let (pending, first) = (&pending, &first);
                block_on(Counted {
                    inner,
                    pending,
                    first,
                })?;
            }
        });
        waits.recv_timeout(PATIENCE).expect("room without end");
        act();
        task.join().unwrap()
    })
}

#[test]
fn a_wait_ends_with_its_channel() {
    for transport in transports() {
        let pair = connected_with(transport, tight());
        let (client, channel) = (pair.client.0, pair.to_server);
        let aborts = client.clone();
        let ended = wait_while(&client, channel, || {
            aborts.post(Post::abort(channel)).unwrap();
        });
        assert_eq!(ended, Err(PostError::ChannelClosed));
        // And once its number belongs to another, it is no sooner room for the old handle.
        let mut inbox = pair.client.1;
        loop {
            if let Event::Closed(closed) = next(&mut inbox, "Closed") {
                assert_eq!(closed.reason(), Reason::Aborted);
                break;
            }
        }
        let stale = block_on(client.room(channel));
        assert_eq!(stale, Err(PostError::ChannelClosed));
    }
}

#[test]
fn a_wait_ends_with_its_peer() {
    for transport in transports() {
        let pair = connected_with(transport, tight());
        let server = pair.server;
        let ended = wait_while(&pair.client.0, pair.to_server, || drop(server));
        assert_eq!(ended, Err(PostError::ChannelClosed));
    }
}

/// Closing takes its time, for what was posted is sent as far as that allows; but nothing more can
/// be posted from its start.
#[test]
fn a_wait_ends_as_soon_as_its_group_closes() {
    let ends: [fn(Engine, Inbox); 2] = [
        |_, inbox| drop(inbox.close(PATIENCE)),
        |engine, _inbox| engine.stop(PATIENCE),
    ];
    for transport in raw_transports() {
        for end in ends {
            // A peer that does not read, and does not close either.
            let listener = PeerListener::bind(transport);
            let engine = Engine::start(tight()).unwrap();
            let (client, inbox) = group(&engine);
            let channel = client.connect(&listener.address).unwrap();
            let peer = listener.accept();
            let (mut closer, (closes, is_closed)) = (None, mpsc::channel());
            let ended = wait_while(&client, channel, || {
                closer = Some(thread::spawn(move || {
                    end(engine, inbox);
                    closes.send(()).unwrap();
                }));
            });
            assert_eq!(ended, Err(PostError::GroupClosed));
            let closed = is_closed.try_recv();
            assert_eq!(
                closed,
                Err(mpsc::TryRecvError::Empty),
                "it waits for its peer"
            );
            drop(peer);
            closer.unwrap().join().unwrap();
        }
    }
}

#[test]
fn a_wait_ends_with_its_engine() {
    for transport in transports() {
        let place = place(transport);
        let (ours, theirs) = (
            Engine::start(tight()).unwrap(),
            Engine::start(tight()).unwrap(),
        );
        let (mut server, client) = (group(&theirs), group(&ours));
        let (_, bound) = listen(&server.0, &mut server.1, &place.address);
        let channel = client.0.connect(&bound).unwrap();
        let stopped = ours.clone();
        let ended = wait_while(&client.0, channel, || stopped.stop(Duration::ZERO));
        let ends = [
            PostError::GroupClosed,
            PostError::ChannelClosed,
            PostError::EngineEnded,
        ];
        assert!(ended.is_err_and(|why| ends.contains(&why)), "{ended:?}");
        let stopped = block_on(client.0.room(channel));
        assert_eq!(stopped, Err(PostError::EngineEnded));
    }
}

/// A thread waits for the event, and a task for room, on the same channel.
#[test]
fn a_task_and_a_thread_are_both_told() {
    for transport in transports() {
        let pair = connected_with(transport, tight());
        let (client, channel, mut server) = (pair.client.0, pair.to_server, pair.server.1);
        fill(&client, channel);
        let mut inbox = pair.client.1;
        thread::scope(|scope| {
            let task = scope.spawn(|| block_on(client.room(channel)));
            let thread = scope.spawn(|| match next(&mut inbox, "Room") {
                Event::Room(of) => assert_eq!(of, channel),
                other => panic!("unexpected {other:?}"),
            });
            while !(task.is_finished() && thread.is_finished()) {
                // What was received is dropped, and its budget given back.
                while let Some(event) = server.try_recv().unwrap() {
                    assert!(matches!(event, Event::Signal(_)), "{event:?}");
                }
                thread::yield_now();
            }
            assert_eq!(task.join().unwrap(), Ok(()));
            thread.join().unwrap();
        });
    }
}

#[test]
fn a_channel_with_room_is_not_waited_for() {
    let pair = connected(Transport::Tcp);
    assert_eq!(block_on(pair.client.0.room(pair.to_server)), Ok(()));
    let listener = block_on(pair.server.0.room(pair.listener));
    assert_eq!(listener, Err(PostError::IsListener));
    let other = block_on(pair.server.0.room(pair.to_server));
    assert_eq!(other, Err(PostError::OtherGroup));
}

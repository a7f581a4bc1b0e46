//! Whoever makes the reactor's passes, everybody is served: whatever the threads do that received.

use std::future::Future;
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use ampe::{Channel, ChannelGroup, Engine, Event, Inbox, Options};

use crate::common::{
    self, PATIENCE, Transport, connected, engine, group, listen, next, place, transports,
};

fn ask(group: &ChannelGroup, inbox: &mut Inbox, channel: Channel) {
    let request = group.message().with_body(b"?").unwrap().request(channel);
    let posted = group.post(request).unwrap();
    match next(inbox, "an answer") {
        Event::Response(response) => assert_eq!(response.id(), posted.id),
        other => panic!("expected an answer, got {other:?}"),
    }
}

fn answer_all(group: &ChannelGroup, inbox: &mut Inbox) {
    while let Ok(event) = inbox.recv() {
        if let Event::Request(request) = event {
            let _ = group.post(request.echo());
        }
    }
}

/// A thread has received and does something else for as long as it likes: it left the seat, and does not
/// come back.
#[test]
fn everybody_is_served_while_a_receiver_is_busy() {
    for transport in transports() {
        let mut it = connected(transport);
        let (busy, mut inbox) = group(&it.engine);
        let (received, has_received) = channel();
        let (go_on, goes_on) = channel::<()>();
        busy.notify(busy.message()).unwrap();
        let receiver = thread::spawn(move || {
            let event = inbox.recv();
            received.send(event.is_ok()).unwrap();
            let _ = goes_on.recv();
            inbox
        });
        assert!(has_received.recv_timeout(PATIENCE).unwrap());
        let server = it.server;
        let answers = thread::spawn(move || {
            let (group, mut inbox) = server;
            answer_all(&group, &mut inbox);
        });
        for _ in 0..100 {
            ask(&it.client.0, &mut it.client.1, it.to_server);
        }
        drop(go_on);
        drop(receiver.join().unwrap());
        it.engine.stop(PATIENCE);
        answers.join().unwrap();
    }
}

/// Nobody calls, and nothing comes: what is due is seen to by the stand-in alone.
#[test]
fn a_silent_peer_is_ended_while_the_only_receiver_is_busy() {
    let mut options = Options::default();
    options.hello_timeout = Duration::from_millis(100);
    let engine = Engine::start(options).unwrap();
    let (group, mut inbox) = group(&engine);
    let address = listen(&group, &mut inbox, &"tcp://127.0.0.1:0".parse().unwrap()).1;
    // The thread that received last, and does not come back.
    let mut peer = TcpStream::connect(address.socket_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = peer.read(&mut [0; 1]);
    let is_reset = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
    assert!(
        matches!(&ended, Ok(0)) || ended.as_ref().is_err_and(is_reset),
        "{ended:?}"
    );
}

/// A thread that made passes ends, and leaves nothing of its own behind that others need: on Windows what it
/// has asked the system for.
#[test]
fn threads_that_made_passes_may_end() {
    for transport in transports() {
        let server = engine();
        let (answering, mut answers) = group(&server);
        let place = place(transport);
        let address = listen(&answering, &mut answers, &place.address).1;
        let server_thread = thread::spawn(move || {
            while let Ok(event) = answers.recv() {
                let _ = match event {
                    Event::Hello(hello) => answering.post(hello.accept(answering.message())),
                    Event::Request(request) => answering.post(request.echo()),
                    _ => continue,
                };
            }
        });
        let client = engine();
        let (group, mut inbox) = group(&client);
        let channel = group.connect(&address).unwrap();
        let first = next(&mut inbox, "Accepted");
        assert!(matches!(first, Event::Accepted(_)), "{first:?}");
        for _ in 0..50 {
            let group = group.clone();
            let asks = thread::spawn(move || {
                ask(&group, &mut inbox, channel);
                inbox
            });
            inbox = asks.join().unwrap();
        }
        drop(inbox);
        client.stop(PATIENCE);
        server.stop(PATIENCE);
        server_thread.join().unwrap();
    }
}

/// Says in which thread it was called.
struct Tells(Mutex<Sender<Option<String>>>);

impl Wake for Tells {
    fn wake(self: Arc<Self>) {
        let thread = thread::current().name().map(str::to_owned);
        let _ = self.0.lock().unwrap().send(thread);
    }
}

/// The last pass may be a receiver's, and the waker of a task may stop the engine, which waits for that pass.
#[test]
fn a_waker_that_stops_the_engine_is_called_behind_the_last_pass_of_a_receiver() {
    for _ in 0..20 {
        let engine = engine();
        let (waiting, inbox) = group(&engine);
        let (_others, mut other) = group(&engine);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let full = waiting.connect(&address.parse().unwrap()).unwrap();
        let _peer = listener.accept().unwrap();
        let body = vec![0; 60_000];
        let (told, is_told) = channel();
        let stops = Arc::new(Stops(engine.clone(), Mutex::new(told)));
        let waker = Waker::from(stops);
        let mut room = Box::pin(waiting.room(full));
        while room.as_mut().poll(&mut Context::from_waker(&waker)) != Poll::Pending {
            let post = || waiting.post(waiting.message().with_body(&body).unwrap().signal(full));
            while post().is_ok() {}
        }
        let receiver = thread::spawn(move || while other.recv().is_ok() {});
        engine.stop(Duration::ZERO);
        let thread = is_told.recv_timeout(PATIENCE).expect("the waker hangs");
        assert_eq!(thread.as_deref(), Some("ampe-reactor"));
        receiver.join().unwrap();
        drop(inbox);
    }
}

/// Stops its engine, and says in which thread.
struct Stops(Engine, Mutex<Sender<Option<String>>>);

impl Wake for Stops {
    fn wake(self: Arc<Self>) {
        self.0.stop(Duration::ZERO);
        let thread = thread::current().name().map(str::to_owned);
        let _ = self.1.lock().unwrap().send(thread);
    }
}

/// A waker is the application's code: it does not run in the midst of a receive or a post, where the
/// application may hold locks that the waker takes.
#[test]
fn tasks_are_woken_by_the_engine_s_own_thread_though_a_receiver_makes_the_passes() {
    let it = connected(Transport::Tcp);
    let (client, mut inbox) = it.client;
    let (server, mut requests) = it.server;
    let body = vec![0; 60_000];
    let full = || loop {
        let message = client.message().with_body(&body).unwrap();
        if client.post(message.signal(it.to_server)).is_err() {
            return;
        }
    };
    let (told, is_told) = channel();
    let waker = Waker::from(Arc::new(Tells(Mutex::new(told))));
    let mut room = pin!(client.room(it.to_server));
    // The server does not receive yet: its budget and the system's buffers fill.
    while room.as_mut().poll(&mut Context::from_waker(&waker)) != Poll::Pending {
        full();
    }
    let receiver = thread::Builder::new().name("receiver".into());
    let receiver = receiver
        .spawn(move || while inbox.recv().is_ok() {})
        .unwrap();
    let drain = thread::spawn(move || while requests.recv().is_ok() {});
    let thread = is_told.recv_timeout(PATIENCE).expect("the task is woken");
    assert_eq!(thread.as_deref(), Some("ampe-reactor"));
    it.engine.stop(PATIENCE);
    receiver.join().unwrap();
    drain.join().unwrap();
    drop(server);
}

/// A receiver that asks the system again and again sleeps in the end, comes back in time, and is woken as
/// any other.
#[test]
fn receivers_that_spin_are_served_as_others_are() {
    for transport in transports() {
        let mut options = Options::default();
        options.spin = Duration::from_micros(300);
        let mut it = common::connected_with(transport, options);
        let server = it.server;
        let answers = thread::spawn(move || {
            let (group, mut inbox) = server;
            answer_all(&group, &mut inbox);
        });
        for _ in 0..500 {
            ask(&it.client.0, &mut it.client.1, it.to_server);
        }
        for spins in [0, 1, 10] {
            let deadline = std::time::Instant::now() + spins * Duration::from_micros(300);
            assert!(it.client.1.recv_until(deadline).unwrap().is_none());
            assert!(std::time::Instant::now() >= deadline);
        }
        let (posting, mut inbox) = (it.client.0.clone(), it.client.1);
        let receiver = thread::spawn(move || inbox.recv().map(drop).map(|()| inbox));
        posting.notify(posting.message()).unwrap();
        drop(receiver.join().unwrap().unwrap());
        it.engine.stop(PATIENCE);
        answers.join().unwrap();
    }
}

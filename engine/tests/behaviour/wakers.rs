//! The wakers of tasks are called by the reactor, and may do there what they like.

use std::future::Future;
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use ampe::{Channel, ChannelGroup, Ended, Event, GroupOptions, Inbox, Post, WaitForRoom};

use crate::common::{PATIENCE, engine, group};

/// Does something once, on whatever thread it is called, and says that it has done it.
struct Act {
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    done: Sender<Option<String>>,
}

impl Wake for Act {
    fn wake(self: Arc<Self>) {
        let act = self.act.lock().unwrap().take();
        if let Some(act) = act {
            act();
            let thread = thread::current().name().map(str::to_owned);
            let _ = self.done.send(thread);
        }
    }
}

/// A waker that does something once, and the news that it has.
fn waker(act: impl FnOnce() + Send + 'static) -> (Waker, Receiver<Option<String>>) {
    let (done, is_done) = channel();
    let act = Act {
        act: Mutex::new(Some(Box::new(act))),
        done,
    };
    (Waker::from(Arc::new(act)), is_done)
}

/// A channel with as much queued as it takes: its peer does not read.
struct Full {
    channel: Channel,
    _listener: TcpListener,
    _peer: TcpStream,
}

fn fill(posting: &ChannelGroup) -> Full {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let channel = posting.connect(&address.parse().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    Full {
        channel,
        _listener: listener,
        _peer: peer,
    }
}

/// Posts until a task would wait for room, and has this waker wait.
fn wait<'a>(
    posting: &ChannelGroup,
    full: &'a Full,
    waker: &Waker,
) -> (Pin<Box<WaitForRoom>>, &'a Full) {
    let body = vec![0; 60_000];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let message = posting.message().with_body(&body).unwrap();
        let is_refused = posting.post(message.signal(full.channel)).is_err();
        if is_refused {
            let mut room = Box::pin(posting.room(full.channel));
            if room.as_mut().poll(&mut Context::from_waker(waker)) == Poll::Pending {
                return (room, full);
            }
        }
        assert!(Instant::now() < deadline, "the peer goes on reading");
    }
}

/// Has the reactor call the waker, by the end of the channel that it waits for.
fn call(posting: &ChannelGroup, full: &Full, is_done: &Receiver<Option<String>>) {
    posting.post(Post::abort(full.channel)).unwrap();
    let thread = is_done.recv_timeout(PATIENCE).expect("the waker hangs");
    assert_eq!(
        thread.as_deref(),
        Some("ampe-reactor"),
        "else this tests nothing"
    );
}

/// Waits for an event that only a reactor that runs can bring.
fn is_alive(posting: &ChannelGroup, inbox: &mut Inbox) {
    let listener = posting
        .listen(&"tcp://127.0.0.1:0".parse().unwrap())
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match inbox.recv_until(deadline) {
            Ok(Some(Event::Listening(it))) if it.channel() == listener => return,
            Ok(Some(_)) => {}
            other => panic!("the reactor hangs: {other:?}"),
        }
    }
}

#[test]
fn a_waker_that_drops_an_inbox() {
    let engine = engine();
    let (posting, mut inbox) = group(&engine);
    let (others, other) = engine.group(GroupOptions::default()).unwrap();
    let listener = others
        .listen(&"tcp://127.0.0.1:0".parse().unwrap())
        .unwrap();
    let (waker, is_done) = waker(move || drop(other));
    let full = fill(&posting);
    let _room = wait(&posting, &full, &waker);
    call(&posting, &full, &is_done);
    is_alive(&posting, &mut inbox);
    let late = others.post(Post::abort(listener)).unwrap_err();
    assert_eq!(late.why, ampe::PostError::GroupClosed);
}

/// The inbox that the task itself receives from, with all that lies in it and is still to come.
#[test]
fn a_waker_that_drops_its_own_inbox() {
    let engine = engine();
    let (posting, inbox) = group(&engine);
    let (others, mut other) = group(&engine);
    let (waker, is_done) = waker(move || drop(inbox));
    let full = fill(&posting);
    let _room = wait(&posting, &full, &waker);
    call(&posting, &full, &is_done);
    is_alive(&others, &mut other);
}

#[test]
fn a_waker_that_closes_an_inbox_gets_what_had_come() {
    let engine = engine();
    let (posting, mut inbox) = group(&engine);
    let (others, mut other) = group(&engine);
    is_alive(&others, &mut other);
    others.notify(others.message()).unwrap();
    let (report, reported) = channel();
    let (waker, is_done) = waker(move || {
        report.send(other.close(PATIENCE)).unwrap();
    });
    let full = fill(&posting);
    let _room = wait(&posting, &full, &waker);
    call(&posting, &full, &is_done);
    let report = reported.recv().unwrap();
    assert!(
        matches!(report.unread[..], [Event::Notified(_)]),
        "{report:?}"
    );
    is_alive(&posting, &mut inbox);
}

#[test]
fn a_waker_that_receives_does_not_wait() {
    let engine = engine();
    let (posting, mut inbox) = group(&engine);
    let (others, mut other) = group(&engine);
    others.notify(others.message()).unwrap();
    let (waker, is_done) = waker(move || {
        assert!(
            matches!(other.recv(), Ok(Event::Notified(_))),
            "it is there"
        );
        // Only this thread can send its hello.
        let nobody = "tcp://127.0.0.1:9".parse().unwrap();
        let unsent = others.connect(&nobody).unwrap();
        let flushed = others.flush_until(unsent, Instant::now() + PATIENCE);
        assert_eq!(flushed, Err(ampe::FlushError::TimedOut));
        let nothing = other.recv_until(Instant::now() + PATIENCE);
        assert!(matches!(nothing, Ok(None)));
        let waits = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| other.recv()));
        assert!(waits.is_err());
    });
    let full = fill(&posting);
    let _room = wait(&posting, &full, &waker);
    call(&posting, &full, &is_done);
    is_alive(&posting, &mut inbox);
}

#[test]
fn a_waker_that_drops_the_engine() {
    let engine = engine();
    let (posting, mut inbox) = group(&engine);
    let (waker, is_done) = waker(move || drop(engine));
    let full = fill(&posting);
    let _room = wait(&posting, &full, &waker);
    call(&posting, &full, &is_done);
    ends(&mut inbox);
}

/// While another thread waits for the end.
#[test]
fn a_waker_that_stops_the_engine() {
    let engine = engine();
    let (posting, mut inbox) = group(&engine);
    let stopped = engine.clone();
    let (waker, is_done) = waker(move || stopped.stop(Duration::ZERO));
    let full = fill(&posting);
    let _room = wait(&posting, &full, &waker);
    call(&posting, &full, &is_done);
    engine.stop(PATIENCE);
    ends(&mut inbox);
}

fn ends(inbox: &mut Inbox) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match inbox.recv_until(deadline) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the engine hangs"),
            Err(ended) => return assert_eq!(ended, Ended::EngineStopped),
        }
    }
}

#[test]
fn a_waker_that_posts_connects_and_aborts() {
    let engine = engine();
    let (posting, mut inbox) = group(&engine);
    let mine = posting.clone();
    let (waker, is_done) = waker(move || {
        let nobody = mine.connect(&"tcp://127.0.0.1:9".parse().unwrap()).unwrap();
        mine.post(mine.message().signal(nobody)).unwrap();
        mine.post(Post::abort(nobody)).unwrap();
        mine.notify(mine.message()).unwrap();
    });
    let full = fill(&posting);
    let _room = wait(&posting, &full, &waker);
    call(&posting, &full, &is_done);
    is_alive(&posting, &mut inbox);
}

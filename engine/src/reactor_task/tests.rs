//! Passes of a task beside which nobody stands in.

use std::collections::VecDeque;
use std::future::Future;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::between::seat::{NOBODY, Need, Rest};
use crate::driver::tests::left::is_readable;
use crate::handles::reactor_thread;
use crate::{ChannelGroup, Event, GroupOptions, Inbox, Options, driver};

const PATIENCE: Duration = Duration::from_secs(60);

/// An engine in which nobody stands in, its task, and how often that was woken.
fn alone() -> (Arc<Shared>, Engine, ReactorTask, Arc<Woken>, Waker) {
    let shared = driver::furnish(Options::default()).expect("a reactor");
    let engine = Engine::over(Arc::clone(&shared), None);
    let task = engine.reactor_task().expect("the first");
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    (shared, engine, task, woken, waker)
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Nobody comes back to receive in this thread but a task, which would make no pass.
#[test]
fn what_is_posted_behind_what_this_thread_wrote_calls_the_task() {
    let (shared, engine, mut task, woken, waker) = alone();
    let mut context = Context::from_waker(&waker);
    let (group, mut inbox) = engine.group(GroupOptions::default()).unwrap();
    let mut receiving = pin!(async { inbox.recv_async().await });
    assert!(receiving.as_mut().poll(&mut context).is_pending());
    while task.pass(&mut context, true) == Pass::LeavesReady {}
    group.notify(engine.message()).unwrap();
    assert!(receiving.as_mut().poll(&mut context).is_ready());
    let listen = || group.listen(&"tcp://127.0.0.1:0".parse().unwrap()).unwrap();
    let before = passes(&shared);
    listen();
    assert_eq!(passes(&shared), before + 1, "written by this thread");
    let before = woken.0.load(Ordering::Relaxed);
    listen();
    assert!(woken.0.load(Ordering::Relaxed) > before, "nobody comes");
    end(shared, (inbox, engine, task));
}

fn passes(shared: &Shared) -> u64 {
    shared.counters.passes.load(Ordering::Relaxed)
}

/// Says where it is called.
struct Where(AtomicUsize);

impl Wake for Where {
    fn wake(self: Arc<Self>) {
        let may_wait = !reactor_thread::is_here();
        self.0.store(1 + usize::from(may_wait), Ordering::Relaxed);
    }
}

#[test]
fn a_waker_that_a_pass_calls_must_not_wait_and_the_task_may() {
    let (shared, engine, mut task, _woken, waker) = alone();
    let (group, mut inbox) = engine.group(GroupOptions::default()).unwrap();
    let called = Arc::new(Where(AtomicUsize::new(0)));
    let asks = Waker::from(Arc::clone(&called));
    assert!(
        inbox
            .poll_recv(&mut Context::from_waker(&asks))
            .is_pending()
    );
    group.listen(&"tcp://127.0.0.1:0".parse().unwrap()).unwrap();
    let mut context = Context::from_waker(&waker);
    while task.pass(&mut context, true) == Pass::LeavesReady {}
    assert_eq!(called.0.load(Ordering::Relaxed), 1);
    assert!(!reactor_thread::is_here());
    end(shared, (inbox, engine, task));
}

fn end<T>(shared: Arc<Shared>, all: T) {
    let stand_in = thread::spawn(move || shared.stand_in());
    drop(all);
    stand_in.join().expect("no panic");
}

/// Has a group listen, and tells where.
fn listen(task: &mut ReactorTask, group: &ChannelGroup, inbox: &mut Inbox) -> SocketAddr {
    let address = "tcp://127.0.0.1:0".parse().expect("an address");
    group.listen(&address).expect("an open group");
    pass_until_idle(task);
    let Ok(Some(Event::Listening(listening))) = inbox.try_recv() else {
        panic!("it listens");
    };
    listening.address().socket_addr().expect("over TCP")
}

/// A runtime that watches by edges is told of both before the pass, and of nothing behind it.
#[test]
fn the_end_of_a_stream_behind_its_last_bytes_is_said_to_be_left() {
    let (shared, engine, mut task, _woken, waker) = alone();
    let mut context = Context::from_waker(&waker);
    let (group, mut inbox) = engine.group(GroupOptions::default()).unwrap();
    let address = listen(&mut task, &group, &mut inbox);
    let mut peer = TcpStream::connect(address).unwrap();
    while task.pass(&mut context, true) == Pass::LeavesReady {}
    // A part of a frame's header: what follows is the end.
    peer.write_all(&[0; 3]).unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    while task.pass(&mut context, true) == Pass::LeavesReady {}
    assert!(
        !is_readable(&task),
        "it has left the end, and did not say so"
    );
    end(shared, (inbox, engine, task));
}

/// The runtime says once that there is something, and the task comes while somebody else sits. Nobody
/// stands in.
#[test]
fn a_task_that_came_in_vain_receives_when_it_comes_again() {
    let (shared, engine, mut task, _woken, waker) = alone();
    let mut context = Context::from_waker(&waker);
    let (group, mut inbox) = engine.group(GroupOptions::default()).unwrap();
    let address = listen(&mut task, &group, &mut inbox);
    assert_eq!(task.pass(&mut context, true), Pass::Idle);
    let occupant = shared.seat.try_sit().expect("nobody sits");
    let _peer = TcpStream::connect(address).unwrap();
    assert_eq!(task.pass(&mut context, true), Pass::Idle);
    let rest = Rest::Until(None);
    shared.seat.leave(occupant, NOBODY, Need::Nobody, rest);
    task.pass(&mut context, false);
    assert_eq!(engine.statistics().accepted, 1);
    end(shared, (inbox, engine, task));
}

/// Makes passes until nothing is said to be left: then nothing is.
fn pass_until_idle(task: &mut ReactorTask) {
    let mut context = Context::from_waker(Waker::noop());
    let mut is_readable_yet = true;
    while task.pass(&mut context, is_readable_yet) == Pass::LeavesReady {
        is_readable_yet = false; // it knows better
    }
    assert!(
        !is_readable(task),
        "it has left something, and did not say so"
    );
}

#[test]
fn what_is_not_said_to_be_left_is_not_there() {
    let (shared, engine, mut task, _woken, _) = alone();
    let (group, mut inbox) = engine.group(GroupOptions::default()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let address = format!("uds://{}", directory.path().join("s").display());
    let address = address.parse().unwrap();
    group.listen(&address).unwrap();
    pass_until_idle(&mut task);
    let options = Options {
        send_buffer: Some(212_992),
        ..Options::default()
    };
    let others = Engine::start(options).unwrap();
    let (client, mut answers) = others.group(GroupOptions::default()).unwrap();
    let channels = [(); 3].map(|()| client.connect(&address).unwrap());
    let mut accepted = 0;
    let mut context = Context::from_waker(Waker::noop());
    while accepted < channels.len() {
        task.pass(&mut context, true);
        while let Some(event) = inbox.try_recv().unwrap() {
            if let Event::Hello(hello) = event {
                group.post(hello.accept(group.message())).unwrap();
            }
        }
        while let Some(event) = answers.try_recv().unwrap() {
            accepted += usize::from(matches!(event, Event::Accepted(_)));
        }
    }
    // Many small messages have the next read take less than there is.
    let batches = [(1, 50), (1500, 50), (1500, 50), (2, 50_000), (1, 50)];
    for (count, len) in batches {
        // Each channel is the one that brings most, whichever is read last.
        for most in channels {
            for channel in channels {
                let signals = if channel == most { count } else { 1 };
                // In few writes, of which the system's buffer takes more than of many.
                let body = vec![7; len];
                let signal = || client.message().with_body(&body).unwrap().signal(channel);
                let mut posts: VecDeque<_> = (0..signals).map(|_| signal()).collect();
                client.post_many(&mut posts, &mut Vec::new()).unwrap();
                let deadline = Instant::now() + PATIENCE;
                client.flush_until(channel, deadline).unwrap();
            }
            pass_until_idle(&mut task);
        }
    }
    let mut signals = 0;
    while let Some(Event::Signal(_)) = inbox.try_recv().unwrap() {
        signals += 1;
    }
    assert_eq!(signals, 3 * (1 + 1500 + 1500 + 2 + 1 + 5 * 2));
    others.stop(Duration::ZERO); // nobody answers its goodbyes
    pass_until_idle(&mut task);
    end(shared, (inbox, engine, task));
}

//! An inbox in the event loop of somebody else.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use ampe::{Event, Inbox, Readiness};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::common::*;

/// Waits until it is ready. Returns whether that came about in time.
fn wait(readiness: &Readiness, within: Duration) -> bool {
    let mut polled = [PollFd::new(readiness, PollFlags::IN)];
    let within = Timespec::try_from(within).unwrap();
    poll(&mut polled, Some(&within)).unwrap() == 1
}

fn is_ready(readiness: &Readiness) -> bool {
    wait(readiness, Duration::ZERO)
}

fn drain(inbox: &mut Inbox) -> usize {
    std::iter::from_fn(|| inbox.try_recv().unwrap()).count()
}

#[test]
fn it_is_ready_while_there_are_events() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let readiness = inbox.readiness().unwrap();
    assert!(is_ready(&readiness), "the first time at once");
    assert_eq!(drain(&mut inbox), 0);
    assert!(!is_ready(&readiness));
    for count in 1..4 {
        for _ in 0..count {
            group.notify(engine.message()).unwrap();
        }
        assert!(is_ready(&readiness));
        assert!(inbox.try_recv().unwrap().is_some());
        assert!(is_ready(&readiness), "until nothing was found");
        assert_eq!(drain(&mut inbox), count - 1);
        assert!(!is_ready(&readiness));
    }
    // A thread that waits takes the inbox over, and gives it back.
    group.notify(engine.message()).unwrap();
    assert!(matches!(inbox.recv(), Ok(Event::Notified(_))));
    assert_eq!(drain(&mut inbox), 0);
    assert!(!is_ready(&inbox.readiness().unwrap()), "it is the same");
    group.notify(engine.message()).unwrap();
    assert!(is_ready(&readiness));
}

#[test]
fn what_the_reactor_brings_makes_it_ready_and_so_does_the_end() {
    let (engine, mut server, mut client, address) = served();
    let readiness = client.1.readiness().unwrap();
    drain(&mut client.1);
    let channel = client.0.connect(&address).unwrap();
    server.0.post(expect!(server.1, Hello).echo()).unwrap();
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(Event::Accepted(_))) {
        assert!(wait(&readiness, PATIENCE), "{seen:?}");
        seen.extend(std::iter::from_fn(|| client.1.try_recv().unwrap()));
    }
    assert!(
        matches!(&seen[..], [Event::Opened(it), Event::Accepted(_)] if it.channel() == channel)
    );
    engine.stop(Duration::ZERO);
    assert!(wait(&readiness, PATIENCE));
    while let Ok(event) = client.1.try_recv() {
        assert!(event.is_some() || wait(&readiness, PATIENCE));
    }
}

/// Whoever receives in another way takes the place of the loop, which is told to ask again.
#[test]
fn it_is_ready_again_once_somebody_has_waited_in_another_way() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let readiness = inbox.readiness().unwrap();
    let waits: [fn(&mut Inbox); 3] = [
        |inbox| {
            let soon = Instant::now() + Duration::from_millis(1);
            assert!(inbox.recv_until(soon).unwrap().is_none());
        },
        |inbox| {
            let mut context = Context::from_waker(Waker::noop());
            assert!(pin!(inbox.recv_async()).poll(&mut context).is_pending());
        },
        |inbox| {
            let mut context = Context::from_waker(Waker::noop());
            assert!(inbox.poll_recv(&mut context).is_pending());
        },
    ];
    for wait_otherwise in waits {
        assert_eq!(drain(&mut inbox), 0);
        assert!(!is_ready(&readiness));
        wait_otherwise(&mut inbox);
        group.notify(engine.message()).unwrap();
        assert!(is_ready(&readiness));
        assert_eq!(drain(&mut inbox), 1);
    }
    assert!(!is_ready(&readiness));
}

/// A loop that waits for an inbox which is gone is told so.
#[test]
fn it_is_ready_once_the_inbox_is_gone() {
    let engine = engine();
    let (_group, mut inbox) = group(&engine);
    let readiness = inbox.readiness().unwrap();
    assert_eq!(drain(&mut inbox), 0);
    assert!(!is_ready(&readiness));
    drop(inbox);
    assert!(is_ready(&readiness));
}

/// The loop lowers the flag while others make it ready: none of their events is left lying there.
#[test]
fn no_event_is_missed_however_it_falls_in_with_the_lowering() {
    const THREADS: usize = 4;
    const EACH: usize = 5_000;
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let readiness = inbox.readiness().unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let group = group.clone();
            let engine = &engine;
            scope.spawn(move || {
                for _ in 0..EACH {
                    while group.notify(engine.message()).is_err() {
                        thread::yield_now(); // so many wait already
                    }
                }
            });
        }
        let mut received = 0;
        while received < THREADS * EACH {
            assert!(wait(&readiness, PATIENCE), "{received} received");
            received += drain(&mut inbox);
        }
    });
    assert!(!is_ready(&readiness));
}

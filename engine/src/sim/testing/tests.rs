//! What users are promised of simulations.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Conditions, Handle, Simulation, for_each_seed};
use crate::address::Address;
use crate::call::CallError;
use crate::channel::Channel;
use crate::engine::Engine;
use crate::error::Ended;
use crate::event::Event;
use crate::group::ChannelGroup;
use crate::inbox::Inbox;
use crate::options::{GroupOptions, Options};
use crate::reason::Reason;

const MINUTE: Duration = Duration::from_secs(60);

fn address() -> Address {
    "tcp://server:7000".parse().unwrap()
}

/// An engine that answers each request by itself.
fn echo(simulation: &mut Simulation) -> Engine {
    let engine = simulation.engine(Options::default()).unwrap();
    let (group, mut inbox) = engine.group(GroupOptions::default()).unwrap();
    group.listen(&address()).unwrap();
    simulation.spawn(async move {
        while let Ok(event) = inbox.recv_async().await {
            if let Event::Request(request) = event {
                let _ = group.send(request.echo()).await;
            }
        }
    });
    simulation.run_for(Duration::from_secs(1)); // until it listens
    engine
}

/// Another that is connected with it.
fn client(simulation: &Handle) -> (Engine, ChannelGroup, Inbox, Channel) {
    let engine = simulation.engine(Options::default()).unwrap();
    let (group, inbox) = engine.group(GroupOptions::default()).unwrap();
    let channel = group.connect(&address()).unwrap();
    (engine, group, inbox, channel)
}

/// A calm network with both, a channel between them, and what tasks need.
fn connected(seed: u64) -> (Simulation, Engine, (Engine, ChannelGroup, Inbox, Channel)) {
    let mut simulation = Simulation::with(seed, Conditions::default());
    let server = echo(&mut simulation);
    let client = client(&simulation);
    (simulation, server, client)
}

fn ask(
    group: &ChannelGroup,
    channel: Channel,
    body: &[u8],
    deadline: Instant,
) -> impl Future<Output = Result<Vec<u8>, CallError>> + use<> {
    let request = group.message().with_body(body).unwrap();
    let call = group.call(channel, request, deadline);
    async move { call.await.map(|answer| answer.body().to_vec()) }
}

/// What happened in a run, and when.
fn diary(seed: u64) -> Vec<(Duration, String)> {
    let mut simulation = Simulation::new(seed);
    let begun = simulation.now();
    let notes = Rc::new(RefCell::new(Vec::new()));
    let server = echo(&mut simulation);
    let (engine, group, mut inbox, channel) = client(&simulation);
    let (handle, note) = (simulation.handle(), Rc::clone(&notes));
    simulation.spawn(async move {
        while let Ok(event) = inbox.recv_async().await {
            note.borrow_mut()
                .push((handle.now() - begun, event.to_string()));
        }
    });
    let handle = simulation.handle();
    simulation.spawn({
        let handle = handle.clone();
        async move {
            handle.sleep(Duration::from_millis(3)).await;
            handle.break_connections();
        }
    });
    simulation.run(async move {
        for number in 0..200_u32 {
            if group
                .send(message(&group, number).signal(channel))
                .await
                .is_err()
            {
                break;
            }
            let _ = handle.sleep(Duration::from_micros(20)).await;
        }
        drop((engine, server));
    });
    simulation.run_for(MINUTE);
    drop(simulation);
    notes.take()
}

fn message(group: &ChannelGroup, number: u32) -> crate::message::Message {
    group.message().with_body(&number.to_be_bytes()).unwrap()
}

#[test]
fn what_is_asked_is_answered_whatever_the_network_is_like() {
    for_each_seed(200, |mut simulation| {
        let _server = echo(&mut simulation);
        let (engine, group, inbox, channel) = client(&simulation);
        let handle = simulation.handle();
        simulation.run(async move {
            let (_engine, _inbox) = (engine, inbox);
            for number in 0..10_u8 {
                let body = vec![number; usize::from(number) * 1000];
                let deadline = handle.now() + 60 * MINUTE;
                let answer = ask(&group, channel, &body, deadline).await.unwrap();
                assert_eq!(answer, body);
            }
        });
    });
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..20 {
        let once = diary(seed);
        assert!(!once.is_empty());
        assert_eq!(once, diary(seed), "seed {seed}");
    }
    let runs: std::collections::BTreeSet<_> = (0..20).map(diary).collect();
    assert!(runs.len() > 10, "different seeds give different runs");
}

#[test]
fn time_is_the_simulations_own() {
    let begun = Instant::now();
    let (mut simulation, _server, (_engine, group, mut inbox, channel)) = connected(1);
    let handle = simulation.handle();
    simulation.run(async move {
        let start = handle.now();
        handle.sleep(24 * 60 * MINUTE).await;
        assert_eq!(handle.now() - start, 24 * 60 * MINUTE);
        // A channel whose peer says nothing is there a day later, and closing takes no longer than asked.
        assert!(matches!(inbox.recv_async().await, Ok(Event::Opened(_))));
        let deadline = handle.now() + MINUTE;
        assert_eq!(ask(&group, channel, b"hi", deadline).await.unwrap(), b"hi");
        let start = handle.now();
        let report = inbox.close_async(MINUTE).await;
        assert!(handle.now() - start <= MINUTE);
        assert!(report.returned.is_empty());
    });
    assert!(begun.elapsed() < MINUTE, "nobody waits for a virtual clock");
}

#[test]
fn a_call_to_an_engine_that_is_killed_is_unknown_and_one_to_nobody_was_not_sent() {
    let (mut simulation, server, (_engine, group, mut inbox, channel)) = connected(2);
    let handle = simulation.handle();
    simulation.run(async move {
        let deadline = handle.now() + MINUTE;
        ask(&group, channel, b"there", deadline).await.unwrap();
        // It takes the request, and says nothing any more.
        handle.pause(&server, 2 * MINUTE);
        let asked = handle.spawn(ask(&group, channel, b"gone?", deadline));
        handle.sleep(Duration::from_secs(1)).await;
        handle.kill(&server);
        assert!(matches!(asked.await, Err(CallError::Unknown(_))));
        assert!(matches!(
            server.group(GroupOptions::default()),
            Err(Ended::EngineFailed)
        ));
        let channel = group.connect(&address()).unwrap();
        let answer = ask(&group, channel, b"there?", deadline).await;
        assert!(matches!(answer, Err(CallError::NotSent(_))), "{answer:?}");
        let reasons = async {
            let mut reasons = Vec::new();
            while reasons.len() < 2 {
                if let Ok(Event::Closed(closed)) = inbox.recv_async().await {
                    reasons.push(closed.reason());
                }
            }
            reasons
        };
        assert_eq!(reasons.await[1], Reason::ConnectFailed);
    });
}

#[test]
fn an_engine_that_pauses_answers_later() {
    let (mut simulation, server, (_engine, group, _inbox, channel)) = connected(3);
    let handle = simulation.handle();
    simulation.run(async move {
        let start = handle.now();
        handle.pause(&server, MINUTE / 60);
        ask(&group, channel, b"slow", start + MINUTE).await.unwrap();
        assert!(handle.now() - start >= MINUTE / 60);
    });
}

#[test]
fn connections_that_are_broken_end_on_both_sides() {
    let (mut simulation, _server, (_engine, group, mut inbox, channel)) = connected(4);
    let handle = simulation.handle();
    simulation.run(async move {
        ask(&group, channel, b"hi", handle.now() + MINUTE)
            .await
            .unwrap();
        handle.break_connections();
        loop {
            if let Event::Closed(closed) = inbox.recv_async().await.unwrap() {
                assert_eq!(closed.reason(), Reason::ConnectionLost);
                break;
            }
        }
        // The listener stands.
        let channel = group.connect(&address()).unwrap();
        ask(&group, channel, b"again", handle.now() + MINUTE)
            .await
            .unwrap();
    });
}

#[test]
fn an_engine_is_stopped_in_a_task_and_whoever_waits_is_told() {
    let (mut simulation, server, (_engine, group, mut inbox, channel)) = connected(5);
    let handle = simulation.handle();
    simulation.run(async move {
        ask(&group, channel, b"hi", handle.now() + MINUTE)
            .await
            .unwrap();
        server.stop_async(MINUTE).await;
        assert!(matches!(
            server.group(GroupOptions::default()),
            Err(Ended::EngineStopped)
        ));
        while !matches!(inbox.recv_async().await, Ok(Event::Closed(_))) {}
    });
}

#[test]
fn what_would_block_does_not_and_who_waits_for_nothing_is_told() {
    let said = |act: &mut dyn FnMut()| {
        let panic = catch_unwind(AssertUnwindSafe(act)).unwrap_err();
        panic.downcast_ref::<String>().cloned().unwrap_or_else(|| {
            panic
                .downcast_ref::<&str>()
                .copied()
                .unwrap_or_default()
                .to_owned()
        })
    };
    let mut simulation = Simulation::new(6);
    let engine = simulation.engine(Options::default()).unwrap();
    let (_group, mut inbox) = engine.group(GroupOptions::default()).unwrap();
    assert!(inbox.recv_until(Instant::now() + MINUTE).unwrap().is_none());
    assert!(said(&mut || drop(inbox.recv())).contains("await"));
    assert!(said(&mut || drop(Simulation::new(7))).contains("already"));
    let never = said(&mut || simulation.run(std::future::pending()));
    assert!(
        never.contains("nothing can happen any more") && never.contains("seed 6"),
        "{never}"
    );
    drop(simulation);
    // And this thread is one like any other again.
    let engine = Engine::start(Options::default()).unwrap();
    let (group, mut inbox) = engine.group(GroupOptions::default()).unwrap();
    group.notify(group.message()).unwrap();
    assert!(matches!(inbox.recv(), Ok(Event::Notified(_))));
}

#[test]
fn tasks_that_hold_their_simulation_end_with_it() {
    let alive = Rc::new(());
    let simulation = Simulation::new(8);
    let (handle, held) = (simulation.handle(), Rc::clone(&alive));
    simulation.spawn(async move {
        let _held = (handle.clone(), held);
        handle.sleep(MINUTE).await;
    });
    let mut simulation = simulation;
    simulation.run_for(Duration::from_secs(1));
    assert_eq!(Rc::strong_count(&alive), 2);
    drop(simulation);
    assert_eq!(Rc::strong_count(&alive), 1);
}

#[test]
fn a_task_whose_end_panics_leaves_a_thread_like_any_other() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("the end of a task");
        }
    }
    let simulation = Simulation::new(9);
    let handle = simulation.handle();
    handle.spawn(async {
        let _held = Panics;
        std::future::pending::<()>().await;
    });
    let mut simulation = simulation;
    simulation.run_for(Duration::from_secs(1));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(simulation))).is_err());
    drop(Simulation::new(10));
    let late = catch_unwind(AssertUnwindSafe(|| handle.spawn(async {})));
    assert!(late.is_err(), "nobody would ever poll it");
}

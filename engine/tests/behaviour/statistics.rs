//! What an engine and its groups count.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ampe::wire::Header;
use ampe::{Event, Post, PostError};

use crate::common::*;

#[test]
fn a_conversation_is_counted_on_both_sides_and_after_its_end() {
    let (engine, mut server, mut client, address) = served();
    let to_server = client.0.connect(&address).unwrap();
    server.0.post(expect!(server.1, Hello).echo()).unwrap();
    expect!(client.1, Accepted);
    for _ in 0..10 {
        let request = engine.message().with_body(&[7; 100]).unwrap();
        client.0.post(request.request(to_server)).unwrap();
        server.0.post(expect!(server.1, Request).echo()).unwrap();
        expect!(client.1, Response);
    }
    let open = engine.statistics();
    assert_eq!((open.groups, open.connections, open.listeners), (2, 2, 1));
    assert_eq!((open.accepted, open.starved), (1, 0));
    assert!(open.passes > 0);
    // A question has the reactor come, which may find it asleep.
    wait_until("a wake", || engine.statistics().wakes > 0);

    client.0.post(engine.message().bye(to_server)).unwrap();
    drop(expect!(server.1, Bye));
    expect!(client.1, ByeResponse);
    let theirs = expect!(client.1, Closed).account();
    let ours = expect!(server.1, Closed).account();
    let of_client = client.0.statistics();
    assert_eq!((of_client.connections, of_client.listeners), (0, 0));
    assert_eq!(of_client.messages.posted, theirs.posted);
    assert_eq!(of_client.messages.sent, theirs.sent);
    assert_eq!(of_client.messages.confirmed, theirs.confirmed);
    assert_eq!(of_client.messages.received, theirs.received);
    let of_server = server.0.statistics();
    assert_eq!((of_server.connections, of_server.listeners), (0, 1));
    assert_eq!(of_server.messages.posted, ours.posted);
    // What the one sent the other received, and all of either is what the engine counts.
    assert_eq!(
        of_client.messages.bytes_sent,
        of_server.messages.bytes_received
    );
    assert_eq!(
        of_server.messages.bytes_sent,
        of_client.messages.bytes_received
    );
    let least = 10 * (Header::LEN as u64 + 100) + 2 * Header::LEN as u64;
    assert!(of_client.messages.bytes_sent >= least);
    let all = engine.statistics().messages;
    assert_eq!(all.posted, ours.posted + theirs.posted);
    assert_eq!(all.bytes_sent, all.bytes_received);
    assert_eq!((all.returned, all.refused), (0, 0));
}

#[test]
fn what_waits_and_what_was_refused_is_told() {
    let mut options = tight();
    // The system's own buffers would grow while they are filled.
    (options.send_buffer, options.receive_buffer) = (Some(65_536), Some(65_536));
    let engine = ampe::Engine::start(options).unwrap();
    let (mut server, client) = (group(&engine), group(&engine));
    let (_, address) = listen(
        &server.0,
        &mut server.1,
        &"tcp://127.0.0.1:0".parse().unwrap(),
    );
    let channel = client.0.connect(&address).unwrap();
    let mut posted = 1; // its hello
    // The server's application receives nothing: its inbound budget is used up, then the buffers of the sockets are
    // full, and then the client's outbound budget is used up as well. It stays so once passes send nothing more.
    let deadline = Instant::now() + PATIENCE;
    let mut lasting = engine.statistics();
    let (refused, before) = loop {
        assert!(Instant::now() < deadline, "{:?}", engine.statistics());
        let message = engine.message().with_body(&[0; 60_000]).unwrap();
        match client.0.post(message.signal(channel)) {
            Ok(_) => posted += 1,
            Err(refused) => {
                assert!(matches!(refused.why, PostError::Full(_)), "{refused:?}");
                let now = engine.statistics();
                if now.messages.sent != lasting.messages.sent || now.starved == 0 {
                    lasting = now;
                } else if now.passes > lasting.passes + 10 {
                    break (refused, now);
                }
                std::thread::yield_now();
            }
        }
    };
    assert!(before.inbound_bytes > 200_000, "{before:?}");
    assert!(before.outbound_bytes > 200_000, "{before:?}");
    assert!(before.messages.refused > 0);
    let account = client.0.account(channel).unwrap();
    assert_eq!(account.refused, before.messages.refused);
    assert_eq!(account.posted, posted);
    assert!(server.0.statistics().events_waiting > 0);
    // Returned messages stay charged until they are dropped.
    client.0.post(Post::abort(channel)).unwrap();
    drop(refused);
    let (mut client, mut returned) = (client, Vec::new());
    loop {
        match next(&mut client.1, "the end") {
            Event::Returned(it) => returned.push(it),
            Event::Closed(_) => break,
            _ => {}
        }
    }
    assert_eq!(
        client.0.statistics().messages.returned,
        returned.len() as u64
    );
    assert!(client.0.statistics().outbound_bytes > 0);
    returned.clear();
    wait_until("their drop", || client.0.statistics().outbound_bytes == 0);
    drop(server.1);
    wait_until("the drop of what was received", || {
        engine.statistics().inbound_bytes == 0
    });
}

#[test]
fn what_a_group_counted_is_told_after_its_end() {
    let Connected {
        engine,
        client,
        mut server,
        to_server,
        ..
    } = connected(Transport::Tcp);
    for _ in 0..10 {
        let signal = engine.message().signal(to_server);
        client.0.post(signal).unwrap();
    }
    for _ in 0..10 {
        expect!(server.1, Signal);
    }
    let report = client.1.close(PATIENCE);
    let closed = report.unread.iter().find_map(|event| match event {
        Event::Closed(closed) => Some(closed.account()),
        _ => None,
    });
    let (account, counted) = (closed.unwrap(), client.0.statistics());
    assert_eq!(account.sent, 11, "with its hello");
    assert_eq!(counted.messages.posted, account.posted);
    assert_eq!(counted.messages.sent, account.sent);
    assert_eq!(counted.messages.received, account.received);
    assert_eq!((counted.connections, counted.listeners), (0, 0));
    // The same where the engine ends it, before and after the application has seen that.
    engine.stop(Duration::ZERO);
    let counted = server.0.statistics().messages;
    assert_eq!(counted.received, 11);
    while server.1.recv().is_ok() {}
    assert_eq!(server.0.statistics().messages, counted);
    assert_eq!(engine.statistics().messages.received, 12);
}

#[test]
fn a_notification_counts_until_it_is_received() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    group.notify(engine.message()).unwrap();
    group.notify(engine.message()).unwrap();
    assert_eq!(group.statistics().notifications, 2);
    let _kept = expect!(inbox, Notified);
    // The other was taken with it.
    let now = group.statistics();
    assert_eq!((now.events_waiting, now.notifications), (0, 1));
    let _kept_too = expect!(inbox, Notified);
    assert_eq!(group.statistics().notifications, 0);
}

#[test]
fn every_number_has_a_name_of_its_own() {
    let engine = engine();
    let values: Vec<_> = engine.statistics().values().collect();
    let by_name: BTreeMap<_, _> = values.iter().copied().collect();
    assert_eq!(by_name.len(), values.len());
    for name in by_name.keys() {
        let is_plain = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        assert!(
            name.starts_with("ampe_") && name.chars().all(is_plain),
            "{name}"
        );
    }
    assert_eq!(by_name["ampe_groups"], 0);
}

#[cfg(feature = "metrics")]
mod recorded {
    use std::sync::{Arc, Mutex};

    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder,
        SharedString, Unit,
    };

    use super::*;

    /// Remembers what it is told.
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<BTreeMap<String, f64>>>);

    struct Cell(Memory, String);

    impl Cell {
        fn new(memory: &Memory, key: &Key) -> Arc<Cell> {
            let labels: Vec<_> = key.labels().map(|it| it.value().to_owned()).collect();
            let name = format!("{} {}", key.name(), labels.join(","));
            Arc::new(Cell(memory.clone(), name))
        }

        fn store(&self, value: f64) {
            self.0.0.lock().unwrap().insert(self.1.clone(), value);
        }
    }

    impl CounterFn for Cell {
        fn increment(&self, _: u64) {
            unreachable!("it is told what there is in all")
        }

        fn absolute(&self, value: u64) {
            self.store(value as f64);
        }
    }

    impl GaugeFn for Cell {
        fn increment(&self, _: f64) {
            unreachable!("it is told what there is")
        }

        fn decrement(&self, _: f64) {
            unreachable!("it is told what there is")
        }

        fn set(&self, value: f64) {
            self.store(value);
        }
    }

    impl Recorder for Memory {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(Cell::new(self, key))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(Cell::new(self, key))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn a_recorder_is_told_every_number() {
        let engine = engine();
        let _group = group(&engine);
        let statistics = engine.statistics();
        let memory = Memory::default();
        metrics::with_local_recorder(&memory, || statistics.record("shop"));
        let told = memory.0.lock().unwrap();
        assert_eq!(told.len(), statistics.values().count());
        for (name, value) in statistics.values() {
            assert_eq!(told[&format!("{name} shop")], value as f64, "{name}");
        }
        assert_eq!(told["ampe_groups shop"], 1.0);
    }
}

//! `ampe echo` and `ampe ping`.

use std::collections::VecDeque;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ampe::wire::OpCode::{
    ByeRequest, ByeResponse, HelloRequest, HelloResponse, Request, Response, Signal,
};
use ampe::{Budget, Event, PostError, Reason};
use serde_json::Value;

use crate::common::peer::{Peer, Raw, RawPeer};
use crate::common::{self, Place, echo, has_unix_sockets, run, start};

const ANY: &str = "tcp://127.0.0.1:0";

#[test]
fn every_message_comes_back_as_it_was() {
    let (_echo, to) = echo(ANY, &[]);
    let mut peer = RawPeer::connect(&to);
    let nothing: (&[u8], &[u8]) = (b"", b"");
    let largest = (&b"x:y\r\n".repeat(13_107)[..], &[7; 65_535][..]);
    let odd: (&[u8], &[u8]) = (b"no colon\r\n: \r\n", &[0xff]);
    let exchanges = [
        (
            HelloRequest,
            HelloResponse,
            false,
            7,
            (&b"A:b\r\nA:c\r\n"[..], &b"hi"[..]),
        ),
        (Request, Response, false, 1, nothing),
        (
            Request,
            Response,
            true,
            u64::MAX,
            (b"Job-Ticket:JDF\r\n", &[0; 64]),
        ),
        (Request, Response, false, 1, odd),
        (Signal, Signal, true, 99, (b"A:b", b"part")),
        (Signal, Signal, false, 99, nothing),
        (Request, Response, true, 5, largest),
        (
            ByeRequest,
            ByeResponse,
            false,
            12,
            (b"Why:done\r\n", b"bye"),
        ),
    ];
    for (op_code, answer, more, id, (headers, body)) in exchanges {
        let (headers, body) = (headers.to_vec(), body.to_vec());
        let sent = Raw {
            op_code,
            more,
            id,
            headers,
            body,
        };
        peer.write(&sent.bytes());
        let expected = Raw {
            op_code: answer,
            ..sent
        };
        assert_eq!(peer.read(), Some(expected));
    }
    assert_eq!(peer.read(), None);
}

#[test]
fn several_listeners_and_totals() {
    let place = Place::new();
    let second = if has_unix_sockets() {
        place.uds("socket")
    } else {
        "tcp://127.0.0.1:0".to_owned()
    };
    let (mut echo, tcp) = echo(ANY, &["--listen", &second, "--timeout", "1", "--json"]);
    let addresses = [tcp, echo.line()].map(|line| {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["event"], "listening");
        line["address"].as_str().unwrap().to_owned()
    });
    // Somebody talks to it all the time: it is not to end while a ping is being started.
    let mut talking = Peer::connect(&addresses[0], &[]);
    assert!(matches!(talking.event(), Event::Accepted(_)));
    let (stop, is_over) = mpsc::channel::<()>();
    let talking = thread::spawn(move || {
        while is_over.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
            talking.post(talking.group.message().request(talking.channel));
            talking.response();
        }
        talking.bye()
    });
    for to in &addresses {
        run(&["ping", "--to", to, "--count", "10", "--size", "100"]).assert_succeeds();
    }
    drop(stop);
    let talked = talking.join().unwrap().posted;
    // It ends once nothing has come for a second.
    let finished = echo.finish();
    finished.assert_succeeds();
    let totals: Value = serde_json::from_str(finished.stdout.last().unwrap()).unwrap();
    assert_eq!(totals["connections"], 3);
    // Each with Hello, Bye, and one round trip that is not counted.
    assert_eq!(totals["messages"], 2 * (10 + 3) + talked);
    assert_eq!(totals["bytes"], 2 * 11 * 100);
    // All of them echoed.
    assert_eq!(totals["account"]["sent"], totals["messages"]);
    assert_eq!(totals["account"]["received"], totals["messages"]);
}

#[test]
fn ping_prints_a_histogram() {
    let (_echo, to) = echo(ANY, &[]);
    let pinged = run(&["ping", "--to", &to, "--count", "100"]);
    pinged.assert_succeeds();
    assert_eq!(pinged.stdout.len(), 1);
    assert_eq!(pinged.stderr, "");
    for part in [
        "100 round trips of 64 bytes",
        "min ",
        "p50 ",
        "p90 ",
        "p99 ",
        "max ",
    ] {
        assert!(pinged.stdout[0].contains(part), "{pinged:?}");
    }
    let pinged = run(&[
        "ping", "--to", &to, "--count", "100", "--size", "65535", "--json",
    ]);
    pinged.assert_succeeds();
    let document: Value = serde_json::from_str(&pinged.stdout[0]).unwrap();
    assert_eq!(document["count"], 100);
    assert_eq!(document["size"], 65535);
    assert_eq!(document["account"]["confirmed"], 100 + 3);
    let times =
        ["min", "p50", "p90", "p99", "max"].map(|name| document["rtt_us"][name].as_f64().unwrap());
    assert!(times[0] > 0.0 && times.is_sorted(), "{times:?}");
}

#[test]
fn send_finds_out_that_an_echo_is_no_receiver() {
    let place = Place::new();
    let (_echo, to) = echo(ANY, &[]);
    let file = place.file("file", 10);
    let sent = run(&["send", "--to", &to, file.to_str().unwrap()]);
    sent.assert_fails(1, &["takes no files", "ampe recv"]);
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let (_echo, to) = echo(ANY, &[]);
    let mut peer = RawPeer::connect(&to);
    peer.write(&[0xff; 1000]);
    assert_eq!(peer.read(), None);
    run(&["ping", "--to", &to, "--count", "10"]).assert_succeeds();
}

/// Posts signals until the echo takes no more, because nobody takes what it sends back.
fn flood(peer: &mut Peer, to_send: u64) -> u64 {
    let mut posts: VecDeque<_> = (1..=to_send)
        .map(|id| {
            let message = peer
                .group
                .message()
                .with_body(&[1; 32 * 1024])
                .expect("it fits");
            message.signal(peer.channel).with_id(id)
        })
        .collect();
    let mut posted = Vec::new();
    let full = peer.group.post_many(&mut posts, &mut posted);
    assert_eq!(full, Err(PostError::Full(Budget::Channel)));
    posted.len() as u64
}

#[test]
fn who_floods_and_reads_nothing_holds_up_nobody_and_loses_nothing() {
    let (_echo, to) = echo(ANY, &["--budget", "1MiB"]);
    let mut options = ampe::Options::default();
    // It stops reading early: nothing that comes back is taken.
    options.inbound_bytes = 300_000;
    options.inbound_bytes_per_channel = 300_000;
    let mut flooder = Peer::with_options(&to, &[], options);
    let Event::Accepted(_) = flooder.event() else {
        panic!("no HelloResponse");
    };
    let posted = flood(&mut flooder, 1000);
    assert!(posted > 50);
    run(&["ping", "--to", &to, "--count", "100"]).assert_succeeds();
    flooder.post(flooder.group.message().bye(flooder.channel));
    let mut expected = 1..=posted;
    loop {
        match flooder.event() {
            Event::Signal(signal) => {
                assert_eq!(Some(signal.id()), expected.next());
                assert_eq!(signal.body(), [1; 32 * 1024]);
            }
            Event::ByeResponse(_) | Event::Room(_) => {}
            Event::Closed(closed) => {
                assert_eq!(closed.reason(), Reason::Bye);
                assert_eq!(expected.next(), None);
                break;
            }
            event => panic!("unexpected: {event:?}"),
        }
    }
}

#[test]
fn an_interrupted_ping_says_what_it_measured() {
    let (_echo, to) = echo(ANY, &[]);
    let count = u64::MAX.to_string();
    for json in [false, true] {
        let mut arguments = vec!["ping", "--to", &to, "--count", &count];
        arguments.extend(match json {
            false => ["--interval", "0.01"].as_slice(),
            true => &["--json"],
        });
        let ping = start(&arguments);
        thread::sleep(Duration::from_millis(500));
        if !ping.interrupt() {
            return;
        }
        let pinged = ping.finish();
        pinged.assert_fails(130, &["interrupted"]);
        let said = pinged.stdout.join("\n");
        match json {
            false => assert!(said.contains("round trips of 64 bytes"), "{pinged:?}"),
            true => {
                let document: Value = serde_json::from_str(&said).unwrap();
                assert!(document["count"].as_u64().unwrap() > 0, "{said}");
            }
        }
    }
}

/// What is waited for is the answer, not that the peer says something.
#[test]
fn a_peer_that_talks_of_something_else_does_not_prolong_a_time_limit() {
    use ampe::{Engine, GroupOptions, Options};
    use std::time::Instant;

    let place = Place::new();
    let file = place.file("file", 10);
    let file = file.to_str().unwrap();
    for command in ["ping", "send"] {
        let engine = Engine::start(Options::default()).unwrap();
        let (group, mut inbox) = engine.group(GroupOptions::default()).unwrap();
        group.listen(&"tcp://127.0.0.1:0".parse().unwrap()).unwrap();
        let Ok(Event::Listening(listening)) = inbox.recv() else {
            panic!("it does not listen");
        };
        let to = listening.address().to_string();
        let mut arguments = vec![command, "--timeout", "0.3", "--to", &to];
        if command == "send" {
            arguments.push(file);
        }
        let running = start(&arguments);
        let Ok(Event::Hello(hello)) = inbox.recv() else {
            panic!("no Hello");
        };
        let channel = hello.channel();
        // As a receiver of files would, so that both go on.
        let headers = [
            ("Application", "ampe-file"),
            ("Version", "1"),
            ("Role", "receiver"),
        ];
        let answer = headers
            .iter()
            .fold(group.message(), |message, (name, value)| {
                message.with_header(name, value).unwrap()
            });
        group.post(hello.accept(answer)).unwrap();
        let watchdog = Instant::now() + common::WATCHDOG;
        loop {
            assert!(Instant::now() < watchdog, "it goes on for ever");
            let signal = group.message().signal(channel).with_id(1 << 40);
            if group.post(signal).is_err() {
                break;
            }
            let pause = Instant::now() + Duration::from_millis(20);
            if let Ok(Some(Event::Closed(_))) = inbox.recv_until(pause) {
                break;
            }
        }
        running
            .finish()
            .assert_fails(1, &["gave no answer for 0.3 s"]);
    }
}

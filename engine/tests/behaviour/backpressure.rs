//! Bounded memory in both directions, and rest while nothing may move.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ampe::{Budget, ChannelGroup, Engine, Event, Inbox, Options, Post, PostError, Posted, Reason};

use crate::common::{self, PATIENCE, group, listen, next, nowhere, place, transports};

/// What one message of a large body is charged: its frame and its records.
const LARGE_COST: usize = 16 + LARGE_BODY + 896;
const LARGE_BODY: usize = 60_000;

/// An engine that takes `slots` large messages and then stops reading.
fn small_engine(slots: usize) -> Engine {
    let mut options = Options::default();
    // The group's own reserve, a message of the largest size, is a part of the slots.
    options.inbound_bytes = slots * LARGE_COST - 131_984;
    options.inbound_bytes_per_channel = slots * LARGE_COST;
    patient_engine(options)
}

/// A thousand attempts at once take longer than an attempt may by default where each call of the system
/// takes milliseconds.
fn patient_engine(mut options: Options) -> Engine {
    options.connect_timeout = PATIENCE;
    options.hello_timeout = PATIENCE;
    Engine::start(options).unwrap()
}

fn large(group: &ChannelGroup) -> ampe::Message {
    let mut message = group.message();
    message.resize_body(LARGE_BODY).unwrap().fill(1);
    message
}

/// Shows how often the reactor went round in windows of 300 ms, until one is of rest: what was under way may take a
/// few to settle, a reactor that spins never does.
#[track_caller]
fn expect_rest(engine: &Engine, what: &str) {
    let is_rest = |_: &u32| window(engine, what) < 20;
    assert!(
        (0..200).any(|window| is_rest(&window)),
        "{what}: the reactor never rests"
    );
}

fn window(engine: &Engine, what: &str) -> u64 {
    let before = engine.statistics().passes;
    std::thread::sleep(Duration::from_millis(300));
    let passes = engine.statistics().passes - before;
    println!("{what}: {passes} passes");
    passes
}

/// Takes events until `count` signals have come; they stay charged while they are held.
fn take_signals(inbox: &mut Inbox, count: usize, held: &mut VecDeque<Event>) {
    let wanted = held.len() + count;
    while held.len() < wanted {
        match next(inbox, "Signal") {
            event @ Event::Signal(_) => held.push_back(event),
            Event::Hello(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn a_starved_engine_rests_whatever_its_peer_does() {
    const SLOTS: usize = 8;
    const SENT: usize = 60;
    for transport in transports() {
        for end in ["stays quiet", "closes", "resets"] {
            let place = place(transport);
            let mut options = Options::default();
            options.outbound_bytes_per_channel = 2 * SENT * LARGE_COST;
            let client_engine = Engine::start(options).unwrap();
            let server_engine = small_engine(SLOTS);
            let (mut server, client) = (group(&server_engine), group(&client_engine));
            let (_, bound) = listen(&server.0, &mut server.1, &place.address);
            let channel = client.0.connect(&bound).unwrap();
            for _ in 0..SENT {
                client.0.post(large(&client.0).signal(channel)).unwrap();
            }
            let mut held = VecDeque::new();
            take_signals(&mut server.1, SLOTS, &mut held);
            match end {
                "closes" => drop(client.1),
                "resets" => _ = client.0.post(Post::abort(channel)).unwrap(),
                _ => {}
            }
            expect_rest(&server_engine, &format!("{transport:?} peer {end}"));
            assert!(
                server.1.try_recv().unwrap().is_none(),
                "the budget is used up"
            );
            // Dropping lets the rest in: all that was sent where the peer did not reset.
            let mut received = SLOTS;
            held.clear();
            while received < SENT {
                match next(&mut server.1, "the rest") {
                    Event::Signal(_) => received += 1,
                    Event::Closed(closed) => {
                        assert_ne!(end, "stays quiet");
                        println!(
                            "{transport:?} peer {end}: {received}, {:?}",
                            closed.reason()
                        );
                        break;
                    }
                    other => panic!("unexpected {other:?}"),
                }
            }
            assert!(end != "stays quiet" || received == SENT);
        }
    }
}

#[test]
fn of_a_thousand_starved_channels_one_slot_frees_one() {
    const SLOTS: usize = 15; // a budget of about 1 MiB
    const CHANNELS: usize = 1000;
    for transport in transports() {
        let place = place(transport);
        let mut options = Options::default();
        options.outbound_bytes = 2 * CHANNELS * LARGE_COST;
        let (server_engine, client_engine) = (small_engine(SLOTS), patient_engine(options));
        let (mut server, client) = (group(&server_engine), group(&client_engine));
        let (_, bound) = listen(&server.0, &mut server.1, &place.address);
        for _ in 0..CHANNELS {
            let channel = client.0.connect(&bound).unwrap();
            client.0.post(large(&client.0).signal(channel)).unwrap();
        }
        let mut held = VecDeque::new();
        take_signals(&mut server.1, SLOTS, &mut held);
        expect_rest(&server_engine, &format!("{transport:?} {CHANNELS} starved"));
        for _ in SLOTS..CHANNELS {
            drop(held.pop_front());
            take_signals(&mut server.1, 1, &mut held);
            assert!(held.len() <= SLOTS);
            assert!(
                server.1.try_recv().unwrap().is_none(),
                "one slot frees one channel"
            );
        }
    }
}

#[test]
fn a_thousand_idle_connections_rest() {
    const CONNECTIONS: usize = 1000;
    for transport in transports() {
        let place = place(transport);
        let (server_engine, client_engine) = (small_engine(15), patient_engine(Options::default()));
        let (mut server, client) = (group(&server_engine), group(&client_engine));
        let (_, bound) = listen(&server.0, &mut server.1, &place.address);
        let channels: Vec<_> = (0..CONNECTIONS)
            .map(|_| client.0.connect(&bound).unwrap())
            .collect();
        for _ in 0..CONNECTIONS {
            expect!(server.1, Hello);
        }
        expect_rest(&server_engine, &format!("{transport:?} {CONNECTIONS} idle"));
        for channel in channels {
            client.0.post(client.0.message().signal(channel)).unwrap();
        }
        for _ in 0..CONNECTIONS {
            expect!(server.1, Signal);
        }
    }
}

#[test]
fn beside_a_peer_that_never_reads_a_bystander_is_served() {
    for transport in transports() {
        let place = place(transport);
        let (deaf_engine, echo_engine, client_engine) =
            (small_engine(7), common::engine(), common::engine());
        let mut deaf = group(&deaf_engine);
        let (_, bound) = listen(&deaf.0, &mut deaf.1, &place.address);
        let mut echo = group(&echo_engine);
        let other = common::place(transport);
        let (_, echo_bound) = listen(&echo.0, &mut echo.1, &other.address);
        let mut client = group(&client_engine);
        let (to_deaf, to_echo) = (
            client.0.connect(&bound).unwrap(),
            client.0.connect(&echo_bound).unwrap(),
        );
        while client.0.post(large(&client.0).signal(to_deaf)).is_ok() {}
        for _ in 0..200 {
            client.0.post(large(&client.0).request(to_echo)).unwrap();
            loop {
                match next(&mut echo.1, "Request") {
                    Event::Request(request) => {
                        echo.0.post(request.echo()).unwrap();
                        break;
                    }
                    Event::Hello(_) => {}
                    other => panic!("unexpected {other:?}"),
                }
            }
            loop {
                match next(&mut client.1, "Response") {
                    Event::Response(_) => break,
                    // Meanwhile the system's buffers may still take some for the deaf peer.
                    Event::Room(channel) => assert_eq!(channel, to_deaf),
                    other => panic!("unexpected {other:?}"),
                }
            }
        }
    }
}

/// What a group does not receive, or keeps, is no other's loss: each group has a part of the budget of
/// its own.
#[test]
fn a_group_that_keeps_what_was_returned_denies_others_nothing_for_good() {
    const COUNT: usize = 50;
    for transport in transports() {
        let (place, nowhere) = (place(transport), nowhere());
        let mut options = Options::default();
        options.outbound_bytes = 2 * 131_984;
        let (engine, other) = (Engine::start(options).unwrap(), common::engine());
        let (mut keeper, mut busy) = (group(&engine), group(&engine));
        let mut server = group(&other);
        let (_, bound) = listen(&server.0, &mut server.1, &place.address);
        // As much as there is, and none of what comes back is received.
        loop {
            let to_nobody = keeper.0.connect(&nowhere).unwrap();
            let posted = keeper.0.post(large(&keeper.0).signal(to_nobody));
            match posted.map_err(|refused| refused.why) {
                Ok(_) | Err(PostError::ChannelClosed) => {}
                Err(PostError::Full(Budget::Engine)) => break,
                Err(why) => panic!("{why}"),
            }
        }
        let to_server = busy.0.connect(&bound).unwrap();
        for _ in 0..COUNT {
            let mut post = large(&busy.0).signal(to_server);
            while let Err(refused) = busy.0.post(post) {
                assert_eq!(refused.why, PostError::Full(Budget::Engine));
                post = refused.post;
                // Its own reserve has room again when what it posted was sent.
                while !matches!(next(&mut busy.1, "Room"), Event::Room(_)) {}
            }
        }
        expect!(server.1, Hello);
        for _ in 0..COUNT {
            expect!(server.1, Signal);
        }
        // Who keeps it gets it all, and has room again as soon as it lets go.
        loop {
            let to_nobody = keeper.0.connect(&nowhere).unwrap();
            let posted = keeper.0.post(large(&keeper.0).signal(to_nobody));
            match posted.map_err(|refused| refused.why) {
                Ok(_) => break,
                Err(PostError::ChannelClosed | PostError::Full(Budget::Engine)) => {}
                Err(why) => panic!("{why}"),
            }
            drop(next(&mut keeper.1, "what was returned"));
        }
    }
}

/// One of two peers that flood each other.
struct Flooder {
    group: ChannelGroup,
    inbox: Inbox,
    channel: ampe::Channel,
    posts: VecDeque<Post>,
    posted: Vec<Posted>,
    received: usize,
}

impl Flooder {
    /// Posts as long as there is room. Returns whether everything was posted.
    fn post(&mut self) -> bool {
        match self.group.post_many(&mut self.posts, &mut self.posted) {
            Ok(()) => true,
            Err(PostError::Full(_)) => false,
            Err(why) => panic!("{why}"),
        }
    }

    fn finish(&mut self, count: usize) {
        while !self.post() || self.received < count {
            match next(&mut self.inbox, "the flood") {
                Event::Signal(_) => self.received += 1,
                Event::Opened(_) | Event::Room(_) | Event::Accepted(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

#[test]
fn two_peers_that_flood_each_other_both_finish() {
    const COUNT: usize = 1000;
    for transport in transports() {
        let place = place(transport);
        let engines = (small_engine(8), small_engine(8));
        let (mut server, client) = (group(&engines.0), group(&engines.1));
        let (_, bound) = listen(&server.0, &mut server.1, &place.address);
        let to_server = client.0.connect(&bound).unwrap();
        let to_client = expect!(server.1, Hello).channel();
        let flooder = |(group, inbox): (ChannelGroup, Inbox), channel| {
            let posts = (0..COUNT).map(|_| large(&group).signal(channel)).collect();
            Flooder {
                group,
                inbox,
                channel,
                posts,
                posted: Vec::new(),
                received: 0,
            }
        };
        let (mut one, mut other) = (flooder(client, to_server), flooder(server, to_client));
        // Neither receives until both are refused: everything is as full as it gets.
        assert!(!one.post() && !other.post());
        assert_ne!(one.channel, other.channel);
        std::thread::scope(|scope| {
            scope.spawn(|| one.finish(COUNT));
            scope.spawn(|| other.finish(COUNT));
        });
    }
}

#[test]
fn silent_connections_are_timed_out_and_counted() {
    let mut options = Options::default();
    options.hello_timeout = Duration::from_millis(50);
    let engine = Engine::start(options).unwrap();
    let mut server = group(&engine);
    let place = place(common::Transport::Tcp);
    let (_, bound) = listen(&server.0, &mut server.1, &place.address);
    let begin = Instant::now();
    let mut silent =
        TcpStream::connect((bound.host().unwrap().to_string(), bound.port().unwrap())).unwrap();
    let read = std::io::Read::read(&mut silent, &mut [0]).unwrap_or(0);
    assert_eq!(
        read, 0,
        "the engine closes a connection that does not say hello"
    );
    assert!(
        begin.elapsed() >= Duration::from_millis(50),
        "not before its time"
    );
    assert!(begin.elapsed() < PATIENCE);
    let report = server.1.close(Duration::ZERO);
    assert_eq!(
        report.unread.len(),
        1,
        "the listener's Closed, and nothing of the silent one"
    );
    assert_eq!(engine.statistics().ended_before_hello, 1);
    assert!(matches!(&report.unread[0], Event::Closed(it) if it.reason() == Reason::GroupClosed));
}

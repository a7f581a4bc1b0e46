//! A dialer beside a server that goes and comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use ampe::{Address, Event, Post, Reason};
use ampe_patterns::{Dialed, Dialer, Pauses};

use crate::common::{PATIENCE, dice, engine, group, local, number, tight};

const SHORT: Pauses = Pauses {
    first: Duration::from_millis(1),
    longest: Duration::from_millis(20),
    seed: None,
};

/// An address at which nobody listens, and nobody else will.
fn free_address() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Address::tcp("127.0.0.1", listener.local_addr().unwrap().port()).unwrap()
}

/// What one life of a server is to do with those who connect.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// Answers so many requests, and is gone without a word.
    Breaks(u64),
    /// Reads so many, answers none, and is gone.
    Swallows(u64),
    /// Answers until its client says goodbye.
    Stays,
}

/// Listens there, and lives. Returns the numbers of the requests that it received.
fn live(address: &Address, life: Life) -> Vec<u64> {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    group.listen(address).unwrap();
    let mut received = Vec::new();
    for event in inbox.iter() {
        match event {
            Event::Hello(hello) => {
                assert_eq!(hello.text_headers().get("Name"), Some(&b"the client"[..]));
                group.post(hello.accept(group.message())).unwrap();
            }
            Event::Request(request) => {
                received.push(number(request.body()));
                let channel = request.channel();
                let (is_over, answers) = match life {
                    Life::Breaks(most) => (received.len() as u64 >= most, true),
                    Life::Swallows(most) => (received.len() as u64 >= most, false),
                    Life::Stays => (false, true),
                };
                if answers {
                    let _ = group.post(request.echo());
                }
                if is_over {
                    let _ = group.post(Post::abort(channel));
                    break;
                }
            }
            Event::Closed(closed) => {
                assert!(closed.peer().is_some(), "cannot listen: {closed}");
                break;
            }
            _ => {}
        }
    }
    received
}

/// Of every request it is known what became of it: answered, or told as unknown. None that came back has
/// reached a server, and none reaches two.
#[test]
fn every_request_is_answered_or_told_as_unknown_and_none_arrives_twice() {
    const COUNT: u64 = 3_000;
    let mut rng = dice();
    let address = free_address();
    let lives: Vec<Life> = (0..12)
        .map(|_| match rng.bool() {
            true => Life::Breaks(rng.u64(1..150)),
            false => Life::Swallows(rng.u64(1..50)),
        })
        .chain([Life::Stays])
        .collect();
    let server = thread::spawn({
        let address = address.clone();
        move || {
            lives
                .iter()
                .map(|&life| live(&address, life))
                .collect::<Vec<_>>()
        }
    });

    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let mut dialer = Dialer::new(group.clone(), address)
        .with_pauses(SHORT)
        .with_hello(|hello| hello.with_header("Name", "the client").unwrap());
    let (mut numbers, mut answered, mut unknown) =
        (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    let (mut ups, mut downs) = (0, 0);
    let deadline = Instant::now() + PATIENCE;
    while answered.len() + unknown.len() < COUNT as usize {
        assert!(Instant::now() < deadline, "{} answered", answered.len());
        // A few are asked at a time, whether there is a connection or not.
        while (numbers.len() as u64) < COUNT && dialer.unanswered() + dialer.waiting() < 100 {
            let number = numbers.len() as u64;
            let message = group.message().with_body(&number.to_le_bytes()).unwrap();
            numbers.insert(dialer.request(message).unwrap(), number);
        }
        match dialer.recv(&mut inbox).unwrap() {
            Dialed::Up(_) => ups += 1,
            Dialed::Down(down) => {
                downs += 1;
                assert!(down.closed.account().posted >= down.unknown.len() as u64);
                for id in down.unknown {
                    assert!(unknown.insert(numbers[&id]), "{id} is told twice");
                }
            }
            Dialed::Other(Event::Response(response)) => {
                assert_eq!(number(response.body()), numbers[&response.id()]);
                assert!(answered.insert(numbers[&response.id()]), "answered twice");
            }
            Dialed::Other(_) => {}
        }
    }
    assert!(answered.is_disjoint(&unknown));
    assert!(ups >= 13 && downs >= 12, "{ups} ups, {downs} downs");
    assert!(!unknown.is_empty(), "some were swallowed");
    group
        .post(group.message().bye(dialer.channel().unwrap()))
        .unwrap();
    let received: Vec<u64> = server.join().unwrap().into_iter().flatten().collect();
    let distinct: BTreeSet<u64> = received.iter().copied().collect();
    assert_eq!(distinct.len(), received.len(), "none arrives twice");
    assert!(answered.is_subset(&distinct));
    assert!(
        distinct
            .iter()
            .all(|it| answered.contains(it) || unknown.contains(it))
    );
}

#[test]
fn what_is_posted_before_there_is_a_server_arrives_in_order() {
    let address = free_address();
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let mut dialer = Dialer::new(group.clone(), address.clone())
        .with_pauses(SHORT)
        .with_hello(|hello| hello.with_header("Name", "the client").unwrap());
    for number in 0..500_u64 {
        let message = group.message().with_body(&number.to_le_bytes()).unwrap();
        dialer.request(message).unwrap();
    }
    // It is dialled a few times in vain.
    let mut downs = 0;
    while downs < 3 {
        if let Dialed::Down(down) = dialer.recv(&mut inbox).unwrap() {
            downs += 1;
            assert_eq!(down.closed.reason(), Reason::ConnectFailed);
            assert!(down.unknown.is_empty());
            assert_eq!(dialer.due(), Some(down.again_at));
        }
    }
    let server = thread::spawn(move || live(&address, Life::Stays));
    let mut answered = Vec::new();
    while answered.len() < 500 {
        if let Dialed::Other(Event::Response(it)) = dialer.recv(&mut inbox).unwrap() {
            answered.push(number(it.body()));
        }
    }
    assert!(answered.iter().copied().eq(0..500));
    let channel = dialer.channel().unwrap();
    group.post(group.message().bye(channel)).unwrap();
    assert_eq!(server.join().unwrap().len(), 500);
}

#[test]
fn a_pause_may_be_longer_than_clocks_go() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let pauses = Pauses {
        first: Duration::MAX,
        longest: Duration::MAX,
        seed: None,
    };
    let mut dialer = Dialer::new(group, free_address()).with_pauses(pauses);
    let down = loop {
        if let Dialed::Down(down) = dialer.recv(&mut inbox).unwrap() {
            break down;
        }
    };
    assert!(down.again_at > Instant::now() + PATIENCE);
}

/// What the application posts to a dialer's channel is its own: an answer to it, and what comes back of it.
#[test]
fn what_is_posted_past_a_dialer_is_not_posted_again() {
    let server = tight();
    let (server_group, mut server_inbox) = group(&server);
    server_group.listen(&local()).unwrap();
    let Event::Listening(it) = server_inbox.recv().unwrap() else {
        panic!("it listens");
    };
    let client = tight();
    let (group, mut inbox) = group(&client);
    let mut dialer = Dialer::new(group.clone(), it.address().clone()).with_pauses(SHORT);
    let asked = dialer.request(group.message()).unwrap();
    let channel = loop {
        if let Dialed::Up(_) = dialer.recv(&mut inbox).unwrap() {
            break dialer.channel().unwrap();
        }
    };
    let posted = group.post(group.message().request(channel)).unwrap();

    let Event::Hello(hello) = server_inbox.recv().unwrap() else {
        panic!("a hello is first");
    };
    let first = hello.channel();
    // Its peer does not receive until no more can be posted; then the connection breaks.
    let (mut idle, mut ours) = (0, 0);
    while idle < 100 {
        let message = group.message().with_body(&[7; 20_000]).unwrap();
        idle = match group.post(message.signal(channel)) {
            Ok(_) => 0,
            Err(_) => idle + 1,
        };
        if idle == 1 {
            dialer
                .signal(group.message().with_body(b"ours").unwrap())
                .unwrap();
            ours += 1;
        }
        thread::sleep(Duration::from_millis(1)); // as long as the system takes some of it
    }
    server_group.post(Post::abort(first)).unwrap();
    while !matches!(dialer.recv(&mut inbox).unwrap(), Dialed::Up(_)) {}
    dialer
        .signal(group.message().with_body(b"last").unwrap())
        .unwrap();
    let (mut before, mut came) = (0, 0);
    loop {
        let event = server_inbox.recv_until(Instant::now() + PATIENCE).unwrap();
        match event.expect("the last comes") {
            Event::Signal(it) if it.channel() == first => {
                before += usize::from(it.body() == b"ours")
            }
            Event::Signal(it) if it.body() == b"last" => break,
            Event::Signal(it) => {
                assert!(it.body() == b"ours", "{} bytes", it.body().len());
                came += 1;
            }
            _ => {}
        }
        while let Some(event) = inbox.try_recv().unwrap() {
            dialer.observe(event);
        }
    }
    assert!(
        posted.id < 1 << 63 && asked >= 1 << 63,
        "{posted:?} {asked}"
    );
    assert_eq!(before + came, ours, "each of the dialer's comes once");
    assert!(came > 0);
}

#[test]
fn no_more_waits_than_may() {
    let engine = engine();
    let (group, _inbox) = group(&engine);
    let slow = Pauses {
        first: PATIENCE,
        longest: PATIENCE,
        seed: None,
    };
    let mut dialer = Dialer::new(group.clone(), free_address())
        .with_pauses(slow)
        .with_waiting_bytes(10 * 1024);
    // The channel that is being dialled takes some; the rest waits here.
    let mut taken = 0;
    let refused = loop {
        let message = group.message().with_body(&[0; 1000]).unwrap();
        match dialer.signal(message) {
            Ok(_) => taken += 1,
            Err(message) => break message,
        }
        assert!(taken < 1_000_000);
    };
    assert_eq!(refused.body().len(), 1000, "it is still ours");
    assert!(dialer.waiting() <= 10, "{}", dialer.waiting());
}

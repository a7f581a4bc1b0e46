//! The program in the README under load: a server that is written like it answers every request.

use std::cell::RefCell;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ampe::{
    Account, Address, CallError, ChannelGroup, Engine, Event, GroupOptions, Inbox, Options, Outbox,
};

use crate::common::{self, group, listen, next, wait_until};

const CLIENTS: usize = 2;
const REQUESTS: u64 = 600;
const BODY: usize = 60_000;

/// What two of the largest messages cost: it takes four of these.
const LEAST: usize = 2 * (131_088 + 896);

/// Serves until all its clients have gone. Returns whether it found no room.
type Serve = fn(Engine, ChannelGroup, Inbox, &AtomicBool) -> bool;

fn serve(engine: Engine, group: ChannelGroup, mut inbox: Inbox, _: &AtomicBool) -> bool {
    let (mut ends, mut was_full) = (0, false);
    // As in the README, from here
    let mut outbox = Outbox::new(group.clone(), usize::MAX);
    for event in inbox.iter() {
        outbox.observe(&event); // maybe there is room for what waits
        // to here,
        was_full |= matches!(event, Event::Room(_));
        if matches!(event, Event::Closed(_)) {
            ends += 1;
            if ends == CLIENTS {
                return was_full;
            }
        }
        // from here
        let answer = match event {
            Event::Hello(hello) => hello.accept(engine.message()),
            Event::Request(request) => request.echo(),
            Event::Bye(bye) => bye.echo(), // behind the answers that wait
            _ => continue,
        };
        let _ = outbox.post(answer); // refused if the peer has gone
    }
    // to here.
    false
}

/// The client of the README. Returns what it prints.
fn ask(address: &Address) -> Vec<String> {
    let said = RefCell::new(Vec::new());
    macro_rules! println {
        ($($text:tt)*) => { said.borrow_mut().push(format!($($text)*)) };
    }
    let run = || -> Result<(), Box<dyn Error>> {
        // As in the README, from here
        let engine = Engine::start(Options::default())?;
        let (group, mut inbox) = engine.group(GroupOptions::default())?;
        // to here,
        let server = group.connect(address)?;
        // from here
        let request = engine.message().with_body(b"hello")?;
        let deadline = Instant::now() + Duration::from_secs(5);
        match group.call(server, request, deadline).wait() {
            // a task awaits it instead
            Ok(answer) => println!("{}", String::from_utf8_lossy(answer.body())),
            Err(CallError::NotSent(it)) => println!("safe to ask another: {}", it.why),
            Err(CallError::Refused { why, .. }) => println!("it will not: {why}"),
            Err(unknown) => println!("it may have been done: {unknown}"),
        }
        let _ = group.post(engine.message().bye(server)); // refused if it has gone
        let closed = inbox.iter().find(|event| matches!(event, Event::Closed(_)));
        println!("{}", closed.expect("each channel has one")); // its account
        Ok(())
        // to here.
    };
    run().unwrap();
    said.into_inner()
}

/// What a first thought makes of it.
fn serve_and_drop_what_is_refused(
    engine: Engine,
    group: ChannelGroup,
    mut inbox: Inbox,
    has_refused: &AtomicBool,
) -> bool {
    let mut ends = 0;
    for event in inbox.iter() {
        let post = match event {
            Event::Hello(hello) => hello.accept(engine.message()),
            Event::Request(request) => request.echo(),
            Event::Closed(_) => {
                ends += 1;
                if ends == CLIENTS {
                    return has_refused.load(Ordering::Relaxed);
                }
                continue;
            }
            _ => continue,
        };
        if group.post(post).is_err() {
            has_refused.store(true, Ordering::Relaxed);
        }
    }
    false
}

/// A client that asks for everything at once and says goodbye, and only then begins to receive, little
/// at a time. Returns how many answers came.
fn flood(address: &Address, may_receive: &dyn Fn() -> bool) -> (u64, Account) {
    let mut options = Options::default();
    options.outbound_bytes_per_channel = 64 << 20;
    options.inbound_bytes = LEAST;
    let engine = Engine::start(options).unwrap();
    let (group, mut inbox) = group(&engine);
    let channel = group.connect(address).unwrap();
    for _ in 0..REQUESTS {
        let mut message = engine.message();
        message.resize_body(BODY).unwrap();
        group.post(message.request(channel)).unwrap();
    }
    group.post(engine.message().bye(channel)).unwrap();
    wait_until("the server to be behind", may_receive);
    let mut answers = 0;
    loop {
        match next(&mut inbox, "an answer") {
            Event::Response(response) => {
                assert_eq!(response.body().len(), BODY);
                answers += 1;
            }
            Event::Closed(closed) => return (answers, closed.account()),
            _ => {}
        }
    }
}

/// Has clients flood a server, and returns what they got, and whether the server ever found no room.
fn flooded(serve: Serve, is_gated: bool) -> (Vec<(u64, Account)>, bool) {
    let mut options = Options::default();
    options.outbound_bytes_per_channel = LEAST;
    let engine = Engine::start(options).unwrap();
    let (posting, mut inbox) = group(&engine);
    let local = "tcp://127.0.0.1:0".parse().unwrap();
    let (_, bound) = listen(&posting, &mut inbox, &local);
    let has_refused = AtomicBool::new(false);
    let may_receive: &(dyn Fn() -> bool + Sync) =
        &|| !is_gated || has_refused.load(Ordering::Relaxed);
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(engine, posting, inbox, &has_refused));
        let clients = [(); CLIENTS].map(|()| scope.spawn(|| flood(&bound, may_receive)));
        let outcomes = clients.map(|client| client.join().unwrap());
        (outcomes.to_vec(), server.join().unwrap())
    })
}

#[test]
fn the_readme_s_server_answers_every_request_under_load() {
    // Whether it falls behind is up to the system, and mostly so at the first time.
    for _ in 0..10 {
        let (outcomes, was_behind) = flooded(serve, false);
        for (answers, account) in outcomes {
            assert_eq!(answers, REQUESTS);
            assert_eq!(account.confirmed, account.posted, "{account:?}");
        }
        if was_behind {
            return;
        }
    }
    panic!("the server never found no room");
}

/// Without it a flood that no server has trouble with would pass, too.
#[test]
fn canary_a_server_that_drops_what_is_refused() {
    let (outcomes, was_behind) = flooded(serve_and_drop_what_is_refused, true);
    assert!(was_behind, "the server never found no room");
    let is_short = |&(answers, _): &(u64, Account)| answers < REQUESTS;
    assert!(outcomes.iter().any(is_short), "{outcomes:?}");
}

#[test]
fn the_readme_s_client_is_answered_and_says_goodbye() {
    let engine = Engine::start(Options::default()).unwrap();
    let (posting, mut inbox) = group(&engine);
    let (_, bound) = listen(&posting, &mut inbox, &"tcp://127.0.0.1:0".parse().unwrap());
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(engine, posting, inbox, &AtomicBool::new(false)));
        for _ in 0..CLIENTS {
            let said = ask(&bound);
            let account = "3 posted, 3 sent, 0 returned, 3 confirmed, 3 received";
            let end = format!("#1 closed (both sides said goodbye): {account}");
            assert_eq!(said, ["hello".to_owned(), end]);
        }
        server.join().unwrap();
    });
    // Nobody listens there any more.
    let said = ask(&bound);
    assert_eq!(
        said[0], "safe to ask another: could not connect",
        "{said:#?}"
    );
}

/// What is tested here is what the README shows.
#[test]
fn the_programs_tested_are_the_readme_s() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let Ok(readme) = std::fs::read_to_string(path) else {
        return common::skip("the README: it is not in this package");
    };
    // Comments and line breaks may differ, and the semicolons that come with those.
    let compact = |text: &str| -> String {
        let code = text.lines().filter_map(|line| line.split("//").next());
        let visible = |it: &char| !it.is_whitespace() && *it != ';';
        code.flat_map(str::chars).filter(visible).collect()
    };
    let shown = compact(&readme);
    let (mut part, mut parts) = (None::<String>, 0);
    for line in include_str!("readme.rs").lines() {
        match line.trim() {
            "// As in the README, from here" | "// from here" => part = Some(String::new()),
            "// to here," | "// to here." => {
                let part = part.take().unwrap();
                assert!(shown.contains(&part), "not in the README: {part}");
                parts += 1;
            }
            _ => {
                if let Some(part) = &mut part {
                    part.push_str(&compact(line));
                }
            }
        }
    }
    assert_eq!(parts, 4);
}

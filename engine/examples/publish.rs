//! Publishing to many, one of whom never reads: the others get everything, and nobody waits for it.
//!
//! ```text
//! cargo run --example publish -- publisher tcp://127.0.0.1:7000 3 1000
//! cargo run --example publish -- subscriber tcp://127.0.0.1:7000      (twice)
//! cargo run --example publish -- deaf tcp://127.0.0.1:7000
//! ```
//!
//! It waits for that many subscribers and publishes that many bulletins. Who is behind misses some, as
//! their numbers show; who has read nothing for a while is let go.

use std::collections::HashMap;
use std::error::Error;
use std::time::{Duration, Instant};
use std::{env, io};

use ampe::{
    Address, Budget, Channel, ChannelGroup, Engine, Event, GroupOptions, Options, PostError,
};

const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["publisher", address, count, bulletins] => {
            publish(&address.parse()?, count.parse()?, bulletins.parse()?)
        }
        ["subscriber", address] => subscribe(&address.parse()?, false),
        ["deaf", address] => subscribe(&address.parse()?, true),
        _ => Err("give a role, as the first lines of this example do".into()),
    }
}

fn publish(address: &Address, count: usize, bulletins: u64) -> Result<(), Box<dyn Error>> {
    let mut options = Options::default();
    // If the engine's budget were smaller than what its channels may have together, then some who do
    // not read could use it up, and those who do read would be refused as well.
    options.outbound_bytes_per_channel = 1 << 20;
    options.outbound_bytes = count << 20;
    let engine = Engine::start(options)?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    group.listen(address)?;

    let mut missed = HashMap::new(); // by each subscriber
    while missed.len() < count {
        note(&group, inbox.recv()?, &mut missed);
    }
    for number in 1.. {
        let bulletin = group.message().with_body(&[b'.'; 60_000])?;
        let mut bulletin = bulletin.with_header("Number", number.to_string())?;
        bulletin.share_body(); // all subscribers get the very same
        for (&subscriber, missed) in &mut missed {
            let oldest = group.account(subscriber).and_then(|it| it.oldest_queued);
            let post = if oldest.is_some_and(|age| age > PATIENCE) {
                let why = group.message().with_body(b"you do not read")?;
                why.abort(subscriber)
            } else if number <= bulletins {
                bulletin.clone().signal(subscriber)
            } else if number == bulletins + 1 {
                // There is always room for it. Its answer says that all was received.
                group.message().bye(subscriber)
            } else {
                continue;
            };
            let why = group.post(post).err().map(|refused| refused.why);
            if why == Some(PostError::Full(Budget::Channel)) {
                *missed += 1; // a mebibyte waits already
            }
        }
        let next = Instant::now() + Duration::from_millis(2);
        while let Some(event) = inbox.recv_until(next)? {
            note(&group, event, &mut missed);
        }
        if missed.is_empty() {
            break;
        }
    }
    Ok(())
}

fn note(group: &ChannelGroup, event: Event, missed: &mut HashMap<Channel, u64>) {
    match event {
        Event::Listening(listening) => println!("listening on {}", listening.address()),
        Event::Hello(hello) => {
            missed.insert(hello.channel(), 0);
            let _ = group.post(hello.accept(group.message())); // refused if it has gone
        }
        Event::Closed(closed) => {
            let missed = missed.remove(&closed.channel());
            println!("{closed}; missed {missed:?}");
        }
        _ => {}
    }
}

fn subscribe(address: &Address, is_deaf: bool) -> Result<(), Box<dyn Error>> {
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    group.connect(address)?;
    while is_deaf && io::stdin().read_line(&mut String::new())? > 0 {} // until the end of the input
    let (mut received, mut last) = (0, 0);
    for event in inbox.iter() {
        match event {
            Event::Signal(bulletin) => {
                received += 1;
                let number = bulletin.text_headers().get_text("Number");
                last = number.ok_or("no number")?.parse()?;
            }
            Event::Closed(closed) => {
                println!("{received} received, {} missed; {closed}", last - received);
                break;
            }
            _ => {} // a goodbye is answered where its event is dropped
        }
    }
    Ok(())
}

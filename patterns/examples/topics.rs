//! Publishing by topics: what is typed at the publisher goes to those who want it.
//!
//! ```text
//! cargo run -p ampe-patterns --example topics -- publisher tcp://127.0.0.1:7000
//! cargo run -p ampe-patterns --example topics -- subscriber tcp://127.0.0.1:7000 'weather.*' news   (several)
//! ```
//!
//! Type lines such as `weather.kyiv it rains`, and `who` to see who is there. Kill the publisher and start it again: its
//! subscribers come back. The end of the input says goodbye to them.

use std::error::Error;
use std::time::Duration;
use std::{env, io, thread};

use ampe::{Address, ChannelGroup, Engine, Event, GroupOptions, Message, Options, Reason};
use ampe_patterns::publish::{
    Published, Publisher, PublisherOptions, Subscribed, Subscriber, WhenFull,
};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["publisher", address] => publish(&address.parse()?),
        ["subscriber", address, ref topics @ ..] => subscribe(&address.parse()?, topics),
        _ => Err("give a role, as the first lines of this example do".into()),
    }
}

fn publish(address: &Address) -> Result<(), Box<dyn Error>> {
    let mut options = Options::default();
    options.outbound_bytes_per_channel = 1 << 20;
    let engine = Engine::start(options)?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    group.listen(address)?;
    let mut limits = PublisherOptions::default();
    limits.when_full = WhenFull::DropOldest; // the news is what matters
    let mut publisher = Publisher::with_options(group.clone(), limits);
    thread::spawn(move || hand_over_lines(&group));

    let mut is_over = false;
    while !is_over || publisher.subscribers().count() > 0 {
        match publisher.observe(inbox.recv()?) {
            Some(Published::Hello(hello)) => {
                println!("{} is here", hello.peer());
                publisher.accept(hello);
            }
            Some(Published::Gone(gone)) => println!("{}; {}", gone.closed, gone.account),
            Some(Published::Other(Event::Listening(it))) => {
                println!("listening on {}", it.address());
            }
            // The end of the input.
            Some(Published::Other(Event::Notified(line))) if line.body().is_empty() => {
                is_over = true;
                publisher.say_goodbye();
            }
            Some(Published::Other(Event::Notified(line))) => act(&mut publisher, line)?,
            _ => {}
        }
    }
    Ok(())
}

/// Publishes a line, or tells who is there.
fn act(publisher: &mut Publisher, line: Message) -> Result<(), Box<dyn Error>> {
    let text = String::from_utf8_lossy(line.body()).into_owned();
    if text == "who" {
        for (_, peer, account) in publisher.subscribers() {
            println!("{peer}: {account}");
        }
        return Ok(());
    }
    let (topic, text) = text.split_once(' ').unwrap_or((&text, ""));
    let message = line.with_body(text.as_bytes())?;
    match publisher.publish(topic, message) {
        Ok(counts) => println!("published to {}", counts.wanted - counts.dropped),
        Err(why) => println!("{why}"),
    }
    Ok(())
}

/// Puts each line of the input into the inbox, and something empty behind the last.
fn hand_over_lines(group: &ChannelGroup) {
    let lines = io::stdin().lines().map_while(Result::ok);
    for line in lines.filter(|line| !line.is_empty()).chain([String::new()]) {
        let Ok(mut message) = group.message().with_body(line.as_bytes()) else {
            println!("too long");
            continue;
        };
        // Where too many wait already, more are read when some were published.
        while let Err(refused) = group.notify(message) {
            thread::sleep(Duration::from_millis(1));
            message = refused.message;
        }
    }
}

fn subscribe(address: &Address, topics: &[&str]) -> Result<(), Box<dyn Error>> {
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    let mut subscriber = Subscriber::new(group, address.clone());
    for topic in topics {
        subscriber.subscribe(topic)?;
    }
    loop {
        match subscriber.recv(&mut inbox)? {
            Subscribed::Publication(it) => {
                let text = String::from_utf8_lossy(it.message().body());
                println!("{}: {text} ({} missed)", it.topic(), it.missed);
            }
            Subscribed::Up(peer) => println!("connected to {peer}"),
            Subscribed::Down(down) if down.closed.reason() == Reason::Bye => return Ok(()),
            Subscribed::Down(down) => println!("{}", down.closed),
            _ => {}
        }
    }
}

//! A chat between equals: everybody listens, and connects to whomever it knows.
//!
//! ```text
//! cargo run --example chat -- ann tcp://127.0.0.1:7000
//! cargo run --example chat -- bob tcp://127.0.0.1:7001 tcp://127.0.0.1:7000
//! cargo run --example chat -- cid tcp://127.0.0.1:7002 tcp://127.0.0.1:7000 tcp://127.0.0.1:7001
//! ```
//!
//! A line that is typed goes to everybody; the end of the input is a goodbye.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, BufRead};
use std::time::Duration;
use std::{env, thread};

use ampe::{Address, Channel, ChannelGroup, Engine, Event, GroupOptions, Options, Received};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let name = words.next().ok_or("who are you?")?;
    let listen_on: Address = words
        .next()
        .ok_or("give the address to listen on")?
        .parse()?;

    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    group.listen(&listen_on)?;
    for peer in words {
        // The hello says who we are.
        let hello = group.message().with_header("Name", &name)?;
        group.post(hello.hello(&peer.parse()?))?;
    }
    read_lines(group.clone());

    let mut names: HashMap<Channel, String> = HashMap::new();
    for event in inbox.iter() {
        match event {
            Event::Listening(listening) => println!("listening on {}", listening.address()),
            Event::Hello(hello) => {
                meet(&mut names, &hello);
                let answer = group.message().with_header("Name", &name)?;
                group
                    .post(hello.accept(answer))
                    .map_or_else(|why| println!("{why}"), drop);
            }
            // The answer to our hello says who they are.
            Event::Accepted(welcome) => meet(&mut names, &welcome),
            Event::Signal(said) => {
                let who = names.get(&said.channel());
                let who = who.map_or("somebody", String::as_str);
                println!("{who}: {}", String::from_utf8_lossy(said.body()));
            }
            // A line of ours: from the thread that reads them.
            Event::Notified(line) if !line.body().is_empty() => {
                for (&channel, who) in &names {
                    // A chat does not wait for who does not read. They are told what they missed by others.
                    if let Err(refused) = group.post(line.clone().signal(channel)) {
                        println!("{who} did not get that: {}", refused.why);
                    }
                }
            }
            Event::Notified(_) => break, // the end of the input
            Event::Returned(message) => {
                println!("not sent: {} ({})", message.message(), message.reason());
            }
            Event::Closed(closed) => match names.remove(&closed.channel()) {
                Some(who) => println!("{who} has gone: {}", closed.reason()),
                None => println!("nobody there: {}", closed.reason()),
            },
            _ => {} // a goodbye is answered where its event is dropped
        }
    }

    // Everybody answers a goodbye, and then has had all that was said before.
    for &channel in names.keys() {
        let _ = group.post(group.message().bye(channel)); // refused if it has gone meanwhile
    }
    while !names.is_empty()
        && let Ok(event) = inbox.recv()
    {
        if let Event::Closed(closed) = event {
            names.remove(&closed.channel());
        }
    }
    inbox.close(Duration::from_secs(1));
    Ok(())
}

fn meet(names: &mut HashMap<Channel, String>, message: &Received) {
    let name = message
        .text_headers()
        .get_text("Name")
        .unwrap_or("somebody");
    println!("{name} is here");
    names.insert(message.channel(), name.to_owned());
}

/// Lines of the standard input become events of the inbox, so that one loop sees everything. The end is
/// an event without content.
fn read_lines(group: ChannelGroup) {
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let line = group.message().with_body(line.as_bytes());
            // Too long for one message: somebody pasted a book.
            let Ok(line) = line else { continue };
            if !line.body().is_empty() && group.notify(line).is_err() {
                return; // the chat is over
            }
        }
        let _ = group.notify(group.message());
    });
}

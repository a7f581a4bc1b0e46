//! A file of any length, in parts, at the pace of whoever is slowest, and verified at the end.
//!
//! ```text
//! cargo run --example stream_file -- receive tcp://127.0.0.1:7000 copy
//! cargo run --example stream_file -- send tcp://127.0.0.1:7000 original
//! ```
//!
//! A body has 65,535 bytes at most, so a file is many messages: Requests of one id, all but the last with
//! `more`. The last one's body is the SHA-256 of the others'. Its Response says that the copy is there;
//! without it nothing is certain.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ampe::{Address, Engine, Event, GroupOptions, Options, Reason};
use sha2::{Digest, Sha256};

const PART: usize = 60_000;

/// How long a part, and the answer, may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["receive", address, file] => receive(&address.parse()?, Path::new(file)),
        ["send", address, file] => send(&address.parse()?, Path::new(file)),
        _ => Err("give a role, as the first lines of this example do".into()),
    }
}

fn send(address: &Address, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut file = File::open(path)?;
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    let receiver = group.connect(address)?;
    let (mut hash, mut len) = (Sha256::new(), 0);
    loop {
        let mut message = group.message();
        // Read from the file to where it is sent from.
        let read = file.read(message.resize_body(PART)?)?;
        message.resize_body(read)?;
        hash.update(message.body());
        len += read;
        let is_last = read == 0;
        let part = if is_last {
            message.set_body(&hash.finalize_reset())?;
            message.request(receiver).with_id(1)
        } else {
            message.request(receiver).with_id(1).more()
        };
        // Here is the back-pressure: it waits while the receiver is behind.
        if let Err(refused) = group.post_wait(part, Instant::now() + PATIENCE) {
            println!("{refused}");
            break; // its Closed says more
        }
        if is_last {
            break;
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while let Some(event) = inbox.recv_until(deadline)? {
        match event {
            Event::Response(response) => match response.refusal() {
                Some(why) => return Err(why.into_owned().into()),
                // Refused if it has gone: its Closed says more.
                None => drop(group.post(group.message().bye(receiver))),
            },
            Event::Closed(closed) if closed.reason() == Reason::Bye => {
                println!("{len} bytes sent, and stored");
                return Ok(());
            }
            Event::Closed(closed) => return Err(closed.reason().into()),
            _ => {}
        }
    }
    Err("the receiver does not answer".into())
}

fn receive(address: &Address, path: &Path) -> Result<(), Box<dyn Error>> {
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    group.listen(address)?;
    let unfinished = path.with_extension("part");
    let (mut file, mut hash) = (File::create(&unfinished)?, Sha256::new());
    let mut outcome = Err("the sender has gone before the end".into());
    for event in inbox.iter() {
        match event {
            Event::Listening(listening) => println!("listening on {}", listening.address()),
            Event::Hello(hello) => drop(group.post(hello.accept(group.message()))),
            // While this writes, nothing more is received than fits into the inbound budget.
            Event::Request(part) if part.has_more() => {
                file.write_all(part.body())?;
                hash.update(part.body());
            }
            Event::Request(last) => {
                let stored = match last.body() == hash.finalize_reset().as_slice() {
                    true => file.sync_all().and_then(|()| fs::rename(&unfinished, path)),
                    false => Err(io::Error::other("what came is not what was sent")),
                };
                group.post(match &stored {
                    Ok(()) => last.reply(group.message()),
                    Err(why) => last.refuse(&why.to_string()),
                })?;
                outcome = stored.map_err(Box::from);
            }
            Event::Closed(_) => break,
            _ => {} // a goodbye is answered where its event is dropped
        }
    }
    outcome.inspect_err(|_| drop(fs::remove_file(&unfinished)))
}

//! A first server: a store of values under keys.
//!
//! ```text
//! cargo run --example server -- tcp://127.0.0.1:7000
//! ```
//!
//! A request with a text header `Set: KEY` stores its body, one with `Get: KEY` is answered by what is
//! stored. `client` and `calls` ask this server. Enter stops it.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;
use std::{env, io, thread};

use ampe::{
    Address, ChannelGroup, Engine, Event, GroupOptions, Options, Outbox, Post, PostError, Request,
};

/// What may wait for one client that does not read its answers, beyond the engine's own budget.
const WAITING: usize = 16 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1);
    let address: Address = address.as_deref().unwrap_or("tcp://127.0.0.1:0").parse()?;

    // An engine owns the sockets. A group is where this program posts, its inbox where it receives.
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    group.listen(&address)?;
    stop_on_enter(group.clone());

    let mut store = HashMap::new();
    // A client that reads slowly must not hold up the others: what there is no room for waits here.
    let mut outbox = Outbox::new(group.clone(), WAITING);
    for event in inbox.iter() {
        outbox.observe(&event); // room for what waits, or the end of its channel
        let answer = match event {
            Event::Listening(listening) => {
                println!("listening on {}", listening.address());
                continue;
            }
            Event::Hello(hello) => {
                println!("{} is {}", hello.channel(), hello.peer());
                hello.accept(group.message())
            }
            Event::Request(request) => answer(&group, &mut store, request),
            // Posted behind all answers that wait, so that the client has them all.
            Event::Bye(bye) => bye.answer(group.message()),
            Event::Closed(closed) => {
                println!("{closed}");
                if closed.peer().is_none() {
                    break; // the listener: the address cannot be listened on
                }
                continue;
            }
            Event::Notified(_) => break, // Enter
            _ => continue,
        };
        if let Err(refused) = outbox.post(answer)
            && let (Some(channel), PostError::Full(_)) = (refused.post.channel(), refused.why)
        {
            // This one asks and asks, and reads nothing.
            let why = group.message().with_body(b"you do not read")?;
            let _ = group.post(why.abort(channel)); // refused if it has gone by itself
        }
    }

    // Says no more, sends what was posted, and tells what could not be sent.
    let report = inbox.close(Duration::from_secs(5));
    println!("stopped; {} answers not sent", report.returned.len());
    Ok(())
}

/// The answer to one request.
fn answer(group: &ChannelGroup, store: &mut HashMap<Vec<u8>, Vec<u8>>, request: Request) -> Post {
    let headers = request.text_headers();
    if let Some(key) = headers.get("Set") {
        // A copy: a message that is kept counts against the engine's inbound budget.
        store.insert(key.to_vec(), request.body().to_vec());
        return request.reply(group.message());
    }
    let Some(key) = headers.get("Get") else {
        return request.refuse("neither Set nor Get");
    };
    match store.get(key) {
        Some(value) => {
            let answer = group.message().with_body(value);
            request.reply(answer.expect("it came in one message, so it fits into one"))
        }
        None => request.refuse("no such key"),
    }
}

/// A line on the standard input becomes an event in the inbox.
fn stop_on_enter(group: ChannelGroup) {
    thread::spawn(move || {
        let mut line = String::new();
        // Without an input, as in the background, it is not stopped like this.
        if io::stdin().read_line(&mut line).is_ok_and(|len| len > 0) {
            let _ = group.notify(group.message());
        }
    });
}

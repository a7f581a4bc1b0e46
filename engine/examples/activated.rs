//! A service that systemd starts when somebody connects: an echo on the socket that it inherits.
//!
//! ```text
//! systemd-socket-activate -l 7000 target/debug/examples/activated
//! ```
//!
//! `examples/systemd` has the units for a service that stays installed. It ends when nobody has been
//! connected for a minute, and is started again for the next: what connects meanwhile waits in the
//! socket, which systemd keeps.

#![cfg_attr(not(unix), allow(unused, reason = "there is no systemd"))]

use std::error::Error;
use std::time::{Duration, Instant};

use ampe::{Engine, Event, GroupOptions, ListeningSocket, Options, Outbox};

/// How long it stays without a client.
const STAY: Duration = Duration::from_secs(60);

#[cfg(unix)]
fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;

    let mut inherited = listenfd::ListenFd::from_env();
    for index in 0..inherited.len() {
        // Of TCP, or a Unix socket: the other kind is an error, and leaves it to be taken again.
        let socket = match inherited.take_tcp_listener(index) {
            Ok(Some(listener)) => ListeningSocket::new(listener)?,
            _ => match inherited.take_unix_listener(index)? {
                Some(listener) => ListeningSocket::new(listener)?,
                None => continue,
            },
        };
        group.listen_on(socket)?;
    }
    if inherited.len() == 0 {
        return Err("no socket was inherited: is this started by systemd?".into());
    }

    let mut outbox = Outbox::new(group.clone(), 1 << 20);
    let (mut clients, mut alone_since) = (0, Instant::now());
    loop {
        let deadline = (clients == 0).then(|| alone_since + STAY);
        let event = match deadline {
            Some(deadline) => inbox.recv_until(deadline)?,
            None => Some(inbox.recv()?),
        };
        let Some(event) = event else { break };
        outbox.observe(&event);
        let answer = match event {
            Event::Listening(listening) => {
                println!("listening on {}", listening.address());
                continue;
            }
            Event::Hello(hello) => {
                clients += 1;
                hello.accept(group.message())
            }
            Event::Request(request) => request.echo(),
            Event::Bye(bye) => bye.answer(group.message()),
            Event::Closed(closed) if closed.peer().is_some() => {
                clients -= 1;
                alone_since = Instant::now();
                continue;
            }
            Event::Closed(closed) => return Err(closed.to_string().into()),
            _ => continue,
        };
        let _ = outbox.post(answer); // of who does not read, the answers are dropped
    }
    println!("nobody is here");
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    println!("there is no systemd here");
}

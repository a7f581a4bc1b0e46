//! One thread, one loop, two things to wait for: what is typed, and what a server answers.
//!
//! ```text
//! cargo run --example server -- tcp://127.0.0.1:7000
//! cargo run --example event_loop -- tcp://127.0.0.1:7000
//! ```
//!
//! Each line is a key that the server is asked for. The loop here is poll(2); that of a GUI, glib or mio
//! waits for the same descriptor. The end of the input is a goodbye.

#![cfg_attr(not(unix), allow(unused, reason = "poll(2) is there on Unix"))]

use std::env;
use std::error::Error;

use ampe::{Address, Engine, Event, GroupOptions, Options};

#[cfg(unix)]
fn main() -> Result<(), Box<dyn Error>> {
    use rustix::event::{PollFd, PollFlags, poll};

    let address = env::args().nth(1).ok_or("usage: event_loop ADDRESS")?;
    let address: Address = address.parse()?;
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    let server = group.connect(&address)?;
    let ready = inbox.readiness()?;

    let input = std::io::stdin();
    let (mut typed, mut has_input) = (Vec::new(), true);
    loop {
        let mut events = PollFd::new(&ready, PollFlags::IN);
        let mut keys = PollFd::new(&input, PollFlags::IN);
        if has_input {
            let mut both = [events, keys];
            poll(&mut both, None)?;
            [events, keys] = both;
        } else {
            poll(std::slice::from_mut(&mut events), None)?;
        }

        // Until there is nothing: then the descriptor is ready again with the next event.
        while let Some(event) = inbox.try_recv()? {
            match event {
                Event::Opened(opened) => println!("connected to {}", opened.peer()),
                Event::Response(response) => match response.refusal() {
                    Some(why) => println!("refused: {why}"),
                    None => println!("{}", String::from_utf8_lossy(response.body())),
                },
                Event::Closed(closed) => {
                    println!("{closed}");
                    return Ok(());
                }
                _ => {}
            }
        }

        if has_input && !keys.revents().is_empty() {
            let mut bytes = [0; 4096];
            let count = rustix::io::read(&input, &mut bytes)?;
            typed.extend_from_slice(&bytes[..count]);
            while let Some(end) = typed.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = typed.drain(..=end).collect();
                let key = line.trim_ascii();
                if !key.is_empty() {
                    let request = group.message().with_header("Get", key)?;
                    group.post(request.request(server))?;
                }
            }
            if count == 0 {
                has_input = false;
                let _ = group.post(group.message().bye(server)); // refused if it has gone
            }
        }
    }
}

#[cfg(not(unix))]
fn main() {
    println!(
        "Windows waits for consoles in another way: see Inbox::readiness for its event object"
    );
}

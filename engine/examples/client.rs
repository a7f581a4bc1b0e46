//! A first client: asks the store of the example `server`.
//!
//! ```text
//! cargo run --example client -- tcp://127.0.0.1:7000 set colour blue get colour
//! cargo run --example client -- tcp://127.0.0.1:7000 load 100000
//! ```
//!
//! It asks without waiting for each answer, and says goodbye once it has them all.

use std::env;
use std::error::Error;

use ampe::{
    Address, Channel, Engine, Event, GroupOptions, Message, MessageError, Options, Outbox, Reason,
};

/// So many requests wait for their answers at a time.
const WINDOW: usize = 1000;

/// One thing to ask.
enum Command {
    Set(String, String),
    Get(String),
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let address: Address = words.next().ok_or("give the server's address")?.parse()?;
    let mut commands = read_commands(words)?.into_iter();

    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    // There is no need to wait for the connection: what is posted now is sent when it stands,
    // or comes back if it never does.
    let server = group.connect(&address)?;
    let mut outbox = Outbox::new(group.clone(), usize::MAX); // the window is the limit
    let (mut asked, mut answered, mut refused) = (0, 0, 0);
    for command in commands.by_ref().take(WINDOW) {
        asked += 1;
        ask(&mut outbox, group.message(), server, command)?;
    }

    for event in inbox.iter() {
        outbox.observe(&event);
        match event {
            Event::Response(response) => {
                answered += 1;
                if let Some(why) = response.refusal() {
                    refused += 1;
                    println!("refused: {why}");
                } else if !response.body().is_empty() {
                    println!("{}", String::from_utf8_lossy(response.body()));
                }
                if let Some(command) = commands.next() {
                    asked += 1;
                    ask(&mut outbox, group.message(), server, command)?;
                } else if answered == asked {
                    // Its answer confirms all that was sent before.
                    let _ = outbox.post(group.message().bye(server)); // refused if it has gone
                }
            }
            // The server does not have this one, and never will.
            Event::Returned(returned) => println!("not sent: {returned:?}"),
            // Always a channel's last event.
            Event::Closed(closed) => {
                println!("{answered} of {asked} answered, {refused} refused; {closed}");
                return match closed.reason() {
                    Reason::Bye => Ok(()),
                    reason => Err(reason.into()),
                };
            }
            _ => {}
        }
    }
    Ok(())
}

fn ask(
    outbox: &mut Outbox,
    message: Message,
    server: Channel,
    command: Command,
) -> Result<(), MessageError> {
    let message = match command {
        Command::Set(key, value) => message
            .with_header("Set", key)?
            .with_body(value.as_bytes())?,
        Command::Get(key) => message.with_header("Get", key)?,
    };
    if let Err(refused) = outbox.post(message.request(server)) {
        println!("{refused}"); // the server has gone, or would not have us: its Closed will say
    }
    Ok(())
}

fn read_commands(mut words: impl Iterator<Item = String>) -> Result<Vec<Command>, Box<dyn Error>> {
    let mut commands = Vec::new();
    while let Some(word) = words.next() {
        let argument = words.next().ok_or("a command lacks its argument")?;
        match word.as_str() {
            "set" => {
                let value = words.next().ok_or("set what to what?")?;
                commands.push(Command::Set(argument, value));
            }
            "get" => commands.push(Command::Get(argument)),
            "load" => {
                let count: u64 = argument.parse()?;
                let set = |number: u64| Command::Set(format!("key {number}"), number.to_string());
                commands.extend((0..count).map(set));
            }
            _ => return Err(format!("`{word}` is none of set, get and load").into()),
        }
    }
    Ok(commands)
}

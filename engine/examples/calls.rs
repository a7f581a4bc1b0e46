//! Calls under tokio: many tasks ask one server at once, and each gets its own answer.
//!
//! ```text
//! cargo run --example server -- tcp://127.0.0.1:7000
//! cargo run --example calls -- tcp://127.0.0.1:7000 64 1000
//! ```
//!
//! The numbers are tasks, and calls of each. Kill the server in the middle to see the outcomes.

use std::env;
use std::error::Error;
use std::time::{Duration, Instant};

use ampe::{
    Address, CallError, Channel, ChannelGroup, Engine, Event, GroupOptions, Inbox, Options,
};
use tokio::runtime::Runtime;
use tokio::task::{JoinSet, spawn_blocking};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of the calls. No two of these mean the same to whoever has to go on.
#[derive(Default, Debug)]
struct Outcomes {
    answered: u64,
    /// The server has it and will not. To ask again would not help.
    refused: u64,
    /// The server does not have it. It is safe to ask another, or again.
    not_sent: u64,
    /// It went out and nobody knows. To ask again might do it twice.
    unknown: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    // Any executor will do: the engine brings none and asks for none.
    Runtime::new()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let address: Address = words.next().ok_or("give the server's address")?.parse()?;
    let tasks: u64 = words.next().as_deref().unwrap_or("64").parse()?;
    let calls: u64 = words.next().as_deref().unwrap_or("1000").parse()?;

    let engine = Engine::start(Options::default())?;
    let (group, inbox) = engine.group(GroupOptions::default())?;
    let server = group.connect(&address)?;
    let events = tokio::spawn(watch(inbox));

    let mut asking = JoinSet::new();
    for task in 0..tasks {
        asking.spawn(ask(group.clone(), server, task, calls));
    }
    let mut total = Outcomes::default();
    while let Some(outcomes) = asking.join_next().await {
        let outcomes = outcomes?;
        total.answered += outcomes.answered;
        total.refused += outcomes.refused;
        total.not_sent += outcomes.not_sent;
        total.unknown += outcomes.unknown;
    }
    println!("{total:?}");

    // Refused where the server has gone: then the watcher has seen the end already.
    let _ = group.send(group.message().bye(server)).await;
    let inbox = events.await?;
    // Dropping an inbox waits for what was posted, so it is for a thread that may block.
    spawn_blocking(move || drop((inbox, engine))).await?;
    Ok(())
}

/// Asks one after the other, as a task of a service would.
async fn ask(group: ChannelGroup, server: Channel, task: u64, calls: u64) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for call in 0..calls {
        let value = format!("{task}/{call}");
        let request = group.message().with_header("Set", format!("task {task}"));
        let request = request.and_then(|message| message.with_body(value.as_bytes()));
        let request = request.expect("it is short");
        match group.call(server, request, Instant::now() + PATIENCE).await {
            Ok(_) => outcomes.answered += 1,
            Err(CallError::Refused { .. }) => outcomes.refused += 1,
            // `it.message` is the request, for another channel.
            Err(CallError::NotSent(it)) => {
                outcomes.not_sent += 1;
                println!("task {task}: {it}");
                break; // this channel takes nothing more
            }
            Err(error) => {
                outcomes.unknown += 1;
                println!("task {task}: {error}");
            }
        }
    }
    outcomes
}

/// Receives what belongs to no call: above all the end of the connection.
async fn watch(mut inbox: Inbox) -> Inbox {
    while let Ok(event) = inbox.recv_async().await {
        if let Event::Closed(closed) = event {
            println!("{closed}");
            break;
        }
    }
    inbox
}

use std::env;
use std::error::Error;
use std::time::Duration;

use ampe::{Engine, Event, GroupOptions, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let address = words.next().ok_or("give the server's address")?.parse()?;
    let what = words.collect::<Vec<_>>().join(" ");
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    let server = group.connect(&address)?;
    let answer = service::ask(&group, server, what.as_bytes(), Duration::from_secs(5))?;
    println!("{}", String::from_utf8_lossy(&answer));
    let _ = group.post(group.message().bye(server)); // refused if it has gone
    let closed = inbox.iter().find(|event| matches!(event, Event::Closed(_)));
    println!("{}", closed.ok_or("each channel has an end")?);
    Ok(())
}

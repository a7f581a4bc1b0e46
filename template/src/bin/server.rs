use std::env;
use std::error::Error;

use ampe::{Engine, GroupOptions, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1);
    let address = address
        .as_deref()
        .unwrap_or("tcp://127.0.0.1:7000")
        .parse()?;
    let engine = Engine::start(Options::default())?;
    let (group, inbox) = engine.group(GroupOptions::default())?;
    let stopping = group.clone();
    ctrlc::set_handler(move || {
        let _ = stopping.notify(stopping.message()); // refused if it stops already
    })?;
    service::serve(&group, inbox, &address, |address| {
        println!("listening on {address}")
    })
}

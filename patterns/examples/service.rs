//! A service with several listeners and workers, which a signal ends in good order.
//!
//! ```text
//! cargo run -p ampe-patterns --example service -- serve 4 tcp://127.0.0.1:7000 tcp://127.0.0.1:7001
//! cargo run -p ampe-patterns --example service -- ask tcp://127.0.0.1:7000 1000
//! ```
//!
//! It counts the prime numbers below that which it is asked. Ctrl-C, or SIGTERM, has it answer what it has taken,
//! say goodbye to its clients, and tell what became of all requests.

use std::error::Error;
use std::time::{Duration, Instant};
use std::{env, thread};

use ampe::{Address, CallError, ChannelGroup, Engine, Event, GroupOptions, Options};
use ampe_patterns::service::{Served, Service, Taken, Workers};

/// How long an end in good order may take.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", workers, ref addresses @ ..] => serve(workers.parse()?, addresses),
        ["ask", address, below] => ask(&address.parse()?, below.parse()?),
        _ => Err("give a role, as the first lines of this example do".into()),
    }
}

fn serve(workers: usize, addresses: &[&str]) -> Result<(), Box<dyn Error>> {
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    for address in addresses {
        group.listen(&address.parse()?)?;
    }
    let mut service = Service::new(group.clone());
    let stopper = service.stopper();
    ctrlc::set_handler(move || stopper.drain(PATIENCE))?;

    let workers = Workers::start(workers, move |request| answer(&group, request))?;
    let account = loop {
        match service.recv(&mut inbox)? {
            Served::Listening(it) => println!("listening on {}", it.address()),
            Served::NotListening(closed) => return Err(closed.to_string().into()),
            Served::Hello(hello) => service.accept(hello),
            Served::Request(request) => workers.hand(request),
            Served::Gone(client) => println!("{client}"),
            Served::Drained(account) => break account,
            _ => {}
        }
    };
    println!("{account}");
    workers.join();
    Ok(())
}

fn answer(group: &ChannelGroup, request: Taken) {
    let text = String::from_utf8_lossy(request.body()).into_owned();
    let Ok(below) = text.parse::<u32>() else {
        return request.refuse("that is no number");
    };
    let is_prime = |number: &u32| (2..*number).all(|divisor| !number.is_multiple_of(divisor));
    let primes = (2..below).filter(is_prime).count().to_string();
    match group.message().with_body(primes.as_bytes()) {
        Ok(answer) => request.reply(answer),
        Err(why) => request.refuse(&why.to_string()),
    }
}

/// Asks below 0, below 1, and so on, until it has asked so many times or the service says goodbye.
fn ask(address: &Address, times: u32) -> Result<(), Box<dyn Error>> {
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    let service = group.connect(address)?;
    // A goodbye of the service's is answered where its event is dropped.
    let events = thread::spawn(move || {
        let is_end = |event: &Event| matches!(event, Event::Closed(_));
        let end = inbox.iter().find(is_end);
        (inbox, end)
    });
    for below in 0..times {
        let question = group.message().with_body(below.to_string().as_bytes())?;
        match group
            .call(service, question, Instant::now() + PATIENCE)
            .wait()
        {
            Ok(answer) => {
                let primes = String::from_utf8_lossy(answer.body());
                println!("{primes} prime numbers below {below}");
            }
            Err(CallError::Refused { why, .. }) => {
                println!("refused: {why}");
                break;
            }
            // Not sent: it is safe to ask another. Unknown: it crossed the goodbye.
            Err(other) => {
                println!("{other}");
                break;
            }
        }
    }
    let _ = group.post(group.message().bye(service)); // refused if it has gone
    if let Ok((_inbox, Some(Event::Closed(closed)))) = events.join() {
        println!("{closed}");
    }
    Ok(())
}

//! A conversation as the protocol was made for: a client hands a print job to a printer.
//!
//! ```text
//! cargo run --example print_job -- printer tcp://127.0.0.1:7000
//! cargo run --example print_job -- client tcp://127.0.0.1:7000 5
//! ```
//!
//! | client | printer |
//! |---|---|
//! | HelloRequest with the job ticket | HelloResponse, or a refusal |
//! | a Request for each page, of one id, all but the last with `more` | a Signal of that id for each page printed |
//! | | the Response, once all are printed |
//! | ByeRequest | ByeResponse |

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use ampe::{Address, Engine, Event, GroupOptions, Options, Outbox, Reason};

/// What belongs together has one id. It is the client's to choose.
const JOB: u64 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["printer", address] => print(&address.parse()?),
        ["client", address, pages] => submit(&address.parse()?, pages.parse()?),
        _ => Err("give a role, as the first lines of this example do".into()),
    }
}

fn print(address: &Address) -> Result<(), Box<dyn Error>> {
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    group.listen(address)?;
    let mut outbox = Outbox::new(group.clone(), 1 << 20);
    let mut pages = HashMap::new(); // of each channel
    for event in inbox.iter() {
        outbox.observe(&event);
        let post = match event {
            Event::Listening(listening) => {
                println!("listening on {}", listening.address());
                continue;
            }
            // Who comes without a ticket is turned away before anything else is said.
            Event::Hello(hello) => match hello.text_headers().get_text("Job-Ticket") {
                Some(ticket) => {
                    println!("{}: {ticket}", hello.channel());
                    hello.accept(group.message())
                }
                None => hello.refuse("no job ticket"),
            },
            Event::Request(page) => {
                let count = pages.entry(page.channel()).or_insert(0);
                *count += 1;
                println!("{}: {}", page.channel(), page.message());
                let mut said = group.message();
                write!(said, "page {count} printed")?; // appends to the body
                // More pages follow: this is progress. It was the last: this is the answer.
                match page.has_more() {
                    true => said.signal(page.channel()).with_id(page.id()),
                    false => page.reply(said),
                }
            }
            Event::Bye(bye) => bye.answer(group.message()),
            Event::Closed(closed) => {
                pages.remove(&closed.channel());
                println!("{closed}");
                continue;
            }
            _ => continue,
        };
        if let Err(refused) = outbox.post(post) {
            println!("{refused}"); // the client has gone, or reads nothing of its progress
        }
    }
    Ok(())
}

fn submit(address: &Address, pages: u64) -> Result<(), Box<dyn Error>> {
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    // Content in the very first message: the printer can decide before it gets anything else.
    let ticket = format!("{pages} pages, two-sided");
    let hello = group.message().with_header("Job-Ticket", ticket)?;
    let printer = group.post(hello.hello(address))?.channel;
    for number in 1..=pages {
        let mut page = group.message();
        write!(page, "this is page {number}")?;
        let page = page.request(printer).with_id(JOB);
        let page = if number < pages { page.more() } else { page };
        // Waits where the printer is behind; all that it says meanwhile is in the inbox.
        let deadline = Instant::now() + Duration::from_secs(60);
        if group.post_wait(page, deadline).is_err() {
            break; // refused or gone: its Closed says why
        }
    }
    for event in inbox.iter() {
        match event {
            Event::Accepted(_) => println!("accepted"),
            Event::Signal(progress) => println!("{}", progress.message()),
            Event::Response(done) => {
                println!("done: {}", done.message());
                let _ = group.post(group.message().bye(printer)); // refused if it has gone
            }
            Event::ByeResponse(refusal) if refusal.text_headers().get("Reason").is_some() => {
                println!("refused: {:?}", refusal.text_headers().get_text("Reason"));
            }
            Event::Closed(closed) if closed.reason() == Reason::Bye => return Ok(()),
            Event::Closed(closed) => return Err(closed.reason().into()),
            _ => {}
        }
    }
    Ok(())
}

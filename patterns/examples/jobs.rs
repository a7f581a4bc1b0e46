//! A work queue whose workers may be killed, and may leave, at any moment. Each job ends, and it is known how.
//!
//! ```text
//! cargo run -p ampe-patterns --example jobs -- queue tcp://127.0.0.1:7000 1000
//! cargo run -p ampe-patterns --example jobs -- work tcp://127.0.0.1:7000     (several)
//! ```
//!
//! `kill -9` a worker: what it may have done, another does with a mark. Ctrl-C, or SIGTERM, has a worker finish the
//! job that it is at, give the others back, and go: then there is nothing to mark.

use std::env;
use std::error::Error;
use std::thread;
use std::time::Duration;

use ampe::{Address, Engine, Event, GroupOptions, Options, Reason};
use ampe_patterns::work_queue::{Queued, WorkQueue, Worker, Working};

/// How long one job takes.
const WORK: Duration = Duration::from_millis(2);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["queue", address, jobs] => queue(&address.parse()?, jobs.parse()?),
        ["work", address] => work(&address.parse()?),
        _ => Err("give a role, as the first lines of this example do".into()),
    }
}

fn queue(address: &Address, jobs: u64) -> Result<(), Box<dyn Error>> {
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    group.listen(address)?;
    let mut queue = WorkQueue::new(group.clone());
    let mut next = 1..=jobs;
    let mut refused = None; // there were too many that have not ended
    while !queue.is_empty() || !next.is_empty() || refused.is_some() {
        while let Some(job) = refused.take().or_else(|| next.next()) {
            let message = group.message().with_body(job.to_string().as_bytes())?;
            if queue.add(message).is_err() {
                refused = Some(job);
                break;
            }
        }
        match queue.recv(&mut inbox)? {
            Queued::Hello(hello) => queue.accept(hello),
            Queued::Done(done) if done.is_maybe_twice => {
                println!("done, maybe twice: {}", done.job)
            }
            Queued::Done(_) => {}
            Queued::Failed(failed) => println!("failed: {}: {}", failed.job, failed.why),
            Queued::Gone(gone) => {
                println!("{}", gone.closed);
                println!("maybe done: {:?}; unknown: {:?}", gone.again, gone.unknown);
            }
            Queued::Other(Event::Listening(it)) => println!("listening on {}", it.address()),
            _ => {}
        }
    }
    queue.dismiss();
    while queue.workers() > 0 {
        queue.recv(&mut inbox)?;
    }
    println!("{}", queue.account());
    Ok(())
}

fn work(address: &Address) -> Result<(), Box<dyn Error>> {
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    let mut worker = Worker::new(group.clone(), address.clone(), 8);
    let leaver = worker.leaver();
    ctrlc::set_handler(move || leaver.leave())?;
    loop {
        match worker.recv(&mut inbox)? {
            Working::Up(peer) => println!("connected to {peer}"),
            Working::Job(job) => {
                thread::sleep(WORK);
                println!("job {}", String::from_utf8_lossy(job.body()));
                match job.body() {
                    b"13" => job.failed("not that one"),
                    _ => job.done(group.message()),
                }
            }
            Working::Down(down) if down.closed.reason() == Reason::Bye => break, // dismissed
            Working::Down(down) => println!("{}", down.closed),
            Working::Left => break,
            _ => {}
        }
    }
    println!("left");
    Ok(())
}

//! A work queue whose workers may be killed at any moment: no job is lost, and those that may have been done
//! twice are known.
//!
//! ```text
//! cargo run --example work_queue -- boss tcp://127.0.0.1:7000 1000
//! cargo run --example work_queue -- worker tcp://127.0.0.1:7000      (several)
//! ```
//!
//! Now `kill -9` a worker. Its jobs are of two kinds. What was *returned*, the worker cannot have: another
//! does it, for the first time for sure. What was sent and not answered, it may have done or not: another
//! gets it with the header `Maybe-Twice`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::error::Error;
use std::time::Duration;
use std::{env, thread};

use ampe::{Address, Channel, Engine, Event, GroupOptions, Options};

/// So many jobs each worker has at hand: enough to be busy while answers travel, and few enough to be
/// given to others when it dies.
const WINDOW: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["boss", address, jobs] => boss(&address.parse()?, jobs.parse()?),
        ["worker", address] => work(&address.parse()?),
        _ => Err("give a role, as the first lines of this example do".into()),
    }
}

fn boss(address: &Address, jobs: u64) -> Result<(), Box<dyn Error>> {
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    group.listen(address)?;
    let mut open: VecDeque<u64> = (1..=jobs).collect();
    let mut maybe_twice: HashSet<u64> = HashSet::new();
    let mut at_hand: HashMap<Channel, HashSet<u64>> = HashMap::new(); // of each worker
    let (mut done, mut returned) = (0, 0);

    while done < jobs {
        match inbox.recv()? {
            Event::Listening(listening) => println!("listening on {}", listening.address()),
            Event::Hello(hello) => {
                at_hand.insert(hello.channel(), HashSet::new());
                let _ = group.post(hello.accept(group.message())); // refused if it has gone
            }
            // A job's number is the id of its request, and so of its answer.
            Event::Response(response) => {
                let of_worker = at_hand.get_mut(&response.channel());
                if of_worker.is_some_and(|jobs| jobs.remove(&response.id())) {
                    done += 1;
                }
            }
            // The worker does not have it, for sure.
            Event::Returned(it) => {
                let of_worker = at_hand.get_mut(&it.channel());
                if of_worker.is_some_and(|jobs| jobs.remove(&it.id())) {
                    returned += 1;
                    open.push_front(it.id());
                }
            }
            // What is left was sent, and nobody knows what became of it.
            Event::Closed(closed) => {
                let unknown = at_hand.remove(&closed.channel()).unwrap_or_default();
                println!("{}; {} jobs unknown", closed.reason(), unknown.len());
                maybe_twice.extend(&unknown);
                open.extend(unknown);
            }
            _ => {}
        }
        for (&worker, at_hand) in &mut at_hand {
            while at_hand.len() < WINDOW
                && let Some(job) = open.pop_front()
            {
                let mut message = group.message().with_body(format!("job {job}").as_bytes())?;
                if maybe_twice.contains(&job) {
                    message.add_header("Maybe-Twice", "yes")?;
                }
                if group.post(message.request(worker).with_id(job)).is_err() {
                    // There is no room, or the worker has ended. An event will tell.
                    open.push_front(job);
                    break;
                }
                at_hand.insert(job);
            }
        }
    }
    let twice = maybe_twice.len();
    println!("{done} jobs done; {returned} came back, {twice} were maybe done twice");
    for &worker in at_hand.keys() {
        let _ = group.post(group.message().bye(worker)); // refused if it has gone
    }
    inbox.close(Duration::from_secs(5));
    Ok(())
}

fn work(address: &Address) -> Result<(), Box<dyn Error>> {
    let engine = Engine::start(Options::default())?;
    let (group, mut inbox) = engine.group(GroupOptions::default())?;
    group.connect(address)?;
    for event in inbox.iter() {
        match event {
            Event::Request(request) => {
                thread::sleep(Duration::from_millis(2)); // the work
                println!("{}", String::from_utf8_lossy(request.body()));
                // No more than a window waits, so there is room. Refused if the boss has gone.
                let _ = group.post(request.reply(group.message()));
            }
            Event::Closed(_) => break,
            _ => {} // a goodbye is answered where its event is dropped
        }
    }
    Ok(())
}

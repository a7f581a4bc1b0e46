//! A service that is tested on a simulated network, where connections break: its defect is found in no time.
//!
//! ```text
//! cargo run --example simulated --features testing
//! ```
//!
//! The service adds numbers up. Its client asks again where it does not know whether a request was served: so what was
//! served may be added twice. With a number on each request, which the service remembers, it is not.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use ampe::testing::{Handle, Simulation, for_each_seed};
use ampe::{Address, ChannelGroup, Event, GroupOptions, Inbox, Options};

/// So many times the client adds 1.
const ADDED: u64 = 20;

const SECOND: Duration = Duration::from_secs(1);

/// What is tested. The sum is in a cell so that the test can look.
async fn serve(group: ChannelGroup, mut inbox: Inbox, remembers: bool, sum: Rc<Cell<u64>>) {
    let mut served = BTreeSet::new();
    while let Ok(event) = inbox.recv_async().await {
        if let Event::Request(request) = event {
            let is_new = served.insert(request.body().to_vec());
            if is_new || !remembers {
                sum.set(sum.get() + 1);
            }
            let _ = group.send(request.reply(group.message())).await; // refused if the client has gone
        }
    }
}

/// Adds 1, and asks until there is an answer. The body tells one request from another.
async fn add(handle: &Handle, group: &ChannelGroup, server: &Address, number: u64) {
    loop {
        let channel = group.connect(server).expect("few connections");
        let request = group.message().with_body(&number.to_be_bytes());
        let request = request.expect("a short body");
        if group
            .call(channel, request, handle.now() + SECOND)
            .await
            .is_ok()
        {
            let _ = group.send(group.message().bye(channel)).await; // refused if it has gone
            return;
        }
        handle.sleep(SECOND / 10).await;
    }
}

/// One run: what the service has added up, with connections that break now and then.
fn run(simulation: &mut Simulation, remembers: bool) -> u64 {
    let address: Address = "tcp://adder:7000".parse().expect("an address");
    let sum = Rc::new(Cell::new(0));
    let server = simulation.engine(Options::default()).expect("fair options");
    let (group, inbox) = server.group(GroupOptions::default()).expect("it runs");
    group.listen(&address).expect("few listeners");
    simulation.spawn(serve(group, inbox, remembers, Rc::clone(&sum)));
    simulation.run_for(SECOND); // by then it listens

    let handle = simulation.handle();
    simulation.spawn(async move {
        for pause in 1..10 {
            handle
                .sleep(Duration::from_micros(3000 * pause + handle.seed() % 1000))
                .await;
            handle.break_connections();
        }
    });

    let handle = simulation.handle();
    let client = simulation.engine(Options::default()).expect("fair options");
    simulation.run(async move {
        let (group, mut inbox) = client.group(GroupOptions::default()).expect("it runs");
        // What comes beside the answers: the ends of channels, after which their numbers are free again.
        handle.spawn(async move { while inbox.recv_async().await.is_ok() {} });
        for number in 0..ADDED {
            add(&handle, &group, &address, number).await;
        }
    });
    sum.get()
}

/// The first seed of a run in which the service has added up something else.
fn first_wrong(seeds: u64, remembers: bool) -> Option<(u64, u64)> {
    (0..seeds).find_map(|seed| {
        let sum = run(&mut Simulation::new(seed), remembers);
        (sum != ADDED).then_some((seed, sum))
    })
}

fn main() {
    match first_wrong(1000, false) {
        Some((seed, sum)) => println!("seed {seed}: {ADDED} were added, and the sum is {sum}"),
        None => println!("no run shows the defect"),
    }
    for_each_seed(200, |mut simulation| {
        assert_eq!(run(&mut simulation, true), ADDED)
    });
    println!("with numbers that are remembered, 200 runs are right");
}

#[test]
fn the_defect_is_found_and_its_mending_holds() {
    assert!(first_wrong(1000, false).is_some());
    assert_eq!(first_wrong(100, true), None);
}

//! The examples, as processes that talk to each other.
//!
//! Cargo builds them with the tests, unless it is told to build this one alone.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

/// That of the engine's tests.
#[path = "../../engine/tests/common/example.rs"]
mod example;
#[path = "../../engine/tests/common/skip.rs"]
mod skip;

/// What the engine's tests have in a module of this name.
mod common {
    pub(crate) use crate::skip::skip;

    pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
}

use std::collections::HashSet;

use example::{LOCAL, check_lengths, says, start};

/// Has it end in good order.
#[cfg(unix)]
fn terminate(example: &example::Example) {
    use rustix::process::{Pid, Signal, kill_process};
    kill_process(Pid::from_child(&example.child), Signal::TERM).unwrap();
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_service_that_answers_what_it_has_taken() {
    let Some(mut service) = start("service", &["serve", "2", LOCAL, LOCAL]) else {
        return;
    };
    let (first, second) = (service.address(), service.address());
    let said = start("service", &["ask", &first, "12"]).unwrap().end_well();
    assert!(says(&said, "5 prime numbers below 12") || says(&said, "4 prime numbers below 11"));
    let mut asking = [&first, &second].map(|it| start("service", &["ask", it, "1000000"]).unwrap());
    for client in &mut asking {
        client.line("8 prime numbers below 20");
    }
    terminate(&service);
    for client in asking {
        let said = client.end_well();
        assert!(says(&said, "both sides said goodbye"), "{said:#?}");
    }
    let said = service.end_well();
    // A request that crossed the goodbye was refused, and its client did not hear it.
    assert!(says(&said, " 0 unanswered; "), "{said:#?}");
    assert!(says(&said, "; 3 clients, 0 let go"), "{said:#?}");
}

#[test]
fn every_job_ends_though_workers_are_killed_and_leave() {
    const KILLED: usize = 5;
    let Some(mut queue) = start("jobs", &["queue", LOCAL, "1000"]) else {
        return;
    };
    let address = queue.address();
    let mut workers = Vec::new();
    for _ in 0..KILLED {
        let mut worker = start("jobs", &["work", &address]).unwrap();
        // In the middle: it has done fifteen, and has more at hand.
        for _ in 0..15 {
            worker.line("job ");
        }
        worker.child.kill().unwrap();
        workers.push(worker);
    }
    for _ in 0..3 {
        workers.push(start("jobs", &["work", &address]).unwrap());
    }
    #[cfg(unix)]
    {
        workers[KILLED].line("job ");
        terminate(&workers[KILLED]);
    }
    let mut begun: Vec<u64> = Vec::new();
    for (index, worker) in workers.into_iter().enumerate() {
        let said = match index < KILLED {
            true => worker.end().1,
            false => worker.end_well(),
        };
        let jobs = said.iter().filter_map(|line| line.strip_prefix("job "));
        begun.extend(jobs.map(|job| job.parse::<u64>().unwrap()));
    }
    let said = queue.end_well();
    let of = |text: &str| -> HashSet<u64> {
        let jobs = said.iter().filter_map(|line| line.strip_prefix(text));
        jobs.map(|it| it.split(':').next().unwrap().parse().unwrap())
            .collect()
    };
    let (twice, failed) = (of("done, maybe twice: "), of("failed: "));
    assert_eq!(failed, HashSet::from([13]));
    // Whatever was begun twice is marked.
    let mut distinct = HashSet::new();
    for job in begun {
        assert!(
            distinct.insert(job) || twice.contains(&job),
            "{job} was done twice"
        );
    }
    assert_eq!(distinct, (1..=1000).collect());
    assert!(
        says(
            &said,
            "1000 jobs added, 999 done, 1 failed, 0 unknown, 0 open"
        ),
        "{said:#?}"
    );
    assert!((1..=8 * KILLED).contains(&twice.len()), "{said:#?}");
}

#[test]
fn subscribers_come_back_to_a_publisher_that_was_killed() {
    // A port that is free again when the publisher is started a second time.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", port.local_addr().unwrap());
    drop(port);
    let Some(mut publisher) = start("topics", &["publisher", &address]) else {
        return;
    };
    publisher.address();
    let topics: [&[&str]; 2] = [&["weather.*", "news"], &["sports"]];
    let mut subscribers = topics.map(|topics| {
        let arguments = [&["subscriber", address.as_str()], topics].concat();
        start("topics", &arguments).unwrap()
    });
    for life in ["first", "second"] {
        for subscriber in &mut subscribers {
            subscriber.line("connected to");
            publisher.line("is here");
        }
        publisher.type_line(&format!("weather.kyiv {life} rain"));
        publisher.line("published to 1");
        publisher.type_line(&format!("sports {life} goal"));
        publisher.line("published to 1");
        publisher.type_line(&format!("weather {life}"));
        publisher.line("published to 0");
        subscribers[0].line(&format!("weather.kyiv: {life} rain (0 missed)"));
        subscribers[1].line(&format!("sports: {life} goal (0 missed)"));
        if life == "first" {
            publisher.child.kill().unwrap();
            publisher.end();
            publisher = start("topics", &["publisher", &address]).unwrap();
        }
    }
    publisher.type_line("who");
    publisher.line("1 wanted, 1 posted, 0 returned, 0 dropped, 0 waiting");
    publisher.input = None;
    let said = publisher.end_well();
    assert!(says(&said, "both sides said goodbye"), "{said:#?}");
    for subscriber in subscribers {
        subscriber.end_well();
    }
}

/// What is typed in from the page of an example has to be short.
#[test]
fn no_example_is_long() {
    check_lengths(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"));
}

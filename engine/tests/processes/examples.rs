//! The examples, as processes that talk to each other.
//!
//! Cargo builds them with the tests, unless it is told to build this one alone.

#[path = "../common/example.rs"]
mod example;

use std::collections::HashSet;
use std::fs;

use crate::common::{place, transports};
use example::{LOCAL, check_lengths, says, start};

#[test]
fn a_client_gets_what_the_server_stores() {
    for transport in transports() {
        let place = place(transport);
        let address = place.address.to_string();
        let Some(mut server) = start("server", &[&address]) else {
            return;
        };
        let address = server.address();
        let commands = ["set", "colour", "blue", "get", "colour", "get", "size"];
        let client = start("client", &[&[address.as_str()], &commands[..]].concat()).unwrap();
        let said = client.end_well();
        assert!(said.contains(&"blue".to_owned()), "{said:#?}");
        assert!(says(&said, "refused: no such key"), "{said:#?}");
        assert!(says(&said, "3 of 3 answered, 1 refused"), "{said:#?}");

        let clients = [(); 3].map(|()| start("client", &[&address, "load", "5000"]).unwrap());
        for client in clients {
            let said = client.end_well();
            assert!(says(&said, "5000 of 5000 answered, 0 refused"), "{said:#?}");
        }
        server.type_line("");
        let said = server.end_well();
        assert!(says(&said, "stopped; 0 answers not sent"), "{said:#?}");
    }
}

#[test]
fn a_client_without_a_server_says_so() {
    // Nobody is at this address any more.
    let Some(mut server) = start("server", &[LOCAL]) else {
        return;
    };
    let address = server.address();
    server.kill();
    server.end();
    let (status, said) = start("client", &[&address, "get", "colour"]).unwrap().end();
    assert!(!status.success(), "{said:#?}");
    assert!(says(&said, "not sent"), "{said:#?}");
}

#[cfg(unix)]
#[test]
fn one_loop_waits_for_what_is_typed_and_what_is_answered() {
    let Some(mut server) = start("server", &[LOCAL]) else {
        return;
    };
    let address = server.address();
    start("client", &[&address, "set", "colour", "blue"])
        .unwrap()
        .end_well();
    let mut asking = start("event_loop", &[&address]).unwrap();
    asking.line("connected to tcp://127.0.0.1:");
    for _ in 0..3 {
        asking.type_line("colour");
        asking.line("blue");
    }
    asking.type_line("size");
    asking.line("refused: no such key");
    asking.input = None;
    let said = asking.end_well();
    assert!(says(&said, "both sides said goodbye"), "{said:#?}");
}

/// As systemd starts it, with a socket as descriptor 3 and what says so in the environment.
#[cfg(unix)]
#[test]
fn a_service_listens_on_the_socket_that_it_inherits() {
    use std::os::fd::OwnedFd;
    use std::process::Command;
    use std::time::Instant;

    use crate::common::PATIENCE;
    use example::{path, run};

    let Some(path) = path("activated") else {
        return;
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" 3<&0 </dev/null",
        ])
        .arg(path)
        .stdin(OwnedFd::from(listener));
    let mut service = run("activated", shell);
    assert_eq!(service.address(), address);
    let engine = crate::common::engine();
    let (group, _inbox) = crate::common::group(&engine);
    let channel = group.connect(&address.parse().unwrap()).unwrap();
    let request = engine.message().with_body(b"are you up?").unwrap();
    let answer = group
        .call(channel, request, Instant::now() + PATIENCE)
        .wait();
    assert_eq!(answer.unwrap().body(), b"are you up?");
}

#[test]
fn calls_of_many_tasks_are_answered() {
    let Some(mut server) = start("server", &[LOCAL]) else {
        return;
    };
    let address = server.address();
    let said = start("calls", &[&address, "16", "100"]).unwrap().end_well();
    assert!(says(&said, "answered: 1600"), "{said:#?}");
}

#[test]
fn calls_end_when_the_server_is_killed() {
    let Some(mut server) = start("server", &[LOCAL]) else {
        return;
    };
    let address = server.address();
    let calls = start("calls", &[&address, "16", "1000000000"]).unwrap();
    server.line("#"); // a client is here
    server.kill();
    let said = calls.end_well();
    assert!(says(&said, "answered: "), "{said:#?}");
}

#[test]
fn every_job_is_done_though_a_worker_is_killed() {
    const JOBS: u64 = 1000;
    let Some(mut boss) = start("work_queue", &["boss", LOCAL, &JOBS.to_string()]) else {
        return;
    };
    let address = boss.address();
    let mut first = start("work_queue", &["worker", &address]).unwrap();
    // In the middle: it has done five, and has more at hand.
    for _ in 0..5 {
        first.line("job ");
    }
    first.kill();
    let others = [(); 2].map(|()| start("work_queue", &["worker", &address]).unwrap());
    let mut done = HashSet::new();
    let workers = [first].into_iter().chain(others);
    for (index, worker) in workers.enumerate() {
        let said = if index == 0 {
            worker.end().1
        } else {
            worker.end_well()
        };
        let jobs = said.iter().filter_map(|line| line.strip_prefix("job "));
        done.extend(jobs.map(|job| job.parse::<u64>().unwrap()));
    }
    assert_eq!(done, (1..=JOBS).collect::<HashSet<u64>>());
    let said = boss.end_well();
    assert!(says(&said, &format!("{JOBS} jobs done")), "{said:#?}");
    assert!(says(&said, " jobs unknown"), "{said:#?}");
}

#[test]
fn a_print_job_is_printed_and_its_progress_told() {
    let Some(mut printer) = start("print_job", &["printer", LOCAL]) else {
        return;
    };
    let address = printer.address();
    let client = start("print_job", &["client", &address, "20"]).unwrap();
    let said = client.end_well();
    let mut progress = (1..20).map(|page| format!("\"page {page} printed\""));
    assert!(progress.all(|text| says(&said, &text)), "{said:#?}");
    assert!(
        said.last().unwrap().contains("\"page 20 printed\""),
        "{said:#?}"
    );
    printer.line("20 pages, two-sided");

    // Another program, without a ticket.
    let (status, said) = start("client", &[&address, "get", "colour"]).unwrap().end();
    assert!(!status.success(), "{said:#?}");
    assert!(says(&said, "the peer refused"), "{said:#?}");
}

#[test]
fn a_file_arrives_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let content: Vec<u8> = (0_u32..3_000_000).flat_map(u32::to_le_bytes).collect();
    fs::write(file("original"), &content).unwrap();
    let copy = file("copy");
    let Some(mut receiver) = start("stream_file", &["receive", LOCAL, &copy]) else {
        return;
    };
    let sender = start(
        "stream_file",
        &["send", &receiver.address(), &file("original")],
    );
    let said = sender.unwrap().end_well();
    assert!(says(&said, "12000000 bytes sent, and stored"), "{said:#?}");
    receiver.end_well();
    assert!(fs::read(&copy).unwrap() == content, "the copy differs");

    // Something else connects, and has gone before any end.
    let other = file("other");
    let mut receiver = start("stream_file", &["receive", LOCAL, &other]).unwrap();
    let mut chat = start("chat", &["ann", LOCAL, &receiver.address()]).unwrap();
    chat.line("is here");
    chat.kill();
    let (status, said) = receiver.end();
    assert!(!status.success(), "{said:#?}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn a_subscriber_that_never_reads_keeps_nobody_else_waiting() {
    const BULLETINS: u64 = 700;
    let bulletins = BULLETINS.to_string();
    let Some(mut publisher) = start("publish", &["publisher", LOCAL, "4", &bulletins]) else {
        return;
    };
    let address = publisher.address();
    let deaf = start("publish", &["deaf", &address]).unwrap();
    let subscribers = [(); 3].map(|()| start("publish", &["subscriber", &address]).unwrap());
    for subscriber in subscribers {
        let said = subscriber.end_well();
        let account = said
            .iter()
            .find_map(|line| line.split_once(" received, "))
            .unwrap();
        let received: u64 = account.0.parse().unwrap();
        let missed: u64 = account.1.split_once(" missed").unwrap().0.parse().unwrap();
        // Missed are those between the first and the last that it got.
        assert!(received > 0 && received + missed <= BULLETINS, "{said:#?}");
        assert!(says(&said, "goodbye"), "{said:#?}");
    }
    let said = publisher.end_well();
    assert_eq!(
        said.iter()
            .filter(|line| line.contains("aborted here"))
            .count(),
        1,
        "{said:#?}"
    );
    drop(deaf);
}

#[test]
fn everybody_in_a_chat_hears_everybody() {
    let Some(mut ann) = start("chat", &["ann", LOCAL]) else {
        return;
    };
    let ann_is_at = ann.address();
    let mut bob = start("chat", &["bob", LOCAL, &ann_is_at]).unwrap();
    let bob_is_at = bob.address();
    bob.line("ann is here");
    let mut cid = start("chat", &["cid", LOCAL, &ann_is_at, &bob_is_at]).unwrap();
    ann.line("cid is here");
    bob.line("cid is here");
    for _ in 0..2 {
        cid.line(" is here");
    }
    ann.type_line("good morning");
    bob.line("ann: good morning");
    cid.line("ann: good morning");
    cid.type_line("and good night");
    ann.line("cid: and good night");
    bob.line("cid: and good night");
    cid.input = None;
    cid.end_well();
    ann.line("cid has gone: both sides said goodbye");
    ann.input = None;
    ann.end_well();
    bob.line("ann has gone: both sides said goodbye");
    bob.input = None;
    bob.end_well();
}

/// What is typed in from the page of an example has to be short.
#[test]
fn no_example_is_long() {
    check_lengths(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"));
}

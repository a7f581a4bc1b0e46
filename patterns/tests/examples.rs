//! The examples, as processes that talk to each other.
//!
//! Cargo builds them with the tests, unless it is told to build this one alone.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::HashSet;
use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use common::{PATIENCE, deadline};

const LOCAL: &str = "tcp://127.0.0.1:0";

/// An example that runs. Dropped, it is killed.
struct Example {
    name: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    /// Lines of both its outputs.
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it, or says that it was not built.
fn start(name: &'static str, arguments: &[&str]) -> Option<Example> {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let path = profile.join("examples").join(format!("{name}{EXE_SUFFIX}"));
    if !path.exists() {
        // In one piece, past the capture of the test runner.
        let line = format!("skipped: the example {name}: `cargo build --examples` makes it\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
        return None;
    }
    let mut child = Command::new(path)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = mpsc::channel();
    let outputs: [Box<dyn Read + Send>; 2] = [
        Box::new(child.stdout.take().unwrap()),
        Box::new(child.stderr.take().unwrap()),
    ];
    for output in outputs {
        let sender = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
    let seen = Vec::new();
    Some(Example {
        name,
        input: child.stdin.take(),
        child,
        lines,
        seen,
    })
}

impl Example {
    /// Waits for a line with `text` in it, and returns what follows that.
    fn line(&mut self, text: &str) -> String {
        let deadline = deadline();
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("{} does not say `{text}`: {:#?}", self.name, self.seen);
            };
            let after = line.split_once(text).map(|(_, after)| after.to_owned());
            self.seen.push(line);
            if let Some(after) = after {
                return after;
            }
        }
    }

    fn address(&mut self) -> String {
        self.line("listening on ")
    }

    fn type_line(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Has it end in good order.
    #[cfg(unix)]
    fn terminate(&self) {
        use rustix::process::{Pid, Signal, kill_process};
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits for its end. Returns how it ended, and all that it said.
    fn end(mut self) -> (ExitStatus, Vec<String>) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!("{} does not end: {:#?}", self.name, self.seen)
                }
            }
        }
        let status = self.child.wait().unwrap();
        (status, std::mem::take(&mut self.seen))
    }

    /// As [`end`](Example::end), in good order.
    fn end_well(self) -> Vec<String> {
        let name = self.name;
        let (status, said) = self.end();
        assert!(status.success(), "{name}: {status}, {said:#?}");
        said
    }
}

fn says(said: &[String], text: &str) -> bool {
    said.iter().any(|line| line.contains(text))
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
    service.terminate();
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
        workers[KILLED].terminate();
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
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let lines = fs::read_to_string(entry.path()).unwrap().lines().count();
        assert!(lines < 120, "{:?} has {lines} lines", entry.file_name());
    }
}

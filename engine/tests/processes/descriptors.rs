//! A process that is out of descriptors goes on serving whom it has, and then those who waited.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ampe::{Address, Engine, Event, Options};

use crate::common::peer::{
    HELLO_RESPONSE, Peer, REQUEST, RESPONSE, frame, hello_to, raw_transports,
};
use crate::common::{Transport, group, listen, place, wait_until};

/// So many descriptors the process may have; its sockets need more.
const DESCRIPTORS: usize = 48;

struct Server {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Server {
    /// Starts this test program again, as a process that serves with few descriptors.
    fn start(address: &Address) -> Server {
        let limit_then_run = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"");
        let mut process = Command::new("sh")
            .args(["-c", &limit_then_run])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "descriptors::server_process",
                "--nocapture",
                "--ignored",
            ])
            .env("AMPE_TEST_LISTEN", address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Server { process, lines }
    }

    fn wait_for_line(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            let len = self.lines.read_line(&mut line).unwrap();
            assert_ne!(len, 0, "waited for {start}");
            if let Some(at) = line.find(start) {
                return line[at + start.len()..].trim().to_owned();
            }
        }
    }

    /// Asks how often the system refused to accept, and how many were accepted.
    fn counts(&mut self) -> (u64, u64) {
        let stdin = self.process.stdin.as_mut().unwrap();
        stdin.write_all(b"?\n").unwrap();
        stdin.flush().unwrap();
        let answer = self.wait_for_line("counts ");
        let (failures, accepted) = answer.split_once(' ').unwrap();
        (failures.parse().unwrap(), accepted.parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn check_echo(peer: &mut Peer, id: u64) {
    peer.send_frame(&frame(REQUEST, id).with_body(b"echo"));
    let answer = peer.receive();
    assert_eq!((answer.proto, answer.id), (RESPONSE, id));
}

#[test]
fn accepting_pauses_while_there_are_no_descriptors() {
    for transport in raw_transports() {
        let place = place(transport);
        let started = Instant::now();
        let mut server = Server::start(&place.address);
        let address: Address = server.wait_for_line("listening ").parse().unwrap();
        let mut first = Peer::hello(&address);
        assert_eq!(first.receive().proto, HELLO_RESPONSE);

        // More than the process can have: the rest waits in the system.
        let mut crowd: Vec<Peer> = (0..DESCRIPTORS).map(|_| Peer::connect(&address)).collect();
        let mut last = Peer::hello(&address);
        let mut counts = (0, 0);
        wait_until("the last descriptor", || {
            counts = server.counts();
            counts.0 >= 2
        });
        let accepted = counts.1 as usize;
        assert!((2..DESCRIPTORS).contains(&accepted), "{accepted} accepted");
        check_echo(&mut first, 7);

        // Whoever leaves makes room: the others are accepted, and none was lost.
        crowd.truncate(10);
        assert_eq!(last.receive().proto, HELLO_RESPONSE);
        check_echo(&mut last, 8);
        for peer in &mut crowd {
            peer.send_frame(&hello_to(&address, 1));
            assert_eq!(peer.receive().proto, HELLO_RESPONSE);
            check_echo(peer, 9);
        }
        let (failures, accepted) = server.counts();
        assert_eq!(accepted as usize, DESCRIPTORS + 2, "nobody was lost");
        let most = started.elapsed().as_millis() / 100 + 2;
        assert!(
            u128::from(failures) <= most,
            "{failures} attempts, where {most} are allowed"
        );
        println!("{transport:?}: {failures} times out of descriptors");
    }
}

#[test]
#[ignore = "not a test: the process that another test runs out of descriptors"]
fn server_process() {
    let address: Address = std::env::var("AMPE_TEST_LISTEN").unwrap().parse().unwrap();
    let engine = Engine::start(Options::default()).unwrap();
    let mut server = group(&engine);
    let (_, bound) = listen(&server.0, &mut server.1, &address);
    println!("\nlistening {bound}");
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            assert_eq!(line.unwrap(), "?");
            let statistics = engine.statistics();
            println!(
                "\ncounts {} {}",
                statistics.accept_failures, statistics.accepted
            );
        }
        std::process::exit(0); // the parent is gone
    });
    while let Ok(event) = server.1.recv() {
        let post = match event {
            Event::Hello(hello) => hello.echo(),
            Event::Request(request) => request.echo(),
            _ => continue,
        };
        let _ = server.0.post(post);
    }
}

/// The same, seen from the connecting side: an attempt without a descriptor fails, and says why.
#[test]
fn connecting_fails_while_there_are_no_descriptors() {
    let place = place(Transport::Tcp);
    let limit_then_run = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"");
    // Not inherited: whoever counts passed tests would count the child's too.
    let child = Command::new("sh")
        .args(["-c", &limit_then_run])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "descriptors::client_process", "--ignored"])
        .env("AMPE_TEST_LISTEN", place.address.to_string())
        .output()
        .unwrap();
    assert!(
        child.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&child.stdout),
        String::from_utf8_lossy(&child.stderr)
    );
}

#[test]
#[ignore = "not a test: the process that another test runs out of descriptors"]
fn client_process() {
    use ampe::Reason;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::tcp("127.0.0.1", listener.local_addr().unwrap().port()).unwrap();
    let engine = Engine::start(Options::default()).unwrap();
    let (group, mut inbox) = group(&engine);
    // In one batch: an abort that came into the same would be heard of before the last attempts fail.
    let mut posts = (0..DESCRIPTORS)
        .map(|_| group.message().hello(&address))
        .collect();
    let mut posted = Vec::new();
    group.post_many(&mut posts, &mut posted).unwrap();
    let channels: Vec<_> = posted.iter().map(|posted| posted.channel).collect();
    // The last must have failed: there were not enough for all of them.
    let failed = expect!(inbox, Returned);
    assert!(channels.contains(&failed.channel()));
    assert_eq!(failed.reason(), Reason::ConnectFailed);
    let closed = expect!(inbox, Closed);
    assert_eq!(
        (closed.channel(), closed.reason()),
        (failed.channel(), Reason::ConnectFailed)
    );
    println!("{:?}", closed.os_error());
    // One that ends lets another succeed.
    let open = channels[0];
    group.post(ampe::Post::abort(open)).unwrap();
    let mut ended = 0;
    loop {
        match crate::common::next(&mut inbox, "the abort") {
            Event::Closed(closed) if closed.channel() == open => break,
            Event::Closed(closed) => {
                assert_eq!(closed.reason(), Reason::ConnectFailed);
                ended += 1;
            }
            Event::Returned(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    println!("{ended} more failed");
    let again = group.connect(&address).unwrap();
    let one_more = group.connect(&address).unwrap();
    assert_eq!(
        expect!(inbox, Returned).channel(),
        one_more,
        "not {again:?}"
    );
    assert_eq!(expect!(inbox, Closed).channel(), one_more);
}

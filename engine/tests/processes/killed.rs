//! The peer is a process that is killed: its channel's account adds up all the same.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use ampe::{Address, Engine};

use crate::book::{Book, OUTBOUND, events, options};
use crate::common::{group, listen, place, transports};

#[test]
fn a_peer_that_is_killed() {
    for transport in transports() {
        let place = place(transport);
        let mut child = start_receiver(&place.address);
        let client_engine = Engine::start(options(OUTBOUND)).unwrap();
        let mut client = group(&client_engine);
        let to_server = client.0.connect(&child.address).unwrap();
        child.wait_for_line("hello");
        let mut book = Book::default();
        book.post_until_full(&client.0, to_server);
        child.process.kill().unwrap();
        child.process.wait().unwrap();
        let account = book.settle(to_server, events(&mut client.1));
        println!("{transport:?}: {account:?}, {:?}", book.reason());
        assert!(
            account.returned > 0,
            "more was posted than any socket buffer takes"
        );
        assert_eq!(account.confirmed, 0);
    }
}

struct Receiver {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
    address: Address,
}

impl Receiver {
    fn wait_for_line(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.lines.read_line(&mut line).unwrap(),
                0,
                "waited for {start}"
            );
            if let Some(at) = line.find(start) {
                return line[at + start.len()..].trim().to_owned();
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts this test program again, as a process that says hello and then receives nothing.
fn start_receiver(address: &Address) -> Receiver {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "killed::receiver_process",
            "--nocapture",
            "--ignored",
        ])
        .env("AMPE_TEST_LISTEN", address.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap());
    let mut receiver = Receiver {
        process,
        lines,
        address: address.clone(),
    };
    receiver.address = receiver.wait_for_line("listening ").parse().unwrap();
    receiver
}

#[test]
#[ignore = "not a test: the process that another test kills"]
fn receiver_process() {
    let address: Address = std::env::var("AMPE_TEST_LISTEN").unwrap().parse().unwrap();
    let engine = Engine::start(options(OUTBOUND)).unwrap();
    let mut server = group(&engine);
    let (_, bound) = listen(&server.0, &mut server.1, &address);
    println!("\nlistening {bound}");
    expect!(server.1, Hello);
    println!("\nhello");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]); // until killed, or the parent is gone
}

//! Handshakes that stop half way, many of them at once.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ampe::{Event, Options};

use super::attacks::{Target, target_with};
use super::certificates::Authority;
use super::raw::{self, RawClient};
use crate::common::peer::{HELLO_REQUEST, frame};
use crate::common::{PATIENCE, Side, next, wait_until};

const COUNT: usize = 1000;

/// At how many points they stop.
const POINTS: usize = 10;

/// So many of them there may be here: each takes a descriptor at both ends, and the rest takes some.
fn count() -> usize {
    #[cfg(unix)]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let most = limit.map_or(COUNT, |limit| limit.saturating_sub(150) as usize / 2);
        if most < COUNT {
            crate::common::skip(&format!(
                "{} of {COUNT} half handshakes: this process may have too few descriptors",
                COUNT - most
            ));
            return most;
        }
    }
    COUNT
}

/// Begins a connection and stops at one of many points: before the first byte, in the hello, behind it, in the
/// last flight, behind the handshake, in the first frame.
fn begin(address: &ampe::Address, authority: &Authority, point: usize) -> io::Result<TcpStream> {
    let mut tcp = TcpStream::connect(address.socket_addr().unwrap())?;
    let mut session = raw::session(authority);
    let mut hello = Vec::new();
    session.write_tls(&mut hello)?;
    let sent = match point {
        0 => 0,
        1 => 1,
        2 => hello.len() / 2,
        3 => hello.len() - 1,
        _ => hello.len(),
    };
    tcp.write_all(&hello[..sent])?;
    if point <= 4 {
        return Ok(tcp);
    }
    tcp.set_read_timeout(Some(PATIENCE))?;
    while session.is_handshaking() {
        session.read_tls(&mut tcp)?;
        session.process_new_packets().map_err(io::Error::other)?;
    }
    let mut peer = RawClient { tls: session, tcp };
    let last = peer.output();
    let greeting = peer.records(&frame(HELLO_REQUEST, 1).bytes());
    let sent = match point {
        5 => last.len() / 2,
        6 => last.len() - 1,
        _ => last.len(),
    };
    peer.tcp.write_all(&last[..sent])?;
    if point == 8 {
        peer.tcp.write_all(&greeting[..greeting.len() / 2])?;
    }
    if point == 9 {
        let part = &frame(HELLO_REQUEST, 1).bytes()[..9];
        let part = peer.records(part);
        peer.tcp.write_all(&part)?;
    }
    Ok(peer.tcp)
}

/// One who has a request after the other answered, as long as that goes on.
struct Bystander {
    is_over: Arc<AtomicBool>,
    trips: Arc<AtomicU64>,
    asking: JoinHandle<Duration>,
    answering: JoinHandle<()>,
}

impl Bystander {
    fn meet(server: Side, client: Side, address: &ampe::Address) -> Bystander {
        let ((answers, mut server), (group, mut client)) = (server, client);
        let to_server = group.connect(address).unwrap();
        let hello = expect!(server, Hello);
        answers.post(hello.echo()).unwrap();
        expect!(client, Accepted);
        let is_over = Arc::new(AtomicBool::new(false));
        let trips = Arc::new(AtomicU64::new(0));
        let asking = {
            let (is_over, trips) = (Arc::clone(&is_over), Arc::clone(&trips));
            thread::spawn(move || {
                let mut longest = Duration::ZERO;
                while !is_over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let request = group.message().with_body(b"still there?").unwrap();
                    group.post(request.request(to_server)).unwrap();
                    assert_eq!(expect!(client, Response).body(), b"still there?");
                    longest = longest.max(begun.elapsed());
                    trips.fetch_add(1, Ordering::Relaxed);
                }
                group.post(group.message().bye(to_server)).unwrap();
                expect!(client, ByeResponse);
                longest
            })
        };
        let answering = thread::spawn(move || {
            loop {
                match next(&mut server, "Request or Bye") {
                    Event::Request(request) => _ = answers.post(request.echo()).unwrap(),
                    Event::Bye(_) => return,
                    // Nothing of those who stop half way.
                    other => panic!("{other:?}"),
                }
            }
        });
        Bystander {
            is_over,
            trips,
            asking,
            answering,
        }
    }

    fn trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }

    /// How long the longest trip took.
    fn end(self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        self.answering.join().unwrap();
        self.asking.join().unwrap()
    }
}

/// A bystander has one request after the other answered meanwhile.
#[test]
fn a_thousand_half_handshakes_cost_a_bystander_nothing_and_are_given_up() {
    let mut options = Options::default();
    options.hello_timeout = Duration::from_secs(3);
    let Target {
        engine,
        server,
        client,
        authority,
        address,
    } = target_with(options);
    let bystander = Bystander::meet(server, client, &address);
    let most = count();
    // Who is given up before it got so far was begun, too.
    let half: Vec<_> = (0..most)
        .map(|index| begin(&address, &authority, index % POINTS))
        .collect();
    let before = bystander.trips();
    wait_until("all of them to be given up", || {
        engine.statistics().ended_before_hello == most as u64
    });
    let all = bystander.trips();
    wait_until("the bystander to go on", || bystander.trips() > all);
    assert!(before > 0);
    let longest = bystander.end();
    println!(
        "{most} half handshakes, {before} round trips while they began and {all} in all, the longest {longest:?}"
    );
    // Each of them was told, by an orderly end or by a reset.
    for mut tcp in half.into_iter().flatten() {
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        if let Err(error) = tcp.read_to_end(&mut Vec::new()) {
            let is_open =
                [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind());
            assert!(!is_open, "{error}");
        }
    }
}

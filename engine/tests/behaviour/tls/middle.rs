//! Somebody on the way: who looks, cuts, changes, swaps, repeats.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use ampe::{Address, Event, Reason};

use super::attacks::{Target, target, target_with};
use super::converse;
use crate::common::peer::Dice;
use crate::common::{PATIENCE, next, tight, wait_until};

/// What the one in the middle does with a record, whole or cut by the end, of which it knows the number: it passes on
/// what is returned, and ends both sides where that is none.
type Meddle = Box<dyn FnMut(usize, Vec<u8>) -> Option<Vec<u8>> + Send>;

/// Stands between a client and a server, for one connection.
struct Middle {
    address: Address,
    /// What has passed, up and down.
    seen: [Arc<Mutex<Vec<u8>>>; 2],
    thread: JoinHandle<()>,
}

impl Middle {
    fn between(to: &Address, meddle: [Meddle; 2]) -> Middle {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::tls("127.0.0.1", listener.local_addr().unwrap().port()).unwrap();
        let to = to.socket_addr().unwrap();
        let seen: [Arc<Mutex<Vec<u8>>>; 2] = Default::default();
        let thread = thread::spawn({
            let seen = seen.clone();
            move || {
                let here = listener.accept().unwrap().0;
                let there = TcpStream::connect(to).unwrap();
                let ways = [(&here, &there), (&there, &here)];
                let ways =
                    ways.map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()));
                let threads: Vec<_> = (ways.into_iter().zip(meddle).zip(seen))
                    .map(|(((from, to), meddle), seen)| {
                        thread::spawn(move || pass(from, to, meddle, &seen))
                    })
                    .collect();
                for thread in threads {
                    thread.join().unwrap();
                }
            }
        });
        Middle {
            address,
            seen,
            thread,
        }
    }

    fn passing(to: &Address) -> Middle {
        let pass = || -> Meddle { Box::new(|_, record| Some(record)) };
        Middle::between(to, [pass(), pass()])
    }

    /// What passed up and down, once both sides have ended.
    fn end(self) -> [Vec<u8>; 2] {
        self.thread.join().unwrap();
        self.seen.map(|seen| seen.lock().unwrap().clone())
    }
}

fn read_record(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut record = vec![0; 5];
    from.read_exact(&mut record)?;
    let len = usize::from(record[3]) << 8 | usize::from(record[4]);
    record.resize(5 + len, 0);
    from.read_exact(&mut record[5..])?;
    Ok(record)
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut meddle: Meddle, seen: &Mutex<Vec<u8>>) {
    for number in 0.. {
        let Ok(record) = read_record(&mut from) else {
            let _ = to.shutdown(Shutdown::Write);
            return;
        };
        seen.lock().unwrap().extend_from_slice(&record);
        let Some(record) = meddle(number, record) else {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        };
        if to.write_all(&record).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// What passes, up and down, while a message of so many bytes is exchanged with a target.
fn recorded(len: usize) -> (Target, [Vec<u8>; 2]) {
    let mut target = target();
    let middle = Middle::passing(&target.address);
    converse(
        &mut target.server,
        &mut target.client,
        &middle.address,
        &[len],
    );
    (target, middle.end())
}

#[test]
fn what_travels_shows_nothing_of_what_is_said() {
    let (_target, seen) = recorded(5000);
    let body: Vec<u8> = (0..5000).map(|at| (at % 251) as u8).collect();
    for seen in seen {
        assert!(seen.len() > 5000, "both directions were seen");
        for part in body[..251].windows(8) {
            assert!(!seen.windows(8).any(|window| window == part));
        }
        assert!(!seen.windows(12).any(|window| window == b"~connect_to:"));
    }
}

/// A whole connection that was recorded says nothing to anybody a second time.
#[test]
fn a_connection_that_is_repeated_is_nobody() {
    let (mut target, [up, down]) = recorded(100);
    let before = target.engine.statistics().ended_before_hello;
    for is_at_once in [true, false] {
        let mut tcp = super::raw::connect(&target.address);
        if is_at_once {
            let _ = tcp.write_all(&up);
        } else {
            for part in up.chunks(100) {
                let _ = tcp.write_all(part);
            }
        }
        let _ = tcp.shutdown(Shutdown::Write);
        let _ = tcp.read_to_end(&mut Vec::new());
    }
    wait_until("both to end", || {
        target.engine.statistics().ended_before_hello == before + 2
    });
    crate::common::assert_nothing(&mut target.server.1);
    // The server's part of it does not make a server.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::tls("127.0.0.1", listener.local_addr().unwrap().port()).unwrap();
    let serving = thread::spawn(move || {
        let mut tcp = listener.accept().unwrap().0;
        let _ = tcp.write_all(&down);
        let _ = tcp.read_to_end(&mut Vec::new());
    });
    target.client.0.connect(&address).unwrap();
    expect!(target.client.1, Returned);
    let closed = expect!(target.client.1, Closed);
    assert_eq!(closed.reason(), Reason::HandshakeFailed);
    serving.join().unwrap();
    target.serves_well();
}

/// Of a client's records, those behind the hello, the change of cipher, the last of the handshake and the frame of
/// the hello.
const FIRST: usize = 4;

/// What becomes of a record that carries a signal; and what was kept of one before.
type Kind = (
    &'static str,
    fn(usize, Vec<u8>, &mut Vec<u8>) -> Option<Vec<u8>>,
);

fn swapped(number: usize, record: Vec<u8>, kept: &mut Vec<u8>) -> Option<Vec<u8>> {
    match number {
        2 => {
            *kept = record;
            Some(Vec::new())
        }
        3 => Some([record, std::mem::take(kept)].concat()),
        _ => Some(record),
    }
}

const KINDS: [Kind; 5] = [
    ("swapped", swapped),
    ("repeated", |number, record, _| match number {
        1 => Some(record.repeat(2)),
        _ => Some(record),
    }),
    ("left out", |number, record, _| match number {
        2 => Some(Vec::new()),
        _ => Some(record),
    }),
    ("put in from before", |number, record, kept| match number {
        0 => {
            kept.clone_from(&record);
            Some(record)
        }
        2 => Some([std::mem::take(kept), record].concat()),
        _ => Some(record),
    }),
    ("cut", |number, record, _| (number < 2).then_some(record)),
];

/// Signals, numbered from 0, in a record each: those before the one that was meddled with are received, and nothing
/// behind.
#[test]
fn records_that_are_swapped_repeated_left_out_put_in_or_cut_end_a_connection() {
    let mut target = target();
    for (what, meddle) in KINDS {
        let mut kept = Vec::new();
        let up: Meddle = Box::new(move |number, record| match number < FIRST {
            true => Some(record),
            false => meddle(number - FIRST, record, &mut kept),
        });
        let middle = Middle::between(&target.address, [up, Box::new(|_, record| Some(record))]);
        let to_server = target.client.0.connect(&middle.address).unwrap();
        let hello = expect!(target.server.1, Hello);
        target.server.0.post(hello.echo()).unwrap();
        expect!(target.client.1, Accepted);
        let posted = post_signals(&target.client.0, to_server);
        let mut received = Vec::new();
        let closed = loop {
            match next(&mut target.server.1, "Closed") {
                Event::Signal(signal) => received.push(signal.body()[0]),
                Event::Closed(closed) => break closed,
                other => panic!("{what}: {other:?}"),
            }
        };
        assert_eq!(closed.reason(), Reason::ConnectionLost, "{what}");
        assert!(received.len() <= 2, "{what}: {received:?}");
        assert!(received.iter().copied().eq(0..received.len() as u8));
        let mut returned = 0;
        let closed = loop {
            match next(&mut target.client.1, "Closed") {
                Event::Returned(_) => returned += 1,
                Event::Closed(closed) => break closed,
                Event::Room(_) => {}
                other => panic!("{what}: {other:?}"),
            }
        };
        let account = closed.account();
        assert_eq!(account.posted, account.sent + account.returned, "{what}");
        assert_eq!(account.returned, returned, "{what}");
        assert_eq!(account.posted, posted + 1, "{what}, with the hello");
        middle.end();
    }
    target.serves_well();
}

/// Posts up to six, one after the other, so that each has a record of its own.
fn post_signals(group: &ampe::ChannelGroup, to_server: ampe::Channel) -> u64 {
    let mut posted = 0;
    for number in 0..6_u8 {
        let message = group.message().with_body(&[number]).unwrap();
        if group.post(message.signal(to_server)).is_err() {
            break; // it has ended by now
        }
        posted += 1;
        let _ = group.flush_until(to_server, Instant::now() + PATIENCE);
    }
    posted
}

/// One of both sides' books.
#[derive(Default)]
struct Book {
    posted: u64,
    received: u64,
    returned: u64,
    sent: u64,
}

fn number() -> u64 {
    let asked = std::env::var("AMPE_TLS_MESSAGES").ok();
    let asked = asked.and_then(|it| it.parse().ok());
    asked.unwrap_or(if cfg!(debug_assertions) {
        10_000
    } else {
        40_000
    })
}

/// Passes this many bytes up, and cuts.
fn cut_after(bytes: usize) -> Meddle {
    let mut left = bytes;
    Box::new(move |_, mut record| {
        if record.len() < left {
            left -= record.len();
            return Some(record);
        }
        if left == 0 {
            return None;
        }
        record.truncate(std::mem::take(&mut left));
        Some(record)
    })
}

#[test]
fn the_accounts_of_connections_that_are_cut_anywhere_add_up() {
    let mut random = Dice::new();
    let mut target = target_with(tight());
    let mut book = Book::default();
    let mut connections = 0;
    // Of few connections with small messages it may be that all had been sent when they were cut.
    while book.posted < number() || book.received == 0 || book.returned == 0 {
        connections += 1;
        assert!(connections <= 1000, "nothing is received, or returned");
        let largest = [10, 500, 3000, 60_000][random.below(4)];
        let up = cut_after(1500 + random.below((largest + 40) * 1000));
        let middle = Middle::between(&target.address, [up, Box::new(|_, record| Some(record))]);
        // Its hello has passed: else the server would have nothing to tell of.
        let to_server = target.client.0.connect(&middle.address).unwrap();
        let hello = expect!(target.server.1, Hello);
        target.server.0.post(hello.echo()).unwrap();
        expect!(target.client.1, Accepted);
        one_connection(&mut target, to_server, largest, &mut random, &mut book);
        middle.end();
    }
    println!(
        "{} posted over {connections} connections: {} sent, of which {} received; {} returned",
        book.posted, book.sent, book.received, book.returned
    );
    assert!(book.received > 0 && book.returned > 0);
    target.serves_well();
}

/// Posts until the connection ends, and looks what became of each message.
fn one_connection(
    target: &mut super::attacks::Target,
    to_server: ampe::Channel,
    largest: usize,
    random: &mut Dice,
    book: &mut Book,
) {
    let (server, client) = (&mut target.server, &mut target.client);
    let (received, own) = thread::scope(|scope| {
        let receiving = scope.spawn(move || receive(server));
        let own = send(client, to_server, largest, random);
        (receiving.join().unwrap(), own)
    });
    let (posted, returned, account) = own;
    assert_eq!(account.posted, account.sent + account.returned);
    assert_eq!(account.posted, posted.len() as u64 + 1, "with the hello");
    assert!(account.returned >= returned.len() as u64);
    // In order, without a gap, and nothing that came back as well.
    assert_eq!(received[..], posted[..received.len()]);
    let returned: BTreeSet<u64> = returned.into_iter().collect();
    assert!(received.iter().all(|id| !returned.contains(id)));
    assert!(received.len() as u64 <= account.sent);
    book.posted += posted.len() as u64;
    book.received += received.len() as u64;
    book.returned += returned.len() as u64;
    book.sent += posted.len() as u64 - returned.len() as u64;
}

fn receive(server: &mut crate::common::Side) -> Vec<u64> {
    let mut received = Vec::new();
    loop {
        match next(&mut server.1, "Closed") {
            Event::Signal(signal) => received.push(signal.id()),
            Event::Closed(closed) => {
                assert_eq!(closed.reason(), Reason::ConnectionLost);
                return received;
            }
            Event::Returned(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn send(
    client: &mut crate::common::Side,
    to_server: ampe::Channel,
    largest: usize,
    random: &mut Dice,
) -> (Vec<u64>, Vec<u64>, ampe::Account) {
    let (mut posted, mut returned) = (Vec::new(), Vec::new());
    let mut is_open = true;
    loop {
        let mut is_full = false;
        while is_open && !is_full {
            let len = random.below(largest);
            let message = client.0.message().with_body(&vec![7; len]).unwrap();
            match client.0.post(message.signal(to_server)) {
                Ok(it) => posted.push(it.id),
                Err(refused) => {
                    is_full = matches!(refused.why, ampe::PostError::Full(_));
                    is_open = is_full;
                }
            }
        }
        match next(&mut client.1, "Closed") {
            Event::Returned(it) => returned.push(it.id()),
            Event::Closed(closed) => return (posted, returned, closed.account()),
            Event::Room(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

//! Handshakes of which each byte in turn is changed, missing, or one too many; at both ends.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use ampe::{Address, Event, Reason};

use super::attacks::{Target, target};
use super::certificates::Authority;
use super::raw::{self, RawClient};
use super::{build, side, trusting};
use crate::common::peer::{HELLO_REQUEST, frame};
use crate::common::{PATIENCE, engine, next, wait_until};

/// What becomes of the bytes of a flight.
#[derive(Clone, Copy, Debug)]
enum Change {
    Flip(usize, u8),
    Cut(usize),
    Insert(usize, u8),
}

impl Change {
    fn of(self, flight: &[u8]) -> Vec<u8> {
        let mut changed = flight.to_vec();
        match self {
            Change::Flip(at, bits) => changed[at] ^= bits,
            Change::Cut(at) => changed.truncate(at),
            Change::Insert(at, byte) => changed.insert(at, byte),
        }
        changed
    }
}

/// Where changes are made: everywhere in release, and else at every so many bytes, and at the first and last.
fn places(len: usize, step: usize) -> impl Iterator<Item = usize> {
    let step = if cfg!(debug_assertions) { step } else { 1 };
    (0..len).filter(move |at| at % step == 0 || *at < 12 || *at + 1 == len)
}

fn changes(len: usize, step: usize) -> Vec<Change> {
    let all = places(len, step).flat_map(|at| {
        let bits = 1 << (at % 8);
        [
            Change::Flip(at, bits),
            Change::Cut(at),
            Change::Insert(at, bits),
        ]
    });
    all.collect()
}

/// Whether nobody has to look at a byte: the version that a record has for the sake of middleboxes, and what stands
/// in the record of a change of cipher.
fn is_idle(flight: &[u8], at: usize) -> bool {
    let mut begun = 0;
    for (kind, len) in raw::records(flight) {
        if at < begun + len {
            return kind == 20 || (1..3).contains(&(at - begun));
        }
        begun += len;
    }
    false
}

fn ends_before_hello(target: &Target, count: u64) {
    wait_until("all of them to end", || {
        target.engine.statistics().ended_before_hello == count
    });
}

/// Says this and no more, and waits for the end.
fn say(mut tcp: TcpStream, bytes: &[u8]) {
    let _ = tcp.write_all(bytes);
    let _ = tcp.shutdown(Shutdown::Write);
    let _ = tcp.read_to_end(&mut Vec::new());
}

#[test]
fn a_hello_with_a_byte_changed_or_missing_or_too_many_harms_its_own_connection_alone() {
    let mut target = target();
    let mut hello = Vec::new();
    let mut session = raw::session(&target.authority);
    session.write_tls(&mut hello).unwrap();
    let changes = changes(hello.len(), 3);
    for change in &changes {
        say(raw::connect(&target.address), &change.of(&hello));
    }
    // Some changes matter to nobody, and are answered; no more than that.
    ends_before_hello(&target, changes.len() as u64);
    target.serves_well();
}

#[test]
fn a_client_whose_last_flight_was_changed_is_nobody() {
    let mut target = target();
    // What goes out at the end of a handshake, with the first frame behind it.
    let finish = || -> (RawClient, Vec<u8>, usize) {
        let (mut tls, mut tcp) = (
            raw::session(&target.authority),
            raw::connect(&target.address),
        );
        tls.write_tls(&mut tcp).unwrap();
        while tls.is_handshaking() {
            tls.read_tls(&mut tcp).unwrap();
            tls.process_new_packets().unwrap();
        }
        let mut peer = RawClient { tls, tcp };
        let mut last = peer.output();
        let len = last.len();
        last.extend(peer.records(&frame(HELLO_REQUEST, 1).bytes()));
        (peer, last, len)
    };
    let (_, first, len) = finish();
    let mut begun = 1; // that one says no more
    for change in changes(len, 7) {
        let idle = match change {
            Change::Flip(at, _) | Change::Insert(at, _) | Change::Cut(at) => is_idle(&first, at),
        };
        if idle {
            continue;
        }
        let (peer, last, _) = finish();
        say(peer.tcp, &change.of(&last));
        begun += 1;
    }
    ends_before_hello(&target, begun);
    crate::common::assert_nothing(&mut target.server.1);
    target.serves_well();
}

#[test]
fn a_client_accepts_no_server_of_whose_flight_a_byte_was_changed_or_missing_or_too_many() {
    let authority = Authority::new();
    let config = raw::server_config(&authority.issue("127.0.0.1"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::tls("127.0.0.1", listener.local_addr().unwrap().port()).unwrap();
    let accept = {
        let config = std::sync::Arc::clone(&config);
        move || -> io::Result<_> {
            let mut tcp = listener.accept()?.0;
            tcp.set_read_timeout(Some(PATIENCE))?;
            let (tls, flight) = raw::first_flight(&config, &mut tcp)?;
            Ok((tls, tcp, flight))
        }
    };
    let engine = engine();
    let mut client = side(&engine, &build(trusting(&authority)));
    client.0.connect(&address).unwrap();
    let (_, tcp, first) = accept().unwrap();
    drop(tcp);
    assert_refused(&mut client, None);
    // The certificate's signatures differ in length from one to the next.
    let changes = changes(first.len() - 10, 11);
    let serving = thread::spawn({
        let changes = changes.clone();
        move || {
            let serve = |change: &Change| {
                let (_, tcp, flight) = accept().unwrap();
                let bytes = change.of(&flight);
                let len = flight.len();
                say(tcp, &bytes);
                let at = match *change {
                    Change::Flip(at, _) | Change::Insert(at, _) | Change::Cut(at) => at,
                };
                (is_idle(&flight, at.min(len - 1)), *change)
            };
            changes.iter().map(serve).collect::<Vec<_>>()
        }
    });
    let mut reasons = Vec::new();
    for _ in &changes {
        client.0.connect(&address).unwrap();
        reasons.push(end_of(&mut client));
    }
    let served = serving.join().unwrap();
    for (reason, (is_idle, change)) in reasons.into_iter().zip(served) {
        assert!(
            reason == Reason::HandshakeFailed || (is_idle && reason == Reason::ConnectionLost),
            "{change:?}: {reason:?}"
        );
    }
}

fn end_of(client: &mut crate::common::Side) -> Reason {
    loop {
        match next(&mut client.1, "Closed") {
            Event::Closed(closed) => return closed.reason(),
            Event::Returned(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn assert_refused(client: &mut crate::common::Side, words: Option<&str>) {
    loop {
        match next(&mut client.1, "Closed") {
            Event::Closed(closed) => {
                assert_eq!(closed.reason(), Reason::HandshakeFailed);
                let said = closed.os_error().unwrap().to_string();
                assert!(words.is_none_or(|words| said.contains(words)), "{said}");
                return;
            }
            Event::Returned(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A chain far longer than any that is needed.
#[test]
fn a_chain_of_certificates_without_end_is_refused_in_words() {
    let authority = Authority::new();
    let mut holder = authority.issue("127.0.0.1");
    holder.chain = holder.chain.clone() + &authority.pem.repeat(100);
    let engine = engine();
    let mut server = side(&engine, &build(super::own(&holder)));
    let mut client = side(&engine, &build(trusting(&authority)));
    let (_, address) = crate::common::listen(&server.0, &mut server.1, &super::any());
    client.0.connect(&address).unwrap();
    assert_refused(&mut client, Some("takes more than 28672 bytes"));
    wait_until("the server to see it end", || {
        engine.statistics().ended_before_hello == 1
    });
}

//! Sockets of datagrams, which the engine does not use, and the poller takes all the same.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::UdpSocket;

use ampe_poller::{Interest, Key};

use super::bench::{Bench, random};
use crate::common::{PATIENCE, datagrams, skip};

#[test]
fn what_is_wanted_at_random_is_what_is_reported() {
    let mut random = random();
    let mut bench = Bench::new();
    let keys: Vec<Key> = (0..64)
        .map(|_| bench.add(datagrams(), Interest::NONE))
        .collect();
    for _ in 0..20 {
        let mut expected = Vec::new();
        for key in &keys {
            // Several times, of which the last counts.
            let mut interest = Interest::NONE;
            for _ in 0..random.u8(1..4) {
                interest = [
                    Interest::NONE,
                    Interest::READABLE,
                    Interest::WRITABLE,
                    Interest::BOTH,
                ][random.usize(..4)];
                bench.declare(*key, interest);
            }
            if interest.is_writable() {
                expected.push((*key, Interest::WRITABLE));
            }
        }
        bench.assert_reports(&expected);
        for (key, _) in expected {
            bench.declare(key, Interest::NONE);
        }
        bench.assert_quiet();
    }
}

#[test]
fn sockets_of_both_families_are_polled_together() {
    let mut bench = Bench::new();
    let v6 = match UdpSocket::bind("[::1]:0") {
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            return skip("IPv6: this system has none");
        }
        outcome => outcome.unwrap(),
    };
    let v4 = bench.add(datagrams(), Interest::WRITABLE);
    let v6 = bench.add(v6, Interest::WRITABLE);
    bench.assert_reports(&[(v4, Interest::WRITABLE), (v6, Interest::WRITABLE)]);
    for (key, other) in [(v4, v6), (v6, v4)] {
        bench.declare(other, Interest::READABLE);
        bench.declare(key, Interest::READABLE);
        let address = bench.get(key).local_addr().unwrap();
        bench.get(key).send_to(b"to itself", address).unwrap();
        bench.assert_reports(&[(key, Interest::READABLE)]);
        assert_eq!(bench.get(key).recv(&mut [0; 16]).unwrap(), 9);
    }
    bench.assert_quiet();
}

/// One that waits to be asked, and many that ask, each once for each time that it may.
#[test]
fn pings_of_many_sockets_all_arrive() {
    const PINGERS: usize = 30;
    let mut bench = Bench::new();
    let server = datagrams();
    let address = server.local_addr().unwrap();
    let server = bench.add(server, Interest::READABLE);
    let pingers: Vec<Key> = (0..PINGERS)
        .map(|_| {
            let pinger = datagrams();
            pinger.connect(address).unwrap();
            bench.add(pinger, Interest::NONE)
        })
        .collect();
    for _ in 0..20 {
        // So few at a time that the system has room for them all.
        for pinger in &pingers {
            bench.declare(*pinger, Interest::WRITABLE);
        }
        let (mut sent, mut received) = (HashMap::new(), 0);
        while received < PINGERS {
            let reports = bench.wait(PATIENCE);
            assert!(!reports.is_empty(), "{received} came of {}", sent.len());
            for (key, readiness) in reports {
                if key == server {
                    assert_eq!(readiness, Interest::READABLE);
                    received += receive_all(bench.get(server));
                    continue;
                }
                assert_eq!(readiness, Interest::WRITABLE);
                assert_eq!(bench.get(key).send(b"ping").unwrap(), 4);
                bench.declare(key, Interest::NONE);
                assert_eq!(sent.insert(key, ()), None, "asked twice");
            }
        }
        bench.assert_quiet();
    }
}

fn receive_all(server: &UdpSocket) -> usize {
    let mut buffer = [0; 16];
    let mut received = 0;
    loop {
        match server.recv(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return received,
            outcome => assert_eq!(&buffer[..outcome.unwrap()], b"ping"),
        }
        received += 1;
    }
}

//! One socket in several pollers, and pollers that come and go.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ampe_poller::{Events, Interest, Poller, Waker};

use super::bench::{Bench, pair, read};
use crate::common::PATIENCE;

#[test]
fn a_socket_in_two_pollers_is_reported_by_both() {
    let (ours, mut theirs) = pair();
    let mut benches = [Bench::new(), Bench::new()];
    let keys = benches
        .each_mut()
        .map(|bench| bench.add(&ours, Interest::READABLE));
    for _ in 0..3 {
        benches.iter_mut().for_each(Bench::assert_quiet);
        for _ in 0..2 {
            theirs.write_all(b"x").unwrap();
            for (bench, key) in benches.iter_mut().zip(keys) {
                bench.assert_reports(&[(key, Interest::READABLE)]);
            }
        }
        while read(&ours, 2).is_some() {}
    }
    benches.iter_mut().for_each(Bench::assert_quiet);
    // The other poller goes on when one is gone.
    let [first, mut second] = benches;
    drop(first);
    theirs.write_all(b"x").unwrap();
    second.assert_reports(&[(keys[1], Interest::READABLE)]);
}

#[test]
fn interest_that_two_pollers_withdrew_is_withdrawn_in_both() {
    let (ours, mut theirs) = pair();
    let mut benches = [Bench::new(), Bench::new()];
    let keys = benches
        .each_mut()
        .map(|bench| bench.add(&ours, Interest::READABLE));
    benches.iter_mut().for_each(Bench::assert_quiet);
    theirs.write_all(b"x").unwrap();
    for (bench, key) in benches.iter_mut().zip(keys) {
        bench.assert_reports(&[(key, Interest::READABLE)]);
        bench.declare(key, Interest::NONE);
    }
    theirs.write_all(b"x").unwrap();
    benches.iter_mut().for_each(Bench::assert_quiet);
    assert_eq!(read(&ours, 1), Some(1));
    benches.iter_mut().for_each(Bench::assert_quiet);
    let [first, second] = &mut benches;
    first.declare(keys[0], Interest::READABLE);
    first.assert_reports(&[(keys[0], Interest::READABLE)]);
    second.assert_quiet();
}

#[test]
fn ten_pollers_each_on_its_thread_report_one_datagram() {
    const POLLERS: usize = 10;
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_nonblocking(true).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (asks, asked) = mpsc::channel();
    thread::scope(|scope| {
        let receiver = &receiver;
        for _ in 0..POLLERS {
            let asks = asks.clone();
            scope.spawn(move || {
                let mut bench = Bench::new();
                let key = bench.add(receiver, Interest::READABLE);
                bench.assert_quiet();
                asks.send(()).unwrap();
                bench.assert_reports(&[(key, Interest::READABLE)]);
            });
        }
        for _ in 0..POLLERS {
            asked.recv_timeout(PATIENCE).unwrap();
        }
        let address = receiver.local_addr().unwrap();
        sender.send_to(b"hello", address).unwrap();
    });
    assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 5);
}

/// Each takes two descriptors; on Unix the next one is the lowest that is free.
#[test]
fn six_hundred_pollers_give_back_what_they_take() {
    let mut events = Events::with_capacity(4);
    for _ in 0..600 {
        let mut poller = Poller::<UdpSocket>::new().unwrap();
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        poller.shut_down().unwrap();
    }
    #[cfg(unix)]
    {
        use std::os::fd::AsRawFd;
        let next = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(next.as_raw_fd() < 1_200, "{next:?}");
    }
}

#[test]
fn a_dropped_poller_closes_its_sources() {
    let mut bench = Bench::new();
    let mut peers = [Interest::NONE, Interest::READABLE, Interest::BOTH].map(|interest| {
        let (ours, theirs) = pair();
        bench.add(ours, interest);
        theirs
    });
    // Two are polled by now.
    bench.wait(PATIENCE);
    drop(bench);
    for theirs in &mut peers {
        assert_eq!(theirs.read(&mut [0; 16]).unwrap(), 0);
    }
}

#[test]
fn pollers_move_between_threads_and_wakers_are_shared() {
    fn moves<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    moves::<Poller<UdpSocket>>();
    is_shared::<Events>();
    is_shared::<Waker>();
}

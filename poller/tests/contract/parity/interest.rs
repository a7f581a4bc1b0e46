//! Interest that changes: withdrawn and declared again, in place of modes that end by themselves.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ampe_poller::Interest;

use super::bench::{Bench, pair, read};

#[test]
fn what_is_left_is_reported_once_it_is_wanted_again() {
    let mut bench = Bench::new();
    let (ours, mut theirs) = pair();
    let key = bench.add(ours, Interest::READABLE);
    theirs.write_all(b"12345").unwrap();
    bench.assert_reports(&[(key, Interest::READABLE)]);
    bench.declare(key, Interest::NONE);
    assert_eq!(read(bench.get(key), 3), Some(3));
    bench.assert_quiet();
    // More does not matter either.
    theirs.write_all(b"67").unwrap();
    bench.assert_quiet();
    bench.declare(key, Interest::READABLE);
    bench.assert_reports(&[(key, Interest::READABLE)]);
}

#[test]
fn only_the_last_interest_before_a_wait_counts() {
    let mut bench = Bench::new();
    let (ours, mut theirs) = pair();
    theirs.write_all(b"x").unwrap();
    let key = bench.add(ours, Interest::READABLE);
    bench.assert_reports(&[(key, Interest::READABLE)]);
    bench.declare(key, Interest::READABLE);
    bench.declare(key, Interest::NONE);
    bench.declare(key, Interest::WRITABLE);
    bench.assert_reports(&[(key, Interest::WRITABLE)]);
}

#[test]
fn a_listener_is_readable_and_never_writable() {
    let mut bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let key = bench.add(listener, Interest::READABLE);
    let _client = TcpStream::connect(address).unwrap();
    bench.declare(key, Interest::WRITABLE);
    bench.assert_quiet();
    bench.declare(key, Interest::BOTH);
    bench.assert_reports(&[(key, Interest::READABLE)]);
}

/// By AFD, each change has to end a poll that is in flight.
#[test]
fn a_poll_that_had_to_end_for_another_is_asked_again() {
    let mut bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let key = bench.add(listener, Interest::READABLE);
    for interest in [Interest::WRITABLE, Interest::READABLE, Interest::BOTH] {
        bench.assert_quiet();
        bench.declare(key, interest);
    }
    let _client = TcpStream::connect(address).unwrap();
    bench.assert_reports(&[(key, Interest::READABLE)]);
    assert!(bench.get(key).accept().is_ok());
    bench.assert_quiet();
}

#[test]
fn a_source_that_was_taken_out_is_put_in_again() {
    let mut bench = Bench::new();
    let (ours, mut theirs) = pair();
    let mut ours = Some(ours);
    for waits in 0..3 {
        let key = bench.add(ours.take().unwrap(), Interest::READABLE);
        for _ in 0..waits {
            bench.assert_quiet();
        }
        ours = bench.poller.remove(key);
        bench.assert_quiet();
    }
    let key = bench.add(ours.unwrap(), Interest::READABLE);
    theirs.write_all(b"x").unwrap();
    bench.assert_reports(&[(key, Interest::READABLE)]);
}

#[test]
fn sources_that_were_taken_out_are_silent() {
    let mut bench = Bench::new();
    let (ours, mut theirs) = pair();
    let key = bench.add(ours, Interest::READABLE);
    bench.assert_quiet();
    theirs.write_all(b"x").unwrap();
    bench.assert_reports(&[(key, Interest::READABLE)]);
    bench.declare(key, Interest::WRITABLE);
    bench.assert_reports(&[(key, Interest::WRITABLE)]);
    let _ours = bench.poller.remove(key).unwrap();
    bench.assert_quiet();
}

/// Other threads cannot touch a poller; they ask its own thread to, and wake it.
enum Order {
    Insert(TcpStream),
    Want(Interest),
}

#[test]
fn a_source_that_came_during_a_wait_is_reported() {
    let mut bench = Bench::new();
    let waker = bench.poller.waker();
    let (orders, inbox) = mpsc::channel();
    let (ours, mut theirs) = pair();
    let sender = thread::spawn(move || {
        orders.send(Order::Insert(ours)).unwrap();
        waker.wake().unwrap();
        theirs.write_all(b"x").unwrap();
        theirs
    });
    obey(&mut bench, &inbox, None);
    sender.join().unwrap();
}

#[test]
fn interest_that_came_during_a_wait_counts() {
    let mut bench = Bench::new();
    let waker = bench.poller.waker();
    let (orders, inbox) = mpsc::channel();
    let (ours, mut theirs) = pair();
    let key = bench.add(ours, Interest::NONE);
    let sender = thread::spawn(move || {
        orders.send(Order::Want(Interest::READABLE)).unwrap();
        waker.wake().unwrap();
        theirs.write_all(b"x").unwrap();
        theirs
    });
    obey(&mut bench, &inbox, Some(key));
    sender.join().unwrap();
}

/// Does what is ordered whenever it is woken, until a source is reported, which is readable.
#[track_caller]
fn obey(
    bench: &mut Bench<TcpStream>,
    inbox: &mpsc::Receiver<Order>,
    mut key: Option<ampe_poller::Key>,
) {
    loop {
        let reports = bench.wait(crate::common::PATIENCE);
        for order in inbox.try_iter() {
            match order {
                Order::Insert(stream) => key = Some(bench.add(stream, Interest::READABLE)),
                Order::Want(interest) => bench.declare(key.unwrap(), interest),
            }
        }
        assert!(
            bench.events.woken() || !reports.is_empty(),
            "waited in vain"
        );
        if !reports.is_empty() {
            assert_eq!(reports, [(key.unwrap(), Interest::READABLE)].into());
            return;
        }
    }
}

#[test]
fn a_source_without_interest_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let (ours, _theirs) = pair();
    let key = bench.add(ours, Interest::NONE);
    assert_eq!(bench.wait(Duration::ZERO).len(), 0);
    assert!(bench.poller.remove(key).is_some());
    bench.poller.shut_down().unwrap();
}

//! What is reported, of one source and of many.

use std::collections::HashMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ampe_poller::{Events, Interest};

use super::bench::{Bench, fill, pair, random, read};
use crate::common::PATIENCE;

#[test]
fn data_makes_a_source_readable_and_nothing_does_before() {
    let mut bench = Bench::new();
    let (ours, mut theirs) = pair();
    let key = bench.add(ours, Interest::READABLE);
    bench.assert_quiet();
    theirs.write_all(b"x").unwrap();
    bench.assert_reports(&[(key, Interest::READABLE)]);
}

#[test]
fn what_is_left_is_reported_again_until_it_is_read() {
    let mut bench = Bench::new();
    let (ours, mut theirs) = pair();
    let key = bench.add(ours, Interest::READABLE);
    theirs.write_all(b"12345").unwrap();
    bench.assert_reports(&[(key, Interest::READABLE)]);
    assert_eq!(read(bench.get(key), 3), Some(3));
    bench.assert_reports(&[(key, Interest::READABLE)]);
    assert_eq!(read(bench.get(key), 2), Some(2));
    bench.assert_quiet();
}

#[test]
fn each_wait_reports_anew_all_that_is_ready() {
    let mut bench = Bench::new();
    let mut expected = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..4 {
        let (ours, mut theirs) = pair();
        let key = bench.add(ours, Interest::READABLE);
        theirs.write_all(b"x").unwrap();
        expected.push((key, Interest::READABLE));
        peers.push(theirs);
        bench.assert_reports(&expected);
    }
    // A batch that nobody has emptied is replaced, not added to: nobody is in it twice.
    for _ in 0..10 {
        let events = &mut bench.events;
        bench.poller.wait(events, Some(PATIENCE)).unwrap();
    }
    assert!(!bench.taken().is_empty());
}

#[test]
fn a_wait_of_no_time_reports_what_is_ready() {
    let mut bench = Bench::new();
    let peers = [(); 3].map(|()| {
        let (ours, theirs) = pair();
        bench.add(ours, Interest::WRITABLE);
        theirs
    });
    assert_eq!(bench.wait(Duration::ZERO).len(), peers.len());
}

#[test]
fn each_of_a_hundred_connections_is_reported_alone() {
    let mut random = random();
    let mut bench = Bench::new();
    let mut peers = Vec::new();
    for _ in 0..100 {
        let (ours, theirs) = pair();
        peers.push((bench.add(ours, Interest::READABLE), theirs));
    }
    while !peers.is_empty() {
        let (key, mut theirs) = peers.swap_remove(random.usize(..peers.len()));
        theirs.write_all(b"x").unwrap();
        bench.assert_reports(&[(key, Interest::READABLE)]);
        assert_eq!(read(bench.get(key), 2), Some(1));
        assert!(bench.poller.remove(key).is_some());
    }
    assert!(bench.poller.is_empty());
}

/// A system may refuse the second, and then says so; the first is none the worse for it.
#[test]
fn a_socket_that_was_inserted_twice_is_reported_or_refused_each_time() {
    let mut bench = Bench::new();
    let (ours, mut theirs) = pair();
    let ours = Arc::new(ours);
    let keys = [(); 2].map(|()| bench.add(Arc::clone(&ours), Interest::READABLE));
    theirs.write_all(b"x").unwrap();
    let mut refused = HashMap::new();
    let mut reported = HashMap::new();
    let deadline = Instant::now() + PATIENCE;
    while reported.len() + refused.len() < keys.len() {
        assert!(Instant::now() < deadline, "{reported:?}, {refused:?}");
        reported.extend(bench.wait(PATIENCE));
        refused.extend(bench.refused.drain());
    }
    assert!(!reported.is_empty(), "{refused:?}");
    for (key, why) in refused {
        assert_eq!(why, std::io::ErrorKind::AlreadyExists);
        // It takes nothing with it that is the other's.
        assert!(bench.poller.remove(key).is_some());
    }
    let left = reported.into_iter().collect::<Vec<_>>();
    bench.assert_reports(&left);
    assert_eq!(read(&ours, 2), Some(1));
    bench.assert_quiet();
    theirs.write_all(b"x").unwrap();
    bench.assert_reports(&left);
}

#[test]
fn each_handle_of_a_socket_is_reported() {
    let mut bench = Bench::new();
    let (one, mut theirs) = pair();
    let handles = [one.try_clone().unwrap(), one.try_clone().unwrap(), one];
    let keys = handles.map(|handle| bench.add(handle, Interest::READABLE));
    bench.assert_quiet();
    theirs.write_all(b"x").unwrap();
    bench.assert_reports(&keys.map(|key| (key, Interest::READABLE)));
    // Of one that is closed the others are none the worse.
    assert!(bench.poller.close(keys[0]));
    bench.assert_reports(&[keys[1], keys[2]].map(|key| (key, Interest::READABLE)));
    assert_eq!(read(bench.get(keys[1]), 2), Some(1));
    bench.assert_quiet();
    // One wants to write and the other to read, as the halves of a stream.
    bench.declare(keys[1], Interest::WRITABLE);
    bench.assert_reports(&[(keys[1], Interest::WRITABLE)]);
    theirs.write_all(b"x").unwrap();
    bench.assert_reports(&[(keys[1], Interest::WRITABLE), (keys[2], Interest::READABLE)]);
}

#[test]
fn a_connected_stream_is_writable_only_while_it_has_room() {
    let mut bench = Bench::new();
    let (ours, theirs) = pair();
    let key = bench.add(ours, Interest::WRITABLE);
    for _ in 0..5 {
        let mut sent = 0;
        let deadline = Instant::now() + PATIENCE;
        bench.assert_reports(&[(key, Interest::WRITABLE)]);
        // TCP takes more while it moves what it has: until it does not.
        while !bench.wait(Duration::ZERO).is_empty() {
            assert!(Instant::now() < deadline, "it is writable without room");
            sent += fill(bench.get(key));
        }
        assert!(sent > 0);
        while sent > 0 {
            sent -= read(&theirs, 1 << 16).unwrap();
        }
    }
}

#[test]
fn a_batch_without_room_has_room_for_one() {
    let mut bench = Bench::new();
    bench.events = Events::with_capacity(0);
    let (ours, _theirs) = pair();
    let key = bench.add(ours, Interest::WRITABLE);
    bench.assert_reports(&[(key, Interest::WRITABLE)]);
}

#[test]
fn a_stream_connects_and_finds_nothing_to_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bench = Bench::new();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_nonblocking(true).unwrap();
    let key = bench.add(client, Interest::BOTH);
    bench.assert_reports(&[(key, Interest::WRITABLE)]);
    assert_eq!(read(bench.get(key), 16), None);
}

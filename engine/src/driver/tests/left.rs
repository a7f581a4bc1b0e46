//! What a pass leaves ready is said to be left: a loop that watches the poller by edges is told of nothing that was
//! ready before.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::handles::{Reactor, Reads};

/// What such a loop watches.
fn watched(bench: &mut Bench) -> OwnedFd {
    let lookout = bench.sockets.world.lookout().unwrap().unwrap();
    lookout.watched().unwrap().try_clone_to_owned().unwrap()
}

pub(crate) fn is_readable(watched: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(watched, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).expect("poll(2)") > 0
}

/// Makes passes until one says that it has left nothing.
fn pass_until_idle(bench: &mut Bench) {
    loop {
        bench.driver.wait(Some(Instant::now())).unwrap();
        bench.driver.work(Reads::Yes);
        bench.driver.rest();
        if !Reactor::leaves_ready(&bench.driver) {
            return;
        }
    }
}

/// A backlog is longer than what is accepted at once, and what is read behind that ends the pass. The next one
/// finds nothing more of the same reports.
#[test]
fn what_was_left_by_the_first_of_two_passes_over_the_same_reports() {
    let limits = Limits {
        bytes_per_pass: 1,
        ..LIMITS
    };
    let mut bench = Bench::of(Options::default(), limits, GroupShared::new(1, 0, 0));
    let (_, mut peer) = connected(&mut bench);
    let watched = watched(&mut bench);
    let address = "tcp://127.0.0.1:0".parse().unwrap();
    bench.posting.listen(&address).unwrap();
    let Event::Listening(listening) = bench.event() else {
        panic!("it listens")
    };
    pass_until_idle(&mut bench);
    let to = listening.address().socket_addr().unwrap();
    let _peers = [(); 70].map(|()| TcpStream::connect(to).unwrap());
    peer.write_all(&[0; 3]).unwrap();
    pass_until_idle(&mut bench);
    assert!(!is_readable(&watched));
}

/// A socket was reported readable and takes no more bytes; when it takes some again, before epoll is told that
/// this is wanted as well, epoll does not become readable anew.
#[test]
fn what_is_wanted_as_well_and_ready_at_once() {
    let mut bench = Bench::new();
    let watched = watched(&mut bench);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let channel = bench.posting.connect(&address.parse().unwrap()).unwrap();
    bench.pass_until("a connection", |bench| {
        matches!(bench.inbox.try_recv(), Ok(Some(Event::Opened(_))))
    });
    let mut peer = listener.accept().unwrap().0;
    pass_until_idle(&mut bench);
    peer.write_all(&[0; 3]).unwrap();
    pass_until_idle(&mut bench);
    // More than both buffers take, in a pass that reads nothing.
    let body = [0; 60_000];
    let post = |posting: &ChannelGroup| {
        let message = posting.message().with_body(&body).unwrap();
        posting.post(message.signal(channel)).is_ok()
    };
    peer.set_nonblocking(true).unwrap();
    let mut most = 0;
    loop {
        while post(&bench.posting) {}
        let before = bench.sockets.wants_to_write();
        bench.driver.work(Reads::No);
        if !before && bench.sockets.wants_to_write() {
            break;
        }
        most += 1;
        assert!(most < 1000, "it takes everything");
    }
    // All that has come is taken before epoll is told.
    let mut buffer = vec![0; 1 << 20];
    let a_while = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    while poll(&mut [PollFd::new(&peer, PollFlags::IN)], Some(&a_while)).unwrap() > 0 {
        assert!(peer.read(&mut buffer).unwrap() > 0);
    }
    bench.driver.rest();
    assert!(is_readable(&watched), "else this tests nothing");
    assert!(Reactor::leaves_ready(&bench.driver));
}

/// A read below the frames takes less than there is, though what it brought is less than was asked for.
#[test]
fn what_a_read_left_below_the_frames() {
    let limits = Limits {
        bytes_per_read: 1000,
        ..LIMITS
    };
    let mut bench = secured::bench(limits);
    let watched = watched(&mut bench);
    let (key, mut peer) = secured::greeted(&mut bench);
    pass_until_idle(&mut bench);
    let bytes = [peer.says(&frame(OpCode::Signal, 5, b"")), peer.pings(2000)].concat();
    peer.tcp.write_all(&bytes).unwrap();
    await_arrived(&bench, key, bytes.len());
    bench.driver.wait(Some(Instant::now())).unwrap();
    bench.driver.work(Reads::Yes);
    bench.driver.rest();
    assert!(matches!(bench.event(), Event::Signal(_)));
    assert!(Reactor::leaves_ready(&bench.driver));
    pass_until_idle(&mut bench);
    assert!(!is_readable(&watched));
}

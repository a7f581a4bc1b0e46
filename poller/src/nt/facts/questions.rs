//! What only real Windows can answer. Each prints what it has seen, and fails if the backend would have
//! to know of it:
//!
//! ```sh
//! cargo test -p ampe-poller --lib nt::facts -- --include-ignored --nocapture --test-threads 1
//! ```
//!
//! A 32-bit system is asked by the same with `--target i686-pc-windows-msvc`, a container by running
//! it there.

use std::os::windows::io::{AsRawSocket, AsSocket, FromRawSocket, OwnedSocket};
use std::ptr::null;
use std::thread;
use std::time::{Duration, Instant};

use windows_sys::Win32::Networking::WinSock as winsock;

use super::lab::{Issued, Lab};
use super::{Status, flag};
use crate::afd::ControlMode;
use crate::backend::Afd;
use crate::conformance::worlds::{AUTO, Tcp, World};
use crate::nt::{Handle, Nt};
use crate::poller::Source;
use crate::{Events, Interest, Poller};

type Windows = Lab<Tcp<AUTO>>;

/// Blocks until Winsock's own poll says that there is something to read.
fn poll_by_winsock(socket: &impl AsSocket) {
    let mut question = winsock::WSAPOLLFD {
        fd: socket.as_socket().as_raw_socket() as winsock::SOCKET,
        events: winsock::POLLRDNORM,
        revents: 0,
    };
    // SAFETY: there is one structure, which lives until the call returns.
    while unsafe { winsock::WSAPoll(&raw mut question, 1, 0) } <= 0 {
        thread::yield_now();
    }
}

#[test]
#[ignore = "asks real Windows"]
fn somebody_else_s_wsapoll_of_the_same_socket_takes_nothing_away() {
    for issued in Issued::WAYS {
        let mut lab = Windows::new();
        let (ours, theirs) = lab.ground.pair();
        let control = lab.control(&ours, issued);
        let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE);
        let theirs_found = thread::scope(|scope| {
            let asked = scope.spawn(|| poll_by_winsock(&ours));
            lab.ground.write(&theirs, 1);
            asked.join()
        });
        theirs_found.unwrap();
        lab.assert_ends(poll, Status::SUCCESS, flag::RECEIVE);
    }
}

/// What the backend sees to that it never does itself: a poll for room, another one for data, and data comes.
#[test]
#[ignore = "asks real Windows"]
fn what_two_polls_of_one_socket_answer() {
    for has_two_files in [false, true] {
        let mut lab = Windows::new();
        let (ours, theirs) = lab.ground.pair();
        let one = lab.helper();
        let helpers = [one, if has_two_files { lab.helper() } else { one }];
        lab.ground.fill(&ours);
        let polls = [(helpers[0], flag::SEND), (helpers[1], flag::RECEIVE)]
            .map(|(helper, mask)| lab.wait_for(helper, ours.handle(), mask));
        lab.ground.write(&theirs, 1);
        lab.ground.await_readable(&ours);
        let (first, status) = lab.next_packet();
        let found = lab.answer(first);
        println!(
            "on two files: {has_two_files}; first: the poll for room, {}: {status:?}, {found:#05x}",
            first == polls[0]
        );
        for at in (0..2).filter(|at| polls[*at] != first) {
            let is_pending = lab.poll_is_pending(polls[at]);
            println!("the other one is pending: {is_pending}");
            lab.cancel(helpers[at], polls[at]);
        }
    }
}

#[test]
#[ignore = "asks real Windows"]
fn what_becomes_of_a_file_that_leaves_its_port_with_a_poll_in_flight() {
    let mut lab = Windows::new();
    let (ours, theirs) = lab.ground.pair();
    let control = lab.control(&ours, Issued::OnTheSocket);
    let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE);
    let answer = lab.nt.dissociate(control);
    println!("leaving with a poll in flight: {answer:?}");
    lab.ground.write(&theirs, 1);
    lab.ground.await_readable(&ours);
    let start = Instant::now();
    while lab.poll_is_pending(poll) && start.elapsed() < Duration::from_secs(2) {
        thread::yield_now();
    }
    // The backend leaves only what is idle; else the socket keeps its marks.
    println!("its packet came: {}", !lab.poll_is_pending(poll));
}

/// Sockets that are made without the flag for overlapped operations, as some libraries do.
#[test]
#[ignore = "asks real Windows"]
fn a_socket_that_is_not_overlapped_is_polled_one_way_or_the_other() {
    let mut lab = Windows::new();
    // SAFETY: nothing is pointed to.
    let socket = unsafe {
        winsock::WSASocketW(
            i32::from(winsock::AF_INET),
            winsock::SOCK_STREAM,
            winsock::IPPROTO_TCP,
            null(),
            0,
            0,
        )
    };
    assert_ne!(socket, winsock::INVALID_SOCKET);
    // SAFETY: it was just opened, and nobody else knows it.
    let socket = unsafe { OwnedSocket::from_raw_socket(socket as u64 as _) };
    let handle = Source::<Handle>::handle(&socket);
    let answer = lab.nt.associate(handle, lab.port, super::lab::KEY);
    println!("association of a socket that is not overlapped: {answer:?}");
    let helper = lab.helper();
    let poll = lab.wait_for(helper, handle, flag::RECEIVE);
    assert_eq!(lab.cancel(helper, poll), Status::SUCCESS);
    lab.assert_ends(poll, Status::CANCELLED, 0);
    let mut poller = Poller::<_, (), Afd>::with_backend().unwrap();
    let key = poller.insert(socket.as_socket()).unwrap();
    poller.set_interest(key, Interest::READABLE);
    let mut events = Events::with_capacity(1);
    poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
    assert!(events.is_empty(), "it was refused");
}

#[test]
#[ignore = "asks real Windows"]
fn a_full_socket_that_is_reset_is_reported_to_who_would_write() {
    for issued in Issued::WAYS {
        let mut lab = Windows::new();
        let (ours, theirs) = lab.ground.pair();
        let control = lab.control(&ours, issued);
        lab.ground.fill(&ours);
        let mask = flag::SEND | flag::ABORT | flag::CONNECT_FAIL;
        let poll = lab.wait_for(control, ours.handle(), mask);
        lab.ground.reset(&ours, theirs);
        assert_eq!(lab.next_packet(), (poll, Status::SUCCESS));
        let found = lab.answer(poll);
        println!("{issued:?}: a full socket that is reset has {found:#05x}");
        assert_ne!(found & flag::ABORT, 0);
    }
}

/// How long it takes to begin and to end so many polls: groups of helpers exist because ending one is
/// said to cost in proportion to what its file has in flight.
#[test]
#[ignore = "asks real Windows"]
fn what_many_polls_cost() {
    for mode in [ControlMode::Direct, ControlMode::Helper] {
        for sockets in [1_000, 10_000] {
            let ground = Tcp::<AUTO>::new();
            let mut poller = Poller::with_control(mode).unwrap();
            let mut events = Events::with_capacity(256);
            let keys: Vec<_> = (0..sockets)
                .map(|_| poller.insert(ground.listen()).unwrap())
                .collect();
            let mut declare = |interest| {
                let start = Instant::now();
                for key in &keys {
                    poller.set_interest(*key, interest);
                }
                poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
                start.elapsed()
            };
            let begun = declare(Interest::READABLE);
            let start = Instant::now();
            poller.shut_down().unwrap();
            println!(
                "{mode:?}, {sockets} polls: begun in {begun:?}, ended in {:?}",
                start.elapsed()
            );
        }
    }
}

//! What only backends over descriptors can get wrong.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::SealedSource;
use crate::backend::{Backend, Poll};
use crate::poller::Source;
use crate::socket::Stream;
use crate::{Events, Interest, Key, Poller};

#[cfg(any(target_os = "linux", target_os = "android"))]
mod kqueue;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod refusals;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod watching;

/// A source whose descriptor can be closed while it is polled, which no source of other crates is.
struct Careless(RefCell<Option<Stream>>);

impl SealedSource<RawFd> for Careless {}

impl Source<RawFd> for Careless {
    fn handle(&self) -> RawFd {
        self.0.borrow().as_ref().unwrap().as_fd().as_raw_fd()
    }
}

impl Careless {
    fn pair() -> (Careless, Stream) {
        let (ours, theirs) = Stream::pair().unwrap();
        (Careless(RefCell::new(Some(ours))), theirs)
    }

    fn duplicate(&self) -> OwnedFd {
        let stream = self.0.borrow();
        stream
            .as_ref()
            .unwrap()
            .as_fd()
            .try_clone_to_owned()
            .unwrap()
    }
}

fn add<B: Backend<Handle = RawFd>>(poller: &mut Poller<Careless, (), B>, source: Careless) -> Key {
    let key = poller.insert(source).unwrap();
    poller.set_interest(key, Interest::READABLE);
    key
}

fn wait<B: Backend<Handle = RawFd>>(poller: &mut Poller<Careless, (), B>) -> Vec<Key> {
    let mut events = Events::with_capacity(8);
    poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
    std::iter::from_fn(|| poller.next_event(&mut events))
        .map(|event| event.key())
        .collect()
}

fn send(stream: &Stream) {
    stream.send_vectored(&[io::IoSlice::new(b"x")]).unwrap();
}

/// With its descriptor closed behind the poller's back and a duplicate open, epoll keeps what it
/// knew of a source, and nothing can take it out of the set.
#[test]
fn what_epoll_cannot_forget_never_reaches_a_successor() {
    let mut poller = Poller::<Careless>::with_backend().unwrap();
    let (bystander, to_bystander) = Careless::pair();
    let bystander = add(&mut poller, bystander);
    let (old, to_old) = Careless::pair();
    let duplicate = old.duplicate();
    let old = add(&mut poller, old);
    assert_eq!(wait(&mut poller), []);

    drop(poller.get(old).unwrap().0.take());
    assert!(poller.close(old));
    let (new, to_new) = Careless::pair();
    let new = add(&mut poller, new);
    assert_eq!(new.index, old.index);
    send(&to_old);
    assert_eq!(wait(&mut poller), []);

    send(&to_bystander);
    assert_eq!(wait(&mut poller), [bystander]);
    send(&to_new);
    let mut reported = wait(&mut poller);
    reported.sort_by_key(|key| key.index);
    assert_eq!(reported, [bystander, new]);
    drop(duplicate);
}

/// The same, where the system already refuses to change what the set holds.
#[test]
fn what_epoll_cannot_change_rests_and_never_reaches_a_successor() {
    let mut poller = Poller::<Careless>::with_backend().unwrap();
    let (old, to_old) = Careless::pair();
    let duplicate = old.duplicate();
    let old = add(&mut poller, old);
    send(&to_old);
    assert_eq!(wait(&mut poller), [old]);
    drop(poller.get(old).unwrap().0.take());
    poller.set_interest(old, Interest::BOTH);
    let mut events = Events::with_capacity(8);
    poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
    let event = poller.next_event(&mut events).unwrap();
    assert!(event.key() == old && event.error().is_some());
    for _ in 0..2 {
        assert_eq!(wait(&mut poller), [], "it rests");
    }
    assert!(poller.close(old));
    let (new, to_new) = Careless::pair();
    let new = add(&mut poller, new);
    assert_eq!(new.index, old.index);
    assert_eq!(wait(&mut poller), []);
    send(&to_new);
    assert_eq!(wait(&mut poller), [new]);
    drop(duplicate);
}

#[test]
fn the_signal_survives_the_set_that_could_not_forget() {
    let mut poller = Poller::<Careless>::with_backend().unwrap();
    let (source, _peer) = Careless::pair();
    let duplicate = source.duplicate();
    let key = add(&mut poller, source);
    assert_eq!(wait(&mut poller), []);
    drop(poller.get(key).unwrap().0.take());
    poller.close(key);

    let waker = poller.waker();
    let mut events = Events::with_capacity(1);
    let wakes = std::thread::spawn(move || {
        while waker.state().signals() == 0 {
            waker.wake().unwrap();
            std::thread::yield_now();
        }
    });
    while !wakes.is_finished() {
        poller
            .wait(&mut events, Some(Duration::from_millis(1)))
            .unwrap();
    }
    wakes.join().unwrap();
    drop(duplicate);
}

/// A number that no descriptor has.
struct NotOpen;

impl SealedSource<RawFd> for NotOpen {}

impl Source<RawFd> for NotOpen {
    fn handle(&self) -> RawFd {
        RawFd::MAX - 1
    }
}

fn a_descriptor_that_is_not_open_is_reported_once<B: Backend<Handle = RawFd>>() {
    let mut poller = Poller::<NotOpen, (), B>::with_backend().unwrap();
    let key = poller.insert(NotOpen).unwrap();
    let mut events = Events::with_capacity(8);
    for _ in 0..2 {
        poller.set_interest(key, Interest::WRITABLE);
        for is_reported in [true, false] {
            poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
            let event = poller.next_event(&mut events);
            assert_eq!(event.is_some(), is_reported);
            let Some(event) = event else { continue };
            assert!(event.is_writable() && !event.is_readable());
            let error = event.error().and_then(|error| error.raw_os_error());
            assert_eq!(error, Some(rustix::io::Errno::BADF.raw_os_error()));
        }
    }
}

#[test]
fn poll_reports_a_descriptor_that_is_not_open_once() {
    a_descriptor_that_is_not_open_is_reported_once::<Poll>();
}

#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn kqueue_reports_a_descriptor_that_is_not_open_once() {
    a_descriptor_that_is_not_open_is_reported_once::<crate::sys::kqueue::Kqueue>();
}

#[test]
fn the_default_reports_a_descriptor_that_is_not_open_once() {
    a_descriptor_that_is_not_open_is_reported_once::<crate::backend::DefaultBackend>();
}

/// What sockets report together with readiness, pipes report alone: the end of a pipe without data
/// is a hang-up only, that of a full one an error only. The hints are of that alone, too.
fn errors_and_hang_up_alone_are_readiness<B: Backend<Handle = RawFd>>() {
    let (receiver, sender) = rustix::pipe::pipe().unwrap();
    drop(sender);
    let (other_receiver, full) = rustix::pipe::pipe().unwrap();
    rustix::io::ioctl_fionbio(&full, true).unwrap();
    while rustix::io::write(&full, &[0; 4096]).is_ok() {}
    drop(other_receiver);

    let mut poller = Poller::<OwnedFd, (), B>::with_backend().unwrap();
    let receiver = poller.insert(receiver).unwrap();
    poller.set_interest(receiver, Interest::READABLE);
    let full = poller.insert(full).unwrap();
    poller.set_interest(full, Interest::WRITABLE);
    let mut events = Events::with_capacity(8);
    for _ in 0..2 {
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        let mut reported = Vec::new();
        while let Some(event) = poller.next_event(&mut events) {
            reported.push((event.key(), event.readiness()));
            let told = (
                event.is_peer_closed(),
                event.is_hung_up(),
                event.is_failed(),
            );
            let expected = match (event.key() == full, B::TELLS_FAILURES) {
                (false, tells) => (true, tells, false),
                (true, true) => (false, false, true),
                (true, false) => (false, true, false),
            };
            assert_eq!(told, expected, "{event:?}");
        }
        reported.sort_by_key(|(key, _)| key.index);
        assert_eq!(
            reported,
            [(receiver, Interest::READABLE), (full, Interest::WRITABLE)]
        );
    }
}

#[test]
fn errors_and_hang_up_alone_are_readiness_with_poll() {
    errors_and_hang_up_alone_are_readiness::<Poll>();
}

#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn errors_and_hang_up_alone_are_readiness_with_kqueue() {
    errors_and_hang_up_alone_are_readiness::<crate::sys::kqueue::Kqueue>();
}

#[test]
fn errors_and_hang_up_alone_are_readiness_with_the_default() {
    errors_and_hang_up_alone_are_readiness::<crate::backend::DefaultBackend>();
}

/// Systems refuse to sleep for so long, and nobody has to know.
fn a_wait_may_be_given_any_time<B: Backend<Handle = RawFd>>() {
    const YEAR: u64 = 365 * 24 * 60 * 60;
    let mut poller = Poller::<Careless, (), B>::with_backend().unwrap();
    let (source, peer) = Careless::pair();
    let key = add(&mut poller, source);
    send(&peer);
    let mut events = Events::with_capacity(8);
    for seconds in [YEAR, 100 * YEAR, 10_000_000_000 * YEAR, u64::MAX] {
        let timeout = Some(Duration::from_secs(seconds));
        poller.wait(&mut events, timeout).unwrap();
        let event = poller.next_event(&mut events);
        assert_eq!(event.map(|event| event.key()), Some(key), "{seconds}");
    }
}

#[test]
fn poll_may_be_given_any_time() {
    a_wait_may_be_given_any_time::<Poll>();
}

#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn kqueue_may_be_given_any_time() {
    a_wait_may_be_given_any_time::<crate::sys::kqueue::Kqueue>();
}

#[test]
fn the_default_may_be_given_any_time() {
    a_wait_may_be_given_any_time::<crate::backend::DefaultBackend>();
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn no_more_is_asked_for_than_the_batch_takes<B: Backend<Handle = RawFd>>() {
    let mut poller = Poller::<Careless, (), B>::with_backend().unwrap();
    let peers: Vec<Stream> = (0..3)
        .map(|_| {
            let (source, peer) = Careless::pair();
            add(&mut poller, source);
            send(&peer);
            peer
        })
        .collect();
    for (capacity, expected) in [(0, 1), (1, 1), (2, 2), (3, 3), (5000, 3)] {
        let mut events = Events::with_capacity(capacity);
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), expected, "of {capacity}");
    }
    drop(peers);
}

#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn epoll_is_asked_for_no_more_than_the_batch_takes() {
    no_more_is_asked_for_than_the_batch_takes::<crate::backend::Epoll>();
}

#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn kqueue_is_asked_for_no_more_than_the_batch_takes() {
    no_more_is_asked_for_than_the_batch_takes::<crate::sys::kqueue::Kqueue>();
}

/// Another loop sees by the poller's descriptor what a wait would find.
#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn a_poller_can_be_watched_by_poll_and_by_another_poller() {
    use rustix::event::{PollFd, PollFlags, poll};

    let (ours, theirs) = Stream::pair().unwrap();
    let mut inner = Poller::new().unwrap();
    let key = inner.insert(ours).unwrap();
    inner.set_interest(key, Interest::READABLE);
    let mut events = Events::with_capacity(8);
    inner.wait(&mut events, Some(Duration::ZERO)).unwrap();
    let is_readable = |inner: &Poller<Stream>| {
        let mut list = [PollFd::new(inner, PollFlags::IN)];
        poll(&mut list, Some(&rustix::time::Timespec::default())).unwrap() == 1
    };
    let descriptor = inner.as_fd().try_clone_to_owned().unwrap();
    let mut outer = Poller::<OwnedFd>::new().unwrap();
    let nested = outer.insert(descriptor).unwrap();
    outer.set_interest(nested, Interest::READABLE);
    let mut outer_events = Events::with_capacity(8);
    let mut is_reported = |time| {
        outer.wait(&mut outer_events, Some(time)).unwrap();
        outer.next_event(&mut outer_events).map(|event| event.key()) == Some(nested)
    };
    assert!(!is_readable(&inner) && !is_reported(Duration::ZERO));

    send(&theirs);
    assert!(is_reported(Duration::from_secs(60)) && is_readable(&inner));
    inner.wait(&mut events, Some(Duration::ZERO)).unwrap();
    assert_eq!(
        inner.next_event(&mut events).map(|event| event.key()),
        Some(key)
    );
    assert!(is_reported(Duration::ZERO), "level-triggered, as ever");
    inner.get(key).unwrap().recv(&mut [0; 8]).unwrap();
    assert!(!is_readable(&inner) && !is_reported(Duration::ZERO));

    // A wake reaches whoever sleeps in the poller, and nobody does.
    inner.waker().wake().unwrap();
    assert!(!is_readable(&inner));
    inner.wait(&mut events, None).unwrap();
    assert!(events.woken());
}

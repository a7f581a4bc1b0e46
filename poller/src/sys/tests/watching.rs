//! What a watch sees of a poller over epoll.

use std::thread;
use std::time::{Duration, Instant};

use super::{Careless, add, send, wait};
use crate::backend::Poll;
use crate::socket::Stream;
use crate::{Interest, Poller, Seen, Watch};

const PATIENCE: Duration = Duration::from_secs(60);

fn watched() -> (Poller<Careless>, Watch) {
    let mut poller = Poller::with_backend().unwrap();
    let watch = poller.watch().unwrap().unwrap();
    (poller, watch)
}

fn looks(watch: &Watch) -> Seen {
    watch.wait(Some(Instant::now())).unwrap()
}

#[test]
fn an_armed_watch_sees_once_what_a_wait_would_report() {
    let (mut poller, watch) = watched();
    let (source, peer) = Careless::pair();
    let key = add(&mut poller, source);
    send(&peer);
    assert!(poller.settle());
    assert_eq!(looks(&watch), Seen::Nothing, "it is not armed");
    for _ in 0..2 {
        watch.arm().unwrap();
        assert_eq!(looks(&watch), Seen::Something, "what there was before too");
        assert_eq!(looks(&watch), Seen::Nothing, "that disarmed it");
        assert_eq!(wait(&mut poller), [key], "nothing was taken away");
    }
    watch.arm().unwrap();
    watch.disarm().unwrap();
    assert_eq!(looks(&watch), Seen::Nothing);
}

#[test]
fn a_watch_sees_what_the_poller_has_told_the_system() {
    let (mut poller, watch) = watched();
    let (source, peer) = Careless::pair();
    let key = poller.insert(source).unwrap();
    send(&peer);
    watch.arm().unwrap();
    poller.set_interest(key, Interest::READABLE);
    assert_eq!(looks(&watch), Seen::Nothing);
    assert!(poller.settle());
    assert_eq!(looks(&watch), Seen::Something);
    poller.set_interest(key, Interest::NONE);
    assert!(poller.settle());
    watch.arm().unwrap();
    assert_eq!(looks(&watch), Seen::Nothing);
}

/// Whoever leaves the poller to others has done what other threads have ordered before.
#[test]
fn a_watch_sees_what_other_threads_have_ordered() {
    let mut poller = Poller::<Stream>::new().unwrap();
    let watch = poller.watch().unwrap().unwrap();
    let (ours, theirs) = Stream::pair().unwrap();
    send(&theirs);
    let key = poller.remote().insert(ours, (), Interest::READABLE);
    assert!(poller.settle());
    watch.arm().unwrap();
    assert_eq!(looks(&watch), Seen::Something);
    assert!(poller.get(key.unwrap()).is_some());
}

#[test]
fn what_comes_ends_the_wait_of_an_armed_watch() {
    let (mut poller, watch) = watched();
    let (source, peer) = Careless::pair();
    add(&mut poller, source);
    assert!(poller.settle());
    watch.arm().unwrap();
    let sees = thread::spawn(move || watch.wait(Some(Instant::now() + PATIENCE)).unwrap());
    send(&peer);
    assert_eq!(sees.join().unwrap(), Seen::Something);
}

#[test]
fn a_wake_of_the_watch_is_kept_and_is_not_the_poller_s() {
    let (mut poller, watch) = watched();
    assert!(poller.settle());
    watch.wake().unwrap();
    watch.arm().unwrap();
    let begun = Instant::now();
    let seen = watch.wait(Some(begun + PATIENCE)).unwrap();
    assert_eq!(seen, Seen::Nothing);
    assert!(begun.elapsed() < PATIENCE, "it was woken");
    assert_eq!(wait(&mut poller), []);
    poller.waker().wake().unwrap();
    assert_eq!(looks(&watch), Seen::Nothing);
}

/// The next wait has to report it, and nothing else would bring that wait about.
#[test]
fn what_the_system_refuses_is_not_seen() {
    let mut poller = Poller::<std::fs::File>::new().unwrap();
    let _watch = poller.watch().unwrap().unwrap();
    let file = poller.insert(tempfile::tempfile().unwrap()).unwrap();
    poller.set_interest(file, Interest::READABLE);
    assert!(!poller.settle());
    assert!(!poller.settle());
    let mut events = crate::Events::with_capacity(8);
    poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
    let event = poller.next_event(&mut events).unwrap();
    assert!(event.error().is_some());
    assert!(poller.settle(), "it rests");
}

#[test]
fn a_set_that_had_to_be_replaced_is_seen_no_more() {
    let (mut poller, _watch) = watched();
    let (source, _peer) = Careless::pair();
    let duplicate = source.duplicate();
    let key = add(&mut poller, source);
    assert!(poller.settle());
    drop(poller.get(key).unwrap().0.take());
    poller.close(key);
    assert!(!poller.settle());
    assert_eq!(wait(&mut poller), []);
    assert!(!poller.settle());
    drop(duplicate);
}

/// The same where that is found out by settling itself, of a source that is wanted no more.
#[test]
fn a_set_that_has_to_be_replaced_is_seen_no_more() {
    let (mut poller, _watch) = watched();
    let (source, peer) = Careless::pair();
    let duplicate = source.duplicate();
    let key = add(&mut poller, source);
    assert!(poller.settle());
    drop(poller.get(key).unwrap().0.take());
    poller.set_interest(key, Interest::NONE);
    assert!(!poller.settle());
    send(&peer);
    assert_eq!(wait(&mut poller), [], "it is wanted no more");
    drop(duplicate);
}

#[test]
fn poll_cannot_be_watched() {
    let mut poller = Poller::<Stream, (), Poll>::with_backend().unwrap();
    assert!(poller.watch().unwrap().is_none());
    assert!(!poller.settle());
}

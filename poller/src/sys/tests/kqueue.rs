//! kqueue's logic over its simulated calls: what is told to the system, and what it refuses.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::{Careless, send, wait};
use crate::event::Event;
use crate::socket::Stream;
use crate::sys::kqueue::Kqueue;
use crate::sys::kqueue::simulated::{REFUSES_ALL, REFUSES_WRITING};
use crate::{Events, Interest, Key, Poller};

/// Sources of which several may have the same descriptor.
type Shared = Poller<Arc<Stream>, (), Kqueue>;

/// What one wait reports: the sources, and why they are refused if they are.
fn reports<S>(poller: &mut Poller<S, (), Kqueue>) -> Vec<(Key, Option<io::ErrorKind>)>
where
    S: crate::poller::Source<std::os::fd::RawFd>,
{
    let mut events = Events::with_capacity(8);
    poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
    let taken = std::iter::from_fn(|| poller.next_event(&mut events));
    let kind = |event: Event| event.error().map(|error| error.kind());
    let mut reports: Vec<_> = taken.map(|event| (event.key(), kind(event))).collect();
    reports.sort_by_key(|(key, _)| key.generation);
    reports
}

/// One of its two filters was added, or was there before.
#[test]
fn what_kqueue_refuses_in_part_rests_as_a_whole() {
    for was_read in [false, true] {
        let mut poller = Poller::<Careless, (), Kqueue>::with_backend().unwrap();
        let (source, peer) = Careless::pair();
        let key = poller.insert(source).unwrap();
        send(&peer);
        if was_read {
            poller.set_interest(key, Interest::READABLE);
            assert_eq!(wait(&mut poller), [key]);
        }
        REFUSES_WRITING.set(true);
        poller.set_interest(key, Interest::BOTH);
        let mut events = Events::with_capacity(8);
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        let event = poller.next_event(&mut events).unwrap();
        assert!(event.error().is_some() && event.is_readable() && event.is_writable());
        for _ in 0..2 {
            assert_eq!(wait(&mut poller), [], "it rests");
        }
        REFUSES_WRITING.set(false);
        assert_eq!(wait(&mut poller), [], "it rests");
        poller.set_interest(key, Interest::BOTH);
        assert_eq!(wait(&mut poller), [key]);
    }
}

/// Its filters are the first one's; when that is gone it has them for the asking.
#[test]
fn kqueue_polls_a_descriptor_for_one_source() {
    let mut poller = Shared::with_backend().unwrap();
    let (ours, theirs) = Stream::pair().unwrap();
    let ours = Arc::new(ours);
    let first = poller.insert(Arc::clone(&ours)).unwrap();
    poller.set_interest(first, Interest::READABLE);
    send(&theirs);
    assert_eq!(reports(&mut poller), [(first, None)]);
    let second = poller.insert(ours).unwrap();
    poller.set_interest(second, Interest::BOTH);
    let refused = Some(io::ErrorKind::AlreadyExists);
    assert_eq!(reports(&mut poller), [(first, None), (second, refused)]);
    assert_eq!(reports(&mut poller), [(first, None)]);
    // No interest of the first's is left, or the first is gone.
    poller.set_interest(first, Interest::NONE);
    assert_eq!(reports(&mut poller), []);
    poller.set_interest(second, Interest::READABLE);
    assert_eq!(reports(&mut poller), [(second, None)]);
    assert!(poller.close(second));
    poller.set_interest(first, Interest::READABLE);
    assert_eq!(reports(&mut poller), [(first, None)]);
}

/// Whoever was refused a descriptor and goes takes nothing with him.
#[test]
fn who_was_refused_a_descriptor_and_goes_leaves_it_to_its_owner() {
    let mut poller = Shared::with_backend().unwrap();
    let (ours, theirs) = Stream::pair().unwrap();
    let ours = Arc::new(ours);
    let add = |poller: &mut Shared| {
        let key = poller.insert(Arc::clone(&ours)).unwrap();
        poller.set_interest(key, Interest::READABLE);
        key
    };
    let first = add(&mut poller);
    send(&theirs);
    assert_eq!(reports(&mut poller), [(first, None)]);
    let refused = Some(io::ErrorKind::AlreadyExists);
    for _ in 0..2 {
        let other = add(&mut poller);
        assert_eq!(reports(&mut poller), [(first, None), (other, refused)]);
        assert!(poller.close(other));
        assert_eq!(reports(&mut poller), [(first, None)]);
    }
}

/// A descriptor whose source rests is free for another one.
#[test]
fn who_was_refused_by_the_system_keeps_no_descriptor_from_others() {
    let mut poller = Shared::with_backend().unwrap();
    let (ours, theirs) = Stream::pair().unwrap();
    let ours = Arc::new(ours);
    let first = poller.insert(Arc::clone(&ours)).unwrap();
    REFUSES_WRITING.set(true);
    poller.set_interest(first, Interest::BOTH);
    let no_memory = Some(io::ErrorKind::OutOfMemory);
    assert_eq!(reports(&mut poller), [(first, no_memory)]);
    let second = poller.insert(ours).unwrap();
    poller.set_interest(second, Interest::READABLE);
    send(&theirs);
    for _ in 0..2 {
        assert_eq!(reports(&mut poller), [(second, None)]);
    }
}

/// They are told by one call, which answers for each change in turn.
#[test]
fn of_those_that_change_together_only_who_is_refused_is_told_so() {
    for unlucky in 0..3 {
        let mut poller = Poller::<Careless, (), Kqueue>::with_backend().unwrap();
        let mut expected = Vec::new();
        let mut peers = Vec::new();
        REFUSES_WRITING.set(true);
        for at in 0..3 {
            let (source, peer) = Careless::pair();
            send(&peer);
            peers.push(peer);
            let key = poller.insert(source).unwrap();
            let (interest, error) = match at == unlucky {
                true => (Interest::BOTH, Some(io::ErrorKind::OutOfMemory)),
                false => (Interest::READABLE, None),
            };
            poller.set_interest(key, interest);
            expected.push((key, error));
        }
        assert_eq!(reports(&mut poller), expected);
        expected.remove(unlucky);
        assert_eq!(reports(&mut poller), expected);
    }
}

/// The call itself fails, as without memory: whoever was to change is refused, the others are reported.
#[test]
fn where_nothing_can_be_changed_only_who_was_to_change_is_refused() {
    let mut poller = Poller::<Careless, (), Kqueue>::with_backend().unwrap();
    let (bystander, to_bystander) = Careless::pair();
    let bystander = super::add(&mut poller, bystander);
    send(&to_bystander);
    assert_eq!(reports(&mut poller), [(bystander, None)]);
    let peers: Vec<_> = (0..2)
        .map(|_| {
            let (source, peer) = Careless::pair();
            send(&peer);
            (super::add(&mut poller, source), peer)
        })
        .collect();
    let told = |error| [bystander, peers[0].0, peers[1].0].map(|key| (key, error));
    let mut refused = told(Some(io::ErrorKind::OutOfMemory));
    refused[0].1 = None;
    REFUSES_ALL.set(Some(Errno::NOMEM));
    assert_eq!(reports(&mut poller), refused);
    REFUSES_ALL.set(None);
    assert_eq!(reports(&mut poller), [(bystander, None)], "they rest");
    for (key, _) in &peers {
        poller.set_interest(*key, Interest::READABLE);
    }
    assert_eq!(reports(&mut poller), told(None));
}

/// Reports come to everybody in turn, so that those of one source's filters may have others' between them.
#[test]
fn both_filters_of_a_source_are_one_event_in_whatever_order_they_come() {
    for first_batch in 1..4 {
        let mut poller = Poller::<Careless, (), Kqueue>::with_backend().unwrap();
        let added = [(); 2].map(|()| {
            let (source, peer) = Careless::pair();
            send(&peer);
            let key = poller.insert(source).unwrap();
            poller.set_interest(key, Interest::BOTH);
            (key, peer)
        });
        let mut events = Events::with_capacity(first_batch);
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        let mut events = Events::with_capacity(8);
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        let mut reported: Vec<Event> = events.iter().copied().collect();
        reported.sort_by_key(|event| event.key().generation);
        let expected = added
            .each_ref()
            .map(|(key, _)| Event::new(*key, Interest::BOTH));
        assert_eq!(reported, expected, "after a batch of {first_batch}");
    }
}

/// What was to be deleted is there still: it is silent, and is deleted before another source can have its index.
#[test]
fn what_could_not_be_deleted_is_silent_and_deleted_as_soon_as_that_can_be() {
    for (is_refused, is_waited_for) in [(false, false), (false, true), (true, false), (true, true)]
    {
        let mut poller = Shared::with_backend().unwrap();
        let (ours, theirs) = Stream::pair().unwrap();
        let ours = Arc::new(ours);
        let old = poller.insert(Arc::clone(&ours)).unwrap();
        poller.set_interest(old, Interest::READABLE);
        send(&theirs);
        assert_eq!(reports(&mut poller), [(old, None)]);
        REFUSES_ALL.set(Some(Errno::NOMEM));
        if is_refused {
            poller.set_interest(old, Interest::BOTH);
            let no_memory = Some(io::ErrorKind::OutOfMemory);
            assert_eq!(reports(&mut poller), [(old, no_memory)]);
        } else {
            poller.set_interest(old, Interest::NONE);
        }
        for _ in 0..2 {
            assert_eq!(reports(&mut poller), []);
        }
        REFUSES_ALL.set(None);
        // By the next wait, which then is none that goes round in circles; or where it goes.
        if is_waited_for {
            assert_eq!(reports(&mut poller), []);
            let mut events = Events::with_capacity(8);
            let before = poller.calls();
            poller
                .wait(&mut events, Some(Duration::from_millis(10)))
                .unwrap();
            let calls = poller.calls() - before;
            assert!(
                events.is_empty() && calls <= 2,
                "{calls} calls for one sleep"
            );
        }
        assert!(poller.close(old));
        let (other, _peer) = Stream::pair().unwrap();
        let new = poller.insert(Arc::new(other)).unwrap();
        assert_eq!(new.index, old.index);
        poller.set_interest(new, Interest::READABLE);
        assert_eq!(reports(&mut poller), []);
    }
}

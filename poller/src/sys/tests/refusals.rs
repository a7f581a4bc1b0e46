//! An epoll whose system refuses what it is told to.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{EventData, EventFlags};
use rustix::io::Errno;

use super::{Careless, add, send, wait};
use crate::backend::Epoll;
use crate::socket::Stream;
use crate::sys::epoll::{EpollCalls, System};
use crate::waker::CAPPED_SLEEP;
use crate::{Events, Interest, Key, Poller, Waker};

thread_local! {
    static REFUSES_SETS: Cell<bool> = const { Cell::new(false) };
    /// Whom the third refusal from now wakes.
    static WAKES_THIRD: RefCell<Option<Waker>> = const { RefCell::new(None) };
    static REFUSED_SETS: Cell<u32> = const { Cell::new(0) };
    static REFUSES_SOURCES: Cell<Option<Errno>> = const { Cell::new(None) };
}

/// Refuses what this thread's test says.
struct Refusing;

impl EpollCalls for Refusing {
    fn create() -> Result<OwnedFd, Errno> {
        if REFUSES_SETS.get() {
            REFUSED_SETS.set(REFUSED_SETS.get() + 1);
            if let Some(waker) =
                WAKES_THIRD.with_borrow_mut(|waker| waker.take_if(|_| REFUSED_SETS.get() == 3))
            {
                waker.wake().unwrap();
            }
            return Err(Errno::MFILE);
        }
        System::create()
    }

    fn add(
        set: &OwnedFd,
        source: BorrowedFd<'_>,
        data: EventData,
        flags: EventFlags,
    ) -> Result<(), Errno> {
        REFUSES_SOURCES.get().map_or(Ok(()), Err)?;
        System::add(set, source, data, flags)
    }
}

type RefusingPoller = Poller<Careless, (), Epoll<Refusing>>;

/// What is reported at once: the sources, and the numbers of the errors for those refused.
fn reports(poller: &mut RefusingPoller) -> Vec<(Key, Option<RawFd>)> {
    let mut events = Events::with_capacity(8);
    poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
    let mut reports: Vec<_> = std::iter::from_fn(|| poller.next_event(&mut events))
        .map(|event| {
            let error = event.error();
            (event.key(), error.and_then(|error| error.raw_os_error()))
        })
        .collect();
    reports.sort_by_key(|(key, _)| key.generation);
    reports
}

#[test]
fn a_source_for_which_there_is_no_room_rests_until_it_is_declared_again() {
    let mut poller = RefusingPoller::with_backend().unwrap();
    let (bystander, to_bystander) = Careless::pair();
    let bystander = add(&mut poller, bystander);
    assert_eq!(reports(&mut poller), []);
    send(&to_bystander);

    let (source, to_source) = Careless::pair();
    send(&to_source);
    REFUSES_SOURCES.set(Some(Errno::NOSPC));
    let source = add(&mut poller, source);
    let no_room = Some(Errno::NOSPC.raw_os_error());
    assert_eq!(
        reports(&mut poller),
        [(bystander, None), (source, no_room)],
        "one's refusal is not another's"
    );
    assert_eq!(reports(&mut poller), [(bystander, None)]);
    poller.set_interest(source, Interest::READABLE);
    assert_eq!(reports(&mut poller), [(bystander, None), (source, no_room)]);

    // Room again changes nothing by itself.
    REFUSES_SOURCES.set(None);
    assert_eq!(reports(&mut poller), [(bystander, None)]);
    poller.set_interest(source, Interest::READABLE);
    for _ in 0..2 {
        assert_eq!(reports(&mut poller), [(bystander, None), (source, None)]);
    }
}

#[test]
fn a_handle_that_is_held_twice_is_an_error_of_one_of_its_sources() {
    let mut poller = Poller::<Arc<Stream>, (), Epoll>::with_backend().unwrap();
    let (ours, theirs) = Stream::pair().unwrap();
    let ours = Arc::new(ours);
    let keys = [(); 2].map(|()| {
        let key = poller.insert(Arc::clone(&ours)).unwrap();
        poller.set_interest(key, Interest::READABLE);
        key
    });
    send(&theirs);
    let mut events = Events::with_capacity(8);
    poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
    let mut errors = [const { None }; 2];
    while let Some(event) = poller.next_event(&mut events) {
        let which = keys.iter().position(|&key| key == event.key()).unwrap();
        errors[which] = Some(event.error().map(|error| error.kind()));
    }
    errors.sort();
    assert_eq!(
        errors,
        [Some(None), Some(Some(io::ErrorKind::AlreadyExists))]
    );
}

/// A poller with a source that the set cannot forget, and that is ready for ever; a bystander, and
/// the successor in the place of the source. The system refuses another set.
struct Unforgetting {
    poller: RefusingPoller,
    bystander: (Key, Stream),
    successor: (Key, Stream),
    _duplicate: OwnedFd,
}

fn unforgetting() -> Unforgetting {
    let mut poller = RefusingPoller::with_backend().unwrap();
    let (bystander, to_bystander) = Careless::pair();
    let bystander = add(&mut poller, bystander);
    let (old, to_old) = Careless::pair();
    let duplicate = old.duplicate();
    let old = add(&mut poller, old);
    assert_eq!(wait(&mut poller), []);
    send(&to_old);
    drop(poller.get(old).unwrap().0.take());
    REFUSES_SETS.set(true);
    assert!(poller.close(old));
    let (successor, to_successor) = Careless::pair();
    let successor = add(&mut poller, successor);
    assert_eq!(successor.index, old.index);
    Unforgetting {
        poller,
        bystander: (bystander, to_bystander),
        successor: (successor, to_successor),
        _duplicate: duplicate,
    }
}

#[test]
fn without_a_descriptor_for_another_set_everybody_is_still_served() {
    let Unforgetting {
        mut poller,
        bystander: (bystander, to_bystander),
        successor: (successor, to_successor),
        _duplicate,
    } = unforgetting();
    // Not for what it cannot forget, which is ready, and without going round in circles.
    let before = poller.calls();
    let mut events = Events::with_capacity(8);
    let timeout = CAPPED_SLEEP / 2;
    poller.wait(&mut events, Some(timeout)).unwrap();
    assert!(poller.next_event(&mut events).is_none() && !events.woken());
    let calls = poller.calls() - before;
    assert!(calls <= 6, "{calls} calls for one sleep");

    send(&to_bystander);
    assert_eq!(wait(&mut poller), [bystander]);
    send(&to_successor);
    assert_eq!(
        reports(&mut poller),
        [(bystander, None), (successor, None)],
        "level-triggered, as ever"
    );
    poller.set_interest(bystander, Interest::NONE);
    assert_eq!(wait(&mut poller), [successor]);
    assert!(poller.close(successor));
    assert_eq!(wait(&mut poller), []);
    poller.waker().wake().unwrap();
    poller.wait(&mut events, None).unwrap();
    assert!(events.woken());

    REFUSES_SETS.set(false);
    poller.set_interest(bystander, Interest::READABLE);
    let (new, to_new) = Careless::pair();
    let new = add(&mut poller, new);
    send(&to_new);
    for _ in 0..2 {
        assert_eq!(reports(&mut poller), [(bystander, None), (new, None)]);
    }
}

#[test]
fn another_set_is_asked_for_while_nothing_happens() {
    let Unforgetting {
        mut poller,
        bystander: _bystander,
        successor: _successor,
        _duplicate,
    } = unforgetting();
    WAKES_THIRD.set(Some(poller.waker()));
    let mut events = Events::with_capacity(8);
    let patience = Duration::from_secs(60);
    poller.wait(&mut events, Some(patience)).unwrap();
    assert!(events.woken(), "only the timeout ended the wait");
    assert_eq!(REFUSED_SETS.get(), 3);
}

#[test]
fn what_was_refused_stays_so_in_another_set() {
    let Unforgetting {
        mut poller,
        bystander: _bystander,
        successor: (successor, to_successor),
        _duplicate,
    } = unforgetting();
    // In a set again, and with a source that it refused.
    REFUSES_SETS.set(false);
    assert_eq!(wait(&mut poller), []);
    REFUSES_SOURCES.set(Some(Errno::NOMEM));
    let (refused, to_refused) = Careless::pair();
    let refused = add(&mut poller, refused);
    let error = Some(Errno::NOMEM.raw_os_error());
    assert_eq!(reports(&mut poller), [(refused, error)]);
    REFUSES_SOURCES.set(None);

    // Then the next set.
    let duplicate = poller.get(successor).unwrap().duplicate();
    drop(poller.get(successor).unwrap().0.take());
    assert!(poller.close(successor));
    send(&to_successor);
    send(&to_refused);
    assert_eq!(reports(&mut poller), []);
    poller.set_interest(refused, Interest::READABLE);
    assert_eq!(reports(&mut poller), [(refused, None)]);
    drop(duplicate);
}

//! What the poller does when the system itself is in trouble.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::scripted::{Handle, Network, Scripted, Socket};
use crate::sys::{Backend, Fate, Sealed};
use crate::waker::Signal;
use crate::{Events, Interest, Key, Poller};

/// Every second question is interrupted before it slept.
const INTERRUPTS: u8 = 0;
/// The first question fails, having found something.
const FAILS_ONCE: u8 = 1;
/// No wake gets through.
const REFUSES_WAKES: u8 = 2;
/// Nor does every second question.
const REFUSES_AND_INTERRUPTS: u8 = 3;

struct Troubled<const TROUBLE: u8> {
    inner: Scripted,
    questions: u64,
}

struct Refusing;

impl Signal for Refusing {
    fn send(&self) -> io::Result<()> {
        Err(io::ErrorKind::OutOfMemory.into())
    }
}

impl<const TROUBLE: u8> Sealed for Troubled<TROUBLE> {}

impl<const TROUBLE: u8> Backend for Troubled<TROUBLE> {
    type Handle = Handle;

    fn new() -> io::Result<Self> {
        Ok(Troubled {
            inner: Scripted::new()?,
            questions: 0,
        })
    }

    fn signal(&self) -> Arc<dyn Signal> {
        match TROUBLE {
            REFUSES_WAKES | REFUSES_AND_INTERRUPTS => Arc::new(Refusing),
            _ => self.inner.signal(),
        }
    }

    fn register(&mut self, key: Key, handle: Handle) -> io::Result<()> {
        self.inner.register(key, handle)
    }

    fn declare(&mut self, key: Key, interest: Interest) {
        self.inner.declare(key, interest);
    }

    fn deregister(&mut self, key: Key, fate: Fate) {
        self.inner.deregister(key, fate);
    }

    fn reconcile(&mut self, events: &mut Events) -> io::Result<()> {
        self.inner.reconcile(events)
    }

    fn collect(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<bool> {
        self.questions += 1;
        match TROUBLE {
            INTERRUPTS | REFUSES_AND_INTERRUPTS if self.questions % 2 == 1 => {
                Err(io::ErrorKind::Interrupted.into())
            }
            FAILS_ONCE if self.questions == 1 => {
                self.inner.collect(events, timeout)?;
                Err(io::ErrorKind::OutOfMemory.into())
            }
            _ => self.inner.collect(events, timeout),
        }
    }

    fn calls(&self) -> u64 {
        self.inner.calls()
    }
}

fn poller<const TROUBLE: u8>() -> (Poller<Socket, (), Troubled<TROUBLE>>, Events) {
    (Poller::with_backend().unwrap(), Events::with_capacity(8))
}

#[test]
fn an_interrupted_wait_goes_on_for_the_rest_of_its_time() {
    let (mut poller, mut events) = poller::<INTERRUPTS>();
    for millis in [0, 1, 20] {
        let timeout = Duration::from_millis(millis);
        let start = Instant::now();
        poller.wait(&mut events, Some(timeout)).unwrap();
        assert!(start.elapsed() >= timeout);
        assert!(!events.woken());
    }
}

#[test]
fn an_interrupted_wait_that_does_not_sleep_still_reports() {
    let (mut poller, mut events) = poller::<INTERRUPTS>();
    let (ours, _theirs) = Socket::pair(&Arc::new(Network::default()));
    let key = poller.insert(ours).unwrap();
    poller.set_interest(key, Interest::WRITABLE);
    poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
    assert!(poller.next_event(&mut events).is_some());
}

#[test]
fn a_wake_survives_an_interrupted_wait() {
    let (mut poller, mut events) = poller::<INTERRUPTS>();
    poller.waker().wake().unwrap();
    poller.wait(&mut events, None).unwrap();
    assert!(events.woken());
}

#[test]
fn a_failed_wait_loses_no_wake_and_leaves_no_events() {
    let (mut poller, mut events) = poller::<FAILS_ONCE>();
    let (ours, _theirs) = Socket::pair(&Arc::new(Network::default()));
    let key = poller.insert(ours).unwrap();
    poller.set_interest(key, Interest::WRITABLE);
    poller.waker().wake().unwrap();
    assert!(poller.wait(&mut events, None).is_err());
    assert_eq!(poller.next_event(&mut events), None);
    assert!(!events.woken());
    poller.wait(&mut events, None).unwrap();
    assert!(poller.next_event(&mut events).is_some());
    assert!(events.woken());
}

/// A refusal would not come again by itself. What was declared meanwhile counts, and nobody else is asked.
#[test]
fn a_failed_wait_loses_no_refusal() {
    for (then, expected) in [
        (None, Some(Interest::BOTH)),
        (Some(Interest::READABLE), Some(Interest::READABLE)),
        (Some(Interest::NONE), None),
    ] {
        let (mut poller, mut events) = poller::<FAILS_ONCE>();
        let key = poller.insert(Socket::unpollable(&Arc::new(Network::default())));
        let key = key.unwrap();
        poller.set_interest(key, Interest::BOTH);
        assert!(poller.wait(&mut events, Some(Duration::ZERO)).is_err());
        assert_eq!(poller.next_event(&mut events), None);
        if let Some(interest) = then {
            poller.set_interest(key, interest);
        }
        for expected in [expected, None] {
            poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
            let event = poller.next_event(&mut events);
            assert_eq!(event.map(|event| event.readiness()), expected);
            assert!(event.is_none_or(|event| event.error().is_some()));
        }
    }
}

/// A waker that is refused comes late and writes over a newer wake, of which the poller then knows only that it is kept
/// from sleeping.
#[test]
fn a_wake_that_a_refused_one_hides_is_reported() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut poller = Poller::<Socket, (), Scripted>::with_backend().unwrap();
    let mut events = Events::with_capacity(8);
    let waker = poller.waker();
    let word = &waker.state().word;
    assert!(word.fall_asleep() && word.notify(), "it will be refused");
    assert!(word.get_up(), "the poller has looked");
    waker.wake().unwrap();
    word.refused();
    let before = poller.calls();
    poller.wait(&mut events, Some(PATIENCE)).unwrap();
    assert!(events.woken());
    assert_eq!(poller.calls() - before, 1, "it has not slept");
    poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
    assert!(!events.woken());
}

#[test]
fn refused_wakes_cap_the_sleep() {
    refused_wakes_cap_the_sleep_of::<REFUSES_WAKES>();
}

/// An interruption is none of the ends of its stretches.
#[test]
fn refused_wakes_cap_the_sleep_that_is_interrupted() {
    refused_wakes_cap_the_sleep_of::<REFUSES_AND_INTERRUPTS>();
}

fn refused_wakes_cap_the_sleep_of<const TROUBLE: u8>() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let (mut poller, mut events) = poller::<TROUBLE>();
    let waker = poller.waker();
    let refused = thread::spawn(move || {
        while waker.wake().is_ok() {
            thread::yield_now();
        }
    });
    while !refused.is_finished() {
        poller
            .wait(&mut events, Some(Duration::from_millis(1)))
            .unwrap();
    }
    refused.join().unwrap();
    // The wake that was refused, and from here on nothing else.
    poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
    for _ in 0..2 {
        let start = Instant::now();
        poller.wait(&mut events, Some(PATIENCE)).unwrap();
        assert!(events.woken());
        assert!(start.elapsed() < PATIENCE);
        assert!(start.elapsed() >= crate::waker::CAPPED_SLEEP);
    }
    // A shorter timeout is still just that.
    poller
        .wait(&mut events, Some(Duration::from_millis(1)))
        .unwrap();
    assert!(!events.woken());
}

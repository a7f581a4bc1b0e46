//! The reactor's loop, one pass after the other, where sockets misbehave as only a test can have
//! them do.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::between::key::RecordKey;
use crate::error::Ended;
use crate::event::Event;
use crate::group::{self, ChannelGroup};
use crate::handles::{GroupShared, Reads};
use crate::inbox::Inbox;
use crate::options::Options;
use crate::reason::Reason;
use crate::wire::test_frames::frame;
use crate::wire::{Header, OpCode};

use super::real::Real;
use super::sockets::Socket;
use super::{Driver, LIMITS, Limits};

const PATIENCE: Duration = Duration::from_secs(30);

/// An engine with one group, whose reactor is the test's own thread.
struct Bench {
    driver: Driver<Real>,
    posting: ChannelGroup,
    inbox: Inbox,
    /// Wakes a reactor that sleeps for too long, so that the test fails rather than hangs.
    _watchdog: mpsc::Sender<()>,
}

fn watchdog(waker: ampe_poller::Waker) -> mpsc::Sender<()> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        while receiver.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            waker.wake().unwrap();
        }
    });
    sender
}

impl Bench {
    fn new() -> Self {
        Bench::with(Options::default())
    }

    fn with(options: Options) -> Self {
        Bench::of(options, LIMITS, GroupShared::new(1, 0, 0))
    }

    fn of(options: Options, limits: Limits, group: GroupShared) -> Self {
        let (world, shared) = Real::start(options).unwrap();
        let driver = Driver::new(world, shared, limits);
        let group = Arc::new(group);
        driver.shared.open_group(&group).unwrap();
        let (posting, inbox) = group::pair(Arc::clone(&driver.shared), group);
        Bench {
            _watchdog: watchdog(driver.sockets.world.waker()),
            driver,
            posting,
            inbox,
        }
    }

    /// Goes round until there is an event other than Opened.
    #[track_caller]
    fn event(&mut self) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.inbox.try_recv().unwrap() {
                Some(Event::Opened(_)) => continue,
                Some(event) => return event,
                None => {}
            }
            assert!(Instant::now() < deadline, "waited in vain for an event");
            assert!(!self.pass().unwrap());
        }
    }

    /// Goes round until that is so.
    #[track_caller]
    fn pass_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            assert!(!self.pass().unwrap());
        }
    }

    fn connect(&mut self, port: u16) {
        let address = Address::tcp("127.0.0.1", port).unwrap();
        self.posting.connect(&address).unwrap();
    }

    /// The key of the one socket that there is.
    #[track_caller]
    fn only_socket(&self) -> RecordKey {
        let keys = self.driver.sockets.keys();
        assert_eq!(keys.len(), 1);
        keys[0]
    }
}

impl Deref for Bench {
    type Target = Driver<Real>;

    fn deref(&self) -> &Driver<Real> {
        &self.driver
    }
}

impl DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut Driver<Real> {
        &mut self.driver
    }
}

impl Drop for Bench {
    /// The inbox waits for the end of its group.
    fn drop(&mut self) {
        self.driver.end(Ended::EngineFailed);
    }
}

/// What others receive is handed over in another way.
#[test]
fn each_pass_knows_whose_thread_makes_it() {
    let mut bench = Bench::new();
    let passes = [
        (Reads::For(1), Some(1)),
        (Reads::Yes, None),
        (Reads::For(7), Some(7)),
        (Reads::No, None),
    ];
    for (reads, receiver) in passes {
        assert!(!bench.work(reads));
        assert_eq!(bench.core.receiver(), receiver);
    }
}

fn is_connecting(bench: &Bench, key: RecordKey) -> bool {
    matches!(bench.sockets.get(key), Some(Socket::Connecting(_)))
}

/// A connection whose HelloRequest is out.
fn connected(bench: &mut Bench) -> (RecordKey, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    bench.connect(listener.local_addr().unwrap().port());
    bench.pass_until("an attempt", |bench| !bench.sockets.keys().is_empty());
    let peer = listener.accept().unwrap().0;
    let mut hello = [0; Header::LEN];
    peer.set_nonblocking(true).unwrap();
    bench.pass_until("a hello", |_| {
        peer.peek(&mut hello).is_ok_and(|len| len == hello.len())
    });
    peer.set_nonblocking(false).unwrap();
    assert!(matches!(bench.inbox.try_recv(), Ok(Some(Event::Opened(_)))));
    (bench.only_socket(), peer)
}

/// Waits until so many bytes have arrived that nobody has read.
#[track_caller]
fn await_arrived(bench: &Bench, key: RecordKey, bytes: usize) {
    let Some(Socket::Connected(stream)) = bench.sockets.get(key) else {
        panic!("not connected")
    };
    let mut buffer = vec![std::mem::MaybeUninit::uninit(); bytes];
    let deadline = Instant::now() + PATIENCE;
    while !socket2::SockRef::from(stream)
        .peek(&mut buffer)
        .is_ok_and(|len| len == bytes)
    {
        assert!(Instant::now() < deadline, "waited in vain");
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod left;

/// What epoll refuses: a file knows no readiness.
#[cfg(target_os = "linux")]
mod refused {
    use std::io::ErrorKind;

    use super::*;
    use crate::protocol::Wanted;

    impl Bench {
        #[track_caller]
        fn assert_closed(&mut self, reason: Reason, kind: ErrorKind) {
            let Event::Closed(closed) = self.event() else {
                panic!("not closed")
            };
            let error = closed.os_error().map(|error| error.kind());
            assert_eq!((closed.reason(), error), (reason, Some(kind)));
            assert!(self.driver.sockets.keys().is_empty());
        }
    }

    pub(super) fn refuse(bench: &mut Bench, key: RecordKey) {
        let file = tempfile::tempfile().unwrap();
        bench.sockets.set_decoy(key, Some(file));
    }

    const READABLE: Wanted = Wanted {
        readable: true,
        writable: false,
    };

    #[test]
    fn a_connection_that_cannot_be_polled_ends_with_the_error_behind_what_it_received() {
        let mut bench = Bench::new();
        let (key, mut peer) = connected(&mut bench);
        for op_code in [OpCode::HelloResponse, OpCode::Signal] {
            peer.write_all(&frame(op_code, 1, b"")).unwrap();
        }
        peer.set_nonblocking(true).unwrap();
        refuse(&mut bench, key);
        bench.sockets.declare(key, READABLE);
        assert!(matches!(bench.event(), Event::Accepted(_)));
        assert!(matches!(bench.event(), Event::Signal(_)));
        bench.assert_closed(Reason::ConnectionLost, ErrorKind::PermissionDenied);
    }

    #[test]
    fn an_attempt_that_cannot_be_polled_fails_with_the_error() {
        let mut bench = Bench::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        bench.connect(listener.local_addr().unwrap().port());
        bench.pass_until("an attempt", |bench| !bench.sockets.keys().is_empty());
        let key = bench.only_socket();
        assert!(is_connecting(&bench, key));
        refuse(&mut bench, key);
        bench.sockets.declare_writable(key);
        assert!(matches!(bench.event(), Event::Returned(_)));
        bench.assert_closed(Reason::ConnectFailed, ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_listener_that_cannot_be_polled_for_a_while_accepts_after_it() {
        let mut bench = Bench::new();
        let any = "tcp://127.0.0.1:0".parse().unwrap();
        bench.posting.listen(&any).unwrap();
        let Event::Listening(listening) = bench.event() else {
            panic!("not listening")
        };
        let key = bench.only_socket();
        refuse(&mut bench, key);
        bench.sockets.declare(key, READABLE);
        let _client = TcpStream::connect(listening.address().socket_addr().unwrap()).unwrap();
        // It is asked for again, and not all the time.
        bench.pass_until("refusals", |bench| {
            bench
                .shared
                .counters
                .accept_failures
                .load(Ordering::Relaxed)
                == 3
        });
        let passes = bench.shared.counters.passes.load(Ordering::Relaxed);
        assert!(passes < 30, "{passes} passes");
        assert_eq!(bench.shared.counters.accepted.load(Ordering::Relaxed), 0);
        bench.sockets.set_decoy(key, None);
        bench.pass_until("a connection", |bench| {
            bench.shared.counters.accepted.load(Ordering::Relaxed) == 1
        });
    }
}

#[cfg(target_os = "linux")]
mod backlog;
mod ending;
mod handshakes;
mod hidden;
mod keep_alive;
mod names;
mod passes;
#[cfg(target_os = "linux")]
mod resuming;
mod secured;
#[cfg(target_os = "linux")]
mod several;
#[cfg(unix)]
mod undecided;
#[cfg(target_os = "linux")]
mod unpolled;

#[test]
fn a_notification_arrives_without_the_reactor() {
    let mut bench = Bench::new();
    let note = bench.posting.message().with_body(b"note").unwrap();
    bench.posting.notify(note).unwrap();
    let arrived = bench.inbox.try_recv();
    assert!(matches!(arrived, Ok(Some(Event::Notified(it))) if it.body() == b"note"));
    assert_eq!(bench.shared.counters.passes.load(Ordering::Relaxed), 0);
}

#[test]
fn what_was_received_when_the_reactor_failed_is_handed_over() {
    let mut bench = Bench::new();
    let (key, mut peer) = connected(&mut bench);
    peer.write_all(&frame(OpCode::Signal, 5, b"")).unwrap();
    bench.read(key, Instant::now());
    assert!(
        matches!(bench.inbox.try_recv(), Ok(None)),
        "the pass goes on"
    );
    bench.driver.end(Ended::EngineFailed);
    assert!(matches!(bench.inbox.try_recv(), Ok(Some(Event::Signal(it))) if it.id() == 5));
    assert_eq!(bench.inbox.try_recv().unwrap_err(), Ended::EngineFailed);
}

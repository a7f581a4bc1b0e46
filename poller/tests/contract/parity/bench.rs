//! A poller with its batch, what it is expected to report, and sockets to report.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ampe_poller::{Events, Interest, Key, Poller};

use crate::common::{AsSource, PATIENCE};

/// How many waits together report all that is ready: on Windows one may be content with what it
/// knows already.
const WAITS: usize = 18;

pub(crate) struct Bench<S> {
    pub(crate) poller: Poller<S>,
    pub(crate) events: Events,
    /// Those that the last wait reported as refused.
    pub(crate) refused: HashMap<Key, ErrorKind>,
}

impl<S: AsSource> Bench<S> {
    pub(crate) fn new() -> Self {
        allow_descriptors();
        Bench {
            poller: Poller::new().unwrap(),
            events: Events::with_capacity(256),
            refused: HashMap::new(),
        }
    }

    pub(crate) fn add(&mut self, source: S, interest: Interest) -> Key {
        let key = self.poller.insert(source).unwrap();
        self.declare(key, interest);
        key
    }

    #[track_caller]
    pub(crate) fn declare(&mut self, key: Key, interest: Interest) {
        assert!(self.poller.set_interest(key, interest));
    }

    #[track_caller]
    pub(crate) fn get(&self, key: Key) -> &S {
        self.poller.get(key).unwrap()
    }

    /// What the next wait reports. Nobody is reported twice.
    #[track_caller]
    pub(crate) fn wait(&mut self, timeout: Duration) -> HashMap<Key, Interest> {
        self.poller.wait(&mut self.events, Some(timeout)).unwrap();
        self.taken()
    }

    /// What is left in the batch.
    #[track_caller]
    pub(crate) fn taken(&mut self) -> HashMap<Key, Interest> {
        let mut reports = HashMap::new();
        self.refused.clear();
        while let Some(event) = self.poller.next_event(&mut self.events) {
            if let Some(error) = event.error() {
                self.refused.insert(event.key(), error.kind());
                continue;
            }
            let mut readiness = Interest::NONE;
            if event.is_readable() {
                readiness |= Interest::READABLE;
            }
            if event.is_writable() {
                readiness |= Interest::WRITABLE;
            }
            assert!(!readiness.is_empty(), "a report of nothing");
            let before = reports.insert(event.key(), readiness);
            assert_eq!(before, None, "reported twice by one wait");
        }
        reports
    }

    /// Waits until all of that has been reported, and sees that nothing else is.
    #[track_caller]
    pub(crate) fn assert_reports(&mut self, expected: &[(Key, Interest)]) {
        let expected: HashMap<_, _> = expected.iter().copied().collect();
        let deadline = Instant::now() + PATIENCE;
        let mut seen = HashMap::new();
        while seen != expected {
            let rest = deadline.saturating_duration_since(Instant::now());
            assert!(!rest.is_zero(), "{seen:?} instead of {expected:?}");
            for (key, readiness) in self.wait(rest) {
                let wanted = expected.get(&key).copied().unwrap_or_default();
                assert_eq!(readiness & wanted, readiness, "nobody expects that");
                *seen.entry(key).or_default() |= readiness;
            }
            assert!(self.refused.is_empty(), "{:?}", self.refused);
        }
    }

    #[track_caller]
    pub(crate) fn assert_quiet(&mut self) {
        for _ in 0..WAITS {
            assert_eq!(self.wait(Duration::ZERO), HashMap::new());
        }
    }
}

/// Some systems start a process with fewer descriptors than these tests use at once.
fn allow_descriptors() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        const ENOUGH: u64 = 1024;
        let mut limit = getrlimit(Resource::Nofile);
        if limit.current.is_some_and(|current| current < ENOUGH) {
            limit.current = Some(limit.maximum.map_or(ENOUGH, |most| most.min(ENOUGH)));
            // If not, a test that runs out of them says so.
            let _ = setrlimit(Resource::Nofile, limit);
        }
    }
}

/// The end to poll, which does not block, and the other one, which does.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nodelay(true).unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    (ours, theirs)
}

/// Reads what there is, at most as much; nothing if it would block.
#[track_caller]
pub(crate) fn read(mut stream: &TcpStream, length: usize) -> Option<usize> {
    match stream.read(&mut vec![0; length]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        outcome => Some(outcome.unwrap()),
    }
}

/// Writes until it would block, and says how much that was.
pub(crate) fn fill(mut stream: &TcpStream) -> usize {
    let mut written = 0;
    loop {
        match stream.write(&[0; 1 << 16]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return written,
            outcome => written += outcome.unwrap(),
        }
    }
}

/// Numbers drawn from a seed that is printed, and that `AMPE_SEED` sets.
pub(crate) fn random() -> fastrand::Rng {
    let seed = match std::env::var("AMPE_SEED") {
        Ok(seed) => seed.parse().expect("AMPE_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("AMPE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Whether a connection has come to its end, be it orderly or not.
pub(crate) fn is_over(outcome: &io::Result<usize>) -> bool {
    match outcome {
        Ok(length) => *length == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

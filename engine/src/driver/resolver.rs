//! Name resolution on threads of its own: the system's resolver blocks, the reactor must not.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Weak;
use std::thread;
use std::time::Duration;

use crate::address::is_localhost;
use crate::between::key::RecordKey;
use crate::handles::{Shared, Submission};
use crate::sync::{Arc, Condvar, Mutex, PoisonError, lock};

/// So many names are looked up at once, each on a thread of its own; others wait, and their connect
/// timeout runs.
pub(super) const THREADS_MAX: usize = 32;

/// So many connections and listeners wait for an answer at most.
pub(super) const WAITING_MAX: usize = 1024;

/// A thread that has had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(10);

/// Finds the addresses of a host, whose ports do not matter; none if there are none, or the system
/// cannot tell. Which of both it was, the standard library hides on some systems, and so nobody is
/// told.
pub(super) type Lookup = Arc<dyn Fn(&str) -> Vec<SocketAddr> + Send + Sync>;

pub(super) fn look_up(host: &str) -> Vec<SocketAddr> {
    let addresses = (host, 0).to_socket_addrs();
    addresses.map(Iterator::collect).unwrap_or_default()
}

/// Who wants to know a name's addresses, and with which port.
#[derive(Clone, Copy)]
struct Asker {
    key: RecordKey,
    port: u16,
}

/// A name that is asked for. However many ask, one thread at a time is busy with it.
struct Name {
    host: String,
    askers: Vec<Asker>,
    /// A thread looks it up.
    is_under_way: bool,
}

#[derive(Default)]
struct Line {
    /// In the order in which they were first asked for.
    names: VecDeque<Name>,
    /// Of all names.
    askers: usize,
    threads: usize,
    /// How many of the threads have nothing to do.
    idle: usize,
    /// Nobody will ask any more, or wants an answer.
    is_over: bool,
}

impl Line {
    /// The next name to be looked up, which is under way from here on.
    fn take_turn(&mut self) -> Option<String> {
        let next = self.names.iter_mut().find(|name| !name.is_under_way)?;
        next.is_under_way = true;
        Some(next.host.clone())
    }

    fn take_askers(&mut self, host: &str) -> Vec<Asker> {
        let place = self.names.iter().position(|name| name.host == host);
        let name = place.and_then(|place| self.names.remove(place));
        let askers = name.map(|name| name.askers).unwrap_or_default();
        self.askers -= askers.len();
        askers
    }

    /// Adds a question. Returns whether one more thread is needed for it.
    fn add(&mut self, host: String, asker: Asker) -> bool {
        self.askers += 1;
        if let Some(name) = self.names.iter_mut().find(|name| name.host == host) {
            name.askers.push(asker);
            return false;
        }
        self.names.push_back(Name {
            host,
            askers: vec![asker],
            is_under_way: false,
        });
        let waiting = self.names.iter().filter(|name| !name.is_under_way).count();
        waiting > self.idle && self.threads < THREADS_MAX
    }

    fn forget(&mut self, key: RecordKey) {
        let mut forgotten = 0;
        self.names.retain_mut(|name| {
            let before = name.askers.len();
            name.askers.retain(|asker| asker.key != key);
            forgotten += before - name.askers.len();
            name.is_under_way || !name.askers.is_empty()
        });
        self.askers -= forgotten;
    }
}

struct Questions {
    line: Mutex<Line>,
    has_changed: Condvar,
    idle: Duration,
}

impl Questions {
    /// The next name, as soon as there is one; `None` if the thread that asks is to end.
    fn next(&self) -> Option<String> {
        let mut line = lock(&self.line);
        let mut is_needless = false;
        loop {
            if line.is_over {
                return None;
            }
            if let Some(host) = line.take_turn() {
                return Some(host);
            }
            if is_needless {
                line.threads -= 1;
                return None;
            }
            line.idle += 1;
            let woken = self.has_changed.wait_timeout(line, self.idle);
            let (woken, outcome) = woken.unwrap_or_else(PoisonError::into_inner);
            line = woken;
            line.idle -= 1;
            is_needless = outcome.timed_out();
        }
    }
}

/// Answers questions by submissions to the reactor.
///
/// Threads start when they are needed, at most [`THREADS_MAX`], and end when they are idle. With the
/// reactor they end at once, but for those that the system has not let go of yet: nobody waits for
/// them, they hold nothing of the engine's, and end as soon as they can.
pub(super) struct Resolver {
    shared: Weak<Shared>,
    questions: Arc<Questions>,
    lookup: Lookup,
    /// The system starts no thread.
    #[cfg(test)]
    pub(super) is_refused_threads: bool,
}

impl Resolver {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Resolver::with_lookup(shared, Arc::new(look_up), IDLE)
    }

    pub(super) fn with_lookup(shared: &Arc<Shared>, lookup: Lookup, idle: Duration) -> Self {
        Resolver {
            shared: Arc::downgrade(shared),
            questions: Arc::new(Questions {
                line: Mutex::default(),
                has_changed: Condvar::new(),
                idle,
            }),
            lookup,
            #[cfg(test)]
            is_refused_threads: false,
        }
    }

    /// Answers with the host's addresses some time later; with none, and soon, if too many wait
    /// already. `localhost` is known without asking.
    pub(super) fn resolve(&mut self, key: RecordKey, host: String, port: u16) {
        let asker = Asker { key, port };
        let known = if is_localhost(&host) {
            loopback()
        } else if self.ask(host, asker) {
            return;
        } else {
            Vec::new()
        };
        if let Some(shared) = self.shared.upgrade() {
            answer(&shared, vec![asker], &known);
        }
    }

    fn ask(&mut self, host: String, asker: Asker) -> bool {
        let key = asker.key;
        let mut line = lock(&self.questions.line);
        if line.askers == WAITING_MAX {
            return false;
        }
        if line.add(host, asker) && self.start_thread() {
            line.threads += 1;
        }
        let is_served = line.threads > 0;
        if !is_served {
            line.forget(key);
        }
        drop(line);
        self.questions.has_changed.notify_one();
        is_served
    }

    /// Drops a question that nobody wants an answer to any more. A name whose turn has come already
    /// is looked up all the same.
    pub(super) fn forget(&mut self, key: RecordKey) {
        let mut line = lock(&self.questions.line);
        if line.askers > 0 {
            line.forget(key);
        }
    }

    fn start_thread(&self) -> bool {
        #[cfg(test)]
        if self.is_refused_threads {
            return false;
        }
        let (questions, shared) = (Arc::clone(&self.questions), Weak::clone(&self.shared));
        let lookup = Arc::clone(&self.lookup);
        let answer_all = move || {
            while let Some(host) = questions.next() {
                let addresses = lookup(&host);
                let askers = lock(&questions.line).take_askers(&host);
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                answer(&shared, askers, &addresses);
            }
        };
        thread::Builder::new()
            .name("ampe-resolver".into())
            .spawn(answer_all)
            .is_ok()
    }

    /// How many wait for an answer.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        lock(&self.questions.line).askers
    }

    #[cfg(test)]
    pub(super) fn threads(&self) -> usize {
        lock(&self.questions.line).threads
    }

    /// How many threads wait for a name.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        lock(&self.questions.line).idle
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        lock(&self.questions.line).is_over = true;
        self.questions.has_changed.notify_all();
    }
}

/// What `localhost` stands for, in the order in which systems prefer them.
pub(super) fn loopback() -> Vec<SocketAddr> {
    vec![
        (Ipv6Addr::LOCALHOST, 0).into(),
        (Ipv4Addr::LOCALHOST, 0).into(),
    ]
}

fn answer(shared: &Shared, askers: Vec<Asker>, addresses: &[SocketAddr]) {
    let with_port = |port| {
        let addresses = addresses.iter().map(move |&(mut address)| {
            address.set_port(port);
            address
        });
        addresses.collect()
    };
    // A reactor that has ended needs no answer.
    let _ = shared.queue.submit(|_, items| {
        for Asker { key, port } in askers {
            let addresses = with_port(port);
            items.push(Submission::Resolved { key, addresses });
        }
    });
}

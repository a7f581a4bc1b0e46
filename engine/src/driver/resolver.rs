//! Name resolution on threads of its own: the system's resolver blocks, the reactor must not.

use std::collections::VecDeque;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Weak;
use std::thread;

use crate::between::key::RecordKey;
use crate::handles::{Shared, Submission};
use crate::sync::{Arc, Condvar, Mutex, PoisonError, lock};

/// So many names are resolved at once; others wait, and their connect timeout runs.
pub(super) const THREADS_MAX: usize = 4;

/// So many names wait at most.
pub(super) const WAITING_MAX: usize = 1024;

/// Finds the addresses of a host; none if there are none, or the system cannot tell. Which of both
/// it was, the standard library hides on some systems, and so nobody is told.
pub(super) type Lookup = Arc<dyn Fn(&str, u16) -> Vec<SocketAddr> + Send + Sync>;

fn look_up(host: &str, port: u16) -> Vec<SocketAddr> {
    let addresses = (host, port).to_socket_addrs();
    addresses.map(Iterator::collect).unwrap_or_default()
}

struct Question {
    key: RecordKey,
    host: String,
    port: u16,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Question>,
    /// How many threads have nothing to do.
    idle: usize,
    /// Nobody will ask any more, or wants an answer.
    is_over: bool,
}

#[derive(Default)]
struct Questions {
    line: Mutex<Line>,
    has_changed: Condvar,
}

impl Questions {
    /// The next question, as soon as there is one; `None` at the end.
    fn next(&self) -> Option<Question> {
        let mut line = lock(&self.line);
        loop {
            if line.is_over {
                return None;
            }
            if let Some(question) = line.waiting.pop_front() {
                return Some(question);
            }
            line.idle += 1;
            let woken = self.has_changed.wait(line);
            line = woken.unwrap_or_else(PoisonError::into_inner);
            line.idle -= 1;
        }
    }
}

/// Answers questions by submissions to the reactor. Threads start when they are first needed, and
/// end with the reactor, or as soon after it as the system lets go of them.
pub(super) struct Resolver {
    shared: Weak<Shared>,
    questions: Arc<Questions>,
    lookup: Lookup,
    threads: usize,
}

impl Resolver {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Resolver::with_lookup(shared, Arc::new(look_up))
    }

    pub(super) fn with_lookup(shared: &Arc<Shared>, lookup: Lookup) -> Self {
        Resolver {
            shared: Arc::downgrade(shared),
            questions: Arc::default(),
            lookup,
            threads: 0,
        }
    }

    /// Answers with the host's addresses some time later; with none, and soon, if too many names
    /// wait already.
    pub(super) fn resolve(&mut self, key: RecordKey, host: String, port: u16) {
        let is_asked = self.ask(Question { key, host, port });
        if !is_asked && let Some(shared) = self.shared.upgrade() {
            answer(&shared, key, Vec::new());
        }
    }

    fn ask(&mut self, question: Question) -> bool {
        let key = question.key;
        let mut line = lock(&self.questions.line);
        if line.waiting.len() == WAITING_MAX {
            return false;
        }
        line.waiting.push_back(question);
        let is_short_of_threads = line.waiting.len() > line.idle;
        drop(line);
        self.questions.has_changed.notify_one();
        if is_short_of_threads && self.threads < THREADS_MAX && self.start_thread() {
            self.threads += 1;
        }
        if self.threads == 0 {
            self.forget(key);
        }
        self.threads > 0
    }

    /// Drops a question that nobody wants an answer to any more. One whose turn has come already is
    /// answered all the same, to nobody.
    pub(super) fn forget(&mut self, key: RecordKey) {
        let mut line = lock(&self.questions.line);
        line.waiting.retain(|question| question.key != key);
    }

    fn start_thread(&self) -> bool {
        let (questions, shared) = (Arc::clone(&self.questions), Weak::clone(&self.shared));
        let lookup = Arc::clone(&self.lookup);
        let answer_all = move || {
            while let Some(Question { key, host, port }) = questions.next() {
                let addresses = lookup(&host, port);
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                answer(&shared, key, addresses);
            }
        };
        thread::Builder::new()
            .name("ampe-resolver".into())
            .spawn(answer_all)
            .is_ok()
    }

    /// How many names wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        lock(&self.questions.line).waiting.len()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        lock(&self.questions.line).is_over = true;
        self.questions.has_changed.notify_all();
    }
}

fn answer(shared: &Shared, key: RecordKey, addresses: Vec<SocketAddr>) {
    // A reactor that has ended needs no answer.
    let _ = shared
        .queue
        .submit(|_, items| items.push(Submission::Resolved { key, addresses }));
}

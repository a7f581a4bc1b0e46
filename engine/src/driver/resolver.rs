//! Name resolution on threads of its own: the system's resolver blocks, the reactor must not.

use std::net::ToSocketAddrs;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use crate::key::Key;
use crate::shared::{Shared, Submission};
use crate::sync::lock;

/// So many names are resolved at once; others wait, and their connect timeout runs.
const THREADS_MAX: usize = 4;

struct Question {
    key: Key,
    host: String,
    port: u16,
}

/// Answers questions by submissions to the reactor. Threads start when they are first needed, and
/// end with the reactor, or as soon after it as the system lets go of them.
pub(super) struct Resolver {
    shared: Weak<Shared>,
    questions: Sender<Question>,
    waiting: Arc<Mutex<Receiver<Question>>>,
    threads: usize,
}

impl Resolver {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let (questions, waiting) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        Resolver {
            shared: Arc::downgrade(shared),
            questions,
            waiting,
            threads: 0,
        }
    }

    pub(super) fn resolve(&mut self, key: Key, host: String, port: u16) {
        if self.threads < THREADS_MAX && self.start_thread() {
            self.threads += 1;
        }
        let unanswered =
            self.threads == 0 || self.questions.send(Question { key, host, port }).is_err();
        if unanswered && let Some(shared) = self.shared.upgrade() {
            answer(&shared, key, Vec::new());
        }
    }

    fn start_thread(&self) -> bool {
        let (waiting, shared) = (Arc::clone(&self.waiting), Weak::clone(&self.shared));
        let resolve_all = move || {
            loop {
                let Ok(question) = lock(&waiting).recv() else {
                    return;
                };
                let Question { key, host, port } = question;
                let addresses = (host.as_str(), port).to_socket_addrs();
                let addresses = addresses.map(Iterator::collect).unwrap_or_default();
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                answer(&shared, key, addresses);
            }
        };
        thread::Builder::new()
            .name("ampe-resolver".into())
            .spawn(resolve_all)
            .is_ok()
    }
}

fn answer(shared: &Shared, key: Key, addresses: Vec<std::net::SocketAddr>) {
    // A reactor that has ended needs no answer.
    let _ = shared
        .queue
        .submit(|_, items| items.push(Submission::Resolved { key, addresses }));
}

//! A number of threads that answer.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use super::Taken;

/// Threads that answer requests, each one at a time.
///
/// A worker that panics has refused its request, and goes on. Dropping this lets the threads end by themselves, once they
/// have answered what was handed to them; [`join`](Workers::join) waits for that.
#[derive(Debug)]
#[must_use = "dropped, its threads end"]
pub struct Workers {
    // Bounded by what its service takes.
    requests: mpsc::Sender<Taken>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts so many threads, each of which calls `work` with one request after the other.
    ///
    /// # Errors
    ///
    /// As [`thread::Builder::spawn`]. Those that were started end then.
    pub fn start(
        count: usize,
        work: impl Fn(Taken) + Send + Sync + 'static,
    ) -> io::Result<Workers> {
        let (sender, receiver) = mpsc::channel();
        let (receiver, work) = (Arc::new(Mutex::new(receiver)), Arc::new(work));
        let mut threads = Vec::with_capacity(count);
        for number in 1..=count {
            let (receiver, work) = (Arc::clone(&receiver), Arc::clone(&work));
            let named = thread::Builder::new().name(format!("worker {number}"));
            threads.push(named.spawn(move || run(&receiver, &*work))?);
        }
        Ok(Workers {
            requests: sender,
            threads,
        })
    }

    /// Hands a request to the next thread that is free.
    pub fn hand(&self, request: Taken) {
        // Without threads it is dropped, and so refused.
        let _ = self.requests.send(request);
    }

    /// Waits until what was handed over is answered, and the threads have ended.
    pub fn join(self) {
        drop(self.requests);
        for thread in self.threads {
            // Their panics were caught.
            let _ = thread.join();
        }
    }
}

fn run(requests: &Mutex<mpsc::Receiver<Taken>>, work: &(impl Fn(Taken) + Sync)) {
    loop {
        // One waits for the next, and the others for the lock.
        let next = requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(request) = next else { return };
        // The message was printed. What `work` shares with other threads is its own affair.
        let _ = catch_unwind(AssertUnwindSafe(|| work(request)));
    }
}

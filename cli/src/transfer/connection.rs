//! The receiving side of one conversation: a thread that writes what its connection brings, so that
//! a slow disk holds up nobody else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ampe::{Account, Bye, Channel, ChannelGroup, Closed, Request, Signal};

use super::conversation::Conversation;
use super::digest::Digest;
use super::directory::Directory;
use crate::aside::Aside;
use crate::progress::Progress;

/// How long a thread that is told to end may take, which removes what it was receiving. One that hangs
/// in its disk is left behind.
const END: Duration = Duration::from_secs(2);

/// What a connection brings, in order.
pub(crate) enum Work {
    Request(Request),
    Content(Signal),
    Bye(Bye),
    Closed(Closed),
}

/// What became of a connection or a file.
#[derive(Debug)]
pub(crate) enum Report {
    Stored(Stored),
    /// A file was refused or lost, or the connection broke: why, and what to do.
    Failed {
        peer: String,
        /// As it came, whatever it holds.
        name: Option<Vec<u8>>,
        why: String,
        /// How far the file had come, if it had begun.
        came: Option<Came>,
        /// What became of the connection's messages, if it has ended.
        account: Option<Account>,
    },
    /// The last report of a connection.
    Ended(Ended),
}

/// A connection that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) channel: Channel,
    pub(crate) peer: String,
    /// Whether nothing of it failed.
    pub(crate) is_good: bool,
    pub(crate) account: Account,
    /// What came, by the first name of its path.
    pub(crate) tallies: BTreeMap<Vec<u8>, Tally>,
}

/// What came of one argument of a sender's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Where it is.
    pub(crate) path: Option<PathBuf>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) directories: u64,
    pub(crate) links: u64,
    pub(crate) failed: u64,
}

/// How far a file had come, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came {
    pub(crate) received: u64,
    /// How long it was to be, if that was said.
    pub(crate) size: Option<u64>,
}

/// A file received and verified.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) peer: String,
    /// Where it is; nowhere if it went to stdout.
    pub(crate) path: Option<PathBuf>,
    /// Whether it was sent by itself, and not in a directory.
    pub(crate) is_alone: bool,
    pub(crate) bytes: u64,
    /// How much of it was here before.
    pub(crate) resumed: u64,
    pub(crate) seconds: f64,
    pub(crate) sha256: Digest,
}

/// Where files go.
#[derive(Clone)]
pub(crate) enum Target {
    Directory(Arc<Directory>),
    /// One file, to stdout: whether it has come.
    Stdout(Arc<AtomicBool>),
}

/// The receiver's end of a connection thread. Dropping it ends the thread, with what it was receiving
/// removed.
pub(crate) struct Connection {
    work: Option<mpsc::Sender<Work>>,
    pending: Arc<AtomicUsize>,
    thread: Option<Aside<()>>,
}

/// What the connection threads of a receiver have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) group: ChannelGroup,
    pub(crate) target: Target,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) progress: Progress,
}

impl Connection {
    pub(crate) fn spawn(
        common: Common,
        channel: Channel,
        peer: String,
        objection: Option<&str>,
    ) -> std::io::Result<Connection> {
        let (work, work_given) = mpsc::channel();
        let pending = Arc::new(AtomicUsize::new(0));
        let conversation = Conversation::new(common, channel, peer, objection);
        let done = Arc::clone(&pending);
        let name = format!("ampe-connection-{}", channel.number());
        let thread = Aside::spawn(&name, move || conversation.run(&work_given, &done))?;
        Ok(Connection {
            work: Some(work),
            pending,
            thread: Some(thread),
        })
    }

    pub(crate) fn give(&self, work: Work) {
        self.pending.fetch_add(1, Ordering::Relaxed);
        if let Some(sender) = &self.work {
            // A thread that has ended was given its `Closed`.
            let _ = sender.send(work);
        }
    }

    /// One whose thread never does what it was given.
    #[cfg(test)]
    pub(crate) fn that_is_busy() -> Connection {
        Connection {
            work: None,
            pending: Arc::new(AtomicUsize::new(1)),
            thread: None,
        }
    }

    /// As a thread says that it has done everything.
    #[cfg(test)]
    pub(crate) fn is_done(&self) {
        self.pending.store(0, Ordering::Relaxed);
    }

    /// Whether everything given was done.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.load(Ordering::Relaxed) == 0
    }
}

impl Connection {
    /// Lets the thread end when it has done what it was given.
    pub(crate) fn end(&mut self) {
        drop(self.work.take());
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.wait_until(Instant::now() + END);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An interrupted receiver leaves nothing behind only if it waits for what removes it.
    #[test]
    fn what_a_thread_does_at_its_end_is_waited_for() {
        let (work, given) = mpsc::channel();
        let is_removed = Arc::new(AtomicBool::new(false));
        let removed = Arc::clone(&is_removed);
        let thread = Aside::spawn("ampe-connection-test", move || {
            while given.recv().is_ok() {}
            // A disk is not the fastest.
            std::thread::sleep(Duration::from_millis(50));
            removed.store(true, Ordering::Relaxed);
        });
        drop(Connection {
            work: Some(work),
            pending: Arc::default(),
            thread: Some(thread.unwrap()),
        });
        assert!(is_removed.load(Ordering::Relaxed));
    }
}

//! The receiving side of one conversation: a thread that writes what its connection brings, so that
//! a slow disk holds up nobody else.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ampe::{Account, Bye, Channel, ChannelGroup, Closed, Message, Post, Reason, Request, Signal};
use indicatif::ProgressBar;

use super::digest::{Digest, DigestThread};
use super::directory::{Directory, Partial};
use super::protocol::{self, Answer, Demand};
use crate::aside::Aside;
use crate::progress::Progress;

/// How long a thread that is told to end may take, which removes what it was receiving. One that hangs
/// in its disk is left behind.
const END: Duration = Duration::from_secs(2);

/// After how much more of a file, and not sooner than after this time, the sender is told how far it has
/// come: what is on its way to us may be more than its system still shows it.
const PROGRESS: u64 = 4 * super::BODY_LEN as u64;
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

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
    /// The last report of a connection: whether nothing of it failed.
    Ended {
        channel: Channel,
        is_good: bool,
    },
}

/// How far a file had come, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came {
    pub(crate) received: u64,
    pub(crate) size: u64,
}

/// A file received and verified.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) peer: String,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) sha256: Digest,
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
    pub(crate) directory: Arc<Directory>,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) progress: Progress,
}

impl Connection {
    pub(crate) fn spawn(
        common: Common,
        channel: Channel,
        peer: String,
    ) -> std::io::Result<Connection> {
        let (work, work_given) = mpsc::channel();
        let pending = Arc::new(AtomicUsize::new(0));
        let conversation = Conversation {
            common,
            channel,
            peer,
            incoming: None,
            is_good: true,
            account: None,
        };
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

struct Conversation {
    common: Common,
    channel: Channel,
    peer: String,
    incoming: Option<Incoming>,
    is_good: bool,
    account: Option<Account>,
}

/// A file being received.
struct Incoming {
    id: u64,
    size: u64,
    received: u64,
    partial: Partial,
    digest: DigestThread,
    bar: ProgressBar,
    started: Instant,
    /// How much the sender was told of last, and when.
    told: (u64, Instant),
}

impl Conversation {
    fn run(mut self, work: &mpsc::Receiver<Work>, done: &AtomicUsize) {
        for work in work {
            match work {
                Work::Request(request) => self.on_request(request),
                Work::Content(content) => self.on_content(content),
                Work::Bye(bye) => {
                    self.abandon("the sender ended the conversation: send it again");
                    drop(bye); // which answers it, behind all that was posted
                }
                Work::Closed(closed) => self.on_closed(&closed),
            }
            done.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn on_request(&mut self, request: Request) {
        let id = request.id();
        match Demand::read(request.text_headers()) {
            Some(Demand::Offer { size }) => {
                self.abandon("the sender began another file: send it again");
                self.on_offer(&request, size);
            }
            // What was lost before was answered then.
            Some(Demand::Store { sha256 }) => {
                if let Some(incoming) = self.take(id) {
                    self.on_store(incoming, &request, sha256);
                }
            }
            Some(Demand::Cancel { reason }) => {
                if let Some(incoming) = self.take(id) {
                    self.lose(incoming, &format!("the sender gave up: {reason}"));
                }
            }
            Some(Demand::Echo) => self.post(request.echo()),
            None => {
                let reason = "this version of ampe does not know such a request".to_owned();
                self.answer(&request, &Answer::Refused { reason });
            }
        }
    }

    fn on_offer(&mut self, request: &Request, size: u64) {
        let begun = self.common.directory.begin(request.body());
        let begun = begun.and_then(|partial| {
            let digest = DigestThread::spawn()
                .map_err(|error| format!("no thread can be started: {error}: try again"))?;
            Ok((partial, digest))
        });
        match begun {
            Ok((partial, digest)) => {
                let bar = self.common.progress.bytes(partial.name(), size);
                let started = Instant::now();
                self.incoming = Some(Incoming {
                    id: request.id(),
                    size,
                    received: 0,
                    partial,
                    digest,
                    bar,
                    started,
                    told: (0, started),
                });
                self.answer(request, &Answer::Accepted);
            }
            Err(reason) => {
                let file = (told(request.body()), None);
                self.fail(Some(file), &format!("refused: {reason}"));
                self.answer(request, &Answer::Refused { reason });
            }
        }
    }

    fn on_content(&mut self, content: Signal) {
        let Some(incoming) = &mut self.incoming else {
            return; // of a file that was lost: the sender learns of it soon
        };
        if incoming.id != content.id() {
            return;
        }
        let written = incoming.write(content.into_message());
        match (written, incoming.progress()) {
            (Ok(()), None) => {}
            (Ok(()), Some(received)) => {
                let message = protocol::progress(self.common.group.message(), received);
                let signal = message.signal(self.channel).with_id(incoming.id);
                // Where there is no room for it, the sender learns enough from the answer.
                let _ = self.common.group.post(signal);
            }
            (Err(why), _) => {
                if let Some(incoming) = self.incoming.take() {
                    self.lose(incoming, &why);
                }
            }
        }
    }

    fn on_store(&mut self, incoming: Incoming, request: &Request, announced: Digest) {
        let Incoming {
            size,
            received,
            partial,
            digest,
            bar,
            started,
            ..
        } = incoming;
        bar.finish_and_clear();
        let name = partial.name().as_bytes().to_owned();
        let sha256 = digest.finish();
        let stored = if received != size {
            Err(format!(
                "only {received} of {size} bytes arrived: send it again"
            ))
        } else if sha256 != announced {
            Err("it arrived damaged: send it again".to_owned())
        } else {
            partial.store()
        };
        match stored {
            Ok(path) => {
                self.report(Report::Stored(Stored {
                    peer: self.peer.clone(),
                    path,
                    bytes: size,
                    seconds: started.elapsed().as_secs_f64(),
                    sha256,
                }));
                self.answer(request, &Answer::Stored { sha256 });
            }
            Err(reason) => {
                let came = Came { received, size };
                self.fail(Some((name, Some(came))), &reason);
                self.answer(request, &Answer::Failed { reason });
            }
        }
    }

    fn on_closed(&mut self, closed: &Closed) {
        self.account = Some(closed.account());
        let because = match (closed.reason(), closed.os_error()) {
            (Reason::Aborted, _) => "it was silent for too long and disconnected".to_owned(),
            (_, Some(error)) => error.to_string(),
            (reason, None) => reason.to_string(),
        };
        if self.incoming.is_some() {
            self.abandon(&format!("{because}: send it again"));
        } else if closed.reason() != Reason::Bye {
            let why = format!("the connection broke: {because}: see what the sender says");
            self.fail(None, &why);
        }
        self.report(Report::Ended {
            channel: self.channel,
            is_good: self.is_good,
        });
    }

    fn take(&mut self, id: u64) -> Option<Incoming> {
        self.incoming.take_if(|incoming| incoming.id == id)
    }

    /// Gives up the file being received, if there is one, without an answer: nobody waits for it.
    fn abandon(&mut self, why: &str) {
        if let Some(incoming) = self.incoming.take() {
            incoming.bar.finish_and_clear();
            let why = format!(
                "broken off after {} of {} bytes: {why}",
                incoming.received, incoming.size
            );
            self.fail(Some(incoming.named()), &why);
        }
    }

    /// Gives up a file and tells the sender.
    fn lose(&mut self, incoming: Incoming, why: &str) {
        incoming.bar.finish_and_clear();
        let (id, file) = (incoming.id, incoming.named());
        drop(incoming); // removed before anybody is told
        self.fail(Some(file), why);
        let reason = why.to_owned();
        let answer = Answer::Failed { reason }.write(self.common.group.message());
        self.post(answer.response(self.channel, id));
    }

    fn answer(&mut self, request: &Request, answer: &Answer) {
        let message = answer.write(self.common.group.message());
        self.post(request.reply(message));
    }

    /// Posts an answer. A sender has one at a time to read: if there is no room for it, it reads
    /// none, and is let go.
    fn post(&mut self, post: Post) {
        if let Err(refused) = self.common.group.post(post)
            && matches!(refused.why, ampe::PostError::Full(_))
        {
            self.fail(
                None,
                "the sender does not read its answers: it was disconnected",
            );
            // Refused if the channel has ended meanwhile, which is as good.
            let _ = self.common.group.post(Post::abort(self.channel));
        }
    }

    fn fail(&mut self, file: Option<(Vec<u8>, Option<Came>)>, why: &str) {
        self.is_good = false;
        let (name, came) = file.unzip();
        self.report(Report::Failed {
            peer: self.peer.clone(),
            name,
            why: why.to_owned(),
            came: came.flatten(),
            account: self.account,
        });
    }

    fn report(&self, report: Report) {
        let _ = self.common.reports.send(report);
        // Refused where events wait already, or the receiver ends: it looks at reports by itself.
        let group = &self.common.group;
        let _ = group.notify(group.message());
    }
}

/// A name as it came, at no length.
fn told(name: &[u8]) -> Vec<u8> {
    const LEN_MAX: usize = 255;
    name[..name.len().min(LEN_MAX)].to_owned()
}

impl Incoming {
    fn named(&self) -> (Vec<u8>, Option<Came>) {
        let (received, size) = (self.received, self.size);
        let name = self.partial.name().as_bytes().to_owned();
        (name, Some(Came { received, size }))
    }

    /// How much there is, if the sender is to be told.
    fn progress(&mut self) -> Option<u64> {
        let (told, when) = self.told;
        if self.received - told < PROGRESS || when.elapsed() < PROGRESS_PAUSE {
            return None;
        }
        self.told = (self.received, Instant::now());
        Some(self.received)
    }

    fn write(&mut self, content: Message) -> Result<(), String> {
        let len = content.body().len() as u64;
        if len > self.size - self.received {
            return Err("the sender sent more than it announced: send it again".to_owned());
        }
        self.partial.write(content.body())?;
        self.received += len;
        self.bar.set_position(self.received);
        self.digest.update(content);
        Ok(())
    }
}

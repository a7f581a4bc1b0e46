//! The receiving side of one conversation: a thread that writes what its connection brings, so that
//! a slow disk holds up nobody else.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use ampe::{Account, Bye, Channel, ChannelGroup, Closed, Message, Post, Reason, Request, Signal};
use indicatif::ProgressBar;

use super::digest::{Digest, DigestThread};
use super::directory::{Directory, Partial};
use super::protocol::{Answer, Demand};
use crate::output;
use crate::progress::Progress;

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
        name: Option<String>,
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

/// The receiver's end of a connection thread. Dropping it ends the thread, with what it was
/// receiving removed.
pub(crate) struct Connection {
    work: Option<mpsc::Sender<Work>>,
    pending: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
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
        let thread = thread::Builder::new()
            .name(format!("ampe-connection-{}", channel.number()))
            .spawn(move || conversation.run(&work_given, &done))?;
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

    /// Whether everything given was done.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
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
                self.incoming = Some(Incoming {
                    id: request.id(),
                    size,
                    received: 0,
                    partial,
                    digest,
                    bar,
                    started: Instant::now(),
                });
                self.answer(request, &Answer::Accepted);
            }
            Err(reason) => {
                let name = shown(request.body());
                self.fail(Some((name, None)), &format!("refused: {reason}"));
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
        if let Err(why) = written
            && let Some(incoming) = self.incoming.take()
        {
            self.lose(incoming, &why);
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
        let name = partial.name().to_owned();
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

    fn fail(&mut self, file: Option<(String, Option<Came>)>, why: &str) {
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

/// A name that is perhaps not plain, and not at any length.
fn shown(name: &[u8]) -> String {
    const CHARS_MAX: usize = 80;
    let name = String::from_utf8_lossy(name);
    match name.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", output::quoted(&name[..end])),
        None => output::quoted(&name),
    }
}

impl Incoming {
    fn named(&self) -> (String, Option<Came>) {
        let (received, size) = (self.received, self.size);
        let name = self.partial.name().to_owned();
        (name, Some(Came { received, size }))
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

//! The receiving side of one conversation: what each message of the sender's means, and its answer.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use ampe::{Account, Channel, Closed, Post, PostError, Reason, Request, Signal};

use super::connection::{Came, Common, Ended, Report, Stored, Tally, Target, Work};
use super::digest::Digest;
use super::directory::Directory;
use super::incoming::{Incoming, Place};
use super::protocol::{self, Answer, Attributes, Demand};

/// How many messages are handled before their answers are posted, at most.
const BATCH: usize = 64;

pub(super) struct Conversation {
    common: Common,
    channel: Channel,
    peer: String,
    incoming: Option<Incoming>,
    is_good: bool,
    account: Option<Account>,
    tallies: BTreeMap<Vec<u8>, Tally>,
    /// Answers not posted yet.
    answers: VecDeque<Post>,
    /// Whether there are reports that the receiver was not woken for.
    has_reported: bool,
}

impl Conversation {
    /// One with this objection to all that is to come, if any.
    pub(super) fn new(
        common: Common,
        channel: Channel,
        peer: String,
        objection: Option<&str>,
    ) -> Conversation {
        let mut conversation = Conversation {
            common,
            channel,
            peer,
            incoming: None,
            is_good: true,
            account: None,
            tallies: BTreeMap::new(),
            answers: VecDeque::new(),
            has_reported: false,
        };
        if let Some(why) = objection {
            conversation.fail(None, why);
            conversation.flush();
        }
        conversation
    }

    pub(super) fn run(mut self, work: &mpsc::Receiver<Work>, done: &AtomicUsize) {
        while let Ok(first) = work.recv() {
            // What waits already is answered and reported together.
            let rest = std::iter::from_fn(|| work.try_recv().ok());
            for work in std::iter::once(first).chain(rest.take(BATCH)) {
                self.on_work(work);
                done.fetch_sub(1, Ordering::Relaxed);
            }
            self.flush();
        }
    }

    fn on_work(&mut self, work: Work) {
        match work {
            Work::Request(request) => self.on_request(request),
            Work::Content(content) => self.on_content(content),
            Work::Bye(bye) => {
                self.abandon("the sender ended the conversation: send it again");
                self.flush();
                drop(bye); // which answers it, behind all that was posted
            }
            Work::Closed(closed) => self.on_closed(&closed),
        }
    }

    /// Has content written, posts the answers, and wakes the receiver for the reports.
    fn flush(&mut self) {
        if let Some(mut incoming) = self.incoming.take() {
            match incoming.flush() {
                Ok(()) => self.incoming = Some(incoming),
                Err(why) => self.lose(incoming, &why),
            }
        }
        let mut posted = Vec::with_capacity(self.answers.len());
        let group = self.common.group.clone();
        if !self.answers.is_empty()
            && let Err(why) = group.post_many(&mut self.answers, &mut posted)
        {
            self.answers.clear();
            self.on_refused(&why);
        }
        if std::mem::take(&mut self.has_reported) {
            // Refused where events wait already, or the receiver ends: it looks at reports by itself.
            let _ = group.notify(group.message());
        }
    }

    fn on_request(&mut self, request: Request) {
        let id = request.id();
        let demand = Demand::read(request.text_headers());
        if !matches!(
            demand,
            Some(Demand::Resume { .. } | Demand::Store { .. } | Demand::Cancel { .. }) | None
        ) {
            self.abandon("the sender began another file: send it again");
        }
        match demand {
            Some(Demand::Offer { size, attributes }) => self.on_offer(&request, size, attributes),
            // What was lost before was answered then.
            Some(Demand::Resume { sha256 }) => self.on_resume(&request, sha256),
            Some(Demand::Store { size, sha256 }) => {
                if let Some(incoming) = self.take(id) {
                    self.on_store(incoming, &request, size, sha256);
                }
            }
            Some(Demand::Cancel { reason }) => {
                if let Some(incoming) = self.take(id) {
                    self.lose(incoming, &format!("the sender gave up: {reason}"));
                }
            }
            Some(Demand::Put {
                path_len,
                sha256,
                attributes,
            }) => self.on_put(&request, path_len, sha256, attributes),
            Some(Demand::Directory { attributes }) => {
                let made = self.directory();
                let made = made.and_then(|here| here.make_directory(request.body(), attributes));
                let is_new = attributes.mode.is_none();
                self.on_made(&request, request.body(), made, |of| {
                    of.directories += u64::from(is_new);
                });
            }
            Some(Demand::Link { path_len }) => {
                let Some((path, target)) = request.body().split_at_checked(path_len) else {
                    return self.refuse_unknown(&request);
                };
                let made = self.directory();
                let made = made.and_then(|here| here.make_link(path, target));
                self.on_made(&request, path, made, |of| of.links += 1);
            }
            Some(Demand::Echo) => self.post(request.echo()),
            None => self.refuse_unknown(&request),
        }
    }

    fn refuse_unknown(&mut self, request: &Request) {
        let reason = "this version of ampe does not know such a request".to_owned();
        self.answer(request, &Answer::Refused { reason });
    }

    /// The directory, if that is where files go.
    fn directory(&self) -> Result<Arc<Directory>, String> {
        match &self.common.target {
            Target::Directory(directory) => Ok(Arc::clone(directory)),
            Target::Stdout(_) => Err(
                "this receiver writes one file to its stdout: send a file, and \
                                      no directory"
                    .to_owned(),
            ),
        }
    }

    fn on_offer(&mut self, request: &Request, size: Option<u64>, attributes: Attributes) {
        let path = request.body();
        let place = Place::begin(&self.common.target, path, size, attributes);
        let begun = place.and_then(|(place, from)| {
            let bar = self.common.progress.file(&shown_path(path), size);
            Incoming::new(request.id(), told(path), size, place, from, bar)
        });
        match begun {
            Ok(incoming) => {
                let from = incoming.may_resume().unwrap_or(0);
                self.incoming = Some(incoming);
                self.answer(request, &Answer::Accepted { from });
            }
            Err(reason) => self.refuse(request, path, reason),
        }
    }

    fn refuse(&mut self, request: &Request, path: &[u8], reason: String) {
        let file = (told(path), None);
        self.fail(Some(file), &format!("refused: {reason}"));
        self.answer(request, &Answer::Refused { reason });
    }

    /// Compares what is here with what the sender has; says from where on content is to come.
    fn on_resume(&mut self, request: &Request, theirs: Digest) {
        let Some(mut incoming) = self.take(request.id()) else {
            return;
        };
        let (group, channel) = (self.common.group.clone(), self.channel);
        let id = incoming.id();
        let mut tell = |received| {
            let message = protocol::progress(group.message(), received);
            // Where there is no room for it, enough is on its way.
            let _ = group.post(message.signal(channel).with_id(id));
        };
        match incoming.resume(theirs, &mut tell) {
            Ok(from) => {
                self.incoming = Some(incoming);
                self.answer(request, &Answer::Accepted { from });
            }
            Err(why) => self.lose(incoming, &why),
        }
    }

    fn on_content(&mut self, content: Signal) {
        let Some(incoming) = &mut self.incoming else {
            return; // of a file that was lost: the sender learns of it soon
        };
        if incoming.id() != content.id() || protocol::is_alive(content.text_headers()) {
            return;
        }
        let written = incoming.write(content.into_message());
        match (written, incoming.progress()) {
            (Ok(()), None) => {}
            (Ok(()), Some(received)) => {
                let message = protocol::progress(self.common.group.message(), received);
                let signal = message.signal(self.channel).with_id(incoming.id());
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

    fn on_store(
        &mut self,
        mut incoming: Incoming,
        request: &Request,
        size: Option<u64>,
        sha256: Digest,
    ) {
        let flushed = incoming.flush();
        let (path, came, resumed) = (
            incoming.path().to_owned(),
            incoming.came(),
            incoming.resumed(),
        );
        let started = incoming.started();
        match flushed.and_then(|()| incoming.store(size, sha256)) {
            Ok(place) => {
                let seconds = started.elapsed().as_secs_f64();
                self.stored(&path, place, came.received, resumed, seconds, sha256);
                self.answer(request, &Answer::Stored { sha256 });
            }
            Err(reason) => {
                self.fail(Some((path, Some(came))), &reason);
                self.answer(request, &Answer::Failed { reason });
            }
        }
    }

    fn on_put(&mut self, request: &Request, path_len: usize, sha256: Digest, of: Attributes) {
        let Some((path, content)) = request.body().split_at_checked(path_len) else {
            return self.refuse_unknown(request);
        };
        let started = Instant::now();
        let bytes = content.len() as u64;
        let came = Came {
            received: bytes,
            size: Some(bytes),
        };
        if Digest::of(content) != sha256 {
            let reason = "it arrived damaged: send it again".to_owned();
            self.fail(Some((told(path), Some(came))), &reason);
            return self.answer(request, &Answer::Failed { reason });
        }
        match self.put(path, content, of) {
            Ok(place) => {
                let seconds = started.elapsed().as_secs_f64();
                self.stored(path, place, bytes, 0, seconds, sha256);
                self.answer(request, &Answer::Stored { sha256 });
            }
            Err(reason) => self.refuse(request, path, reason),
        }
    }

    fn put(
        &self,
        path: &[u8],
        content: &[u8],
        attributes: Attributes,
    ) -> Result<Option<PathBuf>, String> {
        match &self.common.target {
            Target::Directory(directory) => directory.put(path, content, attributes).map(Some),
            Target::Stdout(_) => {
                let size = Some(content.len() as u64);
                Place::begin(&self.common.target, path, size, attributes)?;
                write_stdout(content).map(|()| None)
            }
        }
    }

    fn on_made(
        &mut self,
        request: &Request,
        path: &[u8],
        made: Result<PathBuf, String>,
        count: impl FnOnce(&mut Tally),
    ) {
        match made {
            Ok(place) => {
                let tally = self.tally(path);
                count(tally);
                tally.path.get_or_insert(place);
                self.answer(request, &Answer::Made);
            }
            Err(reason) => self.refuse(request, path, reason),
        }
    }

    fn stored(
        &mut self,
        path: &[u8],
        place: Option<PathBuf>,
        bytes: u64,
        resumed: u64,
        seconds: f64,
        sha256: Digest,
    ) {
        let is_alone = !path.contains(&b'/');
        let tally = self.tally(path);
        tally.files += 1;
        tally.bytes += bytes;
        if is_alone {
            tally.path.clone_from(&place);
        }
        self.report(Report::Stored(Stored {
            peer: self.peer.clone(),
            path: place,
            is_alone,
            bytes,
            resumed,
            seconds,
            sha256,
        }));
    }

    fn tally(&mut self, path: &[u8]) -> &mut Tally {
        let top = path.split(|&byte| byte == b'/').next().unwrap_or_default();
        self.tallies.entry(top.to_owned()).or_default()
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
        let tallies = std::mem::take(&mut self.tallies);
        self.report(Report::Ended(Ended {
            channel: self.channel,
            peer: self.peer.clone(),
            is_good: self.is_good,
            account: closed.account(),
            tallies,
        }));
    }

    fn take(&mut self, id: u64) -> Option<Incoming> {
        self.incoming.take_if(|incoming| incoming.id() == id)
    }

    /// Gives up the file being received, if there is one, without an answer: nobody waits for it. What
    /// is here of it is kept, if its sender may go on with it.
    fn abandon(&mut self, why: &str) {
        if let Some(mut incoming) = self.incoming.take() {
            // What cannot be written is lost with what was not sent.
            let _ = incoming.flush();
            let (path, came) = (incoming.path().to_owned(), incoming.came());
            let of = match came.size {
                Some(size) => format!(" of {size}"),
                None => String::new(),
            };
            let kept = match incoming.leave() {
                true => ", which are kept to go on with",
                false => "",
            };
            let why = format!("broken off after {}{of} bytes{kept}: {why}", came.received);
            self.fail(Some((path, Some(came))), &why);
        }
    }

    /// Gives up a file and tells the sender.
    fn lose(&mut self, incoming: Incoming, why: &str) {
        let (id, file) = (
            incoming.id(),
            (incoming.path().to_owned(), Some(incoming.came())),
        );
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

    fn post(&mut self, post: Post) {
        self.answers.push_back(post);
    }

    /// A sender reads its answers while it sends: if there is no room for one, it reads none, and is let
    /// go.
    fn on_refused(&mut self, why: &PostError) {
        if matches!(why, PostError::Full(_)) {
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
        if let Some(name) = &name {
            self.tally(name).failed += 1;
        }
        self.report(Report::Failed {
            peer: self.peer.clone(),
            name,
            why: why.to_owned(),
            came: came.flatten(),
            account: self.account,
        });
    }

    fn report(&mut self, report: Report) {
        let _ = self.common.reports.send(report);
        self.has_reported = true;
    }
}

impl Drop for Conversation {
    /// The receiver ends before the connection does.
    fn drop(&mut self) {
        if let Some(mut incoming) = self.incoming.take() {
            let _ = incoming.flush();
            incoming.leave();
        }
    }
}

/// A path as it came, at no length.
fn told(path: &[u8]) -> Vec<u8> {
    const LEN_MAX: usize = 4096;
    path[..path.len().min(LEN_MAX)].to_owned()
}

fn shown_path(path: &[u8]) -> String {
    crate::output::shown(String::from_utf8_lossy(&told(path)))
}

/// Writes content to stdout, or says why not.
pub(super) fn write_stdout(content: &[u8]) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(content).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => {
            "whoever read the receiver's stdout has ended: see what it says".to_owned()
        }
        _ => format!("the receiver cannot write to its stdout: {error}: send it somewhere else"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_on_one_line_and_told_at_no_length() {
        assert_eq!(shown_path(b"top/file"), "top/file");
        assert_eq!(shown_path(b"a\nb"), r#""a\nb""#);
        assert_eq!(told(b"a\nb"), b"a\nb", "as it came");
        assert_eq!(told(&[b'x'; 5000]), [b'x'; 4096]);
        assert!(shown_path(&[b'x'; 5000]).len() <= 4096);
    }
}

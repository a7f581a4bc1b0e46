//! The sending side of the conversation.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ampe::{Account, Address, Event, Received};
use indicatif::ProgressBar;

use super::digest::Digest;
use super::names;
use super::protocol::{self, Answer, Demand, Role};
use super::source::{Job, Source, Stopped};
use crate::error::Failure;
use crate::link::Link;
use crate::output;
use crate::session::Session;

/// A connection to a receiver.
pub(crate) struct Sender<'s> {
    link: Link<'s>,
}

/// A file to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    path: PathBuf,
    name: String,
}

/// A file that the receiver has, verified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) sha256: Digest,
}

impl Outgoing {
    /// Checks that there is such a file and that a receiver would take its name; else says what to
    /// do.
    pub(crate) fn check(path: &Path) -> Result<Outgoing, String> {
        let name = path.file_name().unwrap_or_default();
        let name = names::plain(name.as_encoded_bytes()).map_err(|error| {
            let shown = output::shown(path.display());
            format!("cannot send {shown}: {error}: rename it")
        })?;
        let outgoing = Outgoing {
            path: path.to_owned(),
            name: name.to_owned(),
        };
        outgoing.open()?;
        Ok(outgoing)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The size now, for a progress bar.
    pub(crate) fn size(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    fn open(&self) -> Result<(File, u64), String> {
        let shown = output::shown(self.path.display());
        let unreadable = |error: std::io::Error| {
            format!("cannot read {shown}: {error}: check the name and its permissions")
        };
        let no_file =
            || format!("cannot send {shown}: it is no regular file: name a file, or pack it first");
        // Looked at before it is opened: opening a pipe would wait for a writer.
        if !std::fs::metadata(&self.path).map_err(unreadable)?.is_file() {
            return Err(no_file());
        }
        let file = File::open(&self.path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_file() {
            Ok((file, metadata.len()))
        } else {
            Err(no_file())
        }
    }
}

impl<'s> Sender<'s> {
    /// Connects to a receiver.
    pub(crate) fn connect(
        session: &'s mut Session,
        to: &Address,
        timeout: std::time::Duration,
    ) -> Result<Sender<'s>, Failure> {
        let hello = protocol::hello(session.group().message(), Role::Sender);
        let mut link = Link::open(session, to, hello, timeout)?;
        let answer = link.connected()?;
        protocol::check_hello(answer.text_headers(), Role::Receiver).map_err(|what| {
            Failure::new(format!(
                "{} takes no files ({what}): give the address of `ampe recv`",
                output::shown(to)
            ))
        })?;
        Ok(Sender { link })
    }

    pub(crate) fn link(&mut self) -> &mut Link<'s> {
        &mut self.link
    }

    /// Sends a file. The inner error is about this file alone: others can still be sent.
    pub(crate) fn send(
        &mut self,
        outgoing: &Outgoing,
        bar: &ProgressBar,
    ) -> Result<Result<Sent, String>, Failure> {
        let (file, size) = match outgoing.open() {
            Ok(opened) => opened,
            Err(why) => return Ok(Err(why)),
        };
        let started = Instant::now();
        let id = match self.offer(outgoing, size)? {
            Ok(id) => id,
            Err(why) => return Ok(Err(why)),
        };
        let job = Job {
            file,
            size,
            group: self.link.group().clone(),
            channel: self.link.channel(),
            id,
            bar: bar.clone(),
        };
        let source = Source::spawn(job).map_err(|error| {
            Failure::new(format!(
                "cannot start a thread: {error}: close other programs"
            ))
        })?;
        let sent = self.watch(source, outgoing, id)?;
        Ok(sent.map(|sha256| Sent {
            bytes: size,
            seconds: started.elapsed().as_secs_f64(),
            sha256,
        }))
    }

    /// Offers a file; the id of the offer if it was accepted.
    fn offer(&mut self, outgoing: &Outgoing, size: u64) -> Result<Result<u64, String>, Failure> {
        let message = Demand::Offer { size }.write(self.link.group().message());
        let message = message
            .with_body(outgoing.name.as_bytes())
            .expect("a name is shorter than the longest body");
        let id = self.link.post(message.request(self.link.channel()))?.id;
        let answer = self.link.response(id)?;
        match Answer::read(answer.text_headers()) {
            Some(Answer::Accepted) => Ok(Ok(id)),
            Some(Answer::Refused { reason }) => {
                Ok(Err(format!("{} was refused: {reason}", outgoing.name)))
            }
            _ => Err(self.nonsense()),
        }
    }

    /// Waits for the answer to a file whose content is being sent.
    fn watch(
        &mut self,
        source: Source,
        outgoing: &Outgoing,
        id: u64,
    ) -> Result<Result<Digest, String>, Failure> {
        let answer = self.final_answer(&source, id);
        // Whatever the answer is, nothing more is sent after it.
        let sent = source.finish();
        let answer = Answer::read(answer?.text_headers());
        let name = &outgoing.name;
        match (answer, sent) {
            (Some(Answer::Stored { sha256 }), Ok(sent)) if sha256 == sent => Ok(Ok(sent)),
            (Some(Answer::Stored { .. }), _) => Ok(Err(format!(
                "{name} arrived with another content than was sent: remove it there, and send it \
                 again"
            ))),
            (_, Err(Stopped::Unreadable(why))) => Ok(Err(format!("{name} was not sent: {why}"))),
            (Some(Answer::Failed { reason }), _) => {
                Ok(Err(format!("{name} was not stored there: {reason}")))
            }
            _ => Err(self.nonsense()),
        }
    }

    fn final_answer(&mut self, source: &Source, id: u64) -> Result<Received, Failure> {
        let mut posted = source.posted();
        loop {
            let deadline = Instant::now() + self.link.timeout();
            match self.link.wait_until(deadline)? {
                Some(Event::Room(_)) => source.room(),
                Some(Event::Response(answer)) if answer.id() == id => return Ok(answer),
                Some(_) => {}
                None => {
                    let before = std::mem::replace(&mut posted, source.posted());
                    if before == posted {
                        return Err(self.link.silence());
                    }
                }
            }
        }
    }

    fn nonsense(&self) -> Failure {
        Failure::new(format!(
            "{} answered what no `ampe recv` of this version does: use the same version on both \
             sides",
            output::shown(self.link.to())
        ))
    }

    /// Ends the conversation; the accounts of the connection.
    pub(crate) fn finish(self) -> Result<Account, Failure> {
        self.link.finish()
    }
}

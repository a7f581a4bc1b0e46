//! The sending side of the conversation.

use std::sync::Arc;
use std::time::Instant;

use ampe::{Account, Address, Event, Received};
use indicatif::ProgressBar;

use super::digest::Digest;
use super::outgoing::{Content, Outgoing};
use super::protocol::{self, Answer, Demand, Role};
use super::source::{Job, Source, Stopped};
use crate::aside;
use crate::error::Failure;
use crate::link::Link;
use crate::output;
use crate::session::Session;

/// A connection to a receiver.
pub(crate) struct Sender<'s> {
    link: Link<'s>,
}

/// A file that the receiver has, verified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) sha256: Digest,
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
        outgoing: &Arc<Outgoing>,
        bar: &ProgressBar,
    ) -> Result<Result<Sent, String>, Failure> {
        let opening = Arc::clone(outgoing);
        let timeout = self.link.timeout();
        let content = match aside::run(timeout, move || opening.open())? {
            Some(Ok(content)) => content,
            Some(Err(why)) => return Ok(Err(why)),
            None => return Ok(Err(outgoing.hangs(timeout.as_secs_f64()))),
        };
        let size = content.size();
        bar.set_length(size);
        let started = Instant::now();
        let id = match self.offer(outgoing, size)? {
            Ok(id) => id,
            Err(why) => return Ok(Err(why)),
        };
        let sent = self.send_content(outgoing, content, id, bar)?;
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
            .with_body(outgoing.name().as_bytes())
            .expect("a name is shorter than the longest body");
        let id = self.link.post(message.request(self.link.channel()))?.id;
        let answer = self.link.response(id)?;
        match Answer::read(answer.text_headers()) {
            Some(Answer::Accepted) => Ok(Ok(id)),
            Some(Answer::Refused { reason }) => {
                Ok(Err(format!("{} was refused: {reason}", outgoing.name())))
            }
            _ => Err(self.nonsense()),
        }
    }

    fn send_content(
        &mut self,
        outgoing: &Outgoing,
        content: Content,
        id: u64,
        bar: &ProgressBar,
    ) -> Result<Result<Digest, String>, Failure> {
        let job = Job {
            content,
            group: self.link.group().clone(),
            channel: self.link.channel(),
            id,
            bar: bar.clone(),
        };
        let source = Source::spawn(job).map_err(|error| aside::no_thread(&error))?;
        let Some(answer) = self.final_answer(&source, id)? else {
            drop(source);
            return self.give_up(outgoing, id);
        };
        // Whatever the answer is, nothing more is sent after it.
        let sent = source.finish(self.link.timeout())?;
        let name = outgoing.name();
        match (Answer::read(answer.text_headers()), sent) {
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

    /// The answer to a file whose content is being sent; `None` if its disk hangs. What is waited for
    /// is the answer, or that content goes out.
    fn final_answer(&mut self, source: &Source, id: u64) -> Result<Option<Received>, Failure> {
        let mut patience = self.link.patience();
        let mut written = 0;
        let mut moved = (written, self.moved(source));
        while !patience.is_over() {
            match self.link.look(&mut patience)? {
                Some(Event::Room(_)) => source.room(),
                Some(Event::Response(answer)) if answer.id() == id => return Ok(Some(answer)),
                Some(Event::Signal(signal)) if signal.id() == id => {
                    let told = protocol::read_progress(signal.text_headers());
                    written = told.unwrap_or(written).max(written);
                }
                _ => {}
            }
            let now = (written, self.moved(source));
            if now != moved {
                moved = now;
                patience = self.link.patience();
            }
        }
        match source.is_reading() {
            true => Ok(None),
            false => Err(self.link.silence()),
        }
    }

    /// What grows while content goes out: bytes posted, and messages that the system took.
    fn moved(&self, source: &Source) -> (u64, u64) {
        let account = self.link.group().account(self.link.channel());
        (source.posted(), account.map_or(0, |account| account.sent))
    }

    /// Tells the receiver that no more comes of a file whose disk hangs.
    fn give_up(&mut self, outgoing: &Outgoing, id: u64) -> Result<Result<Digest, String>, Failure> {
        let seconds = self.link.timeout().as_secs_f64();
        let reason = format!("the sender's disk has not answered for {seconds} s");
        let message = Demand::Cancel { reason }.write(self.link.group().message());
        let cancel = message.request(self.link.channel()).with_id(id);
        self.link.post(cancel)?;
        self.link.response(id)?;
        Ok(Err(outgoing.hangs(seconds)))
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

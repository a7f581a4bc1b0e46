//! The sending side of the conversation.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ampe::{Account, Address, Event, Post, Received};

use super::digest::Digest;
use super::outgoing::{Kind, Outgoing};
use super::protocol::{self, Answer, Demand, Role};
use super::source::{self, Job, Manner, Said, Source, Told, Whole};
use crate::aside;
use crate::error::Failure;
use crate::link::Link;
use crate::output;
use crate::patience::Patience;
use crate::progress::Bars;
use crate::session::Session;

/// How often a receiver is told that we still work, where it hears nothing else of us.
const ALIVE: Duration = Duration::from_millis(250);

/// How often it is looked at whether anything moves, while answers come.
const LOOK: Duration = Duration::from_millis(20);

/// A connection to a receiver.
pub(crate) struct Sender<'s> {
    link: Link<'s>,
}

/// What the receiver has, verified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    /// Of a file's content.
    pub(crate) sha256: Option<Digest>,
    /// How much of it was there before.
    pub(crate) resumed: u64,
}

/// What became of the item with this number: told as soon as it is known.
pub(crate) type OnResult<'a> = dyn FnMut(usize, Result<Sent, String>) -> Result<(), Failure> + 'a;

impl<'s> Sender<'s> {
    /// Connects to a receiver, which is told how much is to be sent in all, if that is known.
    pub(crate) fn connect(
        session: &'s mut Session,
        to: &Address,
        size: Option<u64>,
        timeout: Duration,
    ) -> Result<Sender<'s>, Failure> {
        let hello = protocol::hello(session.group().message(), Role::Sender);
        let hello = protocol::announce(hello, size);
        let mut link = Link::open(session, to, hello, timeout)?;
        let answer = link.connected()?;
        protocol::check_hello(answer.text_headers(), Role::Receiver).map_err(|what| {
            Failure::new(format!(
                "{} takes no files ({what}): give the address of `ampe recv`",
                output::shown(to)
            ))
        })?;
        if let Some(reason) = protocol::reason(&answer) {
            link.finish()?;
            let to = output::shown(to);
            return Err(Failure::new(format!("nothing was sent to {to}: {reason}")));
        }
        Ok(Sender { link })
    }

    pub(crate) fn link(&mut self) -> &mut Link<'s> {
        &mut self.link
    }

    /// Sends what there is. Errors of one item are told as its result; others are still sent.
    pub(crate) fn send(
        &mut self,
        items: &Arc<[Outgoing]>,
        manner: Manner,
        bars: &Bars,
        on_result: &mut OnResult<'_>,
    ) -> Result<(), Failure> {
        let job = Job {
            items: Arc::clone(items),
            group: self.link.group().clone(),
            channel: self.link.channel(),
            manner,
            bars: bars.clone(),
        };
        let source = spawn(&job, 0, VecDeque::new())?;
        let whole = vec![None; items.len()];
        let sending = Sending {
            link: &mut self.link,
            is_settled: vec![false; items.len()],
            left: items.len(),
            job,
            source,
            whole,
            unread: HashMap::new(),
            on_result,
            written: 0,
            answers: 0,
            quiet: Quiet {
                since: Instant::now(),
                sent: 0,
            },
            alives: 0,
            went: 0,
        };
        sending.run()
    }

    /// Ends the conversation; the accounts of the connection.
    pub(crate) fn finish(self) -> Result<Account, Failure> {
        self.link.finish()
    }
}

fn spawn(job: &Job, first: usize, left: VecDeque<Post>) -> Result<Source, Failure> {
    Source::spawn(job.clone(), first, left).map_err(|error| aside::no_thread(&error))
}

/// Items on their way.
struct Sending<'a, 's> {
    link: &'a mut Link<'s>,
    job: Job,
    source: Source,
    /// What went out whole, and may be answered.
    whole: Vec<Option<Whole>>,
    /// What could not be read to its end, and why: the receiver was told, and is to answer.
    unread: HashMap<usize, String>,
    is_settled: Vec<bool>,
    /// How many are not settled.
    left: usize,
    on_result: &'a mut OnResult<'a>,
    /// How far the receiver is with a file, and how much it has answered.
    written: u64,
    answers: u64,
    quiet: Quiet,
    /// How often the receiver was told that we work.
    alives: u64,
    /// Messages that the system took of all others, as far as is known.
    went: u64,
}

/// Since when nothing has gone out, or it was said that we work.
struct Quiet {
    since: Instant,
    /// Messages that had gone out then.
    sent: u64,
}

impl Quiet {
    /// Whether it is to be said now that we work.
    fn is_due(&mut self, sent: u64, now: Instant) -> bool {
        let is_due = sent == self.sent && now.saturating_duration_since(self.since) >= ALIVE;
        if is_due || sent != self.sent {
            *self = Quiet { since: now, sent };
        }
        is_due
    }
}

impl Sending<'_, '_> {
    /// What is waited for is an answer, or that something goes out.
    fn run(mut self) -> Result<(), Failure> {
        let mut patience = self.link.patience();
        let mut moved = self.moved();
        let mut looked = None;
        while self.left > 0 {
            match self.link.look_within(&mut patience, ALIVE)? {
                Some(Event::Room(_)) => self.source.tell(Told::Room),
                Some(Event::Response(answer)) => self.on_response(&answer)?,
                Some(Event::Signal(signal)) => {
                    let written = protocol::read_progress(signal.text_headers());
                    self.written += u64::from(written.is_some());
                }
                // The thread says something, or nothing came.
                Some(Event::Notified(_)) | None => looked = None,
                _ => {}
            }
            // Not for each of many answers.
            if looked.is_some_and(|looked: Instant| looked.elapsed() < LOOK) {
                continue;
            }
            looked = Some(Instant::now());
            self.listen()?;
            self.say_alive();
            let now = self.moved();
            if now != moved {
                moved = now;
                patience = self.link.patience();
            }
            if patience.is_over() {
                self.on_silence(&mut patience)?;
            }
        }
        Ok(())
    }

    /// What grows while content goes out, or is taken.
    fn moved(&mut self) -> (u64, u64, u64, u64) {
        // That we say that we work is no progress.
        self.went = self.went.max(self.sent().saturating_sub(self.alives));
        (self.written, self.answers, self.source.moved(), self.went)
    }

    /// Messages that the system took.
    fn sent(&self) -> u64 {
        let account = self.link.group().account(self.link.channel());
        account.map_or(0, |account| account.sent)
    }

    /// Hears what the thread says.
    fn listen(&mut self) -> Result<(), Failure> {
        while let Some(said) = self.source.said() {
            match said {
                Said::Whole(index, whole) => self.whole[index] = Some(whole),
                Said::Unreadable(index, why, begun) => {
                    let path = self.job.items[index].path();
                    let why = match why.starts_with("cannot") {
                        true => why,
                        false => format!("{path} was not sent: {why}"),
                    };
                    match begun {
                        true => drop(self.unread.insert(index, why)),
                        false => self.settle(index, Err(why))?,
                    }
                }
            }
        }
        Ok(())
    }

    fn on_response(&mut self, answer: &Received) -> Result<(), Failure> {
        let index = source::item(answer.id()).filter(|&index| index < self.whole.len());
        let said = Answer::read(answer.text_headers());
        let (Some(index), Some(said)) = (index, said) else {
            return Err(self.nonsense());
        };
        self.answers += 1;
        if let Answer::Accepted { from } = said {
            self.source.tell(Told::Accepted(index, from));
            return Ok(());
        }
        self.source.tell(Told::Answered(index));
        self.listen()?;
        if self.is_settled[index] {
            return Ok(()); // it was given up here, for a reason of ours
        }
        let item = &self.job.items[index];
        let path = item.path();
        let result = match (said, self.whole[index]) {
            _ if self.unread.contains_key(&index) => {
                Err(self.unread.remove(&index).unwrap_or_default())
            }
            (Answer::Stored { sha256 }, Some(whole)) if whole.sha256 == Some(sha256) => {
                Ok(sent(&whole))
            }
            (Answer::Stored { .. }, _) => Err(format!(
                "{path} arrived with another content than was sent: remove it there, and send it \
                 again"
            )),
            (Answer::Made, Some(whole)) if whole.sha256.is_none() => Ok(sent(&whole)),
            (Answer::Refused { reason }, _) => Err(format!("{path} was refused: {reason}")),
            (Answer::Failed { reason }, _) => Err(format!("{path} was not stored there: {reason}")),
            _ => return Err(self.nonsense()),
        };
        self.settle(index, result)
    }

    fn settle(&mut self, index: usize, result: Result<Sent, String>) -> Result<(), Failure> {
        if std::mem::replace(&mut self.is_settled[index], true) {
            return Ok(());
        }
        self.left -= 1;
        (self.on_result)(index, result)
    }

    /// Says that we still work, where a file takes us long: to read it from a slow disk, to hash what is
    /// there already, or to wait for the next line of stdin.
    fn say_alive(&mut self) {
        let works = self.source.is_open() || self.source.is_reading();
        if !works {
            return;
        }
        if self.quiet.is_due(self.sent(), Instant::now()) {
            let message = protocol::alive(self.link.group().message());
            let signal = message.signal(self.link.channel());
            // Where there is no room for it, enough is on its way.
            let id = source::id(self.source.at());
            let posted = self.link.group().post(signal.with_id(id));
            self.alives += u64::from(posted.is_ok());
        }
    }

    /// Nothing has moved for as long as there is patience for.
    fn on_silence(&mut self, patience: &mut Patience) -> Result<(), Failure> {
        if !self.source.is_reading() {
            return Err(self.link.silence());
        }
        let index = self.source.at();
        let item = &self.job.items[index];
        if *item.kind() != Kind::Stdin {
            let seconds = self.link.timeout().as_secs_f64();
            let why = item.hangs(seconds);
            let mut left = self.source.unposted();
            if self.source.is_open() {
                let reason = format!("the sender's disk has not answered for {seconds} s");
                let message = Demand::Cancel { reason }.write(self.link.group().message());
                let cancel = message.request(self.link.channel());
                left.push_back(cancel.with_id(source::id(index)));
            }
            self.settle(index, Err(why))?;
            // The thread that hangs is left behind.
            self.source = spawn(&self.job, index + 1, left)?;
        }
        *patience = self.link.patience();
        Ok(())
    }

    fn nonsense(&self) -> Failure {
        Failure::new(format!(
            "{} answered what no `ampe recv` of this version does: use the same version on both \
             sides",
            output::shown(self.link.to())
        ))
    }
}

fn sent(whole: &Whole) -> Sent {
    Sent {
        bytes: whole.bytes,
        seconds: whole.begun.elapsed().as_secs_f64(),
        sha256: whole.sha256,
        resumed: whole.resumed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_we_work_is_said_now_and_then_where_nothing_goes_out() {
        let mut now = Instant::now();
        let mut quiet = Quiet {
            since: now,
            sent: 0,
        };
        // Something goes out again and again.
        for sent in 1..10 {
            now += ALIVE;
            assert!(!quiet.is_due(sent, now));
        }
        for _ in 0..3 {
            assert!(!quiet.is_due(9, now + ALIVE / 2));
            now += ALIVE;
            assert!(quiet.is_due(9, now));
        }
    }
}

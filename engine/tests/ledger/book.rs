//! A process's ledger: one line for each fact, in a file that is only appended to.
//!
//! Each line is one write(2), which has returned before the fact can matter to anybody else: what
//! was written is the kernel's, and a process that is killed takes nothing of it along. An intent
//! stands before each post and its outcome behind it, so that of a killed process at most the last
//! post of each thread is uncertain.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::str::{FromStr, SplitWhitespace};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ampe::wire::OpCode;

/// Which message: the process and thread that made it, and its number there. It keeps its identity
/// when it is posted again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Identity {
    pub(crate) process: u16,
    pub(crate) poster: u8,
    pub(crate) sequence: u32,
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}.{}.{}",
            self.process, self.poster, self.sequence
        )
    }
}

impl FromStr for Identity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('.');
        let identity = Identity {
            process: number(parts.next())?,
            poster: number(parts.next())?,
            sequence: number(parts.next())?,
        };
        Ok(identity)
    }
}

/// A channel of the process that writes: number and generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Channel(pub(crate) u16, pub(crate) u64);

impl From<ampe::Channel> for Channel {
    fn from(channel: ampe::Channel) -> Self {
        Channel(channel.number(), channel.generation())
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.0, self.1)
    }
}

impl FromStr for Channel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number_text, generation) = text.split_once('/').ok_or("a channel without a `/`")?;
        Ok(Channel(
            number(Some(number_text))?,
            number(Some(generation))?,
        ))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    Hello,
    Accept,
    Request,
    Response,
    Signal,
    Bye,
    ByeResponse,
}

const VERBS: [(Verb, &str); 7] = [
    (Verb::Hello, "hello"),
    (Verb::Accept, "accept"),
    (Verb::Request, "request"),
    (Verb::Response, "response"),
    (Verb::Signal, "signal"),
    (Verb::Bye, "bye"),
    (Verb::ByeResponse, "bye-response"),
];

impl Verb {
    pub(crate) fn of(op_code: OpCode) -> Result<Verb, String> {
        Ok(match op_code {
            OpCode::HelloRequest => Verb::Hello,
            OpCode::HelloResponse => Verb::Accept,
            OpCode::Request => Verb::Request,
            OpCode::Response => Verb::Response,
            OpCode::Signal => Verb::Signal,
            OpCode::ByeRequest => Verb::Bye,
            OpCode::ByeResponse => Verb::ByeResponse,
            other => return Err(format!("{other:?} is no message between peers")),
        })
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = VERBS[*self as usize];
        formatter.write_str(name)
    }
}

impl FromStr for Verb {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = VERBS.iter().find(|(_, name)| *name == text);
        Ok(known.ok_or_else(|| format!("no verb: {text}"))?.0)
    }
}

/// The numbers of a `Closed`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Account {
    pub(crate) posted: u64,
    pub(crate) sent: u64,
    pub(crate) returned: u64,
    pub(crate) confirmed: u64,
    pub(crate) received: u64,
}

/// One fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    /// Listens on a channel; the events that follow are the channel's.
    Listen(Channel),
    Listening(Channel, String),
    /// About to post; without a channel, to one that comes into being by it.
    Intent(u8, Identity, Verb, Option<Channel>),
    Posted(u8, Identity, Channel, u64),
    Refused(u8, Identity, String),
    /// A message came. Only a ByeResponse of the engine's own making has no identity.
    Received(Channel, Verb, Option<Identity>, u64),
    Returned(Channel, Verb, Option<Identity>, u64, String),
    /// A Bye is left to the engine to answer, which it does if the channel still lives.
    Left(Channel),
    Closed(Channel, String, Account),
    /// The engine or the inbox is about to be closed.
    Ending,
    /// All was received, and the process ends by itself.
    Ended,
    /// What the process itself found wrong.
    Fault(String),
}

impl fmt::Display for Line {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Listen(channel) => write!(to, "listen {channel}"),
            Line::Listening(channel, address) => write!(to, "listening {channel} {address}"),
            Line::Intent(poster, identity, verb, channel) => {
                write!(to, "intent {poster} {identity} {verb} {}", Maybe(channel))
            }
            Line::Posted(poster, identity, channel, id) => {
                write!(to, "posted {poster} {identity} {channel} {id}")
            }
            Line::Refused(poster, identity, why) => write!(to, "refused {poster} {identity} {why}"),
            Line::Received(channel, verb, identity, id) => {
                write!(to, "received {channel} {verb} {} {id}", Maybe(identity))
            }
            Line::Returned(channel, verb, identity, id, why) => {
                write!(
                    to,
                    "returned {channel} {verb} {} {id} {why}",
                    Maybe(identity)
                )
            }
            Line::Left(channel) => write!(to, "left {channel}"),
            Line::Closed(channel, reason, account) => {
                let Account {
                    posted,
                    sent,
                    returned,
                    confirmed,
                    received,
                } = account;
                write!(
                    to,
                    "closed {channel} {reason} {posted} {sent} {returned} {confirmed} {received}"
                )
            }
            Line::Ending => write!(to, "ending"),
            Line::Ended => write!(to, "ended"),
            Line::Fault(what) => write!(to, "fault {what}"),
        }
    }
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut words = rest.split_whitespace();
        let it = &mut words;
        Ok(match kind {
            "listen" => Line::Listen(next(it)?),
            "listening" => Line::Listening(next(it)?, next(it)?),
            "intent" => Line::Intent(next(it)?, next(it)?, next(it)?, maybe(it)?),
            "posted" => Line::Posted(next(it)?, next(it)?, next(it)?, next(it)?),
            "refused" => Line::Refused(next(it)?, next(it)?, next(it)?),
            "received" => Line::Received(next(it)?, next(it)?, maybe(it)?, next(it)?),
            "returned" => Line::Returned(next(it)?, next(it)?, maybe(it)?, next(it)?, next(it)?),
            "left" => Line::Left(next(it)?),
            "closed" => {
                let (channel, reason) = (next(it)?, next(it)?);
                let account = Account {
                    posted: next(it)?,
                    sent: next(it)?,
                    returned: next(it)?,
                    confirmed: next(it)?,
                    received: next(it)?,
                };
                Line::Closed(channel, reason, account)
            }
            "ending" => Line::Ending,
            "ended" => Line::Ended,
            "fault" => Line::Fault(rest.to_owned()),
            other => return Err(format!("no kind of line: {other}")),
        })
    }
}

struct Maybe<'a, T>(&'a Option<T>);

impl<T: fmt::Display> fmt::Display for Maybe<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(it) => it.fmt(formatter),
            None => formatter.write_str("-"),
        }
    }
}

fn number<T: FromStr>(text: Option<&str>) -> Result<T, String> {
    let text = text.ok_or("a line ends too early")?;
    text.parse().map_err(|_| format!("not understood: {text}"))
}

fn next<T: FromStr>(words: &mut SplitWhitespace<'_>) -> Result<T, String> {
    number(words.next())
}

fn maybe<T: FromStr>(words: &mut SplitWhitespace<'_>) -> Result<Option<T>, String> {
    match words.next() {
        Some("-") => Ok(None),
        word => number(word).map(Some),
    }
}

/// The lines of a ledger. The last may be cut off where its writer was killed: it had not returned
/// from writing then, so nothing had come of it.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    parse(&text)
}

pub(crate) fn parse(text: &str) -> Result<Vec<Line>, String> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| line.parse().map_err(|error| format!("{error}, in: {line}")))
        .collect()
}

/// The writing side. Threads share it.
pub(crate) struct Book {
    /// Locked for each line: Wine looks for the end of the file before it writes, so that two lines
    /// at once would be written over each other.
    file: Mutex<File>,
    lines: AtomicU64,
    last_line: Option<u64>,
}

impl Book {
    /// With `last_line`, the process kills itself once it has written so many.
    pub(crate) fn create(path: &Path, last_line: Option<u64>) -> io::Result<Book> {
        let file = File::options().append(true).create_new(true).open(path)?;
        Ok(Book {
            file: Mutex::new(file),
            lines: AtomicU64::new(0),
            last_line,
        })
    }

    pub(crate) fn write(&self, line: &Line) {
        let text = format!("{line}\n");
        let mut file = self.file.lock().unwrap();
        let written = file.write_all(text.as_bytes());
        drop(file);
        if let Err(error) = written {
            panic!("the ledger cannot be written: {error}");
        }
        let count = self.lines.fetch_add(1, Ordering::Relaxed) + 1;
        if self.last_line == Some(count) {
            kill_this_process();
        }
    }
}

/// Ends this process without a chance to tidy up, as by kill -9.
fn kill_this_process() -> ! {
    #[cfg(unix)]
    {
        let signal = rustix::process::Signal::KILL;
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    }
    std::process::abort()
}

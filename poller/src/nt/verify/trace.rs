//! What a trace consists of: a call, a packet or a deed a line, as text and back.
//!
//! Nothing in it is an address or a handle's value: everything has a name of its own in its section, and
//! a handle's value that is used again gets another name.

use std::fmt;

use crate::nt::Status;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Port,
    Helper,
    Socket,
    /// Nobody has opened it.
    Nothing,
}

const KINDS: [(Kind, &str); 4] = [
    (Kind::Port, "port"),
    (Kind::Helper, "helper"),
    (Kind::Socket, "socket"),
    (Kind::Nothing, "nothing"),
];

/// What a handle is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) Kind, pub(crate) u32);

/// What an answer has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// None if no socket is listed as ready.
    pub(crate) flags: u32,
    /// More than one socket is listed, or another one than was asked about.
    pub(crate) is_odd: bool,
}

/// Whose packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    Poll(u32),
    /// Posted, or from elsewhere: what it carries as context is called so.
    Mark(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Names begin anew.
    Section(String),
    /// Somebody has opened a socket.
    Opened(Name),
    /// The first is one more handle for the second's socket.
    Duplicated(Name, Name),
    /// Another process has a handle for this socket, too.
    Shared(Name),
    /// A socket, a helper or a port is about to be closed.
    Closed(Name),
    CreatePort(Name),
    OpenHelper(Name),
    /// A call that has opened nothing.
    OpensNothing(Kind, Status),
    Count(Name, Result<u32, Status>),
    Same(Name, Name, Result<bool, Status>),
    /// File, port, key, answer.
    Associate(Name, Name, usize, Status),
    Dissociate(Name, Status),
    Skip(Name, Status),
    Submit(Submit),
    /// The poll if it is known, the file, the answer.
    Cancel(Option<u32>, Name, Status),
    /// Port and answer.
    Post(Name, Content, Status),
    Dequeue(Dequeue),
    /// One packet of the dequeue above.
    Packet(Content, Option<Found>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Submit {
    pub(crate) poll: u32,
    pub(crate) control: Name,
    pub(crate) socket: Name,
    pub(crate) mask: u32,
    /// In units of 100 nanoseconds, as it was asked.
    pub(crate) timeout: i64,
    pub(crate) status: Status,
    /// Where it is over at once, and no packet is due.
    pub(crate) found: Option<Found>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dequeue {
    pub(crate) port: Name,
    pub(crate) room: usize,
    /// In microseconds; `None` is without end.
    pub(crate) wait: Option<u64>,
    pub(crate) count: Result<usize, Status>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) origin: Origin,
    pub(crate) key: usize,
    pub(crate) status: Status,
    pub(crate) information: usize,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = KINDS.iter().find(|(kind, _)| *kind == self.0);
        write!(f, "{}{}", kind.map_or("", |(_, text)| text), self.1)
    }
}

/// Text that stands for a value of one of the types here.
struct Told<T>(T);

impl fmt::Display for Told<Status> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0.0)
    }
}

impl fmt::Display for Told<Option<Found>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("-"),
            Some(Found { flags, is_odd }) => {
                write!(f, "{flags:#05x}{}", if is_odd { "!" } else { "" })
            }
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Poll(poll) => write!(f, "poll{poll}")?,
            Origin::Mark(mark) => write!(f, "mark{mark}")?,
        }
        let status = Told(self.status);
        write!(f, " {} {status} {}", self.key, self.information)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = |status: &Status| Told(*status);
        match self {
            Line::Section(name) => write!(f, "# {name}"),
            Line::Opened(name) => write!(f, "opened {name}"),
            Line::Duplicated(one, of) => write!(f, "duplicated {one} {of}"),
            Line::Shared(name) => write!(f, "shared {name}"),
            Line::Closed(name) => write!(f, "closed {name}"),
            Line::CreatePort(name) => write!(f, "create {name}"),
            Line::OpenHelper(name) => write!(f, "open {name}"),
            Line::OpensNothing(kind, status) => {
                write!(f, "opens-no {} {}", Name(*kind, 0), answer(status))
            }
            Line::Count(name, Ok(count)) => write!(f, "count {name} 0x0 {count}"),
            Line::Count(name, Err(status)) => write!(f, "count {name} {} -", answer(status)),
            Line::Same(one, other, Ok(is_same)) => {
                write!(f, "same {one} {other} 0x0 {}", u8::from(*is_same))
            }
            Line::Same(one, other, Err(status)) => {
                write!(f, "same {one} {other} {} -", answer(status))
            }
            Line::Associate(file, port, key, status) => {
                write!(f, "associate {file} {port} {key} {}", answer(status))
            }
            Line::Dissociate(file, status) => write!(f, "dissociate {file} {}", answer(status)),
            Line::Skip(file, status) => write!(f, "skip {file} {}", answer(status)),
            Line::Submit(it) => {
                let (status, found) = (answer(&it.status), Told(it.found));
                let Submit {
                    poll,
                    control,
                    socket,
                    mask,
                    timeout,
                    ..
                } = it;
                write!(
                    f,
                    "submit poll{poll} {control} {socket} {mask:#05x} {timeout} {status} {found}"
                )
            }
            Line::Cancel(Some(poll), control, status) => {
                write!(f, "cancel poll{poll} {control} {}", answer(status))
            }
            Line::Cancel(None, control, status) => {
                write!(f, "cancel - {control} {}", answer(status))
            }
            Line::Post(port, content, status) => {
                write!(f, "post {port} {content} {}", answer(status))
            }
            Line::Dequeue(Dequeue {
                port,
                room,
                wait,
                count,
            }) => {
                write!(f, "dequeue {port} {room} ")?;
                match wait {
                    Some(wait) => write!(f, "{wait}")?,
                    None => f.write_str("-")?,
                }
                match count {
                    Ok(count) => write!(f, " 0x0 {count}"),
                    Err(status) => write!(f, " {} -", answer(status)),
                }
            }
            Line::Packet(content, found) => write!(f, "packet {content} {}", Told(*found)),
        }
    }
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn status(text: &str) -> Option<Status> {
    number(text).map(|value| Status(value.cast_signed()))
}

fn name(text: &str) -> Option<Name> {
    let mut kinds = KINDS.iter();
    kinds.find_map(|(kind, prefix)| Some(Name(*kind, number(text.strip_prefix(prefix)?)?)))
}

fn poll(text: &str) -> Option<u32> {
    number(text.strip_prefix("poll")?)
}

fn found(text: &str) -> Option<Option<Found>> {
    let flags = text.trim_end_matches('!');
    let is_odd = flags.len() < text.len();
    match flags {
        "-" => Some(None),
        flags => number(flags).map(|flags| Some(Found { flags, is_odd })),
    }
}

/// What is there if the call has succeeded.
fn outcome<T>(answer: &str, value: Option<T>) -> Option<Result<T, Status>> {
    match status(answer)? {
        Status::SUCCESS => value.map(Ok),
        status => Some(Err(status)),
    }
}

fn content(words: &[&str]) -> Option<Content> {
    let [origin, key, answer, information] = words else {
        return None;
    };
    let origin = match poll(origin) {
        Some(poll) => Origin::Poll(poll),
        None => Origin::Mark(number(origin.strip_prefix("mark")?)?),
    };
    Some(Content {
        origin,
        key: key.parse().ok()?,
        status: status(answer)?,
        information: information.parse().ok()?,
    })
}

impl Line {
    /// What a line of text says; nothing if it is none of a trace.
    pub(crate) fn parse(text: &str) -> Option<Line> {
        if let Some(title) = text.strip_prefix("# ") {
            return Some(Line::Section(title.to_owned()));
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        Some(match words.as_slice() {
            ["opened", one] => Line::Opened(name(one)?),
            ["duplicated", one, of] => Line::Duplicated(name(one)?, name(of)?),
            ["shared", one] => Line::Shared(name(one)?),
            ["closed", one] => Line::Closed(name(one)?),
            ["create", one] => Line::CreatePort(name(one)?),
            ["open", one] => Line::OpenHelper(name(one)?),
            ["opens-no", one, answer] => Line::OpensNothing(name(one)?.0, status(answer)?),
            ["count", file, answer, count] => {
                Line::Count(name(file)?, outcome(answer, number(count))?)
            }
            ["same", one, other, answer, is_same] => {
                let is_same = number(is_same).map(|is_same| is_same != 0);
                Line::Same(name(one)?, name(other)?, outcome(answer, is_same)?)
            }
            ["associate", file, port, key, answer] => {
                Line::Associate(name(file)?, name(port)?, key.parse().ok()?, status(answer)?)
            }
            ["dissociate", file, answer] => Line::Dissociate(name(file)?, status(answer)?),
            ["skip", file, answer] => Line::Skip(name(file)?, status(answer)?),
            ["submit", one, control, socket, mask, timeout, answer, told] => Line::Submit(Submit {
                poll: poll(one)?,
                control: name(control)?,
                socket: name(socket)?,
                mask: number(mask)?,
                timeout: timeout.parse().ok()?,
                status: status(answer)?,
                found: found(told)?,
            }),
            ["cancel", one, control, answer] => {
                Line::Cancel(poll(one), name(control)?, status(answer)?)
            }
            ["post", port, packet @ .., answer] => {
                Line::Post(name(port)?, content(packet)?, status(answer)?)
            }
            ["dequeue", port, room, wait, answer, count] => Line::Dequeue(Dequeue {
                port: name(port)?,
                room: room.parse().ok()?,
                wait: wait.parse().ok(),
                count: outcome(answer, count.parse().ok())?,
            }),
            ["packet", packet @ .., told] => Line::Packet(content(packet)?, found(told)?),
            _ => return None,
        })
    }
}

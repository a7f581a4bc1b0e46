//! `ampe tail`: every message that comes, a line each.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ampe::wire::{OpCode, TextHeaders};
use ampe::{Channel, Closed, Event, Options, Outbox, Post, Received};
use serde_json::{Value, json};

use crate::args::Tail;
use crate::error::Failure;
use crate::listen;
use crate::listeners::Listeners;
use crate::output;
use crate::session::Session;

/// How long the last answers may take to go out.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much of a body is shown to people.
const SHOWN_CHARS_MAX: usize = 200;

pub(crate) fn run(arguments: &Tail) -> Result<(), Failure> {
    let places = listen::places(&arguments.listen)?;
    crate::reply::check_reach(&places, arguments.anyone, &arguments.secure)?;
    let allowed = arguments.allowed.listening(&places)?;
    let secured = arguments.secure.listening(&places)?;
    secured.tell();
    let mut session = Session::start_with(Options::default(), secured.security())?;
    let mut tail = Tailing {
        outbox: Outbox::new(session.group().clone(), usize::MAX),
        listeners: Listeners::start(
            session.group(),
            places,
            allowed,
            arguments.ready_file.as_deref(),
        )?,
        peers: HashMap::new(),
        messages: 0,
        json: arguments.json,
    };
    let served = tail.serve(&mut session, arguments);
    let account = session.end(FAREWELL).unwrap_or_default();
    if arguments.json {
        output::json(&json!({
            "event": "ended",
            "messages": tail.messages,
            "account": output::account(account),
        }))?;
    } else {
        let balance = output::balance(&account);
        output::note(&format!("{} messages came; {balance}", tail.messages));
    }
    served
}

struct Tailing {
    outbox: Outbox,
    listeners: Listeners,
    /// Who is at the other end.
    peers: HashMap<Channel, String>,
    messages: u64,
    json: bool,
}

impl Tailing {
    fn serve(&mut self, session: &mut Session, arguments: &Tail) -> Result<(), Failure> {
        let mut events = Vec::new();
        loop {
            if !session.serve_many(&mut events, arguments.timeout)? {
                return Ok(());
            }
            for event in events.drain(..) {
                self.on_event(event, session)?;
            }
        }
    }

    /// Shows what came, and answers what wants an answer: with nothing in it.
    fn on_event(&mut self, event: Event, session: &Session) -> Result<(), Failure> {
        let empty = || session.group().message();
        self.outbox.observe(&event);
        match event {
            Event::Listening(listening) => self.listeners.tell(listening.address(), self.json)?,
            Event::Hello(hello) => {
                self.peers.insert(hello.channel(), hello.peer().to_string());
                self.tell(&hello)?;
                self.post(hello.accept(empty()));
            }
            Event::Request(request) => {
                self.tell(&request)?;
                self.post(request.reply(empty()));
            }
            Event::Signal(signal) => self.tell(&signal)?,
            Event::ByeSignal(last) => self.tell(&last)?,
            Event::Bye(bye) => {
                self.tell(&bye)?;
                self.post(bye.answer(empty()));
            }
            Event::Closed(closed) => {
                self.listeners.check(&closed)?;
                self.tell_closed(&closed)?;
            }
            // Returned: the `Closed` that follows says why.
            _ => {}
        }
        Ok(())
    }

    fn post(&mut self, post: Post) {
        let _ = self.outbox.post(post); // refused if the peer has gone
    }

    fn tell(&mut self, message: &Received) -> Result<(), Failure> {
        self.messages += 1;
        let peer = self.peers.get(&message.channel());
        let peer = peer.map_or("", String::as_str);
        let shown = Shown {
            channel: message.channel().number(),
            op_code: message.op_code(),
            id: message.id(),
            more: message.has_more(),
            status: message.status(),
            headers: message.text_headers(),
            body: message.body(),
        };
        if self.json {
            let mut document = shown.document("message");
            document["peer"] = peer.into();
            return output::json(&document);
        }
        output::line(shown.line(&format!("{} {}", clock(), output::shown(peer))))
    }

    fn tell_closed(&mut self, closed: &Closed) -> Result<(), Failure> {
        let peer = self.peers.remove(&closed.channel()).unwrap_or_default();
        let account = closed.account();
        if self.json {
            return output::json(&json!({
                "event": "closed",
                "time": seconds(),
                "peer": peer,
                "channel": closed.channel().number(),
                "reason": closed.reason().to_string(),
                "account": output::account(account),
            }));
        }
        output::line(format!(
            "{} {} closed: {}; {}",
            clock(),
            output::shown(peer),
            closed.reason(),
            output::balance(&account),
        ))
    }
}

/// What a message or a frame is shown by, in JSON and in a line.
pub(crate) struct Shown<'a> {
    pub(crate) channel: u16,
    pub(crate) op_code: OpCode,
    pub(crate) id: u64,
    pub(crate) more: bool,
    pub(crate) status: u8,
    pub(crate) headers: TextHeaders<'a>,
    pub(crate) body: &'a [u8],
}

impl Shown<'_> {
    pub(crate) fn document(&self, event: &str) -> Value {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let headers = self.headers.into_iter();
        let headers: Vec<[String; 2]> = headers
            .map(|(name, value)| [text(name), text(value)])
            .collect();
        let mut document = json!({
            "event": event,
            "time": seconds(),
            "channel": self.channel,
            "op": format!("{:?}", self.op_code),
            "id": self.id,
            "more": self.more,
            "status": self.status,
            "headers": headers,
            "bytes": self.body.len(),
        });
        output::put(&mut document, "body", self.body);
        document
    }

    /// The line, behind what it starts with.
    pub(crate) fn line(&self, start: &str) -> String {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let headers = self.headers.into_iter();
        let headers: Vec<String> = headers
            .map(|(name, value)| output::shown(format!("{}:{}", text(name), text(value))))
            .collect();
        format!(
            "{start} {:?} {}{} [{}] {} {}",
            self.op_code,
            self.id,
            if self.more { " more" } else { "" },
            headers.join(", "),
            output::bytes(self.body.len() as u64),
            shown(self.body),
        )
    }
}

/// A body on one line that does nothing to a terminal, and not at any length.
pub(crate) fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", output::quoted(&text[..end])),
        None => output::quoted(&text),
    }
}

/// Since 1970, in UTC.
pub(crate) fn seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// The time of day, in UTC.
pub(crate) fn clock() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    time_of_day(since.unwrap_or_default())
}

fn time_of_day(since: Duration) -> String {
    let seconds = since.as_secs() % 86_400;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let milliseconds = since.subsec_millis();
    format!(
        "{hours:02}:{minutes:02}:{:02}.{milliseconds:03}",
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_one_short_harmless_line() {
        assert_eq!(
            time_of_day(Duration::from_millis(86_400_000 + 3_723_004)),
            "01:02:03.004"
        );
        assert_eq!(shown(b"a\n\x1b[2J\xff"), r#""a\n\u{1b}[2J�""#);
        let long = shown(&[b'x'; 300]);
        assert!(
            long.ends_with("x\"...") && long.len() == SHOWN_CHARS_MAX + 5,
            "{long}"
        );
    }
}

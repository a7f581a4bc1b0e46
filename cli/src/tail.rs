//! `ampe tail`: every message that comes, a line each.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ampe::{Channel, Closed, Event, Options, Outbox, Post, Received};
use serde_json::json;

use crate::args::Tail;
use crate::error::Failure;
use crate::listeners::Listeners;
use crate::output;
use crate::session::Session;

/// How long the last answers may take to go out.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much of a body is shown to people.
const SHOWN_CHARS_MAX: usize = 200;

pub(crate) fn run(arguments: &Tail) -> Result<(), Failure> {
    crate::reply::check_reach(&arguments.listen, arguments.anyone)?;
    let mut session = Session::start(Options::default())?;
    let mut tail = Tailing {
        outbox: Outbox::new(session.group().clone(), usize::MAX),
        listeners: Listeners::start(
            session.group(),
            &arguments.listen,
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
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let channel = message.channel();
        let peer = self.peers.get(&channel).map_or("", String::as_str);
        let headers = message.text_headers().into_iter();
        let op_code = format!("{:?}", message.op_code());
        if self.json {
            let headers: Vec<[String; 2]> = headers
                .map(|(name, value)| [text(name), text(value)])
                .collect();
            let mut document = json!({
                "event": "message",
                "time": seconds(),
                "peer": peer,
                "channel": channel.number(),
                "op": op_code,
                "id": message.id(),
                "more": message.has_more(),
                "status": message.status(),
                "headers": headers,
                "bytes": message.body().len(),
            });
            output::put(&mut document, "body", message.body());
            return output::json(&document);
        }
        let headers: Vec<String> = headers
            .map(|(name, value)| output::shown(format!("{}:{}", text(name), text(value))))
            .collect();
        let more = if message.has_more() { " more" } else { "" };
        output::line(format!(
            "{} {} {op_code} {}{more} [{}] {} {}",
            clock(),
            output::shown(peer),
            message.id(),
            headers.join(", "),
            output::bytes(message.body().len() as u64),
            shown(message.body()),
        ))
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

//! A message in one line, for logs.

use std::fmt::{self, Write as _};

use crate::event::{Account, Closed, Event, Received};
use crate::wire::TextHeaders;

use super::Message;

/// So many bytes of a body or of a header's value are shown.
const SHOWN: usize = 64;

/// Bytes as text where they are, and else as hexadecimal digits; cut where they are long.
struct Bytes<'a>(&'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..SHOWN).unwrap_or(self.0);
        // A character that is cut in two is left out.
        let text = match std::str::from_utf8(shown) {
            Ok(text) => Some(text),
            Err(error) if error.error_len().is_none() && shown.len() < self.0.len() => {
                std::str::from_utf8(&shown[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        match text {
            Some(text) => write!(formatter, "\"{}\"", text.escape_debug())?,
            None => {
                for byte in shown.iter().take(SHOWN / 4) {
                    write!(formatter, "{byte:02x}")?;
                }
            }
        }
        let is_cut = self.0.len() > text.map_or(SHOWN / 4, str::len);
        formatter.write_str(if is_cut { "..." } else { "" })
    }
}

fn show_headers(formatter: &mut fmt::Formatter<'_>, headers: TextHeaders<'_>) -> fmt::Result {
    for (name, value) in headers {
        for part in [name, b": ", value] {
            let part = part.get(..SHOWN).unwrap_or(part);
            for character in String::from_utf8_lossy(part).chars() {
                match character.is_control() {
                    true => write!(formatter, "{}", character.escape_debug())?,
                    false => formatter.write_char(character)?,
                }
            }
        }
        formatter.write_str("; ")?;
    }
    Ok(())
}

/// One line, whatever is in it: the text headers, the length of the body, and its first 64 bytes, as text if
/// they are UTF-8.
impl fmt::Display for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_headers(formatter, self.text_headers())?;
        let body = self.body();
        match body.len() {
            0 => formatter.write_str("no body"),
            1 => write!(formatter, "1 byte {}", Bytes(body)),
            len => write!(formatter, "{len} bytes {}", Bytes(body)),
        }
    }
}

/// One line: channel, kind, id, and the [`Message`].
impl fmt::Display for Received {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Received {
            channel,
            op_code,
            id,
            message,
            ..
        } = self;
        let more = if self.more { " with more to come" } else { "" };
        write!(formatter, "{channel} {op_code:?} {id}{more}: {message}")
    }
}

/// One line, for logs.
impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Listening(it) => write!(formatter, "{} listens on {}", it.channel, it.address),
            Event::Incoming(it) => {
                write!(formatter, "{} is to admit {}", it.listener(), it.peer())
            }
            Event::Opened(it) => write!(formatter, "{} opened to {}", it.channel, it.peer),
            Event::Hello(it) => write!(formatter, "{} from {}", it.received, it.caller.peer),
            Event::Request(it) => it.0.fmt(formatter),
            Event::Signal(it) => it.0.fmt(formatter),
            Event::Bye(it) => it.received.fmt(formatter),
            Event::Accepted(it)
            | Event::Response(it)
            | Event::ByeResponse(it)
            | Event::ByeSignal(it) => it.fmt(formatter),
            Event::Returned(it) => write!(
                formatter,
                "{} {:?} {} returned ({}): {}",
                it.channel, it.op_code, it.id, it.reason, it.message
            ),
            Event::Room(channel) => write!(formatter, "{channel} has room"),
            Event::Notified(message) => write!(formatter, "notified: {message}"),
            Event::Closed(it) => it.fmt(formatter),
        }
    }
}

/// One line: channel, reason and [`Account`].
impl fmt::Display for Closed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let account = self.account();
        write!(
            formatter,
            "{} closed ({}): {account}",
            self.channel, self.reason
        )
    }
}

impl fmt::Display for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} posted, {} sent, {} returned, {} confirmed, {} received",
            self.posted, self.sent, self.returned, self.confirmed, self.received
        )
    }
}

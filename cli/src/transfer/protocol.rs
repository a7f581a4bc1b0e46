//! The words of the conversation, and their place in messages.

use ampe::wire::TextHeaders;
use ampe::{Message, Received};

use super::digest::Digest;

const APPLICATION: (&str, &str) = ("Application", "ampe-file");
const VERSION: (&str, &str) = ("Version", "1");
const ROLE: &str = "Role";
const DO: &str = "Do";
const ANSWER: &str = "Answer";
const SIZE: &str = "Size";
const SHA_256: &str = "SHA-256";
const REASON: &str = "Reason";
const RECEIVED: &str = "Received";

/// The longest reason that is told or shown.
const REASON_CHARS_MAX: usize = 300;

/// Who somebody is in the conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Sender,
    Receiver,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Role::Sender => "sender",
            Role::Receiver => "receiver",
        }
    }
}

/// What a Request of the sender asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Demand {
    /// A file of this size; its name is the body.
    Offer { size: u64 },
    /// All content was sent: verify it by this hash and store it.
    Store { sha256: Digest },
    /// The content ends here, for this reason.
    Cancel { reason: String },
    /// Send this back, to measure a round trip.
    Echo,
}

/// What a Response of the receiver says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// The content may come.
    Accepted,
    /// No content may come: why, and what to do.
    Refused { reason: String },
    /// The file has its name, with content of this hash.
    Stored { sha256: Digest },
    /// The file is lost: why, and what to do.
    Failed { reason: String },
}

/// The content of a Hello.
pub(crate) fn hello(message: Message, role: Role) -> Message {
    let message = with(message, APPLICATION.0, APPLICATION.1);
    let message = with(message, VERSION.0, VERSION.1);
    with(message, ROLE, role.word())
}

/// Checks a Hello of the other side, which must have this role; else says what it is instead.
pub(crate) fn check_hello(headers: TextHeaders<'_>, role: Role) -> Result<(), String> {
    let is = |(name, value): (&str, &str)| text(headers, name).as_deref() == Some(value);
    if !is(APPLICATION) {
        return Err("it does not speak of files".to_owned());
    }
    if !is(VERSION) {
        let version = text(headers, VERSION.0).unwrap_or_default();
        return Err(format!(
            "it speaks version {version:?} and this is version {:?}: use the same version of ampe \
             on both sides",
            VERSION.1
        ));
    }
    if !is((ROLE, role.word())) {
        return Err(format!("it is no {}", role.word()));
    }
    Ok(())
}

impl Demand {
    pub(crate) fn write(&self, message: Message) -> Message {
        match self {
            Demand::Offer { size } => with(with(message, DO, "offer"), SIZE, &size.to_string()),
            Demand::Store { sha256 } => {
                with(with(message, DO, "store"), SHA_256, &sha256.to_string())
            }
            Demand::Cancel { reason } => {
                with(with(message, DO, "cancel"), REASON, &printable(reason))
            }
            Demand::Echo => with(message, DO, "echo"),
        }
    }

    /// `None` if it is nothing that this version knows, or lacks a part.
    pub(crate) fn read(headers: TextHeaders<'_>) -> Option<Demand> {
        Some(match text(headers, DO)?.as_str() {
            "offer" => Demand::Offer {
                size: text(headers, SIZE)?.parse().ok()?,
            },
            "store" => Demand::Store {
                sha256: text(headers, SHA_256)?.parse().ok()?,
            },
            "cancel" => Demand::Cancel {
                reason: reason_of(headers)?,
            },
            "echo" => Demand::Echo,
            _ => return None,
        })
    }
}

impl Answer {
    pub(crate) fn write(&self, message: Message) -> Message {
        match self {
            Answer::Accepted => with(message, ANSWER, "accepted"),
            Answer::Refused { reason } => {
                with(with(message, ANSWER, "refused"), REASON, &printable(reason))
            }
            Answer::Stored { sha256 } => with(
                with(message, ANSWER, "stored"),
                SHA_256,
                &sha256.to_string(),
            ),
            Answer::Failed { reason } => {
                with(with(message, ANSWER, "failed"), REASON, &printable(reason))
            }
        }
    }

    /// `None` if it is nothing that this version knows, or lacks a part.
    pub(crate) fn read(headers: TextHeaders<'_>) -> Option<Answer> {
        Some(match text(headers, ANSWER)?.as_str() {
            "accepted" => Answer::Accepted,
            "refused" => Answer::Refused {
                reason: reason_of(headers)?,
            },
            "stored" => Answer::Stored {
                sha256: text(headers, SHA_256)?.parse().ok()?,
            },
            "failed" => Answer::Failed {
                reason: reason_of(headers)?,
            },
            _ => return None,
        })
    }
}

/// The content of a Signal that says how much of a file has been written.
pub(crate) fn progress(message: Message, received: u64) -> Message {
    with(message, RECEIVED, &received.to_string())
}

/// How much of a file has been written, if it says that.
pub(crate) fn read_progress(headers: TextHeaders<'_>) -> Option<u64> {
    text(headers, RECEIVED)?.parse().ok()
}

/// The reason that a peer gave for ending the conversation.
pub(crate) fn reason(last: &Received) -> Option<String> {
    reason_of(last.text_headers())
}

fn reason_of(headers: TextHeaders<'_>) -> Option<String> {
    text(headers, REASON).map(|reason| printable(&reason))
}

fn text(headers: TextHeaders<'_>, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// One line that fits into a text header and does nothing to a terminal.
fn printable(text: &str) -> String {
    let line: String = text
        .chars()
        .take(REASON_CHARS_MAX)
        .map(|char| if char.is_control() { '?' } else { char })
        .collect();
    if line.trim().is_empty() {
        "no reason given".to_owned()
    } else {
        line
    }
}

fn with(message: Message, name: &str, value: &str) -> Message {
    message
        .with_header(name, value)
        .expect("our own headers are short, and have no line ends in them")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back<T>(write: impl Fn(Message) -> Message, read: fn(TextHeaders<'_>) -> T) -> T {
        let engine = ampe::Engine::start(ampe::Options::default()).unwrap();
        read(write(engine.message()).text_headers())
    }

    #[test]
    fn demands_are_read_as_written() {
        for demand in [
            Demand::Offer { size: 0 },
            Demand::Offer { size: u64::MAX },
            Demand::Store {
                sha256: Digest::of(b"abc"),
            },
            Demand::Cancel {
                reason: "it shrank".to_owned(),
            },
            Demand::Echo,
        ] {
            let read = read_back(|message| demand.write(message), Demand::read);
            assert_eq!(read, Some(demand));
        }
    }

    #[test]
    fn answers_are_read_as_written() {
        for answer in [
            Answer::Accepted,
            Answer::Refused {
                reason: "no".to_owned(),
            },
            Answer::Stored {
                sha256: Digest::of(b""),
            },
            Answer::Failed {
                reason: "full".to_owned(),
            },
        ] {
            let read = read_back(|message| answer.write(message), Answer::read);
            assert_eq!(read, Some(answer));
        }
    }

    #[test]
    fn progress_is_read_as_written() {
        let read = read_back(|message| progress(message, 1 << 40), read_progress);
        assert_eq!(read, Some(1 << 40));
        assert_eq!(read_progress(TextHeaders::new(b"Received:all\r\n")), None);
        assert_eq!(read_progress(TextHeaders::new(b"")), None);
    }

    #[test]
    fn what_lacks_a_part_is_not_read() {
        for block in [
            &b""[..],
            b"Do:offer\r\n",
            b"Do:offer\r\nSize:-1\r\n",
            b"Do:offer\r\nSize:99999999999999999999\r\n",
            b"Do:store\r\nSHA-256:abc\r\n",
            b"Do:dance\r\n",
        ] {
            assert_eq!(Demand::read(TextHeaders::new(block)), None);
        }
    }

    #[test]
    fn hellos_are_checked() {
        let receiver = b"Application:ampe-file\r\nVersion:1\r\nRole:receiver\r\n";
        let check = |block| check_hello(TextHeaders::new(block), Role::Receiver);
        assert_eq!(check(receiver), Ok(()));
        assert!(check(b"").is_err());
        let newer = check(b"Application:ampe-file\r\nVersion:2\r\nRole:receiver\r\n");
        assert!(newer.unwrap_err().contains("same version"));
        // What an echo makes of a sender's Hello.
        let echoed = check(b"Application:ampe-file\r\nVersion:1\r\nRole:sender\r\n");
        assert_eq!(echoed.unwrap_err(), "it is no receiver");
    }

    #[test]
    fn reasons_are_one_harmless_line() {
        assert_eq!(printable("a\r\nb\u{1b}[2J"), "a??b?[2J");
        assert_eq!(printable("\t"), "?");
        assert_eq!(printable(" "), "no reason given");
        assert_eq!(printable(&"x".repeat(1000)).len(), REASON_CHARS_MAX);
    }
}

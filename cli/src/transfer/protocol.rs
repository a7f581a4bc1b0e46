//! The words of the conversation, and their place in messages.

use std::borrow::Cow;

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
const FROM: &str = "From";
const PATH: &str = "Path";
const MODIFIED: &str = "Modified";
const MODE: &str = "Mode";

/// Permissions of the owner, the group and others. What gives a program somebody else's rights is
/// never transferred.
const MODE_BITS: u32 = 0o777;

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
    /// A file of this size, if that is known; its path is the body.
    Offer {
        size: Option<u64>,
        attributes: Attributes,
    },
    /// Go on behind the content that the receiver has, whose hash is this.
    Resume { sha256: Digest },
    /// All content was sent: verify it by this hash and store it.
    Store { size: Option<u64>, sha256: Digest },
    /// A whole file: its path and, from `path_len` on, its content are the body.
    Put {
        path_len: usize,
        sha256: Digest,
        attributes: Attributes,
    },
    /// A directory, if it does not exist; its path is the body.
    Directory { attributes: Attributes },
    /// A symbolic link: its path and, from `path_len` on, its target are the body.
    Link { path_len: usize },
    /// The content ends here, for this reason.
    Cancel { reason: String },
    /// Send this back, to measure a round trip.
    Echo,
}

/// What is known of a file beside its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Attributes {
    /// When it was written to last, in nanoseconds since 1970.
    pub(crate) modified: Option<i128>,
    /// Its permissions: given if these, and the time, are to be those of the copy.
    pub(crate) mode: Option<u32>,
}

/// What a Response of the receiver says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// The content may come, from here on: so much is there.
    Accepted { from: u64 },
    /// No content may come: why, and what to do.
    Refused { reason: String },
    /// The file has its name, with content of this hash.
    Stored { sha256: Digest },
    /// The directory or link is there.
    Made,
    /// The file is lost: why, and what to do.
    Failed { reason: String },
}

/// The content of a Hello.
pub(crate) fn hello(message: Message, role: Role) -> Message {
    let message = with(message, APPLICATION.0, APPLICATION.1);
    let message = with(message, VERSION.0, VERSION.1);
    with(message, ROLE, role.word())
}

/// Says in a Hello how many bytes are to be sent in all, if that is known.
pub(crate) fn announce(message: Message, size: Option<u64>) -> Message {
    with_some(message, SIZE, size)
}

/// Says in a HelloResponse why what was announced is not taken, if so.
pub(crate) fn object(message: Message, reason: Option<&str>) -> Message {
    with_some(message, REASON, reason.map(printable))
}

/// How many bytes are to be sent in all, if a Hello says it.
pub(crate) fn announced(headers: TextHeaders<'_>) -> Option<u64> {
    number(headers, SIZE)
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

impl Attributes {
    fn write(self, message: Message) -> Message {
        let message = with_some(message, MODIFIED, self.modified);
        with_some(message, MODE, self.mode.map(|mode| format!("{mode:o}")))
    }

    fn read(headers: TextHeaders<'_>) -> Attributes {
        let mode = text(headers, MODE).and_then(|mode| u32::from_str_radix(&mode, 8).ok());
        Attributes {
            modified: number(headers, MODIFIED),
            mode: mode.map(|mode| mode & MODE_BITS),
        }
    }
}

impl Demand {
    pub(crate) fn write(&self, message: Message) -> Message {
        let asks = |what| with(message, DO, what);
        match self {
            Demand::Offer { size, attributes } => {
                attributes.write(with_some(asks("offer"), SIZE, *size))
            }
            Demand::Resume { sha256 } => with(asks("resume"), SHA_256, &sha256.to_string()),
            Demand::Store { size, sha256 } => {
                let message = with_some(asks("store"), SIZE, *size);
                with(message, SHA_256, &sha256.to_string())
            }
            Demand::Put {
                path_len,
                sha256,
                attributes,
            } => {
                let message = with(asks("put"), PATH, &path_len.to_string());
                attributes.write(with(message, SHA_256, &sha256.to_string()))
            }
            Demand::Directory { attributes } => attributes.write(asks("directory")),
            Demand::Link { path_len } => with(asks("link"), PATH, &path_len.to_string()),
            Demand::Cancel { reason } => with(asks("cancel"), REASON, &printable(reason)),
            Demand::Echo => asks("echo"),
        }
    }

    /// `None` if it is nothing that this version knows, or lacks a part.
    pub(crate) fn read(headers: TextHeaders<'_>) -> Option<Demand> {
        let attributes = || Attributes::read(headers);
        Some(match &*text(headers, DO)? {
            "offer" => Demand::Offer {
                size: size(headers)?,
                attributes: attributes(),
            },
            "resume" => Demand::Resume {
                sha256: number(headers, SHA_256)?,
            },
            "store" => Demand::Store {
                size: size(headers)?,
                sha256: number(headers, SHA_256)?,
            },
            "put" => Demand::Put {
                path_len: number(headers, PATH)?,
                sha256: number(headers, SHA_256)?,
                attributes: attributes(),
            },
            "directory" => Demand::Directory {
                attributes: attributes(),
            },
            "link" => Demand::Link {
                path_len: number(headers, PATH)?,
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
        let says = |what| with(message, ANSWER, what);
        match self {
            Answer::Accepted { from: 0 } => says("accepted"),
            Answer::Accepted { from } => with(says("accepted"), FROM, &from.to_string()),
            Answer::Refused { reason } => with(says("refused"), REASON, &printable(reason)),
            Answer::Stored { sha256 } => with(says("stored"), SHA_256, &sha256.to_string()),
            Answer::Made => says("made"),
            Answer::Failed { reason } => with(says("failed"), REASON, &printable(reason)),
        }
    }

    /// `None` if it is nothing that this version knows, or lacks a part.
    pub(crate) fn read(headers: TextHeaders<'_>) -> Option<Answer> {
        Some(match &*text(headers, ANSWER)? {
            "accepted" => Answer::Accepted {
                from: number(headers, FROM).unwrap_or(0),
            },
            "refused" => Answer::Refused {
                reason: reason_of(headers)?,
            },
            "stored" => Answer::Stored {
                sha256: number(headers, SHA_256)?,
            },
            "made" => Answer::Made,
            "failed" => Answer::Failed {
                reason: reason_of(headers)?,
            },
            _ => return None,
        })
    }
}

/// The content of a Signal that says only that the sender still works on a file.
pub(crate) fn alive(message: Message) -> Message {
    with(message, DO, "wait")
}

/// Whether a Signal says only that.
pub(crate) fn is_alive(headers: TextHeaders<'_>) -> bool {
    text(headers, DO).as_deref() == Some("wait")
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

fn text<'h>(headers: TextHeaders<'h>, name: &str) -> Option<Cow<'h, str>> {
    headers.get(name).map(String::from_utf8_lossy)
}

/// A size, which may be missing, and is read if it is there.
fn size(headers: TextHeaders<'_>) -> Option<Option<u64>> {
    match text(headers, SIZE) {
        Some(size) => size.parse().ok().map(Some),
        None => Some(None),
    }
}

fn number<T: std::str::FromStr>(headers: TextHeaders<'_>, name: &str) -> Option<T> {
    text(headers, name)?.parse().ok()
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

fn with_some(message: Message, name: &str, value: Option<impl ToString>) -> Message {
    match value {
        Some(value) => with(message, name, &value.to_string()),
        None => message,
    }
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
            Demand::Offer {
                size: Some(u64::MAX),
                attributes: Attributes::default(),
            },
            Demand::Offer {
                size: None,
                attributes: Attributes {
                    modified: Some(-1),
                    mode: Some(0o755),
                },
            },
            Demand::Resume {
                sha256: Digest::of(b"a"),
            },
            Demand::Store {
                size: Some(3),
                sha256: Digest::of(b"abc"),
            },
            Demand::Put {
                path_len: 4,
                sha256: Digest::of(b""),
                attributes: Attributes::default(),
            },
            Demand::Directory {
                attributes: Attributes::default(),
            },
            Demand::Link { path_len: 9 },
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
            Answer::Accepted { from: 0 },
            Answer::Accepted { from: 1 << 40 },
            Answer::Made,
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
            b"Do:offer\r\nSize:-1\r\n",
            b"Do:offer\r\nSize:99999999999999999999\r\n",
            b"Do:store\r\nSHA-256:abc\r\n",
            b"Do:dance\r\n",
        ] {
            assert_eq!(Demand::read(TextHeaders::new(block)), None);
        }
    }

    #[test]
    fn nobody_gives_a_file_the_rights_of_another_user() {
        let read = Attributes::read(TextHeaders::new(b"Mode:6755\r\n"));
        assert_eq!(read.mode, Some(0o755));
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

//! A hello that says nothing, and what becomes of it.

use std::time::{Duration, Instant};

use ampe::{Address, Closed, Event, Options, Reason};

use crate::advice;
use crate::args::Security;
use crate::error::Failure;
use crate::session::Session;
use crate::transfer::protocol;

/// How long the goodbye may take.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Asked {
    /// How long it took to connect, the handshake of TLS included, if it came to that.
    pub(super) connected: Option<Duration>,
    pub(super) answer: Answer,
}

pub(super) enum Answer {
    /// With a HelloResponse, after this time, connecting included.
    Accepted(Duration),
    /// With a goodbye, for this reason.
    Refused(Option<String>),
    /// One of the two does not accept the other, in these words.
    NotSecured(String),
    /// The connection ended otherwise, or never came about.
    Ended {
        reason: Reason,
        /// What happened, and what to do.
        said: String,
    },
    Silent,
}

impl Asked {
    /// Whether ampe answers.
    pub(super) fn is_ampe(&self) -> bool {
        matches!(self.answer, Answer::Accepted(_) | Answer::Refused(_))
    }
}

/// Connects, says hello without a word, and goodbye if that is accepted.
pub(super) fn ask(
    to: &Address,
    security: Option<Security>,
    timeout: Duration,
) -> Result<Asked, Failure> {
    let mut options = Options::default();
    options.connect_timeout = timeout;
    let mut session = Session::start_with(options, security)?;
    let asked = wait(&mut session, to, timeout);
    let is_accepted = matches!(&asked, Ok(asked) if matches!(asked.answer, Answer::Accepted(_)));
    session.end(if is_accepted {
        FAREWELL
    } else {
        Duration::ZERO
    });
    asked
}

fn wait(session: &mut Session, to: &Address, timeout: Duration) -> Result<Asked, Failure> {
    let begun = Instant::now();
    let posted = session.group().post(session.group().message().hello(to));
    let posted = posted.map_err(|refused| Failure::new(format!("{refused}: run it again")))?;
    let (mut connected, mut last_word) = (None, None);
    // The engine gives up connecting; this is for all else.
    let mut deadline = begun + 2 * timeout;
    let answer = loop {
        match session.next(Some(deadline))? {
            None => break Answer::Silent,
            Some(Event::Opened(_)) => {
                connected = Some(begun.elapsed());
                deadline = Instant::now() + timeout;
            }
            Some(Event::Accepted(_)) => {
                let took = begun
                    .elapsed()
                    .saturating_sub(connected.unwrap_or_default());
                // Refused if it has gone meanwhile.
                let _ = session
                    .group()
                    .post(session.group().message().bye(posted.channel));
                break Answer::Accepted(took);
            }
            Some(Event::ByeResponse(last) | Event::ByeSignal(last)) => {
                last_word = protocol::reason(&last);
            }
            Some(Event::Bye(bye)) => last_word = protocol::reason(&bye),
            Some(Event::Closed(closed)) => break ended(to, &closed, last_word),
            Some(_) => {}
        }
    };
    Ok(Asked { connected, answer })
}

fn ended(to: &Address, closed: &Closed, last_word: Option<String>) -> Answer {
    match closed.reason() {
        Reason::Refused | Reason::PeerAborted | Reason::Bye => Answer::Refused(last_word),
        Reason::HandshakeFailed => {
            let error = closed.os_error();
            Answer::NotSecured(error.map_or_else(String::new, |error| error.to_string()))
        }
        reason => Answer::Ended {
            reason,
            said: advice::connection(to, closed, None),
        },
    }
}

//! `ampe demo --kill`: numbered messages to a process that is killed again and again.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use ampe::{Account, Address, Channel, Event, Options, PostError, Reason};
use serde_json::json;

use super::child::Child;
use super::ledger::Ledger;
use crate::args::Demo;
use crate::error::Failure;
use crate::output;
use crate::progress::Progress;
use crate::session::Session;

/// Ids of ours begin here: far from those that an engine gives by itself.
const FIRST_ID: u64 = 1 << 32;

/// How often the receiver is killed, about.
const KILLS: u64 = 16;

/// What is known of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is to be posted, for the first time or again.
    Here,
    Posted,
    Answered,
}

/// What became of all messages.
struct Book {
    states: Vec<State>,
    /// Those that are to be posted again.
    again: VecDeque<usize>,
    /// The first that was never posted.
    next: usize,
    answered: usize,
    kills: u64,
    /// Came back: the receiver cannot have them.
    returned: u64,
    /// Sent when the receiver was killed, and not answered.
    in_doubt: u64,
    /// Which messages were sent when the receiver was killed, and it had not read them: who writes each to
    /// a socket, once, would never know.
    is_lost_by_a_socket: Vec<bool>,
}

pub(super) fn run(arguments: &Demo) -> Result<(), Failure> {
    let directory = super::temporary_directory()?;
    let count = usize::try_from(arguments.messages).unwrap_or(usize::MAX);
    let mut book = Book {
        states: vec![State::Here; count],
        again: VecDeque::new(),
        next: 0,
        answered: 0,
        kills: 0,
        returned: 0,
        in_doubt: 0,
        is_lost_by_a_socket: vec![false; count],
    };
    let started = Instant::now();
    let mut session = Session::start(Options::default())?;
    let bar = Progress::new(arguments.json).steps("messages", arguments.messages);
    while book.answered < count {
        let mut child = Child::start_ledger(directory.path(), arguments.timeout, count)?;
        let left = (count - book.answered) as u64;
        // Behind the last there is nothing to kill it for.
        let share = arguments.messages.div_ceil(KILLS).max(1);
        let kill_at = book.answered + usize::try_from(fastrand::u64(..2 * share)).unwrap_or(0);
        let is_last = left <= 1;
        let kill_at = if is_last { usize::MAX } else { kill_at };
        let step = talk(
            &mut session,
            &mut child,
            arguments,
            &mut book,
            kill_at,
            &bar,
        );
        // A child that was interrupted by the same signal is no failure of its own.
        crate::interrupt::check()?;
        step?;
        drop(child);
        settle(&mut book, directory.path()).map_err(|error| unread(&error))?;
    }
    bar.finish_and_clear();
    let account = session.end(Duration::ZERO).unwrap_or_default();
    let ledger = Ledger::open(directory.path(), count).map_err(|error| unread(&error))?;
    tell(arguments, &book, &ledger, account, started.elapsed())
}

fn unread(error: &std::io::Error) -> Failure {
    Failure::new(format!(
        "cannot read the receiver's ledger: {error}: run the demo again"
    ))
}

/// One life of the receiver, which ends behind so many answers.
fn talk(
    session: &mut Session,
    child: &mut Child,
    arguments: &Demo,
    book: &mut Book,
    kill_at: usize,
    bar: &indicatif::ProgressBar,
) -> Result<(), Failure> {
    let to = child.one_address(session, arguments.timeout)?;
    let channel = connect(session, &to)?;
    let mut is_killed = false;
    let mut has_said_bye = false;
    let mut events = Vec::new();
    loop {
        if !is_killed && !has_said_bye {
            book.post(session, channel)?;
        }
        if book.answered == book.states.len() && !has_said_bye {
            has_said_bye = true;
            let _ = session.group().post(session.group().message().bye(channel));
        }
        let deadline = Instant::now() + arguments.timeout;
        session.next_many(&mut events, Some(deadline))?;
        if events.is_empty() {
            return Err(Failure::new(
                "the second process said nothing: wait longer with --timeout",
            ));
        }
        for event in events.drain(..) {
            if let Event::Closed(closed) = &event
                && closed.channel() == channel
            {
                let is_orderly = closed.reason() == Reason::Bye;
                book.kills += u64::from(!is_orderly);
                return Ok(());
            }
            book.on_event(&event);
        }
        bar.set_position(book.answered as u64);
        if book.answered >= kill_at && !is_killed && !has_said_bye {
            is_killed = true;
            child.kill();
        }
    }
}

fn connect(session: &Session, to: &Address) -> Result<Channel, Failure> {
    let hello = session.group().message().hello(to);
    let posted = session.group().post(hello);
    let posted = posted.map_err(|refused| Failure::new(format!("{refused}: run it again")))?;
    Ok(posted.channel)
}

impl Book {
    /// Posts as many as there is room for: first those that are to be posted again.
    fn post(&mut self, session: &Session, channel: Channel) -> Result<(), Failure> {
        let group = session.group();
        loop {
            let number = match self.again.front() {
                Some(&number) => number,
                None if self.next < self.states.len() => self.next,
                None => return Ok(()),
            };
            let message = group.message().with_body(&(number as u64).to_le_bytes());
            let message = message.map_err(|error| Failure::new(error.to_string()))?;
            let request = message.request(channel).with_id(FIRST_ID + number as u64);
            match group.post(request) {
                Ok(_) => self.states[number] = State::Posted,
                Err(refused) if matches!(refused.why, PostError::Full(_)) => return Ok(()),
                Err(_) => return Ok(()), // the channel has ended: its `Closed` comes
            }
            if self.again.pop_front().is_none() {
                self.next += 1;
            }
        }
    }

    fn on_event(&mut self, event: &Event) {
        let of = |id: u64| {
            let number = usize::try_from(id.checked_sub(FIRST_ID)?).ok()?;
            (number < self.states.len()).then_some(number)
        };
        match event {
            Event::Response(answer) => {
                if let Some(number) = of(answer.id())
                    && self.states[number] == State::Posted
                {
                    self.states[number] = State::Answered;
                    self.answered += 1;
                }
            }
            Event::Returned(mine) => {
                if let Some(number) = of(mine.id())
                    && self.states[number] == State::Posted
                {
                    self.states[number] = State::Here;
                    self.returned += 1;
                    self.again.push_back(number);
                }
            }
            _ => {}
        }
    }
}

/// What was sent and is not answered is in doubt: it is posted again, and the receiver knows it by its
/// number. Somebody who has written it to a socket believes that it has arrived.
fn settle(book: &mut Book, directory: &Path) -> std::io::Result<()> {
    let ledger = Ledger::open(directory, book.states.len())?;
    for number in 0..book.next {
        if book.states[number] == State::Posted {
            book.in_doubt += 1;
            book.is_lost_by_a_socket[number] |= ledger.times(number) == 0;
            book.states[number] = State::Here;
            book.again.push_back(number);
        }
    }
    Ok(())
}

fn tell(
    arguments: &Demo,
    book: &Book,
    ledger: &Ledger,
    account: Account,
    took: Duration,
) -> Result<(), Failure> {
    let count = book.states.len();
    let arrived = (0..count)
        .filter(|&number| ledger.times(number) > 0)
        .count();
    let lost = book
        .is_lost_by_a_socket
        .iter()
        .filter(|&&lost| lost)
        .count();
    let twice = (0..count)
        .filter(|&number| ledger.times(number) > 1)
        .count();
    if arguments.json {
        output::json(&json!({
            "messages": count,
            "kills": book.kills,
            "arrived": arrived,
            "arrived_again": twice,
            "returned": book.returned,
            "in_doubt": book.in_doubt,
            "lost_by_a_socket_alone": lost,
            "seconds": took.as_secs_f64(),
            "account": output::account(account),
        }))?;
    } else {
        for (figure, what) in [
            (count as u64, "messages"),
            (book.kills, "kills of the receiver"),
            (arrived as u64, "arrived"),
            (book.returned, "returned, posted again"),
            (book.in_doubt, "in doubt, posted again"),
            (twice as u64, "of them came twice"),
            (lost as u64, "lost by a socket alone"),
        ] {
            output::line(format!("{figure:>10}  {what}"))?;
        }
        output::line(output::balance(&account))?;
    }
    match arrived == count {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "{} messages did not arrive: tell the authors",
            count - arrived
        ))),
    }
}

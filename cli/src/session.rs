//! An engine with one group, as every command uses it.

use std::time::{Duration, Instant};

use ampe::{Account, ChannelGroup, Ended, Engine, Event, GroupOptions, Inbox, Options, StartError};

use crate::advice;
use crate::args::Security;
use crate::error::Failure;
use crate::interrupt;
use crate::output;

/// An engine, its group, and the inbox that a signal interrupts.
pub(crate) struct Session {
    engine: Engine,
    group: ChannelGroup,
    inbox: Inbox,
    /// Of all channels that ended, together.
    account: Option<Account>,
    /// Whether strangers were told of.
    has_told: bool,
}

/// How often strangers are looked for.
const STRANGERS: Duration = Duration::from_secs(2);

pub(crate) const STRANGER: &str = "somebody connected and did not say hello as ampe does, and was \
                                   disconnected: perhaps a port scan, or another program; this is told \
                                   once";

impl Session {
    pub(crate) fn start(options: Options) -> Result<Session, Failure> {
        Session::start_with(options, None)
    }

    /// With what secures its connections.
    pub(crate) fn start_with(
        options: Options,
        security: Option<Security>,
    ) -> Result<Session, Failure> {
        let engine = Engine::start(options).map_err(|error| match error {
            StartError::Options(error) => Failure::Usage(error.to_string()),
            StartError::System(error) => {
                let advice = advice::of_start(&error);
                Failure::new(format!("cannot start the engine: {error}: {advice}"))
            }
            error => Failure::new(format!("{error}: run it again")),
        })?;
        let (group, inbox) = engine
            .group(group_options(security))
            .map_err(|ended| over(&ended))?;
        interrupt::wake(&group);
        Ok(Session {
            engine,
            group,
            inbox,
            account: None,
            has_told: false,
        })
    }

    pub(crate) fn group(&self) -> &ChannelGroup {
        &self.group
    }

    /// Connections that ended before they had said hello.
    pub(crate) fn strangers(&self) -> u64 {
        self.engine.statistics().ended_before_hello
    }

    /// The next event; `None` if none came until `deadline`. Without one it waits as long as it
    /// takes.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, Failure> {
        let received = match deadline {
            Some(deadline) => self.inbox.recv_until(deadline),
            None => self.inbox.recv().map(Some),
        };
        // Noted before an interruption is looked for, which would lose the event.
        if let Ok(Some(event)) = &received {
            add(&mut self.account, event);
        }
        interrupt::check()?;
        received.map_err(|ended| over(&ended))
    }

    /// As [`next_many`](Session::next_many), for what serves anybody: `false` if nothing came for this
    /// long. Says once that there are strangers.
    pub(crate) fn serve_many(
        &mut self,
        events: &mut Vec<Event>,
        silence: Option<Duration>,
    ) -> Result<bool, Failure> {
        let until = silence.map(|silence| Instant::now() + silence);
        loop {
            let look = Instant::now() + STRANGERS;
            let deadline = until.map_or(look, |until| until.min(look));
            self.next_many(events, Some(deadline))?;
            if !self.has_told && self.strangers() > 0 {
                self.has_told = true;
                output::note(STRANGER);
            }
            let is_over = until.is_some_and(|until| Instant::now() >= until);
            if !events.is_empty() || is_over {
                return Ok(!events.is_empty());
            }
        }
    }

    /// Appends the events that are there to `events`, waiting for the first: until `deadline`, or
    /// as long as it takes.
    pub(crate) fn next_many(
        &mut self,
        events: &mut Vec<Event>,
        deadline: Option<Instant>,
    ) -> Result<(), Failure> {
        const MOST: usize = 1024;
        if deadline.is_some() {
            let first = self.next(deadline)?;
            let is_quiet = first.is_none();
            events.extend(first);
            while !is_quiet && events.len() < MOST {
                match self.inbox.try_recv() {
                    Ok(Some(event)) => {
                        add(&mut self.account, &event);
                        events.push(event);
                    }
                    // An end is met again by the next call.
                    Ok(None) | Err(_) => break,
                }
            }
            return Ok(());
        }
        let received = self.inbox.recv_many();
        interrupt::check()?;
        let account = &mut self.account;
        let received = received.map_err(|ended| over(&ended))?.take(MOST);
        events.extend(received.inspect(|event| add(account, event)));
        Ok(())
    }

    /// Closes everything; what was posted may still be sent for as long as `within`. The account of all
    /// channels that ended, now or before, at any end.
    pub(crate) fn end(mut self, within: Duration) -> Option<Account> {
        let report = self.inbox.close(within);
        for event in &report.unread {
            add(&mut self.account, event);
        }
        drop(report);
        self.engine.stop(within);
        self.account
    }
}

#[cfg(feature = "tls")]
fn group_options(security: Option<Security>) -> GroupOptions {
    let mut options = GroupOptions::default();
    options.tls = security;
    options
}

#[cfg(not(feature = "tls"))]
fn group_options(_: Option<Security>) -> GroupOptions {
    GroupOptions::default()
}

/// Adds the account of a channel that ended.
fn add(total: &mut Option<Account>, event: &Event) {
    let Event::Closed(closed) = event else {
        return;
    };
    let account = closed.account();
    let total = total.get_or_insert_default();
    total.posted += account.posted;
    total.sent += account.sent;
    total.returned += account.returned;
    total.confirmed += account.confirmed;
    total.received += account.received;
}

fn over(ended: &Ended) -> Failure {
    Failure::new(format!("{ended}: run it again"))
}

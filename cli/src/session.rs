//! An engine with one group, as every command uses it.

use std::time::{Duration, Instant};

use ampe::{Account, ChannelGroup, Ended, Engine, Event, GroupOptions, Inbox, Options, StartError};

use crate::advice;
use crate::error::Failure;
use crate::interrupt;

/// An engine, its group, and the inbox that a signal interrupts.
pub(crate) struct Session {
    engine: Engine,
    group: ChannelGroup,
    inbox: Inbox,
    /// Of the channel that ended last.
    account: Option<Account>,
}

impl Session {
    pub(crate) fn start(options: Options) -> Result<Session, Failure> {
        let engine = Engine::start(options).map_err(|error| match error {
            StartError::Options(error) => Failure::Usage(error.to_string()),
            StartError::System(error) => {
                let advice = advice::of_start(&error);
                Failure::new(format!("cannot start the engine: {error}: {advice}"))
            }
            error => Failure::new(format!("{error}: run it again")),
        })?;
        let (group, inbox) = engine
            .group(GroupOptions::default())
            .map_err(|ended| over(&ended))?;
        interrupt::wake(&group);
        Ok(Session {
            engine,
            group,
            inbox,
            account: None,
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
            self.account = account_of(event).or(self.account);
        }
        interrupt::check()?;
        received.map_err(|ended| over(&ended))
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
                    Ok(Some(event)) => events.push(event),
                    // An end is met again by the next call.
                    Ok(None) | Err(_) => break,
                }
            }
            return Ok(());
        }
        let received = self.inbox.recv_many();
        interrupt::check()?;
        events.extend(received.map_err(|ended| over(&ended))?.take(MOST));
        Ok(())
    }

    /// Closes everything; what was posted may still be sent for as long as `within`. The account
    /// of the channel that ended last, now or before: of a session's only one, at any end.
    pub(crate) fn end(self, within: Duration) -> Option<Account> {
        let report = self.inbox.close(within);
        let account = report.unread.iter().rev().find_map(account_of);
        drop(report);
        self.engine.stop(within);
        account.or(self.account)
    }
}

fn account_of(event: &Event) -> Option<Account> {
    match event {
        Event::Closed(closed) => Some(closed.account()),
        _ => None,
    }
}

fn over(ended: &Ended) -> Failure {
    Failure::new(format!("{ended}: run it again"))
}

//! An engine with one group, as every command uses it.

use std::time::{Duration, Instant};

use ampe::{ChannelGroup, Engine, Event, GroupOptions, Inbox, Options, StartError};

use crate::error::Failure;
use crate::interrupt;

/// An engine, its group, and the inbox that a signal interrupts.
pub(crate) struct Session {
    engine: Engine,
    group: ChannelGroup,
    inbox: Inbox,
}

impl Session {
    pub(crate) fn start(options: Options) -> Result<Session, Failure> {
        let engine = Engine::start(options).map_err(|error| match error {
            StartError::Options(error) => Failure::Usage(error.to_string()),
            error => Failure::new(format!(
                "{error}: close other programs, or raise the limits (ulimit -n, ulimit -u)"
            )),
        })?;
        let (group, inbox) = engine
            .group(GroupOptions::default())
            .map_err(|ended| Failure::new(format!("{ended}: run it again")))?;
        interrupt::wake(&group);
        Ok(Session {
            engine,
            group,
            inbox,
        })
    }

    pub(crate) fn group(&self) -> &ChannelGroup {
        &self.group
    }

    /// The next event; `None` if none came until `deadline`. Without one it waits as long as it
    /// takes.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, Failure> {
        let received = match deadline {
            Some(deadline) => self.inbox.recv_until(deadline),
            None => self.inbox.recv().map(Some),
        };
        interrupt::check()?;
        received.map_err(|ended| Failure::new(format!("{ended}: run it again")))
    }

    /// Appends the events that are there to `events`, waiting for the first until `deadline`.
    pub(crate) fn next_many(
        &mut self,
        events: &mut Vec<Event>,
        deadline: Option<Instant>,
    ) -> Result<(), Failure> {
        const MOST: usize = 1024;
        let Some(first) = self.next(deadline)? else {
            return Ok(());
        };
        events.push(first);
        while events.len() < MOST {
            match self.inbox.try_recv() {
                Ok(Some(event)) => events.push(event),
                // An end is met again by the next call.
                Ok(None) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// Closes everything; what was posted may still be sent for as long as `within`.
    pub(crate) fn end(self, within: Duration) {
        drop(self.inbox.close(within));
        self.engine.stop(within);
    }
}

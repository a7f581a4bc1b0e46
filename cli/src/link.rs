//! A connection that a command opened: its events, its end, and how long it may be silent.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ampe::{
    Account, Address, Channel, ChannelGroup, Event, Message, Post, PostError, Posted, Reason,
    Received,
};

use crate::advice;
use crate::error::Failure;
use crate::output;
use crate::patience::Patience;
use crate::session::Session;
use crate::transfer::protocol;

/// A connection to a peer. It is the only channel of its session while it lives.
pub(crate) struct Link<'s> {
    session: &'s mut Session,
    channel: Channel,
    to: Address,
    timeout: Duration,
    /// Whether the peer said anything.
    has_spoken: bool,
    /// Whether it said anything since the last step began.
    has_chattered: bool,
    /// What the peer said when it ended the conversation.
    farewell: Option<String>,
    /// What came back, not sent.
    returned: HashSet<u64>,
}

/// What became of a post that was not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It came back: the peer cannot have it whole.
    Returned,
    /// It was sent: the peer may have it.
    Unknown,
}

impl<'s> Link<'s> {
    /// Opens a connection and posts `hello` as its first message.
    pub(crate) fn open(
        session: &'s mut Session,
        to: &Address,
        hello: Message,
        timeout: Duration,
    ) -> Result<Link<'s>, Failure> {
        let posted = session
            .group()
            .post(hello.hello(to))
            .map_err(|refused| Failure::new(format!("{refused}: run it again")))?;
        Ok(Link {
            session,
            channel: posted.channel,
            to: to.clone(),
            timeout,
            has_spoken: false,
            has_chattered: false,
            farewell: None,
            returned: HashSet::new(),
        })
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel
    }

    pub(crate) fn group(&self) -> &ChannelGroup {
        self.session.group()
    }

    pub(crate) fn to(&self) -> &Address {
        &self.to
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The time limit of a step that begins now.
    pub(crate) fn patience(&mut self) -> Patience {
        self.has_chattered = false;
        Patience::new(self.timeout, Instant::now())
    }

    /// Posts, waiting for room if there is none.
    pub(crate) fn post(&mut self, mut post: Post) -> Result<Posted, Failure> {
        let mut patience = self.patience();
        loop {
            let refused = match self.session.group().post(post) {
                Ok(posted) => return Ok(posted),
                Err(refused) => refused,
            };
            match refused.why {
                PostError::Full(_) => while !matches!(self.wait(&mut patience)?, Event::Room(_)) {},
                // Why it has ended, its `Closed` says.
                PostError::ChannelClosed => loop {
                    self.wait(&mut patience)?;
                },
                why => return Err(Failure::new(format!("not sent: {why}: run it again"))),
            }
            post = refused.post;
        }
    }

    /// The next event that is not about the connection's end, while there is patience for the step
    /// as a whole.
    pub(crate) fn wait(&mut self, patience: &mut Patience) -> Result<Event, Failure> {
        while !patience.is_over() {
            if let Some(event) = self.look(patience)? {
                return Ok(event);
            }
        }
        Err(self.silence())
    }

    /// As [`wait`](Link::wait), for a part of the patience: `None` after it.
    pub(crate) fn look(&mut self, patience: &mut Patience) -> Result<Option<Event>, Failure> {
        let event = self.wait_until(patience.next_look(Instant::now()));
        patience.look(Instant::now());
        event
    }

    /// As [`look`](Link::look), and no longer than `most`.
    pub(crate) fn look_within(
        &mut self,
        patience: &mut Patience,
        most: Duration,
    ) -> Result<Option<Event>, Failure> {
        let now = Instant::now();
        let event = self.wait_until(patience.next_look(now).min(now + most));
        patience.look(Instant::now());
        event
    }

    fn wait_until(&mut self, deadline: Instant) -> Result<Option<Event>, Failure> {
        loop {
            let event = self.session.next(Some(deadline))?;
            if let Some(event) = &event
                && event.channel().is_some_and(|of| of != self.channel)
            {
                continue;
            }
            match event {
                Some(Event::Closed(closed)) => {
                    let farewell = self.farewell.as_deref();
                    let said = advice::connection(&self.to, &closed, farewell);
                    return Err(Failure::Failed(said));
                }
                Some(Event::ByeResponse(last) | Event::ByeSignal(last)) => {
                    self.farewell = protocol::reason(&last);
                }
                Some(Event::Opened(_)) => {} // the system says so, and not yet the peer
                Some(Event::Bye(bye)) => self.farewell = protocol::reason(&bye),
                // The `Closed` that follows says why.
                Some(Event::Returned(mine)) => drop(self.returned.insert(mine.id())),
                event => {
                    let is_ours = matches!(event, None | Some(Event::Room(_) | Event::Notified(_)));
                    let is_said = !is_ours;
                    self.has_spoken |= is_said;
                    self.has_chattered |= is_said;
                    return Ok(event);
                }
            }
        }
    }

    /// The failure of a peer that said nothing in time.
    pub(crate) fn silence(&self) -> Failure {
        let advice = if self.has_spoken {
            "see whether the other side still runs"
        } else {
            "see that ampe listens there, and not another program"
        };
        let seconds = self.timeout.as_secs_f64();
        let what = match self.has_chattered {
            true => format!("gave no answer for {seconds} s, whatever else it said"),
            false => format!("said nothing for {seconds} s"),
        };
        let to = output::shown(&self.to);
        Failure::new(format!(
            "{to} {what}: {advice}, or wait longer with --timeout"
        ))
    }

    /// The HelloResponse.
    pub(crate) fn connected(&mut self) -> Result<Received, Failure> {
        let mut patience = self.patience();
        loop {
            if let Event::Accepted(received) = self.wait(&mut patience)? {
                return Ok(received);
            }
        }
    }

    /// The Response with this id.
    pub(crate) fn response(&mut self, id: u64) -> Result<Received, Failure> {
        let mut patience = self.patience();
        loop {
            match self.wait(&mut patience)? {
                Event::Response(received) if received.id() == id => return Ok(received),
                _ => {}
            }
        }
    }

    /// Waits until then, unless the connection ends.
    pub(crate) fn pause(&mut self, until: Instant) -> Result<(), Failure> {
        while Instant::now() < until {
            self.wait_until(until)?;
        }
        Ok(())
    }

    /// What became of the post with this id, once the connection has ended.
    pub(crate) fn fate(&self, id: u64) -> Fate {
        match self.returned.contains(&id) {
            true => Fate::Returned,
            false => Fate::Unknown,
        }
    }

    /// Ends the connection here and now; what became of the post with this id.
    pub(crate) fn give_up(mut self, id: u64) -> Result<Fate, Failure> {
        const WITHIN: Duration = Duration::from_secs(5);
        // Refused if it has ended by itself.
        let _ = self.group().post(Post::abort(self.channel));
        let mut patience = Patience::new(WITHIN, Instant::now());
        while !patience.is_over() {
            match self.look(&mut patience) {
                Ok(_) => {}
                Err(Failure::Failed(_)) => break,
                Err(failure) => return Err(failure),
            }
        }
        Ok(self.fate(id))
    }

    /// Ends the conversation by ByeRequest and ByeResponse. Everything sent is confirmed then.
    pub(crate) fn finish(mut self) -> Result<Account, Failure> {
        let bye = self.session.group().message().bye(self.channel);
        self.post(bye)?;
        let mut patience = self.patience();
        while !patience.is_over() {
            let look = patience.next_look(Instant::now());
            match self.session.next(Some(look))? {
                Some(Event::Closed(closed)) if closed.channel() == self.channel => {
                    if closed.reason() == Reason::Bye {
                        return Ok(closed.account());
                    }
                    let farewell = self.farewell.as_deref();
                    let said = advice::connection(&self.to, &closed, farewell);
                    return Err(Failure::Failed(said));
                }
                _ => patience.look(Instant::now()),
            }
        }
        Err(self.silence())
    }
}

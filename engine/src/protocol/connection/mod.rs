//! A connection as a machine of its own.
//!
//! It is told what happened (bytes came, a write failed, time has passed) together with all that it
//! may touch, in [`Context`]: budget, storage, the nodes of its queue, its group's events. What it
//! wants of others it says in its state, which the hub looks at after each call: what readiness it
//! waits for, whether it has something to write, when it is due, whether it has ended.

mod admission;
mod arriving;
mod deadline;
mod first_part;
mod goodbye;
mod opening;
mod pace;
mod receiving;
mod sending;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use crate::between::key::RecordKey;
use crate::between::registry::ReturnedCost;
use crate::channel::Channel;
use crate::delivery::Deliveries;
use crate::event::{Closed, Event, Returned, SystemError};
use crate::options::Options;
use crate::peer::Peer;
use crate::post::Post;
use crate::reason::Reason;
use crate::storage::{Cache, Hold, SharedCreditor};

use self::deadline::PutOff;
use self::goodbye::Goodbye;
use self::receiving::Inbound;
use self::sending::Outbound;
use super::budget::{Budget, BudgetKey};
use super::decisions;
use super::outgoing::{Nodes, Outgoing, Withdrawn};
use super::{Action, Actions, Closing, Wanted};

pub(super) use self::admission::Admission;
#[cfg(test)]
pub(super) use self::opening::ATTEMPTS_MAX;
pub(super) use self::opening::{Opening, socket_address};

/// All that a connection may touch beside itself.
pub(super) struct Context<'a> {
    pub(super) options: &'a Options,
    pub(super) budget: &'a mut Budget,
    pub(super) cache: &'a mut Cache,
    pub(super) nodes: &'a mut Nodes,
    /// Whether the thread that makes this pass receives what comes for the connection's group.
    pub(super) is_received_here: bool,
    /// Whether Responses may be for calls, which are told one by one.
    pub(super) has_calls: bool,
    /// What this pass tells the connection's group.
    pub(super) events: &'a mut Deliveries,
    /// What the driver is to do.
    pub(super) actions: &'a mut Actions,
    pub(super) now: Instant,
    /// The same, as the [`Clock`](super::reports::Clock) counts it.
    pub(super) millis: u32,
}

pub(super) struct Connection {
    pub(super) key: RecordKey,
    /// The part of its group in the inbound budget.
    budget_key: BudgetKey,
    /// None for a connection that was accepted and has not said hello.
    channel: Option<Channel>,
    origin: Origin,
    admission: Admission,
    state: State,
    /// The other end, once there is a connection.
    peer: Option<Peer>,
    inbound: Inbound,
    outbound: Outbound,
    goodbye: Goodbye,
    messages: crate::event::Account,
    /// What the system took of it, and yielded, frames and all.
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    /// When its state has lasted long enough.
    deadline: Option<Instant>,
    put_off: PutOff,
}

pub(super) enum Origin {
    Accepted {
        listener: RecordKey,
        listener_channel: Channel,
    },
    Opened(OwnHello),
}

/// Our HelloRequest: a ByeResponse with its id may refuse it.
pub(super) struct OwnHello {
    id: u64,
    is_answered: bool,
}

enum State {
    /// A name is being resolved, or an attempt to connect is under way.
    Opening(Box<Opening>),
    /// Sends, receives and takes posts.
    Open,
    /// Writing failed. It takes no posts, and goes on receiving what the system still has.
    Unwritable(Unwritable),
    /// What is queued is sent, then the sending side is closed, then the peer's end is awaited.
    Finishing(Finishing),
    /// The socket is gone; the last posts that were admitted are awaited.
    Ended(Ended),
}

struct Unwritable {
    reason: Reason,
    os_error: SystemError,
    /// The system says that the peer had closed: what reading finds tells whether in order.
    has_peer_closed: bool,
    posts: Posts,
}

struct Finishing {
    reason: Reason,
    is_sending_side_closed: bool,
}

struct Ended {
    reason: Reason,
    os_error: Option<SystemError>,
    posts: Posts,
}

/// How far a channel's closing to posts has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::protocol) enum Posts {
    /// Posts are admitted.
    Admitted,
    /// No more, from the next exchange on.
    Closing,
    /// All that was admitted has arrived.
    Closed,
}

impl Connection {
    /// A connection that a listener accepted: it has so long to say hello, or to be decided about.
    pub(super) fn accepted(
        key: RecordKey,
        budget_key: BudgetKey,
        origin: Origin,
        admission: Admission,
        peer: Peer,
        deadline: Instant,
    ) -> Self {
        let mut connection = Connection::new(key, budget_key, origin, State::Open);
        connection.admission = admission;
        connection.peer = Some(peer);
        connection.deadline = Some(deadline);
        connection
    }

    /// A connection that a post opens.
    pub(super) fn opened(
        key: RecordKey,
        budget_key: BudgetKey,
        channel: Channel,
        hello_id: u64,
        opening: Opening,
    ) -> Self {
        let hello = OwnHello {
            id: hello_id,
            is_answered: false,
        };
        let state = State::Opening(Box::new(opening));
        let mut connection = Connection::new(key, budget_key, Origin::Opened(hello), state);
        connection.channel = Some(channel);
        connection
    }

    fn new(key: RecordKey, budget_key: BudgetKey, origin: Origin, state: State) -> Self {
        Connection {
            key,
            budget_key,
            channel: None,
            origin,
            admission: Admission::Admitted,
            state,
            peer: None,
            inbound: Inbound::default(),
            outbound: Outbound::new(),
            goodbye: Goodbye::default(),
            messages: crate::event::Account::default(),
            bytes_sent: 0,
            bytes_received: 0,
            deadline: None,
            put_off: PutOff::default(),
        }
    }

    pub(super) fn channel(&self) -> Option<Channel> {
        self.channel
    }

    pub(super) fn is_opening(&self) -> bool {
        matches!(self.state, State::Opening(_))
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// Whether a socket is connected.
    pub(super) fn is_live(&self) -> bool {
        match self.state {
            State::Open | State::Unwritable(_) | State::Finishing(_) => true,
            State::Opening(_) | State::Ended(_) => false,
        }
    }

    fn may_send(&self) -> bool {
        match &self.state {
            State::Open => true,
            State::Finishing(finishing) => !finishing.is_sending_side_closed,
            State::Opening(_) | State::Unwritable(_) | State::Ended(_) => false,
        }
    }

    /// What readiness it waits for. `is_holder`: bytes of it lie in the shared buffer, and come first.
    pub(super) fn wanted(&self, is_holder: bool) -> Wanted {
        match &self.state {
            State::Opening(opening) => Wanted {
                readable: false,
                writable: opening.is_connecting(),
            },
            State::Open | State::Unwritable(_) | State::Finishing(_) => Wanted {
                readable: self.may_receive() && !is_holder || self.awaits_admission(),
                writable: decisions::wants_writable(self.is_blocked(), self.may_send()),
            },
            State::Ended(_) => Wanted::default(),
        }
    }

    /// Closes in an orderly way until `deadline`, for `reason`.
    pub(super) fn close(&mut self, reason: Reason, deadline: Instant, context: &mut Context<'_>) {
        match &mut self.state {
            State::Ended(_) => {}
            _ if self.channel.is_none() => self.end(reason, None, context),
            State::Opening(_) if deadline <= context.now => self.end(reason, None, context),
            State::Opening(opening) => {
                opening.close(reason, deadline);
                self.set_deadline_no_later(deadline);
            }
            State::Unwritable(unwritable) => {
                unwritable.reason = reason;
                self.put_off.stop(); // the deadline is the last
                self.set_deadline_no_later(deadline);
            }
            State::Finishing(_) => self.set_deadline_no_later(deadline),
            State::Open => {
                self.state = State::Finishing(Finishing {
                    reason,
                    is_sending_side_closed: false,
                });
                let earliest = self.deadline.map_or(deadline, |at| at.min(deadline));
                self.deadline = decisions::deadline_of_close(earliest);
                self.finish_sending_if_done(context);
            }
        }
    }

    /// The application aborts. What `post` says is for the peer, if it can be sent without a wait.
    pub(super) fn abort(&mut self, post: Post, context: &mut Context<'_>) {
        let how = match self.last_frame(post) {
            Some(frame) => Closing::Saying(frame),
            None => Closing::Abortive,
        };
        self.end_by(Reason::Aborted, None, how, context);
    }

    /// Ends the connection: its socket goes now, its accounts are settled once everything that was
    /// admitted to it has arrived. Ending twice changes nothing.
    pub(super) fn end(
        &mut self,
        reason: Reason,
        os_error: Option<SystemError>,
        context: &mut Context<'_>,
    ) {
        let how = match reason {
            Reason::Aborted | Reason::Protocol(_) => Closing::Abortive,
            _ => Closing::Orderly,
        };
        self.end_by(reason, os_error, how, context);
    }

    fn end_by(
        &mut self,
        reason: Reason,
        os_error: Option<SystemError>,
        how: Closing,
        context: &mut Context<'_>,
    ) {
        let posts = match &self.state {
            State::Ended(_) => return,
            State::Unwritable(unwritable) => match unwritable.posts {
                Posts::Closed => Posts::Closed,
                Posts::Admitted | Posts::Closing => Posts::Closing,
            },
            State::Opening(_) | State::Open | State::Finishing(_) => Posts::Closing,
        };
        if let State::Opening(opening) = &mut self.state {
            opening.close_attempts(context.actions);
        }
        self.stop_receiving(context);
        self.outbound.stop_looking();
        self.deadline = None;
        self.state = State::Ended(Ended {
            reason,
            os_error,
            posts,
        });
        let key = self.key;
        context.actions.push(Action::Close { key, how });
    }

    /// Ends for `reason`, unless there was a cause before: the end of a conversation that was finished,
    /// or a write that failed.
    pub(super) fn end_unless_caused(
        &mut self,
        reason: Reason,
        os_error: Option<SystemError>,
        context: &mut Context<'_>,
    ) {
        match &self.state {
            &State::Finishing(Finishing { reason, .. }) => self.end(reason, os_error, context),
            State::Unwritable(unwritable) => {
                let (reason, os_error) = (unwritable.reason, unwritable.os_error.clone());
                self.end(reason, Some(os_error), context);
            }
            State::Open => self.end(self.unless_over(reason), os_error, context),
            State::Opening(_) | State::Ended(_) => self.end(reason, os_error, context),
        }
    }

    /// How far its closing to posts has come.
    pub(super) fn posts(&self) -> Posts {
        match &self.state {
            State::Opening(_) | State::Open | State::Finishing(_) => Posts::Admitted,
            State::Unwritable(unwritable) => unwritable.posts,
            State::Ended(ended) => ended.posts,
        }
    }

    /// The exchange has closed it to posts.
    pub(super) fn set_closed_to_posts(&mut self) {
        match &mut self.state {
            State::Unwritable(Unwritable { posts, .. }) | State::Ended(Ended { posts, .. }) => {
                *posts = Posts::Closed;
            }
            State::Opening(_) | State::Open | State::Finishing(_) => {
                unreachable!("only who asked for it is closed to posts")
            }
        }
    }

    /// Why its queue can never be sent, once all that was admitted has arrived.
    fn why_unsendable(&self) -> Option<Reason> {
        match &self.state {
            State::Unwritable(it) if it.posts == Posts::Closed => Some(Reason::ConnectionLost),
            State::Ended(it) if it.posts == Posts::Closed => Some(it.reason),
            _ => None,
        }
    }

    /// Whether the hub has something to do for it before it waits: write, exchange, or settle.
    pub(super) fn has_work(&self) -> bool {
        self.may_transmit()
            || self.posts() == Posts::Closing
            || self.has_ended()
            || self.is_unsendable()
    }

    /// Whether messages are queued that can never be sent.
    pub(super) fn is_unsendable(&self) -> bool {
        self.why_unsendable().is_some() && !self.outbound.is_empty()
    }

    /// Returns what is queued if it can never be sent, and says what that had been charged.
    pub(super) fn return_unsendable(
        &mut self,
        creditor: &SharedCreditor,
        context: &mut Context<'_>,
    ) -> ReturnedCost {
        let mut all = ReturnedCost::default();
        let (Some(reason), Some(channel)) = (self.why_unsendable(), self.channel) else {
            return all;
        };
        while let Some(outgoing) = self.outbound.pop(context.nodes, context.cache) {
            let one = self.give_back(channel, reason, outgoing, creditor, context);
            all.queued += one.queued;
            all.returned += one.returned;
        }
        all
    }

    /// Returns a message, and says what it had been charged, and is now.
    fn give_back(
        &mut self,
        channel: Channel,
        reason: Reason,
        outgoing: Outgoing,
        creditor: &SharedCreditor,
        context: &mut Context<'_>,
    ) -> ReturnedCost {
        let cost = ReturnedCost {
            queued: outgoing.cost,
            returned: outgoing.returned_cost(),
        };
        self.messages.returned += 1;
        if decisions::is_returned_unsent() {
            let hold = Hold::new(Arc::clone(creditor), cost.returned);
            let returned = returned(channel, reason, outgoing, hold);
            context.events.push_back(Event::Returned(returned));
        }
        cost
    }

    /// Returns a message that was posted, if nothing of it was sent and it would be. Says what it had been
    /// charged, and is now.
    pub(super) fn withdraw(
        &mut self,
        id: u64,
        kind: Withdrawn,
        creditor: &SharedCreditor,
        context: &mut Context<'_>,
    ) -> Option<ReturnedCost> {
        let channel = self.channel.filter(|_| !self.is_unsendable())?;
        let outgoing = self
            .outbound
            .withdraw(id, kind, context.nodes, context.cache)?;
        let cost = self.give_back(channel, Reason::Withdrawn, outgoing, creditor, context);
        self.finish_sending_if_done(context);
        Some(cost)
    }

    /// What became of its messages so far.
    pub(super) fn account(&self) -> crate::event::Account {
        let mut account = self.messages;
        account.confirmed = self.confirmed();
        account
    }

    /// When the first of what is queued came, as the [`Clock`](super::reports::Clock) counts.
    pub(super) fn first_queued_at(&self, nodes: &Nodes) -> Option<u32> {
        self.outbound.first_queued_at(nodes)
    }

    /// Its last event, once everything was returned.
    pub(super) fn closed(&self) -> Closed {
        let State::Ended(ended) = &self.state else {
            unreachable!("only what has ended is settled")
        };
        let account = self.account();
        assert_eq!(
            account.posted,
            account.sent + account.returned,
            "every message is accounted for"
        );
        Closed {
            channel: self.channel.expect("only channels are settled"),
            reason: ended.reason,
            os_error: ended.os_error.clone(),
            peer: self.peer.clone(),
            account: Box::new(account),
        }
    }

    /// Whether a frame waits for budget.
    pub(super) fn is_starved(&self) -> bool {
        self.inbound.is_starved()
    }

    #[cfg(test)]
    pub(super) fn has_queued(&self) -> bool {
        !self.outbound.is_empty()
    }

    /// Whether writing failed, and it goes on receiving.
    #[cfg(test)]
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state, State::Unwritable(_))
    }

    /// The part of the inbound budget that its group has, and what it holds of that.
    pub(super) fn held(&self) -> (BudgetKey, usize) {
        (self.budget_key, self.inbound.held())
    }

    /// Grows with every frame that was given its storage.
    pub(super) fn frames_begun(&self) -> u64 {
        self.messages.received + u64::from(self.inbound.is_in_content())
    }
}

fn returned(channel: Channel, reason: Reason, outgoing: Outgoing, hold: Hold) -> Returned {
    let Outgoing {
        mut message,
        op_code,
        more,
        id,
        ..
    } = outgoing;
    message.storage_mut().set_hold(hold);
    Returned {
        channel,
        op_code,
        more,
        id,
        reason,
        message,
    }
}

//! Calls: a request, and whoever waits for its answer.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::between::mailbox::Taken;
use crate::blocking;
use crate::channel::Channel;
use crate::error::PostError;
use crate::event::Received;
use crate::group::ChannelGroup;
use crate::handles::{
    AbandonedCall, CallEvent, CallLine, CallMailbox, Submission, next_receiver, reactor_thread,
};
use crate::message::Message;
use crate::options::after;
use crate::post::{Post, Refused};
use crate::reason::Reason;
use crate::sending::Sending;

/// The text header by which an answer says that it is a refusal.
pub(crate) const REFUSED: &str = "~refused";

/// A call that waits for its answer: from [`ChannelGroup::call`](crate::ChannelGroup::call). Await it, or
/// [`wait`](Call::wait) for it in a thread.
///
/// Nothing is posted before the first poll. Dropping it gives the call up: a request that was not sent comes
/// back to the group as [`Event::Returned`](crate::Event::Returned) with
/// [`Reason::Withdrawn`]; an answer that has come or comes nonetheless, as
/// [`Event::Response`](crate::Event::Response), unless the channel has ended by then. It may be polled by any
/// executor.
#[must_use = "a call does nothing until it is awaited or waited for"]
pub struct Call {
    group: ChannelGroup,
    channel: Channel,
    deadline: Instant,
    stage: Stage,
    mailbox: Arc<CallMailbox>,
    /// Taken from the mailbox.
    taken: VecDeque<CallEvent>,
    /// The parts of the answer that have come.
    parts: Vec<Received>,
    /// The request's id, once it has one.
    id: u64,
    /// It waited for room.
    has_waited: bool,
    /// The task that awaits it is woken when something comes.
    is_announced: bool,
}

enum Stage {
    New(Post),
    /// There was no room: it waits, and the reactor knows of it. In a box, as most find room.
    Waits(Box<Sending>),
    Posted,
    Over,
}

/// The answer to a [`Call`]: a Response. Mostly it has one part, which this stands for.
#[derive(Debug)]
pub struct Answer {
    first: Received,
    rest: Vec<Received>,
}

/// Why a [`Call`] got no answer, by what may be done about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The peer received the request and refuses it: it answered by
    /// [`Request::refuse`](crate::Request::refuse). Asked again it may well do the same.
    #[error("the peer refuses: {why}")]
    Refused {
        /// What it says.
        why: String,
        /// The whole of its answer.
        answer: Box<Answer>,
    },
    /// The peer does not have the request and cannot have it: to ask again, or somebody else, never
    /// repeats what it has done.
    #[error(transparent)]
    NotSent(#[from] NotSent),
    /// The request was sent, and no answer came. The peer may have acted on it or not.
    #[error(transparent)]
    Unknown(#[from] Unanswered),
}

/// A request that was not sent, and what it said.
#[derive(Debug, thiserror::Error)]
#[error("not sent: {why}")]
pub struct NotSent {
    /// What was to be sent, for another channel.
    pub message: Message,
    /// Why it was not.
    pub why: WhyNotSent,
}

/// Why a request was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WhyNotSent {
    /// It was not accepted: with [`PostError::Full`] where there was no room until the deadline.
    #[error(transparent)]
    NotPosted(#[from] PostError),
    /// It was posted and came back: because its channel ended, or, with [`Reason::Withdrawn`], because the
    /// deadline came first.
    #[error(transparent)]
    Returned(#[from] Reason),
}

/// A request that was sent and not answered, or in part.
#[derive(Debug, thiserror::Error)]
#[error("sent and not answered: {why}")]
pub struct Unanswered {
    /// Why there is no answer, or no more of it.
    pub why: WhyUnanswered,
    /// The parts of an answer that have come: none, unless the peer split it with
    /// [`more`](crate::Post::more).
    pub parts: Vec<Received>,
}

/// Why a request that was sent was not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WhyUnanswered {
    /// The deadline came first. An answer that comes later is an
    /// [`Event::Response`](crate::Event::Response) in the group's inbox.
    #[error("the deadline has passed")]
    Late,
    /// The channel has ended.
    #[error("the channel has ended: {0}")]
    Lost(Reason),
    /// The engine has ended.
    #[error("the engine has ended")]
    EngineEnded,
}

type Outcome = Result<Answer, CallError>;

impl Answer {
    /// All its parts, in order: one, unless the peer split it with [`more`](crate::Post::more).
    pub fn parts(&self) -> impl Iterator<Item = &Received> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// Takes the content of its first part, mostly its only one.
    pub fn into_message(self) -> Message {
        self.first.into_message()
    }
}

impl Deref for Answer {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.first
    }
}

impl Call {
    pub(crate) fn new(
        group: ChannelGroup,
        channel: Channel,
        message: Message,
        deadline: Instant,
    ) -> Self {
        let mailbox = group.spare_mailboxes().take();
        Call {
            group,
            channel,
            deadline,
            stage: Stage::New(message.request(channel)),
            mailbox,
            taken: VecDeque::new(),
            parts: Vec::new(),
            id: 0,
            has_waited: false,
            is_announced: false,
        }
    }

    /// Waits in this thread, which makes the reactor's passes meanwhile if no other does. In a waker that an
    /// engine calls, this does not wait.
    ///
    /// # Errors
    ///
    /// [`CallError`], by what is known of the request.
    pub fn wait(mut self) -> Result<Answer, CallError> {
        if matches!(self.stage, Stage::New(_))
            && let Some(outcome) = self.begin()
        {
            return outcome;
        }
        let may_wait = !reactor_thread::is_here();
        if matches!(self.stage, Stage::Waits(_)) {
            // The reactor ends a wait for room at the deadline.
            let until = match may_wait {
                true => after(Instant::now(), FOREVER),
                false => Instant::now(),
            };
            let room = poll_fn(|context| self.poll_room(context));
            match blocking::wait_until(room, until) {
                Some(None) => {}
                Some(Some(outcome)) => return outcome,
                None => return self.give_up_waiting(None),
            }
        }
        drop(self.mailbox.leave()); // of the task that waited before
        let at_once = (!may_wait).then(Instant::now);
        let receiver = next_receiver();
        loop {
            let shared = Arc::clone(self.group.shared());
            let taken = shared.receive(receiver, &self.mailbox, &mut self.taken, at_once);
            if let Some(outcome) = self.handle(taken) {
                shared.note_received();
                return outcome;
            }
            if !may_wait {
                return self.unanswered(WhyUnanswered::Late);
            }
        }
    }

    /// Posts the request, if that was not done. Returns the outcome if there is one already.
    fn begin(&mut self) -> Option<Outcome> {
        // Posted from where it lies: one that is moved on right after it was made has to be waited for.
        let Stage::New(post) = &mut self.stage else {
            unreachable!("the caller has looked");
        };
        let line = CallLine::new(&self.mailbox);
        let posted = self.group.post_call(post, line, self.deadline);
        self.id = post.id();
        let Err(why) = posted else {
            self.stage = Stage::Posted;
            return None;
        };
        let Stage::New(post) = std::mem::replace(&mut self.stage, Stage::Over) else {
            unreachable!("it was that a moment ago");
        };
        if !matches!(why, PostError::Full(_)) {
            return Some(not_posted(post, why));
        }
        self.has_waited = true;
        self.stage = Stage::Waits(Box::new(self.group.send(post)));
        None
    }

    /// Goes on with what was taken. Returns the outcome once there is one.
    fn handle(&mut self, taken: Taken<crate::Ended>) -> Option<Outcome> {
        while let Some(event) = self.taken.pop_front() {
            let outcome = match event {
                CallEvent::Response(part) if part.has_more() => {
                    self.parts.push(part);
                    continue;
                }
                CallEvent::Response(last) => self.answer(last),
                CallEvent::Returned(returned) => Err(CallError::NotSent(NotSent {
                    why: WhyNotSent::Returned(returned.reason()),
                    message: returned.into_message(),
                })),
                CallEvent::Lost(reason) => self.unanswered(WhyUnanswered::Lost(reason)),
                CallEvent::TimedOut => {
                    let outcome = self.unanswered(WhyUnanswered::Late);
                    if self.has_waited {
                        // It may have been posted behind the look of the reactor at the queue.
                        self.abandon();
                    }
                    outcome
                }
            };
            self.stage = Stage::Over;
            return Some(outcome);
        }
        matches!(taken, Taken::Ended(_)).then(|| {
            self.stage = Stage::Over;
            self.unanswered(WhyUnanswered::EngineEnded)
        })
    }

    fn unanswered(&mut self, why: WhyUnanswered) -> Outcome {
        let parts = std::mem::take(&mut self.parts);
        Err(CallError::Unknown(Unanswered { why, parts }))
    }

    /// All of an answer is here. If it is a refusal, that is an error.
    fn answer(&mut self, last: Received) -> Outcome {
        let mut rest = std::mem::take(&mut self.parts);
        let first = if rest.is_empty() {
            last
        } else {
            rest.push(last);
            rest.remove(0)
        };
        let why = first.refusal().map(Cow::into_owned);
        let answer = Answer { first, rest };
        let Some(why) = why else {
            return Ok(answer);
        };
        let answer = Box::new(answer);
        Err(CallError::Refused { why, answer })
    }

    /// Takes what there is, or has the task woken when there is something.
    fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Taken<crate::Ended>> {
        // A task that was announced was woken because there is something, mostly.
        if std::mem::take(&mut self.is_announced)
            && let Some(taken) = self.mailbox.take_now(&mut self.taken)
        {
            return Poll::Ready(taken);
        }
        // Made, and the one before dropped, while no lock is held.
        let mut waker = Some(context.waker().clone());
        let polled = self.mailbox.poll_take(&mut self.taken, &mut waker);
        self.is_announced = polled.is_pending();
        polled
    }

    /// The wait for room goes on. Returns the outcome if the request will not be posted.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let Stage::Waits(sending) = &mut self.stage else {
            return Poll::Ready(None);
        };
        // Its time may be over, or its channel's.
        let mut waker = Some(context.waker().clone());
        let told = self.mailbox.poll_take(&mut self.taken, &mut waker);
        if told.is_pending() {
            match Pin::new(sending).poll(context) {
                Poll::Ready(Ok(_)) => {
                    self.stage = Stage::Posted;
                    return Poll::Ready(None);
                }
                Poll::Ready(Err(Refused { post, why })) => {
                    self.abandon();
                    return Poll::Ready(Some(not_posted(post, why)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        let why = match self.taken.pop_front() {
            Some(CallEvent::Lost(_)) => Some(PostError::ChannelClosed),
            Some(_) => None,
            None => Some(PostError::EngineEnded),
        };
        Poll::Ready(Some(self.give_up_waiting(why)))
    }

    /// Waits for room no more: for this reason, or for want of room.
    fn give_up_waiting(&mut self, why: Option<PostError>) -> Outcome {
        let Stage::Waits(sending) = std::mem::replace(&mut self.stage, Stage::Over) else {
            unreachable!("it waited a moment ago");
        };
        let (post, full) = sending.give_up();
        self.abandon();
        not_posted(post, why.unwrap_or(full))
    }

    /// Says to the reactor that nobody waits any more, and hands over what was not seen.
    fn abandon(&mut self) {
        let is_posted = matches!(self.stage, Stage::Posted);
        self.stage = Stage::Over;
        drop(self.mailbox.leave()); // the task that waited is not woken any more
        let parts = self.parts.drain(..).map(CallEvent::Response);
        let left = parts.chain(self.taken.drain(..)).collect();
        let abandoned = AbandonedCall {
            channel: self.channel,
            id: self.id,
            is_posted,
            left,
            mailbox: Arc::clone(&self.mailbox),
        };
        // An engine that has ended knows of no calls.
        let _ = self.group.submit(Submission::AbandonCall(abandoned));
    }
}

/// Longer than a program runs.
const FOREVER: std::time::Duration = std::time::Duration::from_secs(1 << 30);

fn not_posted(post: Post, why: PostError) -> Outcome {
    Err(CallError::NotSent(NotSent {
        message: post.into_message(),
        why: WhyNotSent::NotPosted(why),
    }))
}

impl Future for Call {
    type Output = Result<Answer, CallError>;

    /// # Panics
    ///
    /// Panics if it is polled after its end.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if matches!(this.stage, Stage::New(_))
            && let Some(outcome) = this.begin()
        {
            return Poll::Ready(outcome);
        }
        match this.poll_room(context) {
            Poll::Ready(None) => {}
            Poll::Ready(Some(outcome)) => return Poll::Ready(outcome),
            Poll::Pending => return Poll::Pending,
        }
        assert!(
            !matches!(this.stage, Stage::Over),
            "a future is not polled after its end"
        );
        loop {
            let Poll::Ready(taken) = this.poll_take(context) else {
                this.group.serve_calls();
                return Poll::Pending;
            };
            if let Some(outcome) = this.handle(taken) {
                this.group.shared().note_received();
                return Poll::Ready(outcome);
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if matches!(self.stage, Stage::Posted | Stage::Waits(_)) {
            self.abandon();
        }
        let taken = std::mem::take(&mut self.taken);
        if taken.is_empty() {
            let spare = self.group.spare_mailboxes();
            spare.give_back(&mut self.mailbox, taken);
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Call")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! What who calls shares with the reactor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use crate::between::mailbox::Mailbox;
use crate::between::seat::ReceiverId;
use crate::between::waiting::wake_all;
use crate::channel::Channel;
use crate::error::Ended;
use crate::event::{Event, Received, Returned};
use crate::reason::Reason;

/// What happens to a call.
#[derive(Debug)]
pub(crate) enum CallEvent {
    /// An answer, or a part of it.
    Response(Received),
    /// The request came back.
    Returned(Returned),
    /// The channel has ended.
    Lost(Reason),
    /// The time for it is over. The request was sent, or is not posted.
    TimedOut,
}

impl CallEvent {
    /// Whether nothing follows it.
    pub(crate) fn is_last(&self) -> bool {
        match self {
            CallEvent::Response(part) => !part.more,
            CallEvent::Returned(_) | CallEvent::Lost(_) | CallEvent::TimedOut => true,
        }
    }

    /// What a group's inbox is told in its place, where nobody waits for the call.
    pub(crate) fn into_event(self) -> Option<Event> {
        match self {
            CallEvent::Response(received) => Some(Event::Response(received)),
            CallEvent::Returned(returned) => Some(Event::Returned(returned)),
            CallEvent::Lost(_) | CallEvent::TimedOut => None,
        }
    }
}

pub(crate) type CallMailbox = Mailbox<CallEvent, Ended>;

/// A call for whose answer nobody waits any more.
pub(crate) struct AbandonedCall {
    pub(crate) channel: Channel,
    pub(crate) id: u64,
    /// What had come, and was not seen.
    pub(crate) left: VecDeque<CallEvent>,
    /// Where more may have come since.
    pub(crate) mailbox: Arc<CallMailbox>,
}

/// The reactor's end of a call. Whoever waits at the other end learns of it when this is dropped before its last
/// event.
pub(crate) struct CallLine(Option<Arc<CallMailbox>>);

impl CallLine {
    /// Nobody's.
    pub(super) const NONE: CallLine = CallLine(None);

    pub(crate) fn new(mailbox: &Arc<CallMailbox>) -> Self {
        CallLine(Some(Arc::clone(mailbox)))
    }

    /// Tells the caller. Returns its task, if it waits in one, to be woken.
    pub(crate) fn deliver(&self, event: CallEvent) -> Option<Waker> {
        let mailbox = self.0.as_ref()?;
        mailbox.deliver(&mut VecDeque::from([event]))
    }

    /// The same with what nothing follows.
    pub(crate) fn deliver_last(mut self, event: CallEvent) -> Option<Waker> {
        let task = self.deliver(event);
        self.0 = None;
        task
    }
}

impl Drop for CallLine {
    /// Where the call was abandoned, nobody waits any more. So somebody is woken only where the reactor is dropped
    /// with its calls, which the stand-in does.
    fn drop(&mut self) {
        if let Some(mailbox) = &self.0 {
            wake_all(mailbox.end(Ended::EngineFailed));
        }
    }
}

/// A number for a call that waits for the seat: groups have the smaller ones.
pub(crate) fn next_receiver() -> ReceiverId {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 63);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

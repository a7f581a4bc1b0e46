//! What who calls shares with the reactor.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use crate::between::mailbox::Mailbox;
use crate::between::seat::ReceiverId;
use crate::between::waiting::wake_all;
use crate::channel::Channel;
use crate::error::Ended;
use crate::event::{Event, Received, Returned};
use crate::reason::Reason;
use crate::sync::lock;

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
    /// Its request was posted, and is to come back if it was not sent.
    pub(crate) is_posted: bool,
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
        mailbox.deliver_one(event)
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

/// So many mailboxes of calls that are over are kept for others.
const SPARE_MOST: usize = 1024;

/// Mailboxes of calls that are over, so that a call takes no memory from the system.
#[derive(Default)]
pub(crate) struct SpareMailboxes(Mutex<Vec<Arc<CallMailbox>>>);

impl SpareMailboxes {
    pub(crate) fn take(&self) -> Arc<CallMailbox> {
        let spare = lock(&self.0).pop();
        spare.unwrap_or_else(|| Arc::new(CallMailbox::new()))
    }

    /// Keeps the mailbox of a call that is over, if nobody else has it. `taken` has the memory of its events, which is
    /// kept where it is for one: an answer may have had very many parts.
    pub(crate) fn give_back(&self, mailbox: &mut Arc<CallMailbox>, taken: VecDeque<CallEvent>) {
        if Arc::get_mut(mailbox).is_none() {
            return; // the reactor tells it something yet
        }
        mailbox.renew(if taken.capacity() > 1 {
            VecDeque::new()
        } else {
            taken
        });
        let mut spare = lock(&self.0);
        if spare.len() < SPARE_MOST {
            spare.push(Arc::clone(mailbox));
        }
    }
}

/// A number for a call that waits for the seat: groups have the smaller ones.
pub(crate) fn next_receiver() -> ReceiverId {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 63);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;
    use crate::between::mailbox::Taken;

    fn poll(mailbox: &CallMailbox, taken: &mut VecDeque<CallEvent>) -> Poll<Taken<Ended>> {
        mailbox.poll_take(taken, &mut Some(Waker::noop().clone()))
    }

    #[test]
    fn a_mailbox_is_used_again_once_nobody_else_has_it_and_as_a_new_one() {
        let spare = SpareMailboxes::default();
        let mut first = spare.take();
        let (line, mut taken) = (CallLine::new(&first), VecDeque::new());
        assert!(poll(&first, &mut taken).is_pending());
        spare.give_back(&mut first, VecDeque::new());
        assert!(
            !Arc::ptr_eq(&spare.take(), &first),
            "its call may be told something yet"
        );
        assert!(line.deliver_last(CallEvent::TimedOut).is_some());
        assert_eq!(poll(&first, &mut taken), Poll::Ready(Taken::Events));
        taken.clear();
        drop(CallLine::new(&first)); // as where the reactor fails
        assert_eq!(
            poll(&first, &mut taken),
            Poll::Ready(Taken::Ended(Ended::EngineFailed))
        );
        let capacity = taken.capacity();
        spare.give_back(&mut first, taken);
        let second = spare.take();
        assert!(Arc::ptr_eq(&second, &first));
        let mut taken = VecDeque::new();
        assert!(poll(&second, &mut taken).is_pending(), "it has not ended");
        second.deliver_one(CallEvent::TimedOut);
        assert_eq!(poll(&second, &mut taken), Poll::Ready(Taken::Events));
        assert_eq!(taken.capacity(), capacity, "the memory is that of before");
    }

    #[test]
    fn no_more_mailboxes_are_kept_than_is_said() {
        let spare = SpareMailboxes::default();
        let all = Vec::from_iter((0..2 * SPARE_MOST).map(|_| spare.take()));
        for (mut mailbox, parts) in all.into_iter().zip([1, 2, 1000].into_iter().cycle()) {
            spare.give_back(&mut mailbox, VecDeque::with_capacity(parts));
        }
        let kept = lock(&spare.0);
        assert_eq!(kept.len(), SPARE_MOST);
        let places = kept.iter().map(|mailbox| {
            let mut events = VecDeque::new();
            mailbox.deliver_one(CallEvent::TimedOut);
            mailbox.take_now(&mut events);
            events.capacity()
        });
        let each = size_of::<CallMailbox>() + 4 * size_of::<usize>(); // with two counts, and what allocators lose
        let bytes = places.sum::<usize>() * size_of::<CallEvent>()
            + kept.len() * each
            + kept.capacity() * size_of::<usize>();
        assert!(bytes <= 256 * 1024, "{bytes} bytes");
    }
}

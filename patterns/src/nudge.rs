//! Waking who receives, by a notification that is told from the application's own.

use std::sync::atomic::{AtomicUsize, Ordering};

use ampe::{ChannelGroup, Message};

/// Has the thread or task that receives from a group's inbox look at what has changed.
#[derive(Debug)]
pub(crate) struct Nudge {
    group: ChannelGroup,
    /// Notifications of ours that were not received yet. They are empty: where the application sends empty ones as
    /// well, it does not matter which of them is whose, as long as the number is right.
    waiting: AtomicUsize,
}

impl Nudge {
    pub(crate) fn new(group: ChannelGroup) -> Nudge {
        Nudge {
            group,
            waiting: AtomicUsize::new(0),
        }
    }

    /// Call it without a lock that a waker may want.
    pub(crate) fn nudge(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        if self.group.notify(self.group.message()).is_err() {
            // So many wait that nobody sleeps, or nobody receives any more.
            self.is_ours(&self.group.message());
        }
    }

    /// Whether a notification that was received is one of ours.
    pub(crate) fn is_ours(&self, message: &Message) -> bool {
        let is_empty = message.body().is_empty() && message.text_headers().as_bytes().is_empty();
        let take = |waiting: usize| waiting.checked_sub(1);
        is_empty
            && (self.waiting)
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
                .is_ok()
    }
}

//! What the handles of one group share with the reactor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::between::lines::Lines;
use crate::between::mailbox::Mailbox;
use crate::between::registry::{Census, Denied, GroupId, Registry};
use crate::channel::Channel;
use crate::delivery::Delivery;
use crate::error::{Ended, PostError};
#[cfg(test)]
use crate::event::Event;
use crate::sync::lock;
use crate::tls::Security;
use crate::traffic::Traffic;

use super::calls::SpareMailboxes;

/// Whether the stand-in serves the tasks of a group that call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    NotYet,
    Yes,
    /// The inbox is gone.
    NoMore,
}

/// What the handles of a group share with the reactor.
pub(crate) struct GroupShared {
    pub(crate) id: GroupId,
    /// The group's way from the reactor.
    pub(crate) mailbox: Arc<Mailbox<Delivery, Ended>>,
    /// Those who wait to post.
    pub(crate) lines: Lines,
    /// Whether the stand-in serves tasks that call, and may yet begin to.
    pub(super) calls_in_tasks: Mutex<Served>,
    /// That it does, or did, so that those who call need not lock.
    pub(super) has_served_calls: AtomicBool,
    pub(crate) spare_mailboxes: SpareMailboxes,
    /// Written and read under the queue's lock: nothing is posted behind the group's close.
    is_closed: AtomicBool,
    /// Bytes of the inbound budget that other groups cannot take.
    pub(crate) inbound_reserve: usize,
    /// The same of the outbound budget.
    pub(crate) outbound_reserve: usize,
    /// How its connections to and from `tls://` addresses are secured.
    pub(crate) security: Option<Security>,
    /// The inbox is gone, and left what is still to come to the reactor.
    is_abandoned: AtomicBool,
    /// What became of the messages of its channels that are forgotten. Here, since the registry forgets the
    /// group, too. Written and read under the queue's lock.
    forgotten: Mutex<Traffic>,
}

impl GroupShared {
    pub(crate) fn new(id: GroupId, inbound_reserve: usize, outbound_reserve: usize) -> Self {
        GroupShared {
            id,
            mailbox: Arc::new(Mailbox::new()),
            lines: Lines::new(),
            calls_in_tasks: Mutex::new(Served::NotYet),
            has_served_calls: AtomicBool::new(false),
            spare_mailboxes: SpareMailboxes::default(),
            is_closed: AtomicBool::new(false),
            inbound_reserve,
            outbound_reserve,
            security: None,
            is_abandoned: AtomicBool::new(false),
            forgotten: Mutex::default(),
        }
    }

    /// The same with what secures its connections.
    #[cfg(any(feature = "tls", test))]
    pub(crate) fn secured_by(self, security: Option<Security>) -> Self {
        GroupShared { security, ..self }
    }

    /// Has events delivered, as the reactor does.
    #[cfg(test)]
    pub(crate) fn deliver(&self, events: impl IntoIterator<Item = Event>) {
        let mut deliveries = events.into_iter().map(Delivery::Event).collect();
        self.mailbox.deliver(&mut deliveries);
    }

    /// Has the registry forget a channel of this group, and counts what became of its messages.
    pub(crate) fn forget(&self, registry: &mut Registry, channel: Channel) {
        lock(&self.forgotten).add(registry.forget(channel));
    }

    /// Counts its channels, also once it has ended.
    pub(crate) fn census(&self, registry: &Registry) -> Census {
        let mut census = registry.census(Some(self.id));
        census.traffic.add(*lock(&self.forgotten));
        census
    }

    /// Closes the group to posts, under the queue's lock, and tells the tasks that wait to post.
    pub(crate) fn close(&self, registry: &mut Registry) {
        self.is_closed.store(true, Ordering::Relaxed);
        registry.tell_group(self.id);
    }

    /// Leaves what is still to come to the reactor. Whoever calls this takes what is there behind it,
    /// and the reactor looks behind each delivery: one of them finds it.
    pub(crate) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Release);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Acquire)
    }

    pub(super) fn check_open(&self) -> Result<(), PostError> {
        Ok(self.admits()?)
    }

    /// The same for a post.
    pub(super) fn admits(&self) -> Result<(), Denied> {
        match self.is_closed.load(Ordering::Relaxed) {
            true => Err(Denied::GroupClosed),
            false => Ok(()),
        }
    }
}

//! What all handles of an engine share with its reactor.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Instant;

use crate::between::flushing::{FlushWait, Flushed};
use crate::between::key::GroupPlace;
use crate::between::queue::Queue;
use crate::between::registry::{Credit, Registry};
use crate::between::seat::NOBODY;
use crate::between::waiting::RoomWait;
use crate::between::waiting::wake_all;
use crate::between::wake::Wake;
use crate::channel::Channel;
use crate::delivery::Delivery;
use crate::error::{Ended, FlushError, PostError};
use crate::event::{AnswerBye, Decide, Event, Verdict};
use crate::options::Options;
use crate::storage::{Creditor, Pool, SharedCreditor};
use crate::sync::{Mutex, lock};

use super::batch::Batch;
use super::counters::Counters;
use super::group_shared::GroupShared;
use super::reactor::Seat;
use super::submission::Submission;

/// The queue to the reactor, the pool, and what is said once for the engine.
pub(crate) struct Shared {
    pub(crate) queue: Queue<Batch, Ended>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) options: Options,
    pub(crate) counters: Counters,
    /// Where the reactor is while no thread makes a pass.
    pub(crate) seat: Arc<Seat>,
    /// Every group that was ever opened and is still held by someone: a reactor that fails ends them
    /// all, whether it had heard of them or not.
    groups: Mutex<Vec<Weak<GroupShared>>>,
    /// Who wants to know of the end of a simulated engine.
    #[cfg(any(test, feature = "testing"))]
    at_end: Mutex<Vec<AtEnd>>,
}

#[cfg(any(test, feature = "testing"))]
type AtEnd = Box<dyn FnOnce() + Send>;

impl Shared {
    /// What an engine's handles share with a reactor that each waker made by `wake` wakes.
    pub(crate) fn new(options: Options, wake: impl Fn(&Arc<Seat>) -> Box<dyn Wake>) -> Arc<Shared> {
        Shared::over(Registry::new(Credit::of(&options)), options, wake)
    }

    /// The same with numbers that rest for another while than an engine's.
    #[cfg(test)]
    pub(crate) fn with_quarantine(
        options: Options,
        quarantine: usize,
        wake: impl Fn(&Arc<Seat>) -> Box<dyn Wake>,
    ) -> Arc<Shared> {
        let registry = Registry::with_quarantine(Credit::of(&options), quarantine);
        Shared::over(registry, options, wake)
    }

    fn over(
        registry: Registry,
        options: Options,
        wake: impl Fn(&Arc<Seat>) -> Box<dyn Wake>,
    ) -> Arc<Shared> {
        let seat = Arc::new(Seat::new());
        Arc::new(Shared {
            pool: Arc::new(Pool::new(options.pool_bytes, wake(&seat))),
            queue: Queue::new(registry, wake(&seat)),
            seat,
            options,
            counters: Counters::default(),
            groups: Mutex::default(),
            #[cfg(any(test, feature = "testing"))]
            at_end: Mutex::default(),
        })
    }

    /// Opens a group: the reactor will hear of it, or has ended.
    pub(crate) fn open_group(&self, group: &Arc<GroupShared>) -> Result<(), Ended> {
        // Remembered first: a reactor that ends from here on ends the group as well.
        let mut groups = lock(&self.groups);
        if groups.len() == groups.capacity() {
            groups.retain(|group| group.strong_count() > 0);
        }
        groups.push(Arc::downgrade(group));
        drop(groups);
        let submitted = self.queue.submit(|registry, items| {
            let place = registry.open_group(group.id, group.outbound_reserve);
            let group = Arc::clone(group);
            items.push(Submission::OpenGroup { group, place });
        });
        submitted.inspect_err(|&ended| {
            group.mailbox.end(ended); // no task waits yet
        })
    }

    /// How many groups are remembered.
    #[cfg(test)]
    pub(crate) fn groups(&self) -> usize {
        lock(&self.groups).len()
    }

    /// The end of the reactor, however it came about: refuses all that follows, and ends every group
    /// that has not ended, with all who wait for one.
    pub(crate) fn end(&self, reason: Ended) {
        drop(self.queue.end(reason));
        let groups = std::mem::take(&mut *lock(&self.groups));
        for group in groups.iter().filter_map(Weak::upgrade) {
            self.queue.tell(group.mailbox.end(reason));
            self.queue.tell(group.lines.end_all());
            self.drop_abandoned(&group);
        }
        self.queue.wake_tasks();
        self.pool.close();
        #[cfg(any(test, feature = "testing"))]
        for tell in std::mem::take(&mut *lock(&self.at_end)) {
            tell();
        }
    }

    /// Has `tell` called when a simulated engine has ended, or at once.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn at_end(&self, tell: AtEnd) {
        match self.queue.submit(|_, _| ()) {
            Ok(()) => lock(&self.at_end).push(tell),
            Err(_) => tell(),
        }
    }

    /// Drops what was delivered to a group whose inbox is gone and could not wait for it.
    pub(crate) fn drop_abandoned(&self, group: &GroupShared) {
        if !group.is_abandoned() {
            return;
        }
        let mut left = VecDeque::new();
        group.mailbox.take_more(&mut left);
        for delivery in left {
            if let Delivery::Event(Event::Closed(closed)) = &delivery {
                let channel = closed.channel();
                self.queue
                    .with_registry(|registry| group.forget(registry, channel));
            }
        }
    }

    /// Whether a channel of the group has room for any message. If not, the task that asks is woken
    /// when there may be some, or when nothing can be posted there any more.
    pub(crate) fn poll_room(
        &self,
        group: &GroupShared,
        channel: Channel,
        task: &mut Option<RoomWait>,
        waker: &mut Option<Waker>,
    ) -> Poll<Result<(), PostError>> {
        let polled = self.queue.submit(|registry, _| {
            group.check_open()?;
            let polled = registry.poll_room(channel, group.id, task, waker);
            polled.map_err(PostError::from)
        });
        let polled = polled.unwrap_or_else(|ended| Poll::Ready(Err(ended.into())));
        self.stand_in_for_task(&polled);
        polled
    }

    /// Whether anything may be posted to a channel, as far as that does not depend on room.
    pub(crate) fn check_open(
        &self,
        group: &GroupShared,
        channel: Channel,
    ) -> Result<(), PostError> {
        let checked = self.queue.submit(|registry, _| {
            group.check_open()?;
            registry.check_open(channel, group.id)?;
            Ok(())
        });
        checked.map_err(PostError::from)?
    }

    /// Whether all was sent that had been posted to a channel when this was asked first. If that is
    /// not certain yet, the task that asks is woken when it is.
    pub(crate) fn poll_flush(
        &self,
        group: &GroupShared,
        channel: Channel,
        task: &mut Option<FlushWait>,
        waker: &mut Option<Waker>,
    ) -> Poll<Result<Flushed, FlushError>> {
        let polled = self
            .queue
            .submit(|registry, _| registry.poll_flush(channel, group.id, task, waker));
        if let Ok(polled) = polled {
            self.stand_in_for_task(&polled);
            return polled.map(Ok);
        }
        let outcome = self
            .queue
            .with_registry(|registry| registry.flush_outcome(channel, group.id, *task));
        Poll::Ready(outcome.ok_or(FlushError::EngineEnded))
    }

    /// A task that waits makes no passes: the stand-in does.
    fn stand_in_for_task<T>(&self, polled: &Poll<T>) {
        if polled.is_pending() {
            self.seat.call(NOBODY);
        }
    }

    /// Closes a group, and answers the goodbyes that its application has not received: those in
    /// `taken`, to which all is added that was delivered by now.
    pub(crate) fn close_group(
        &self,
        group: &GroupShared,
        deadline: Instant,
        taken: &mut VecDeque<Delivery>,
    ) {
        let close = Submission::CloseGroup {
            group: group.id,
            deadline,
        };
        // An inbox may hold very many events: they are looked through before the lock is taken, under
        // which the few are left that come meanwhile.
        let mut seen = 0;
        for _ in 0..LOOKS_BEFORE_CLOSE {
            group.mailbox.take_more(taken);
            if seen == taken.len() {
                break;
            }
            self.answer_goodbyes(taken.range(seen..).filter_map(Delivery::event));
            seen = taken.len();
        }
        // An engine that has ended has closed this group.
        let _ = self.queue.submit(|registry, items| {
            group.mailbox.take_more(taken);
            for event in taken.range(seen..).filter_map(Delivery::event) {
                if let Event::Bye(bye) = event {
                    // Refused only where the channel has ended or was answered.
                    let _ = self.admit_answer(registry, items, bye.channel(), bye.id());
                }
            }
            group.close(registry);
            items.push(close);
        });
        wake_all(group.lines.end_all());
    }
}

/// How often a closing inbox is looked through for goodbyes, as long as events come, before it is
/// closed to them.
const LOOKS_BEFORE_CLOSE: usize = 8;

impl Credit {
    fn of(options: &Options) -> Credit {
        Credit {
            channel: options.outbound_bytes_per_channel,
            engine: options.outbound_bytes,
        }
    }
}

/// Where messages give back what they hold that were returned to a group.
struct GroupCreditor {
    shared: Arc<Shared>,
    group: GroupPlace,
}

impl Shared {
    pub(crate) fn creditor(self: &Arc<Self>, group: GroupPlace) -> SharedCreditor {
        let shared = Arc::clone(self);
        GroupCreditor { shared, group }.shared()
    }
}

impl Creditor for GroupCreditor {
    fn release(&self, cost: usize) {
        let queue = &self.shared.queue;
        let wake = queue.with_registry(|registry| {
            registry.release_group(self.group, cost);
            registry.room_is_wanted()
        });
        if wake {
            queue.wake();
        }
    }

    fn group(&self) -> GroupPlace {
        self.group
    }
}

impl AnswerBye for Shared {
    fn answer_bye(&self, channel: Channel, id: u64) {
        // Refused only where nothing is owed any more.
        let _ = self.post_answer(channel, id);
    }
}

impl Decide for Shared {
    fn decide(&self, verdict: Verdict) {
        // An engine that has ended has ended its connections.
        let _ = self
            .queue
            .submit(|_, batch| batch.push(Submission::Verdict(verdict)));
    }
}

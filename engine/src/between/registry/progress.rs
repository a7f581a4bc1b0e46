//! What has become of a channel's messages so far, and who waits for it.

use std::task::{Poll, Waker};

use crate::between::decision::Decision;
use crate::between::flushing::{FlushWait, Flushed};
use crate::channel::Channel;
use crate::sync::{Instant, decide};

use super::{GroupId, Registry};

/// The account of a channel as it stands. What is posted and queued is so at any moment; the rest is
/// as the reactor has reported it last.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    pub(crate) posted: u64,
    /// Posts that were refused for want of budget.
    pub(crate) refused: u64,
    pub(crate) returned: u64,
    /// Those of the returned that the application asked for: others behind them may yet be sent.
    pub(crate) withdrawn: u64,
    pub(crate) report: Report,
}

/// What the reactor says of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Report {
    pub(crate) sent: u64,
    pub(crate) confirmed: u64,
    pub(crate) received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// When the first of those came to the reactor that are still to be sent.
    pub(crate) oldest: Option<Instant>,
}

impl Progress {
    /// How many messages are neither sent nor returned, as far as is known here.
    pub(crate) fn queued(&self) -> u64 {
        self.posted - self.report.sent - self.returned
    }

    /// What has become of the first `target` messages, once that is certain. Messages are sent in
    /// their order, and when some come back all do that were not sent, but for those that were withdrawn:
    /// which of the others were posted before them is not known here, so all are waited for.
    fn outcome(&self, target: u64) -> Option<Flushed> {
        let sent = self.report.sent;
        if sent >= target || sent + self.withdrawn >= self.posted {
            Some(Flushed::Sent)
        } else if self.returned > self.withdrawn {
            Some(Flushed::Returned(target - sent))
        } else {
            None
        }
    }
}

impl Registry {
    /// Takes what the reactor says of a channel.
    pub(crate) fn report(&mut self, channel: Channel, report: Report) {
        if let Some(slot) = self.slot(channel) {
            slot.progress.report = report;
            self.tell_flushed(channel);
        }
    }

    /// The same when all was returned that had not been sent, so many messages in all.
    pub(crate) fn report_returned(&mut self, channel: Channel, report: Report, returned: u64) {
        if let Some(slot) = self.slot(channel) {
            slot.progress.returned = returned;
        }
        self.report(channel, report);
    }

    /// The same when a message was returned that had been withdrawn, so many in all.
    pub(crate) fn report_withdrawn(&mut self, channel: Channel, report: Report, returned: u64) {
        if let Some(slot) = self.slot(channel) {
            slot.progress.withdrawn += 1;
        }
        self.report_returned(channel, report, returned);
    }

    fn tell_flushed(&mut self, channel: Channel) {
        let progress = self.slots[usize::from(channel.number())].progress;
        if decide(Decision::SendingWakesTasks, true) {
            self.flushing
                .tell(channel, |target| progress.outcome(target));
        }
    }

    /// The account of a channel of this group.
    pub(crate) fn progress(&mut self, channel: Channel, group: GroupId) -> Option<Progress> {
        let known = self.progress_and_charge(channel, group);
        known.map(|(progress, _)| progress)
    }

    /// The same, and the bytes that are charged for messages of it that are neither sent nor returned.
    pub(crate) fn progress_and_charge(
        &mut self,
        channel: Channel,
        group: GroupId,
    ) -> Option<(Progress, usize)> {
        let slot = self.slot(channel).filter(|slot| slot.group == group)?;
        Some((slot.progress, slot.used))
    }

    /// Whether all was sent that was posted to a channel when this was asked first. If that is not
    /// certain yet, the task is woken when it is; its waker is replaced, and the one before left in
    /// its place.
    pub(crate) fn poll_flush(
        &mut self,
        channel: Channel,
        group: GroupId,
        task: &mut Option<FlushWait>,
        waker: &mut Option<Waker>,
    ) -> Poll<Flushed> {
        if let Some(outcome) = self.flush_outcome(channel, group, *task) {
            return Poll::Ready(outcome);
        }
        let progress = self.slots[usize::from(channel.number())].progress;
        // What was withdrawn before is not waited for.
        let target = progress.posted - progress.withdrawn;
        let wait = *task.get_or_insert_with(|| self.flushing.begin(target));
        self.flushing.wait(channel, wait, waker);
        Poll::Pending
    }

    /// How a wait for sending has ended, or would end if it began now.
    pub(crate) fn flush_outcome(
        &mut self,
        channel: Channel,
        group: GroupId,
        task: Option<FlushWait>,
    ) -> Option<Flushed> {
        if let Some(outcome) = task.and_then(|wait| self.flushing.take_outcome(wait)) {
            return Some(outcome);
        }
        let Some(progress) = self.progress(channel, group) else {
            return Some(Flushed::Gone);
        };
        let posted = progress.posted - progress.withdrawn;
        let target = task.map_or(posted, |wait| wait.aim);
        progress
            .outcome(target)
            .filter(|_| decide(Decision::TaskFindsAllSent, true))
    }

    /// Has a task wait for sending no more, and hands back its waker if it did.
    #[must_use = "a waker is dropped when the lock is free"]
    pub(crate) fn leave_flush(&mut self, channel: Channel, wait: FlushWait) -> Option<Waker> {
        self.flushing.leave(channel, wait)
    }

    /// How many tasks wait for sending, or have not looked how it ended.
    #[cfg(test)]
    pub(crate) fn flushing(&self) -> usize {
        self.flushing.len()
    }
}

//! Signals that were encoded before they are admitted.

use crate::between::registry::{Denied, GroupId, Registry, Role};
use crate::channel::Channel;
use crate::error::PostError;
use crate::handles::batch::{Batch, FrameCounts, LONG};
use crate::handles::{GroupShared, Shared};
use crate::signal_buffer::{SignalBuffer, SignalRun};
use crate::storage::{queued_cost_of, queued_cost_of_many};

impl Shared {
    /// Posts signals in order, up to the first that is refused. Accepted ones are removed from the buffer. `note` is told of
    /// those that were accepted under one hold of the lock: the id of the first and how many they are, each with the next
    /// id.
    pub(crate) fn post_signals(
        &self,
        group: &GroupShared,
        channel: Channel,
        buffer: &mut SignalBuffer,
        mut note: impl FnMut(u64, u32),
    ) -> Result<(), PostError> {
        while let Some(run) = buffer.first_mut() {
            let submitted = self.submit_posts(|registry, batch| {
                group.admits()?;
                admit_run(registry, batch, group.id, channel, run)
            });
            let (first_id, count) = submitted??;
            note(first_id, count);
            buffer.posted(count);
        }
        Ok(())
    }
}

/// Admits as many of the first signals as there is room for, and at least one, and puts them into the batch. Returns the id
/// of the first and how many they are.
fn admit_run(
    registry: &mut Registry,
    batch: &mut Batch,
    group: GroupId,
    channel: Channel,
    run: &mut SignalRun,
) -> Result<(u64, u32), Denied> {
    let (messages, bytes) = charge_run(registry, group, channel, run)?;
    let first_id = registry.next_message_ids(messages);
    run.number(bytes, channel.number(), first_id);
    let counts = FrameCounts {
        messages,
        requests: 0,
    };
    // What is handed over is not copied, but its memory has to be filled for that.
    if run.is_whole(bytes) && bytes >= LONG {
        let other = batch.spare.take();
        batch.push_whole(channel, run.take_whole(other), counts);
    } else {
        batch.push_copy(channel, &run.unposted()[..bytes], counts);
        run.pass(messages, bytes);
    }
    Ok((first_id, messages))
}

/// Charges as many of the first signals as there is room for, and returns how many these are and how many bytes.
fn charge_run(
    registry: &mut Registry,
    group: GroupId,
    channel: Channel,
    run: &SignalRun,
) -> Result<(u32, usize), Denied> {
    let mut lens = run.lens();
    let first = lens.next().expect("no run is empty");
    registry.admit(channel, group, Role::Data, queued_cost_of(first), None)?;
    let (mut messages, mut bytes) = (1, first);
    let Some(mut others) = registry.begin_run(channel) else {
        return Ok((messages, bytes));
    };
    let (count, len) = (run.left() - 1, run.unposted().len() - first);
    if others.take_many(count, queued_cost_of_many(count, len)) {
        (messages, bytes) = (messages + count, bytes + len);
    } else {
        for len in lens.take_while(|&len| others.take(queued_cost_of(len))) {
            (messages, bytes) = (messages + 1, bytes + len);
        }
    }
    registry.end_run(others);
    Ok((messages, bytes))
}

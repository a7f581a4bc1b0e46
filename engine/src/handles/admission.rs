//! Admission: checks a post, charges it, and puts it into the batch.

mod buffered;

use std::cell::Cell;
use std::collections::VecDeque;
use std::iter::Peekable;
use std::mem;
use std::time::Instant;

use crate::between::registry::{Denied, GroupId, Holding, Kind, Registry, Run};
use crate::between::seat::NOBODY;
use crate::channel::Channel;
use crate::error::{Budget, Ended, PostError};
use crate::event::Event;
use crate::message::Message;
use crate::post::{Post, Posted, Refused, Target};
use crate::storage::{MESSAGE_COST_MAX, keep_spare};
use crate::wire::{MAX_ABORT_LEN, OpCode};

use super::batch::{Batch, Place};
use super::calls::CallLine;
use super::group_shared::GroupShared;
use super::reactor::{HAS_FINE_CLOCK, this_sitter};
use super::shared::Shared;
use super::shared_frame::SharedFrame;
use super::submission::Submission;

/// So many posts are admitted in one hold of the lock at most: the reactor and every other poster
/// wait for it.
pub(crate) const CHUNK: usize = 128;

/// And none behind so many bytes that are to be copied.
const CHUNK_BYTES: usize = 128 * 1024;

impl Shared {
    /// Posts for a group. Everything that can be known to be wrong is refused here, with the post.
    pub(crate) fn post(&self, group: &GroupShared, mut post: Post) -> Result<Posted, Refused> {
        if let Err(why) = self.prepare(&mut post) {
            return Err(Refused { post, why });
        }
        let (mut channel, mut id) = (Channel::NONE, 0);
        let submitted = self.submit_posts(|registry, batch| {
            group.admits()?;
            admit_one(registry, batch, group.id, &mut post, &mut channel, &mut id)
        });
        let why = match submitted {
            Ok(Ok(())) => {
                leave_storage(&mut post.message);
                return Ok(Posted { channel, id });
            }
            Ok(Err(why)) => why.into(),
            Err(ended) => ended.into(),
        };
        Err(Refused { post, why })
    }

    /// Posts a request whose answer goes to who called. Where there is no room it has the call begin all the
    /// same, so that it is given up in time. The post stays as it is then, and gets its id in any case.
    pub(crate) fn post_call(
        &self,
        group: &GroupShared,
        post: &mut Post,
        line: CallLine,
        deadline: Instant,
    ) -> Result<(), PostError> {
        self.prepare(post)?;
        let submitted = self.submit_posts(|registry, batch| {
            group.admits()?;
            post.message_id = id_for(registry, post);
            let (mut channel, mut id) = (Channel::NONE, post.message_id);
            let admitted = admit_one(registry, batch, group.id, post, &mut channel, &mut id);
            post.message_id = id; // also where a large one was taken out
            let waits = matches!(admitted, Err(Denied::ChannelFull | Denied::EngineFull));
            if admitted.is_ok() || waits {
                let call = batch.push_call(admitted.is_ok());
                (call.channel, call.id) = (channel, id);
                (call.line, call.deadline) = (line, Some(deadline));
            }
            admitted
        });
        match submitted {
            Ok(Ok(())) => {
                leave_storage(&mut post.message);
                Ok(())
            }
            Ok(Err(why)) => Err(why.into()),
            Err(ended) => Err(ended.into()),
        }
    }

    /// Posts many in order, up to the first that is refused. Accepted posts are removed from the front
    /// of `posts`. A call costs what it accepts and one chunk more, however long the queue is.
    pub(crate) fn post_many(
        &self,
        group: &GroupShared,
        posts: &mut VecDeque<Post>,
        posted: &mut Vec<Posted>,
    ) -> Result<(), PostError> {
        loop {
            self.post_chunk(group, posts, posted)?;
            if posts.is_empty() {
                return Ok(());
            }
        }
    }

    /// Posts the first [`CHUNK`] of many under one lock.
    fn post_chunk(
        &self,
        group: &GroupShared,
        posts: &mut VecDeque<Post>,
        posted: &mut Vec<Posted>,
    ) -> Result<(), PostError> {
        let (mut prepared, mut bytes, mut refused) = (0, 0, None);
        for post in posts.iter_mut().take(CHUNK) {
            if bytes >= CHUNK_BYTES {
                break;
            }
            match self.prepare(post) {
                Ok(()) => prepared += 1,
                Err(why) => {
                    refused = Some(why);
                    break;
                }
            }
            if post.travels_by_value() {
                bytes += post.message.frame_len();
            }
        }
        let mut admitted = 0;
        let admit_all = |registry: &mut Registry, batch: &mut Batch| -> Result<(), Denied> {
            group.admits()?;
            let mut left = posts.iter_mut().take(prepared).peekable();
            while let Some(post) = left.next() {
                let (mut channel, mut id) = (Channel::NONE, 0);
                admit_one(registry, batch, group.id, post, &mut channel, &mut id)?;
                posted.push(Posted { channel, id });
                admitted += 1 + admit_run(registry, batch, channel, &mut left, posted);
            }
            Ok(())
        };
        let submitted = self.submit_posts(admit_all);
        for post in posts.iter().take(admitted) {
            post.message.release_shared_inbound(); // before the pool is locked
        }
        // Those that were posted by value have left their storage.
        let spent = posts.drain(..admitted);
        let storages = spent.map(|post| post.message.into_storage());
        self.pool.give_back_all(storages);
        match submitted {
            Ok(Ok(())) => refused.map_or(Ok(()), Err),
            Ok(Err(why)) => Err(why.into()),
            Err(ended) => Err(ended.into()),
        }
    }

    /// Submits, and has what was posted written: by this thread, if nobody sits and it has received and this is its
    /// first post since then, or [plenty](super::batch::PLENTY) was posted; else by the next pass.
    fn submit_posts<R>(
        &self,
        submit: impl FnOnce(&mut Registry, &mut Batch) -> R,
    ) -> Result<R, Ended> {
        let has_received = self.take_received();
        let (is_plenty, mut has_tried) = (Cell::new(false), false);
        let submit = |registry: &mut Registry, batch: &mut Batch| {
            let before = batch.bytes();
            let result = submit(registry, batch);
            is_plenty.set(batch.has_plenty(before));
            result
        };
        // Who posts plenty mostly posts more at once, for which the stand-in need not come.
        let write = || {
            let is_expected = has_received || HAS_FINE_CLOCK;
            self.write_posted(if is_expected { this_sitter() } else { NOBODY })
        };
        let result = self.queue.submit_and(submit, |waker| {
            has_tried = has_received || is_plenty.get();
            if !has_tried || !write() {
                waker.wake();
            }
        });
        if is_plenty.get() && !has_tried {
            write();
        }
        result
    }

    /// Checks what needs no lock, makes the message one of this engine, and writes the address
    /// header of a post that opens a channel.
    fn prepare(&self, post: &mut Post) -> Result<(), PostError> {
        if post.op_code == OpCode::Response && post.message_id == 0 {
            return Err(PostError::ResponseWithoutId);
        }
        if post.more && !post.op_code.is_regular() {
            return Err(PostError::InvalidMore);
        }
        let len = post.message.content_len();
        match post.op_code {
            OpCode::ByeSignal if len > MAX_ABORT_LEN => {
                return Err(PostError::AbortTooLong { len });
            }
            // Without a charge, which must not be settled under the lock: a second abort is dropped there.
            OpCode::ByeSignal => {
                post.message = post.message.to_uncharged(&self.pool);
                return Ok(());
            }
            _ => {}
        }
        if !post.travels_by_value() || post.message.is_foreign_to(&self.pool) {
            post.message.adopt(&self.pool);
        }
        post.write_address_header()
    }

    /// Answers a ByeRequest by a ByeResponse without content.
    pub(crate) fn post_answer(&self, channel: Channel, id: u64) -> Result<(), PostError> {
        let submitted = self
            .queue
            .submit(|registry, batch| self.admit_answer(registry, batch, channel, id));
        submitted
            .map_err(PostError::from)
            .and_then(|admitted| admitted)
    }

    /// Answers those of the events that are goodbyes.
    pub(super) fn answer_goodbyes<'a>(&self, events: impl Iterator<Item = &'a Event>) {
        let is_bye = |event: &'a Event| match event {
            Event::Bye(bye) => Some(bye),
            _ => None,
        };
        let mut byes = events.filter_map(is_bye).peekable();
        while byes.peek().is_some() {
            let submitted = self.queue.submit(|registry, batch| {
                for bye in byes.by_ref().take(CHUNK) {
                    // Refused only where the channel has ended or was answered.
                    let _ = self.admit_answer(registry, batch, bye.channel(), bye.id());
                }
            });
            if submitted.is_err() {
                return; // the engine has ended: nobody is left to answer
            }
        }
    }

    pub(super) fn admit_answer(
        &self,
        registry: &mut Registry,
        batch: &mut Batch,
        channel: Channel,
        id: u64,
    ) -> Result<(), PostError> {
        let group = registry.group_of(channel).ok_or(PostError::ChannelClosed)?;
        let mut post = Post::to(channel, OpCode::ByeResponse, id, Message::new(&self.pool));
        let (mut to, mut posted) = (Channel::NONE, 0);
        admit_one(registry, batch, group, &mut post, &mut to, &mut posted)?;
        Ok(())
    }
}

/// Admits those that follow to the channel that the post before went to, as long as nothing but their cost has to
/// be looked at. Returns how many that were.
fn admit_run<'a>(
    registry: &mut Registry,
    batch: &mut Batch,
    channel: Channel,
    left: &mut Peekable<impl Iterator<Item = &'a mut Post>>,
    posted: &mut Vec<Posted>,
) -> usize {
    let Some(mut run) = registry.begin_run(channel) else {
        return 0;
    };
    let (mut place, mut count, mut bytes): (Option<Place<'_>>, usize, usize) = (None, 0, 0);
    while let Some(post) = left.next_if(|post| takes(&mut run, post)) {
        let id = id_for(registry, post);
        let header = post.header(channel, id);
        let len = header.frame_len();
        let mut here = match place.take() {
            Some(place) if place.has_room(len) => place,
            _ => batch.frames_for(channel, len),
        };
        here.push(&header, post.message.content());
        place = Some(here);
        posted.push(Posted { channel, id });
        count += 1;
        bytes += len;
    }
    batch.count(count, bytes);
    registry.end_run(run);
    count
}

/// Whether a run takes a post, which has to be small, and to its channel.
#[inline]
fn takes(run: &mut Run, post: &Post) -> bool {
    post.travels_by_value()
        && post.channel() == Some(run.channel())
        && !post.message.storage().is_held()
        && run.take(post.cost())
}

/// The id that a post goes by: its own, or the engine's next.
#[inline]
fn id_for(registry: &mut Registry, post: &Post) -> u64 {
    match post.message_id {
        0 => registry.next_message_id(),
        id => id,
    }
}

/// Admits a post, puts it into the batch, and says where it goes and, if it was admitted, which id it has. What is left
/// is the post as it was if it was refused, and else for the caller to drop when the lock is free: where it was posted
/// by value, with its message's storage.
///
/// The two are written one by one to where they are read, and the result is one byte: a [`Posted`] among other
/// outcomes is put together in parts and moved on as a whole, which has to be waited for.
#[inline]
fn admit_one(
    registry: &mut Registry,
    batch: &mut Batch,
    group: GroupId,
    post: &mut Post,
    channel: &mut Channel,
    id: &mut u64,
) -> Result<(), Denied> {
    let cost = post.cost();
    assert!(
        cost <= MESSAGE_COST_MAX,
        "no message costs more than the largest"
    );
    let held = post.message.storage().held();
    let held = held.map(|(group, cost)| Holding { group, cost });
    *channel = match post.target {
        Target::Channel(channel) => channel,
        Target::New(_) if post.op_code == OpCode::WelcomeRequest => registry
            .open(group, Kind::Listener)
            .ok_or(Denied::NoChannelNumber)?,
        Target::New(_) => registry
            .open(group, Kind::Connection)
            .ok_or(Denied::NoChannelNumber)?,
    };
    let to = *channel;
    let travels = !matches!(post.op_code, OpCode::WelcomeRequest | OpCode::ByeSignal);
    if travels {
        let admitted = registry.admit(to, group, post.role(), cost, held);
        if let Err(denied) = admitted {
            assert!(
                matches!(post.target, Target::Channel(_)),
                "a new channel's reserve takes its hello"
            );
            return Err(denied);
        }
    } else if post.op_code == OpCode::ByeSignal {
        registry.admit(to, group, post.role(), 0, None)?;
    }
    *id = id_for(registry, post);
    if travels
        && held.is_some()
        && let Some(hold) = post.message.storage_mut().take_hold()
    {
        hold.pass_on();
    }
    if post.travels_by_value() {
        batch.push_frame(to, &post.header(to, *id), post.message.content());
        return Ok(());
    }
    let charged = if travels { cost } else { 0 };
    hand_over(
        registry,
        batch,
        group,
        post,
        Posted {
            channel: to,
            id: *id,
        },
        charged,
    );
    Ok(())
}

/// What was posted by value was copied, with its shared body: the message has no use for its memory any more.
#[inline]
fn leave_storage(message: &mut Message) {
    message.release_shared_inbound();
    keep_spare(mem::replace(message, Message::empty()).into_storage());
}

/// Puts an admitted post into the batch that is not posted by value.
fn hand_over(
    registry: &mut Registry,
    batch: &mut Batch,
    group: GroupId,
    post: &mut Post,
    posted: Posted,
    cost: usize,
) {
    let Posted { channel, id } = posted;
    if post.op_code.is_regular() {
        let header = post.header(channel, id);
        if let Some(body) = post.message.take_shared_alone() {
            let header = header.encode();
            let frame = SharedFrame { header, body };
            return batch.push(Submission::SharedFrame { channel, frame });
        }
    }
    if post.op_code == OpCode::ByeSignal && !registry.is_first_abort(channel) {
        return;
    }
    let post = post.take();
    batch.push(Submission::Post {
        channel,
        group,
        post,
        cost,
    });
    // Written where it stays: a post that was changed a moment ago would have to be waited for.
    if let Some(Submission::Post { post, .. }) = batch.last_mut() {
        post.message_id = id;
    }
}

impl From<Denied> for PostError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Closed => PostError::ChannelClosed,
            Denied::OtherGroup => PostError::OtherGroup,
            Denied::IsListener => PostError::IsListener,
            Denied::ByePosted => PostError::ByePosted,
            Denied::ChannelFull => PostError::Full(Budget::Channel),
            Denied::EngineFull => PostError::Full(Budget::Engine),
            Denied::NoChannelNumber => PostError::NoChannelNumber,
            Denied::GroupClosed => PostError::GroupClosed,
        }
    }
}

#[cfg(test)]
mod tests;

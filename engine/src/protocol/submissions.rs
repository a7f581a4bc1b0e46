//! What applications posted.

use std::time::Instant;
use std::vec::Drain;

use crate::between::key::RecordKey;
use crate::between::registry::GroupId;
use crate::channel::Channel;
use crate::handles::{Frames, MixedFrames, Stretch, Submission};
use crate::options::after;
use crate::post::{Destination, Post, Target};
use crate::reason::Reason;
use crate::wire::OpCode;

use super::Core;
use super::connection::{Connection, Context, Opening};
use super::listeners::Listener;
use super::outgoing::Withdrawn;
use super::record::{Kind, Record};

impl Core {
    /// Does what was submitted. [`MixedFrames`] take their stretches from `stretches`, in which they come first.
    pub(crate) fn handle_submission(
        &mut self,
        submission: Submission,
        stretches: &mut Drain<'_, Stretch>,
        now: Instant,
    ) {
        match submission {
            Submission::Post {
                channel,
                group,
                post,
                cost,
            } => {
                self.handle_post(channel, group, post, cost, now);
            }
            Submission::AbandonCall(abandoned) => self.abandon_call(abandoned, now),
            Submission::Withdraw { channel, id } => {
                self.withdraw(channel, id, Withdrawn::RequestOrSignal, now);
            }
            Submission::OpenGroup { group, place } => self.open_group(group, place, now),
            Submission::CloseGroup { group, deadline } => self.close_group(group, deadline, now),
            Submission::Stop { deadline } => self.stop(deadline, now),
            Submission::Resolved { key, addresses } => {
                if self.connection(key).is_none() {
                    return self.handle_resolved_listener(key, addresses);
                }
                self.with(key, now, |it, context| {
                    it.handle_resolved(addresses, context)
                });
            }
            Submission::Verdict(verdict) => self.handle_verdict(verdict, now),
            Submission::Frames(frames) => self.handle_frames(frames, now),
            Submission::Mixed(mixed) => self.handle_mixed(mixed, stretches, now),
            Submission::SharedFrame { channel, frame } => {
                frame.body.release_inbound();
                self.with_admitted(channel, now, |it, context| {
                    it.enqueue_shared(frame, context);
                });
            }
            #[cfg(test)]
            Submission::Panic => panic!("planted"),
        }
    }

    /// Queues small frames that were posted by value.
    fn handle_frames(&mut self, frames: Frames, now: Instant) {
        self.with_admitted(frames.channel, now, |it, context| {
            it.enqueue_frames(frames, context);
        });
    }

    /// Queues small frames of several channels.
    fn handle_mixed(
        &mut self,
        mixed: MixedFrames,
        stretches: &mut Drain<'_, Stretch>,
        now: Instant,
    ) {
        mixed.for_each(stretches, |stretch, bytes| {
            self.with_admitted(stretch.channel, now, |it, context| {
                it.enqueue_stretch(bytes, stretch.counts, context);
            });
        });
        self.nodes.spare().give(mixed.bytes);
    }

    /// Acts on the connection to which frames were admitted.
    fn with_admitted(
        &mut self,
        channel: Channel,
        now: Instant,
        act: impl FnOnce(&mut Connection, &mut Context<'_>),
    ) {
        let key = self
            .key_of(channel)
            .expect("an admitted post has a channel");
        self.with(key, now, act)
            .expect("nothing that travels is admitted to a listener");
    }

    fn handle_post(
        &mut self,
        channel: Channel,
        group: GroupId,
        mut post: Post,
        cost: usize,
        now: Instant,
    ) {
        if let Some((key, cost)) = post.message.storage().inbound() {
            post.message.storage_mut().clear_charge();
            self.release_inbound(key, cost, now);
        }
        post.message.release_shared_inbound();
        let id = post.message_id;
        let key = match &mut post.target {
            Target::New(destination) if post.op_code == OpCode::WelcomeRequest => {
                return self.open_listener(channel, group, destination, now);
            }
            Target::New(destination) => self.open_connection(channel, group, destination, id, now),
            Target::Channel(_) => self
                .key_of(channel)
                .expect("an admitted post has a channel"),
        };
        if post.op_code == OpCode::ByeSignal {
            return self.abort(key, post, now);
        }
        self.with(key, now, |it, context| it.enqueue(post, cost, context))
            .expect("nothing that travels is admitted to a listener");
    }

    fn abort(&mut self, key: RecordKey, post: Post, now: Instant) {
        let is_connection = self.with(key, now, |it, context| it.abort(post, context));
        if is_connection.is_none() {
            self.end_listener(key, Reason::Aborted, None);
        }
    }

    fn open_listener(
        &mut self,
        channel: Channel,
        group: GroupId,
        destination: &mut Destination,
        now: Instant,
    ) {
        let group = self.open_group_index(group);
        let key = self.table.insert_with(|key| {
            let listener = Listener::new(key, channel, destination);
            Record::new(group, Kind::Listener(Box::new(listener)))
        });
        self.bind_number(channel, key);
        self.join_group(group, key);
        match self.closing_reason(group) {
            // A post may arrive behind the close of its group: its channel ends before it began.
            Some((reason, _)) => self.end_listener(key, reason, None),
            None => self.start_listening(key, now),
        }
    }

    fn open_connection(
        &mut self,
        channel: Channel,
        group: GroupId,
        destination: &mut Destination,
        hello_id: u64,
        now: Instant,
    ) -> RecordKey {
        let group = self.open_group_index(group);
        let budget_key = self.group(group).budget_key();
        let give_up = after(now, self.shared.options.connect_timeout);
        let opening = Opening::new(destination, give_up);
        let key = self.table.insert_with(|key| {
            let connection = Connection::opened(key, budget_key, channel, hello_id, opening);
            Record::new(group, Kind::Connection(Box::new(connection)))
        });
        self.bind_number(channel, key);
        self.join_group(group, key);
        let closing = self.closing_reason(group);
        self.with(key, now, |it, context| match closing {
            Some((reason, _)) => it.end(reason, None, context),
            None => it.start_opening(context),
        });
        key
    }

    fn open_group_index(&self, group: GroupId) -> usize {
        self.group_index(group)
            .expect("a group that posts has not ended")
    }
}

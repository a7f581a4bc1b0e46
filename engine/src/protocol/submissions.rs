//! What applications posted, and settling with the registry about it.

use std::mem;
use std::time::Instant;

use crate::between::registry::{GroupId, Registry};
use crate::channel::Channel;
use crate::error::Ended;
use crate::handles::Submission;
use crate::options::after;
use crate::post::{Post, Target};
use crate::storage::Charge;
use crate::wire::{Header, OpCode};

use super::outgoing::Outgoing;
use super::record::{Common, Connection, Listener, ListenerPhase, Opening, Origin, Phase, Record};
use super::{Action, Core, RecordKey, group_end, socket_address};

impl Core {
    /// Takes everything that was posted into `batch`. Under the same lock, credit of what was sent
    /// is given back, and channels that have ended are closed to posts: what was admitted to them
    /// is in `batch`, and nothing can follow.
    pub(crate) fn exchange(&mut self, batch: &mut Vec<Submission>) {
        let shared = std::sync::Arc::clone(&self.shared);
        shared.queue.exchange(batch, |registry| {
            for (channel, cost) in self.releases.drain(..) {
                registry.release(channel, cost);
            }
            for key in std::mem::take(&mut self.failed) {
                if self.close_to_posts(registry, key) {
                    self.unsendable.push(key);
                }
            }
            for key in std::mem::take(&mut self.ended) {
                self.close_to_posts(registry, key);
                self.closed.push(key);
            }
            self.report(registry);
            if self.promises.are_over {
                registry.lapse_promises();
            }
            registry.take_room(&mut self.room);
            self.promises.note(registry.room_is_wanted());
            self.seal_groups(registry);
        });
    }

    /// Closes a channel to posts, once. A receiver that was promised a Room gets it now: its next post
    /// tells that there is none any more. Returns whether the channel was open to posts.
    fn close_to_posts(&mut self, registry: &mut Registry, key: RecordKey) -> bool {
        let record = self
            .table
            .get_mut(key)
            .expect("an ended record waits to be settled");
        let channel = record
            .common()
            .channel
            .expect("only channels wait to be settled");
        let has_ended = record.common().end.is_some();
        if let Record::Connection(connection) = record
            && mem::replace(&mut connection.outbound.is_closed_to_posts, true)
        {
            return false;
        }
        let room_is_due = registry.close(channel);
        if room_is_due && !has_ended {
            self.room.push(channel);
        }
        true
    }

    pub(crate) fn handle_submission(&mut self, submission: Submission, now: Instant) {
        self.reports.note_time(now);
        match submission {
            Submission::Post {
                channel,
                group,
                post,
                cost,
            } => {
                self.handle_post(channel, group, post, cost, now);
            }
            Submission::OpenGroup { group } => self.open_group(group, now),
            Submission::CloseGroup { group, deadline } => self.close_group(group, deadline, now),
            Submission::Stop { deadline } => self.stop(deadline, now),
            Submission::Resolved { key, addresses } => self.handle_resolved(key, addresses, now),
            #[cfg(test)]
            Submission::Panic => panic!("planted"),
        }
    }

    fn handle_post(
        &mut self,
        channel: Channel,
        group: GroupId,
        mut post: Post,
        cost: usize,
        now: Instant,
    ) {
        let storage = post.message.storage_mut();
        let cost_inbound = storage.cost();
        if let Charge::Inbound(key) = mem::replace(&mut storage.charge, Charge::None) {
            self.release_inbound(key, cost_inbound);
        }
        match (&post.target, post.op_code) {
            (_, OpCode::WelcomeRequest) => self.open_listener(channel, group, &post, now),
            (_, OpCode::ByeSignal) => {
                let key = self
                    .key_of(channel)
                    .expect("an admitted post has a channel");
                self.end(key, crate::reason::Reason::Aborted, None);
            }
            (Target::New(_), _) => {
                let key = self.open_connection(channel, group, &post, now);
                self.enqueue(key, channel, post, cost);
            }
            (Target::Channel(_), _) => {
                let key = self
                    .key_of(channel)
                    .expect("an admitted post has a channel");
                self.enqueue(key, channel, post, cost);
            }
        }
    }

    fn open_listener(&mut self, channel: Channel, group: GroupId, post: &Post, now: Instant) {
        let Target::New(address) = &post.target else {
            unreachable!("a WelcomeRequest always opens a channel")
        };
        let group = self
            .group_index(group)
            .expect("a group that posts has not ended");
        let common = Common::new(group, Some(channel));
        let listener = Listener {
            common,
            address: (**address).clone(),
            phase: ListenerPhase::Opening,
            os_error: None,
            connections: 0,
        };
        let key = self.insert(channel, group, Record::Listener(listener));
        if self.end_if_closing(key, group) {
            return;
        }
        let action = match socket_address(address) {
            Some(address) => Action::Listen { key, address },
            None => {
                self.set_deadline(key, Some(after(now, self.shared.options.connect_timeout)));
                let host = address.host().map(ToString::to_string).unwrap_or_default();
                Action::Resolve {
                    key,
                    host,
                    port: address.port().unwrap_or_default(),
                }
            }
        };
        self.actions.push_back(action);
    }

    fn open_connection(
        &mut self,
        channel: Channel,
        group: GroupId,
        post: &Post,
        now: Instant,
    ) -> RecordKey {
        let Target::New(address) = &post.target else {
            unreachable!("only a post that opens a channel comes here")
        };
        let group = self
            .group_index(group)
            .expect("a group that posts has not ended");
        let give_up = after(now, self.shared.options.connect_timeout);
        let opening = Opening {
            address: (**address).clone(),
            untried: std::collections::VecDeque::new(),
            give_up,
            hello_id: post.message_id,
            hello_answered: false,
            os_error: None,
        };
        let origin = Origin::Opened(Box::new(opening));
        let common = Common::new(group, Some(channel));
        let connection = Connection::new(common, origin, Phase::Resolving);
        let key = self.insert(channel, group, Record::Connection(Box::new(connection)));
        if self.end_if_closing(key, group) {
            return key;
        }
        if address.check_connect().is_err() {
            self.end(key, crate::reason::Reason::InvalidAddress, None);
        } else {
            self.set_deadline(key, Some(give_up));
            self.start_opening(key);
        }
        key
    }

    fn insert(&mut self, channel: Channel, group: usize, record: Record) -> RecordKey {
        let key = self.table.insert(record);
        self.bind_number(channel, key);
        self.join_group(group, key);
        self.touch(key);
        key
    }

    /// A post may arrive behind the close of its group: its channel ends before it began.
    fn end_if_closing(&mut self, key: RecordKey, group: usize) -> bool {
        let Some(why) = self.group(group).closing else {
            return false;
        };
        self.end(key, group_end(why == Ended::EngineStopped), None);
        true
    }

    /// Queues an admitted post. From here it is sent or returned.
    fn enqueue(&mut self, key: RecordKey, channel: Channel, mut post: Post, cost: usize) {
        let message = &mut post.message;
        let header = Header {
            channel_number: channel.number(),
            op_code: post.op_code,
            more: post.more,
            status: 0,
            message_id: post.message_id,
            text_headers_len: message.text_headers_len(),
            body_len: message.body_len(),
        };
        message.encode_header(&header);
        let Post {
            op_code,
            message_id: id,
            more,
            message,
            ..
        } = post;
        let outgoing = Outgoing {
            message,
            op_code,
            more,
            id,
            cost,
            queued_at: self.reports.clock(),
        };
        let Some(Record::Connection(connection)) = self.table.get_mut(key) else {
            unreachable!("nothing that travels is admitted to a listener")
        };
        connection.account.posted += 1;
        if connection.outbound.fifo.is_empty() {
            self.reports.list(key, &mut connection.is_to_report);
        }
        self.nodes.push(&mut connection.outbound.fifo, outgoing);
        self.list_for_transmit(key);
    }
}

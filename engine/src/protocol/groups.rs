//! Groups: where events go, and how a group ends.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::between::key::{GroupPlace, RecordKey};
use crate::between::lines::Lines;
use crate::between::registry::{GroupId, Registry};
use crate::between::seat::Need;
use crate::delivery::Deliveries;
use crate::error::Ended;
use crate::event::Event;
use crate::handles::GroupShared;
use crate::reason::Reason;
use crate::storage::SharedCreditor;
use crate::tls::Security;

use super::budget::BudgetKey;
use super::{Core, decisions, group_end};

pub(super) struct Group {
    shared: Arc<GroupShared>,
    /// Events of this pass.
    pub(super) deliveries: Deliveries,
    /// Its part of the inbound budget.
    budget_key: BudgetKey,
    /// Where what is returned to it gives back its part of the outbound budget.
    creditor: SharedCreditor,
    is_dirty: bool,
    /// Connections and listeners that the group has.
    members: BTreeSet<RecordKey>,
    closing: Option<Ended>,
    /// Until when the closing group's connections may send what is queued.
    deadline: Option<Instant>,
    /// No post follows: the group was closed to posts, and all that were admitted have arrived.
    is_sealed: bool,
}

/// The open groups, in places that are reused; records know their group by its place.
#[derive(Default)]
pub(super) struct Groups {
    places: Vec<Option<Group>>,
    free: Vec<usize>,
    by_id: HashMap<GroupId, usize>,
}

impl Groups {
    fn insert(&mut self, group: Group) -> usize {
        let index = self.free.pop().unwrap_or(self.places.len());
        let before = self.by_id.insert(group.shared.id, index);
        assert!(before.is_none(), "the id of a group is never used again");
        match self.places.get_mut(index) {
            Some(place) => *place = Some(group),
            None => self.places.push(Some(group)),
        }
        index
    }

    fn remove(&mut self, index: usize) {
        if let Some(group) = self.places[index].take() {
            self.by_id.remove(&group.shared.id);
            self.free.push(index);
        }
    }

    pub(super) fn get(&self, index: usize) -> &Group {
        self.places[index]
            .as_ref()
            .expect("a group outlives its members and its events")
    }

    pub(super) fn get_mut(&mut self, index: usize) -> &mut Group {
        self.places[index]
            .as_mut()
            .expect("a group outlives its members and its events")
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Every open group, whatever the cost: for what happens once in an engine's life.
    fn all(&self) -> Vec<usize> {
        let is_open = |&index: &usize| self.places[index].is_some();
        (0..self.places.len()).filter(is_open).collect()
    }
}

impl Group {
    pub(super) fn id(&self) -> GroupId {
        self.shared.id
    }

    /// How its connections to and from `tls://` addresses are secured.
    pub(super) fn security(&self) -> Option<&Security> {
        self.shared.security.as_ref()
    }
}

impl Core {
    /// Opens a group, even if the engine stops: posts to it may have been admitted already, and are
    /// answered before it ends.
    pub(super) fn open_group(&mut self, shared: Arc<GroupShared>, place: GroupPlace, now: Instant) {
        let group = Group {
            budget_key: self.budget.open(shared.inbound_reserve),
            creditor: self.shared.creditor(place),
            shared,
            deliveries: Deliveries::default(),
            is_dirty: false,
            members: BTreeSet::new(),
            closing: None,
            deadline: None,
            is_sealed: false,
        };
        let index = self.groups.insert(group);
        if let Some(deadline) = self.stopping {
            self.close_group_at(index, Ended::EngineStopped, deadline, now);
        }
    }

    /// Closes the closing groups to posts, under the queue's lock: what was admitted to them is in
    /// the batch that is taken with it.
    pub(super) fn seal_groups(&mut self, registry: &mut Registry) {
        for index in std::mem::take(&mut self.unsealed) {
            let group = self.group(index);
            group.shared.close(registry);
            group.is_sealed = true;
            self.touch_group(index);
        }
    }

    pub(super) fn group_index(&self, id: GroupId) -> Option<usize> {
        self.groups.by_id.get(&id).copied()
    }

    pub(super) fn group_id(&self, index: usize) -> GroupId {
        self.groups.get(index).id()
    }

    pub(super) fn group(&mut self, index: usize) -> &mut Group {
        self.groups.get_mut(index)
    }

    /// Makes a connection or listener a member of its group.
    pub(super) fn join_group(&mut self, index: usize, key: RecordKey) {
        self.group(index).members.insert(key);
    }

    /// Lets a member go whose accounts are settled.
    pub(super) fn leave_group(&mut self, index: usize, key: RecordKey) {
        let was_member = self.group(index).members.remove(&key);
        assert!(was_member, "a record is a member of its group");
        self.touch_group(index);
    }

    /// Appends an event to what this pass delivers to the group.
    pub(super) fn emit(&mut self, index: usize, event: Event) {
        let group = self.groups.get_mut(index);
        match decisions::overtakes(&event) {
            true => group.deliveries.push_front(event),
            false => group.deliveries.push_back(event),
        }
        self.touch_group(index);
    }

    /// Puts an event before all that this pass delivers to the group by now.
    pub(super) fn emit_first(&mut self, index: usize, event: Event) {
        self.group(index).deliveries.push_front(event);
        self.touch_group(index);
    }

    /// As [`emit`](Core::emit), for the group of a connection or listener.
    pub(super) fn emit_from(&mut self, key: RecordKey, event: Event) {
        if let Some(index) = self.table.get(key).map(|record| record.group) {
            self.emit(index, event);
        }
    }

    pub(super) fn touch_group(&mut self, index: usize) {
        let group = self.groups.get_mut(index);
        if !std::mem::replace(&mut group.is_dirty, true) {
            self.dirty_groups.push(index);
        }
    }

    /// Hands this pass's events over, one batch for each group, and ends groups that have closed.
    pub(crate) fn deliver(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty_groups);
        for index in dirty.drain(..) {
            let group = self.groups.get_mut(index);
            group.is_dirty = false;
            self.trace
                .deliveries(group.shared.id, &mut group.deliveries);
            if !self.calls.is_empty() {
                self.calls.route(&mut group.deliveries, &self.shared);
            }
            if !group.deliveries.queue().is_empty() {
                self.shared
                    .queue
                    .tell(group.shared.mailbox.deliver(group.deliveries.queue()));
                self.shared.drop_abandoned(&group.shared);
            }
            if let (Some(reason), true, true) =
                (group.closing, group.members.is_empty(), group.is_sealed)
            {
                self.shared.queue.tell(group.shared.mailbox.end(reason));
                self.shared.drop_abandoned(&group.shared);
                self.budget.close(group.budget_key);
                let id = group.shared.id;
                let queue = &self.shared.queue;
                queue.settle(|registry| registry.end_group(id));
                self.groups.remove(index);
            }
        }
        self.dirty_groups = dirty;
    }

    /// Hands over what a pass that ended early has left. Valid after a panic in any other method.
    pub(crate) fn deliver_last(&mut self) {
        for mut group in self.groups.places.drain(..).flatten() {
            self.shared
                .queue
                .tell(group.shared.mailbox.deliver(group.deliveries.queue()));
        }
    }

    pub(super) fn close_group(&mut self, id: GroupId, deadline: Instant, now: Instant) {
        if let Some(index) = self.group_index(id) {
            self.close_group_at(index, Ended::GroupClosed, deadline, now);
        }
    }

    /// For whom something goes on for which no receiver may come.
    pub(crate) fn need(&self) -> Need {
        match (self.stopping, self.tasks_wait) {
            (Some(_), _) => Need::Stop,
            (None, true) => Need::Tasks,
            (None, false) => Need::Nobody,
        }
    }

    /// Closes every group, and the engine after them.
    pub(super) fn stop(&mut self, deadline: Instant, now: Instant) {
        let deadline = self
            .stopping
            .map_or(deadline, |before| before.min(deadline));
        self.stopping = Some(deadline);
        for index in self.groups.all() {
            self.close_group_at(index, Ended::EngineStopped, deadline, now);
        }
    }

    fn close_group_at(&mut self, index: usize, why: Ended, deadline: Instant, now: Instant) {
        let group = self.group(index);
        group.deadline = Some(
            group
                .deadline
                .map_or(deadline, |before| before.min(deadline)),
        );
        if group.closing.is_none() {
            group.closing = Some(why);
            self.unsealed.push(index);
        }
        let members: Vec<RecordKey> = self.group(index).members.iter().copied().collect();
        for key in members {
            self.close_member(key, group_end(why == Ended::EngineStopped), deadline, now);
        }
    }

    /// Why a group closes and until when its connections may send, if it does.
    pub(super) fn closing_reason(&mut self, index: usize) -> Option<(Reason, Instant)> {
        let group = self.group(index);
        let why = group.closing?;
        Some((group_end(why == Ended::EngineStopped), group.deadline?))
    }

    /// Closes one connection or listener of a closing group, in an orderly way until `deadline`.
    fn close_member(&mut self, key: RecordKey, reason: Reason, deadline: Instant, now: Instant) {
        let is_connection = self.with(key, now, |it, context| it.close(reason, deadline, context));
        if is_connection.is_none() {
            self.end_listener(key, reason, None);
        }
    }

    /// Closes a connection that has come about in a group that closes.
    pub(super) fn close_member_of_closing(&mut self, key: RecordKey, now: Instant) {
        let Some(index) = self.table.get(key).map(|record| record.group) else {
            return;
        };
        if let Some((reason, deadline)) = self.closing_reason(index) {
            self.close_member(key, reason, deadline, now);
        }
    }
}

impl Group {
    pub(super) fn budget_key(&self) -> BudgetKey {
        self.budget_key
    }

    /// Those who wait to post.
    pub(super) fn lines(&self) -> &Lines {
        &self.shared.lines
    }

    pub(super) fn creditor(&self) -> &SharedCreditor {
        &self.creditor
    }
}

#[cfg(test)]
mod seen {
    //! What tests may see of the groups.

    use super::{Core, GroupId, RecordKey};

    impl Core {
        pub(in crate::protocol) fn undelivered(&self) -> usize {
            let open = self.groups.places.iter().flatten();
            open.map(|group| group.deliveries.len()).sum()
        }

        pub(in crate::protocol) fn group_ids(&self) -> Vec<GroupId> {
            let open = self.groups.places.iter().flatten();
            open.map(|group| group.shared.id).collect()
        }

        /// Whose member each connection and listener is.
        pub(in crate::protocol) fn memberships(&self) -> Vec<(usize, RecordKey)> {
            let with_place = |index| {
                let members = self.groups.get(index).members.iter();
                members.map(move |&key| (index, key))
            };
            self.groups.all().into_iter().flat_map(with_place).collect()
        }

        /// How many places there are for groups.
        pub(in crate::protocol) fn group_places(&self) -> usize {
            self.groups.places.len()
        }
    }
}

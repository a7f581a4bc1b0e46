//! What the driver tells of connections, and what it is told in return.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::between::key::RecordKey;
use crate::between::registry::{GroupId, Kind as ChannelKind};
use crate::channel::Channel;
use crate::handles::{Counters, Shared};
use crate::peer::Peer;
use crate::reason::Reason;
use crate::storage::Cache;
use crate::tls::{self, Codec, Security};

use super::budget::Budget;
use super::calls::Calls;
use super::connection::{Connection, Context};
use super::groups::Groups;
use super::outgoing::{Gather, Nodes};
use super::promises::Promises;
use super::record::{Kind, Record};
use super::reports::Clock;
use super::table::Table;
use super::timers::Timers;
use super::trace::Trace;
use super::{Action, Actions, Core, ReadPlan, Wanted, decisions};

/// How long more drops are waited for where applications drop what starving connections wait for.
const DROPS: Duration = Duration::from_millis(1);

impl Core {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let options = &shared.options;
        let share = options.inbound_bytes_per_channel;
        Core {
            cache: Cache::new(Arc::clone(&shared.pool)),
            budget: Budget::new(options.inbound_bytes, share),
            shared,
            table: Table::new(),
            by_number: Vec::new(),
            groups: Groups::default(),
            nodes: Nodes::new(),
            calls: Calls::default(),
            timers: Timers::default(),
            holder: None,
            actions: Actions::default(),
            touched: Vec::new(),
            asked: 0,
            released: Vec::new(),
            room: Vec::new(),
            has_room: false,
            tasks_wait: false,
            promises: Promises::default(),
            drops_at: None,
            clock: Clock::default(),
            trace: Trace::default(),
            arrived: 0,
            receiver: None,
            dirty_groups: Vec::new(),
            unsealed: Vec::new(),
            crowded: BTreeSet::new(),
            stopping: None,
            #[cfg(test)]
            bound: std::collections::BTreeMap::new(),
        }
    }

    /// Lets a connection do something, and sees to what follows from it.
    pub(super) fn with<R>(
        &mut self,
        key: RecordKey,
        now: Instant,
        act: impl FnOnce(&mut Connection, &mut Context<'_>) -> R,
    ) -> Option<R> {
        self.with_touched(key, now, true, act)
    }

    /// The same; without `touches` the connection need not be looked at again before the next wait.
    fn with_touched<R>(
        &mut self,
        key: RecordKey,
        now: Instant,
        touches: bool,
        act: impl FnOnce(&mut Connection, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let record = self.table.get_mut(key)?;
        let Kind::Connection(connection) = &mut record.kind else {
            return None;
        };
        let index = record.group;
        let group = self.groups.get_mut(index);
        let events_before = group.deliveries.events();
        let mut context = Context {
            options: &self.shared.options,
            budget: &mut self.budget,
            cache: &mut self.cache,
            nodes: &mut self.nodes,
            is_received_here: self.receiver == Some(group.id()),
            has_calls: !self.calls.is_empty(),
            events: &mut group.deliveries,
            actions: &mut self.actions,
            now,
            millis: self.clock.millis(now),
        };
        let result = act(connection, &mut context);
        let arrived = group.deliveries.events() - events_before;
        let has_ended = connection.has_ended();
        let is_unnamed = connection.is_unnamed();
        let is_attempt_due = connection.is_attempt_due();
        self.timers.set(key, &mut record.timer, connection.due());
        if touches && !std::mem::replace(&mut record.is_touched, true) {
            self.touched.push(key);
        }
        if arrived > 0 {
            self.arrived += arrived;
            self.touch_group(index);
        }
        if self.holder == Some(key) && decisions::lets_go_of_buffer(has_ended) {
            self.holder = None;
        }
        if is_unnamed {
            self.name(key, now);
        }
        if is_attempt_due {
            self.start_attempt(key, now);
        }
        Some(result)
    }

    /// Gives an accepted connection its channel, now that it has said hello.
    fn name(&mut self, key: RecordKey, now: Instant) {
        let Some(record) = self.table.get(key) else {
            return;
        };
        let group = self.group_id(record.group);
        let opened = self
            .shared
            .queue
            .settle(|registry| registry.open(group, ChannelKind::Connection));
        match opened {
            Some(channel) => {
                self.bind_number(channel, key);
                if let Some(listener) = self.connection(key).and_then(Connection::listener) {
                    self.handle_accepted_named(listener);
                }
            }
            None => Counters::count(&self.shared.counters.out_of_numbers),
        }
        self.with(key, now, |connection, context| {
            connection.name(opened, context)
        });
    }

    /// Notes that something has happened to a listener, or that a connection has come about; what happens
    /// to connections [`with`](Core::with) notes. Until the next wait each is asked what it has to write,
    /// exchange, settle and wait for.
    pub(super) fn touch(&mut self, key: RecordKey) {
        let Some(record) = self.table.get_mut(key) else {
            return;
        };
        let due = record.due();
        self.timers.set(key, &mut record.timer, due);
        if !std::mem::replace(&mut record.is_touched, true) {
            self.touched.push(key);
        }
    }

    pub(super) fn connection(&self, key: RecordKey) -> Option<&Connection> {
        match self.table.get(key).map(|record| &record.kind) {
            Some(Kind::Connection(connection)) => Some(connection),
            _ => None,
        }
    }

    /// The next thing to do, where nothing has to wait for a later pass.
    #[cfg(test)]
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.poll_closing().or_else(|| self.poll_opening())
    }

    /// The next socket to close, or whose sending side. All of them are to be carried out in the pass in
    /// which they are asked for: then somebody else may take the place. That of an attempt is free at
    /// once, so each is to be carried out before the core is told anything more.
    pub(crate) fn poll_closing(&mut self) -> Option<Action> {
        let action = self.actions.closing.pop_front()?;
        if let Action::Close { key, .. } = action
            && let Some(record) = self.table.get_mut(key)
        {
            record.is_socket_closed = true;
            if let Kind::Attempt(_) = record.kind {
                self.table.remove(key);
            }
        }
        Some(action)
    }

    /// The next to resolve, to connect or to listen. This may wait for a later pass: who has ended by
    /// then is passed over.
    pub(crate) fn poll_opening(&mut self) -> Option<Action> {
        loop {
            let action = self.actions.opening.pop_front()?;
            let record = self.table.get(action.key());
            if record.is_some_and(Record::is_opening) {
                return Some(action);
            }
        }
    }

    /// Whose bytes, of those that [`handle_shared`](Core::handle_shared) left in the shared buffer, are
    /// to be offered again now. Asked each time: whoever held the buffer may have ended meanwhile, and
    /// another may hold it.
    pub(crate) fn poll_resume(&self) -> Option<RecordKey> {
        let key = self.holder?;
        let may_go_on = self.connection(key).is_some_and(Connection::may_receive);
        may_go_on.then_some(key)
    }

    /// The next that may want something else than before, with what it wants now. Who has nothing left
    /// to do is forgotten until something happens to it again.
    pub(crate) fn poll_wanted(&mut self) -> Option<(RecordKey, Wanted)> {
        let limit = self.shared.options.connections_per_listener;
        while let Some(&key) = self.touched.get(self.asked) {
            let is_holder = self.holder == Some(key);
            let Some(record) = self.table.get_mut(key) else {
                self.touched.swap_remove(self.asked);
                continue;
            };
            let wanted = record.wanted(is_holder, limit);
            match record.has_work() {
                true => self.asked += 1,
                false => {
                    record.is_touched = false;
                    self.touched.swap_remove(self.asked);
                }
            }
            return Some((key, wanted));
        }
        self.asked = 0;
        None
    }

    /// When [`poll_due`](Core::poll_due) is to be asked; at once if there is work left over. To be asked
    /// after [`poll_wanted`](Core::poll_wanted).
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        // Whoever adds a list decides here whether it keeps the reactor awake.
        let Core {
            actions,
            touched,
            dirty_groups,
            unsealed,
            timers,
            holder: _, // asked by `poll_resume`
            room: _,   // told in the pass in which it was found
            has_room,
            tasks_wait: _, // told in a pass in which there is room
            promises,
            drops_at,
            clock: _,
            receiver: _,
            arrived: _,
            released: _,
            asked: _,
            shared: _,
            cache: _,
            table: _,
            by_number: _,
            groups: _,
            nodes: _,
            calls,
            budget,
            crowded: _, // asked as strangers are named or go, and behind every service
            stopping: _,
            trace: _,
            #[cfg(test)]
                bound: _,
        } = self;
        let has_work = !actions.is_empty()
            || !touched.is_empty()
            || !unsealed.is_empty()
            || *has_room
            || promises.are_over()
            || decisions::keeps_awake(!dirty_groups.is_empty())
            || self.poll_resume().is_some();
        if has_work {
            Some(now)
        } else {
            let drops_at = drops_at.filter(|_| budget.is_starving());
            let times = [timers.next(), promises.next(), drops_at, calls.next_due()];
            times.into_iter().flatten().min()
        }
    }

    /// Until when the engine stops, if it does.
    pub(crate) fn stopping(&self) -> Option<Instant> {
        self.stopping
    }

    /// Whether the reactor has nothing left to do for ever.
    pub(crate) fn is_finished(&self) -> bool {
        self.stopping.is_some() && self.table.len() == 0 && self.groups.is_empty()
    }

    /// The record of a channel that is open to posts or was until the last exchange.
    pub(super) fn key_of(&self, channel: Channel) -> Option<RecordKey> {
        let number = usize::from(channel.number());
        let key = self.by_number.get(number).copied().flatten()?;
        let record = self.table.get(key)?;
        (record.channel() == Some(channel)).then_some(key)
    }

    pub(super) fn bind_number(&mut self, channel: Channel, key: RecordKey) {
        let number = usize::from(channel.number());
        if self.by_number.len() <= number {
            self.by_number.resize(number + 1, None);
        }
        assert!(
            self.by_number[number].is_none(),
            "a number names one channel at a time"
        );
        self.by_number[number] = Some(key);
        #[cfg(test)]
        self.bound.insert(key, channel);
    }

    /// Whether a connection waits for budget.
    pub(crate) fn is_starved(&self, key: RecordKey) -> bool {
        self.connection(key).is_some_and(Connection::is_starved)
    }

    /// How to read from a connection that is readable.
    pub(crate) fn read_plan(&mut self, key: RecordKey) -> ReadPlan<'_> {
        let is_held = self.holder.is_some();
        if self.holder == Some(key) {
            return ReadPlan::Park; // what it sent before is offered again first
        }
        match self.table.get_mut(key).map(|record| &mut record.kind) {
            Some(Kind::Connection(connection)) => connection.read_plan(is_held),
            _ => ReadPlan::Park,
        }
    }

    /// Bytes were read into the shared buffer. Returns how many were used; the rest stays there until
    /// [`poll_resume`](Core::poll_resume) asks for it.
    pub(crate) fn handle_shared(&mut self, key: RecordKey, bytes: &[u8], now: Instant) -> usize {
        if self.holder == Some(key) {
            self.holder = None;
        }
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            let taken = self.with(key, now, |it, context| {
                let taken = it.receive(rest, context);
                it.bytes_received += taken as u64;
                taken
            });
            used += taken.unwrap_or(rest.len());
            if used < bytes.len() && self.is_starved(key) {
                self.holder = Some(key);
                break;
            }
        }
        used
    }

    /// Says which group the thread receives for that makes the passes from now on, if it does for one.
    pub(crate) fn set_receiver(&mut self, receiver: Option<GroupId>) {
        self.receiver = receiver;
    }

    /// As [`set_receiver`](Core::set_receiver) has said.
    #[cfg(test)]
    pub(crate) fn receiver(&self) -> Option<GroupId> {
        self.receiver
    }

    /// How many events have come about since this was asked last.
    pub(crate) fn take_arrived(&mut self) -> usize {
        std::mem::take(&mut self.arrived)
    }

    /// `bytes` bytes were read to where [`read_plan`](Core::read_plan) had said.
    pub(crate) fn handle_filled(&mut self, key: RecordKey, bytes: usize, now: Instant) {
        self.with(key, now, |it, context| {
            it.bytes_received += bytes as u64;
            it.handle_filled(bytes, context);
        });
    }

    /// The peer closed its sending side.
    pub(crate) fn handle_end_of_stream(&mut self, key: RecordKey, now: Instant) {
        self.with(key, now, Connection::handle_end_of_stream);
    }

    pub(crate) fn handle_read_error(&mut self, key: RecordKey, error: &io::Error, now: Instant) {
        self.with(key, now, |it, context| it.handle_read_error(error, context));
    }

    /// Lists those that have something to write; each may write once in this pass.
    pub(crate) fn take_transmit_list(&mut self, list: &mut Vec<RecordKey>) {
        assert!(list.is_empty(), "the list before was worked off");
        let may_transmit =
            |&&key: &&RecordKey| self.connection(key).is_some_and(Connection::may_transmit);
        list.extend(self.touched.iter().filter(may_transmit));
    }

    /// What to write to a connection now, if there is anything.
    pub(crate) fn transmit<'a>(
        &'a mut self,
        key: RecordKey,
        scratch: &'a mut Vec<u8>,
    ) -> Option<Gather<'a>> {
        self.connection(key)?.gather(&self.nodes, scratch)
    }

    /// The system accepted `bytes` of the `offered` that [`transmit`](Core::transmit) lent.
    pub(crate) fn handle_transmitted(
        &mut self,
        key: RecordKey,
        bytes: usize,
        offered: usize,
        now: Instant,
    ) {
        self.with(key, now, |it, context| {
            it.bytes_sent += bytes as u64;
            it.handle_transmitted(bytes, offered, context);
        });
    }

    /// The system accepts no more for now.
    pub(crate) fn handle_blocked(&mut self, key: RecordKey, now: Instant) {
        self.with(key, now, |it, context| it.handle_blocked(context));
    }

    /// The connection is writable again, or may be. Returns whether that was waited for.
    pub(crate) fn handle_writable(&mut self, key: RecordKey, now: Instant) -> bool {
        let is_blocked = self.connection(key).is_some_and(Connection::is_blocked);
        if is_blocked {
            self.with(key, now, |it, _| it.handle_writable());
        }
        is_blocked
    }

    /// So much of what is to be sent next is on its way below, for good: it is not to be taken back.
    pub(crate) fn handle_staged(&mut self, key: RecordKey, bytes: usize) {
        if let Some(Kind::Connection(connection)) =
            self.table.get_mut(key).map(|record| &mut record.kind)
        {
            connection.set_staged(bytes);
        }
    }

    /// What secures the attempt of a connection, if its address says that something does.
    pub(crate) fn client_codec(&self, key: RecordKey) -> Option<io::Result<Box<dyn Codec>>> {
        let host = self.connection(self.connection_of(key))?.host_to_secure()?;
        Some(self.security(key).and_then(|it| it.client(host)))
    }

    /// What secures a connection that a listener accepts, if its address says that something does.
    pub(crate) fn server_codec(&self, listener: RecordKey) -> Option<io::Result<Box<dyn Codec>>> {
        match &self.table.get(listener)?.kind {
            Kind::Listener(it) if it.is_secured() => {}
            _ => return None,
        }
        Some(self.security(listener).and_then(Security::server))
    }

    fn security(&self, key: RecordKey) -> io::Result<&Security> {
        let group = self.table.get(key).map(|record| record.group);
        let security = group.and_then(|group| self.groups.get(group).security());
        security.ok_or_else(tls::no_security)
    }

    pub(crate) fn handle_write_error(&mut self, key: RecordKey, error: &io::Error, now: Instant) {
        self.with(key, now, |it, context| {
            it.handle_write_error(error, context)
        });
    }

    /// The connection is established, and its socket is found under its own key.
    pub(crate) fn handle_connected(&mut self, key: RecordKey, peer: Peer, now: Instant) {
        self.with(key, now, |it, context| it.handle_connected(peer, context));
        // What is queued is sent as far as a closing group's time goes.
        self.close_member_of_closing(key, now);
    }

    /// The system refuses to poll a socket, which fails by that as by any other error of its own.
    /// Where asking again is in vain, the channel ends with a reason of its own.
    pub(crate) fn handle_unpollable(&mut self, key: RecordKey, error: &io::Error, now: Instant) {
        let is_for_good = error.kind() == io::ErrorKind::Unsupported;
        let or = |reason| match is_for_good {
            true => Reason::CannotPoll,
            false => reason,
        };
        let connection = self.connection_of(key);
        let is_attempt = |it: &Connection| it.is_opening() || connection != key;
        let is_connection = self.with(connection, now, |it, context| match is_attempt(it) {
            true => it.fail_attempt(key, or(Reason::ConnectFailed), error, context),
            false => {
                it.end_unless_caused(or(Reason::ConnectionLost), Some(error.into()), context);
            }
        });
        if is_connection.is_none() {
            self.handle_unpollable_listener(key, error, is_for_good, now);
        }
    }

    /// Settles what applications have dropped since the last call, and lets those receive for whom
    /// there is budget again. If some connection starves, the next drop wakes the reactor; but where
    /// there were drops since the last call, more of them are waited for, a short while.
    pub(crate) fn settle_dropped(&mut self, now: Instant) {
        let mut released = std::mem::take(&mut self.released);
        let looks_by_itself = self.drops_at.is_some_and(|at| at > now);
        let wake_after = match self.budget.is_starving() {
            true if looks_by_itself => Some(self.budget.hunger()),
            true => Some(0),
            false => None,
        };
        self.shared.pool.take_released(&mut released, wake_after);
        let any = !released.is_empty();
        for (key, cost) in released.drain(..) {
            self.release_inbound(key, cost, now);
        }
        self.released = released;
        while let Some((key, cost)) = self.budget.serve_next() {
            let touches = decisions::is_read_again_when_served();
            self.with_touched(key, now, touches, |it, context| it.serve(cost, context));
        }
        self.accept_where_no_line_is_left();
        if !looks_by_itself {
            self.drops_at = any.then(|| now + DROPS);
        }
    }

    pub(super) fn release_inbound(&mut self, key: RecordKey, cost: usize, now: Instant) {
        let key = self.table.owner(key);
        let is_here = self.with_touched(key, now, false, |it, context| it.release(cost, context));
        if is_here.is_none() {
            self.budget.release_departed(key, cost);
        }
    }

    /// The next that has waited long enough. [`handle_due`](Core::handle_due) is to follow, behind all
    /// that its socket has to say by now: nobody is late whose bytes are here and were not read.
    pub(crate) fn poll_due(&mut self, now: Instant) -> Option<RecordKey> {
        self.promises.handle_time(now);
        let key = self.timers.pop_due(now)?;
        if let Some(record) = self.table.get_mut(key) {
            record.timer = None;
        }
        Some(key)
    }

    /// What was due is due still, in another pass.
    pub(crate) fn put_off(&mut self, key: RecordKey, now: Instant) {
        self.with(key, now, |_, _| ());
    }

    /// Ends what has waited long enough, if it still has.
    pub(crate) fn handle_due(&mut self, key: RecordKey, now: Instant) {
        let is_holder = self.holder == Some(key);
        let is_connection = self.with(key, now, |it, context| {
            it.handle_time(is_holder, context);
        });
        if is_connection.is_none() {
            self.handle_listener_time(key, now);
        }
    }
}

//! What an observer may see of a core between two calls: for the simulator, which compares it with
//! what was promised.

use crate::between::key::RecordKey;
use crate::between::registry::GroupId;
use crate::channel::Channel;

use super::Core;
use super::budget::Starved;
use super::connection::Connection;
use super::record::Kind;

#[derive(Debug, Clone)]
pub(crate) struct Audit {
    pub(crate) connections: Vec<Seen>,
    pub(crate) listeners: usize,
    /// Attempts, of several, that connections wait for.
    pub(crate) attempts: usize,
    /// Attempts that nobody waits for any more.
    pub(crate) attempts_left: usize,
    /// Bytes of the inbound budget that are charged, and how many may be.
    pub(crate) inbound_used: usize,
    pub(crate) inbound_most: usize,
    /// Those that wait for the inbound budget, first come first.
    pub(crate) waiting: Vec<RecordKey>,
    pub(crate) starving: usize,
    pub(crate) holder: Option<RecordKey>,
    pub(crate) groups: Vec<GroupId>,
    /// Events that no inbox has got yet.
    pub(crate) undelivered: usize,
}

/// One connection.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) key: RecordKey,
    /// The place of its group.
    pub(crate) group: usize,
    pub(crate) channel: Option<Channel>,
    pub(crate) is_live: bool,
    /// Messages are queued and neither sent nor returned.
    pub(crate) has_queued: bool,
    /// Waits for budget; for its own share of it if true.
    pub(crate) starved: Option<bool>,
    pub(crate) held: usize,
    /// A frame has arrived in part.
    pub(crate) is_mid_frame: bool,
    /// Grows with every frame that was given its storage.
    pub(crate) frames_started: u64,
    /// Writing failed.
    pub(crate) has_failed: bool,
}

impl Core {
    pub(crate) fn audit(&self) -> Audit {
        let mut audit = Audit {
            connections: Vec::new(),
            listeners: 0,
            attempts: 0,
            attempts_left: 0,
            inbound_used: self.budget.used(),
            inbound_most: self.budget.most(),
            waiting: self.budget.waiting().collect(),
            starving: self.budget.starved(),
            holder: self.holder,
            groups: self.group_ids(),
            undelivered: self.undelivered(),
        };
        self.budget.check_reserves();
        self.check_crowded();
        let mut members = Vec::new();
        for key in self.table.keys() {
            let record = self.table.get(key).expect("its key is in use");
            if !matches!(record.kind, Kind::Attempt(_)) {
                members.push((record.group, key));
            }
            match &record.kind {
                &Kind::Attempt(connection) => {
                    let connection = self.connection(connection);
                    let is_of_use = connection.is_some_and(|it| it.attempts().contains(&key));
                    audit.attempts += usize::from(is_of_use);
                    audit.attempts_left += usize::from(!is_of_use);
                }
                Kind::Connection(connection) => {
                    audit.connections.push(seen(key, record.group, connection));
                }
                Kind::Listener(listener) => {
                    audit.listeners += usize::from(!listener.has_ended());
                    let keys = self.table.keys().into_iter();
                    let its = keys.filter(|&it| {
                        self.connection(it).and_then(Connection::listener) == Some(key)
                    });
                    let count = its.count();
                    assert_eq!(count, listener.connections, "P6: the places of {key:?}");
                }
            }
        }
        members.sort_unstable();
        assert_eq!(
            members,
            self.memberships(),
            "each record is a member of its group, and nothing else is"
        );
        audit
    }

    /// The channel that a connection or listener has or had, once.
    pub(crate) fn take_bound(&mut self, key: RecordKey) -> Option<Channel> {
        self.bound.remove(&key)
    }
}

fn seen(key: RecordKey, group: usize, connection: &Connection) -> Seen {
    let inbound = connection.inbound();
    Seen {
        key,
        group,
        channel: connection.channel(),
        is_live: connection.is_live(),
        has_queued: connection.has_queued(),
        starved: inbound.starved().map(|why| why == Starved::ByShare),
        held: connection.held().1,
        is_mid_frame: connection.is_live() && inbound.is_mid_frame(),
        frames_started: connection.frames_begun(),
        has_failed: connection.has_failed(),
    }
}

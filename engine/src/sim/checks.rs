//! What holds after every pass of a core, whatever happens: budgets, the line of those who wait, the
//! end of closing groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::between::key::RecordKey;
use crate::between::registry::{GroupId, RESERVE};
use crate::handles::Shared;
use crate::protocol::audit::Audit;
use crate::storage::MESSAGE_COST_MAX;

/// A reactor's thread gets its turn late, and a close needs more than one pass.
pub(super) const PASS: Duration = Duration::from_millis(4);

/// So many times the linger timeout after writing to it failed, a connection has ended.
pub(super) const FAILED_LINGERS_MAX: u32 = 12;

/// Follows one core from pass to pass.
#[derive(Default)]
pub(super) struct Watch {
    /// Who waited, first come first, with the frames started by then.
    waiting_before: Vec<(RecordKey, u64)>,
    pub(super) closing: BTreeMap<GroupId, Instant>,
    pub(super) stopping: Option<Instant>,
    /// Connections that cannot be written to, and since when.
    failed: BTreeMap<RecordKey, Instant>,
    pub(super) most_inbound: usize,
    /// How often a connection was seen to wait for budget.
    pub(super) starved: u64,
    /// How often a connection was seen that cannot be written to.
    pub(super) failures: u64,
}

impl Watch {
    pub(super) fn check_pass(&mut self, audit: &Audit, shared: &Shared, now: Instant) {
        assert!(
            audit.attempts_left == 0,
            "P6: {} attempts to connect are left that nobody waits for",
            audit.attempts_left
        );
        self.check_inbound(audit, shared);
        self.check_line(audit);
        self.check_outbound(shared);
        self.check_closing(audit, now);
        self.check_failed(audit, shared, now);
    }

    /// Who cannot be written to takes no posts one pass later, keeps nothing queued, and ends in time
    /// whatever its application does with what it received.
    fn check_failed(&mut self, audit: &Audit, shared: &Shared, now: Instant) {
        let before = std::mem::take(&mut self.failed);
        for seen in audit.connections.iter().filter(|seen| seen.has_failed) {
            let Some(&since) = before.get(&seen.key) else {
                self.failed.insert(seen.key, now);
                continue;
            };
            self.failed.insert(seen.key, since);
            self.failures += 1;
            let channel = seen.channel.expect("only channels are written to");
            let queue = &shared.queue;
            let group = queue.with_registry(|registry| registry.group_of(channel));
            assert!(
                group.is_none(),
                "P3: {channel:?} cannot be written to, and takes posts"
            );
            assert!(
                !seen.has_queued,
                "P1: {channel:?} keeps what can never be sent"
            );
            let most = shared.options.linger_timeout * FAILED_LINGERS_MAX + PASS;
            assert!(
                now <= since + most,
                "P3: {channel:?} lives on {:?} after writing to it failed",
                now - since
            );
        }
    }

    fn check_inbound(&mut self, audit: &Audit, shared: &Shared) {
        let options = &shared.options;
        let held: usize = audit.connections.iter().map(|seen| seen.held).sum();
        assert!(
            audit.inbound_used <= audit.inbound_most,
            "P6: {} bytes are charged to an inbound budget of {}",
            audit.inbound_used,
            audit.inbound_most
        );
        assert!(
            held <= audit.inbound_used,
            "P6: connections hold {held} bytes of {} charged",
            audit.inbound_used
        );
        let share = options.inbound_bytes_per_channel;
        for seen in &audit.connections {
            assert!(
                seen.held <= share.max(MESSAGE_COST_MAX),
                "P6: {seen:?} holds more than its share"
            );
        }
        let starving = audit
            .connections
            .iter()
            .filter(|seen| seen.starved.is_some());
        let starving = starving.count();
        assert_eq!(
            starving, audit.starving,
            "P6: the count of the starving is off"
        );
        self.starved += starving as u64;
        self.most_inbound = self.most_inbound.max(audit.inbound_used);
        if let Some(holder) = audit.holder {
            let holder = audit.connections.iter().find(|seen| seen.key == holder);
            assert!(
                holder.is_some_and(|seen| seen.is_live),
                "P6: the shared buffer is held by a connection that has ended"
            );
        }
    }

    /// First come, first served: nobody overtakes, and new ones stand behind.
    fn check_line(&mut self, audit: &Audit) {
        let live = |key: &RecordKey| {
            audit
                .connections
                .iter()
                .find(|seen| seen.key == *key && seen.is_live)
        };
        let starved_by_engine =
            |key: &&RecordKey| live(key).is_some_and(|seen| seen.starved == Some(false));
        let line: Vec<RecordKey> = audit
            .waiting
            .iter()
            .filter(starved_by_engine)
            .copied()
            .collect();
        assert_eq!(
            audit.waiting.len(),
            line.len(),
            "P6: others stand in line than those who wait"
        );
        let groups: BTreeSet<usize> = audit.connections.iter().map(|seen| seen.group).collect();
        for group in groups {
            let is_of_group = |key: &RecordKey| live(key).is_some_and(|seen| seen.group == group);
            let mut left = line.iter().filter(|key| is_of_group(key));
            let before = self.waiting_before.iter();
            let mut overtaken = None;
            for &(key, started_before) in before.filter(|(key, _)| is_of_group(key)) {
                let Some(seen) = live(&key) else { continue };
                if seen.frames_started > started_before {
                    assert!(
                        overtaken.is_none(),
                        "P6: {key:?} was served before {overtaken:?}, which came first"
                    );
                } else {
                    overtaken = Some(key);
                    assert!(
                        left.next() == Some(&key),
                        "P6: {key:?} lost its place in the line {line:?}"
                    );
                }
            }
        }
        let with_progress = |key| live(key).map(|seen| (*key, seen.frames_started));
        self.waiting_before = line.iter().filter_map(with_progress).collect();
    }

    fn check_outbound(&self, shared: &Shared) {
        let queue = &shared.queue;
        let (used, reserves) =
            queue.with_registry(|registry| (registry.used(), registry.reserves()));
        // Simulations have fewer channels than this at a time.
        let most = shared.options.outbound_bytes + reserves + 64 * RESERVE;
        assert!(
            used <= most,
            "P6: {used} bytes are charged to an outbound budget of {most}"
        );
    }

    fn check_closing(&self, audit: &Audit, now: Instant) {
        for (group, &deadline) in &self.closing {
            let late = audit.groups.contains(group) && now > deadline + PASS;
            assert!(
                !late,
                "P3: group {group} is open {:?} past its deadline",
                now - deadline
            );
        }
        if let Some(deadline) = self.stopping {
            let late = now > deadline + PASS;
            assert!(
                !late,
                "P3: the engine runs {:?} past its deadline",
                now - deadline
            );
        }
    }
}

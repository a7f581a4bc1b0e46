//! What has become of the messages of many channels, those that are gone among them.

use super::progress::Progress;
use super::slot::{Kind, State};
use super::{GroupId, Registry};

/// Sums over channels, since the engine or the group began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) posted: u64,
    pub(crate) refused: u64,
    pub(crate) sent: u64,
    pub(crate) returned: u64,
    pub(crate) confirmed: u64,
    pub(crate) received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}

/// What there is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Census {
    pub(crate) connections: usize,
    pub(crate) listeners: usize,
    pub(crate) groups: usize,
    /// Bytes charged for messages that wait to be sent, or came back and were not dropped.
    pub(crate) outbound_bytes: usize,
    pub(crate) traffic: Traffic,
}

impl Traffic {
    pub(super) fn add(&mut self, progress: &Progress) {
        let Progress {
            posted,
            refused,
            returned,
            withdrawn: _, // among the returned
            report,
            queued_bytes: _,
        } = progress;
        self.posted += posted;
        self.refused += refused;
        self.returned += returned;
        self.sent += report.sent;
        self.confirmed += report.confirmed;
        self.received += report.received;
        self.bytes_sent += report.bytes_sent;
        self.bytes_received += report.bytes_received;
    }
}

impl Registry {
    /// Counts all channels, or those of one group. Posting costs nothing more for it: this walks through
    /// all numbers that were ever given out.
    pub(crate) fn census(&self, of: Option<GroupId>) -> Census {
        let place = of.map(|group| self.groups.place_of(group));
        let mut census = match place {
            None => Census {
                groups: self.groups.open(),
                outbound_bytes: self.groups.all().map(|group| group.outbound.used()).sum(),
                traffic: self.ended,
                ..Census::default()
            },
            Some(None) => return Census::default(), // the group has ended
            Some(Some(place)) => Census {
                groups: 1,
                outbound_bytes: self.groups.get(place).outbound.used(),
                traffic: self.groups.get(place).ended,
                ..Census::default()
            },
        };
        let is_asked_for = |group| of.is_none_or(|of| of == group);
        for slot in &self.slots {
            if slot.state == State::Free || !is_asked_for(slot.group) {
                continue;
            }
            census.traffic.add(&slot.progress);
            match slot.kind {
                _ if slot.state == State::Closed => {}
                Kind::Connection => census.connections += 1,
                Kind::Listener => census.listeners += 1,
            }
        }
        census
    }
}

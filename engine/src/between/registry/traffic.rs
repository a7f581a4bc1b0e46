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

impl From<Progress> for Traffic {
    fn from(progress: Progress) -> Self {
        let Progress {
            posted,
            refused,
            returned,
            withdrawn: _, // among the returned
            report,
            queued_bytes: _,
        } = progress;
        Traffic {
            posted,
            refused,
            sent: report.sent,
            returned,
            confirmed: report.confirmed,
            received: report.received,
            bytes_sent: report.bytes_sent,
            bytes_received: report.bytes_received,
        }
    }
}

impl Traffic {
    pub(crate) fn add(&mut self, other: Traffic) {
        self.posted += other.posted;
        self.refused += other.refused;
        self.sent += other.sent;
        self.returned += other.returned;
        self.confirmed += other.confirmed;
        self.received += other.received;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
    }
}

impl Registry {
    /// Counts all channels, the forgotten ones among them, or those of one group, which may have ended, that
    /// are not forgotten. Posting costs nothing more for it: this walks through all numbers that were ever
    /// given out.
    pub(crate) fn census(&self, of: Option<GroupId>) -> Census {
        let mut census = match of {
            None => Census {
                groups: self.groups.open(),
                outbound_bytes: self.groups.all().map(|group| group.outbound.used()).sum(),
                traffic: self.ended,
                ..Census::default()
            },
            Some(group) => {
                let place = self.groups.place_of(group);
                Census {
                    groups: usize::from(place.is_some()),
                    outbound_bytes: place.map_or(0, |it| self.groups.get(it).outbound.used()),
                    ..Census::default()
                }
            }
        };
        let is_asked_for = |group| of.is_none_or(|of| of == group);
        for slot in &self.slots {
            if slot.state == State::Free || !is_asked_for(slot.group) {
                continue;
            }
            census.traffic.add(slot.progress.into());
            match slot.kind {
                _ if slot.state == State::Closed => {}
                Kind::Connection => census.connections += 1,
                Kind::Listener => census.listeners += 1,
            }
        }
        census
    }
}

//! How many channels there are, and what has become of their messages, of those that are gone as well.

use crate::traffic::Traffic;

use super::progress::Progress;
use super::slot::{Kind, State};
use super::{GroupId, Registry};

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

impl Progress {
    /// The same as sums, of one channel.
    pub(super) fn traffic(self) -> Traffic {
        let Progress {
            posted,
            refused,
            returned,
            withdrawn: _, // among the returned
            report,
        } = self;
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
            census.traffic.add(slot.progress.traffic());
            match slot.kind {
                _ if slot.state == State::Closed => {}
                Kind::Connection => census.connections += 1,
                Kind::Listener => census.listeners += 1,
            }
        }
        census
    }
}

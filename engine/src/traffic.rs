//! Sums over the messages of many channels.

/// Sums over the messages of many channels, those that have ended among them. Of the channels that are
/// open, what the reactor knows is as of its last pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Traffic {
    /// Messages that `post` accepted, ByeSignals aside. Those neither sent nor returned are queued.
    pub posted: u64,
    /// Posts that were refused for want of budget.
    pub refused: u64,
    /// Messages whose last byte the operating system accepted.
    pub sent: u64,
    /// Messages that came back as [`Event::Returned`](crate::Event::Returned).
    pub returned: u64,
    /// Messages that peers are known to have received, as in [`Account`](crate::Account::confirmed).
    pub confirmed: u64,
    /// Messages from peers.
    pub received: u64,
    /// Bytes that the operating system accepted, frames and all.
    pub bytes_sent: u64,
    /// Bytes that were read, frames and all.
    pub bytes_received: u64,
}

impl Traffic {
    /// The numbers with the names of [`Statistics::values`](crate::Statistics::values).
    pub(crate) fn values(self) -> [(&'static str, u64); 8] {
        [
            ("ampe_messages_posted_total", self.posted),
            ("ampe_posts_refused_total", self.refused),
            ("ampe_messages_sent_total", self.sent),
            ("ampe_messages_returned_total", self.returned),
            ("ampe_messages_confirmed_total", self.confirmed),
            ("ampe_messages_received_total", self.received),
            ("ampe_sent_bytes_total", self.bytes_sent),
            ("ampe_received_bytes_total", self.bytes_received),
        ]
    }

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

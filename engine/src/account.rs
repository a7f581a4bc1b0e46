//! The account of a channel that has not ended yet.

use std::time::Duration;

use crate::between::registry::Progress;
use crate::clock;

/// How a channel stands, from [`ChannelGroup::account`](crate::ChannelGroup::account).
///
/// What was posted, and what is queued, is so at this moment, but for messages on their way out: they
/// are queued until the reactor has said that they were sent. What the reactor knows, which is
/// everything else, is as of its last exchange with the application's side. So
/// `posted = sent + returned + queued_messages` at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelAccount {
    /// Messages to the peer that `post` accepted, hellos and goodbyes among them.
    pub posted: u64,
    /// How often `post` refused one for want of budget, beyond those that it accepted.
    pub refused: u64,
    /// Of those posted, the messages whose last byte the operating system accepted.
    pub sent: u64,
    /// Of those posted, the messages that came back: none but those that were withdrawn before the channel
    /// has ended or cannot be written to any more.
    pub returned: u64,
    /// Of those sent, the messages that the peer is known to have received, as in
    /// [`Account::confirmed`](crate::Account::confirmed).
    pub confirmed: u64,
    /// Messages from the peer that have arrived, received by the application or not.
    pub received: u64,
    /// Bytes that the operating system accepted, frames and all.
    pub bytes_sent: u64,
    /// Bytes that have arrived and were read, frames and all.
    pub bytes_received: u64,
    /// Messages posted that were neither sent nor returned.
    pub queued_messages: u64,
    /// What these are charged to
    /// [`Options::outbound_bytes_per_channel`](crate::Options::outbound_bytes_per_channel), in bytes.
    pub queued_bytes: usize,
    /// For how long the first of these has been waiting since it came to the reactor, to the
    /// millisecond: a peer that reads keeps this low. `None` if the reactor had nothing to send when
    /// it said so last. An age of more than 49 days begins anew.
    pub oldest_queued: Option<Duration>,
}

impl ChannelAccount {
    pub(crate) fn of(progress: Progress, queued_bytes: usize) -> Self {
        let Progress {
            posted,
            refused,
            returned,
            withdrawn: _, // among the returned
            report,
        } = progress;
        let now = clock::now();
        ChannelAccount {
            posted,
            refused,
            bytes_sent: report.bytes_sent,
            bytes_received: report.bytes_received,
            sent: report.sent,
            returned,
            confirmed: report.confirmed,
            received: report.received,
            queued_messages: progress.queued(),
            queued_bytes,
            oldest_queued: report
                .oldest
                .map(|since| now.saturating_duration_since(since)),
        }
    }
}

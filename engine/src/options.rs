//! Every limit of an engine, with its default.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::storage::MESSAGE_COST_MAX;

/// The limits of an engine. Start from [`Options::default`] and change what matters.
///
/// Memory is bounded by the sum of [`inbound_bytes`](Options::inbound_bytes),
/// [`outbound_bytes`](Options::outbound_bytes), [`pool_bytes`](Options::pool_bytes), about 2 MiB
/// that the reactor keeps for itself, and for each connection up to 1 KiB and what it has queued in
/// its reserve, 16 KiB at most: 1 GiB if all 65,534 channels had peers that do not read. Messages that
/// were returned and received, and that the application keeps, are its own to bound: they count as
/// part of [`outbound_bytes`](Options::outbound_bytes), but no reserve is denied for their sake. A message counts with
/// its storage (256 bytes, 4, 16, 65 or 128 KiB, whichever takes it) and 768 bytes for its records.
///
/// Of a timeout, zero means "at once", and [`Duration::MAX`] means "never".
///
/// ```
/// use std::time::Duration;
/// let mut options = ampe::Options::default();
/// options.connect_timeout = Duration::from_secs(3);
/// options.inbound_bytes = 1 << 20;
/// let engine = ampe::Engine::start(options)?;
/// # Ok::<(), ampe::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Bytes of received messages that the application may hold or have waiting in inboxes.
    /// Beyond it the engine stops reading until messages are dropped. Default 64 MiB.
    pub inbound_bytes: usize,
    /// The part of [`inbound_bytes`](Options::inbound_bytes) that one channel may hold. Default
    /// 16 MiB; more than the whole means the whole.
    pub inbound_bytes_per_channel: usize,
    /// Bytes of posted messages not yet sent or returned, and of returned ones not yet dropped, of
    /// all channels together. Beyond it `post` refuses with
    /// [`PostError::Full`](crate::PostError::Full), but for a reserve of 16 KiB for each channel: with
    /// less than that queued, small messages to it are accepted whatever others have used up. So
    /// hellos, answers and goodbyes go though other peers do not read. Of the reserve, 14 KiB are for
    /// any message and the rest for a small ByeRequest and a small ByeResponse. A returned message
    /// counts as what it was posted as, also as the content taken out of it; posted again it is
    /// charged once. Default 64 MiB.
    pub outbound_bytes: usize,
    /// The part of [`outbound_bytes`](Options::outbound_bytes) that one channel's messages may take
    /// until they are sent or returned. Default 4 MiB; more than the whole means the whole.
    pub outbound_bytes_per_channel: usize,
    /// Bytes of free message storage kept for reuse. Default 16 MiB.
    pub pool_bytes: usize,
    /// How long a connection may take to be established, name resolution included, and how long a
    /// listener waits for a name, or for a directory in which somebody else binds a Unix socket.
    /// Default 10 s.
    pub connect_timeout: Duration,
    /// How long an accepted connection may take to send its first frame. Default 10 s.
    pub hello_timeout: Duration,
    /// How long a peer may pause in the middle of a message, which holds its part of the inbound
    /// budget meanwhile. Behind it the channel ends with
    /// [`Reason::ReceiveTimedOut`](crate::Reason::ReceiveTimedOut). It is the pause that counts, not
    /// the whole; and what the engine itself does not read, for want of budget, is no pause of the
    /// peer's. Between messages a peer may be silent for ever. Default 30 s.
    pub frame_timeout: Duration,
    /// How long a closing connection waits for the peer to close its side. Default 5 s.
    pub linger_timeout: Duration,
    /// Connections accepted by one listener that exist at the same time. Beyond it new ones wait in
    /// the system's backlog. Default 16,384.
    pub connections_per_listener: usize,
    /// Connections that the system keeps for a listener until they are accepted. Default 1,024;
    /// the system may cut it.
    pub backlog: u32,
    /// After how much silence TCP asks whether the peer is still there; `None` never asks. From 1 s
    /// to 32,767 s, which is what systems take; they count whole seconds. Default 30 s.
    pub keep_alive: Option<Duration>,
    /// Messages that [`ChannelGroup::notify`](crate::ChannelGroup::notify) finds waiting at most
    /// before it refuses. Default 1,024.
    pub notifications: usize,
}

/// The least that a budget can be: two messages of the largest size.
const BUDGET_MIN: usize = 2 * MESSAGE_COST_MAX;

impl Default for Options {
    fn default() -> Self {
        Options {
            inbound_bytes: 64 << 20,
            inbound_bytes_per_channel: 16 << 20,
            outbound_bytes: 64 << 20,
            outbound_bytes_per_channel: 4 << 20,
            pool_bytes: 16 << 20,
            connect_timeout: Duration::from_secs(10),
            hello_timeout: Duration::from_secs(10),
            frame_timeout: Duration::from_secs(30),
            linger_timeout: Duration::from_secs(5),
            connections_per_listener: 16_384,
            backlog: 1024,
            keep_alive: Some(Duration::from_secs(30)),
            notifications: 1024,
        }
    }
}

/// What systems take for the time of silence before TCP asks: others they refuse, or read otherwise.
const KEEP_ALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(32_767);

/// An option that an engine cannot work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("option {name} is {value}: give it {wanted}")]
pub struct OptionsError {
    name: &'static str,
    value: String,
    wanted: String,
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        let minima = [
            ("inbound_bytes", self.inbound_bytes, BUDGET_MIN),
            (
                "inbound_bytes_per_channel",
                self.inbound_bytes_per_channel,
                BUDGET_MIN,
            ),
            ("outbound_bytes", self.outbound_bytes, BUDGET_MIN),
            (
                "outbound_bytes_per_channel",
                self.outbound_bytes_per_channel,
                BUDGET_MIN,
            ),
            ("connections_per_listener", self.connections_per_listener, 1),
            ("backlog", self.backlog as usize, 1),
            ("notifications", self.notifications, 1),
        ];
        for (name, value, minimum) in minima {
            if value < minimum {
                return Err(OptionsError {
                    name,
                    value: value.to_string(),
                    wanted: format!("at least {minimum}"),
                });
            }
        }
        match self.keep_alive {
            Some(idle) if !KEEP_ALIVE.contains(&idle) => Err(OptionsError {
                name: "keep_alive",
                value: format!("{idle:?}"),
                wanted: "1 s to 32767 s, or None".to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

/// When `duration` has passed, or in thirty years where that is further than clocks go: a program
/// that says "never" by a very long time means it.
pub(crate) fn after(now: Instant, duration: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    now.checked_add(duration).unwrap_or(now + NEVER)
}

/// The limits of one group. There are none yet beyond the engine's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupOptions {}

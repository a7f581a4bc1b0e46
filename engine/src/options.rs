//! Every limit of an engine, with its default.

mod listen;

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::storage::MESSAGE_COST_MAX;

pub use self::listen::{Admission, ListenOptions};

/// The limits of an engine. Start from [`Options::default`] and change what matters.
///
/// # Memory
///
/// In every budget a message counts with the length of its frame (16 bytes, text headers and body)
/// and 896 bytes for its records, and 768 more if it has a [shared body](crate::SharedBody) and its frame more than
/// 384 bytes. A Request, Response or Signal whose frame has up to 8,208 bytes, or up to 384 with a shared body, counts with 384
/// bytes beside its frame while it is queued, and as any other once it is returned, which no budget can deny.
/// What a message holds is a sixteenth more than that at most. So an engine
/// takes, beside the messages that the application builds and holds, no more than this:
///
/// | | bytes |
/// |---|---|
/// | messages received, until they are dropped | [`inbound_bytes`](Options::inbound_bytes) · 17/16, and each group's [`inbound_reserve`](GroupOptions::inbound_reserve) · 17/16 |
/// | messages posted, until they are sent, or returned and dropped | [`outbound_bytes`](Options::outbound_bytes) · 17/16, and each group's [`outbound_reserve`](GroupOptions::outbound_reserve) · 17/16 |
/// | of these, and of what is in the reserves of channels, messages with frames of up to 8,208 bytes that were returned, until they are dropped | up to 4/3 of that beside it, if all that is queued is returned at once and has no content |
/// | the beginning of a message that would take more than half of `inbound_bytes`, until there is budget for the whole | 16 KiB · 17/16 for each connection: 278 MiB if 16,384 peers each send so much |
/// | free storage, with its records | [`pool_bytes`](Options::pool_bytes) |
/// | the reactor's buffers and free storage | 3 MiB |
/// | free storage that each thread keeps which builds messages, until it ends or stops the engine | 10 KiB for each |
/// | buffers for the frames of small messages: empty ones, and what those in use take beyond their frames; and places in lists | 15 MiB, and while anything is queued for any channel, 112 bytes for each message that was queued at the same time since nothing was |
/// | places in the lists of each group's events | 1.5 MiB, and while it does not find its inbox empty, 192 bytes for each event that waited at the same time |
/// | small messages that came together, those that an inbox has yielded while others of them are left, and places for them | 24 KiB for each group |
/// | each channel until its `Closed` was received, and each connection before its hello: its records, events without content, and the words of an abort | 8 KiB, of which one that is idle takes 1 KiB on Linux, and 1.5 where the tables have just grown; and 4 KiB more while several addresses of its host are tried |
/// | places in tables for channels that have ended, as many as there were at the same time | 1 KiB each at most: 65,534 channels leave 29 MiB behind |
/// | each connection to or from a `tls://` address, beside that: its keys, certificates and records | 192 KiB, of which one that is idle takes 12 KiB, and one before the end of its handshake 64 KiB |
/// | connections to or from `tls://` addresses that have ended, while the system has not taken TLS's orderly end | 64 · 192 KiB for the engine |
/// | each [`Incoming`](crate::Incoming), until it is decided about or dropped | 2 KiB, and 8 KiB for the names of a peer's certificate; at most [`connections_per_listener`](Options::connections_per_listener) for each listener, those counted that exist |
/// | what each channel has queued in its reserve, which no other budget can deny, its two goodbyes among it; and what came back of it, until that is dropped, also behind the channel's end | 16 KiB · 17/16: 1 GiB if all 65,534 channels had peers that do not read |
/// | notifications of each group, until they are received | [`notification_bytes`](Options::notification_bytes) · 17/16 |
/// | records of calls that are over, of each group, for other calls | 256 KiB |
/// | the report of each [`Inbox::close`](crate::Inbox::close), until it is dropped | `inbound_bytes` or 64 MiB, whichever is more · 17/16 |
///
/// Not in it are the stack of the engine's own thread, the threads that resolve names, and what the
/// system's allocator adds by rounding, or keeps of what was freed. glibc keeps most of it, in an arena for each of
/// several threads: so the resident memory of a process hardly shrinks when all is over, and may be half as much again
/// as what is in use.
///
/// # Times
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
    /// Beyond it the engine stops reading until messages are dropped. A message counts from when its
    /// header has arrived. One with more than 1 KiB of content that would take more than half of the
    /// budget counts from when 16 KiB of it are here, or all: so peers that only announce messages leave
    /// the others half. Default 64 MiB.
    pub inbound_bytes: usize,
    /// The part of [`inbound_bytes`](Options::inbound_bytes) that one channel may hold. Default
    /// 16 MiB; more than the whole means the whole.
    #[doc(alias = "ZMQ_RCVHWM")]
    #[doc(alias = "NNG_OPT_RECVBUF")]
    pub inbound_bytes_per_channel: usize,
    /// Bytes of posted messages not yet sent or returned, and of returned ones not yet dropped, of
    /// all channels together, beyond what each group has in
    /// [reserve](GroupOptions::outbound_reserve). Beyond both `post` refuses with
    /// [`PostError::Full`](crate::PostError::Full), but for a reserve of 16 KiB for each channel: with
    /// less than that queued, small messages to it are accepted whatever others have used up. So
    /// hellos, answers and goodbyes go though other peers do not read. Of the reserve, 14 KiB are for
    /// any message and the rest for a small ByeRequest and a small ByeResponse. A returned message
    /// counts as what it was posted as, and with the 896 bytes of any other; so does the content taken out of it.
    /// Posted again it is charged once. A [shared body](crate::SharedBody) counts with each message that has it,
    /// though it takes memory once. Default 128 MiB.
    pub outbound_bytes: usize,
    /// The part of [`outbound_bytes`](Options::outbound_bytes) that one channel's messages may take
    /// until they are sent or returned. Default 2 MiB; more than the whole means the whole.
    #[doc(alias = "ZMQ_SNDHWM")]
    #[doc(alias = "NNG_OPT_SENDBUF")]
    pub outbound_bytes_per_channel: usize,
    /// Bytes of free message storage kept for reuse, its records included. Default 16 MiB.
    pub pool_bytes: usize,
    /// How long a connection may take to be established, name resolution and the handshake of TLS included,
    /// and how long a listener waits for a name, or for a path that another process binds a Unix socket to.
    /// Default 10 s. It is also how long an established connection is kept that the system has no
    /// memory to poll (ENOMEM, ENOSPC); after that it ends with
    /// [`Reason::ConnectionLost`](crate::Reason::ConnectionLost).
    ///
    /// Of a host with several addresses the next is tried when one has failed, or has not answered
    /// within 250 ms, while those before are still waited for; IPv6 and IPv4 take turns. The first
    /// connection that comes about is used, and the other attempts are closed: a peer may see a
    /// connection that ends without a word. At most eight attempts are under way for a channel, each
    /// with a socket; a ninth takes the place of the oldest.
    #[doc(alias = "ZMQ_CONNECT_TIMEOUT")]
    pub connect_timeout: Duration,
    /// How long an accepted connection may take to send its first frame, the handshake of TLS included.
    /// Where the application is [asked](Admission::Ask) about it, that is how long it may take until it is admitted, and
    /// once more from then on to its first frame. Default 10 s.
    #[doc(alias = "ZMQ_HANDSHAKE_IVL")]
    pub hello_timeout: Duration,
    /// How long a peer may pause in the middle of a message, which holds its part of the inbound
    /// budget meanwhile; and the time in which an eighth of the message has to come. Behind it the
    /// channel ends with [`Reason::ReceiveTimedOut`](crate::Reason::ReceiveTimedOut). What the engine
    /// itself does not read, for want of budget, is no pause of the peer's; but once in this time it looks
    /// whether a peer that waits so has broken the connection. Between messages a peer may
    /// be silent for ever. Default 30 s.
    pub frame_timeout: Duration,
    /// How long the system may take nothing of what is queued for a peer: one that does not read, or
    /// is gone without a word. Behind it the channel ends with
    /// [`Reason::SendTimedOut`](crate::Reason::SendTimedOut), and what was not sent comes back.
    /// Default 30 s.
    #[doc(alias = "ZMQ_TCP_MAXRT")]
    pub send_timeout: Duration,
    /// How long a peer may take to answer our ByeRequest, from when that was sent; then the channel
    /// ends with [`Reason::ByeTimedOut`](crate::Reason::ByeTimedOut). While what came before the answer
    /// waits for budget here, and the application lets some of it be received, that is put off by
    /// [`linger_timeout`](Options::linger_timeout) at a time, eleven times at most.
    ///
    /// It is also how long the application may take to answer the ByeRequest of a peer that has closed its
    /// sending side behind it. Default 30 s.
    pub bye_timeout: Duration,
    /// How long a connection waits for the peer to close its side behind our ByeResponse, or where writing
    /// to it failed. [`Inbox::close`](crate::Inbox::close) and [`Engine::stop`](crate::Engine::stop) wait
    /// as long as they are told. Default 5 s.
    pub linger_timeout: Duration,
    /// Connections accepted by one listener that exist at the same time, those among them that wait to be
    /// [admitted](Admission::Ask). Beyond it new ones wait in the system's backlog. So they do beyond 64 that have not said hello, while somebody in the
    /// listener's group waits for inbound budget. Default 16,384.
    pub connections_per_listener: usize,
    /// How many bytes the system may buffer of what is sent over a connection and has not arrived
    /// (`SO_SNDBUF`). They are the system's own memory, not among those that the other options bound. Linux
    /// doubles the number for its own records, and cuts it at `net.core.wmem_max`. Default `None`: what the
    /// system chooses, which for TCP it adapts to the connection. Sockets that are
    /// [handed in](crate::ConnectedSocket), and what is accepted by such a [listener](crate::ListeningSocket),
    /// stay as they are.
    #[doc(alias = "ZMQ_SNDBUF")]
    #[doc(alias = "SO_SNDBUF")]
    pub send_buffer: Option<usize>,
    /// How many bytes the system may buffer of what has arrived and was not read (`SO_RCVBUF`); as
    /// [`send_buffer`](Options::send_buffer). With less than 128 KiB TCP may stall over a loopback, whose segments have
    /// up to 64 KiB: for a second and more nothing comes, until the system probes the window.
    #[doc(alias = "ZMQ_RCVBUF")]
    #[doc(alias = "SO_RCVBUF")]
    pub receive_buffer: Option<usize>,
    /// Connections that the system keeps for a listener until they are accepted. Default 1,024;
    /// the system may cut it.
    #[doc(alias = "ZMQ_BACKLOG")]
    pub backlog: u32,
    /// After how much silence TCP asks whether the peer is still there; `None` never asks. From 1 s
    /// to 32,767 s, which is what systems take; they count whole seconds. A peer that acknowledges
    /// nothing of what was sent to it is given up after twice as long, or after
    /// [`send_timeout`](Options::send_timeout) if that is longer; on Linux and Windows, elsewhere after
    /// the system's own time. Default 30 s.
    #[doc(alias = "ZMQ_HEARTBEAT_IVL")]
    #[doc(alias = "ZMQ_TCP_KEEPALIVE")]
    pub keep_alive: Option<Duration>,
    /// Messages of one group's [`ChannelGroup::notify`](crate::ChannelGroup::notify) that wait to be
    /// received at the same time, at most. Messages of peers do not count. Default 1,024.
    pub notifications: usize,
    /// Bytes of one group's notifications that wait to be received at the same time, at most, each
    /// counted as a message is in a budget. Default 1 MiB.
    pub notification_bytes: usize,
    /// How long a thread that waits in the reactor asks the system again and again before it sleeps, each
    /// time anew. An answer that comes within that time wakes nobody up, which takes most of the time of a
    /// round trip; but the thread takes a processor of its own meanwhile. Worth some 20 to 100 us where there
    /// are more processors than threads that wait, and worse than nothing where there are not. Default
    /// 0: it sleeps at once.
    pub spin: Duration,
}

/// The least that a budget can be: two messages of the largest size.
const BUDGET_MIN: usize = 2 * MESSAGE_COST_MAX;

impl Default for Options {
    fn default() -> Self {
        Options {
            inbound_bytes: 64 << 20,
            inbound_bytes_per_channel: 16 << 20,
            outbound_bytes: 128 << 20,
            outbound_bytes_per_channel: 2 << 20,
            pool_bytes: 16 << 20,
            connect_timeout: Duration::from_secs(10),
            hello_timeout: Duration::from_secs(10),
            frame_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(30),
            bye_timeout: Duration::from_secs(30),
            linger_timeout: Duration::from_secs(5),
            connections_per_listener: 16_384,
            backlog: 1024,
            send_buffer: None,
            receive_buffer: None,
            keep_alive: Some(Duration::from_secs(30)),
            notifications: 1024,
            notification_bytes: 1 << 20,
            spin: Duration::ZERO,
        }
    }
}

/// What systems take for the time of silence before TCP asks: others they refuse, or read otherwise.
const KEEP_ALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(32_767);

/// Systems take the size of a buffer as a number of 32 bits with a sign.
const BUFFER_MAX: usize = i32::MAX as usize;

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
            (
                "notification_bytes",
                self.notification_bytes,
                MESSAGE_COST_MAX,
            ),
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
        let buffers = [
            ("send_buffer", self.send_buffer),
            ("receive_buffer", self.receive_buffer),
        ];
        for (name, value) in buffers {
            let Some(value) = value else { continue };
            if !(1..=BUFFER_MAX).contains(&value) {
                return Err(OptionsError {
                    name,
                    value: value.to_string(),
                    wanted: format!("1 to {BUFFER_MAX}, or None"),
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

/// How long dropping the last handle of an engine, or an inbox, waits at most for what was posted to
/// be sent. Long enough for any peer that reads, short enough for a program to end.
pub(crate) const DROP_WITHIN: Duration = Duration::from_secs(1);

/// When `duration` has passed, or in thirty years where that is further than clocks go: a program
/// that says "never" by a very long time means it.
pub(crate) fn after(now: Instant, duration: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    now.checked_add(duration).unwrap_or(now + NEVER)
}

/// The limits of one group.
///
/// # Channel numbers
///
/// An engine has 65,534, which its groups share. A number is in use from when its channel is opened
/// until the application has received the channel's [`Closed`](crate::Event::Closed). So that a group
/// that does not receive cannot use up those of all, each group can have 64 whatever the others hold.
/// Where there are more than 511 groups, it is as many as come to each when half of the numbers is
/// divided among them, and at least one. A reserve lasts from the creation of its group until the group
/// has ended. A group for which numbers are not left when it is created gets its reserve before
/// others get more, from what they give back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupOptions {
    /// Bytes of received messages that this group may hold whatever the engine's other groups hold:
    /// [`Options::inbound_bytes`] are shared by all, and each group's reserve comes on top, until the
    /// group has ended and its messages were dropped. So a group whose application does not receive
    /// slows the others down, and never stops them. At least one message of the largest size, which is
    /// the default: 131,984.
    pub inbound_reserve: usize,
    /// Bytes of posted messages, not yet sent, and of returned ones, not yet dropped, that this group
    /// may hold whatever the engine's other groups hold: what it holds counts against its reserve first
    /// and beyond it against [`Options::outbound_bytes`]. So a group whose application does not receive
    /// what was returned to it, or keeps it, denies others nothing for good. The reserve lasts until the
    /// group has ended and its returned messages were dropped, or posted by another group. At least one
    /// message of the largest size, which is the default: 131,984.
    pub outbound_reserve: usize,
    /// How connections to and from `tls://` addresses are secured. Default `None`: there are none.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub tls: Option<crate::Tls>,
}

impl Default for GroupOptions {
    fn default() -> Self {
        GroupOptions {
            inbound_reserve: MESSAGE_COST_MAX,
            outbound_reserve: MESSAGE_COST_MAX,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// What the table above says of the reactor's own memory, and of a channel's.
#[cfg(test)]
const REACTOR_BYTES: usize = 3 << 20;
#[cfg(test)]
const FRAME_BUFFER_BYTES: usize = 15 << 20;
#[cfg(test)]
const EVENT_PLACES_BYTES: usize = 3 << 19;
#[cfg(test)]
const INBOX_BYTES: usize = 24 * 1024;
#[cfg(test)]
const CHANNEL_BYTES: usize = 8 * 1024;
#[cfg(test)]
const ATTEMPTS_BYTES: usize = 4 * 1024;

#[cfg(test)]
mod tests;

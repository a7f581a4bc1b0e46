//! What an engine and a group count.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::between::registry::Census;
use crate::handles::Shared;
use crate::traffic::Traffic;

/// How an engine stands, and what it counted since it started: from
/// [`Engine::statistics`](crate::Engine::statistics).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = ampe::Engine::start(ampe::Options::default())?;
/// for (name, value) in engine.statistics().values() {
///     println!("{name} {value}"); // ampe_messages_sent_total 0
/// }
/// # Ok(()) }
/// ```
#[doc(alias = "metrics")]
#[doc(alias = "nng_stats_get")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Connections accepted.
    pub accepted: u64,
    /// Of those, the connections that ended before they had said hello, or said something else.
    pub ended_before_hello: u64,
    /// Of these, the connections that were refused: by the application, by a word or by dropping an
    /// [`Incoming`](crate::Incoming), or because [`ListenOptions`](crate::ListenOptions) do not allow their users. Who
    /// was not decided about in time is not among them.
    pub refused: u64,
    /// How often the system refused to accept: mostly it was out of descriptors. Accepting pauses
    /// for a tenth of a second then, and no connection is lost by it.
    pub accept_failures: u64,
    /// Connections refused because no channel number was free for their group: all 65,534 were in use,
    /// or what was left is other groups' reserve (see [`GroupOptions`](crate::GroupOptions)).
    pub out_of_numbers: u64,
    /// How often the reactor's loop went round. Stands still while there is nothing to do; each question for
    /// these numbers, or a group's, is something.
    pub passes: u64,
    /// How often a thread that posted, received or dropped something ended the reactor's wait for sockets and times;
    /// once, however many did so meanwhile. What a thread posts while it makes the passes itself, or while the reactor
    /// is at work anyway, wakes nobody. Each question for these numbers, or a group's, may.
    pub wakes: u64,
    /// Groups that are open.
    pub groups: usize,
    /// Channels that are open now: connections, those that are being opened among them.
    pub connections: usize,
    /// Channels that are open now: listeners.
    pub listeners: usize,
    /// Of the connections, those that are not read from, since budget is wanting for their next message;
    /// at the end of the last pass.
    pub starved: usize,
    /// Bytes of [`Options::inbound_bytes`](crate::Options::inbound_bytes) and of the groups' reserves that
    /// received messages take up, until they are dropped; at the end of the last pass.
    pub inbound_bytes: usize,
    /// Bytes of [`Options::outbound_bytes`](crate::Options::outbound_bytes) and of all reserves that
    /// messages take up which wait to be sent, or came back and were not dropped.
    pub outbound_bytes: usize,
    /// Bytes of free storage, of at most [`Options::pool_bytes`](crate::Options::pool_bytes).
    pub pool_bytes: usize,
    /// The messages of all channels.
    pub messages: Traffic,
}

/// How a group stands, and what it counted since it was opened: from
/// [`ChannelGroup::statistics`](crate::ChannelGroup::statistics).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct GroupStatistics {
    /// Channels that are open now: connections, those that are being opened among them.
    pub connections: usize,
    /// Channels that are open now: listeners.
    pub listeners: usize,
    /// Bytes of the outbound budget that messages take up which wait to be sent, or came back and were not
    /// dropped; once the group has ended they are counted for the engine alone.
    pub outbound_bytes: usize,
    /// Events that wait for the inbox, beside those of the batch that it took last.
    pub events_waiting: usize,
    /// Notifications that were not received yet: those among them, and those of the batch that the inbox took
    /// last.
    pub notifications: usize,
    /// The messages of its channels.
    pub messages: Traffic,
}

impl Statistics {
    pub(crate) fn of(shared: &Shared) -> Statistics {
        let counters = &shared.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Census {
            connections,
            listeners,
            groups,
            outbound_bytes,
            traffic,
        } = shared.queue.ask(|registry| registry.census(None));
        Statistics {
            accepted: load(&counters.accepted),
            ended_before_hello: load(&counters.ended_before_hello),
            refused: load(&counters.refused),
            accept_failures: load(&counters.accept_failures),
            out_of_numbers: load(&counters.out_of_numbers),
            passes: load(&counters.passes),
            wakes: load(&counters.wakes),
            groups,
            connections,
            listeners,
            starved: counters.starved.load(Ordering::Relaxed),
            inbound_bytes: counters.inbound_bytes.load(Ordering::Relaxed),
            outbound_bytes,
            pool_bytes: shared.pool.free_bytes(),
            messages: traffic,
        }
    }

    /// All numbers by their names, which stay what they are: those that end with `_total` only grow, the
    /// others say what there is now, and bytes have the word in their name.
    #[doc(alias = "prometheus")]
    pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counted = [
            ("ampe_accepted_total", self.accepted),
            ("ampe_ended_before_hello_total", self.ended_before_hello),
            ("ampe_refused_total", self.refused),
            ("ampe_accept_failures_total", self.accept_failures),
            ("ampe_out_of_numbers_total", self.out_of_numbers),
            ("ampe_passes_total", self.passes),
            ("ampe_wakes_total", self.wakes),
        ];
        let standing = [
            ("ampe_groups", self.groups),
            ("ampe_connections", self.connections),
            ("ampe_listeners", self.listeners),
            ("ampe_starved_connections", self.starved),
            ("ampe_inbound_bytes", self.inbound_bytes),
            ("ampe_outbound_bytes", self.outbound_bytes),
            ("ampe_pool_bytes", self.pool_bytes),
        ];
        let standing = standing.map(|(name, value)| (name, value as u64));
        let messages = self.messages.values();
        counted.into_iter().chain(standing).chain(messages)
    }

    /// Hands all numbers to whatever recorder the program has installed for the crate `metrics`, with
    /// `engine` as their label. Called now and then, as before each time that they are asked for, it costs
    /// the engine's work nothing.
    #[cfg(feature = "metrics")]
    pub fn record(&self, engine: &'static str) {
        for (name, value) in self.values() {
            if name.ends_with("_total") {
                metrics::counter!(name, "engine" => engine).absolute(value);
            } else {
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                metrics::gauge!(name, "engine" => engine).set(value as f64);
            }
        }
    }
}

impl GroupStatistics {
    pub(crate) fn of(census: Census, waiting: (usize, usize)) -> GroupStatistics {
        let Census {
            connections,
            listeners,
            groups: _,
            outbound_bytes,
            traffic,
        } = census;
        GroupStatistics {
            connections,
            listeners,
            outbound_bytes,
            events_waiting: waiting.0,
            notifications: waiting.1,
            messages: traffic,
        }
    }
}

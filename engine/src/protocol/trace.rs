//! What the reactor tells the crate `tracing`, if that is a feature: every event, as it is delivered, to an
//! inbox or to a call.

use std::collections::VecDeque;

use crate::between::registry::GroupId;
use crate::event::Event;

#[cfg(not(feature = "tracing"))]
#[inline]
pub(super) fn deliveries(_: GroupId, _: &VecDeque<Event>) {}

/// The beginnings and ends of channels at level DEBUG, messages at level TRACE. If nobody listens, it costs
/// a look at one word for each batch.
#[cfg(feature = "tracing")]
pub(super) fn deliveries(group: GroupId, events: &VecDeque<Event>) {
    use tracing::Level;

    if events.is_empty() || !tracing::enabled!(target: "ampe", Level::DEBUG) {
        return;
    }
    let is_wanted = tracing::enabled!(target: "ampe", Level::TRACE);
    for event in events {
        let channel = event.channel().map_or(0, |channel| channel.number());
        match event {
            Event::Listening(_) | Event::Opened(_) | Event::Hello(_) | Event::Closed(_) => {
                tracing::debug!(target: "ampe", group, channel, "{event}");
            }
            _ if is_wanted => tracing::trace!(target: "ampe", group, channel, "{event}"),
            _ => {}
        }
    }
}

//! What the reactor tells the crate `tracing`, if that is a feature: every event, as it is delivered, to an
//! inbox or to a call, and a span for the life of each channel.

use crate::between::registry::GroupId;
use crate::delivery::Deliveries;
#[cfg(feature = "tracing")]
use crate::delivery::Delivery;
#[cfg(feature = "tracing")]
use crate::event::Event;

/// What is told, without anybody to tell.
#[cfg(not(feature = "tracing"))]
#[derive(Default)]
pub(super) struct Trace {}

#[cfg(not(feature = "tracing"))]
impl Trace {
    #[inline]
    pub(super) fn deliveries(&mut self, _: GroupId, _: &mut Deliveries) {}
}

/// The spans of the channels that are open. They are never entered: many overlap in one thread, and threads take
/// turns. What happens on a channel names its span as its parent.
#[cfg(feature = "tracing")]
#[derive(Default)]
pub(super) struct Trace {
    spans: std::collections::HashMap<crate::channel::Channel, tracing::Span>,
}

#[cfg(feature = "tracing")]
impl Trace {
    /// The beginnings and ends of channels at level DEBUG, messages at level TRACE. If nobody listens, it costs
    /// a look at one word for each batch.
    pub(super) fn deliveries(&mut self, group: GroupId, deliveries: &mut Deliveries) {
        use tracing::Level;

        let is_wanted = tracing::enabled!(target: "ampe", Level::DEBUG);
        if deliveries.queue().is_empty() || (!is_wanted && self.spans.is_empty()) {
            return;
        }
        let takes_messages = tracing::enabled!(target: "ampe", Level::TRACE);
        if takes_messages {
            deliveries.unpack();
        }
        for event in deliveries.queue().iter().filter_map(Delivery::event) {
            match event {
                Event::Listening(_) | Event::Opened(_) | Event::Hello(_) if is_wanted => {
                    self.open(group, event);
                    self.tell_of_channel(group, event);
                }
                Event::Incoming(_) if is_wanted => self.tell_of_channel(group, event),
                Event::Closed(closed) => {
                    self.tell_of_channel(group, event);
                    self.spans.remove(&closed.channel());
                }
                _ if takes_messages => {
                    let channel = number(event);
                    let span = self.span(event);
                    tracing::trace!(target: "ampe", parent: span, group, channel, "{event}");
                }
                _ => {}
            }
        }
    }

    fn open(&mut self, group: GroupId, event: &Event) {
        let Some(channel) = event.channel() else {
            return;
        };
        let number = channel.number();
        let span =
            tracing::debug_span!(target: "ampe", parent: None, "channel", group, channel = number);
        self.spans.insert(channel, span);
    }

    fn tell_of_channel(&self, group: GroupId, event: &Event) {
        let channel = number(event);
        tracing::debug!(target: "ampe", parent: self.span(event), group, channel, "{event}");
    }

    /// That of the event's channel, if somebody listened when it opened.
    fn span(&self, event: &Event) -> Option<tracing::Id> {
        let span = self.spans.get(&event.channel()?)?;
        span.id()
    }
}

#[cfg(feature = "tracing")]
fn number(event: &Event) -> u16 {
    event.channel().map_or(0, |channel| channel.number())
}

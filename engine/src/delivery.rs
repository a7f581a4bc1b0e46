//! What the reactor hands over to the inbox of a group: events, and small frames as they came.

#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;

use crate::between::key::RecordKey;
use crate::channel::Channel;
use crate::event::{Event, Received, Request, Signal};
use crate::storage::{SMALLEST_SIZE, Storage, cost_of};
use crate::wire::{Header, OpCode};

/// So many bytes of frames are handed over together at most. An inbox that was not read to its end keeps as much of
/// frames whose messages were taken, which are charged to nobody.
pub(crate) const TOGETHER_BYTES: usize = 16 * 1024;

/// Frames up to so many bytes are handed over together. Longer ones get storage of their own from the reactor: from 512
/// bytes on there was nothing to win, as copying once more takes as long as waiting for what another processor has
/// written.
pub(crate) const TOGETHER_MAX: usize = SMALLEST_SIZE;

/// What the reactor hands over as one.
pub(crate) enum Delivery {
    Event(Event),
    Frames(ReceivedFrames),
}

// It is no longer than a line of the cache, as an event is.
const _: () = assert!(size_of::<Delivery>() <= 64);

/// At least one frame of a channel as it came: Signals, Requests and Responses that were found to be in order. Each gets
/// storage of its own where it is received, so that this storage, which the reactor has written, is the only one that
/// goes from one processor to another. It is charged with what its messages are charged all together.
pub(crate) struct ReceivedFrames {
    storage: Storage,
    channel: Channel,
    /// Where the next one begins.
    next: usize,
    /// How many messages are left.
    left: usize,
}

/// Some frames that follow each other.
#[derive(Clone, Copy, Default)]
pub(crate) struct Stretch {
    pub(crate) bytes: usize,
    pub(crate) messages: u32,
    /// How many of them are answers that are whole.
    pub(crate) answers: u32,
}

impl Stretch {
    #[inline]
    pub(crate) fn add(&mut self, header: &Header) {
        self.bytes += header.frame_len();
        self.messages += 1;
        self.answers += u32::from(header.op_code == OpCode::Response && !header.more);
    }

    /// What its messages are charged.
    #[inline]
    pub(crate) fn cost(&self) -> usize {
        self.bytes + self.messages as usize * cost_of(0)
    }
}

impl std::ops::AddAssign for Stretch {
    fn add_assign(&mut self, other: Stretch) {
        self.bytes += other.bytes;
        self.messages += other.messages;
        self.answers += other.answers;
    }
}

impl ReceivedFrames {
    /// Those of `stretch`, with which `bytes` begin, in `storage`.
    pub(crate) fn new(
        (channel, key): (Channel, RecordKey),
        stretch: Stretch,
        bytes: &[u8],
        mut storage: Storage,
    ) -> Self {
        assert!(stretch.messages > 0, "there is something to hand over");
        let bytes = &bytes[..stretch.bytes];
        storage.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        storage.charge_inbound(key, stretch.cost());
        ReceivedFrames {
            storage,
            channel,
            next: 0,
            left: stretch.messages as usize,
        }
    }

    /// Where they lie, charged with what is left.
    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// How many are left.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.left
    }

    /// Takes so many messages out, or as many as are left. `free` is empty before and after: storage for them lies there
    /// meanwhile.
    pub(crate) fn take(
        &mut self,
        most: usize,
        free: &mut Vec<Storage>,
        into: &mut VecDeque<Event>,
    ) {
        let home = self.storage.home();
        let home = home.expect("the pool's, as all that is received");
        home.take_smallest(most.min(self.left), free);
        for mut storage in free.drain(..) {
            let frame = &self.storage.bytes()[self.next..];
            let (header, rest) = frame.split_first_chunk().expect("a whole frame");
            let header = Header::decode(header).expect("it was decoded when it came");
            let content = &rest[..header.content_len()];
            storage.bytes_mut()[Header::LEN..][..content.len()].copy_from_slice(content);
            let cost = cost_of(header.frame_len());
            storage.charge_inbound(self.storage.take_inbound(cost), cost);
            self.next += header.frame_len();
            self.left -= 1;
            into.push_back(blank(header.op_code));
            fill(into.back_mut(), self.channel, &header, storage);
        }
    }
}

/// The event of a Request, Response or Signal, to be filled in where it stays: one that is put together elsewhere and
/// moved there as a whole has to be waited for.
#[inline(always)] // it is done for every message, and so are the other two
fn blank(op_code: OpCode) -> Event {
    match op_code {
        OpCode::Signal => const { Event::Signal(Signal(Received::BLANK)) },
        OpCode::Request => const { Event::Request(Request(Received::BLANK)) },
        _ => const { Event::Response(Received::BLANK) },
    }
}

#[inline(always)]
fn fill(event: Option<&mut Event>, channel: Channel, header: &Header, storage: Storage) {
    let received = event.and_then(Event::frequent_mut);
    let received = received.expect("it was queued a moment ago");
    received.fill(channel, header, storage);
}

impl Delivery {
    /// The event that it is.
    #[cfg(test)]
    fn into_event(self) -> Event {
        match self {
            Delivery::Event(event) => event,
            Delivery::Frames(_) => unreachable!("these are unpacked"),
        }
    }

    /// How many events it is.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Delivery::Event(_) => 1,
            Delivery::Frames(frames) => frames.len(),
        }
    }

    /// The event, unless it is frames.
    #[inline]
    pub(crate) fn event(&self) -> Option<&Event> {
        match self {
            Delivery::Event(event) => Some(event),
            Delivery::Frames(_) => None,
        }
    }

    /// Has the processor fetch the content, as [`Storage::fetch`] does.
    pub(crate) fn fetch(&self) {
        if let Delivery::Event(event) = self {
            event.fetch();
        }
    }
}

/// What a pass has for a group.
#[derive(Default)]
pub(crate) struct Deliveries {
    queue: VecDeque<Delivery>,
    /// How many events were put in, those included that have been handed over.
    events: usize,
}

impl Deliveries {
    pub(crate) fn push_back(&mut self, event: Event) {
        self.events += 1;
        self.queue.push_back(Delivery::Event(event));
    }

    pub(crate) fn push_front(&mut self, event: Event) {
        self.events += 1;
        self.queue.push_front(Delivery::Event(event));
    }

    pub(crate) fn push_frames(&mut self, frames: ReceivedFrames) {
        self.events += frames.len();
        self.queue.push_back(Delivery::Frames(frames));
    }

    /// Appends the event of a Request, Response or Signal, whose frame is in `storage`.
    #[inline(always)]
    pub(crate) fn push_message(&mut self, channel: Channel, header: &Header, storage: Storage) {
        self.events += 1;
        self.queue.push_back(Delivery::Event(blank(header.op_code)));
        let event = match self.queue.back_mut() {
            Some(Delivery::Event(event)) => Some(event),
            _ => None,
        };
        fill(event, channel, header, storage);
    }

    /// How many events were put in, ever.
    #[inline]
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// What is to be handed over.
    pub(crate) fn queue(&mut self) -> &mut VecDeque<Delivery> {
        &mut self.queue
    }

    /// Makes events of all frames.
    #[cfg(any(test, feature = "tracing"))]
    pub(crate) fn unpack(&mut self) {
        let (mut events, mut free) = (VecDeque::new(), Vec::new());
        for delivery in std::mem::take(&mut self.queue) {
            match delivery {
                Delivery::Event(_) => self.queue.push_back(delivery),
                Delivery::Frames(mut frames) => {
                    frames.take(frames.len(), &mut free, &mut events);
                    self.queue.extend(events.drain(..).map(Delivery::Event));
                }
            }
        }
    }
}

#[cfg(test)]
impl Deliveries {
    /// How many events there are.
    pub(crate) fn len(&self) -> usize {
        self.queue.iter().map(Delivery::len).sum()
    }

    pub(crate) fn pop_front(&mut self) -> Option<Event> {
        self.unpack();
        self.queue.pop_front().map(Delivery::into_event)
    }

    pub(crate) fn pop_back(&mut self) -> Option<Event> {
        self.unpack();
        self.queue.pop_back().map(Delivery::into_event)
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Event> {
        self.unpack();
        self.queue.drain(..).map(Delivery::into_event)
    }
}

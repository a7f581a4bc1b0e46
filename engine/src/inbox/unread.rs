//! What an inbox has taken from its mailbox and has not yielded.

use std::collections::VecDeque;
use std::mem;

use crate::channel::Channel;
use crate::delivery::Delivery;
use crate::event::Event;
use crate::storage::Storage;

/// So many messages are taken out of frames together: few enough to be in the processor's cache still when they are yielded.
pub(crate) const UNPACKED_MOST: usize = 16;

/// What is left where an event was taken.
const NOTHING: Event = Event::Room(Channel::NONE);

#[derive(Default)]
pub(super) struct Unread {
    /// Messages that were taken out of the frames at the front.
    unpacked: VecDeque<Event>,
    /// What follows those.
    pub(super) deliveries: VecDeque<Delivery>,
    /// The place for free storage while messages are taken out, empty else.
    free: Vec<Storage>,
}

impl Unread {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.unpacked.is_empty() && self.deliveries.is_empty()
    }

    /// How many events it is.
    pub(super) fn len(&self) -> usize {
        let follow: usize = self.deliveries.iter().map(Delivery::len).sum();
        self.unpacked.len() + follow
    }

    /// The next one if it is a message and not the last: then nothing more is to be done with it.
    #[inline]
    pub(super) fn pop_message(&mut self) -> Option<Event> {
        if self.unpacked.len() > 1 {
            return self.unpacked.pop_front();
        }
        if self.deliveries.len() < 2 || !self.unpacked.is_empty() {
            return None;
        }
        // Moved from where it lies: one that is looked into when it was taken out has to be waited for.
        let event = match self.deliveries.front_mut() {
            Some(Delivery::Event(event)) if event.is_frequent() => mem::replace(event, NOTHING),
            _ => return None,
        };
        mem::forget(self.deliveries.pop_front()); // there is nothing to drop, and nobody has to look
        Some(event)
    }

    /// The next one.
    pub(super) fn pop(&mut self) -> Option<Event> {
        if self.unpacked.is_empty() {
            self.unpack();
        }
        let event = match self.unpacked.pop_front() {
            Some(event) => event,
            None => match self.deliveries.pop_front()? {
                Delivery::Event(event) => event,
                Delivery::Frames(_) => unreachable!("these were unpacked"),
            },
        };
        Some(event)
    }

    /// Takes messages out of the frames at the front, if frames are there.
    fn unpack(&mut self) {
        let Some(Delivery::Frames(frames)) = self.deliveries.front_mut() else {
            return;
        };
        frames.take(UNPACKED_MOST, &mut self.free, &mut self.unpacked);
        if frames.len() == 0 {
            self.deliveries.pop_front();
        }
    }

    /// Where the content of the last one lies, if it is a message.
    pub(super) fn last_storage(&self) -> Option<&Storage> {
        match self.deliveries.back() {
            Some(Delivery::Frames(frames)) => Some(frames.storage()),
            Some(Delivery::Event(event)) => event.frequent_storage(),
            None => self.unpacked.back()?.frequent_storage(),
        }
    }

    /// Has the processor fetch the next messages together, before they are taken one by one. Returns how many.
    pub(super) fn fetch(&self, most: usize) -> usize {
        let next = self.deliveries.iter().take(most);
        next.map(Delivery::fetch).count()
    }
}

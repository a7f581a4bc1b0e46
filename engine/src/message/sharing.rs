//! Bodies that many messages have.

use std::mem;
use std::sync::Arc;

use crate::shared_body::SharedBody;
use crate::storage::{Lens, Shared, Storage};
use crate::wire::Header;

use super::Message;

impl Message {
    /// Makes the body one that other messages can have as well, for [`set_shared_body`](Message::set_shared_body)
    /// and by [`clone`](Clone::clone); text headers stay each message's own. It costs one allocation, for any
    /// number of messages, and no copy: only where the message has much longer text headers or was much longer
    /// than its body is, the body is copied once.
    ///
    /// A received body stays charged to the inbound budget until it is posted for the first time, or the last
    /// message and `SharedBody` that have it are dropped. That of a message that came back is the
    /// application's; what the message holds of the outbound budget it holds until it is dropped itself. Where one
    /// of up to 384 bytes with its header is posted through another engine, that has a copy, and what was received
    /// stays charged.
    ///
    /// ```
    /// use ampe::{Channel, ChannelGroup, Message, Post};
    ///
    /// /// Hands what came from one on to all others.
    /// fn hand_on(message: Message, others: &[Channel]) -> impl Iterator<Item = Post> {
    ///     let mut message = message;
    ///     message.share_body();
    ///     others.iter().map(move |&other| message.clone().signal(other))
    /// }
    /// ```
    pub fn share_body(&mut self) -> SharedBody {
        if let Some(body) = self.shared_body() {
            return body;
        }
        let (start, end) = (self.body_start(), self.frame_len());
        let len = end - start;
        let mut head = self.storage_beside(start);
        head.set_lens(self.storage.lens());
        if let Some(block) = self.storage.bytes().get(Header::LEN..start) {
            head.bytes_mut()[Header::LEN..start].copy_from_slice(block);
        }
        self.pass_hold_to(&mut head);
        let shared = if len > 0 && Shared::may_keep(&self.storage, Header::LEN + len) {
            let storage = mem::replace(&mut self.storage, head);
            Shared::part_of(storage, start..end)
        } else {
            let mut storage = self.storage_beside(len);
            storage.bytes_mut()[..len].copy_from_slice(self.own_body());
            self.storage = head;
            Shared::part_of(storage, 0..len)
        };
        let shared = Arc::new(shared);
        self.storage.set_body(Arc::clone(&shared));
        SharedBody(shared)
    }

    /// As [`set_shared_body`](Message::set_shared_body).
    #[must_use]
    pub fn with_shared_body(mut self, body: &SharedBody) -> Self {
        self.set_shared_body(body);
        self
    }

    /// Sets the body to one that other messages may have as well. It is not copied, and not changed by any of
    /// them: a message whose body is written to gets its own copy first.
    ///
    /// Each message counts in full with the budget of the channel that it is posted to, and with 768 bytes more,
    /// as if it had a copy, though it takes less memory: [`outbound_bytes`](crate::Options::outbound_bytes) has
    /// to be large enough for as many times the body as there are channels that are behind. A message whose
    /// frame has up to 384 bytes is copied where it is posted, which takes less than to share it, and counts as one
    /// that has a body of its own; of any other a body of up to 4,096 bytes is copied when it is written, with others.
    #[doc(alias = "zmq_msg_copy")]
    #[doc(alias = "nng_msg_dup")]
    pub fn set_shared_body(&mut self, body: &SharedBody) {
        let body_len = SharedBody::len_of(&body.0);
        let kept = self.storage.bytes().len();
        let start = self.body_start();
        if kept < start {
            self.reserve(start); // it had no storage
        }
        self.storage.set_body(Arc::clone(&body.0));
        self.set_body_len(body_len);
    }

    /// The body, if it is one that other messages may have as well.
    pub fn shared_body(&self) -> Option<SharedBody> {
        self.storage.body().map(|body| SharedBody(Arc::clone(body)))
    }

    /// Gives the message a copy of its own of a shared body.
    #[inline]
    pub(super) fn unshare_body(&mut self) {
        if self.storage.body().is_some() {
            self.copy_shared_body();
        }
    }

    #[cold]
    fn copy_shared_body(&mut self) {
        let body = self.storage.take_body();
        let len = self.body_len();
        self.set_body_len(0);
        let own = self.resize_own_body(len);
        own.copy_from_slice(body.as_ref().map_or(&[], |body| body.bytes()));
    }

    /// Leaves the message without a body, if that was shared.
    #[inline]
    pub(super) fn drop_shared_body(&mut self) {
        if self.storage.body().is_some() {
            self.storage.drop_body();
            self.set_body_len(0);
        }
    }

    /// Takes the body away, if it is shared and all that there is.
    #[inline]
    pub(crate) fn take_shared_alone(&mut self) -> Option<Arc<Shared>> {
        if self.text_headers_len() > 0 {
            return None;
        }
        let body = self.storage.take_body()?;
        self.set_body_len(0);
        Some(body)
    }

    /// A message that has this body, with room for its header in `storage`.
    pub(crate) fn of_shared(mut storage: Storage, body: Arc<Shared>) -> Self {
        let len = SharedBody::len_of(&body);
        storage.set_body(body);
        storage.set_lens(Lens {
            text_headers: 0,
            body: len,
        });
        Message { storage }
    }

    /// A shared body was posted, and is charged to the outbound budget from now on.
    ///
    /// Call it without holding a lock of an engine.
    pub(crate) fn release_shared_inbound(&self) {
        if let Some(body) = self.storage.body() {
            body.release_inbound();
        }
    }
}

#[cfg(test)]
mod tests;

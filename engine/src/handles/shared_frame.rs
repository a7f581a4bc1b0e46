//! A frame whose body other messages may have as well.

use std::sync::Arc;

use crate::message::Message;
use crate::storage::{Shared, Storage, shared_cost_of};
use crate::wire::Header;

/// What was posted without text headers: its message's storage stays with the thread that posted, and is free again.
pub(crate) struct SharedFrame {
    pub(crate) header: [u8; Header::LEN],
    pub(crate) body: Arc<Shared>,
}

impl SharedFrame {
    pub(crate) fn header(&self) -> Header {
        Header::decode(&self.header).expect("what was encoded here")
    }

    pub(crate) fn len(&self) -> usize {
        Header::frame_len_of(&self.header)
    }

    /// What it was charged when it was admitted.
    pub(crate) fn cost(&self) -> usize {
        shared_cost_of(self.len())
    }

    /// The frame as it goes out.
    pub(crate) fn pieces(&self) -> [&[u8]; 2] {
        [&self.header, self.body.bytes()]
    }

    /// The message that it was, in `storage` that takes a header.
    pub(crate) fn into_message(self, storage: Storage) -> Message {
        Message::of_shared(storage, self.body)
    }
}

//! A body that many messages have.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::message::MessageError;
use crate::storage::Shared;
use crate::wire::MAX_BODY_LEN;

/// A body of up to 65,535 bytes that any number of messages can have without a copy of it: one announcement to a
/// thousand channels. It is never changed; a clone is the same body.
///
/// It comes from a message, by [`Message::share_body`](crate::Message::share_body), or from a `Vec<u8>`,
/// or with the feature `bytes` from a `Bytes`, neither of which is copied. It goes into messages by
/// [`Message::with_shared_body`](crate::Message::with_shared_body), of any engine, and is there again in those that
/// come back.
///
/// Its memory goes when the last message and the last `SharedBody` that have it are dropped. Messages that are
/// posted are charged for it, each in full; what the application holds is its own. Memory that a `Vec` has beyond
/// its length is given back.
///
/// ```
/// use ampe::{Channel, ChannelGroup, SharedBody};
///
/// /// Tells all of them, and each its number.
/// fn tell(group: &ChannelGroup, channels: &[Channel], body: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
///     let body = SharedBody::try_from(body)?;
///     for (number, &channel) in channels.iter().enumerate() {
///         let message = group.message().with_header("Number", number.to_string())?;
///         group.post(message.with_shared_body(&body).signal(channel))?;
///     }
///     Ok(())
/// }
/// ```
#[doc(alias = "zmq_msg_init_data")]
#[doc(alias = "zero-copy")]
#[derive(Clone)]
pub struct SharedBody(pub(crate) Arc<Shared>);

impl SharedBody {
    /// The length of such a body, which was checked when it came about.
    pub(crate) fn len_of(body: &Shared) -> u16 {
        u16::try_from(body.bytes().len()).expect("a body is no longer than a frame can say")
    }
}

impl Deref for SharedBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl AsRef<[u8]> for SharedBody {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Without a copy.
impl TryFrom<Vec<u8>> for SharedBody {
    type Error = MessageError;

    /// # Errors
    ///
    /// [`MessageError::BodyTooLong`] over 65,535 bytes.
    fn try_from(body: Vec<u8>) -> Result<Self, MessageError> {
        check(body.len())?;
        Ok(SharedBody(Arc::new(Shared::owning(body))))
    }
}

/// Without a copy. A part of larger `Bytes` keeps all of that alive for as long as it is queued, and no budget
/// counts more than the part: the rest is the application's to bound.
#[cfg(feature = "bytes")]
#[cfg_attr(docsrs, doc(cfg(feature = "bytes")))]
impl TryFrom<bytes::Bytes> for SharedBody {
    type Error = MessageError;

    /// # Errors
    ///
    /// [`MessageError::BodyTooLong`] over 65,535 bytes.
    fn try_from(body: bytes::Bytes) -> Result<Self, MessageError> {
        check(body.len())?;
        Ok(SharedBody(Arc::new(Shared::of(body))))
    }
}

/// Without a copy: of a received body, `Bytes::from(message.share_body())` is a view of the memory that it was
/// received into, and stays charged to the inbound budget until the last of it is dropped.
#[cfg(feature = "bytes")]
#[cfg_attr(docsrs, doc(cfg(feature = "bytes")))]
impl From<SharedBody> for bytes::Bytes {
    fn from(body: SharedBody) -> Self {
        match body.0.as_bytes() {
            Some(bytes) => bytes.clone(),
            None => bytes::Bytes::from_owner(body),
        }
    }
}

fn check(len: usize) -> Result<(), MessageError> {
    match len {
        0..=MAX_BODY_LEN => Ok(()),
        _ => Err(MessageError::BodyTooLong { len }),
    }
}

impl fmt::Debug for SharedBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SharedBody")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "bytes"))]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::Message;

    #[test]
    fn bytes_go_in_and_come_out_without_a_copy() {
        let before = Bytes::from(vec![7; 3000]);
        let part = before.slice(500..2500);
        let place = part.as_ptr();
        let body = SharedBody::try_from(part).unwrap();
        let message = Message::empty().with_shared_body(&body);
        assert_eq!(
            (message.body().as_ptr(), message.body().len()),
            (place, 2000)
        );
        let after = Bytes::from(message.shared_body().unwrap());
        assert_eq!((after.as_ptr(), after.len()), (place, 2000));
        let len = 65_536;
        let refused = SharedBody::try_from(Bytes::from(vec![7; len])).unwrap_err();
        assert_eq!(refused, MessageError::BodyTooLong { len });
    }

    #[test]
    fn a_body_that_came_out_outlives_its_message() {
        let mut message = Message::empty().with_body(&[7; 3000]).unwrap();
        let place = message.body().as_ptr();
        let bytes = Bytes::from(message.share_body());
        drop(message);
        assert_eq!((bytes.as_ptr(), &bytes[..]), (place, &[7; 3000][..]));
    }
}

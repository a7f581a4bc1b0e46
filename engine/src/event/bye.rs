//! The event of a ByeRequest, which is answered.

use std::fmt;
use std::sync::Arc;

use crate::channel::Channel;
use crate::message::Message;
use crate::post::Post;
use crate::wire::OpCode;

use super::Received;

/// A ByeRequest from a peer: it waits for a ByeResponse. It is to send nothing more; what it sends
/// nonetheless is delivered, and one ByeResponse answers it.
///
/// The ByeResponse is sent behind all that was posted before it. Dropping this event posts one, so
/// that a peer is never left waiting by omission; [`answer`](Bye::answer) and [`echo`](Bye::echo)
/// give it content.
#[doc(alias = "ByeRequest")]
#[derive(Debug)]
pub struct Bye {
    pub(crate) received: Box<Received>,
    pub(crate) answer_on_drop: AnswerOnDrop,
}

/// Where a dropped [`Bye`] posts its ByeResponse. Empty until the event was taken.
#[derive(Default)]
pub(crate) struct AnswerOnDrop(pub(crate) Option<Box<Arc<dyn AnswerBye>>>);

/// Answers a ByeRequest by a ByeResponse without content, unless its channel has ended or was
/// answered: nothing is owed then.
pub(crate) trait AnswerBye: Send + Sync {
    fn answer_bye(&self, channel: Channel, id: u64);
}

impl fmt::Debug for AnswerOnDrop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "armed" } else { "unarmed" })
    }
}

impl Bye {
    /// The ByeResponse, with this message.
    pub fn answer(mut self, message: Message) -> Post {
        self.answer_on_drop.0 = None;
        Post::to(
            self.received.channel,
            OpCode::ByeResponse,
            self.received.id,
            message,
        )
    }

    /// The ByeResponse with the very content that came.
    pub fn echo(mut self) -> Post {
        let message = std::mem::replace(&mut self.received.message, Message::empty());
        self.answer(message)
    }
}

impl Drop for Bye {
    fn drop(&mut self) {
        if let Some(engine) = self.answer_on_drop.0.take() {
            let Received { channel, id, .. } = *self.received;
            engine.answer_bye(channel, id);
        }
    }
}

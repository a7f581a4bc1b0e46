//! Signals that are encoded where they are written, to be posted together.

use std::collections::VecDeque;
use std::fmt;

use crate::handles::RUN_BYTES;
use crate::message::{Message, MessageError};
use crate::post::BY_VALUE_MAX;
use crate::wire::{Header, OpCode};

/// So many signals are admitted in one hold of the lock at most: each is numbered there.
const FRAMES_MOST: u32 = 1024;

/// What one signal in a buffer may have, text headers and body together.
const CONTENT_MAX: usize = BY_VALUE_MAX - Header::LEN;

/// Signals, one behind the other as they will be sent, to be posted to one channel by
/// [`post_signals`](crate::ChannelGroup::post_signals).
///
/// For measurements, ticks, log lines: many small messages that nobody answers. What a [`Message`] costs for itself, its
/// storage and its place in a list of posts, is saved, and where signals have 16 bytes and more, a buffer of 32 KiB and
/// more of them is handed to the engine without being copied once more. Everything else is as if each signal had been
/// posted: it is charged, sent in its order, or comes back as [`Event::Returned`](crate::Event::Returned). The peer cannot
/// tell the difference.
///
/// A buffer may hold any number of signals. Until they are posted they lie in the application's memory, and are charged
/// to no budget: each takes 16 bytes and its content, and what has grown for them may be twice as long. One that was posted
/// keeps at most 128 KiB for others.
///
/// ```
/// use ampe::{Channel, ChannelGroup, PostError, SignalBuffer};
///
/// /// Tells of the readings in their order, and waits while the peer reads more slowly.
/// async fn tell(group: &ChannelGroup, to: Channel, readings: &[[u8; 8]]) -> Result<(), PostError> {
///     let mut buffer = SignalBuffer::new();
///     for reading in readings {
///         buffer.push(reading).expect("short");
///     }
///     while let Err(why) = group.post_signals(to, &mut buffer) {
///         match why {
///             PostError::Full(_) => group.room(to).await?, // what was accepted is no longer in the buffer
///             other => return Err(other),
///         }
///     }
///     Ok(())
/// }
/// ```
#[doc(alias = "batch")]
#[doc(alias = "feed")]
#[derive(Default)]
pub struct SignalBuffer {
    /// None of them is empty.
    runs: VecDeque<SignalRun>,
    /// How many signals are in them.
    len: usize,
    /// The memory of a run that was posted, for the next.
    spare: Vec<u8>,
}

/// Some of a buffer's signals, as frames that have no channel and no id yet: at most [`RUN_BYTES`], as far as it was
/// not posted.
#[derive(Default)]
pub(crate) struct SignalRun {
    bytes: Vec<u8>,
    /// Where the first one begins that was not posted.
    at: usize,
    /// How many were not.
    left: u32,
}

impl SignalBuffer {
    /// An empty buffer, without memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a signal with a copy of this body.
    ///
    /// # Errors
    ///
    /// [`MessageError::TooLongForBuffer`] over 8,192 bytes. The buffer is unchanged then.
    #[inline]
    pub fn push(&mut self, body: &[u8]) -> Result<(), MessageError> {
        self.push_content(&[], body)
    }

    /// Appends a signal with a copy of what is in `message`, text headers and body, also a
    /// [shared](Message::share_body) one.
    ///
    /// # Errors
    ///
    /// [`MessageError::TooLongForBuffer`] over 8,192 bytes of both together. The buffer is unchanged then.
    pub fn push_message(&mut self, message: &Message) -> Result<(), MessageError> {
        self.push_content(message.text_headers().as_bytes(), message.body())
    }

    #[inline]
    fn push_content(&mut self, text_headers: &[u8], body: &[u8]) -> Result<(), MessageError> {
        let len = text_headers.len() + body.len();
        if len > CONTENT_MAX {
            return Err(MessageError::TooLongForBuffer { len });
        }
        let header = Header {
            channel_number: 0,
            op_code: OpCode::Signal,
            more: false,
            status: 0,
            message_id: 0,
            text_headers_len: text_headers.len() as u16, // both were looked at above
            body_len: body.len() as u16,
        };
        let run = match self.runs.back_mut() {
            Some(run) if run.has_room(Header::LEN + len) => run,
            _ => self.begin(),
        };
        run.left += 1;
        run.bytes.extend_from_slice(&header.encode());
        if !text_headers.is_empty() {
            run.bytes.extend_from_slice(text_headers);
        }
        run.bytes.extend_from_slice(body);
        self.len += 1;
        Ok(())
    }

    #[cold]
    fn begin(&mut self) -> &mut SignalRun {
        self.runs.push_back(SignalRun {
            bytes: std::mem::take(&mut self.spare),
            ..SignalRun::default()
        });
        self.runs.back_mut().expect("it was put in a moment ago")
    }

    /// How many signals are in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes its signals are as they are sent, their headers of 16 bytes included.
    pub fn bytes(&self) -> usize {
        self.runs.iter().map(|run| run.unposted().len()).sum()
    }

    /// Drops all signals that are in it.
    pub fn clear(&mut self) {
        while let Some(mut run) = self.runs.pop_front() {
            run.bytes.clear();
            self.spare = run.bytes;
        }
        self.len = 0;
    }

    /// What is to be posted next.
    pub(crate) fn first_mut(&mut self) -> Option<&mut SignalRun> {
        self.runs.front_mut()
    }

    /// So many of the first were posted.
    pub(crate) fn posted(&mut self, count: u32) {
        self.len -= count as usize;
        if self.runs.front().is_some_and(|run| run.left == 0)
            && let Some(mut run) = self.runs.pop_front()
        {
            run.bytes.clear();
            self.spare = run.bytes;
        }
    }
}

impl SignalRun {
    #[inline]
    fn has_room(&self, len: usize) -> bool {
        self.bytes.len() + len <= RUN_BYTES && self.left < FRAMES_MOST
    }

    /// How many of its signals were not posted.
    pub(crate) fn left(&self) -> u32 {
        self.left
    }

    /// Their frames.
    pub(crate) fn unposted(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// How long each of them is, in their order.
    pub(crate) fn lens(&self) -> impl Iterator<Item = usize> {
        let mut rest = self.unposted();
        std::iter::from_fn(move || {
            let len = (!rest.is_empty()).then(|| Header::frame_len_of(rest))?;
            rest = &rest[len..];
            Some(len)
        })
    }

    /// Gives the frames in the first so many bytes their channel, and ids that count from this one on.
    pub(crate) fn number(&mut self, bytes: usize, channel_number: u16, first_id: u64) {
        let mut rest = &mut self.bytes[self.at..][..bytes];
        let mut id = first_id;
        while !rest.is_empty() {
            let len = Header::frame_len_of(rest);
            Header::set_channel_and_id(rest, channel_number, id);
            (rest, id) = (&mut rest[len..], id + 1);
        }
    }

    /// So many of the first, of so many bytes, were posted.
    pub(crate) fn pass(&mut self, count: u32, bytes: usize) {
        self.left -= count;
        self.at += bytes;
    }

    /// Whether the first so many bytes that were not posted are all that ever was in it.
    pub(crate) fn is_whole(&self, bytes: usize) -> bool {
        bytes == self.bytes.len()
    }

    /// Takes the whole out, and leaves nothing, with other memory.
    pub(crate) fn take_whole(&mut self, other: Vec<u8>) -> Vec<u8> {
        self.left = 0;
        std::mem::replace(&mut self.bytes, other)
    }
}

impl fmt::Debug for SignalBuffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("SignalBuffer");
        shown.field("len", &self.len).field("bytes", &self.bytes());
        shown.finish_non_exhaustive()
    }
}

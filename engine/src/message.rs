//! Message content in storage that the engine lends.

mod sharing;
mod show;

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;

use crate::post::{BY_VALUE_MAX, BY_VALUE_SHARED_MAX};
use crate::storage::{Lens, Pool, Storage, cost_of, keep_spare, shared_cost_of};
use crate::wire::{self, Header, MAX_BODY_LEN, TextHeaderError, TextHeaders};

const LINE_END: &[u8] = b"\r\n";

/// The content of a message: text headers and a body, each up to 65,535 bytes.
///
/// Get one from [`Engine::message`](crate::Engine::message), or from an event. What it *does* is
/// said when it becomes a [`Post`](crate::Post): see [`request`](Message::request),
/// [`signal`](Message::signal), [`hello`](Message::hello) and [`bye`](Message::bye).
///
/// Its storage comes from the engine's pool and goes back there on drop. A message that was
/// received is charged to the engine's inbound budget until it is dropped or posted on: an
/// application that keeps messages slows its peers down rather than using ever more memory. What goes to many has
/// a [shared body](Message::share_body), which is not copied.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = ampe::Engine::start(ampe::Options::default())?;
/// let message = engine.message().with_header("Content-Type", "text/plain")?.with_body(b"hello")?;
/// assert_eq!(message.text_headers().get("Content-Type"), Some(&b"text/plain"[..]));
/// assert_eq!(message.body(), b"hello");
/// # Ok(()) }
/// ```
#[doc(alias = "zmq_msg_t")]
#[doc(alias = "nng_msg")]
pub struct Message {
    /// A whole frame in the making: 16 bytes for the header, the text headers, the body. So a
    /// large message is sent from where it lies, and a received one is read to where it stays. A body that
    /// is shared lies elsewhere, and the storage knows it.
    storage: Storage,
}

// Two words are moved in registers.
const _: () = assert!(size_of::<Message>() == 2 * size_of::<usize>());

/// Content that a message cannot take. The message is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// A body is at most 65,535 bytes: split it over several messages, all but the last of them
    /// with [`more`](crate::Post::more).
    #[doc(alias = "ZMQ_MAXMSGSIZE")]
    #[doc(alias = "NNG_OPT_RECVMAXSZ")]
    #[error("a body of {len} bytes is too long: at most 65535, split it with `more`")]
    BodyTooLong {
        /// The length asked for.
        len: usize,
    },
    /// A signal in a [`SignalBuffer`](crate::SignalBuffer) has at most 8,192 bytes of text headers and body: post it
    /// by itself.
    #[error(
        "a signal of {len} bytes is too long for a buffer of signals: at most 8192, post it by itself"
    )]
    TooLongForBuffer {
        /// The length of its text headers and its body.
        len: usize,
    },
    /// The text header cannot be written.
    #[error(transparent)]
    TextHeader(#[from] TextHeaderError),
    /// Names that start with a tilde belong to the engine.
    #[error("header name {name:?} is reserved: names that start with `~` belong to the engine")]
    ReservedName {
        /// The name.
        name: String,
    },
}

impl Message {
    #[inline]
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        Message {
            storage: pool.take(Header::LEN),
        }
    }

    /// A message without content or storage, for posts that carry none.
    pub(crate) const fn empty() -> Self {
        Message {
            storage: Storage::none(),
        }
    }

    /// A message about to be received into `storage`.
    pub(crate) fn receiving(storage: Storage, header: &Header) -> Self {
        let mut message = Message::empty();
        message.receive(storage, header);
        message
    }

    /// Makes this one that was received into `storage`, or is about to be.
    #[inline]
    pub(crate) fn receive(&mut self, mut storage: Storage, header: &Header) {
        assert!(
            storage.bytes().len() >= header.frame_len(),
            "storage takes the announced frame"
        );
        storage.set_lens(Lens {
            text_headers: header.text_headers_len,
            body: header.body_len,
        });
        let before = mem::replace(&mut self.storage, storage);
        assert!(before.is_none(), "it is received once");
        mem::forget(before); // there is nothing to drop, and nobody has to look
    }

    /// The text headers.
    #[doc(alias = "nng_msg_header")]
    #[inline]
    pub fn text_headers(&self) -> TextHeaders<'_> {
        let block = self.storage.bytes().get(Header::LEN..self.body_start());
        TextHeaders::new(block.unwrap_or_default())
    }

    /// The body.
    #[doc(alias = "zmq_msg_data")]
    #[doc(alias = "nng_msg_body")]
    #[inline]
    pub fn body(&self) -> &[u8] {
        match self.storage.body() {
            Some(body) => body.bytes(),
            None => self.own_body(),
        }
    }

    /// The body, to be written in place; a copy, if it was [shared](Message::share_body). Its length is changed
    /// by [`resize_body`](Message::resize_body).
    pub fn body_mut(&mut self) -> &mut [u8] {
        self.unshare_body();
        self.own_body_mut()
    }

    /// Appends a text header. Names are case-sensitive; order and repetition are kept. Spaces, tabs and
    /// line ends around the name are dropped. The value is text or bytes.
    ///
    /// # Errors
    ///
    /// [`MessageError::TextHeader`] if the name is empty or has a `:`, CR or LF in it, the value is
    /// empty or has CR or LF in it, or all text headers together would exceed 65,535 bytes;
    /// [`MessageError::ReservedName`] if the name starts with a tilde.
    pub fn with_header(
        mut self,
        name: &str,
        value: impl AsRef<[u8]>,
    ) -> Result<Self, MessageError> {
        self.add_header(name, value)?;
        Ok(self)
    }

    /// Sets the body to a copy of `body`.
    ///
    /// # Errors
    ///
    /// [`MessageError::BodyTooLong`] over 65,535 bytes.
    #[inline]
    pub fn with_body(mut self, body: &[u8]) -> Result<Self, MessageError> {
        self.set_body(body)?;
        Ok(self)
    }

    /// As [`with_header`](Message::with_header), in place.
    ///
    /// # Errors
    ///
    /// As [`with_header`](Message::with_header). The message is unchanged then.
    pub fn add_header(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), MessageError> {
        if name.trim_start().starts_with('~') {
            return Err(MessageError::ReservedName {
                name: name.to_owned(),
            });
        }
        self.add_any_header(name, value.as_ref())
    }

    /// Adds to an empty message a header that says why; or says `otherwise`, where a text header cannot carry
    /// the reason.
    pub(crate) fn say(&mut self, name: &str, why: &str, otherwise: &str) {
        let said = self.add_any_header(name, why);
        // An empty message takes it.
        let _ = said.or_else(|_| self.add_any_header(name, otherwise));
    }

    pub(crate) fn add_any_header(
        &mut self,
        name: &str,
        value: impl AsRef<[u8]>,
    ) -> Result<(), MessageError> {
        let value = value.as_ref();
        // A peer may leave out the end of its last line, which must not run on into ours.
        let block = self.text_headers().as_bytes();
        let end_of_last: &[u8] = match block.is_empty() || block.ends_with(LINE_END) {
            true => b"",
            false => LINE_END,
        };
        let added = end_of_last.len() + wire::encoded_len(name, value)?;
        let needed = usize::from(self.text_headers_len()) + added;
        let text_headers_len =
            u16::try_from(needed).map_err(|_| TextHeaderError::TooLong { needed })?;
        let (start, end) = (self.body_start(), self.stored_len());
        self.reserve(end + added);
        let bytes = self.storage.bytes_mut();
        bytes.copy_within(start..end, start + added);
        let (line_end, line) = bytes[start..start + added].split_at_mut(end_of_last.len());
        wire::write_into(line, name, value)?;
        line_end.copy_from_slice(end_of_last);
        self.set_text_headers_len(text_headers_len);
        Ok(())
    }

    /// Removes every text header of this name. The other lines stay as they are.
    pub(crate) fn remove_headers(&mut self, name: &str) {
        let mut rest = self.text_headers().as_bytes();
        let mut kept = Vec::new();
        while !rest.is_empty() {
            let line_end = rest
                .windows(LINE_END.len())
                .position(|pair| pair == LINE_END);
            let len = line_end.map_or(rest.len(), |at| at + LINE_END.len());
            let (line, later) = rest.split_at(len);
            if TextHeaders::new(line).get(name).is_none() {
                kept.extend_from_slice(line);
            }
            rest = later;
        }
        let (body_start, end) = (self.body_start(), self.stored_len());
        let removed = usize::from(self.text_headers_len()) - kept.len();
        let bytes = self.storage.bytes_mut();
        bytes[Header::LEN..Header::LEN + kept.len()].copy_from_slice(&kept);
        bytes.copy_within(body_start..end, body_start - removed);
        let kept_len = u16::try_from(kept.len()).expect("shorter than it was");
        self.set_text_headers_len(kept_len);
    }

    /// As [`with_body`](Message::with_body), in place.
    ///
    /// # Errors
    ///
    /// As [`with_body`](Message::with_body). The message is unchanged then.
    #[inline]
    pub fn set_body(&mut self, body: &[u8]) -> Result<(), MessageError> {
        let len = checked_len(body.len())?;
        self.drop_shared_body(); // it is not copied first
        self.resize_own_body(len).copy_from_slice(body);
        Ok(())
    }

    /// Sets the body's length and lends the body for writing, so that content can be produced or
    /// read from a file in place. Bytes within the old length keep their value; the others are zero.
    ///
    /// # Errors
    ///
    /// [`MessageError::BodyTooLong`] over 65,535 bytes. The message is unchanged then.
    #[doc(alias = "nng_msg_realloc")]
    pub fn resize_body(&mut self, len: usize) -> Result<&mut [u8], MessageError> {
        let before = usize::from(self.body_len());
        let body = self.resize_body_dirty(len)?;
        if let Some(added) = body.get_mut(before..) {
            added.fill(0);
        }
        Ok(body)
    }

    /// As [`resize_body`](Message::resize_body), but the bytes behind the old length are *not* set:
    /// they are what earlier messages left in this memory, those of **other peers and other groups**
    /// among them. Whatever is not overwritten goes to the peer that this is posted to.
    ///
    /// It saves the setting of these bytes, which takes about 1.5 µs for the longest body. Use it
    /// only where each byte of the body is written whatever happens, and cut the body to what was
    /// written where less came than was asked for.
    ///
    /// # Errors
    ///
    /// As [`resize_body`](Message::resize_body).
    pub fn resize_body_dirty(&mut self, len: usize) -> Result<&mut [u8], MessageError> {
        let len = checked_len(len)?;
        self.unshare_body();
        Ok(self.resize_own_body(len))
    }

    /// The same of a body that is not shared.
    #[inline]
    fn resize_own_body(&mut self, len: u16) -> &mut [u8] {
        self.reserve(self.body_start() + usize::from(len));
        self.set_body_len(len);
        self.own_body_mut()
    }

    /// Removes text headers and body. The storage stays.
    #[doc(alias = "nng_msg_clear")]
    pub fn clear(&mut self) {
        self.drop_shared_body();
        self.storage.set_lens(Lens::default());
    }

    #[inline]
    fn reserve(&mut self, len: usize) {
        if len > self.storage.bytes().len() {
            self.reserve_more(len);
        }
    }

    #[cold]
    fn reserve_more(&mut self, len: usize) {
        let mut larger = self.storage_beside(len);
        // A hold knows what it is for and moves along. What was received was charged for the
        // storage that goes back now: the larger one is the application's own.
        self.pass_hold_to(&mut larger);
        keep_spare(self.move_to(larger));
    }

    /// Other storage from where its own is from.
    fn storage_beside(&self, len: usize) -> Storage {
        match self.storage.home() {
            Some(home) => home.take(len),
            None => Storage::unpooled(len),
        }
    }

    fn pass_hold_to(&mut self, storage: &mut Storage) {
        if let Some(hold) = self.storage.take_hold() {
            storage.set_hold(hold);
        }
    }

    /// Returns the storage where it lay.
    fn move_to(&mut self, mut storage: Storage) -> Storage {
        storage.set_lens(self.storage.lens());
        if let Some(used) = self.storage.bytes().get(..self.stored_len()) {
            storage.bytes_mut()[..used.len()].copy_from_slice(used);
        }
        if let Some(body) = self.storage.take_body() {
            storage.set_body(body);
        }
        mem::replace(&mut self.storage, storage)
    }

    /// Makes this a message of the engine that `pool` belongs to, in storage that is no larger than
    /// its content needs: it is charged for its content. What another engine lent goes back there,
    /// with what it was charged; but for a shared body, which stays where it is, unless it is so small that a
    /// copy takes less.
    ///
    /// Call it without holding a lock of either engine.
    pub(crate) fn adopt(&mut self, pool: &Arc<Pool>) {
        let is_ours = self
            .storage
            .home()
            .is_some_and(|home| Arc::ptr_eq(home, pool));
        if self.fits_by_value() {
            self.unshare_body();
        }
        if is_ours && self.storage.fits(self.stored_len()) {
            return;
        }
        let mut storage = pool.take(self.stored_len());
        if is_ours {
            self.pass_hold_to(&mut storage);
        }
        self.move_to(storage);
    }

    /// Whether its storage is that of another engine.
    #[inline]
    pub(crate) fn is_foreign_to(&self, pool: &Arc<Pool>) -> bool {
        let home = self.storage.home();
        home.is_some_and(|home| !Arc::ptr_eq(home, pool))
    }

    #[inline]
    fn body_start(&self) -> usize {
        Header::LEN + usize::from(self.text_headers_len())
    }

    /// The body, where it is not shared.
    #[inline]
    fn own_body(&self) -> &[u8] {
        let body = self
            .storage
            .bytes()
            .get(self.body_start()..self.frame_len());
        body.unwrap_or_default()
    }

    #[inline]
    fn own_body_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.body_start(), self.frame_len());
        let body = self.storage.bytes_mut().get_mut(start..end);
        body.unwrap_or_default()
    }

    /// The text headers and the body: in one piece, or a shared body in the second.
    #[inline]
    pub(crate) fn content(&self) -> [&[u8]; 2] {
        let (stored, shared) = match self.storage.body() {
            None => (self.frame_len(), &[][..]),
            Some(body) => (self.body_start(), body.bytes()),
        };
        let stored = self.storage.bytes().get(Header::LEN..stored);
        [stored.unwrap_or_default(), shared]
    }

    /// How much of the frame is in the message's own storage.
    #[inline]
    fn stored_len(&self) -> usize {
        match self.storage.body() {
            Some(_) => self.body_start(),
            None => self.frame_len(),
        }
    }

    fn copy_content_to(&self, storage: &mut Storage) {
        let [stored, shared] = self.content();
        let (first, second) =
            storage.bytes_mut()[Header::LEN..self.frame_len()].split_at_mut(stored.len());
        first.copy_from_slice(stored);
        second.copy_from_slice(shared);
    }

    #[inline]
    pub(crate) fn text_headers_len(&self) -> u16 {
        self.storage.lens().text_headers
    }

    #[inline]
    pub(crate) fn body_len(&self) -> u16 {
        self.storage.lens().body
    }

    fn set_text_headers_len(&mut self, text_headers: u16) {
        let body = self.body_len();
        self.storage.set_lens(Lens { text_headers, body });
    }

    #[inline]
    fn set_body_len(&mut self, body: u16) {
        let text_headers = self.text_headers_len();
        self.storage.set_lens(Lens { text_headers, body });
    }

    /// The length of the frame that carries this message.
    #[inline]
    pub(crate) fn frame_len(&self) -> usize {
        Header::LEN + self.content_len()
    }

    #[inline]
    pub(crate) fn content_len(&self) -> usize {
        let lens = self.storage.lens();
        usize::from(lens.text_headers) + usize::from(lens.body)
    }

    /// The same content in other storage, which is charged to nobody; in none where there is no content.
    pub(crate) fn to_uncharged(&self, pool: &Arc<Pool>) -> Message {
        if self.content_len() == 0 {
            return Message::empty();
        }
        let mut storage = pool.take(self.frame_len());
        self.copy_content_to(&mut storage);
        storage.set_lens(self.storage.lens());
        Message { storage }
    }

    /// Whether its frame is copied where it is posted as a Request, Response or Signal, a shared body with it: to
    /// hand it over takes more.
    #[inline]
    pub(crate) fn fits_by_value(&self) -> bool {
        let len = self.frame_len();
        len <= BY_VALUE_SHARED_MAX || (len <= BY_VALUE_MAX && self.storage.body().is_none())
    }

    /// What this message is charged while it is queued or delivered.
    #[inline]
    pub(crate) fn cost(&self) -> usize {
        let len = self.frame_len();
        if !self.fits_by_value() && self.storage.body().is_some() {
            return shared_cost_of(len);
        }
        cost_of(len)
    }

    /// The frame as it goes out, once its header was written by
    /// [`encode_header`](Message::encode_header): in one piece, or a shared body in the second.
    #[inline]
    pub(crate) fn frame(&self) -> [&[u8]; 2] {
        let shared = self.storage.body().map_or(&[][..], |body| body.bytes());
        [&self.storage.bytes()[..self.stored_len()], shared]
    }

    pub(crate) fn encode_header(&mut self, header: &Header) {
        assert_eq!(
            header.frame_len(),
            self.frame_len(),
            "a header announces its own message"
        );
        self.storage.bytes_mut()[..Header::LEN].copy_from_slice(&header.encode());
    }

    /// Where received content goes: everything behind the header. Such a message shares nothing.
    pub(crate) fn content_mut(&mut self) -> &mut [u8] {
        let len = self.frame_len();
        &mut self.storage.bytes_mut()[Header::LEN..len]
    }

    #[inline]
    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    #[inline]
    pub(crate) fn storage_mut(&mut self) -> &mut Storage {
        &mut self.storage
    }

    #[inline]
    pub(crate) fn into_storage(self) -> Storage {
        self.storage
    }
}

/// As the header of its frame says it.
#[inline]
fn checked_len(len: usize) -> Result<u16, MessageError> {
    const {
        assert!(
            MAX_BODY_LEN == u16::MAX as usize,
            "the length field is the limit"
        )
    };
    u16::try_from(len).map_err(|_| MessageError::BodyTooLong { len })
}

/// A copy, in storage of its own that is the application's: a clone of what was received or returned is charged
/// to no budget. A [shared](Message::share_body) body is not copied, the clone shares it.
impl Clone for Message {
    fn clone(&self) -> Self {
        if self.content_len() == 0 && self.storage.home().is_none() {
            return Message::empty();
        }
        let len = self.stored_len();
        let mut storage = self.storage_beside(len);
        storage.bytes_mut()[Header::LEN..len]
            .copy_from_slice(&self.storage.bytes()[Header::LEN..len]);
        if let Some(body) = self.storage.body() {
            storage.set_body(Arc::clone(body));
        }
        storage.set_lens(self.storage.lens());
        Message { storage }
    }
}

/// Appends to the body, as far as the 65,535 bytes of a body go: what is beyond is not taken, so that
/// `write_all` and `write!` fail with [`WriteZero`](io::ErrorKind::WriteZero) there.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::Write;
///
/// # let engine = ampe::Engine::start(ampe::Options::default())?;
/// let mut message = engine.message();
/// write!(message, "{} of {}", 3, 7)?;
/// assert_eq!(message.body(), b"3 of 7");
/// # Ok(()) }
/// ```
impl io::Write for Message {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = usize::from(self.body_len());
        let taken = bytes.len().min(MAX_BODY_LEN - len);
        let body = self
            .resize_body_dirty(len + taken)
            .map_err(io::Error::other)?;
        body[len..].copy_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Message")
            .field("text_headers_len", &self.text_headers_len())
            .field("body_len", &self.body_len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

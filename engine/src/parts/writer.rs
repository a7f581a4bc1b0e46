//! Sending in parts.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::channel::Channel;
use crate::error::PostError;
use crate::event::Request;
use crate::group::ChannelGroup;
use crate::message::Message;
use crate::options::after;
use crate::post::{Post, Posted, Refused};
use crate::sending::Sending;
use crate::wire::OpCode;

use super::BROKEN_OFF;

/// So many bytes of content go into a part.
const PART: usize = 60_000;

/// Writes content of any length to a channel, in parts of one message id of which all but the last are marked
/// with [`more`](Post::more), at the pace of the peer. An [`Assembler`](super::Assembler) on the other side
/// puts them together again; a receiver that wants no whole in memory takes them one by one.
///
/// It is an [`io::Write`] for threads, and has the same by `async` functions for tasks. Several may write to one
/// channel at the same time: their parts have different ids.
///
/// The whole ends with [`finish`](PartWriter::finish). A writer that is dropped before, or
/// [breaks off](PartWriter::break_off), says so to the peer, if there is room for it: a whole that was
/// broken off is never taken for one that is complete.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = ampe::Engine::start(ampe::Options::default())?;
/// # let (group, _inbox) = engine.group(ampe::GroupOptions::default())?;
/// # let channel = group.connect(&"tcp://127.0.0.1:7000".parse()?)?;
/// use ampe::PartWriter;
///
/// let head = group.message().with_header("File", "report.pdf")?;
/// let mut writer = PartWriter::request(&group, channel, head);
/// std::io::copy(&mut std::fs::File::open("report.pdf")?, &mut writer)?;
/// let request = writer.finish()?; // a Response with this id will answer it
/// # Ok(()) }
/// ```
#[must_use = "what is not finished is broken off"]
pub struct PartWriter {
    group: ChannelGroup,
    channel: Channel,
    op_code: OpCode,
    /// 0 until the engine has chosen one with the first part.
    id: u64,
    patience: Duration,
    /// The part that is being filled.
    message: Message,
    /// The one before, which waits for room: in a task, or for a thread.
    sending: Option<Sending>,
    waiting: Option<Post>,
    has_begun: bool,
    written: u64,
    /// Of the parts posted and not known to be sent: the content up to their ends, and how many messages
    /// of the channel have to be sent until they are.
    on_the_way: VecDeque<(u64, u64)>,
    posted: u64,
    sent: u64,
    is_over: bool,
}

/// How far content has come, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Taken by the writer.
    pub written: u64,
    /// In parts that were posted.
    pub posted: u64,
    /// In parts whose last byte the operating system has accepted: no more than that, and a little less where
    /// others post to the same channel or withdraw what they posted.
    pub sent: u64,
}

impl PartWriter {
    /// A Request to the peer of `channel`. The content of `head` is its beginning, text headers and body.
    pub fn request(group: &ChannelGroup, channel: Channel, head: Message) -> PartWriter {
        PartWriter::new(group, channel, OpCode::Request, 0, head)
    }

    /// A Signal to the peer of `channel`; as [`request`](PartWriter::request).
    pub fn signal(group: &ChannelGroup, channel: Channel, head: Message) -> PartWriter {
        PartWriter::new(group, channel, OpCode::Signal, 0, head)
    }

    /// The Response to a request; as [`request`](PartWriter::request).
    pub fn reply(group: &ChannelGroup, to: &Request, head: Message) -> PartWriter {
        PartWriter::new(
            group,
            to.channel(),
            OpCode::Response,
            to.id_of_answer(),
            head,
        )
    }

    fn new(
        group: &ChannelGroup,
        channel: Channel,
        op_code: OpCode,
        id: u64,
        head: Message,
    ) -> PartWriter {
        let mut writer = PartWriter {
            group: group.clone(),
            channel,
            op_code,
            id,
            patience: Duration::MAX,
            written: u64::from(head.body_len()),
            message: head,
            sending: None,
            waiting: None,
            has_begun: false,
            on_the_way: VecDeque::new(),
            posted: 0,
            sent: 0,
            is_over: false,
        };
        writer.close_if_full();
        writer
    }

    /// Sets how long a thread waits for room at most, each time anew: for ever, unless this says otherwise.
    /// Behind it a call ends with [`PostError::Full`] ([`io::ErrorKind::TimedOut`]), and may be made again.
    #[must_use = "the writer is returned"]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The message id of all parts; 0 before the first was posted.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How far the content has come.
    pub fn progress(&mut self) -> Progress {
        if let Some(account) = self.group.progress(self.channel) {
            while let Some(&(bytes, _)) = self
                .on_the_way
                .front()
                .filter(|(_, target)| *target <= account.report.sent)
            {
                self.sent = bytes;
                self.on_the_way.pop_front();
            }
        }
        Progress {
            written: self.written,
            posted: self.posted,
            sent: self.sent,
        }
    }

    /// Posts the last part. Returns its message id and channel. The content was *sent* when that part was; that it
    /// arrived, only an answer says.
    ///
    /// # Errors
    ///
    /// As [`ChannelGroup::post_wait`]. With [`PostError::Full`] the writer's time was over: the whole is broken
    /// off then, as by dropping the writer.
    pub fn finish(mut self) -> Result<Posted, PostError> {
        self.make_room()?;
        let last = self.take_part(true);
        self.waiting = Some(last);
        self.make_room()?;
        self.is_over = true;
        Ok(self.posted_as())
    }

    /// As [`finish`](PartWriter::finish), in a task. It waits for room as long as it takes. Dropped before its end it breaks
    /// the whole off, as dropping the writer does.
    ///
    /// # Errors
    ///
    /// As [`ChannelGroup::send`].
    pub async fn finish_async(mut self) -> Result<Posted, PostError> {
        poll_fn(|context| self.poll_room(context)).await?;
        let last = self.take_part(true);
        self.waiting = Some(last);
        poll_fn(|context| self.poll_room(context)).await?;
        self.is_over = true;
        Ok(self.posted_as())
    }

    /// Takes some of `bytes`, in a task, as soon as there is room: at least one, of those that are there.
    /// Cancel-safe: a future that is dropped has taken nothing.
    ///
    /// # Errors
    ///
    /// As [`ChannelGroup::send`].
    pub async fn write_async(&mut self, bytes: &[u8]) -> Result<usize, PostError> {
        poll_fn(|context| self.poll_room(context)).await?;
        Ok(self.take(bytes))
    }

    /// Takes all of `bytes`, in a task. A future that is dropped may have taken some.
    ///
    /// # Errors
    ///
    /// As [`ChannelGroup::send`].
    pub async fn write_all_async(&mut self, mut bytes: &[u8]) -> Result<(), PostError> {
        while !bytes.is_empty() {
            let taken = self.write_async(bytes).await?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Ends the whole where it is, and tells the peer why: its [`Assembler`](super::Assembler) has it as
    /// [`WhyUnfinished::BrokenOff`](super::WhyUnfinished). Nothing is told of a whole of which nothing was posted.
    /// A reason that a text header cannot carry (empty, too long, or with CR or LF in it) becomes `broken off`.
    ///
    /// # Errors
    ///
    /// As [`ChannelGroup::post`]: it does not wait. Where there is no room, the peer is told nothing, and finds
    /// that the whole does not go on.
    pub fn break_off(mut self, why: &str) -> Result<(), PostError> {
        self.end_broken(why)
    }

    fn posted_as(&self) -> Posted {
        Posted {
            channel: self.channel,
            id: self.id,
        }
    }

    fn end_broken(&mut self, why: &str) -> Result<(), PostError> {
        if std::mem::replace(&mut self.is_over, true) || !self.has_begun {
            return Ok(());
        }
        (self.sending, self.waiting) = (None, None);
        let mut message = self.group.message();
        message.say(BROKEN_OFF, why, "broken off");
        let post = Post::to(self.channel, self.op_code, self.id, message);
        let posted = self.group.post(post);
        posted.map(drop).map_err(|refused| refused.why)
    }

    /// Takes what fits into the part at hand, and has the part wait if it is full.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let room = PART - self.begun();
        let taken = bytes.len().min(room);
        self.message
            .write_all(&bytes[..taken])
            .expect("a part is shorter than a message may be");
        self.written += taken as u64;
        self.close_if_full();
        taken
    }

    /// Bytes in the part that is being filled.
    fn begun(&self) -> usize {
        usize::from(self.message.body_len())
    }

    /// Has the part at hand wait if it is full.
    fn close_if_full(&mut self) {
        if self.begun() >= PART {
            let full = self.take_part(false);
            self.waiting = Some(full);
        }
    }

    fn take_part(&mut self, is_last: bool) -> Post {
        let message = std::mem::replace(&mut self.message, self.group.message());
        let post = Post::to(self.channel, self.op_code, self.id, message);
        if is_last { post } else { post.more() }
    }

    /// A part was posted.
    fn note(&mut self, posted: Posted) {
        self.id = posted.id;
        self.has_begun = true;
        // All but what is still being filled. Others may have posted since: then this says "sent" later.
        self.posted = self.written - self.begun() as u64;
        if let Some(account) = self.group.progress(self.channel) {
            let target = account.posted - account.withdrawn;
            self.on_the_way.push_back((self.posted, target));
        }
    }

    /// Waits until no part waits, in this thread.
    fn make_room(&mut self) -> Result<(), PostError> {
        let sending = self.sending.take().and_then(Sending::into_post);
        let Some(post) = sending.or_else(|| self.waiting.take()) else {
            return Ok(());
        };
        let deadline = after(Instant::now(), self.patience);
        let outcome = self.group.post_wait(post, deadline);
        self.settle(outcome)
    }

    /// A part was posted, or waits again.
    fn settle(&mut self, outcome: Result<Posted, Refused>) -> Result<(), PostError> {
        match outcome {
            Ok(posted) => {
                self.note(posted);
                Ok(())
            }
            Err(Refused { post, why }) => {
                self.waiting = Some(post);
                Err(why)
            }
        }
    }

    /// The same in a task.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), PostError>> {
        if let Some(post) = self.waiting.take() {
            self.sending = Some(self.group.send(post));
        }
        let Some(sending) = &mut self.sending else {
            return Poll::Ready(Ok(()));
        };
        let Poll::Ready(outcome) = Pin::new(sending).poll(context) else {
            return Poll::Pending;
        };
        self.sending = None;
        Poll::Ready(self.settle(outcome))
    }
}

impl Write for PartWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.make_room().map_err(into_io)?;
        Ok(self.take(bytes))
    }

    /// Posts what is full. What is begun goes with the part that it belongs to.
    fn flush(&mut self) -> io::Result<()> {
        self.make_room().map_err(into_io)
    }
}

fn into_io(why: PostError) -> io::Error {
    let kind = match why {
        PostError::Full(_) => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::BrokenPipe,
    };
    io::Error::new(kind, why)
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        // Without room the peer finds that it does not go on.
        let _ = self.end_broken("the writer was dropped");
    }
}

impl fmt::Debug for PartWriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PartWriter")
            .field("channel", &self.channel)
            .field("op_code", &self.op_code)
            .field("id", &self.id)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

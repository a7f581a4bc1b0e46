//! Posts that wait for room, for those who must not.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::blocking;
use crate::channel::Channel;
use crate::error::{Budget, PostError};
use crate::event::Event;
use crate::group::ChannelGroup;
use crate::post::{Post, Refused};
use crate::room::WaitForRoom;

/// What an outbox keeps in all, if nothing else is said.
const TOTAL_BYTES: usize = 64 << 20;

/// Posts in order, and keeps what is refused for want of room until there is some: for a receiver that
/// answers, which must not wait for one peer while others have something to say.
///
/// Show it each event: it posts what waits when a [`Event::Room`] comes, and gives back what cannot be
/// posted any more when a channel has ended. Who has no events to show, as another receives them or none are left to
/// wait for, calls [`post_all`](Outbox::post_all).
///
/// # What it keeps
///
/// No more than a limit for each channel, and one for all together: beyond these a post comes back at once, with
/// [`Budget::Outbox`]. A message counts with its frame and 896 bytes, as in a budget one that is not queued. No
/// budget of the engine is charged for it, so that memory comes on top of what [`Options`](crate::Options) say. But a
/// message that was received and is posted on, as by [`Request::echo`](crate::Request::echo), stays charged to the
/// inbound budget. With these alone `usize::MAX` is no risk: a peer that asks and does not read is in the end
/// not read from either.
///
/// ```
/// use ampe::{ChannelGroup, Event, Inbox, Outbox};
///
/// /// Answers requests. A peer that reads slowly is kept waiting, not the others.
/// fn serve(group: ChannelGroup, mut inbox: Inbox) {
///     let mut outbox = Outbox::new(group.clone(), 1 << 20);
///     for event in inbox.iter() {
///         outbox.observe(&event);
///         let answer = match event {
///             Event::Hello(hello) => hello.accept(group.message()),
///             Event::Request(request) => request.echo(),
///             Event::Bye(bye) => bye.echo(), // behind the answers that wait
///             _ => continue,
///         };
///         // Refused: the peer has gone, or reads nothing though a mebibyte of answers waits.
///         if let Err(refused) = outbox.post(answer) {
///             eprintln!("{refused}");
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Outbox {
    group: ChannelGroup,
    bytes_per_channel: usize,
    most: Kept,
    /// All that waits.
    kept: Kept,
    /// None of them is empty.
    waiting: BTreeMap<Channel, Waiting>,
    /// What nobody was told of yet that it cannot be posted any more.
    lost: VecDeque<Post>,
}

/// Posts, and what they count with together.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    posts: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    posts: VecDeque<Post>,
    /// What each of them counts with.
    costs: VecDeque<usize>,
    /// All of that.
    bytes: usize,
}

impl Outbox {
    /// An outbox that keeps up to `bytes_per_channel` bytes for each channel, and 64 MiB for all of them together, or
    /// `bytes_per_channel` if that is more.
    pub fn new(group: ChannelGroup, bytes_per_channel: usize) -> Self {
        Outbox {
            group,
            bytes_per_channel,
            most: Kept {
                posts: usize::MAX,
                bytes: bytes_per_channel.max(TOTAL_BYTES),
            },
            kept: Kept::default(),
            waiting: BTreeMap::new(),
            lost: VecDeque::new(),
        }
    }

    /// Sets what it keeps at most for all channels together: so many bytes, and so many posts. `usize::MAX` is no
    /// limit. What it keeps already it keeps.
    #[must_use]
    pub fn with_total(mut self, bytes: usize, posts: usize) -> Self {
        self.most = Kept { posts, bytes };
        self
    }

    /// Posts behind what waits for the same channel, or has it wait too.
    ///
    /// # Errors
    ///
    /// As [`ChannelGroup::post`]: the post comes back in [`Refused`]; with [`PostError::Full`] only where more
    /// than the outbox keeps would wait, and then with [`Budget::Outbox`].
    pub fn post(&mut self, post: Post) -> Result<(), Refused> {
        let Some(channel) = post.channel() else {
            return self.group.post(post).map(|_| ());
        };
        if self.waiting.contains_key(&channel) {
            return self.keep(channel, post);
        }
        match self.group.post(post) {
            Ok(_) => Ok(()),
            Err(Refused {
                post,
                why: PostError::Full(_),
            }) => self.keep(channel, post),
            Err(refused) => Err(refused),
        }
    }

    fn keep(&mut self, channel: Channel, post: Post) -> Result<(), Refused> {
        let waiting = self.waiting.get(&channel).map_or(0, |it| it.bytes);
        let cost = post.message().cost();
        let kept = Kept {
            posts: self.kept.posts + 1,
            bytes: self.kept.bytes + cost,
        };
        let fits = waiting + cost <= self.bytes_per_channel
            && kept.bytes <= self.most.bytes
            && kept.posts <= self.most.posts;
        if !fits {
            let why = PostError::Full(Budget::Outbox);
            return Err(Refused { post, why });
        }
        self.kept = kept;
        let waiting = self.waiting.entry(channel).or_default();
        waiting.bytes += cost;
        waiting.costs.push_back(cost);
        waiting.posts.push_back(post);
        Ok(())
    }

    /// Posts what waits if this event is its room. Returns what cannot be posted any more, in order:
    /// the event is the end of its channel, or says that there will be no room.
    pub fn observe(&mut self, event: &Event) -> VecDeque<Post> {
        match event {
            Event::Room(channel) => self.post_waiting(*channel),
            Event::Closed(closed) => {
                let lost = self.take(closed.channel());
                self.lost.extend(lost);
            }
            _ => {}
        }
        std::mem::take(&mut self.lost)
    }

    /// Posts what waits for a channel until one is refused.
    fn post_waiting(&mut self, channel: Channel) {
        let Some(waiting) = self.waiting.get_mut(&channel) else {
            return;
        };
        let posted = self.group.post_many(&mut waiting.posts, &mut Vec::new());
        let gone = waiting.costs.len() - waiting.posts.len();
        let bytes = waiting.costs.drain(..gone).sum::<usize>();
        waiting.bytes -= bytes;
        self.kept.posts -= gone;
        self.kept.bytes -= bytes;
        if !matches!(posted, Err(PostError::Full(_))) {
            let lost = self.take(channel);
            self.lost.extend(lost);
        }
    }

    /// Waits until everything that is kept was posted, as room comes, in a task of whatever runtime there is, or
    /// none. Ends with what cannot be posted any more, since its channel has ended, in the order of each channel.
    ///
    /// It needs no events, and takes none. Dropping it ends the wait: what was not posted by then is kept. Each time
    /// that it is woken it looks at each channel for which something waits.
    ///
    /// ```
    /// use ampe::{Channel, ChannelGroup, Outbox, SharedBody};
    ///
    /// /// Publishes to all; who reads slowly is waited for at the end, and not by the others.
    /// async fn publish(group: &ChannelGroup, subscribers: &[Channel], body: &SharedBody) {
    ///     let mut outbox = Outbox::new(group.clone(), 1 << 20);
    ///     for &subscriber in subscribers {
    ///         let message = group.message().with_shared_body(body);
    ///         let _ = outbox.post(message.signal(subscriber)); // refused if it has gone
    ///     }
    ///     let lost = outbox.post_all().await;
    ///     println!("{} have gone", lost.len());
    /// }
    /// ```
    pub fn post_all(&mut self) -> PostAll<'_> {
        PostAll {
            outbox: self,
            rooms: BTreeMap::new(),
        }
    }

    /// As [`post_all`](Outbox::post_all), in a thread, which sleeps until `deadline` at most:
    /// [`is_empty`](Outbox::is_empty) says whether everything was posted. In a waker that an engine calls, this
    /// does not wait.
    pub fn post_all_until(&mut self, deadline: Instant) -> VecDeque<Post> {
        let outcome = blocking::wait_until(self.post_all(), deadline);
        outcome.unwrap_or_else(|| std::mem::take(&mut self.lost))
    }

    /// Takes what waits for a channel, in order: it will not be posted.
    pub fn take(&mut self, channel: Channel) -> VecDeque<Post> {
        let Some(waiting) = self.waiting.remove(&channel) else {
            return VecDeque::new();
        };
        self.kept.posts -= waiting.posts.len();
        self.kept.bytes -= waiting.bytes;
        waiting.posts
    }

    /// How many posts wait for a channel.
    pub fn waiting(&self, channel: Channel) -> usize {
        self.waiting.get(&channel).map_or(0, |it| it.posts.len())
    }

    /// How many posts wait in all.
    pub fn len(&self) -> usize {
        self.kept.posts
    }

    /// What all that waits counts with, in bytes.
    pub fn bytes(&self) -> usize {
        self.kept.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The future of [`Outbox::post_all`]: ends when everything was posted that an outbox keeps, or cannot be posted
/// any more.
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct PostAll<'a> {
    outbox: &'a mut Outbox,
    /// The wait of each channel for which something is kept.
    rooms: BTreeMap<Channel, WaitForRoom>,
}

impl PostAll<'_> {
    /// Posts as much as there is room for to one channel, and waits for more if that is not all.
    fn poll_channel(&mut self, channel: Channel, context: &mut Context<'_>) {
        while self.outbox.waiting.contains_key(&channel) {
            let group = &self.outbox.group;
            let room = self.rooms.entry(channel);
            let room = room.or_insert_with(|| group.room(channel));
            match Pin::new(room).poll(context) {
                Poll::Pending => return,
                // If there will be none it is refused, and lost.
                Poll::Ready(_) => self.outbox.post_waiting(channel),
            }
        }
        self.rooms.remove(&channel);
    }
}

impl Future for PostAll<'_> {
    type Output = VecDeque<Post>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let channels: Vec<Channel> = self.outbox.waiting.keys().copied().collect();
        for channel in channels {
            self.poll_channel(channel, context);
        }
        match self.outbox.is_empty() {
            true => Poll::Ready(std::mem::take(&mut self.outbox.lost)),
            false => Poll::Pending,
        }
    }
}

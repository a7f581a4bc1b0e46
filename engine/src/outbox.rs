//! Posts that wait for room, for those who must not.

use std::collections::{HashMap, VecDeque};

use crate::channel::Channel;
use crate::error::{Budget, PostError};
use crate::event::Event;
use crate::group::ChannelGroup;
use crate::post::{Post, Refused};

/// Posts in order, and keeps what is refused for want of room until there is some: for a receiver that
/// answers, which must not wait for one peer while others have something to say.
///
/// Show it each event: it posts what waits when a [`Event::Room`] comes, and gives back what cannot be
/// posted any more when a channel has ended.
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
    limit: usize,
    /// None of them is empty.
    waiting: HashMap<Channel, Waiting>,
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
    /// An outbox that keeps up to `bytes_per_channel` bytes for each channel, where a message counts with
    /// what it costs in a budget: its frame and 896 bytes. The messages that it keeps are the application's:
    /// they are charged to no budget of the engine, but for those that were received and are posted on, such as
    /// [`Request::echo`](crate::Request::echo), which stay charged to the inbound budget. With these alone
    /// `usize::MAX` is no risk: a peer that asks and does not read is in the end not read from either.
    pub fn new(group: ChannelGroup, bytes_per_channel: usize) -> Self {
        Outbox {
            group,
            limit: bytes_per_channel,
            waiting: HashMap::new(),
        }
    }

    /// Posts behind what waits for the same channel, or has it wait too.
    ///
    /// # Errors
    ///
    /// As [`ChannelGroup::post`]: the post comes back in [`Refused`]; with [`PostError::Full`] only where more
    /// than the outbox's limit would wait.
    pub fn post(&mut self, post: Post) -> Result<(), Refused> {
        let Some(channel) = post.channel() else {
            return self.group.post(post).map(|_| ());
        };
        if self.waiting.contains_key(&channel) {
            return self.keep(channel, post, Budget::Channel);
        }
        match self.group.post(post) {
            Ok(_) => Ok(()),
            Err(Refused {
                post,
                why: PostError::Full(budget),
            }) => self.keep(channel, post, budget),
            Err(refused) => Err(refused),
        }
    }

    fn keep(&mut self, channel: Channel, post: Post, budget: Budget) -> Result<(), Refused> {
        let waiting = self.waiting.get(&channel).map_or(0, |it| it.bytes);
        let cost = post.message().cost();
        let bytes = waiting + cost;
        if bytes > self.limit {
            let why = PostError::Full(budget);
            return Err(Refused { post, why });
        }
        let waiting = self.waiting.entry(channel).or_default();
        waiting.bytes = bytes;
        waiting.costs.push_back(cost);
        waiting.posts.push_back(post);
        Ok(())
    }

    /// Posts what waits if this event is its room. Returns what cannot be posted any more, in order:
    /// the event is the end of its channel, or says that there will be no room.
    pub fn observe(&mut self, event: &Event) -> VecDeque<Post> {
        match event {
            Event::Room(channel) => self.post_waiting(*channel),
            Event::Closed(closed) => self.take(closed.channel()),
            _ => VecDeque::new(),
        }
    }

    fn post_waiting(&mut self, channel: Channel) -> VecDeque<Post> {
        let Some(waiting) = self.waiting.get_mut(&channel) else {
            return VecDeque::new();
        };
        let posted = self.group.post_many(&mut waiting.posts, &mut Vec::new());
        let gone = waiting.costs.len() - waiting.posts.len();
        waiting.bytes -= waiting.costs.drain(..gone).sum::<usize>();
        match posted {
            Err(PostError::Full(_)) => VecDeque::new(),
            _ => self.take(channel),
        }
    }

    /// Takes what waits for a channel, in order: it will not be posted.
    pub fn take(&mut self, channel: Channel) -> VecDeque<Post> {
        let waiting = self.waiting.remove(&channel);
        waiting.map(|it| it.posts).unwrap_or_default()
    }

    /// How many posts wait for a channel.
    pub fn waiting(&self, channel: Channel) -> usize {
        self.waiting.get(&channel).map_or(0, |it| it.posts.len())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

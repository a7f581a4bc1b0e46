//! Answers on their way out: posted together, and held where a channel has no room.

use std::collections::{HashMap, VecDeque};

use ampe::{Channel, ChannelGroup, Post, PostError, Posted};

/// Posts of many channels. What one of them has no room for waits, and holds up no other.
pub(crate) struct Outbox {
    group: ChannelGroup,
    /// To be posted together.
    posts: VecDeque<Post>,
    posted: Vec<Posted>,
    /// What a channel had no room for, oldest first.
    held: HashMap<Channel, VecDeque<Post>>,
}

impl Outbox {
    pub(crate) fn new(group: ChannelGroup) -> Outbox {
        Outbox {
            group,
            posts: VecDeque::new(),
            posted: Vec::new(),
            held: HashMap::new(),
        }
    }

    pub(crate) fn push(&mut self, post: Post) {
        // What goes to a channel that waits for room goes behind what waits already.
        let waiting = post
            .channel()
            .and_then(|channel| self.held.get_mut(&channel));
        waiting.unwrap_or(&mut self.posts).push_back(post);
    }

    /// A channel has room again.
    pub(crate) fn room(&mut self, channel: Channel) {
        let held = self.held.remove(&channel).unwrap_or_default();
        self.posts.extend(held);
    }

    /// A channel has ended.
    pub(crate) fn forget(&mut self, channel: Channel) {
        self.held.remove(&channel);
    }

    /// Whether something waits for room of this channel's.
    pub(crate) fn is_holding(&self, channel: Channel) -> bool {
        self.held.contains_key(&channel)
    }

    pub(crate) fn post_all(&mut self) {
        self.posted.clear();
        while let Err(why) = self.group.post_many(&mut self.posts, &mut self.posted) {
            let refused = self
                .posts
                .pop_front()
                .and_then(|post| Some((post.channel()?, post)));
            // Refused for another reason, its channel has ended.
            if let Some((channel, post)) = refused
                && matches!(why, PostError::Full(_))
            {
                self.hold(channel, post);
            }
        }
    }

    /// Holds back a post that its channel has no room for, and all behind it for the same channel;
    /// those of other channels go on.
    fn hold(&mut self, channel: Channel, post: Post) {
        let held = self.held.entry(channel).or_default();
        held.push_back(post);
        for post in std::mem::take(&mut self.posts) {
            if post.channel() == Some(channel) {
                held.push_back(post);
            } else {
                self.posts.push_back(post);
            }
        }
    }
}

//! The application of one simulated engine: posts, answers, keeps, drops, by chance.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::address::Address;
use crate::channel::Channel;
use crate::error::{Ended, PostError};
use crate::event::{Bye, Event, Hello, Incoming, Request, Returned};
use crate::group::ChannelGroup;
use crate::handles::GroupShared;
use crate::inbox::Inbox;
use crate::message::Message;
use crate::post::Post;
use crate::signal_buffer::SignalBuffer;
use crate::storage::give_back_dropped;
use crate::wire::{MAX_ABORT_LEN, OpCode};

use super::ledger::{HELLO_MAGIC, Ledger, Line, Trace};
use super::node::Node;
use super::rng::Rng;

/// One group and what its application has in hand.
pub(super) struct Member {
    pub(super) node: usize,
    pub(super) posting: ChannelGroup,
    inbox: Inbox,
    pub(super) shared: Arc<GroupShared>,
    pub(super) channels: Vec<Channel>,
    pub(super) listeners: Vec<Channel>,
    pub(super) listening: Vec<Address>,
    /// Those of its listeners that ask whom to admit.
    pub(super) asking: BTreeSet<Channel>,
    incoming: Vec<Incoming>,
    requests: Vec<Request>,
    hellos: Vec<Hello>,
    byes: Vec<Bye>,
    returned: Vec<Returned>,
    kept: Vec<Message>,
    bye_responses: Vec<Channel>,
    /// How many of a hundred messages it keeps for a while.
    pub(super) greed: usize,
    pub(super) ended: Option<Ended>,
    /// Takes what comes and starts nothing new.
    pub(super) is_winding_down: bool,
    /// Does nothing by chance: accepts every hello, keeps every Bye, drops what comes back.
    pub(super) is_plain: bool,
}

pub(super) struct Context<'a> {
    pub(super) node: &'a mut Node,
    pub(super) ledger: &'a mut Ledger,
    pub(super) rng: &'a mut Rng,
}

impl Member {
    pub(super) fn new(index: usize, node: &mut Node) -> Self {
        let (posting, inbox, shared) = node.group();
        Member {
            node: index,
            posting,
            inbox,
            shared,
            channels: Vec::new(),
            listeners: Vec::new(),
            listening: Vec::new(),
            asking: BTreeSet::new(),
            incoming: Vec::new(),
            requests: Vec::new(),
            hellos: Vec::new(),
            byes: Vec::new(),
            returned: Vec::new(),
            kept: Vec::new(),
            bye_responses: Vec::new(),
            greed: [20, 60, 95][node.rng.below(3)],
            ended: None,
            is_winding_down: false,
            is_plain: false,
        }
    }

    fn line(&self, channel: Channel) -> Line {
        (self.node, channel)
    }

    /// A ByeSignal, with words or without.
    pub(super) fn aborting(&self, rng: &mut Rng, channel: Channel) -> Post {
        match rng.chance(50) {
            true => {
                let len = rng.between(1, MAX_ABORT_LEN / 2);
                self.message(rng, len).abort(channel)
            }
            false => Post::abort(channel),
        }
    }

    /// Posts, and notes what was accepted.
    pub(super) fn post(&mut self, context: &mut Context<'_>, post: Post) -> Option<Channel> {
        let (trace, op_code) = (Trace::of_post(&post), post.op_code());
        match self.posting.post(post) {
            Ok(posted) => {
                self.on_posted(context, op_code, trace, posted.channel, posted.id);
                Some(posted.channel)
            }
            Err(refused) => {
                self.on_refused(context, &refused.post, refused.why);
                None
            }
        }
    }

    fn on_posted(
        &mut self,
        context: &mut Context<'_>,
        op_code: OpCode,
        trace: Trace,
        channel: Channel,
        id: u64,
    ) {
        let line = self.line(channel);
        match op_code {
            OpCode::ByeSignal => return context.ledger.aborting(line, trace, id),
            OpCode::WelcomeRequest => {
                context.ledger.open(line).is_listener = true;
                return self.listeners.push(channel);
            }
            OpCode::HelloRequest => {
                context.ledger.open(line);
                self.channels.push(channel);
            }
            OpCode::ByeResponse => self.bye_responses.push(channel),
            _ => {}
        }
        context.ledger.posted(line, trace, id);
    }

    fn on_refused(&mut self, context: &mut Context<'_>, post: &Post, why: PostError) {
        match why {
            PostError::Full(_) => {
                context.ledger.totals.refused_full += 1;
                if let Some(channel) = post.channel() {
                    let account = context.ledger.accounts.get_mut(&(self.node, channel));
                    let account = account.expect("posted to before");
                    account.room_wanted = true;
                    account.refusals += 1;
                }
            }
            PostError::ChannelClosed
            | PostError::ByePosted
            | PostError::IsListener
            | PostError::GroupClosed
            | PostError::EngineEnded => {}
            _ => panic!("refused for a reason that cannot be: {why}"),
        }
    }

    pub(super) fn post_many(&mut self, context: &mut Context<'_>, mut posts: VecDeque<Post>) {
        let traces: Vec<Trace> = posts.iter().map(Trace::of_post).collect();
        let mut posted = Vec::new();
        let outcome = self.posting.post_many(&mut posts, &mut posted);
        for (trace, posted) in traces.into_iter().zip(&posted) {
            let op_code = trace.op_code;
            self.on_posted(context, op_code, trace, posted.channel, posted.id);
        }
        if let (Err(why), Some(first)) = (outcome, posts.front()) {
            self.on_refused(context, first, why);
        }
    }

    /// Posts signals to one channel in a buffer.
    pub(super) fn post_signals(&mut self, context: &mut Context<'_>, mut posts: VecDeque<Post>) {
        let Some(channel) = posts.front().and_then(Post::channel) else {
            return;
        };
        let mut buffer = SignalBuffer::new();
        for post in &posts {
            buffer.push_message(post.message()).unwrap();
        }
        let mut ids = Vec::new();
        let note = |first, count| ids.extend((first..).take(count as usize));
        let outcome = self.posting.post_signals_noting(channel, &mut buffer, note);
        assert_eq!(buffer.len(), posts.len() - ids.len());
        for (post, id) in posts.drain(..ids.len()).zip(ids) {
            self.on_posted(context, OpCode::Signal, Trace::of_post(&post), channel, id);
        }
        if let (Err(why), Some(first)) = (outcome, posts.front()) {
            self.on_refused(context, first, why);
        }
    }

    /// A message with content that is its own: lengths and bytes by chance. The body of every third lies apart.
    pub(super) fn message(&self, rng: &mut Rng, len: usize) -> Message {
        let mut message = self.posting.message();
        if rng.chance(20) {
            let value = format!("{:016x}", rng.next()).repeat(rng.between(1, 8));
            message.add_header("Some-Name", &value).unwrap();
        }
        let start = rng.next();
        for (index, chunk) in message.resize_body(len).unwrap().chunks_mut(8).enumerate() {
            let word = start
                .wrapping_add(index as u64)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
        if len.is_multiple_of(3) {
            message.share_body();
        }
        message
    }

    /// A HelloRequest that says from which engine it comes, so that the ledger can join both ends.
    pub(super) fn connect(&mut self, context: &mut Context<'_>, address: &Address) {
        let mut body = HELLO_MAGIC.to_vec();
        let token = context.rng.next();
        body.extend_from_slice(&token.to_le_bytes());
        let message = self.posting.message().with_body(&body).unwrap();
        if let Some(channel) = self.post(context, message.hello(address)) {
            context.ledger.dialled(token, self.line(channel));
        }
    }

    /// Takes up to `most` events from the inbox. Returns whether there was any.
    pub(super) fn receive(&mut self, context: &mut Context<'_>, most: usize) -> bool {
        let in_batches = context.rng.chance(50);
        let has_received = self.receive_some(context, most, in_batches);
        give_back_dropped();
        has_received
    }

    fn receive_some(&mut self, context: &mut Context<'_>, most: usize, in_batches: bool) -> bool {
        for taken in 0..most {
            if in_batches && taken % 8 == 1 {
                self.inbox.begin_batch(); // of what came with the first
            }
            match self.inbox.try_recv() {
                Ok(Some(event)) => self.on_event(context, event),
                Ok(None) => return taken > 0,
                Err(ended) => {
                    let is_new = self.ended.replace(ended).is_none();
                    return taken > 0 || is_new;
                }
            }
        }
        true
    }

    fn on_event(&mut self, context: &mut Context<'_>, event: Event) {
        let event = match event {
            Event::Incoming(incoming) => return self.on_incoming(context, incoming),
            event => event,
        };
        let Some(channel) = event.channel() else {
            return;
        };
        let line = self.line(channel);
        match event {
            Event::Listening(listening) => {
                context.ledger.noticed(line);
                self.listening.push(listening.address().clone());
            }
            Event::Opened(opened) => context.ledger.opened(line, opened),
            Event::Hello(hello) => {
                let was_asked = self.asking.contains(&hello.listener());
                context.ledger.checked_in(line, hello.peer(), was_asked);
                context.ledger.greeted(line, hello.body());
                context.ledger.received(line, &hello);
                self.channels.push(channel);
                self.on_hello(context, hello);
            }
            Event::Request(request) => {
                context.ledger.received(line, &request);
                self.on_request(context, request);
            }
            Event::Signal(signal) => {
                context.ledger.received(line, &signal);
                let wants_echo = !self.is_winding_down && !self.is_plain && context.rng.chance(5);
                if wants_echo {
                    self.post(context, signal.echo());
                } else {
                    self.keep(context.rng, signal.into_message());
                }
            }
            Event::ByeSignal(received) => {
                context.ledger.aborted(line, &received);
                self.keep(context.rng, received.into_message());
            }
            Event::Accepted(received)
            | Event::Response(received)
            | Event::ByeResponse(received) => {
                context.ledger.received(line, &received);
                self.keep(context.rng, received.into_message());
            }
            Event::Bye(bye) => {
                context.ledger.received(line, &bye);
                self.on_bye(context, bye);
            }
            Event::Returned(returned) => {
                context.ledger.returned(line, &returned);
                if !self.is_plain && context.rng.chance(40) {
                    self.returned.push(returned);
                }
            }
            Event::Room(_) => context.ledger.room(line),
            Event::Closed(closed) => {
                let link = context.node.links.remove(&channel);
                context.ledger.closed(line, &closed, link);
                self.channels.retain(|it| *it != channel);
                self.listeners.retain(|it| *it != channel);
            }
            Event::Incoming(_) | Event::Notified(_) => {}
        }
    }

    /// Admits, refuses, lets go, or takes its time.
    fn on_incoming(&mut self, context: &mut Context<'_>, incoming: Incoming) {
        let is_asked = self.asking.contains(&incoming.listener());
        assert!(is_asked, "Admission: nobody wanted to be asked");
        context.ledger.totals.asked += 1;
        let chance = if self.is_plain {
            9
        } else {
            context.rng.below(10)
        };
        match chance {
            0 => self.refuse(context, incoming, true),
            1 => self.refuse(context, incoming, false),
            2..=4 if !self.is_winding_down => self.incoming.push(incoming),
            _ => self.admit(context, incoming),
        }
    }

    fn admit(&mut self, context: &mut Context<'_>, incoming: Incoming) {
        context.ledger.admitted(incoming.peer());
        incoming.admit();
    }

    fn refuse(&mut self, context: &mut Context<'_>, incoming: Incoming, says_so: bool) {
        context.ledger.totals.refused += 1;
        match says_so {
            true => incoming.refuse(),
            false => drop(incoming),
        }
    }

    fn keep(&mut self, rng: &mut Rng, message: Message) {
        if !self.is_winding_down && rng.chance(self.greed) {
            self.kept.push(message);
        }
    }

    fn on_hello(&mut self, context: &mut Context<'_>, hello: Hello) {
        let message = self.message(context.rng, 5);
        let chance = if self.is_plain {
            9
        } else {
            context.rng.below(10)
        };
        match chance {
            0 => drop(self.post(context, hello.refuse(&"not today ".repeat(40)))),
            1 => drop(self.post(context, hello.echo())),
            2 if !self.is_winding_down => self.hellos.push(hello),
            3 => {}
            _ => drop(self.post(context, hello.accept(message))),
        }
    }

    fn on_request(&mut self, context: &mut Context<'_>, request: Request) {
        match context.rng.below(5) {
            0 if !self.is_winding_down => self.requests.push(request),
            1 => drop(self.post(context, request.echo())),
            2 => {
                let len = context.rng.between(0, 300);
                let message = self.message(context.rng, len);
                self.post(context, request.reply(message));
            }
            3 => {
                // The content that came, grown out of the storage that it came in.
                let (channel, id) = (request.channel(), request.id());
                let mut message = request.into_message();
                let len = context.rng.between(0, 5000);
                message.resize_body(len).unwrap().fill(0x5A);
                if context.rng.chance(50) {
                    self.post(context, message.response(channel, id));
                }
            }
            _ => {}
        }
    }

    fn on_bye(&mut self, context: &mut Context<'_>, bye: Bye) {
        let chance = if self.is_plain {
            0
        } else {
            context.rng.below(4)
        };
        match chance {
            0 if !self.is_winding_down => self.byes.push(bye),
            1 => drop(self.post(context, bye.echo())),
            _ => self.drop_bye(context, bye),
        }
    }

    /// A dropped Bye answers by itself, if there is anything left to answer.
    fn drop_bye(&mut self, context: &mut Context<'_>, bye: Bye) {
        let (channel, id) = (bye.channel(), bye.id());
        let queue = &context.node.shared.queue;
        let is_open = queue.with_registry(|registry| registry.group_of(channel).is_some());
        let is_accepted = queue.submit(|_, _| ()).is_ok();
        drop(bye);
        if is_open && is_accepted && !self.bye_responses.contains(&channel) {
            let post = Post::to(channel, OpCode::ByeResponse, id, Message::empty());
            let trace = Trace::of_post(&post);
            self.on_posted(context, OpCode::ByeResponse, trace, channel, id);
        }
    }

    /// Does something with what is in hand: answers late, or lets go.
    pub(super) fn catch_up(&mut self, context: &mut Context<'_>) {
        match context.rng.below(6) {
            5 => {
                if let Some(index) = context.rng.index(self.incoming.len()) {
                    let incoming = self.incoming.swap_remove(index);
                    match context.rng.chance(60) {
                        true => self.admit(context, incoming),
                        false => self.refuse(context, incoming, true),
                    }
                }
            }
            0 => {
                if let Some(index) = context.rng.index(self.requests.len()) {
                    let request = self.requests.swap_remove(index);
                    self.post(context, request.echo());
                }
            }
            1 => {
                if let Some(hello) = self.hellos.pop() {
                    let message = self.message(context.rng, 9);
                    self.post(context, hello.accept(message));
                }
            }
            2 => {
                if let Some(bye) = self.byes.pop() {
                    self.drop_bye(context, bye);
                }
            }
            3 => {
                if let Some(returned) = self.returned.pop() {
                    self.repost(context, returned);
                }
            }
            _ => {
                for _ in 0..context.rng.between(1, 4) {
                    self.drop_one(context);
                }
            }
        }
    }

    /// Lets go of one message that it kept.
    pub(super) fn drop_one(&mut self, context: &mut Context<'_>) {
        if let Some(index) = context.rng.index(self.kept.len()) {
            self.kept.swap_remove(index);
        }
    }

    /// Answers every goodbye that it kept.
    pub(super) fn answer_byes(&mut self, context: &mut Context<'_>) {
        while let Some(bye) = self.byes.pop() {
            self.drop_bye(context, bye);
        }
    }

    pub(super) fn has_bye(&self) -> bool {
        !self.byes.is_empty()
    }

    fn repost(&mut self, context: &mut Context<'_>, returned: Returned) {
        let other = context.rng.index(self.channels.len());
        let is_plain = matches!(returned.op_code(), OpCode::Request | OpCode::Signal);
        if let Some(other) = other.filter(|_| is_plain) {
            let channel = self.channels[other];
            let post = returned
                .repost(channel)
                .expect("it belongs to no one channel");
            self.post(context, post);
        }
    }

    /// Lets go of everything in hand.
    pub(super) fn let_go(&mut self, context: &mut Context<'_>) -> bool {
        let in_hand = self.requests.len() + self.kept.len() + self.returned.len();
        let in_hand = in_hand + self.hellos.len() + self.byes.len() + self.incoming.len();
        self.incoming.clear();
        self.requests.clear();
        self.kept.clear();
        self.returned.clear();
        self.hellos.clear();
        self.answer_byes(context);
        in_hand > 0
    }

    /// What the messages in hand are charged to the inbound budget.
    pub(super) fn inbound_cost(&self) -> usize {
        let kept = self.kept.iter();
        let requests = self.requests.iter().map(|request| request.message());
        let hellos = self.hellos.iter().map(|hello| hello.message());
        let byes = self.byes.iter().map(|bye| bye.message());
        let all = kept.chain(requests).chain(hellos).chain(byes);
        let charged = all.filter_map(|message| message.storage().inbound());
        charged.map(|(_, cost)| cost).sum()
    }

    pub(super) fn close(&mut self, node: &mut Node, deadline: Instant) {
        node.close_group(&self.shared, deadline);
        let earliest = node
            .watch
            .closing
            .get(&self.shared.id)
            .map_or(deadline, |it| deadline.min(*it));
        node.watch.closing.insert(self.shared.id, earliest);
        self.is_winding_down = true;
    }
}

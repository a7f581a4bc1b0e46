//! What the handles of an engine share with its reactor.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};

use crate::channel::Channel;
use crate::delivery::Delivery;
use crate::error::{Ended, PostError, Refused};
use crate::event::Event;
use crate::message::Message;
use crate::options::Options;
use crate::pool::{Charge, Ledger, MESSAGE_COST_MAX, Pool};
use crate::post::{Post, Posted, Target};
use crate::queue::{Queue, Wake};
use crate::registry::{Credit, Denied, GroupId, Kind, Registry};
use crate::sync::{Mutex, lock};
use crate::waiting::TaskId;
use crate::wire::{self, MAX_TEXT_HEADERS_LEN, OpCode};

/// A group's way from the reactor.
pub(crate) type Mailbox = Delivery<Event, Ended>;

/// What the handles of a group share with the reactor.
pub(crate) struct GroupShared {
    pub(crate) id: GroupId,
    pub(crate) mailbox: Mailbox,
    /// Written and read under the queue's lock: nothing is posted behind the group's close.
    is_closed: AtomicBool,
}

/// Counts of what never reaches an inbox.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) ended_before_hello: AtomicU64,
    pub(crate) accept_failures: AtomicU64,
    pub(crate) out_of_numbers: AtomicU64,
    pub(crate) passes: AtomicU64,
}

impl Counters {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What applications submit to the reactor.
pub(crate) enum Submission {
    Post {
        channel: Channel,
        group: GroupId,
        post: Post,
        cost: usize,
    },
    OpenGroup {
        group: Arc<GroupShared>,
    },
    CloseGroup {
        group: GroupId,
        deadline: std::time::Instant,
    },
    Stop {
        deadline: std::time::Instant,
    },
    /// The resolver's answer for a connection or listener.
    Resolved {
        key: crate::key::Key,
        addresses: Vec<std::net::SocketAddr>,
    },
    #[cfg(test)]
    Panic,
}

pub(crate) struct Shared {
    pub(crate) queue: Queue<Submission, Ended>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) options: Options,
    pub(crate) counters: Counters,
    /// Every group that was ever opened and is still held by someone: a reactor that fails ends them
    /// all, whether it had heard of them or not.
    groups: Mutex<Vec<Weak<GroupShared>>>,
}

impl Shared {
    /// What an engine's handles share with a reactor that each waker made by `wake` wakes.
    pub(crate) fn new(options: Options, wake: impl Fn() -> Box<dyn Wake>) -> Arc<Shared> {
        Shared::over(Registry::new(Credit::of(&options)), options, wake)
    }

    /// The same with numbers that rest for another while than an engine's.
    #[cfg(test)]
    pub(crate) fn with_quarantine(
        options: Options,
        quarantine: usize,
        wake: impl Fn() -> Box<dyn Wake>,
    ) -> Arc<Shared> {
        let registry = Registry::with_quarantine(Credit::of(&options), quarantine);
        Shared::over(registry, options, wake)
    }

    fn over(registry: Registry, options: Options, wake: impl Fn() -> Box<dyn Wake>) -> Arc<Shared> {
        Arc::new(Shared {
            pool: Arc::new(Pool::new(options.pool_bytes, wake())),
            queue: Queue::new(registry, wake()),
            options,
            counters: Counters::default(),
            groups: Mutex::default(),
        })
    }

    /// Opens a group: the reactor will hear of it, or has ended.
    pub(crate) fn open_group(&self, group: &Arc<GroupShared>) -> Result<(), Ended> {
        // Remembered first: a reactor that ends from here on ends the group as well.
        let mut groups = lock(&self.groups);
        if groups.len() == groups.capacity() {
            groups.retain(|group| group.strong_count() > 0);
        }
        groups.push(Arc::downgrade(group));
        drop(groups);
        let open = Submission::OpenGroup {
            group: Arc::clone(group),
        };
        let submitted = self.queue.submit(|_, items| items.push(open));
        submitted.inspect_err(|&ended| group.mailbox.end(ended))
    }

    /// The end of the reactor, however it came about: refuses all that follows, and ends every group
    /// that has not ended, with all who wait for one.
    pub(crate) fn end(&self, reason: Ended) {
        drop(self.queue.end(reason));
        let groups = std::mem::take(&mut *lock(&self.groups));
        for group in groups.iter().filter_map(Weak::upgrade) {
            group.mailbox.end(reason);
        }
        self.pool.close();
    }

    /// Posts for a group. Everything that can be known to be wrong is refused here, with the post.
    pub(crate) fn post(&self, group: &GroupShared, mut post: Post) -> Result<Posted, Refused> {
        if let Err(why) = self.prepare(&mut post) {
            return Err(Refused { post, why });
        }
        let mut slot = Some(post);
        let submitted = self.queue.submit(|registry, items| {
            group.check_open()?;
            admit_one(registry, items, group.id, &mut slot)
        });
        match submitted
            .map_err(PostError::from)
            .and_then(|admitted| admitted)
        {
            Ok(posted) => Ok(posted),
            Err(why) => {
                let post = slot
                    .take()
                    .expect("a post that was not admitted is still here");
                Err(Refused { post, why })
            }
        }
    }

    /// Posts many under one lock, in order, up to the first that is refused. Accepted posts are
    /// removed from the front of `posts`.
    pub(crate) fn post_many(
        &self,
        group: &GroupShared,
        posts: &mut VecDeque<Post>,
        posted: &mut Vec<Posted>,
    ) -> Result<(), PostError> {
        let (mut prepared, mut refused) = (0, None);
        for post in posts.iter_mut() {
            match self.prepare(post) {
                Ok(()) => prepared += 1,
                Err(why) => {
                    refused = Some(why);
                    break;
                }
            }
        }
        let admit_all = |registry: &mut Registry, items: &mut Vec<Submission>| {
            group.check_open()?;
            for _ in 0..prepared {
                let mut slot = posts.pop_front();
                match admit_one(registry, items, group.id, &mut slot) {
                    Ok(one) => posted.push(one),
                    Err(why) => {
                        posts.push_front(slot.take().expect("a refused post is still here"));
                        return Err(why);
                    }
                }
            }
            refused.map_or(Ok(()), Err)
        };
        self.queue
            .submit(admit_all)
            .map_err(PostError::from)
            .and_then(|all| all)
    }

    /// Checks what needs no lock, makes the message one of this engine, and writes the address
    /// header of a post that opens a channel.
    fn prepare(&self, post: &mut Post) -> Result<(), PostError> {
        if post.op_code == OpCode::Response && post.message_id == 0 {
            return Err(PostError::ResponseWithoutId);
        }
        if post.more && !post.op_code.is_regular() {
            return Err(PostError::InvalidMore);
        }
        if post.op_code == OpCode::ByeSignal {
            return Ok(()); // it never travels, and needs no storage
        }
        post.message.adopt(&self.pool);
        write_address_header(post)
    }

    /// Whether a channel of the group has room for any message. If not, the task that asks is woken
    /// when there may be some, or when nothing can be posted there any more.
    pub(crate) fn poll_room(
        &self,
        group: &GroupShared,
        channel: Channel,
        task: &mut Option<TaskId>,
        waker: &mut Option<Waker>,
    ) -> Poll<Result<(), PostError>> {
        let polled = self.queue.submit(|registry, _| {
            group.check_open()?;
            let polled = registry.poll_room(channel, group.id, task, waker);
            polled.map_err(PostError::from)
        });
        polled.unwrap_or_else(|ended| Poll::Ready(Err(ended.into())))
    }

    /// Answers a ByeRequest by a ByeResponse without content.
    pub(crate) fn answer_bye(&self, channel: Channel, id: u64) -> Result<(), PostError> {
        let submitted = self
            .queue
            .submit(|registry, items| self.admit_answer(registry, items, channel, id));
        submitted
            .map_err(PostError::from)
            .and_then(|admitted| admitted)
    }

    fn admit_answer(
        &self,
        registry: &mut Registry,
        items: &mut Vec<Submission>,
        channel: Channel,
        id: u64,
    ) -> Result<(), PostError> {
        let group = registry.group_of(channel).ok_or(PostError::ChannelClosed)?;
        let post = Post::to(channel, OpCode::ByeResponse, id, Message::new(&self.pool));
        admit_one(registry, items, group, &mut Some(post)).map(|_| ())
    }

    /// Closes a group in one step with answering the goodbyes that its application has not
    /// received: those in `taken`, to which all is added that was delivered by now.
    pub(crate) fn close_group(
        &self,
        group: &GroupShared,
        deadline: std::time::Instant,
        taken: &mut VecDeque<Event>,
    ) {
        let close = Submission::CloseGroup {
            group: group.id,
            deadline,
        };
        // An engine that has ended has closed this group.
        let _ = self.queue.submit(|registry, items| {
            group.mailbox.take_more(taken);
            for event in taken.iter() {
                if let Event::Bye(bye) = event {
                    // Refused only where the channel has ended or was answered.
                    let _ = self.admit_answer(registry, items, bye.channel(), bye.id());
                }
            }
            group.close(registry);
            items.push(close);
        });
    }
}

impl Credit {
    fn of(options: &Options) -> Credit {
        Credit {
            channel: options.outbound_bytes_per_channel,
            engine: options.outbound_bytes,
        }
    }
}

impl GroupShared {
    pub(crate) fn new(id: GroupId) -> Self {
        GroupShared {
            id,
            mailbox: Mailbox::new(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Closes the group to posts, under the queue's lock, and tells the tasks that wait to post.
    pub(crate) fn close(&self, registry: &mut Registry) {
        self.is_closed.store(true, Ordering::Relaxed);
        registry.tell_group(self.id);
    }

    fn check_open(&self) -> Result<(), PostError> {
        let is_closed = self.is_closed.load(Ordering::Relaxed);
        if is_closed {
            Err(PostError::GroupClosed)
        } else {
            Ok(())
        }
    }
}

impl Ledger for Shared {
    fn release(&self, cost: usize) {
        let wake = self.queue.with_registry(|registry| {
            registry.release_engine(cost);
            registry.engine_room_is_wanted()
        });
        if wake {
            self.queue.wake();
        }
    }
}

/// Writes the header by which a post that opens a channel carries its address.
fn write_address_header(post: &mut Post) -> Result<(), PostError> {
    let Some((name, address)) = post.address_header() else {
        return Ok(());
    };
    let value = address.to_wire();
    let is_named = |(found, _): &(&[u8], &[u8])| *found == name.as_bytes();
    let mut named = post.message.text_headers().iter().filter(is_named);
    match (named.next(), named.next()) {
        (None, _) => {}
        // Posted before and refused, or returned and posted again.
        (Some((_, before)), None) if before == value.as_bytes() => return Ok(()),
        // The content was meant for another address, or came from a peer that dialled it.
        _ => post.message.remove_headers(name),
    }
    let len = wire::encoded_len(name, &value).map_err(|_| PostError::TextHeadersTooLong)?;
    if usize::from(post.message.text_headers_len()) + len > MAX_TEXT_HEADERS_LEN {
        return Err(PostError::TextHeadersTooLong);
    }
    Ok(post.message.add_any_header(name, &value)?)
}

/// Admits the post in `slot` and moves it into the batch, or leaves it where it is.
fn admit_one(
    registry: &mut Registry,
    items: &mut Vec<Submission>,
    group: GroupId,
    slot: &mut Option<Post>,
) -> Result<Posted, PostError> {
    let post = slot.as_ref().expect("the caller put a post in");
    let cost = post.message.storage().cost();
    assert!(
        cost <= MESSAGE_COST_MAX,
        "no message costs more than the largest"
    );
    let held = match &post.message.storage().charge {
        Charge::Returned(hold) => hold.cost(),
        Charge::None | Charge::Inbound(_) => 0,
    };
    let channel = match post.target {
        Target::Channel(channel) => channel,
        Target::New(_) if post.op_code == OpCode::WelcomeRequest => registry
            .open(group, Kind::Listener)
            .ok_or(PostError::NoChannelNumber)?,
        Target::New(_) => registry
            .open(group, Kind::Connection)
            .ok_or(PostError::NoChannelNumber)?,
    };
    let travels = !matches!(post.op_code, OpCode::WelcomeRequest | OpCode::ByeSignal);
    if travels {
        let admitted = registry.admit(channel, group, post.role(), cost, held);
        if let Err(denied) = admitted {
            if matches!(post.target, Target::New(_)) {
                let _ = registry.close(channel); // nobody can wait for a channel that never was
                registry.forget(channel);
            }
            return Err(denied.into());
        }
    } else if post.op_code == OpCode::ByeSignal {
        registry.admit(channel, group, post.role(), 0, 0)?;
    }
    let mut post = slot.take().expect("the caller put a post in");
    if travels && held > 0 {
        let charge = std::mem::replace(&mut post.message.storage_mut().charge, Charge::None);
        if let Charge::Returned(hold) = charge {
            hold.pass_on();
        }
    }
    if post.message_id == 0 {
        post.message_id = registry.next_message_id();
    }
    let id = post.message_id;
    let cost = if travels { cost } else { 0 };
    if post.op_code == OpCode::ByeSignal && !registry.is_first_abort(channel) {
        return Ok(Posted { channel, id });
    }
    items.push(Submission::Post {
        channel,
        group,
        post,
        cost,
    });
    Ok(Posted { channel, id })
}

impl From<Denied> for PostError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Closed => PostError::ChannelClosed,
            Denied::OtherGroup => PostError::OtherGroup,
            Denied::IsListener => PostError::IsListener,
            Denied::ByePosted => PostError::ByePosted,
            Denied::Full => PostError::Full,
        }
    }
}

// A container keeps its capacity and may be half empty, so a record counts twice in each that it
// passes through: posts in both sides of the swapped batch and in the core's nodes, events in three
// queues.
const _: () = {
    let node = size_of::<Post>();
    assert!(4 * size_of::<Submission>() + 2 * node <= crate::pool::RECORD_COST);
    assert!(6 * size_of::<Event>() <= crate::pool::RECORD_COST);
};

//! Admission before a reactor that the test plays by hand.

mod buffered;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread;
use std::time::Instant;

use crate::between::key::{GroupPlace, RecordKey};
use crate::between::registry::{Kind, Role};
use crate::between::wake::Wake;
use crate::channel::Channel;
use crate::error::{Budget, PostError};
use crate::event::{AnswerOnDrop, Bye, Event, Received};
use crate::handles::{Batch, CHUNK, CallLine, CallMailbox, GroupShared, Shared, Submission};
use crate::message::Message;
use crate::options::Options;
use crate::post::Post;
use crate::storage::{Creditor, Hold, give_back_spare, queued_cost_of, shared_cost_of};
use crate::wire::{MAX_ABORT_LEN, OpCode};

/// A reactor that takes what was posted whenever it is woken, and notes how much it was.
#[derive(Clone, Default)]
struct Reactor {
    shared: Arc<OnceLock<Weak<Shared>>>,
    batches: Arc<Mutex<Vec<Vec<Submission>>>>,
    /// What it delivers to a group then, one at a time.
    coming: Arc<Mutex<VecDeque<Event>>>,
    group: Arc<OnceLock<Arc<GroupShared>>>,
}

impl Wake for Reactor {
    fn wake(&self) {
        let shared = self.shared.get().and_then(Weak::upgrade);
        let mut batch = Batch::default();
        shared.unwrap().queue.exchange(&mut batch, |_| ());
        let batch = batch.into_submissions();
        self.batches.lock().unwrap().push(batch);
        if let (Some(group), Some(event)) =
            (self.group.get(), self.coming.lock().unwrap().pop_front())
        {
            group.deliver([event]);
        }
    }
}

trait Lens {
    /// How long the frames are that were posted.
    fn concat_lens(&self) -> Vec<usize>;
}

impl Lens for Vec<Vec<Submission>> {
    fn concat_lens(&self) -> Vec<usize> {
        let frame_len = |it: &Submission| match it {
            Submission::Post { post, .. } => Some(post.message.frame_len()),
            _ => None,
        };
        self.iter().flatten().filter_map(frame_len).collect()
    }
}

fn engine() -> (Arc<Shared>, Reactor) {
    let reactor = Reactor::default();
    let shared = Shared::new(Options::default(), |_| Box::new(reactor.clone()));
    reactor.shared.set(Arc::downgrade(&shared)).unwrap();
    shared
        .queue
        .with_registry(|registry| registry.open_group(1, 0));
    (shared, reactor)
}

fn open(shared: &Shared) -> Channel {
    let open =
        |registry: &mut crate::between::registry::Registry| registry.open(1, Kind::Connection);
    shared.queue.with_registry(open).unwrap()
}

/// Posts that are messages of another engine: preparing one moves it to this one's storage.
fn foreign_posts(of: &Shared, channel: Channel, count: usize) -> VecDeque<Post> {
    let post = |_| {
        Message::new(&of.pool)
            .with_body(&[7; 60_000])
            .unwrap()
            .signal(channel)
    };
    (0..count).map(post).collect()
}

fn is_prepared(post: &Post, by: &Shared) -> bool {
    let home = post.message.storage().home();
    home.is_some_and(|home| Arc::ptr_eq(home, &by.pool))
}

/// A sender may keep all that it has to send in the queue that it posts from.
#[test]
fn a_full_channel_touches_no_more_of_a_long_queue_than_a_chunk() {
    let ((shared, _reactor), (other, _)) = (engine(), engine());
    let group = GroupShared::new(1, 0, 0);
    let channel = open(&shared);
    let mut posts = foreign_posts(&other, channel, 400);
    let mut posted = Vec::new();
    let outcome = shared.post_many(&group, &mut posts, &mut posted);
    assert_eq!(outcome, Err(PostError::Full(Budget::Channel)));
    let accepted = posted.len();
    assert!(
        (32..200).contains(&accepted),
        "{accepted} of 60 kB are 4 MiB"
    );
    let prepared = posts
        .iter()
        .filter(|post| is_prepared(post, &shared))
        .count();
    assert!(
        prepared <= CHUNK,
        "{prepared} prepared, {accepted} accepted"
    );
    // A second call finds the channel full and touches nothing new.
    let again = shared.post_many(&group, &mut posts, &mut posted);
    assert_eq!(
        (again, posted.len()),
        (Err(PostError::Full(Budget::Channel)), accepted)
    );
    let after = posts
        .iter()
        .filter(|post| is_prepared(post, &shared))
        .count();
    assert!(after <= CHUNK);
    for shared in [shared, other] {
        shared.pool.close();
    }
}

/// The lock is the reactor's and every other poster's too.
#[test]
fn a_long_queue_is_admitted_piece_by_piece_and_in_order() {
    let (shared, reactor) = engine();
    let group = GroupShared::new(1, 0, 0);
    let channel = open(&shared);
    let count = 3 * CHUNK + 5;
    let signal = |_| Message::new(&shared.pool).signal(channel);
    let mut posts: VecDeque<Post> = (0..count).map(signal).collect();
    let mut posted = Vec::new();
    shared.post_many(&group, &mut posts, &mut posted).unwrap();
    let ids: Vec<u64> = posted.iter().map(|posted| posted.id).collect();
    assert!(ids.iter().copied().eq(1..=count as u64), "{ids:?}");
    let lens: Vec<usize> = reactor
        .batches
        .lock()
        .unwrap()
        .iter()
        .map(Vec::len)
        .collect();
    assert_eq!(lens, [CHUNK, CHUNK, CHUNK, 5], "the reactor comes between");
    shared.pool.close();
}

/// What is wrong in itself is refused where it stands: what is before it goes, the rest stays.
#[test]
fn a_post_that_is_wrong_stops_the_queue_in_whichever_chunk_it_is() {
    for at in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1] {
        let (shared, _reactor) = engine();
        let group = GroupShared::new(1, 0, 0);
        let channel = open(&shared);
        let post = |index| match index == at {
            true => Message::new(&shared.pool).response(channel, 0),
            false => Message::new(&shared.pool).signal(channel),
        };
        let mut posts: VecDeque<Post> = (0..CHUNK + 3).map(post).collect();
        let mut posted = Vec::new();
        let outcome = shared.post_many(&group, &mut posts, &mut posted);
        assert_eq!(outcome, Err(PostError::ResponseWithoutId));
        assert_eq!((posted.len(), posts.len()), (at, CHUNK + 3 - at));
        assert_eq!(posts[0].op_code(), OpCode::Response);
        shared.pool.close();
    }
}

#[test]
fn a_closed_group_refuses_even_an_empty_queue() {
    let (shared, _reactor) = engine();
    let group = GroupShared::new(1, 0, 0);
    shared.queue.with_registry(|registry| group.close(registry));
    let outcome = shared.post_many(&group, &mut VecDeque::new(), &mut Vec::new());
    assert_eq!(outcome, Err(PostError::GroupClosed));
    shared.pool.close();
}

fn bye(channel: Channel, id: u64) -> Event {
    let received = Received {
        channel,
        op_code: OpCode::ByeRequest,
        more: false,
        status: 0,
        id,
        message: Message::empty(),
    };
    Event::Bye(Bye {
        received: Box::new(received),
        answer_on_drop: AnswerOnDrop::default(),
    })
}

/// However they come, none falls between the last look and the close.
#[test]
fn goodbyes_that_come_while_a_group_closes_are_answered_before_it_is_closed() {
    for count in [1, 2, 8, 9, 10] {
        let (shared, reactor) = engine();
        let group = Arc::new(GroupShared::new(1, 0, 0));
        assert!(reactor.group.set(Arc::clone(&group)).is_ok());
        let mut byes: VecDeque<Event> = (1..=count).map(|id| bye(open(&shared), id)).collect();
        let first = byes.pop_front().unwrap();
        group.deliver([first]);
        *reactor.coming.lock().unwrap() = byes; // each with the answer to the one before
        let now = std::time::Instant::now();
        shared.close_group(&group, now, &mut VecDeque::new());
        let batches = std::mem::take(&mut *reactor.batches.lock().unwrap());
        let all: Vec<Submission> = batches.into_iter().flatten().collect();
        let last = all.last();
        assert!(matches!(last, Some(Submission::CloseGroup { .. })));
        // The ninth is found when the lock is held; what it sets off comes behind the close.
        let answered = count.min(9) as usize;
        assert_eq!(all.len(), answered + 1, "of {count}");
        reactor.coming.lock().unwrap().clear();
        shared.pool.close();
    }
}

/// An inbox with very many events in it is closed without keeping the lock from others meanwhile.
#[test]
fn a_closing_group_answers_goodbyes_piece_by_piece() {
    let (shared, reactor) = engine();
    let group = GroupShared::new(1, 0, 0);
    let count = 2 * CHUNK + 7;
    let byes = |id| bye(open(&shared), id);
    group.deliver((1..=count as u64).map(byes));
    let now = std::time::Instant::now();
    shared.close_group(&group, now, &mut VecDeque::new());
    let batches = std::mem::take(&mut *reactor.batches.lock().unwrap());
    let lens: Vec<usize> = batches.iter().map(Vec::len).collect();
    assert_eq!(lens, [CHUNK, CHUNK, 7, 1], "the close comes last");
    let answered = batches.into_iter().flatten().filter_map(|it| match it {
        Submission::Post { post, .. } => Some((post.op_code, post.message_id)),
        _ => None,
    });
    assert!(answered.eq((1..=count as u64).map(|id| (OpCode::ByeResponse, id))));
    shared.pool.close();
}

/// What is charged for its length holds no more than that: a large message that was emptied, and one
/// that another engine lent. A message that was returned keeps its place in the budget.
#[test]
fn a_shortened_message_is_posted_in_storage_that_fits() {
    let (shared, _reactor) = engine();
    let group = GroupShared::new(1, 0, 0);
    let channel = open(&shared);
    let mut message = Message::new(&shared.pool).with_body(&[7; 60_000]).unwrap();
    message.resize_body(9000).unwrap();
    let posted = shared.post(&group, message.signal(channel));
    posted.unwrap();
    assert_eq!(used(&shared), crate::storage::cost_of(9016));

    let mut message = Message::new(&shared.pool).with_body(&[9; 60_000]).unwrap();
    message.set_body(&[1; 9000]).unwrap();
    let mut post = message.signal(channel);
    // A refused post has been prepared as well.
    shared
        .queue
        .with_registry(|registry| registry.close(channel));
    post = shared.post(&group, post).unwrap_err().post;
    assert_eq!(post.message().storage().bytes().len(), 9216);
    assert_eq!(post.message().body(), [1; 9000]);
    shared.pool.close();
}

/// Its frame is in the batch; its storage is free again for the next that this thread builds, however large
/// it is, and what it was charged before is given back.
#[test]
fn a_small_message_is_posted_by_value_and_leaves_its_storage() {
    let (shared, reactor) = engine();
    let group = GroupShared::new(1, 0, 0);
    let channel = open(&shared);
    let message = || Message::new(&shared.pool).with_body(&[7; 64]).unwrap();
    let large = || {
        let mut message = Message::new(&shared.pool).with_body(&[7; 60_000]).unwrap();
        message.set_body(b"few").unwrap();
        message
    };
    shared.post(&group, message().signal(channel)).unwrap();
    give_back_spare();
    assert_eq!(shared.pool.free(0), 1, "one by one");
    let posts = [message(), message(), message(), large()].map(|it| it.signal(channel));
    let mut posts = VecDeque::from(posts);
    shared
        .post_many(&group, &mut posts, &mut Vec::new())
        .unwrap();
    give_back_spare();
    assert_eq!(
        shared.pool.free(0),
        4,
        "and many: the large one began as a small one"
    );
    let lens = reactor.batches.lock().unwrap().concat_lens();
    assert_eq!(lens, [80, 80, 80, 80, 19]);
    assert_eq!(used(&shared), 4 * queued_cost_of(80) + queued_cost_of(19));
    shared.pool.close();
}

/// Its body lies in the batch, where others may have it as well, and what had led to it is free again. With text headers
/// of its own it is posted as it is.
#[test]
fn a_message_with_a_shared_body_leaves_its_storage() {
    let (shared, reactor) = engine();
    let group = GroupShared::new(1, 0, 0);
    let channel = open(&shared);
    let mut first = Message::new(&shared.pool).with_body(&[7; 2000]).unwrap();
    let body = first.share_body();
    let second = first.clone();
    give_back_spare();
    let free = shared.pool.free(0);
    let one = shared.post(&group, first.signal(channel)).unwrap();
    let mut posts = VecDeque::from([second.request(channel)]);
    let mut posted = vec![one];
    shared.post_many(&group, &mut posts, &mut posted).unwrap();
    give_back_spare();
    assert_eq!(shared.pool.free(0), free + 2);
    assert_eq!(used(&shared), 2 * shared_cost_of(2016));
    let named = Message::new(&shared.pool).with_header("A", "b").unwrap();
    let named = named.with_shared_body(&body);
    shared.post(&group, named.signal(channel)).unwrap();
    let batches = std::mem::take(&mut *reactor.batches.lock().unwrap());
    let mut submissions = batches.into_iter().flatten();
    for (op_code, posted) in [OpCode::Signal, OpCode::Request].into_iter().zip(posted) {
        let Some(Submission::SharedFrame { channel: to, frame }) = submissions.next() else {
            panic!("it leads to its body");
        };
        let header = frame.header();
        assert_eq!((to, header.op_code), (posted.channel, op_code));
        assert_eq!((header.message_id, header.body_len), (posted.id, 2000));
        assert_eq!(frame.cost(), shared_cost_of(2016));
        assert_eq!(frame.pieces()[1].as_ptr(), body.as_ptr());
    }
    assert!(
        matches!(submissions.next(), Some(Submission::Post { post, .. }) if post.message.frame_len() == 2021)
    );
    shared.pool.close();
}

/// What was received is posted on, and is the application's from then on, though it is copied and its body stays: also where
/// the answer is waited for.
#[test]
fn a_small_body_that_others_have_gives_its_charge_back_whichever_way_it_is_posted() {
    let (shared, _reactor) = engine();
    let group = GroupShared::new(1, 0, 0);
    let channel = open(&shared);
    let key = RecordKey {
        index: 3,
        generation: 9,
    };
    type Way = fn(&Shared, &GroupShared, Post);
    let ways: [Way; 3] = [
        |shared, group, post| {
            shared.post(group, post).unwrap();
        },
        |shared, group, post| {
            let posted = shared.post_many(group, &mut VecDeque::from([post]), &mut Vec::new());
            posted.unwrap();
        },
        |shared, group, mut post| {
            let line = CallLine::new(&Arc::new(CallMailbox::new()));
            let posted = shared.post_call(group, &mut post, line, Instant::now());
            posted.unwrap();
        },
    ];
    for post in ways {
        let mut message = Message::new(&shared.pool).with_body(&[7; 100]).unwrap();
        message.storage_mut().charge_inbound(key, 1234);
        let kept = message.share_body();
        let mut released = Vec::new();
        shared.pool.take_released(&mut released, None);
        assert_eq!(released, []);
        post(&shared, &group, message.request(channel));
        shared.pool.take_released(&mut released, None);
        assert_eq!(released, [(key, 1234)]);
        drop(kept);
    }
    shared.pool.close();
}

/// The memory is another engine's, and so is what it is charged there.
#[test]
fn a_small_message_of_another_engine_goes_back_there() {
    let ((shared, _reactor), (other, _)) = (engine(), engine());
    let group = GroupShared::new(1, 0, 0);
    let channel = open(&shared);
    let message = Message::new(&other.pool).with_body(b"theirs").unwrap();
    shared.post(&group, message.signal(channel)).unwrap();
    give_back_spare();
    assert_eq!((shared.pool.free(0), other.pool.free(0)), (1, 1));
    shared.pool.close();
    other.pool.close();
}

/// So the next that it posts needs no lock of the pool.
#[test]
fn a_thread_that_posts_one_by_one_uses_the_same_storage_again_and_gives_it_back_at_its_end() {
    let (shared, _reactor) = engine();
    let theirs = Arc::clone(&shared);
    let poster = thread::spawn(move || {
        let group = GroupShared::new(1, 0, 0);
        let channel = open(&theirs);
        for (len, size) in [(3, 0), (2000, 7), (8192, 32)] {
            let message = || Message::new(&theirs.pool).with_body(&vec![7; len]).unwrap();
            let places = [(); 3].map(|()| {
                let message = message();
                let place = message.body().as_ptr();
                theirs.post(&group, message.signal(channel)).unwrap();
                place
            });
            assert!(places.iter().all(|place| *place == places[0]), "{len}");
            assert_eq!(theirs.pool.free(size), 0, "{len}");
        }
    });
    poster.join().unwrap();
    assert_eq!(shared.pool.free(0), 1);
    assert_eq!(
        shared.pool.free(7),
        1,
        "that of the one before the last came home first"
    );
    assert_eq!(shared.pool.free(32), 1);
    shared.pool.close();
}

fn used(shared: &Shared) -> usize {
    shared.queue.with_registry(|registry| registry.used())
}

/// Would be given back a charge that passes on.
struct Nobody;

impl Creditor for Nobody {
    fn release(&self, cost: usize) {
        panic!("{cost} bytes were given back, and somebody else might have taken them");
    }

    fn group(&self) -> GroupPlace {
        GroupPlace(0)
    }
}

/// Returned messages stay charged until they are dropped or posted again, in whatever storage they are
/// by then.
#[test]
fn a_returned_message_that_was_changed_is_charged_once_when_it_is_posted_again() {
    for len in [3, 60_000, 65_000] {
        let (shared, _reactor) = engine();
        let group = GroupShared::new(1, 0, 0);
        let channel = open(&shared);
        let mut message = Message::new(&shared.pool).with_body(&[7; 60_000]).unwrap();
        let cost = message.cost();
        shared.queue.with_registry(|registry| {
            registry.admit(channel, 1, Role::Data, cost, None).unwrap();
            registry.release_channel(channel, cost);
        });
        let hold = Hold::new(Nobody.shared(), cost);
        message.storage_mut().set_hold(hold);
        message.resize_body(len).unwrap();
        assert_eq!(used(&shared), cost, "as what it was posted as");
        shared.post(&group, message.signal(channel)).unwrap();
        let cost = match len {
            3 => queued_cost_of(16 + len),
            _ => crate::storage::cost_of(16 + len),
        };
        assert_eq!(used(&shared), cost);
        shared.pool.close();
    }
}

/// In other storage, which fits what it is now.
#[test]
fn a_returned_message_that_was_changed_and_is_refused_holds_what_it_held() {
    let (shared, _reactor) = engine();
    let group = GroupShared::new(1, 0, 0);
    let channel = open(&shared);
    let mut message = Message::new(&shared.pool).with_body(&[7; 60_000]).unwrap();
    let cost = message.cost();
    shared.queue.with_registry(|registry| {
        registry.admit(channel, 1, Role::Data, cost, None).unwrap();
        registry.release_channel(channel, cost);
        let credit = shared.options.outbound_bytes_per_channel;
        let filled = registry.admit(channel, 1, Role::Data, credit, None);
        filled.unwrap();
    });
    let hold = Hold::new(Nobody.shared(), cost);
    message.storage_mut().set_hold(hold);
    message.resize_body(30_000).unwrap();
    let before = used(&shared);
    let mut refused = shared.post(&group, message.signal(channel)).unwrap_err();
    assert_eq!(refused.why, PostError::Full(Budget::Channel));
    assert_eq!(used(&shared), before);
    let storage = refused.post.message.storage_mut();
    assert_eq!(storage.held(), Some((GroupPlace(0), cost)));
    storage.take_hold().unwrap().pass_on();
    shared.pool.close();
}

/// An abort costs nothing that a budget could bound.
#[test]
fn however_often_a_channel_is_aborted_the_reactor_hears_of_it_once() {
    let (shared, reactor) = engine();
    let group = GroupShared::new(1, 0, 0);
    let channel = open(&shared);
    for _ in 0..3 {
        let posted = shared.post(&group, Post::abort(channel)).unwrap();
        assert_eq!(posted.channel, channel);
    }
    let batches = reactor.batches.lock().unwrap();
    assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 1);
}

#[derive(Default)]
struct Credit(Mutex<usize>);

impl Creditor for Arc<Credit> {
    fn release(&self, cost: usize) {
        *self.0.lock().unwrap() += cost;
    }

    fn group(&self) -> GroupPlace {
        GroupPlace(0)
    }
}

/// From then on it is this engine's, and the other has nothing to wait for.
#[test]
fn what_came_back_from_another_engine_gives_that_its_credit_when_it_is_posted_here() {
    let ((shared, _reactor), (other, _)) = (engine(), engine());
    let group = GroupShared::new(1, 0, 0);
    let channel = open(&shared);
    let credit = Arc::new(Credit::default());
    let creditor = Arc::clone(&credit).shared();
    let mut message = Message::new(&other.pool).with_body(b"returned").unwrap();
    let hold = Hold::new(creditor, 900);
    message.storage_mut().set_hold(hold);
    shared.post(&group, message.signal(channel)).unwrap();
    assert_eq!(*credit.0.lock().unwrap(), 900);
}

#[test]
fn an_abort_says_so_much_and_without_words_needs_no_storage() {
    let (shared, reactor) = engine();
    let group = GroupShared::new(1, 0, 0);
    let say = |len: usize| {
        let words = Message::new(&shared.pool).with_body(&vec![7; len]).unwrap();
        words.abort(open(&shared))
    };
    assert!(shared.post(&group, say(MAX_ABORT_LEN)).is_ok());
    let refused = shared.post(&group, say(MAX_ABORT_LEN + 1)).unwrap_err();
    let len = MAX_ABORT_LEN + 1;
    assert_eq!(refused.why, PostError::AbortTooLong { len });
    shared.post(&group, Post::abort(open(&shared))).unwrap();
    let batches = reactor.batches.lock().unwrap();
    let storages = batches.iter().flatten().map(|item| match item {
        Submission::Post { post, .. } => post.message.storage().bytes().len(),
        _ => panic!("not a post"),
    });
    assert!(storages.map(|len| len > 0).eq([true, false]));
}

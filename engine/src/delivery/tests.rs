use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::storage::Pool;
use crate::wire::test_frames::frame;

pub(crate) fn channel() -> Channel {
    Channel::new(7, 7)
}

const KEY: RecordKey = RecordKey {
    index: 3,
    generation: 5,
};

struct Nobody;

impl crate::between::wake::Wake for Nobody {
    fn wake(&self) {}
}

fn pool() -> Arc<Pool> {
    Arc::new(Pool::new(1 << 20, Box::new(Nobody)))
}

/// So many Signals of `len` bytes with the ids from 1 on, then a Response, of channel 7.
pub(crate) fn frames(pool: &Arc<Pool>, count: u64, len: usize) -> ReceivedFrames {
    let signals = (1..=count).map(|id| frame(OpCode::Signal, id, &vec![7; len]));
    let frames = signals.chain([frame(OpCode::Response, count + 1, b"")]);
    let (mut bytes, mut stretch) = (Vec::new(), Stretch::default());
    for frame in frames {
        stretch.add(&Header::decode(frame.first_chunk().unwrap()).unwrap());
        bytes.extend(frame);
    }
    bytes.extend(b"what came behind them");
    let storage = pool.take(stretch.bytes);
    ReceivedFrames::new((channel(), KEY), stretch, &bytes, storage)
}

fn released(pool: &Pool) -> usize {
    let mut released = Vec::new();
    pool.take_released(&mut released, None);
    assert!(released.iter().all(|&(key, _)| key == KEY));
    released.into_iter().map(|(_, cost)| cost).sum()
}

#[test]
fn each_message_gives_back_its_own_part_and_what_is_left_goes_with_the_frames() {
    let pool = pool();
    let cost = cost_of(Header::LEN + 40);
    let mut frames = frames(&pool, 9, 40);
    let (mut free, mut events) = (Vec::new(), VecDeque::new());
    frames.take(4, &mut free, &mut events);
    assert_eq!((frames.len(), events.len(), released(&pool)), (6, 4, 0));
    events.pop_front();
    assert_eq!(released(&pool), cost);
    drop(frames);
    assert_eq!(released(&pool), 5 * cost + cost_of(Header::LEN));
    events.clear();
    assert_eq!(released(&pool), 3 * cost);
    pool.close();
}

#[test]
fn no_more_is_taken_than_there_is() {
    let pool = pool();
    let mut frames = frames(&pool, 2, 200);
    let (mut free, mut events) = (Vec::new(), VecDeque::new());
    frames.take(100, &mut free, &mut events);
    let ids = events.iter_mut().map(|it| it.frequent_mut().unwrap().id);
    assert_eq!(ids.collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(frames.len(), 0);
    drop((frames, events));
    assert_eq!(released(&pool), 2 * cost_of(216) + cost_of(16));
    pool.close();
}

#[test]
fn storage_for_what_is_taken_out_comes_from_the_pool_as_far_as_there_is_some() {
    let pool = pool();
    drop((0..3).map(|_| pool.take(100)).collect::<Vec<_>>());
    let mut frames = frames(&pool, 5, 40);
    let (mut free, mut events) = (Vec::new(), VecDeque::new());
    for (most, left_free) in [(2, 1), (4, 0)] {
        frames.take(most, &mut free, &mut events);
        assert_eq!((pool.free(0), free.len()), (left_free, 0));
    }
    assert_eq!(events.len(), 6);
    events.clear();
    assert_eq!(pool.free(0), 6);
    pool.close();
}

#[test]
fn messages_of_frames_are_where_the_frames_were() {
    let pool = pool();
    let mut deliveries = Deliveries::default();
    deliveries.push_back(Event::Room(Channel::new(1, 1)));
    deliveries.push_frames(frames(&pool, 2, 0));
    deliveries.push_back(Event::Room(Channel::new(2, 2)));
    let channels = deliveries.drain().map(|it| it.channel().unwrap().number());
    assert_eq!(channels.collect::<Vec<_>>(), [1, 7, 7, 7, 2]);
    assert_eq!(deliveries.events(), 5);
    pool.close();
}

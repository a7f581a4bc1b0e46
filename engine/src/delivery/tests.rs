use std::collections::VecDeque;

use super::*;
use crate::storage::Pool;
use crate::storage::pool::SPARE_PIECES;
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
    let (mut spare, mut events) = (Spare::default(), VecDeque::new());
    frames.take(4, &mut spare, &mut events);
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
    let (mut spare, mut events) = (Spare::default(), VecDeque::new());
    frames.take(100, &mut spare, &mut events);
    let ids = events.iter_mut().map(|it| it.frequent_mut().unwrap().id);
    assert_eq!(ids.collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(frames.len(), 0);
    drop((frames, events));
    assert_eq!(released(&pool), 2 * cost_of(216) + cost_of(16));
    pool.close();
}

#[test]
fn spare_storage_is_fetched_for_what_is_wanted_and_nothing_is_left_over() {
    let pool = pool();
    let count = 2 * SPARE_PIECES + 3;
    let kept: Vec<Storage> = (0..count).map(|_| pool.take(100)).collect();
    drop(kept);
    let mut spare = Spare::default();
    let mut taken = vec![spare.take(count, &pool)];
    assert_eq!(pool.free(0), count - SPARE_PIECES);
    taken.extend((1..count).rev().map(|wanted| spare.take(wanted, &pool)));
    assert_eq!(pool.free(0), 0);
    drop(taken);
    assert_eq!(pool.free(0), count);
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

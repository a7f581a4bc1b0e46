use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::between::queue::Queue;
use crate::between::registry::{Credit, Kind, Registry};
use crate::between::wake::Wake;
use crate::storage::MESSAGE_COST_MAX;

#[derive(Clone, Default)]
struct Wakes(Arc<AtomicUsize>);

impl Wake for Wakes {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn queue(wakes: &Wakes) -> Queue<Vec<u32>, &'static str> {
    let credit = Credit {
        channel: 2 * MESSAGE_COST_MAX,
        engine: 2 * MESSAGE_COST_MAX,
    };
    let mut registry = Registry::new(credit);
    registry.open_group(1, 0);
    Queue::new(registry, Box::new(wakes.clone()))
}

#[test]
fn a_batch_is_taken_whole_and_in_order_and_wakes_once() {
    let wakes = Wakes::default();
    let queue = queue(&wakes);
    for item in 0..5 {
        assert_eq!(queue.submit(|_, items| items.push(item)), Ok(()));
    }
    assert_eq!(wakes.count(), 1);
    let mut batch = Vec::new();
    queue.exchange(&mut batch, |_| ());
    assert_eq!(batch, [0, 1, 2, 3, 4]);
    batch.clear();
    queue.exchange(&mut batch, |_| ());
    assert_eq!(batch, []);
    queue.submit(|_, items| items.extend([5, 6])).unwrap();
    assert_eq!(wakes.count(), 2);
}

#[test]
fn what_queues_nothing_wakes_nobody() {
    let wakes = Wakes::default();
    let queue = queue(&wakes);
    let refused = queue.submit(|_, _| "refused");
    assert_eq!(refused, Ok("refused"));
    let channel = queue.with_registry(|registry| registry.open(1, Kind::Connection));
    assert!(channel.is_some());
    assert_eq!(wakes.count(), 0);
    queue.wake();
    assert_eq!(wakes.count(), 1);
}

#[test]
fn the_storage_of_a_batch_goes_round() {
    let queue = queue(&Wakes::default());
    let mut batch = Vec::with_capacity(64);
    queue.exchange(&mut batch, |_| ());
    queue.submit(|_, items| items.push(1)).unwrap();
    queue.exchange(&mut batch, |_| ());
    assert!(batch.capacity() >= 64);
}

#[test]
#[should_panic(expected = "the batch before was handled")]
fn a_batch_is_not_taken_over_another() {
    queue(&Wakes::default()).exchange(&mut vec![1], |_| ());
}

#[test]
fn the_end_refuses_what_follows_for_its_first_reason() {
    let wakes = Wakes::default();
    let queue = queue(&wakes);
    queue.submit(|_, items| items.extend([1, 2])).unwrap();
    assert_eq!(queue.end("stopped"), [1, 2]);
    assert_eq!(queue.end("failed"), []);
    let refused = queue.submit(|_, _| panic!("nothing is submitted after the end"));
    assert_eq!(refused, Err::<(), _>("stopped"));
    let mut batch = Vec::new();
    queue.exchange(&mut batch, |_| ());
    assert_eq!(batch, []);
    assert_eq!(queue.with_registry(|registry| registry.used()), 0);
    assert_eq!(wakes.count(), 1);
}

#[test]
fn a_panic_under_the_lock_stays_with_its_thread() {
    let queue = Arc::new(queue(&Wakes::default()));
    let panicking = Arc::clone(&queue);
    let outcome = std::thread::spawn(move || panicking.submit(|_, _| panic!("planted"))).join();
    assert!(outcome.is_err());
    assert_eq!(queue.submit(|_, items| items.push(1)), Ok(()));
}

//! Which calls are found due, and what is kept of those that have ended.

use std::time::Duration;

use super::*;
use crate::handles::CallMailbox;

fn begin(calls: &mut Calls, key: CallKey, deadline: Instant) {
    let mailbox = Arc::new(CallMailbox::new());
    calls.begin(key, CallLine::new(&mailbox), deadline);
}

#[test]
fn calls_are_found_due_in_the_order_of_their_deadlines_but_for_those_that_have_ended() {
    let now = Instant::now();
    let channel = Channel::new(1, 1);
    let mut calls = Calls::default();
    for id in [3, 1, 4, 2] {
        begin(&mut calls, (channel, id), now + Duration::from_millis(id));
    }
    calls.end((channel, 2)).unwrap();
    assert_eq!(calls.next_due(), Some(now + Duration::from_millis(1)));
    calls.find_due(now + Duration::from_millis(3));
    let due: Vec<u64> = calls.due.iter().map(|(_, (_, id))| *id).collect();
    assert_eq!(due, [1, 3]);
    for id in [1, 3, 4] {
        calls.end((channel, id)).unwrap();
    }
    assert_eq!(calls.next_due(), None, "nothing wakes for what has ended");
    assert!(calls.is_empty() && calls.channels.is_empty());
}

#[test]
fn deadlines_of_calls_that_have_ended_are_few() {
    let now = Instant::now();
    let channel = Channel::new(1, 1);
    // Each like the first, later, earlier, and earlier and later by turns.
    let millis: [fn(u64) -> u64; 4] = [|_| 0, |id| id, |id| 10_000 - id, |id| id * 7919 % 10_000];
    for millis in millis {
        let mut calls = Calls::default();
        let later = |id| now + Duration::from_secs(1000) + Duration::from_millis(millis(id));
        begin(&mut calls, (channel, 0), later(0));
        for id in 1..10_000 {
            begin(&mut calls, (channel, id), later(id));
            calls.end((channel, id)).unwrap();
            assert!(calls.deadlines.len() <= 2 + STALE_MOST, "{id}");
        }
        assert_eq!(calls.len, 1);
        calls.find_due(later(0));
        assert!(calls.due.iter().map(|(_, key)| key.1).eq([0]));
    }
}

#[test]
fn many_calls_leave_no_memory_behind_while_one_goes_on() {
    let later = Instant::now() + Duration::from_secs(1000);
    let channel = Channel::new(1, 1);
    let mut calls = Calls::default();
    for id in 0..50_000 {
        begin(&mut calls, (channel, id), later);
    }
    for id in 0..49_999 {
        calls.end((channel, id)).unwrap();
    }
    let capacity = calls.deadlines.capacity();
    assert!(capacity <= 4 * SPARE_MOST, "there is memory for {capacity}");
}

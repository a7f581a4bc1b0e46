//! What a thread drops while it takes a batch.

use super::*;

use crate::blocking;
use crate::inbox::Inbox;

fn released(shared: &Shared) -> usize {
    let mut released = Vec::new();
    shared.pool.take_released(&mut released, None);
    released.into_iter().map(|(_, cost)| cost).sum()
}

/// What a thread has dropped and kept is charged only while there is more that is charged.
#[test]
fn with_the_last_of_a_batch_all_that_was_dropped_is_given_back() {
    let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
    let group = Arc::new(GroupShared::new(1, 0, 0));
    let (_posting, mut inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
    let _reactor = Reactor(Arc::clone(&group));
    let deliver = || {
        let frames = Delivery::Frames(frames(&shared.pool, 3, 40)); // and an answer
        group.mailbox.deliver(&mut VecDeque::from([frames]));
    };
    let (each, answer) = (cost_of(Header::LEN + 40), cost_of(Header::LEN));
    deliver();
    let mut events = inbox.recv_many().unwrap();
    drop((events.next(), events.next(), events.next()));
    assert_eq!(released(&shared), 0, "there is one more");
    let last = events.next();
    assert_eq!(released(&shared), 3 * each);
    drop(last);
    assert_eq!(released(&shared), answer, "it is not kept");
    drop(events);

    deliver();
    let mut events = inbox.recv_many().unwrap();
    drop((events.next(), events.next()));
    drop(events);
    assert_eq!(released(&shared), 2 * each, "where the iterator is left");
    std::mem::forget(inbox.recv_many().unwrap());
    drop(inbox.recv().unwrap());
    drop(inbox.recv().unwrap());
    assert_eq!(released(&shared), each + answer, "where it is forgotten");
    shared.pool.close();
}

/// Somebody may wait for what this thread has dropped, for whom it waits.
#[test]
fn who_waits_for_anything_keeps_nothing_that_was_dropped() {
    let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
    let groups = [1, 2].map(|id| Arc::new(GroupShared::new(id, 0, 0)));
    let [(_, mut inbox), (_, mut other)] = groups
        .each_ref()
        .map(|group| group::pair(Arc::clone(&shared), Arc::clone(group)));
    let _reactors = groups.each_ref().map(|group| Reactor(Arc::clone(group)));
    let waits: [&dyn Fn(&mut Inbox); 2] = [
        &|other| assert!(other.try_recv().unwrap().is_none()),
        &|_| {
            let soon = Instant::now() + Duration::from_millis(1);
            assert_eq!(
                blocking::wait_until(std::future::pending::<()>(), soon),
                None
            );
        },
    ];
    for wait in waits {
        let frames = Delivery::Frames(frames(&shared.pool, 3, 40));
        groups[0].mailbox.deliver(&mut VecDeque::from([frames]));
        let mut events = inbox.recv_many().unwrap();
        drop(events.next());
        assert_eq!(released(&shared), 0);
        wait(&mut other);
        assert_eq!(released(&shared), cost_of(Header::LEN + 40));
        events.by_ref().for_each(drop);
        drop(events);
        released(&shared);
    }
    shared.pool.close();
}

/// It may be all that is left for long, and is charged to nobody.
#[test]
fn behind_an_event_without_content_nothing_is_kept() {
    let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
    let group = Arc::new(GroupShared::new(1, 0, 0));
    let (_posting, mut inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
    let _reactor = Reactor(Arc::clone(&group));
    let frames = Delivery::Frames(frames(&shared.pool, 3, 40));
    let room = Delivery::Event(Event::Room(channel()));
    group.mailbox.deliver(&mut VecDeque::from([frames, room]));
    let mut events = inbox.recv_many().unwrap();
    drop(events.next());
    assert_eq!(released(&shared), cost_of(Header::LEN + 40));
    events.by_ref().for_each(drop);
    drop(events);
    shared.pool.close();
}

#[test]
fn a_thread_gives_back_at_its_end_what_it_has_dropped_and_kept() {
    let shared = Shared::new(Options::default(), |_| Box::new(Wakes::default()));
    let group = Arc::new(GroupShared::new(1, 0, 0));
    let (_posting, mut inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
    let reactor = Reactor(Arc::clone(&group));
    let frames = Delivery::Frames(frames(&shared.pool, 3, 40));
    group.mailbox.deliver(&mut VecDeque::from([frames]));
    let receiver = thread::spawn(move || {
        let mut events = inbox.recv_many().unwrap();
        drop(events.next());
        std::mem::forget(events);
        assert_eq!(released(&inbox.shared), 0);
        inbox
    });
    let inbox = receiver.join().unwrap();
    assert_eq!(released(&shared), cost_of(Header::LEN + 40));
    drop((reactor, inbox));
    shared.pool.close();
}

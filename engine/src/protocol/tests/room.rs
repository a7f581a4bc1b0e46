//! Credit for posts: refused once it is used up, and told once when there is some again.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::between::key::RecordKey;
use crate::between::seat::Need;
use crate::error::{Budget, PostError};
use crate::event::Event;
use crate::options::Options;
use crate::post::Post;
use crate::storage::MESSAGE_COST_MAX;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::bench::{Bench, address, reset};

fn tight() -> Options {
    Options {
        outbound_bytes: 2 * MESSAGE_COST_MAX,
        outbound_bytes_per_channel: 2 * MESSAGE_COST_MAX,
        ..Options::default()
    }
}

fn large(bench: &Bench, channel: crate::Channel) -> Post {
    bench
        .posting
        .message()
        .with_body(&[1; 65_535])
        .unwrap()
        .signal(channel)
}

#[test]
fn a_channel_refused_before_the_core_knew_it_is_told_of_room() {
    let mut bench = Bench::with(tight());
    let (one, key) = bench.connect();
    bench.accepts.insert(key, 0);
    for _ in 0..3 {
        bench.post(large(&bench, one));
    }
    bench.rest();
    bench.accepts.remove(&key);
    bench.core.handle_writable(key, bench.now);
    let other = bench.posting.connect(&address(7001)).unwrap();
    let refused = bench.posting.post(large(&bench, other)).unwrap_err();
    assert!(matches!(refused.why, PostError::Full(_)));
    bench.rest();
    assert!(matches!(bench.event(), Event::Room(it) if it == other));
}

#[test]
fn any_number_of_refusals_brings_one_room() {
    let mut bench = Bench::with(tight());
    let (channel, key) = bench.connect();
    bench.accepts.insert(key, 0);
    for _ in 0..3 {
        bench.post(large(&bench, channel));
    }
    for _ in 0..5 {
        let refused = bench.posting.post(large(&bench, channel)).unwrap_err();
        assert!(matches!(refused.why, PostError::Full(_)));
        assert_eq!(refused.post.message().body(), [1; 65_535]);
    }
    bench.rest();
    assert!(bench.events().is_empty());
    bench.accepts.remove(&key);
    bench.core.handle_writable(key, bench.now);
    bench.rest();
    let events = bench.events();
    assert!(
        matches!(events[..], [Event::Room(it)] if it == channel),
        "{events:?}"
    );
    bench.post(large(&bench, channel));
    bench.rest();
    assert!(bench.events().is_empty(), "nobody was refused since");
}

/// Peers that do not read use up the engine's budget, to the last message. Returns the channel of
/// the last.
fn use_up(bench: &mut Bench) -> crate::Channel {
    loop {
        let (channel, key) = bench.connect();
        bench.accepts.insert(key, 0);
        let mut why = None;
        for len in [65_000, 16_000, 4_000, 100] {
            let message = || bench.posting.message().with_body(&vec![1; len]).unwrap();
            while why.is_none_or(|why| why == PostError::Full(Budget::Engine)) {
                match bench.posting.post(message().signal(channel)) {
                    Ok(_) => {}
                    Err(refused) if why.replace(refused.why).is_some() => break,
                    Err(_) => {}
                }
            }
        }
        bench.rest();
        if why == Some(PostError::Full(Budget::Engine)) {
            return channel;
        }
    }
}

/// Peers that do not read have used up the engine's budget. Others are served all the same.
#[test]
fn small_messages_go_though_others_hold_the_engines_budget() {
    let mut bench = Bench::with(Options {
        outbound_bytes: 4 * MESSAGE_COST_MAX,
        outbound_bytes_per_channel: 2 * MESSAGE_COST_MAX,
        ..Options::default()
    });
    let (_, listener) = bench.listen();
    let (good, key) = bench.connect();
    use_up(&mut bench);
    let refused = bench.posting.post(large(&bench, good)).unwrap_err();
    assert_eq!(refused.why, PostError::Full(Budget::Engine));
    let text = refused.to_string();
    assert!(text.contains("raise Options::outbound_bytes"), "{text}");

    // A hello is answered, another is said, and more small messages go than the reserve takes at once.
    let (accepted, hello) = bench.greet(listener);
    bench.post(hello.accept(bench.posting.message()));
    bench.connect();
    for _ in 0..100 {
        let message = bench.posting.message().with_body(b"small").unwrap();
        bench.post(message.signal(good));
        bench.rest();
    }
    bench.post(bench.posting.message().bye(good));
    bench.rest();
    assert_eq!(bench.frames(accepted).len(), 1, "the answer to the hello");
    assert_eq!(bench.frames(key).len(), 101, "the signals and the goodbye");
}

/// Who was told of room posts no more. It was promised to it for a while.
#[test]
fn room_that_nobody_posts_into_is_told_to_the_next() {
    let mut bench = Bench::with(Options {
        outbound_bytes: 2 * MESSAGE_COST_MAX,
        ..Options::default()
    });
    let channels = [(); 2].map(|()| bench.connect().0);
    let (deaf, key) = bench.connect();
    bench.accepts.insert(key, 0);
    while bench.posting.post(large(&bench, deaf)).is_ok() {}
    for channel in channels {
        bench.posting.post(large(&bench, channel)).unwrap_err();
    }
    bench.rest();
    bench.accepts.insert(key, 66_000);
    bench.core.handle_writable(key, bench.now);
    bench.rest();
    // The channel itself was refused first of all.
    let mut told = Vec::new();
    for _ in 0..3 {
        let events = bench.events();
        assert!(matches!(events[..], [Event::Room(_)]), "{events:?}");
        told.extend(events.iter().map(Event::channel));
        if let Some(due) = bench.core.poll_timeout(bench.now) {
            bench.now = due;
        }
        bench.rest();
    }
    assert_eq!(told, [deaf, channels[0], channels[1]].map(Some));
}

/// Where there is always something to do, promises lapse as well.
#[test]
fn room_that_nobody_posts_into_is_told_to_the_next_by_a_busy_reactor_too() {
    let mut bench = Bench::with(Options {
        outbound_bytes: 2 * MESSAGE_COST_MAX,
        ..Options::default()
    });
    let channels = [(); 2].map(|()| bench.connect().0);
    let (_, busy) = bench.connect();
    let (deaf, key) = bench.connect();
    bench.accepts.insert(key, 0);
    while bench.posting.post(large(&bench, deaf)).is_ok() {}
    for channel in channels {
        bench.posting.post(large(&bench, channel)).unwrap_err();
    }
    bench.rest();
    bench.accepts.insert(key, 66_000);
    bench.core.handle_writable(key, bench.now);
    let mut told = Vec::new();
    for _ in 0..100 {
        let signal = frame(OpCode::Signal, 0, b"busy");
        assert!(bench.feed(busy, &signal).is_empty());
        bench.rest();
        let events = bench.events();
        let rooms = events.iter().filter(|it| matches!(it, Event::Room(_)));
        told.extend(rooms.map(Event::channel));
        bench.later(Duration::from_millis(1));
    }
    assert_eq!(told, [deaf, channels[0], channels[1]].map(Some));
}

/// A channel that is refused while its peer does not read.
fn refused(bench: &mut Bench) -> (crate::Channel, RecordKey) {
    let (channel, key) = bench.connect();
    bench.accepts.insert(key, 0);
    while bench.posting.post(large(bench, channel)).is_ok() {}
    bench.rest();
    assert!(bench.events().is_empty());
    (channel, key)
}

fn rooms(bench: &mut Bench) -> usize {
    let events = bench.events();
    let rooms = events.iter().filter(|it| matches!(it, Event::Room(_)));
    rooms.count()
}

/// Its next post tells that there is none any more: it must not wait for room in vain.
#[test]
fn who_waits_for_room_is_told_when_its_channel_takes_no_more_posts() {
    let mut bench = Bench::with(tight());
    let (channel, key) = refused(&mut bench);
    bench.core.handle_write_error(key, &reset(), bench.now);
    bench.rest();
    assert_eq!(rooms(&mut bench), 1);
    let refused = bench.posting.post(large(&bench, channel)).unwrap_err();
    assert_eq!(refused.why, PostError::ChannelClosed);
}

#[test]
fn who_waits_for_room_on_a_channel_that_ends_is_told_of_its_end_alone() {
    let mut bench = Bench::with(tight());
    let (_, key) = refused(&mut bench);
    bench.core.handle_read_error(key, &reset(), bench.now);
    bench.rest();
    assert_eq!(rooms(&mut bench), 0);
}

/// Whoever makes passes goes on with that, or has another do it.
#[test]
fn a_task_that_waits_for_room_needs_passes() {
    let mut bench = Bench::with(tight());
    let (channel, key) = bench.connect();
    bench.accepts.insert(key, 0);
    for _ in 0..3 {
        bench.post(large(&bench, channel));
    }
    bench.rest();
    assert!(bench.core.need() == Need::Nobody);
    let mut sending = bench.posting.send(large(&bench, channel));
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut sending).poll(&mut context).is_pending());
    bench.rest();
    assert!(bench.core.need() == Need::Tasks);
    bench.accepts.remove(&key);
    bench.core.handle_writable(key, bench.now);
    bench.rest();
    assert!(Pin::new(&mut sending).poll(&mut context).is_ready());
    bench.rest();
    assert!(bench.core.need() == Need::Nobody);
}

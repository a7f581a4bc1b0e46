//! Credit for posts: refused once it is used up, and told once when there is some again.

use crate::error::PostError;
use crate::event::Event;
use crate::options::Options;
use crate::post::Post;
use crate::storage::MESSAGE_COST_MAX;

use super::bench::{Bench, address};

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
        .body(&[1; 65_535])
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
    bench.pass(); // all is sent, and given back with the next exchange
    let other = bench.posting.connect(&address(7001)).unwrap();
    let refused = bench.posting.post(large(&bench, other)).unwrap_err();
    assert_eq!(refused.why, PostError::Full);
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
        assert_eq!(refused.why, PostError::Full);
        assert_eq!(refused.post.message().body_bytes(), [1; 65_535]);
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

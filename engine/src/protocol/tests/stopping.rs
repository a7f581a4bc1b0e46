//! Stopping the engine and closing groups while others still post.

use std::time::Duration;

use crate::error::{Ended, PostError};
use crate::event::Event;
use crate::handles::Submission;
use crate::peer::Peer;
use crate::reason::Reason;

use super::bench::{Bench, address, open_group};

fn stop(bench: &mut Bench, within: Duration) {
    let deadline = bench.now + within;
    bench.submit(Submission::Stop { deadline });
}

#[test]
fn a_post_that_races_with_stop_is_answered() {
    let mut bench = Bench::new();
    bench.rest();
    stop(&mut bench, Duration::ZERO);
    bench.pass(); // no member is left, but posts were admitted until now
    bench.posting.connect(&address(7000)).unwrap();
    bench.rest();
    assert!(matches!(bench.event(), Event::Returned(it) if it.reason() == Reason::EngineStopped));
    assert_eq!(bench.closed().reason(), Reason::EngineStopped);
    assert_eq!(bench.end_of_group(), Some(Ended::EngineStopped));
    assert!(bench.core.is_finished());
}

#[test]
fn nothing_is_admitted_behind_the_end_of_a_stopped_group() {
    let mut bench = Bench::new();
    bench.rest();
    stop(&mut bench, Duration::ZERO);
    bench.rest();
    assert_eq!(bench.end_of_group(), Some(Ended::EngineStopped));
    let refused = bench.posting.connect(&address(7000)).unwrap_err();
    assert_eq!(refused.why, PostError::GroupClosed);
}

#[test]
fn a_group_that_is_opened_behind_stop_ends_and_answers_its_posts() {
    let mut bench = Bench::new();
    bench.rest();
    stop(&mut bench, Duration::ZERO);
    let (posting, mut inbox, _) = open_group(&bench.shared, 2);
    posting.connect(&address(7000)).unwrap();
    bench.rest();
    assert!(matches!(inbox.try_recv(), Ok(Some(Event::Returned(_)))));
    assert!(matches!(inbox.try_recv(), Ok(Some(Event::Closed(_)))));
    assert_eq!(inbox.try_recv().unwrap_err(), Ended::EngineStopped);
    assert!(bench.core.is_finished());
}

#[test]
fn an_engine_is_finished_once_its_groups_know_and_not_before() {
    let mut bench = Bench::new();
    bench.rest();
    stop(&mut bench, Duration::ZERO);
    bench.pass();
    assert_eq!(bench.end_of_group(), None);
    assert!(!bench.core.is_finished(), "a post may be under way to it");
    bench.rest();
    assert_eq!(bench.end_of_group(), Some(Ended::EngineStopped));
    assert!(bench.core.is_finished());
}

#[test]
fn an_engine_without_groups_and_channels_goes_on_until_it_is_stopped() {
    let mut bench = Bench::new();
    bench.close_group(Duration::ZERO);
    bench.rest();
    assert_eq!(bench.end_of_group(), Some(Ended::GroupClosed));
    assert!(!bench.core.is_finished());
    stop(&mut bench, Duration::ZERO);
    bench.rest();
    assert!(bench.core.is_finished());
}

/// A channel that has something to say to a peer that does not read.
fn lingering(bench: &mut Bench) {
    let (channel, key) = bench.connect();
    bench.accepts.insert(key, 0);
    bench.post(bench.posting.message().signal(channel));
    bench.rest();
}

#[test]
fn of_two_stops_the_sooner_counts() {
    for [first, second] in [[1, 3], [3, 1]] {
        let mut bench = Bench::new();
        lingering(&mut bench);
        let begin = bench.now;
        stop(&mut bench, Duration::from_secs(first));
        bench.rest();
        stop(&mut bench, Duration::from_secs(second));
        bench.rest();
        bench.now = bench.core.poll_timeout(bench.now).unwrap();
        assert_eq!(bench.now - begin, Duration::from_secs(1));
        bench.rest();
        assert!(bench.core.is_finished());
    }
}

#[test]
fn a_group_that_was_closed_before_the_engine_was_stopped_ends_by_that() {
    let mut bench = Bench::new();
    lingering(&mut bench);
    bench.close_group(Duration::from_secs(3));
    bench.rest();
    stop(&mut bench, Duration::ZERO);
    bench.rest();
    bench.events();
    assert_eq!(bench.end_of_group(), Some(Ended::GroupClosed));
}

#[test]
fn an_engine_has_no_more_time_to_stop_for_being_stopped_again() {
    let mut bench = Bench::new();
    stop(&mut bench, Duration::from_secs(1));
    stop(&mut bench, Duration::from_secs(3));
    let deadline = bench.now + Duration::from_secs(1);
    bench.rest();
    assert_eq!(bench.core.stopping(), Some(deadline));
}

#[test]
fn a_group_does_not_end_with_the_last_of_it_while_posts_may_be_under_way_to_it() {
    let mut bench = Bench::new();
    let (_, key) = bench.connect();
    bench.core.handle_end_of_stream(key, bench.now);
    stop(&mut bench, Duration::ZERO);
    bench.pass();
    assert_eq!(bench.closed().reason(), Reason::PeerDisconnected);
    assert_eq!(bench.end_of_group(), None);
    bench.rest();
    assert_eq!(bench.end_of_group(), Some(Ended::EngineStopped));
}

/// It may have no more time than its group has.
#[test]
fn a_connection_that_opens_while_its_group_closes_has_no_more_time_for_a_later_stop() {
    let mut bench = Bench::new();
    bench.posting.connect(&address(7000)).unwrap();
    bench.pass();
    let (key, endpoint) = bench.connect_action();
    bench.accepts.insert(key, 0);
    bench.close_group(Duration::from_secs(1));
    bench.rest();
    stop(&mut bench, Duration::from_secs(3));
    bench.rest();
    let peer = Peer::at(endpoint);
    bench.core.handle_connected(key, peer, bench.now);
    bench.rest();
    let deadline = bench.now + Duration::from_secs(1);
    assert_eq!(bench.core.poll_timeout(bench.now), Some(deadline));
}

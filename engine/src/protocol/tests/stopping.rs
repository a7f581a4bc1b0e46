//! Stopping the engine and closing groups while others still post.

use std::time::Duration;

use crate::error::{Ended, PostError};
use crate::event::Event;
use crate::handles::Submission;
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
